//! Calls of the framework, and what becomes of them.

use std::sync::Arc;

use mezzo_api::{
    ids::{AgentId, TaskId},
    time::Now,
    v1::{
        self, TaskState, TaskStatus,
        framework_info::capability,
        scheduler::{Call, call},
        task_status::{Reason, Source},
    },
};
use tracing::{debug, warn};

use crate::answer::Answer;

use super::{
    CallError, Core, Effect, Effects, EndReason, Event, MAX_HELD, Outgoing, State, StreamId, Teardown, Ticket, calls,
    operations,
};

/// The connection of calls broke so often in a row without one answer: the master is not well.
const MAX_CALLS_LOST_IN_A_ROW: u32 = 3;
/// Texts of refusals that mean that the subscription is gone (src/master/http.cpp of apache/mesos).
const SUBSCRIPTION_GONE: [&str; 2] = ["Framework is not subscribed", "Framework cannot be found"];

impl Core {
    /// The framework makes a call. With a ticket, its outcome is told by [`Effect::Settle`]; without, only a refusal
    /// is told, as an event.
    pub fn call(&mut self, now: Now, call: Call, ticket: Option<Ticket>, out: &mut Effects) {
        let outgoing = Outgoing { call: Arc::new(call), ticket };
        if self.ended() {
            return self.fail(now, outgoing, CallError::Ended, out);
        }
        match outgoing.kind() {
            call::Type::Subscribe => return self.fail(now, outgoing, CallError::Reserved, out),
            call::Type::Suppress => self.suppress(&outgoing.call),
            call::Type::Revive => self.revive(&outgoing.call),
            call::Type::Teardown if self.framework.id.is_none() => return self.accepted(outgoing, out), // nothing is there
            call::Type::Teardown => self.teardown = Teardown::Asked,
            _ => {}
        }
        match self.subscribed() {
            Some(stream) => {
                for task in calls::launched(&outgoing.call) {
                    self.tasks.launched(TaskId::from(&task.task_id), AgentId::from(&task.agent_id));
                }
                for id in calls::operation_ids(&outgoing.call) {
                    self.operations.asked(id);
                }
                self.send(stream, outgoing, out);
            }
            None => self.hold(now, outgoing, out),
        }
    }

    /// The framework has dealt with these statuses: they are acknowledged, in order.
    pub fn handled(&mut self, now: Now, acknowledgements: Vec<Call>, out: &mut Effects) {
        for call in acknowledgements {
            self.call(now, call, None, out);
        }
    }

    /// The master answered a call.
    pub fn answered(&mut self, now: Now, stream: StreamId, sent: Outgoing, answer: &Answer, out: &mut Effects) {
        self.calls_lost_in_a_row = 0;
        let kind = sent.kind();
        if matches!(answer.status, 200 | 202) {
            return self.accepted(sent, out);
        }
        let current = self.subscribed() == Some(stream);
        let tearing_down = kind == call::Type::Teardown && answer.status != 401;
        let gone =
            matches!(answer.status, 400 | 403) && SUBSCRIPTION_GONE.iter().any(|text| answer.message.contains(text));
        let leads_not = answer.redirect().is_some() || matches!(answer.status, 404 | 503);
        if gone && tearing_down {
            return self.accepted(sent, out); // there is nothing left to tear down
        }
        if !gone && !leads_not {
            return self.fail(now, sent, CallError::Refused(answer.text()), out);
        }
        if current {
            let reason = format!("the master does not take calls of this subscription: {}", answer.text());
            if let Some(Ok(leader)) = answer.redirect() {
                self.masters.redirected(leader);
            }
            self.lose(now, stream, reason, out);
        }
        self.hold(now, sent, out); // it was not carried out
    }

    /// The connection of the calls broke, or the stream was closed, before these were answered; `reachable`: whether
    /// the master could be connected to at all.
    pub fn calls_lost(&mut self, now: Now, stream: StreamId, lost: Vec<Outgoing>, reachable: bool, out: &mut Effects) {
        if self.subscribed() == Some(stream) {
            self.calls_lost_in_a_row += 1;
            if !reachable || self.calls_lost_in_a_row >= MAX_CALLS_LOST_IN_A_ROW {
                self.lose(now, stream, "calls do not reach the master".to_owned(), out);
            }
        }
        for sent in lost {
            if !calls::may_repeat(sent.kind()) {
                let ids: Vec<_> = calls::launched(&sent.call).map(|task| task.task_id.value.clone()).collect();
                self.tasks.doubt(now.mono, ids.iter().map(String::as_str));
                self.operations.doubt(now.mono, calls::operation_ids(&sent.call));
                self.settle(sent, CallError::Unknown, out);
                continue;
            }
            match self.subscribed() {
                Some(stream) => out.push(Effect::Send(stream, sent)),
                None => self.hold(now, sent, out),
            }
        }
    }

    pub(super) fn send(&mut self, stream: StreamId, mut outgoing: Outgoing, out: &mut Effects) {
        Arc::make_mut(&mut outgoing.call).framework_id = self.framework.id.clone();
        out.push(Effect::Send(stream, outgoing));
    }

    pub(super) fn send_own(&mut self, stream: StreamId, call: Call, out: &mut Effects) {
        self.send(stream, Outgoing { call: Arc::new(call), ticket: None }, out);
    }

    /// Asks what is due to be asked about tasks.
    pub(super) fn reconcile(&mut self, now: Now, stream: StreamId, out: &mut Effects) {
        for tasks in self.tasks.due(now.mono) {
            debug!(tasks = tasks.len(), "asking what became of tasks");
            self.send_own(stream, calls::reconcile(tasks), out);
        }
        if let Some(operations) = self.operations.due(now.mono) {
            debug!(operations = operations.len(), "asking what became of operations");
            self.send_own(stream, calls::reconcile_operations(operations), out);
        }
        if self.tasks.completed() {
            out.push(Effect::Deliver(Event::Reconciled));
        }
    }

    /// Answers all that waited for a subscription that will not come.
    pub(super) fn drop_held(&mut self, out: &mut Effects) {
        for held in std::mem::take(&mut self.held) {
            self.settle(held, CallError::Ended, out);
        }
    }

    /// Keeps a call for the next subscription, if it still means something then.
    fn hold(&mut self, now: Now, outgoing: Outgoing, out: &mut Effects) {
        if self.ended() {
            return self.fail(now, outgoing, CallError::Ended, out);
        }
        let kind = outgoing.kind();
        if matches!(kind, call::Type::Suppress | call::Type::Revive) {
            return self.settle_ok(outgoing, out); // said by the next SUBSCRIBE, or right after the one that is on its way
        }
        if calls::outlives_subscription(kind) && self.held.len() < MAX_HELD {
            self.held.push_back(outgoing);
            return;
        }
        self.fail(now, outgoing, CallError::NotSubscribed, out);
    }

    fn accepted(&mut self, sent: Outgoing, out: &mut Effects) {
        match sent.kind() {
            call::Type::Teardown => {
                self.settle_ok(sent, out);
                if !self.ended() {
                    self.end(EndReason::TornDown, out);
                }
            }
            call::Type::UpdateFramework => {
                self.framework_updated(&sent.call);
                self.settle_ok(sent, out);
            }
            _ => self.settle_ok(sent, out),
        }
    }

    fn framework_updated(&mut self, call: &Call) {
        let Some(update) = &call.update_framework else { return };
        let id = self.framework.id.take();
        self.framework = v1::FrameworkInfo { id, ..update.framework_info.clone() };
        self.suppressed = update.suppressed_roles.iter().cloned().collect();
        self.config.offer_constraints = update.offer_constraints.clone();
    }

    fn settle_ok(&mut self, outgoing: Outgoing, out: &mut Effects) {
        if let Some(ticket) = outgoing.ticket {
            out.push(Effect::Settle(ticket, Ok(())));
        }
    }

    fn settle(&mut self, outgoing: Outgoing, error: CallError, out: &mut Effects) {
        if let Some(ticket) = outgoing.ticket {
            out.push(Effect::Settle(ticket, Err(error)));
        }
    }

    /// The call had no effect. Each of its launches is answered by a status, as Mesos' own driver does, so that a
    /// framework has one place where it learns of a task's end.
    fn fail(&mut self, now: Now, outgoing: Outgoing, error: CallError, out: &mut Effects) {
        let kind = outgoing.kind();
        warn!(call = kind.as_str_name(), %error, "a call had no effect");
        for task in calls::launched(&outgoing.call) {
            self.tasks.forget(&task.task_id.value);
            let status = self.never_launched(now, task, &error);
            out.push(Effect::Deliver(Event::Update(Box::new(status))));
        }
        for id in calls::operation_ids(&outgoing.call) {
            self.operations.forget(&id.value);
            let status = operations::never_made(id, &error);
            out.push(Effect::Deliver(Event::OperationUpdate(Box::new(status))));
        }
        let refused = matches!(error, CallError::Refused(_) | CallError::Reserved);
        match outgoing.ticket {
            Some(ticket) => out.push(Effect::Settle(ticket, Err(error))),
            None if refused && !matches!(self.state, State::Ended) => {
                out.push(Effect::Deliver(Event::Rejected { call: kind, error }));
            }
            None => {}
        }
    }

    fn never_launched(&self, now: Now, task: &v1::TaskInfo, error: &CallError) -> TaskStatus {
        let (state, reason) = match error {
            CallError::Refused(_) => (TaskState::TaskError, Reason::TaskInvalid),
            _ if self.has(capability::Type::PartitionAware) => (TaskState::TaskDropped, Reason::MasterDisconnected),
            _ => (TaskState::TaskLost, Reason::MasterDisconnected),
        };
        TaskStatus {
            task_id: task.task_id.clone(),
            state: state as i32,
            agent_id: Some(task.agent_id.clone()),
            source: Some(Source::Master as i32),
            reason: Some(reason as i32),
            message: Some(error.to_string()),
            timestamp: Some(now.timestamp()),
            ..TaskStatus::default()
        }
    }

    fn suppress(&mut self, call: &Call) {
        let roles = call.suppress.as_ref().map(|suppress| suppress.roles.clone()).unwrap_or_default();
        let roles = if roles.is_empty() { self.roles() } else { roles };
        self.suppressed.extend(roles);
    }

    fn revive(&mut self, call: &Call) {
        match &call.revive {
            Some(revive) if !revive.roles.is_empty() => {
                for role in &revive.roles {
                    self.suppressed.remove(role);
                }
            }
            _ => self.suppressed.clear(),
        }
    }
}
