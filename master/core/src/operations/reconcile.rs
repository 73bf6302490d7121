//! RECONCILE_OPERATIONS: the master says what it believes of operations (src/master/master.cpp, reconcileOperations).

use mezzo_api::v1::{OperationState, OperationStatus, scheduler::call};

use crate::{core::Core, counters::Counter, effect::Effects, events, keys::FrameworkKey};

impl Core {
    pub(crate) fn on_reconcile_operations(
        &mut self,
        key: FrameworkKey,
        reconcile: call::ReconcileOperations,
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesReconcileOperations);
        let Some(id) = self.frameworks.get(key).map(|framework| framework.id.clone()) else { return };
        let statuses: Vec<OperationStatus> = if reconcile.operations.is_empty() {
            let own = self
                .operations
                .iter()
                .filter(|(_, operation)| operation.view.framework_id.as_ref() == Some(&id) && operation.id().is_some());
            let mut all: Vec<_> = own.map(|(_, operation)| restated(&operation.view.latest)).collect();
            all.reverse(); // the newest first, as Mesos was seen to answer
            all
        } else {
            reconcile.operations.into_iter().map(|question| self.answer_operation(key, question)).collect()
        };
        for status in statuses {
            self.send(key, events::operation_status(status), out);
        }
    }

    fn answer_operation(&self, key: FrameworkKey, question: call::reconcile_operations::Operation) -> OperationStatus {
        let known = self
            .frameworks
            .get(key)
            .and_then(|framework| self.operations.named(&framework.id, &question.operation_id.value))
            .and_then(|uuid| self.operations.get(uuid));
        if let Some(operation) = known {
            return restated(&operation.view.latest);
        }
        let (state, message) = self.state_of_unknown(question.agent_id.as_ref().map(|id| id.value.as_str()));
        let mut status = events::operation(Some(question.operation_id), state, message.to_owned());
        status.agent_id = question.agent_id;
        status.resource_provider_id = question.resource_provider_id;
        status
    }

    fn state_of_unknown(&self, agent: Option<&str>) -> (OperationState, &'static str) {
        let Some(agent) = agent else {
            return (
                OperationState::OperationUnknown,
                "Reconciliation: Operation is unknown and no 'agent_id' was provided",
            );
        };
        if self.agents.recovered.contains_key(agent) {
            return (
                OperationState::OperationRecovering,
                "Reconciliation: Agent is recovered but has not re-registered",
            );
        }
        if self.agents.find(agent).is_some() {
            return (OperationState::OperationUnknown, "Reconciliation: Operation is unknown");
        }
        if self.agents.unreachable.contains_key(agent) {
            return (OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable");
        }
        if self.agents.gone.contains_key(agent) {
            return (OperationState::OperationGoneByOperator, "Reconciliation: Agent marked gone by operator");
        }
        (OperationState::OperationUnknown, "Reconciliation: Both operation and agent are unknown")
    }
}

/// An answer is nothing to acknowledge.
fn restated(status: &OperationStatus) -> OperationStatus {
    OperationStatus { uuid: None, ..status.clone() }
}
