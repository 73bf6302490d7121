//! The operations that were given an id, and the questions that are open about them (docs/operations.md of
//! apache/mesos): feedback is sent at least once while the framework is subscribed, and lost with a subscription.

use std::time::Duration;

use indexmap::IndexMap;
use mezzo_api::v1::{self, OperationState, scheduler::call::reconcile_operations};

use super::{CallError, ReconcilePolicy};

#[derive(Debug, Default)]
struct Known {
    agent: Option<v1::AgentId>,
    provider: Option<v1::ResourceProviderId>,
    open: bool,
}

/// Operations by id, in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Operations {
    policy: ReconcilePolicy,
    known: IndexMap<String, Known>,
    ask_at: Option<Duration>,
    interval: Duration,
}

fn is_over(state: OperationState) -> bool {
    use OperationState::*;
    match state {
        OperationFinished
        | OperationFailed
        | OperationError
        | OperationDropped
        | OperationGoneByOperator
        | OperationUnknown => true,
        OperationUnsupported | OperationPending | OperationUnreachable | OperationRecovering => false,
    }
}

/// The status of an operation that never reached an agent.
pub(super) fn never_made(id: &v1::OperationId, error: &CallError) -> v1::OperationStatus {
    let state = match error {
        CallError::Refused(_) => OperationState::OperationError,
        _ => OperationState::OperationDropped,
    };
    v1::OperationStatus {
        operation_id: Some(id.clone()),
        state: state as i32,
        message: Some(error.to_string()),
        ..Default::default()
    }
}

impl Operations {
    pub(super) fn new(policy: ReconcilePolicy) -> Self {
        let interval = policy.first;
        Self { policy, known: IndexMap::new(), ask_at: None, interval }
    }

    pub(super) fn asked(&mut self, id: &v1::OperationId) {
        self.known.insert(id.value.clone(), Known::default());
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.known.shift_remove(id);
    }

    pub(super) fn forget_all(&mut self) {
        self.known.clear();
        self.stop();
    }

    pub(super) fn updated(&mut self, status: &v1::OperationStatus) {
        let Some(id) = status.operation_id.as_ref().map(|id| id.value.as_str()) else { return };
        if is_over(status.state()) {
            return self.forget(id);
        }
        let known = self.known.entry(id.to_owned()).or_default();
        known.agent = status.agent_id.clone().or_else(|| known.agent.take());
        known.provider = status.resource_provider_id.clone().or_else(|| known.provider.take());
        // what the master cannot say yet is asked again
        known.open &= status.state() == OperationState::OperationRecovering;
    }

    /// Subscribed again: all that is known is to be asked about.
    pub(super) fn begin(&mut self, now: Duration) {
        if self.policy.enabled && !self.known.is_empty() {
            self.known.values_mut().for_each(|known| known.open = true);
            self.interval = self.policy.first;
            self.ask_at = Some(now);
        }
    }

    /// What became of these is not known.
    pub(super) fn doubt<'a>(&mut self, now: Duration, ids: impl Iterator<Item = &'a v1::OperationId>) {
        let mut any = false;
        for id in ids {
            if let Some(known) = self.known.get_mut(&id.value) {
                known.open = true;
                any = true;
            }
        }
        if any && self.policy.enabled {
            self.interval = self.policy.first;
            let at = now + self.policy.first;
            self.ask_at = Some(self.ask_at.map_or(at, |earlier| earlier.min(at)));
        }
    }

    pub(super) fn stop(&mut self) {
        self.ask_at = None;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.ask_at
    }

    /// The question that is due; the next time is set.
    pub(super) fn due(&mut self, now: Duration) -> Option<Vec<reconcile_operations::Operation>> {
        if self.ask_at.is_none_or(|at| at > now) {
            return None;
        }
        let open: Vec<_> = self.known.iter().filter(|(_, known)| known.open).map(question).collect();
        if open.is_empty() {
            self.ask_at = None;
            return None;
        }
        self.ask_at = Some(now + self.interval);
        self.interval = (self.interval * 2).min(self.policy.max);
        Some(open)
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.known.keys().all(|id| !id.is_empty()));
    }
}

fn question((id, known): (&String, &Known)) -> reconcile_operations::Operation {
    reconcile_operations::Operation {
        operation_id: v1::OperationId { value: id.clone() },
        agent_id: known.agent.clone(),
        resource_provider_id: known.provider.clone(),
    }
}
