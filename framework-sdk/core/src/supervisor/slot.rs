//! One of a group's places to fill, and the tasks in it.

use std::time::Duration;

use mezzo_api::v1::{self, TaskState, scheduler::call::reconcile};
use serde::{Deserialize, Serialize};

use super::constraint::Place;

/// A task that was launched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) id: String,
    pub(super) place: Place,
    pub(super) ports: Vec<u16>,
    /// Of the group's description that it was launched by.
    pub(super) version: u64,
    #[serde(skip)]
    pub(super) state: TaskState,
    #[serde(skip)]
    pub(super) healthy: Option<bool>,
    #[serde(skip)]
    pub(super) running_since: Option<Duration>,
    #[serde(skip)]
    pub(super) unreachable_since: Option<Duration>,
}

impl Task {
    pub(super) fn task_id(&self) -> v1::TaskId {
        v1::TaskId { value: self.id.clone() }
    }

    pub(super) fn agent_id(&self) -> v1::AgentId {
        v1::AgentId { value: self.place.agent_id.clone() }
    }

    pub(super) fn question(&self) -> reconcile::Task {
        reconcile::Task { task_id: self.task_id(), agent_id: Some(self.agent_id()) }
    }

    /// Whether it does its work. With a health check: once it is known to be healthy.
    pub(super) fn ready(&self, checked: bool) -> bool {
        self.state == TaskState::TaskRunning && self.healthy.unwrap_or(!checked)
    }
}

/// How a job's task came to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The group.
    pub group: String,
    /// Which of its tasks, from 0.
    pub slot: u32,
    /// The last task's id.
    pub task_id: String,
    /// Whether it finished.
    pub succeeded: bool,
    /// Its last state, as Mesos names it.
    pub state: String,
    /// The agent's or executor's words.
    pub message: String,
    /// How many tries it took.
    pub attempts: u32,
    /// On which host it ran.
    pub hostname: String,
}

/// A place to fill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Slot {
    /// Tries that failed.
    pub(super) attempts: u32,
    /// Ends in a row, of whatever kind.
    pub(super) setbacks: u32,
    pub(super) current: Option<Task>,
    /// Takes the current one's place once it is ready.
    pub(super) next: Option<Task>,
    pub(super) done: Option<Outcome>,
    /// A changed task is to be started beside the current one.
    #[serde(skip)]
    pub(super) wants_next: bool,
    /// Not before.
    #[serde(skip)]
    pub(super) launch_at: Duration,
    /// Rather not on this agent, until then.
    #[serde(skip)]
    pub(super) avoid: Option<(String, Duration)>,
}

impl Slot {
    /// Whether a task is to be launched for it, now or later.
    pub(super) fn wants(&self) -> bool {
        self.done.is_none() && (self.current.is_none() || self.wants_next && self.next.is_none())
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.current.iter().chain(&self.next)
    }

    pub(super) fn task_mut(&mut self, id: &str) -> Option<&mut Task> {
        self.current.iter_mut().chain(&mut self.next).find(|task| task.id == id)
    }

    /// Takes the task out.
    pub(super) fn take(&mut self, id: &str) -> Option<Task> {
        let is = |task: &mut Task| task.id == id;
        self.current.take_if(is).or_else(|| self.next.take_if(is))
    }
}
