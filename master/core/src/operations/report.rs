//! Operations of an agent that comes back: those that it reports are known from then on, those that it does not report
//! never reached it.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::FrameworkId,
    link,
    resources::{ConversionError, Resources},
    v1,
};

use crate::{
    core::Core,
    description::Description,
    effect::{Change, Effect, Effects},
    keys::AgentKey,
    model,
};

/// What an agent has, with reservations and volumes.
///
/// # Errors
/// If a resource is not valid, or a reservation is of what the agent has not.
pub(crate) fn total_of(info: &Description, checkpointed: &[v1::Resource]) -> Result<Arc<Resources>, ConversionError> {
    let checkpointed = Resources::from_protos(checkpointed)?;
    if checkpointed.is_empty() {
        return Ok(info.started()?.clone());
    }
    Ok(Arc::new(info.started()?.with_checkpointed(&checkpointed)?))
}

impl Core {
    /// Enters what the agent reports. The answer is what it does not know, for it to drop.
    pub(crate) fn reconcile_report_of_operations(
        &mut self,
        key: AgentKey,
        report: &link::Reregister,
        out: &mut Effects,
    ) -> Vec<link::ApplyOperation> {
        let mut reported: BTreeSet<Bytes> = BTreeSet::new();
        for operation in &report.operations {
            let uuid = operation.uuid.value.clone();
            if uuid.len() == 16 && reported.insert(uuid.clone()) {
                self.adopt_operation(key, uuid, operation, out);
            }
        }
        let Some(agent) = self.agents.get(key).filter(|_| !mezzo_api::mutant!("missing-operations-unasked")) else {
            return Vec::new();
        };
        let missing = agent.operations.iter().filter(|uuid| !reported.contains(*uuid));
        missing
            .filter_map(|uuid| {
                let view = &self.operations.get(uuid)?.view;
                Some(link::ApplyOperation {
                    operation_uuid: uuid.clone(),
                    framework_id: view.framework_id.as_ref().map(FrameworkId::proto),
                    operation: (*view.info).clone(),
                    resource_version: None,
                })
            })
            .collect()
    }

    /// The agent sends the status itself, once it is registered.
    fn adopt_operation(&mut self, key: AgentKey, uuid: Bytes, operation: &v1::Operation, out: &mut Effects) {
        if let Some(known) = self.operations.all.get_mut(&uuid) {
            if known.agent == key && known.view.latest != operation.latest_status {
                let view = Arc::make_mut(&mut known.view);
                view.statuses.push(operation.latest_status.clone());
                view.latest = operation.latest_status.clone();
                out.push(Effect::Publish(Change::Operation(known.view.clone())));
            }
            return;
        }
        let Some(agent_id) = self.agents.get(key).map(|agent| agent.id.clone()) else { return };
        let view = model::Operation {
            uuid: uuid.clone(),
            framework_id: operation.framework_id.as_ref().map(FrameworkId::from),
            agent_id,
            info: Arc::new(operation.info.clone()),
            latest: operation.latest_status.clone(),
            statuses: operation.statuses.clone(),
        };
        self.enter_operation(uuid, key, view, out);
    }
}
