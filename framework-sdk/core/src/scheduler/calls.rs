//! Calls, built: each of the right type with its payload. The framework id is filled in by the core.

use mezzo_api::v1::{
    self,
    scheduler::{Call, call},
};

fn typed(kind: call::Type) -> Call {
    Call { r#type: Some(kind as i32), ..Call::default() }
}

/// Takes offers (all of one agent and one role) and uses them; what is left over is declined with `filters`.
pub fn accept(offers: Vec<v1::OfferId>, operations: Vec<v1::offer::Operation>, filters: Option<v1::Filters>) -> Call {
    Call { accept: Some(call::Accept { offer_ids: offers, operations, filters }), ..typed(call::Type::Accept) }
}

/// An operation that launches these tasks.
pub fn launch(tasks: Vec<v1::TaskInfo>) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Launch as i32),
        launch: Some(v1::offer::operation::Launch { task_infos: tasks }),
        ..Default::default()
    }
}

/// An operation that launches these tasks as one pod: all or none, in one container of this executor.
pub fn launch_group(executor: v1::ExecutorInfo, tasks: Vec<v1::TaskInfo>) -> v1::offer::Operation {
    let launch_group = v1::offer::operation::LaunchGroup { executor, task_group: v1::TaskGroupInfo { tasks } };
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::LaunchGroup as i32),
        launch_group: Some(Box::new(launch_group)),
        ..Default::default()
    }
}

/// An operation that reserves resources: as they were offered, with a reservation pushed on each.
pub fn reserve(resources: Vec<v1::Resource>) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Reserve as i32),
        reserve: Some(v1::offer::operation::Reserve { resources, ..Default::default() }),
        ..Default::default()
    }
}

/// An operation that gives reserved resources free.
pub fn unreserve(resources: Vec<v1::Resource>) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Unreserve as i32),
        unreserve: Some(v1::offer::operation::Unreserve { resources }),
        ..Default::default()
    }
}

/// An operation that makes persistent volumes of reserved disk.
pub fn create(volumes: Vec<v1::Resource>) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Create as i32),
        create: Some(v1::offer::operation::Create { volumes }),
        ..Default::default()
    }
}

/// An operation that destroys persistent volumes, with what is on them.
pub fn destroy(volumes: Vec<v1::Resource>) -> v1::offer::Operation {
    v1::offer::Operation {
        r#type: Some(v1::offer::operation::Type::Destroy as i32),
        destroy: Some(v1::offer::operation::Destroy { volumes }),
        ..Default::default()
    }
}

/// The operation under an id: its outcome is then told. Agents must be able to (AGENT_OPERATION_FEEDBACK).
pub fn with_feedback(operation: v1::offer::Operation, id: impl Into<String>) -> v1::offer::Operation {
    v1::offer::Operation { id: Some(v1::OperationId { value: id.into() }), ..operation }
}

/// Gives offers back; the same resources are not offered again for `filters.refuse_seconds` (5 s when unset).
pub fn decline(offers: Vec<v1::OfferId>, filters: Option<v1::Filters>) -> Call {
    Call { decline: Some(call::Decline { offer_ids: offers, filters }), ..typed(call::Type::Decline) }
}

/// Says that the maintenance of an agent suits.
pub fn accept_inverse_offers(offers: Vec<v1::OfferId>, filters: Option<v1::Filters>) -> Call {
    Call {
        accept_inverse_offers: Some(call::AcceptInverseOffers { inverse_offer_ids: offers, filters }),
        ..typed(call::Type::AcceptInverseOffers)
    }
}

/// Says that the maintenance of an agent does not suit.
pub fn decline_inverse_offers(offers: Vec<v1::OfferId>, filters: Option<v1::Filters>) -> Call {
    Call {
        decline_inverse_offers: Some(call::DeclineInverseOffers { inverse_offer_ids: offers, filters }),
        ..typed(call::Type::DeclineInverseOffers)
    }
}

/// Asks for offers for these roles (all when empty) and removes their filters.
pub fn revive(roles: Vec<String>) -> Call {
    Call { revive: Some(call::Revive { roles }), ..typed(call::Type::Revive) }
}

/// Asks for no offers for these roles (all when empty) until revived.
pub fn suppress(roles: Vec<String>) -> Call {
    Call { suppress: Some(call::Suppress { roles }), ..typed(call::Type::Suppress) }
}

/// Kills a task; may be repeated with a shorter grace.
pub fn kill(task: v1::TaskId, agent: Option<v1::AgentId>, policy: Option<v1::KillPolicy>) -> Call {
    Call { kill: Some(call::Kill { task_id: task, agent_id: agent, kill_policy: policy }), ..typed(call::Type::Kill) }
}

/// Shuts an executor down.
pub fn shutdown_executor(executor: v1::ExecutorId, agent: v1::AgentId) -> Call {
    Call { shutdown: Some(call::Shutdown { executor_id: executor, agent_id: agent }), ..typed(call::Type::Shutdown) }
}

/// Acknowledges a status; `None` when it is one that nobody waits to see acknowledged (no uuid).
pub fn acknowledge(status: &v1::TaskStatus) -> Option<Call> {
    let uuid = status.uuid.clone().filter(|uuid| !uuid.is_empty())?;
    let agent_id = status.agent_id.clone()?;
    Some(Call {
        acknowledge: Some(call::Acknowledge { agent_id, task_id: status.task_id.clone(), uuid }),
        ..typed(call::Type::Acknowledge)
    })
}

/// Acknowledges an operation's status; `None` when nobody waits for it.
pub fn acknowledge_operation(status: &v1::OperationStatus) -> Option<Call> {
    let uuid = status.uuid.as_ref()?.value.clone();
    let operation_id = status.operation_id.clone()?;
    Some(Call {
        acknowledge_operation_status: Some(call::AcknowledgeOperationStatus {
            agent_id: status.agent_id.clone(),
            resource_provider_id: status.resource_provider_id.clone(),
            uuid,
            operation_id,
        }),
        ..typed(call::Type::AcknowledgeOperationStatus)
    })
}

/// Asks for the latest status of these tasks, or of all that the master knows when empty.
pub fn reconcile(tasks: Vec<call::reconcile::Task>) -> Call {
    Call { reconcile: Some(call::Reconcile { tasks }), ..typed(call::Type::Reconcile) }
}

/// Asks for the latest status of these operations, or of all when empty.
pub fn reconcile_operations(operations: Vec<call::reconcile_operations::Operation>) -> Call {
    Call {
        reconcile_operations: Some(call::ReconcileOperations { operations }),
        ..typed(call::Type::ReconcileOperations)
    }
}

/// Sends data to an executor; best effort.
pub fn message(agent: v1::AgentId, executor: v1::ExecutorId, data: bytes::Bytes) -> Call {
    Call { message: Some(call::Message { agent_id: agent, executor_id: executor, data }), ..typed(call::Type::Message) }
}

/// Changes the framework's description, roles, suppressed roles and constraints.
pub fn update_framework(
    info: v1::FrameworkInfo,
    suppressed_roles: Vec<String>,
    offer_constraints: Option<v1::scheduler::OfferConstraints>,
) -> Call {
    Call {
        update_framework: Some(Box::new(call::UpdateFramework {
            framework_info: info,
            suppressed_roles,
            offer_constraints,
        })),
        ..typed(call::Type::UpdateFramework)
    }
}

/// Removes the framework; all its tasks are killed.
pub fn teardown() -> Call {
    typed(call::Type::Teardown)
}

pub(super) fn subscribe(
    info: v1::FrameworkInfo,
    suppressed_roles: Vec<String>,
    offer_constraints: Option<v1::scheduler::OfferConstraints>,
) -> Call {
    Call {
        framework_id: info.id.clone(),
        subscribe: Some(Box::new(call::Subscribe { framework_info: info, suppressed_roles, offer_constraints })),
        ..typed(call::Type::Subscribe)
    }
}

/// Whether a call may be sent a second time when it is not known whether the first was carried out. ACCEPT may not:
/// its offers would be found used, and its running tasks be reported as lost. MESSAGE is best effort.
pub(super) fn may_repeat(kind: call::Type) -> bool {
    match kind {
        call::Type::Accept | call::Type::Message | call::Type::Subscribe | call::Type::Unknown => false,
        call::Type::Teardown
        | call::Type::Decline
        | call::Type::AcceptInverseOffers
        | call::Type::DeclineInverseOffers
        | call::Type::Revive
        | call::Type::Kill
        | call::Type::Shutdown
        | call::Type::Acknowledge
        | call::Type::AcknowledgeOperationStatus
        | call::Type::Reconcile
        | call::Type::ReconcileOperations
        | call::Type::Request
        | call::Type::Suppress
        | call::Type::UpdateFramework => true,
    }
}

/// Whether a call that cannot be sent now still means the same after the next subscription. Offers do not outlive
/// one; what is suppressed is part of the next SUBSCRIBE; the driver reconciles by itself.
pub(super) fn outlives_subscription(kind: call::Type) -> bool {
    match kind {
        call::Type::Kill
        | call::Type::Shutdown
        | call::Type::Acknowledge
        | call::Type::AcknowledgeOperationStatus
        | call::Type::Reconcile
        | call::Type::ReconcileOperations
        | call::Type::UpdateFramework
        | call::Type::Request
        | call::Type::Teardown => true,
        call::Type::Accept
        | call::Type::Decline
        | call::Type::AcceptInverseOffers
        | call::Type::DeclineInverseOffers
        | call::Type::Message
        | call::Type::Revive
        | call::Type::Suppress
        | call::Type::Subscribe
        | call::Type::Unknown => false,
    }
}

/// The ids under which an ACCEPT asks for feedback.
pub(super) fn operation_ids(call: &Call) -> impl Iterator<Item = &v1::OperationId> {
    call.accept.iter().flat_map(|accept| &accept.operations).filter_map(|operation| operation.id.as_ref())
}

/// The tasks that an ACCEPT launches.
pub(crate) fn launched(call: &Call) -> impl Iterator<Item = &v1::TaskInfo> {
    call.accept.iter().flat_map(|accept| &accept.operations).flat_map(|operation| {
        let single = operation.launch.iter().flat_map(|launch| &launch.task_infos);
        let group = operation.launch_group.iter().flat_map(|group| &group.task_group.tasks);
        single.chain(group)
    })
}
