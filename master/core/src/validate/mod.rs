//! What can be refused without knowing the cluster, with Mesos' texts (src/master/validation.cpp,
//! src/common/validation.cpp of apache/mesos: clients and their authors read them).

use mezzo_api::v1::scheduler::{Call, call};

mod check;
mod command;
pub(crate) mod constraints;
mod container;
pub(crate) mod executor;
pub(crate) mod framework;
pub(crate) mod group;
mod id;
pub(crate) mod operation;
pub(crate) mod resources;
pub(crate) mod task;

pub(crate) use id::validate_id;

/// Why an input is refused, in the words that Mesos uses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invalid(pub(crate) String);

impl Invalid {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn within(self, context: &str) -> Self {
        Self(format!("{context}: {}", self.0))
    }
}

/// Why a call is malformed: HTTP 400 with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to validate scheduler::Call: {detail}")]
pub struct CallError {
    detail: String,
}

impl CallError {
    fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into() }
    }

    fn missing(field: &str) -> Self {
        Self::new(format!("Expecting '{field}' to be present"))
    }
}

/// Call-level validation, before the core hears of the call.
///
/// # Errors
/// If the call has no type, lacks what its type needs, or names another principal than the authenticated one.
pub fn scheduler_call(call: &Call, principal: Option<&str>) -> Result<(), CallError> {
    let kind =
        call.r#type.and_then(|kind| call::Type::try_from(kind).ok()).ok_or_else(|| CallError::missing("type"))?;
    if kind == call::Type::Subscribe {
        return subscribe(call, principal);
    }
    if call.framework_id.is_none() {
        return Err(CallError::missing("framework_id"));
    }
    payload(call, kind)
}

fn subscribe(call: &Call, principal: Option<&str>) -> Result<(), CallError> {
    let Some(subscribe) = &call.subscribe else { return Err(CallError::missing("subscribe")) };
    let info = &subscribe.framework_info;
    let value = |id: &Option<mezzo_api::v1::FrameworkId>| id.as_ref().map_or(String::new(), |id| id.value.clone());
    if value(&info.id) != value(&call.framework_id) {
        return Err(CallError::new("'framework_id' differs from 'subscribe.framework_info.id'"));
    }
    if let (Some(authenticated), Some(named)) = (principal, info.principal.as_deref())
        && authenticated != named
    {
        return Err(CallError::new(format!(
            "Authenticated principal '{authenticated}' does not match principal '{named}' set in `FrameworkInfo`"
        )));
    }
    Ok(())
}

fn payload(call: &Call, kind: call::Type) -> Result<(), CallError> {
    let present = |there: bool, field: &str| if there { Ok(()) } else { Err(CallError::missing(field)) };
    match kind {
        call::Type::Subscribe
        | call::Type::Teardown
        | call::Type::Revive
        | call::Type::Suppress
        | call::Type::Unknown => Ok(()),
        call::Type::Accept => present(call.accept.is_some(), "accept"),
        call::Type::Decline => present(call.decline.is_some(), "decline"),
        call::Type::AcceptInverseOffers => present(call.accept_inverse_offers.is_some(), "accept_inverse_offers"),
        call::Type::DeclineInverseOffers => present(call.decline_inverse_offers.is_some(), "decline_inverse_offers"),
        call::Type::Kill => present(call.kill.is_some(), "kill"),
        call::Type::Shutdown => present(call.shutdown.is_some(), "shutdown"),
        call::Type::Reconcile => present(call.reconcile.is_some(), "reconcile"),
        call::Type::ReconcileOperations => present(call.reconcile_operations.is_some(), "reconcile_operations"),
        call::Type::Message => present(call.message.is_some(), "message"),
        call::Type::Request => present(call.request.is_some(), "request"),
        call::Type::Acknowledge => match &call.acknowledge {
            None => Err(CallError::missing("acknowledge")),
            Some(acknowledge) => uuid(&acknowledge.uuid),
        },
        call::Type::AcknowledgeOperationStatus => match &call.acknowledge_operation_status {
            None => Err(CallError::missing("acknowledge_operation_status")),
            Some(acknowledge) => {
                uuid(&acknowledge.uuid)?;
                present(acknowledge.agent_id.is_some(), "agent_id")
            }
        },
        call::Type::UpdateFramework => match &call.update_framework {
            None => Err(CallError::missing("update_framework")),
            Some(update) if update.framework_info.id != call.framework_id => {
                Err(CallError::new("'framework_id' differs from 'update_framework.framework_info.id'"))
            }
            Some(_) => Ok(()),
        },
    }
}

/// 16 bytes of which the version is one of 1 to 5, as boost reads them.
fn uuid(bytes: &[u8]) -> Result<(), CallError> {
    match bytes {
        [_, _, _, _, _, _, version, ..] if bytes.len() == 16 && matches!(version >> 4, 1..=5) => Ok(()),
        _ => Err(CallError::new("Not a valid UUID")),
    }
}
