//! What agents say of operations, to whom it is told, and when it need not be said again.

use std::sync::Arc;

use bytes::Bytes;
use mezzo_api::{
    link::{self, to_agent},
    time::Now,
    v1::{self, OperationState, scheduler::call},
};

use super::{is_terminal, total_of};
use crate::{
    core::Core,
    counters::Counter,
    effect::{Change, Effect, Effects},
    events,
    keys::{AgentKey, FrameworkKey},
};

impl Core {
    /// A status of an operation: to the framework that asked for feedback; else it is acknowledged here.
    pub(crate) fn on_operation_status(&mut self, agent: AgentKey, told: link::OperationStatus, out: &mut Effects) {
        self.counters.increment(Counter::MessagesOperationStatusUpdate);
        let uuid = told.operation_uuid;
        let known = self.operations.all.get_mut(&uuid).filter(|operation| operation.agent == agent);
        let Some(operation) = known else {
            tracing::debug!(?uuid, "ignoring a status of an unknown operation");
            self.counters.increment(Counter::InvalidOperationStatusUpdates);
            return;
        };
        self.counters.increment(Counter::ValidOperationStatusUpdates);
        let view = Arc::make_mut(&mut operation.view);
        if view.latest.uuid != told.status.uuid {
            view.statuses.push(told.status.clone());
        }
        view.latest = told.status.clone();
        out.push(Effect::Publish(Change::Operation(operation.view.clone())));
        let framework = operation.view.framework_id.clone();
        let live = framework.as_ref().and_then(|id| self.frameworks.find(id.as_str()));
        let over = framework.as_ref().is_none_or(|id| self.frameworks.is_completed(id.as_str()));
        let wants = self.operations.get(&uuid).is_some_and(|operation| operation.id().is_some());
        match live {
            Some(framework) if wants => {
                self.send(framework, events::operation_status(told.status), out);
            }
            // Nobody has subscribed yet who could acknowledge it.
            None if wants && !over => {}
            _ => self.acknowledge_for_nobody(&uuid, &told.status, out),
        }
    }

    fn acknowledge_for_nobody(&mut self, uuid: &Bytes, status: &v1::OperationStatus, out: &mut Effects) {
        let Some(operation) = self.operations.get(uuid) else { return };
        let (agent, id) = (operation.agent, status.uuid.as_ref().map(|uuid| uuid.value.clone()));
        if let Some(status_uuid) = id {
            let message = link::AcknowledgeOperation { operation_uuid: uuid.clone(), status_uuid };
            self.tell(agent, to_agent::Message::AcknowledgeOperation(message), out);
        }
        if is_terminal(status.state()) {
            self.forget_operation(uuid, out);
        }
    }

    /// The framework has heard. Dropped when the agent is away: it sends the status again.
    pub(crate) fn on_acknowledge_operation(
        &mut self,
        key: FrameworkKey,
        acknowledge: &call::AcknowledgeOperationStatus,
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesOperationStatusUpdateAcknowledgement);
        let passed = self.pass_operation_acknowledgement(key, acknowledge, out).is_some();
        self.counters.increment(if passed {
            Counter::ValidOperationStatusUpdateAcknowledgements
        } else {
            Counter::InvalidOperationStatusUpdateAcknowledgements
        });
    }

    fn pass_operation_acknowledgement(
        &mut self,
        key: FrameworkKey,
        acknowledge: &call::AcknowledgeOperationStatus,
        out: &mut Effects,
    ) -> Option<()> {
        let framework = self.frameworks.get(key)?;
        let uuid = self.operations.named(&framework.id, &acknowledge.operation_id.value)?.clone();
        let operation = self.operations.get(&uuid)?;
        let (agent, latest) = (operation.agent, &operation.view.latest);
        self.agents.get(agent)?.link?;
        let status_uuid = latest.uuid.as_ref().filter(|latest| latest.value == acknowledge.uuid)?.value.clone();
        let terminal = is_terminal(latest.state());
        let message = link::AcknowledgeOperation { operation_uuid: uuid.clone(), status_uuid };
        self.tell(agent, to_agent::Message::AcknowledgeOperation(message), out);
        if terminal {
            self.forget_operation(&uuid, out);
        }
        Some(())
    }

    /// An operation was not carried out: what was believed of the agent's resources is taken back.
    pub(crate) fn on_resources_changed(
        &mut self,
        now: Now,
        key: AgentKey,
        changed: &link::ResourcesChanged,
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesUpdateSlave);
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.resource_version = Some(changed.resource_version.clone());
        match total_of(&agent.info, &changed.checkpointed_resources) {
            Ok(total) => self.set_total(now, key, total, out),
            Err(error) => tracing::warn!(%error, "an agent reports reservations of what it has not"),
        }
    }

    /// A framework is no more: what waits for its acknowledgement waits no longer.
    pub(crate) fn release_operations_of_framework(&mut self, key: FrameworkKey, out: &mut Effects) {
        let Some(id) = self.frameworks.get(key).map(|framework| framework.id.clone()) else { return };
        let of_framework = |view: &crate::model::Operation| view.framework_id.as_ref() == Some(&id);
        let told: Vec<_> = self
            .operations
            .iter()
            .filter(|(_, operation)| of_framework(&operation.view) && operation.view.latest.uuid.is_some())
            .map(|(uuid, operation)| (uuid.clone(), operation.view.latest.clone()))
            .collect();
        for (uuid, status) in told {
            self.acknowledge_for_nobody(&uuid, &status, out);
        }
    }

    /// An agent is no more (or not to be reached): who waits for an operation on it hears so.
    pub(crate) fn lose_operations(&mut self, key: AgentKey, state: OperationState, message: &str, out: &mut Effects) {
        let uuids: Vec<Bytes> = self.agents.get(key).into_iter().flat_map(|agent| &agent.operations).cloned().collect();
        for uuid in uuids {
            if let Some(operation) = self.operations.get(&uuid)
                && !is_terminal(operation.view.latest.state())
                && let (Some(framework), Some(id)) = (&operation.view.framework_id, operation.id())
                && let Some(framework) = self.frameworks.find(framework.as_str())
            {
                let mut status = events::operation(Some(id.clone()), state, message.to_owned());
                status.agent_id = Some(operation.view.agent_id.proto());
                self.send(framework, events::operation_status(status), out);
            }
            self.forget_operation(&uuid, out);
        }
    }
}
