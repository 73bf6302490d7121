//! RECONCILE: what the master knows of tasks (src/master/master.cpp, reconcile).

use mezzo_api::{
    time::Now,
    v1::{
        TaskState, TaskStatus, TimeInfo,
        scheduler::call,
        task_status::{Reason, Source},
    },
};

use crate::{
    core::Core,
    counters::Counter,
    effect::Effects,
    events::{self, Statement},
    keys::{FrameworkKey, TaskKey},
    tasks::Task,
};

impl Core {
    pub(crate) fn on_reconcile(
        &mut self,
        now: Now,
        key: FrameworkKey,
        tasks: &[call::reconcile::Task],
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesReconcileTasks);
        if !tasks.is_empty() {
            self.reconcile_explicitly(now, key, tasks, out);
            return;
        }
        let tasks: Vec<TaskKey> =
            self.frameworks.get(key).into_iter().flat_map(|framework| framework.tasks.values()).copied().collect();
        for task in tasks {
            if let Some(task) = self.tasks.get(task) {
                self.send(key, events::update(latest(task, now)), out);
            }
        }
    }

    pub(crate) fn reconcile_explicitly(
        &mut self,
        now: Now,
        key: FrameworkKey,
        questions: &[call::reconcile::Task],
        out: &mut Effects,
    ) {
        for question in questions {
            if let Some(status) = self.answer(now, key, question) {
                self.send(key, events::update(status), out);
            }
        }
    }

    /// The first line of the table that fits; no answer while agents of the registry are waited for.
    fn answer(&self, now: Now, key: FrameworkKey, question: &call::reconcile::Task) -> Option<TaskStatus> {
        let framework = self.frameworks.get(key)?;
        let known = framework.tasks.get(question.task_id.value.as_str());
        if let Some(task) = known.and_then(|task| self.tasks.get(*task)) {
            return Some(latest(task, now));
        }
        let agent = question.agent_id.as_ref().map(|id| id.value.as_str());
        let waited_for = match agent {
            Some(agent) => self.agents.recovered.contains_key(agent),
            None => !self.agents.recovered.is_empty(),
        };
        if waited_for {
            return None;
        }
        let (state, message) = match agent {
            Some(agent) if self.agents.find(agent).is_some() => {
                (TaskState::TaskGone, "Reconciliation: Task is unknown to the agent")
            }
            Some(agent) if self.agents.unreachable.contains_key(agent) => {
                (TaskState::TaskUnreachable, "Reconciliation: Task is unreachable")
            }
            Some(agent) if self.agents.gone.contains_key(agent) => {
                (TaskState::TaskGoneByOperator, "Reconciliation: Task is gone")
            }
            _ => (TaskState::TaskUnknown, "Reconciliation: Task is unknown"),
        };
        let unreachable_since = agent.and_then(|agent| self.agents.unreachable.get(agent));
        let statement = Statement {
            task_id: &question.task_id.value,
            agent_id: agent,
            executor_id: None,
            state: if framework.capabilities.partition_aware { state } else { TaskState::TaskLost },
            reason: Reason::Reconciliation,
            message,
        };
        let unreachable_time = unreachable_since
            .filter(|_| state == TaskState::TaskUnreachable)
            .map(|nanoseconds| TimeInfo { nanoseconds: *nanoseconds });
        Some(TaskStatus { unreachable_time, ..statement.status(now) })
    }
}

fn latest(task: &Task, now: Now) -> TaskStatus {
    restate(task, now, task.told_state(), Reason::Reconciliation, "Reconciliation: Latest task state")
}

/// A task's state in the master's words, with what is known of its health, check and container.
pub(crate) fn restate(task: &Task, now: Now, state: TaskState, reason: Reason, message: &str) -> TaskStatus {
    let view = &task.view;
    let statuses: Vec<TaskStatus> = view.statuses.iter().collect();
    let last = statuses.last();
    TaskStatus {
        source: Some(Source::Master.into()),
        healthy: last.and_then(|status| status.healthy),
        check_status: last.and_then(|status| status.check_status),
        container_status: statuses.iter().rev().find_map(|status| status.container_status.clone()),
        ..Statement {
            task_id: view.id.as_str(),
            agent_id: Some(view.agent_id.as_str()),
            executor_id: task.executor_id.as_ref().map(|id| id.as_str()),
            state,
            reason,
            message,
        }
        .status(now)
    }
}
