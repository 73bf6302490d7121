//! What a call must have (src/slave/validation.cpp, agent::call::validate).

use mezzo_api::v1::agent::{Call, call};

/// Why a call is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Expecting '{0}' to be present")]
pub(super) struct Missing(&'static str);

/// Looks for the part that belongs to the type.
#[allow(deprecated)] // nested container calls are calls like others
pub(super) fn call(call: &Call) -> Result<(), Missing> {
    let Some(Ok(kind)) = call.r#type.map(call::Type::try_from) else { return Err(Missing("type")) };
    let (there, part) = match kind {
        call::Type::GetMetrics => (call.get_metrics.is_some(), "get_metrics"),
        call::Type::SetLoggingLevel => (call.set_logging_level.is_some(), "set_logging_level"),
        call::Type::ListFiles => (call.list_files.is_some(), "list_files"),
        call::Type::ReadFile => (call.read_file.is_some(), "read_file"),
        call::Type::LaunchNestedContainer => (call.launch_nested_container.is_some(), "launch_nested_container"),
        call::Type::WaitNestedContainer => (call.wait_nested_container.is_some(), "wait_nested_container"),
        call::Type::KillNestedContainer => (call.kill_nested_container.is_some(), "kill_nested_container"),
        call::Type::RemoveNestedContainer => (call.remove_nested_container.is_some(), "remove_nested_container"),
        call::Type::LaunchNestedContainerSession => {
            (call.launch_nested_container_session.is_some(), "launch_nested_container_session")
        }
        call::Type::AttachContainerInput => (call.attach_container_input.is_some(), "attach_container_input"),
        call::Type::AttachContainerOutput => (call.attach_container_output.is_some(), "attach_container_output"),
        call::Type::LaunchContainer => (call.launch_container.is_some(), "launch_container"),
        call::Type::WaitContainer => (call.wait_container.is_some(), "wait_container"),
        call::Type::KillContainer => (call.kill_container.is_some(), "kill_container"),
        call::Type::RemoveContainer => (call.remove_container.is_some(), "remove_container"),
        call::Type::AddResourceProviderConfig => {
            (call.add_resource_provider_config.is_some(), "add_resource_provider_config")
        }
        call::Type::UpdateResourceProviderConfig => {
            (call.update_resource_provider_config.is_some(), "update_resource_provider_config")
        }
        call::Type::RemoveResourceProviderConfig => {
            (call.remove_resource_provider_config.is_some(), "remove_resource_provider_config")
        }
        call::Type::MarkResourceProviderGone => {
            (call.mark_resource_provider_gone.is_some(), "mark_resource_provider_gone")
        }
        call::Type::Unknown
        | call::Type::GetHealth
        | call::Type::GetFlags
        | call::Type::GetVersion
        | call::Type::GetLoggingLevel
        | call::Type::GetState
        | call::Type::GetContainers
        | call::Type::GetFrameworks
        | call::Type::GetExecutors
        | call::Type::GetOperations
        | call::Type::GetTasks
        | call::Type::GetAgent
        | call::Type::GetResourceProviders
        | call::Type::PruneImages => return Ok(()),
    };
    if there { Ok(()) } else { Err(Missing(part)) }
}
