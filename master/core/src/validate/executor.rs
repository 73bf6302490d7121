//! `ExecutorInfo` (src/master/validation.cpp, namespace executor).

use mezzo_api::{
    codec::{Encoding, encode},
    resources::Resources,
    v1::{ExecutorInfo, container_info, executor_info},
};

use super::{Invalid, command::validate_command, container::validate_container, resources, task::Site, validate_id};

/// What holds of every executor. `resources` are those of `executor`.
pub(super) fn validate(executor: &ExecutorInfo, resources: &Resources, site: &Site<'_>) -> Result<(), Invalid> {
    validate_type(executor)?;
    validate_id(&executor.executor_id.value)?;
    if executor.shutdown_grace_period.is_some_and(|grace| grace.nanoseconds < 0) {
        return Err(Invalid::new("ExecutorInfo's 'shutdown_grace_period' must be non-negative"));
    }
    if let Some(command) = &executor.command {
        validate_command(command).map_err(|invalid| invalid.within("Executor's `CommandInfo` is invalid"))?;
    }
    if let Some(container) = &executor.container {
        validate_container(container).map_err(|invalid| invalid.within("Executor's `ContainerInfo` is invalid"))?;
    }
    validate_framework_id(executor, site)?;
    validate_resources(resources)?;
    validate_compatible(executor, resources, site)
}

fn validate_type(executor: &ExecutorInfo) -> Result<(), Invalid> {
    match executor.r#type() {
        executor_info::Type::Unknown if executor.r#type.is_some() => Ok(()),
        executor_info::Type::Default => {
            if executor.command.is_some() {
                return Err(Invalid::new("'ExecutorInfo.command' must not be set for 'DEFAULT' executor"));
            }
            let Some(container) = &executor.container else { return Ok(()) };
            if container.r#type() != container_info::Type::Mesos {
                return Err(Invalid::new("'ExecutorInfo.container.type' must be 'MESOS' for 'DEFAULT' executor"));
            }
            if container.mesos.as_ref().is_some_and(|mesos| mesos.image.is_some()) {
                return Err(Invalid::new(
                    "'ExecutorInfo.container.mesos.image' must not be set for 'DEFAULT' executor",
                ));
            }
            Ok(())
        }
        executor_info::Type::Custom if executor.command.is_none() => {
            Err(Invalid::new("'ExecutorInfo.command' must be set for 'CUSTOM' executor"))
        }
        executor_info::Type::Custom | executor_info::Type::Unknown => Ok(()),
    }
}

fn validate_framework_id(executor: &ExecutorInfo, site: &Site<'_>) -> Result<(), Invalid> {
    let expected = &site.framework.id;
    match &executor.framework_id {
        None => Err(Invalid::new("'ExecutorInfo.framework_id' must be set")),
        Some(actual) if actual.value != expected.as_str() => Err(Invalid(format!(
            "ExecutorInfo has an invalid FrameworkID (Actual: {} vs Expected: {expected})",
            actual.value
        ))),
        Some(_) => Ok(()),
    }
}

fn validate_resources(resources: &Resources) -> Result<(), Invalid> {
    resources::validate(resources).map_err(|invalid| invalid.within("Executor uses invalid resources"))?;
    resources::validate_unique_persistence_ids(resources)
        .map_err(|invalid| invalid.within("Executor uses duplicate persistence ID"))?;
    resources::validate_single_role(resources).map_err(|invalid| invalid.within("Invalid executor resources"))?;
    resources::validate_revocable(resources)
        .map_err(|invalid| invalid.within("Executor mixes revocable and non-revocable resources"))
}

/// An executor that runs already is described as it was.
fn validate_compatible(executor: &ExecutorInfo, resources: &Resources, site: &Site<'_>) -> Result<(), Invalid> {
    let Some(existing) = site.executor(&executor.executor_id.value) else { return Ok(()) };
    if same(executor, &existing.view.info) && *resources == existing.resources {
        return Ok(());
    }
    let line = "------------------------------------------------------------";
    Err(Invalid(format!(
        "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n\
         {line}\nExisting ExecutorInfo:\n{}\n{line}\nExecutorInfo:\n{}\n{line}\n",
        text(&existing.view.info),
        text(executor)
    )))
}

/// Whether two descriptions are the same but for the order and form of their resources.
pub(super) fn same(left: &ExecutorInfo, right: &ExecutorInfo) -> bool {
    let bare = |info: &ExecutorInfo| ExecutorInfo { resources: Vec::new(), ..info.clone() };
    bare(left) == bare(right)
}

fn text(executor: &ExecutorInfo) -> String {
    String::from_utf8_lossy(&encode(Encoding::Json, executor)).into_owned()
}

/// The executor of a LAUNCH: brought by the framework, never built in.
pub(super) fn validate_launch(executor: &ExecutorInfo, resources: &Resources) -> Result<(), Invalid> {
    if executor.r#type.is_some() && executor.r#type() != executor_info::Type::Custom {
        return Err(Invalid::new("'ExecutorInfo.type' must be 'CUSTOM'"));
    }
    if executor.command.is_none() {
        return Err(Invalid::new("'ExecutorInfo.command' must be set"));
    }
    if resources.iter().any(mezzo_api::resources::Resource::is_shared) {
        return Err(Invalid(format!("Executor resources {resources} should not contain any shared resources")));
    }
    validate_share_cgroups(executor)
}

pub(super) fn validate_share_cgroups(executor: &ExecutorInfo) -> Result<(), Invalid> {
    let linux = executor.container.as_ref().and_then(|container| container.linux_info.as_ref());
    if linux.is_some_and(|linux| linux.share_cgroups == Some(true)) {
        return Err(Invalid::new("The 'share_cgroups' field cannot be set to 'true' on executor containers"));
    }
    Ok(())
}
