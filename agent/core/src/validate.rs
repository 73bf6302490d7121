//! Call-level validation of executors' calls, in Mesos' order and words (src/common/validation.cpp).

use mezzo_api::v1::{
    CheckStatusInfo, TaskState, TaskStatus, check_info,
    executor::{Call, call},
    task_status::Source,
};

use crate::status::is_uuid;

/// What is wrong with the call, as the 400 says after `Failed to validate Executor::Call: `.
pub fn executor_call(call: &Call) -> Result<(), String> {
    let present = |present: bool, field: &str| match present {
        true => Ok(()),
        false => Err(format!("Expecting '{field}' to be present")),
    };
    let Some(kind) = call.r#type.and_then(|kind| call::Type::try_from(kind).ok()) else {
        return present(false, "type");
    };
    match kind {
        call::Type::Subscribe => present(call.subscribe.is_some(), "subscribe"),
        call::Type::Message => present(call.message.is_some(), "message"),
        call::Type::Update => match &call.update {
            Some(update) => status(call, &update.status),
            None => present(false, "update"),
        },
        call::Type::Heartbeat | call::Type::Unknown => Ok(()),
    }
}

fn status(call: &Call, status: &TaskStatus) -> Result<(), String> {
    let executor = &call.executor_id.value;
    let uuid = status.uuid.as_ref().ok_or("Expecting 'uuid' to be present")?;
    if !is_uuid(uuid) {
        return Err("Not a valid UUID".into());
    }
    if let Some(other) = status.executor_id.as_ref().filter(|other| other.value != *executor) {
        return Err(format!("ExecutorID in Call: {executor} does not match ExecutorID in TaskStatus: {}", other.value));
    }
    let of = format!("executor {executor} of framework {}", call.framework_id.value);
    if status.source != Some(Source::Executor as i32) {
        return Err(format!("Received Call from {of} with invalid source, expecting 'SOURCE_EXECUTOR'"));
    }
    if status.state() == TaskState::TaskStaging {
        return Err(format!("Received TASK_STAGING from {of} which is not allowed"));
    }
    status.check_status.as_ref().map_or(Ok(()), check_status)
}

fn check_status(status: &CheckStatusInfo) -> Result<(), String> {
    let Some(kind) = status.r#type.and_then(|kind| check_info::Type::try_from(kind).ok()) else {
        return Err("CheckStatusInfo must specify 'type'".into());
    };
    let (set, text) = match kind {
        check_info::Type::Command => (status.command.is_some(), "Expecting 'command' to be set for COMMAND"),
        check_info::Type::Http => (status.http.is_some(), "Expecting 'http' to be set for HTTP"),
        check_info::Type::Tcp => (status.tcp.is_some(), "Expecting 'tcp' to be set for TCP"),
        check_info::Type::Unknown => return Err("'UNKNOWN' is not a valid check's status type".into()),
    };
    if set { Ok(()) } else { Err(format!("{text} check's status")) }
}
