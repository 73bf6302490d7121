//! What operators set and operations do, as messages of the operator API.

use mezzo_api::v1::{
    self, WeightInfo,
    master::response::GetOperations,
    quota::{QuotaInfo, QuotaStatus},
};

use super::View;

/// GET_OPERATIONS.
pub(crate) fn get_operations(view: &View) -> GetOperations {
    let operation = |operation: &std::sync::Arc<mezzo_master_core::model::Operation>| v1::Operation {
        framework_id: operation.framework_id.as_ref().map(|id| id.proto()),
        agent_id: Some(operation.agent_id.proto()),
        info: (*operation.info).clone(),
        latest_status: operation.latest.clone(),
        statuses: operation.statuses.clone(),
        uuid: v1::Uuid { value: operation.uuid.clone() },
    };
    GetOperations { operations: view.operations.values().map(operation).collect() }
}

/// GET_QUOTA and `/quota`: in the older form and in today's.
#[allow(deprecated)] // `infos` is the older form
pub(crate) fn quota_status(view: &View) -> QuotaStatus {
    let resource = |(name, amount): (&String, &v1::value::Scalar)| v1::Resource {
        name: name.clone(),
        r#type: v1::value::Type::Scalar.into(),
        scalar: Some(*amount),
        ..Default::default()
    };
    let infos = view.quotas.values().map(|quota| QuotaInfo {
        role: Some(quota.role.clone()),
        principal: None,
        guarantee: quota.guarantees.iter().map(resource).collect(),
    });
    QuotaStatus { infos: infos.collect(), configs: view.quotas.values().map(|quota| (**quota).clone()).collect() }
}

/// GET_WEIGHTS and `/weights`: those that were set.
pub(crate) fn weight_infos(view: &View) -> Vec<WeightInfo> {
    view.weights.iter().map(|(role, weight)| WeightInfo { role: Some(role.clone()), weight: *weight }).collect()
}
