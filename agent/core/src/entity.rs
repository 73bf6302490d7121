//! What the core holds: frameworks, their executors, their tasks.

use std::{
    collections::{BTreeMap, VecDeque},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use foldhash::HashMap;
use mezzo_api::{
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId},
    v1::{self, TaskState, framework_info::capability, task_status::Source},
};

use crate::{
    effect::StreamId,
    generated, network, record,
    run::{Played, Run},
    status,
    timers::Handle,
    view::{ExecutorState, ExecutorView},
    watched::{Map, Watched},
};

/// Completed tasks that are kept for readers, for each executor (src/slave/constants.hpp).
const MAX_COMPLETED_TASKS: usize = 200;

/// A framework with something on this agent.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) id: FrameworkId,
    pub(crate) info: Arc<v1::FrameworkInfo>,
    /// Everything of it is being ended; it cannot acknowledge any more.
    pub(crate) terminating: bool,
    pub(crate) executors: Watched<ExecutorId, Executor>,
    /// The executor of each task that is queued, launched or terminated.
    pub(crate) tasks: HashMap<TaskId, ExecutorId>,
    /// History, the oldest first.
    pub(crate) completed: VecDeque<Arc<ExecutorView>>,
}

impl Framework {
    pub(crate) fn new(id: FrameworkId, info: Arc<v1::FrameworkInfo>) -> Self {
        Self {
            id,
            info,
            terminating: false,
            executors: Watched::default(),
            tasks: HashMap::default(),
            completed: VecDeque::new(),
        }
    }

    pub(crate) fn has(&self, capability: capability::Type) -> bool {
        self.info.capabilities.iter().any(|has| has.r#type == Some(capability as i32))
    }

    pub(crate) fn partition_aware(&self) -> bool {
        self.has(capability::Type::PartitionAware)
    }

    /// The state of a task that never ran here: TASK_LOST for those who know no better.
    pub(crate) fn dropped(&self) -> TaskState {
        if self.partition_aware() { TaskState::TaskDropped } else { TaskState::TaskLost }
    }

    /// The state of a task that ran here and was ended with its container.
    pub(crate) fn gone(&self) -> TaskState {
        if self.partition_aware() { TaskState::TaskGone } else { TaskState::TaskLost }
    }

    pub(crate) fn checkpoint(&self) -> bool {
        self.info.checkpoint.unwrap_or(false)
    }

    pub(crate) fn executor_of(&mut self, task: &TaskId) -> Option<&mut Executor> {
        let id = self.tasks.get(task)?;
        self.executors.get_mut(id)
    }

    /// Moves an executor of which nothing is left to history.
    pub(crate) fn complete(&mut self, id: &ExecutorId, keep: usize) {
        let Some(executor) = self.executors.remove(id) else { return };
        for task in executor.queued.keys().chain(executor.launched.keys()).chain(executor.terminated.keys()) {
            self.tasks.remove(task);
        }
        self.completed.push_back(Arc::new(executor.view()));
        while self.completed.len() > keep {
            self.completed.pop_front();
        }
    }
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// Launched in this life of the agent; nothing was heard yet.
    Launched,
    /// Its launch was recorded by an earlier life of the agent; nothing was heard since.
    Recovered,
    /// Its first process runs, or ran when it was last heard of.
    Started,
}

/// A task that its executor was not given yet.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) info: Arc<v1::TaskInfo>,
    /// As it is when it is given to it.
    pub(crate) task: Arc<v1::Task>,
}

/// A run of an executor: its container with its tasks.
#[derive(Debug)]
pub(crate) struct Executor {
    pub(crate) id: ExecutorId,
    pub(crate) info: Arc<v1::ExecutorInfo>,
    pub(crate) container_id: ContainerId,
    pub(crate) directory: Arc<Path>,
    pub(crate) state: ExecutorState,
    pub(crate) container: Container,
    pub(crate) pid: Option<i32>,
    /// Of a network of its container's own.
    pub(crate) address: Option<Ipv4Addr>,
    /// What the agent keeps of the tasks of an executor that it plays itself.
    pub(crate) played: Option<Played>,
    /// Tasks that were not given to it yet, in order.
    pub(crate) queued: Map<TaskId, Queued>,
    /// Which of them came as groups.
    pub(crate) queued_groups: Vec<Vec<TaskId>>,
    /// Tasks that were given to it and have not ended.
    pub(crate) launched: BTreeMap<TaskId, Arc<v1::Task>>,
    /// Tasks that have ended, but whose end is not acknowledged.
    pub(crate) terminated: BTreeMap<TaskId, Arc<v1::Task>>,
    /// History, the oldest first.
    pub(crate) completed: VecDeque<Arc<v1::Task>>,
    /// What to say of the tasks that are left when the container is gone.
    pub(crate) termination: Option<record::Termination>,
    /// The event stream, while there is one.
    pub(crate) stream: Option<StreamId>,
    /// It subscribed at least once.
    pub(crate) subscribed: bool,
    /// Kills for an executor whose stream is away.
    pub(crate) waiting: Vec<v1::executor::Event>,
    /// The timer of its present phase: registration or shutdown.
    pub(crate) timer: Option<Handle>,
    pub(crate) heartbeat: Option<Handle>,
}

impl Executor {
    pub(crate) fn new(
        info: Arc<v1::ExecutorInfo>,
        container_id: ContainerId,
        directory: PathBuf,
        played: Option<Played>,
        container: Container,
    ) -> Self {
        Self {
            id: ExecutorId::from(&info.executor_id),
            info,
            container_id,
            directory: directory.into(),
            state: ExecutorState::Registering,
            container,
            pid: None,
            address: None,
            played,
            queued: Map::default(),
            queued_groups: Vec::new(),
            launched: BTreeMap::new(),
            terminated: BTreeMap::new(),
            completed: VecDeque::new(),
            termination: None,
            stream: None,
            subscribed: false,
            waiting: Vec::new(),
            timer: None,
            heartbeat: None,
        }
    }

    /// Whether the agent made it up for a command task.
    pub(crate) fn generated(&self) -> bool {
        self.played.as_ref().is_some_and(|played| !played.pod)
    }

    /// What is told of the network that a task's container has, but for its address; `None`: it has the host's.
    pub(crate) fn network_of(&self, task: &TaskId) -> Option<v1::NetworkInfo> {
        let info = match self.is_pod() {
            true => self.launched.get(task)?.container.as_deref(),
            false => self.info.container.as_deref(),
        };
        network::described(info)
    }

    /// Whether it is Mesos' default executor, which the agent plays: each of its tasks has a container of its own.
    pub(crate) fn is_pod(&self) -> bool {
        self.played.as_ref().is_some_and(|played| played.pod)
    }

    /// The tasks that the agent plays it for, and that are not over.
    pub(crate) fn runs(&self) -> &[Run] {
        self.played.as_ref().map_or(&[], |played| &played.runs)
    }

    pub(crate) fn run_of(&self, task: &TaskId) -> Option<&Run> {
        self.runs().iter().find(|run| run.task == *task)
    }

    pub(crate) fn run_mut(&mut self, task: &TaskId) -> Option<&mut Run> {
        self.played.as_mut()?.runs.iter_mut().find(|run| run.task == *task)
    }

    /// Whether it has tasks that are not over, or whose end is not acknowledged.
    pub(crate) fn incomplete(&self) -> bool {
        !(self.queued.is_empty() && self.launched.is_empty() && self.terminated.is_empty())
    }

    /// Tasks that are found under it.
    pub(crate) fn task_count(&self) -> usize {
        self.queued.len() + self.launched.len() + self.terminated.len()
    }

    /// Whether nothing of it is left: its container is gone and all ends are acknowledged, or nobody will (`ending`).
    pub(crate) fn is_done(&self, ending: bool) -> bool {
        self.state == ExecutorState::Terminated && (ending || !self.incomplete())
    }

    /// Whether it was ever given a task, as far as the agent can know (src/slave/slave.cpp, everSentTask).
    pub(crate) fn ever_sent_task(&self) -> bool {
        let said =
            |task: &Arc<v1::Task>| task.statuses.iter().any(|status| status.source == Some(Source::Executor as i32));
        !self.launched.is_empty() || self.terminated.values().any(said) || self.completed.iter().any(said)
    }

    pub(crate) fn shutdown_grace(&self) -> Option<Duration> {
        let grace = self.info.shutdown_grace_period.as_ref()?;
        Some(Duration::from_nanos(grace.nanoseconds.max(0).unsigned_abs()))
    }

    /// The grace of a command task's kill when its executor is shut down.
    pub(crate) fn command_shutdown_grace(&self, default: Duration) -> Duration {
        self.shutdown_grace().unwrap_or(default).saturating_sub(generated::SHUTDOWN_MARGIN)
    }

    /// The group of a queued task, or the task alone.
    pub(crate) fn queued_with(&self, task: &TaskId) -> (Vec<TaskId>, bool) {
        match self.queued_groups.iter().find(|group| group.contains(task)) {
            Some(group) => (group.clone(), true),
            None => (vec![task.clone()], false),
        }
    }

    /// Takes a task out of the queue.
    pub(crate) fn dequeue(&mut self, task: &TaskId) -> Option<Queued> {
        let removed = self.queued.shift_remove(task)?;
        let queued = &self.queued;
        self.queued_groups.retain(|group| group.iter().any(|member| queued.contains_key(member)));
        Some(removed)
    }

    /// The task, whether it runs or is over without its end being acknowledged.
    pub(crate) fn task_mut(&mut self, task: &TaskId) -> Option<&mut v1::Task> {
        let entry = self.launched.get_mut(task).or_else(|| self.terminated.get_mut(task))?;
        Some(Arc::make_mut(entry))
    }

    /// Enters a status; `false` if the task cannot take it: it is over, or not here.
    pub(crate) fn enter(&mut self, task: &TaskId, status: &v1::TaskStatus) -> bool {
        let terminal = status::is_terminal(status.state());
        let mut entry = if self.queued.contains_key(task) {
            if !terminal {
                return false;
            }
            match self.dequeue(task) {
                Some(queued) => queued.task,
                None => return false,
            }
        } else if let Some(entry) = self.launched.remove(task) {
            entry
        } else {
            return false;
        };
        status::enter(Arc::make_mut(&mut entry), status);
        let place = if terminal { &mut self.terminated } else { &mut self.launched };
        place.insert(task.clone(), entry);
        true
    }

    /// The end of a task is acknowledged: it is history.
    pub(crate) fn complete(&mut self, task: &TaskId) {
        if let Some(entry) = self.terminated.remove(task) {
            self.push_completed(entry);
        }
    }

    pub(crate) fn push_completed(&mut self, task: Arc<v1::Task>) {
        self.completed.push_back(task);
        while self.completed.len() > MAX_COMPLETED_TASKS {
            self.completed.pop_front();
        }
    }

    /// What readers see.
    pub(crate) fn view(&self) -> ExecutorView {
        ExecutorView {
            info: self.info.clone(),
            container_id: self.container_id.clone(),
            directory: self.directory.clone(),
            state: self.state,
            pid: self.pid,
            generated: self.generated(),
            nested: self.runs().iter().filter(|_| self.is_pod()).map(|run| run.container_id.clone()).collect(),
            queued: self.queued.values().map(|queued| queued.info.clone()).collect(),
            tasks: self.launched.values().cloned().collect(),
            terminated: self.terminated.values().cloned().collect(),
            completed: self.completed.iter().cloned().collect(),
        }
    }
}

/// The sandbox of a run.
pub(crate) fn sandbox(
    work_dir: &Path,
    agent: &AgentId,
    framework: &FrameworkId,
    executor: &ExecutorId,
    container: &ContainerId,
) -> PathBuf {
    let (agent, framework) = (agent.as_str(), framework.as_str());
    let parts = ["slaves", agent, "frameworks", framework, "executors", executor.as_str(), "runs", container.as_str()];
    let length = work_dir.as_os_str().len() + parts.iter().map(|part| part.len() + 1).sum::<usize>();
    let mut path = PathBuf::with_capacity(length);
    path.push(work_dir);
    path.extend(parts);
    path
}

/// Whether an id may be a part of a path.
pub(crate) fn is_path_part(id: &str) -> bool {
    !id.is_empty() && id != "." && id != ".." && id.len() <= 255 && !id.contains(['/', '\0'])
}
