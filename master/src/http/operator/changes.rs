//! Calls that change something, as the core's calls.

use mezzo_api::v1::{
    self, Resource,
    master::{Call, call},
    offer::{Operation, operation},
};
use mezzo_master_core::input::OperatorCall;

/// What the core is asked; the call comes back if it changes nothing. Its payload is known to be there.
#[allow(deprecated)] // SET_QUOTA and REMOVE_QUOTA are calls like others
pub(super) fn change(mut call: Call) -> Result<OperatorCall, Box<Call>> {
    let asked = match call.r#type() {
        call::Type::Teardown => {
            call.teardown.take().map(|teardown| OperatorCall::Teardown { framework_id: teardown.framework_id })
        }
        call::Type::MarkAgentGone => {
            call.mark_agent_gone.take().map(|gone| OperatorCall::MarkAgentGone { agent_id: gone.agent_id })
        }
        call::Type::DrainAgent => call.drain_agent.take().map(|drain| OperatorCall::Drain {
            // `mark_gone` is always written down, as in Mesos.
            config: v1::DrainConfig {
                max_grace_period: drain.max_grace_period.as_ref().map(|grace| v1::DurationInfo {
                    nanoseconds: grace.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(grace.nanos)),
                }),
                mark_gone: Some(drain.mark_gone()),
            },
            agent_id: drain.agent_id,
        }),
        call::Type::DeactivateAgent => {
            call.deactivate_agent.take().map(|deactivate| OperatorCall::Deactivate { agent_id: deactivate.agent_id })
        }
        call::Type::ReactivateAgent => {
            call.reactivate_agent.take().map(|reactivate| OperatorCall::Reactivate { agent_id: reactivate.agent_id })
        }
        call::Type::ReserveResources => call
            .reserve_resources
            .take()
            .map(|reserve| on(reserve.agent_id, self::reserve(reserve.resources, reserve.source))),
        call::Type::UnreserveResources => call
            .unreserve_resources
            .take()
            .map(|unreserve| on(unreserve.agent_id, self::unreserve(unreserve.resources))),
        call::Type::CreateVolumes => {
            call.create_volumes.take().map(|create| on(create.agent_id, self::create(create.volumes)))
        }
        call::Type::DestroyVolumes => {
            call.destroy_volumes.take().map(|destroy| on(destroy.agent_id, self::destroy(destroy.volumes)))
        }
        call::Type::GrowVolume => call.grow_volume.take().map(|grow| {
            let payload = operation::GrowVolume { volume: grow.volume, addition: grow.addition };
            let operation = Operation { grow_volume: Some(Box::new(payload)), ..of_type(operation::Type::GrowVolume) };
            on(grow.agent_id.unwrap_or_default(), operation)
        }),
        call::Type::ShrinkVolume => call.shrink_volume.take().map(|shrink| {
            let payload = operation::ShrinkVolume { volume: shrink.volume, subtract: shrink.subtract };
            let operation =
                Operation { shrink_volume: Some(Box::new(payload)), ..of_type(operation::Type::ShrinkVolume) };
            on(shrink.agent_id.unwrap_or_default(), operation)
        }),
        call::Type::UpdateQuota => call
            .update_quota
            .take()
            .map(|update| OperatorCall::UpdateQuota { force: update.force(), configs: update.quota_configs }),
        call::Type::SetQuota => call.set_quota.take().map(|set| OperatorCall::SetQuota(Box::new(set.quota_request))),
        call::Type::RemoveQuota => {
            call.remove_quota.take().map(|remove| OperatorCall::RemoveQuota { role: remove.role, path: None })
        }
        call::Type::UpdateWeights => {
            call.update_weights.take().map(|update| OperatorCall::UpdateWeights(update.weight_infos))
        }
        call::Type::UpdateMaintenanceSchedule => {
            call.update_maintenance_schedule.take().map(|update| OperatorCall::UpdateSchedule(update.schedule))
        }
        call::Type::StartMaintenance => {
            call.start_maintenance.take().map(|start| OperatorCall::StartMaintenance(start.machines))
        }
        call::Type::StopMaintenance => {
            call.stop_maintenance.take().map(|stop| OperatorCall::StopMaintenance(stop.machines))
        }
        _ => None,
    };
    asked.ok_or_else(|| Box::new(call))
}

fn on(agent_id: v1::AgentId, operation: Operation) -> OperatorCall {
    OperatorCall::Operation { agent_id: agent_id.value, operation: Box::new(operation) }
}

fn of_type(kind: operation::Type) -> Operation {
    Operation { r#type: Some(kind.into()), ..Operation::default() }
}

/// RESERVE.
pub(super) fn reserve(resources: Vec<Resource>, source: Vec<Resource>) -> Operation {
    Operation { reserve: Some(operation::Reserve { resources, source }), ..of_type(operation::Type::Reserve) }
}

/// UNRESERVE.
pub(super) fn unreserve(resources: Vec<Resource>) -> Operation {
    Operation { unreserve: Some(operation::Unreserve { resources }), ..of_type(operation::Type::Unreserve) }
}

/// CREATE.
pub(super) fn create(volumes: Vec<Resource>) -> Operation {
    Operation { create: Some(operation::Create { volumes }), ..of_type(operation::Type::Create) }
}

/// DESTROY.
pub(super) fn destroy(volumes: Vec<Resource>) -> Operation {
    Operation { destroy: Some(operation::Destroy { volumes }), ..of_type(operation::Type::Destroy) }
}
