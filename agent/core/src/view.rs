//! What readers see: an immutable picture, shared with the core where nothing changed.

use std::{path::Path, sync::Arc};

use mezzo_api::{
    ids::{AgentId, ContainerId},
    v1,
};

use crate::{core::Core, counters::Counters};

/// The agent at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// Its id, once it has one.
    pub agent_id: Option<AgentId>,
    /// Its description.
    pub info: Arc<v1::AgentInfo>,
    /// It takes over what an earlier life of it left, and does not answer everything yet.
    pub recovering: bool,
    /// It is registered with a master.
    pub registered: bool,
    /// It is being drained.
    pub draining: bool,
    /// There is no room on its disk to begin anything.
    pub disk_full: bool,
    /// Frameworks with something on the agent.
    pub frameworks: Vec<FrameworkView>,
    /// History, the oldest first.
    pub completed_frameworks: Vec<FrameworkView>,
    /// Plain numbers.
    pub counters: Counters,
}

/// A framework.
#[derive(Clone, Debug)]
pub struct FrameworkView {
    /// Its description.
    pub info: Arc<v1::FrameworkInfo>,
    /// Those whose container runs, or whose tasks' ends are not all acknowledged.
    pub executors: Vec<ExecutorView>,
    /// History, the oldest first.
    pub completed_executors: Vec<Arc<ExecutorView>>,
}

/// A run of an executor.
#[derive(Clone, Debug)]
pub struct ExecutorView {
    /// Its description.
    pub info: Arc<v1::ExecutorInfo>,
    /// The run's id.
    pub container_id: ContainerId,
    /// The run's sandbox.
    pub directory: Arc<Path>,
    /// Where it stands.
    pub state: ExecutorState,
    /// Of the container's first process, once it runs.
    pub pid: Option<i32>,
    /// The agent made it up for a command task.
    pub generated: bool,
    /// The containers of its tasks, if it is the default executor.
    pub nested: Vec<ContainerId>,
    /// Tasks that it was not given yet.
    pub queued: Vec<Arc<v1::TaskInfo>>,
    /// Tasks that it has.
    pub tasks: Vec<Arc<v1::Task>>,
    /// Tasks that are over, whose end is not acknowledged.
    pub terminated: Vec<Arc<v1::Task>>,
    /// History, the oldest first.
    pub completed: Vec<Arc<v1::Task>>,
}

/// Where an executor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutorState {
    /// It was launched and has not subscribed (a command task: its process does not run yet).
    Registering,
    /// It has subscribed.
    Running,
    /// It was told to end.
    Terminating,
    /// Its container is gone; updates wait for their acknowledgement.
    Terminated,
}

impl Core {
    /// The present picture. Its cost is that of what is on the agent now, so that it is made when somebody asks.
    pub fn view(&self) -> View {
        let framework = |framework: &crate::entity::Framework| FrameworkView {
            info: framework.info.clone(),
            executors: framework.executors.values().map(crate::entity::Executor::view).collect(),
            completed_executors: framework.completed.iter().cloned().collect(),
        };
        View {
            agent_id: self.agent_id.clone(),
            info: self.info.clone(),
            recovering: self.recovering.is_some(),
            registered: self.registered,
            draining: self.draining.is_some(),
            disk_full: self.disk_full,
            frameworks: self.frameworks.values().map(framework).collect(),
            completed_frameworks: self.completed_frameworks.iter().map(framework).collect(),
            counters: self.counters.clone(),
        }
    }
}
