//! The end of a registration: written down first, then told to frameworks (src/master/master.cpp, _removeSlave,
//! __removeSlave).

use mezzo_api::{
    ids::AgentId,
    link::{self, to_agent},
    time::Now,
    v1::{OperationState, TaskState, TaskStatus, TimeInfo, task_status::Reason},
};

use super::Agent;
use crate::{
    core::Core,
    counters::Counter,
    effect::{Answer, Change, CloseReason, Effect, Effects},
    events::{self, Statement, is_terminal},
    input::RequestId,
    keys::{AgentKey, TaskKey},
    model::{AgentGone, Mark},
    registry::RegistryOp,
    writes::Pending,
};

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It does not answer; since when, in nanoseconds since the epoch.
    Unreachable(i64),
    /// The operator says that it will never come back; since when, in nanoseconds since the epoch.
    Gone(i64),
    /// It said goodbye.
    Unregistered,
    /// Another one came at its address.
    Replaced,
    /// Its machine is taken down by an operator.
    MachineDown,
}

/// A removal that waits for the registry.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    pub(super) agent: AgentKey,
    pub(super) id: AgentId,
    pub(super) cause: Cause,
    /// Who waits for its end.
    pub(super) request: Option<RequestId>,
}

impl Core {
    pub(super) fn on_unregister(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        self.counters.increment(Counter::MessagesUnregisterSlave);
        self.begin_agent_removal(now, key, Cause::Unregistered, out);
    }

    pub(crate) fn begin_agent_removal(&mut self, now: Now, key: AgentKey, cause: Cause, out: &mut Effects) {
        let Some(agent) = self.agents.get(key).filter(|agent| !agent.leaving) else { return };
        let id = agent.id.clone();
        if self.agents.writing.contains_key(&id) {
            // It is just coming back: the next pings tell.
            self.set_ping_timer(now, key);
            return;
        }
        let op = match cause {
            Cause::Unreachable(since) => RegistryOp::MarkUnreachable(id.clone(), since),
            Cause::Gone(since) => RegistryOp::MarkGone(id.clone(), since),
            Cause::Unregistered | Cause::Replaced | Cause::MachineDown => RegistryOp::RemoveAgent(id.clone()),
        };
        let mut ops = vec![op];
        if !matches!(cause, Cause::Unreachable(_)) {
            self.drop_standing(&id, &mut ops);
        }
        self.begin_leaving(now, key, out);
        self.write(ops, Pending::Remove(Removal { agent: key, id, cause, request: None }), out);
    }

    /// Nothing of it is offered any more.
    pub(super) fn begin_leaving(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.leaving = true;
        if let Some(timer) = agent.ping_timer.take() {
            self.timers.cancel(timer);
        }
        let id = agent.id.clone();
        self.agents.writing.insert(id, None);
        self.dirty.agents.insert(key);
        self.allocator.set_agent_active(now.mono, key, false);
        self.rescind_offers_of_agent(now, key, out);
    }

    /// The end is durable.
    pub(crate) fn finish_removal_of_agent(&mut self, now: Now, removal: &Removal, out: &mut Effects) {
        let key = removal.agent;
        let Some(agent) = self.agents.get(key) else { return };
        let message = match removal.cause {
            Cause::Unreachable(_) => "health check timed out".to_owned(),
            Cause::Gone(_) => format!("Agent {} has been marked gone", agent.info.hostname()),
            Cause::Unregistered => format!("Agent {} removed: the agent unregistered", agent.info.hostname()),
            Cause::Replaced => {
                format!("Agent {} removed: a new agent registered at the same address", agent.info.hostname())
            }
            Cause::MachineDown => {
                format!("Agent {} removed: Operator initiated 'Machine DOWN'", agent.info.hostname())
            }
        };
        tracing::info!(
            agent = %removal.id,
            hostname = agent.info.hostname(),
            cause = ?removal.cause,
            tasks = agent.tasks.len(),
            "agent removed: its tasks are told to be lost, and may be launched elsewhere"
        );
        let tasks: Vec<TaskKey> = agent.tasks.iter().copied().collect();
        self.count_removal(removal.cause);
        tasks.into_iter().for_each(|task| self.lose_task(now, task, removal.cause, &message, out));
        self.drop_executors(now, key, out);
        let (state, told) = match removal.cause {
            Cause::Unreachable(_) => (OperationState::OperationUnreachable, "Agent was marked unreachable"),
            Cause::Gone(_) => (OperationState::OperationGoneByOperator, "Agent has been marked gone"),
            Cause::Unregistered | Cause::Replaced | Cause::MachineDown => {
                (OperationState::OperationGoneByOperator, "Agent has been removed")
            }
        };
        self.lose_operations(key, state, told, out);
        self.rescind_inverse_offers_of_agent(now, key, out);
        self.allocator.remove_agent(key);
        if !matches!(removal.cause, Cause::Unreachable(_)) {
            self.forget_standing(&removal.id);
        }
        if let Some(agent) = self.agents.remove(key) {
            self.let_go(now, agent, removal.cause, out);
        }
        if let Some(request) = removal.request {
            out.push(Effect::Reply(request, Answer::new(200, "")));
        }
    }

    fn count_removal(&mut self, cause: Cause) {
        self.counters.increment(Counter::SlaveRemovals);
        self.counters.increment(match cause {
            Cause::Unreachable(_) => Counter::SlaveRemovalsUnhealthy,
            Cause::Gone(_) => Counter::SlaveRemovalsMarkedGone,
            Cause::Unregistered => Counter::SlaveRemovalsUnregistered,
            Cause::Replaced => Counter::SlaveRemovalsRegistered,
            // Mesos has no reason of its own for it.
            Cause::MachineDown => Counter::SlaveRemovalsUnregistered,
        });
        if matches!(cause, Cause::Unreachable(_)) {
            self.counters.increment(Counter::SlaveUnreachableCompleted);
        }
    }

    /// Tells the framework, unless it has been sent the task's end already, and takes the task out of the books.
    fn lose_task(&mut self, now: Now, key: TaskKey, cause: Cause, message: &str, out: &mut Effects) {
        let Some(task) = self.tasks.get(key) else { return };
        if is_terminal(task.told_state()) && is_terminal(task.view.state) {
            self.retire_task(now, key, out);
            return;
        }
        let aware = self.frameworks.get(task.framework).is_some_and(|framework| framework.capabilities.partition_aware);
        let unreachable_since = match cause {
            Cause::Unreachable(since) => Some(since),
            Cause::Gone(_) | Cause::Unregistered | Cause::Replaced | Cause::MachineDown => None,
        };
        let aware = aware || mezzo_api::mutant!("partition-awareness-assumed");
        let (state, reason) = match cause {
            Cause::Unreachable(_) if aware => (TaskState::TaskUnreachable, Reason::AgentRemoved),
            Cause::Gone(_) if aware => (TaskState::TaskGoneByOperator, Reason::AgentRemovedByOperator),
            _ => (TaskState::TaskLost, Reason::AgentRemoved),
        };
        let statement = Statement {
            task_id: task.view.id.as_str(),
            agent_id: Some(task.view.agent_id.as_str()),
            executor_id: task.executor_id.as_ref().map(|id| id.as_str()),
            state,
            reason,
            message,
        };
        let mut status = TaskStatus {
            unreachable_time: unreachable_since.map(|nanoseconds| TimeInfo { nanoseconds }),
            ..statement.status(now)
        };
        let framework = task.framework;
        self.update_task(now, key, &mut status, out);
        match unreachable_since {
            Some(_) => self.strand_task(key, out),
            None => self.retire_task(now, key, out),
        }
        self.send(framework, events::update(status), out);
    }

    pub(super) fn drop_executors(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let executors: Vec<_> =
            self.agents.get(key).into_iter().flat_map(|agent| agent.executors.keys()).cloned().collect();
        for (framework, executor) in executors {
            self.remove_executor(now, key, framework, &executor, out);
        }
    }

    /// Nothing of it is left but its name.
    fn let_go(&mut self, now: Now, agent: Agent, cause: Cause, out: &mut Effects) {
        let (gone, reason) = match cause {
            Cause::Unreachable(since) => {
                self.mark(&agent.id, Some(Mark::Unreachable(since)));
                (AgentGone::Unreachable, CloseReason::PingTimeout)
            }
            Cause::Gone(since) => {
                self.mark(&agent.id, Some(Mark::Gone(since)));
                (AgentGone::Gone, CloseReason::Shutdown)
            }
            Cause::Unregistered => (AgentGone::Removed, CloseReason::Shutdown),
            Cause::Replaced => (AgentGone::Removed, CloseReason::Replaced),
            Cause::MachineDown => (AgentGone::Removed, CloseReason::Shutdown),
        };
        if agent.warning.is_some() {
            self.count_unreachable_addresses();
        }
        if let Some(link) = agent.link {
            if matches!(cause, Cause::Gone(_)) {
                let reason = "Agent has been marked gone".to_owned();
                self.tell_link(link, to_agent::Message::Shutdown(link::Shutdown { reason }), out);
            }
            self.close_link(now, link, reason, out);
        }
        out.push(Effect::Publish(Change::AgentRemoved(agent.id.clone(), gone)));
        self.tell_all_of_loss(&agent.id, out);
        self.end_write_of(now, &agent.id, out);
    }
}
