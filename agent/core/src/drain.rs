//! Draining: the operator empties the agent (src/slave/slave.cpp, drain and updateDrainStatus).

use mezzo_api::{
    ids::{FrameworkId, TaskId},
    link,
    time::Now,
    v1::{self, TaskState, task_status::Reason},
};

use crate::{
    core::Core,
    effect::Effects,
    entity::Framework,
    record::{self, Entry},
};

impl Core {
    /// Every task is to end, none is to come. Told again, with another configuration perhaps, it begins again.
    pub(crate) fn drain(&mut self, now: Now, message: link::DrainAgent, out: &mut Effects) {
        if self.frameworks.is_empty() {
            tracing::info!("told to drain: there is nothing on this agent");
            return;
        }
        tracing::info!(config = ?message.config, "draining");
        self.record_synced(Entry::Drain(record::Drain { config: Some(message.config) }), out);
        self.draining = Some(message.config);
        self.kill_all(now, out);
    }

    /// Goes on with what an earlier life of the agent had begun.
    pub(crate) fn resume_drain(&mut self, now: Now, out: &mut Effects) {
        if self.draining.is_some() {
            tracing::info!("draining goes on");
            self.kill_all(now, out);
            self.end_drain_if_empty(out);
        }
    }

    fn kill_all(&mut self, now: Now, out: &mut Effects) {
        let limit = self.draining.as_ref().and_then(|config| config.max_grace_period);
        let mut kills = Vec::new();
        for framework in self.frameworks.values().filter(|framework| !framework.terminating) {
            for executor in framework.executors.values() {
                let launched = executor.launched.values().map(|task| (&task.task_id, task.kill_policy));
                let queued = executor.queued.values().map(|queued| (&queued.info.task_id, queued.info.kill_policy));
                kills.extend(
                    launched
                        .chain(queued)
                        .map(|(task, policy)| (framework.id.clone(), TaskId::from(task), shortened(policy, limit))),
                );
            }
        }
        for (framework, task, kill_policy) in kills {
            if mezzo_api::mutant!("drain-spares-tasks") {
                continue;
            }
            // A task that went with its group needs no kill of its own.
            let there = self.frameworks.get(&framework).is_some_and(|framework| framework.tasks.contains_key(&task));
            if there {
                let message = link::KillTask { framework_id: framework.proto(), task_id: task.proto(), kill_policy };
                self.kill(now, message, out);
            }
        }
    }

    /// Nothing is left: new tasks are taken again, should the master send any.
    pub(crate) fn end_drain_if_empty(&mut self, out: &mut Effects) {
        if self.draining.is_some() && self.frameworks.is_empty() {
            tracing::info!("drained");
            self.draining = None;
            self.record_synced(Entry::Drain(record::Drain { config: None }), out);
        }
    }

    /// What a drain says of the end of a task that it caused.
    pub(crate) fn tell_drain(&self, framework: &FrameworkId, status: &mut v1::TaskStatus) {
        let Some(config) = &self.draining else { return };
        if !matches!(status.state(), TaskState::TaskKilling | TaskState::TaskKilled) {
            return;
        }
        status.reason = Some(Reason::AgentDraining as i32);
        let aware = self.frameworks.get(framework).is_some_and(Framework::partition_aware);
        if config.mark_gone() && aware && status.state() == TaskState::TaskKilled {
            status.state = TaskState::TaskGoneByOperator as i32;
        }
    }
}

/// The policy of a kill if the task's own would let it take longer than the operator allows.
fn shortened(policy: Option<v1::KillPolicy>, limit: Option<v1::DurationInfo>) -> Option<v1::KillPolicy> {
    let limit = limit?;
    let own = policy.and_then(|policy| policy.grace_period);
    let enough = own.is_some_and(|own| own.nanoseconds <= limit.nanoseconds);
    (!enough).then_some(v1::KillPolicy { grace_period: Some(limit) })
}
