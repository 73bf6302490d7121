//! The tasks that the driver knows of, and the questions that are open about them.

use std::time::Duration;

use indexmap::IndexMap;
use mezzo_api::{
    ids::{AgentId, TaskId},
    v1::{TaskState, TaskStatus, scheduler::call::reconcile},
};

use super::config::ReconcilePolicy;

/// So many tasks are asked about in one call.
const TASKS_PER_CALL: usize = 1_000;

#[derive(Debug)]
struct Known {
    agent: Option<AgentId>,
    open: bool,
}

/// Tasks by id, in the order in which they came, and the state of reconciliation.
#[derive(Debug)]
pub(super) struct Tasks {
    policy: ReconcilePolicy,
    known: IndexMap<TaskId, Known>,
    /// How many of them wait for the master's answer.
    open: usize,
    /// A round that was begun at a subscription and not yet reported as complete.
    round: bool,
    /// When what is open is asked (again).
    ask_at: Option<Duration>,
    /// When all is asked again.
    again_at: Option<Duration>,
    interval: Duration,
}

/// Whether nothing more is to come of a task in this state, or the master knows nothing of it.
pub(super) fn is_over(state: TaskState) -> bool {
    use TaskState::*;
    match state {
        TaskFinished | TaskFailed | TaskKilled | TaskError | TaskLost | TaskDropped | TaskGone | TaskGoneByOperator
        | TaskUnknown => true,
        TaskStaging | TaskStarting | TaskRunning | TaskKilling | TaskUnreachable => false,
    }
}

impl Tasks {
    /// With the tasks that an earlier run of the framework's program had launched.
    pub(super) fn new(policy: ReconcilePolicy, known: &[reconcile::Task]) -> Self {
        let interval = policy.first;
        let known = known.iter().map(|task| {
            let agent = task.agent_id.as_ref().map(AgentId::from);
            (TaskId::from(&task.task_id), Known { agent, open: false })
        });
        Self { policy, known: known.collect(), open: 0, round: false, ask_at: None, again_at: None, interval }
    }

    pub(super) fn launched(&mut self, id: TaskId, agent: AgentId) {
        let new = Known { agent: Some(agent), open: false };
        if self.known.insert(id, new).is_some_and(|old| old.open) {
            self.open -= 1;
        }
    }

    pub(super) fn forget(&mut self, id: &str) {
        if self.known.swap_remove(id).is_some_and(|old| old.open) {
            self.open -= 1;
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.known.clear();
        self.open = 0;
        self.stop();
    }

    /// Takes note of a status.
    pub(super) fn updated(&mut self, status: &TaskStatus) {
        let id = status.task_id.value.as_str();
        if is_over(status.state()) {
            return self.forget(id);
        }
        if let Some(known) = self.known.get_mut(id) {
            if std::mem::take(&mut known.open) {
                self.open -= 1;
            }
            return;
        }
        let agent = status.agent_id.as_ref().map(AgentId::from);
        self.known.insert(TaskId::from(id), Known { agent, open: false });
    }

    /// Every known task is to be asked about, at once.
    pub(super) fn begin(&mut self, now: Duration) {
        if !self.policy.enabled || mezzo_api::mutant!("never-reconciled") {
            return;
        }
        self.open_all();
        self.round = true;
        self.ask_at = Some(now);
        self.again_at = self.policy.periodic.map(|period| now + period);
    }

    /// What became of these is not known: the call that launched them got no answer. Asked only after a while: the
    /// call may still be on its way.
    pub(super) fn doubt<'a>(&mut self, now: Duration, ids: impl Iterator<Item = &'a str>) {
        for id in ids {
            if let Some(known) = self.known.get_mut(id)
                && !std::mem::replace(&mut known.open, true)
            {
                self.open += 1;
            }
        }
        if self.policy.enabled && self.open > 0 {
            self.interval = self.policy.first;
            let at = now + self.policy.first;
            self.ask_at = Some(self.ask_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    /// Without a subscription nothing can be asked.
    pub(super) fn stop(&mut self) {
        self.ask_at = None;
        self.again_at = None;
        self.round = false;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.ask_at.into_iter().chain(self.again_at).min()
    }

    /// Whether a round has just become complete; says so once.
    pub(super) fn completed(&mut self) -> bool {
        self.open == 0 && std::mem::take(&mut self.round)
    }

    /// The questions that are due, one list for each call; the next time is set.
    pub(super) fn due(&mut self, now: Duration) -> Vec<Vec<reconcile::Task>> {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = self.policy.periodic.map(|period| now + period);
            if self.open == 0 {
                self.open_all();
                self.ask_at = Some(now);
            }
        }
        if self.ask_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        if self.open == 0 {
            self.ask_at = None;
            return Vec::new();
        }
        let questions: Vec<_> = self.known.iter().filter(|(_, known)| known.open).map(question).collect();
        self.ask_at = Some(now + self.interval);
        self.interval = (self.interval * 2).min(self.policy.max);
        questions.chunks(TASKS_PER_CALL).map(<[_]>::to_vec).collect()
    }

    fn open_all(&mut self) {
        for known in self.known.values_mut() {
            known.open = true;
        }
        self.open = self.known.len();
        self.interval = self.policy.first;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.open, self.known.values().filter(|known| known.open).count());
    }
}

fn question((id, known): (&TaskId, &Known)) -> reconcile::Task {
    reconcile::Task { task_id: id.proto(), agent_id: known.agent.as_ref().map(AgentId::proto) }
}
