//! `TaskInfo` (src/master/validation.cpp, namespace task), in Mesos' order: the first error counts.

use mezzo_api::{
    ids::ExecutorId,
    resources::{Resources, Scalar},
    v1::{ContainerInfo, TaskInfo, agent_info::capability, container_info},
};

use super::{
    Invalid, check::validate_check, check::validate_health_check, command::validate_command,
    container::validate_container, executor, resources, validate_id,
};
use crate::{
    agents::{Agent, Executor},
    frameworks::Framework,
    keys::FrameworkKey,
};

/// Where a launch shall happen.
pub(crate) struct Site<'a> {
    pub(crate) framework: &'a Framework,
    pub(crate) key: FrameworkKey,
    pub(crate) agent: &'a Agent,
}

impl<'a> Site<'a> {
    /// The framework's executor of this id on the agent.
    pub(crate) fn executor(&self, id: &str) -> Option<&'a Executor> {
        self.agent.executors.get(&(self.key, ExecutorId::from(id)))
    }
}

/// A task as it came, with its resources read and allocated.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) info: TaskInfo,
    pub(crate) resources: Resources,
    /// Of its executor, if it names one.
    pub(crate) executor_resources: Resources,
}

/// A task that may be launched.
#[derive(Debug)]
pub(crate) struct Launchable {
    /// What it takes out of the offers: its own resources, and its executor's if that does not run yet.
    pub(crate) consumed: Resources,
    /// Whether a new executor starts with it: always for a command task.
    pub(crate) launch_executor: bool,
}

/// Checks a task of a LAUNCH against where it shall run and what is left of the offers.
pub(crate) fn validate(task: &Prepared, site: &Site<'_>, offered: &Resources) -> Result<Launchable, Invalid> {
    validate_task(task, site)?;
    let launchable = validate_executor(task, site, offered)?;
    if share_cgroups(task.info.container.as_deref()) == Some(false) {
        return Err(Invalid::new("Only tasks in a task group may have 'share_cgroups' set to 'false'"));
    }
    Ok(launchable)
}

/// Everything but the executor.
pub(super) fn validate_task(task: &Prepared, site: &Site<'_>) -> Result<(), Invalid> {
    let info = &task.info;
    let id = info.task_id.value.as_str();
    validate_id(id)?;
    if site.framework.tasks.contains_key(id) {
        return Err(Invalid(format!("Task has duplicate ID: {id}")));
    }
    if site.framework.unreachable.contains_key(id) {
        return Err(Invalid(format!("Task reuses the ID of an unreachable task: {id}")));
    }
    if info.agent_id.value != site.agent.id.as_str() {
        return Err(Invalid(format!(
            "Task uses invalid agent {} while agent {} is expected",
            info.agent_id.value, site.agent.id
        )));
    }
    if info.kill_policy.and_then(|policy| policy.grace_period).is_some_and(|grace| grace.nanoseconds < 0) {
        return Err(Invalid::new("Task's 'kill_policy.grace_period' must be non-negative"));
    }
    if info.max_completion_time.is_some_and(|time| time.nanoseconds < 0) {
        return Err(Invalid::new("Task's `max_completion_time` must be non-negative"));
    }
    if let Some(check) = &info.check {
        validate_check(check).map_err(|invalid| invalid.within("Task uses invalid check"))?;
    }
    if let Some(check) = &info.health_check {
        validate_health_check(check).map_err(|invalid| invalid.within("Task uses invalid health check"))?;
    }
    validate_resources(task)?;
    if let Some(command) = &info.command {
        validate_command(command).map_err(|invalid| invalid.within("Task's `CommandInfo` is invalid"))?;
    }
    if let Some(container) = &info.container {
        validate_container(container).map_err(|invalid| invalid.within("Task's `ContainerInfo` is invalid"))?;
    }
    validate_limits(task, site.agent)
}

fn validate_resources(task: &Prepared) -> Result<(), Invalid> {
    if task.info.resources.is_empty() {
        return Err(Invalid::new("Task uses no resources"));
    }
    let resources = &task.resources;
    resources::validate(resources).map_err(|invalid| invalid.within("Task uses invalid resources"))?;
    resources::validate_unique_persistence_ids(resources)
        .map_err(|invalid| invalid.within("Task uses duplicate persistence ID"))?;
    resources::validate_single_role(resources).map_err(|invalid| invalid.within("Invalid task resources"))?;
    resources::validate_revocable(resources)
        .map_err(|invalid| invalid.within("Task mixes revocable and non-revocable resources"))
}

fn validate_limits(task: &Prepared, agent: &Agent) -> Result<(), Invalid> {
    let limits = &task.info.limits;
    if limits.is_empty() {
        return Ok(());
    }
    if !agent.capabilities.contains(&capability::Type::TaskResourceLimits) {
        return Err(Invalid::new("Agent is not capable of handling task resource limits"));
    }
    if limits.keys().any(|name| !matches!(name.as_str(), "cpus" | "mem")) {
        return Err(Invalid::new("Only cpus and mem may be included in a task's resource limits"));
    }
    for (name, long, short) in [("cpus", "CPU", "cpu"), ("mem", "memory", "memory")] {
        let Some(limit) = limits.get(name) else { continue };
        let request = task.resources.scalar(name);
        if request.is_zero() {
            return Err(Invalid(format!("When a {long} limit is specified, a {long} request must also be specified")));
        }
        if limit.value < request.as_f64() {
            return Err(Invalid(format!("The {short} limit must be greater than or equal to the {short} request")));
        }
    }
    Ok(())
}

fn validate_executor(task: &Prepared, site: &Site<'_>, offered: &Resources) -> Result<Launchable, Invalid> {
    let info = &task.info;
    if info.executor.is_some() == info.command.is_some() {
        return Err(Invalid::new(
            "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present",
        ));
    }
    let mut consumed = task.resources.clone();
    let mut launch_executor = true;
    if let Some(executor) = &info.executor {
        executor::validate(executor, &task.executor_resources, site)?;
        executor::validate_launch(executor, &task.executor_resources)?;
        launch_executor = site.executor(&executor.executor_id.value).is_none();
        if launch_executor {
            consumed += &task.executor_resources;
        }
        validate_together(task)?;
    }
    if !offered.contains(&consumed) {
        return Err(Invalid(format!(
            "Total resources {consumed} required by task and its executor is more than available {offered}"
        )));
    }
    Ok(Launchable { consumed, launch_executor })
}

fn validate_together(task: &Prepared) -> Result<(), Invalid> {
    let total = &task.resources + &task.executor_resources;
    resources::validate(&total).map_err(|invalid| invalid.within("Task and its executor use invalid resources"))?;
    if resources::overlap(&[&task.resources, &task.executor_resources]) {
        return Err(Invalid(format!(
            "There are overlapping resources in the task resources {} and executor resources {}",
            task.resources, task.executor_resources
        )));
    }
    resources::validate_unique_persistence_ids(&total)
        .map_err(|invalid| invalid.within("Task and its executor use duplicate persistence ID"))?;
    resources::validate_revocable(&total)
        .map_err(|invalid| invalid.within("Task and its executor mix revocable and non-revocable resources"))
}

/// `LinuxInfo.share_cgroups` of a container, if it is set.
pub(super) fn share_cgroups(container: Option<&ContainerInfo>) -> Option<bool> {
    container?.linux_info.as_ref()?.share_cgroups
}

/// Whether the container is a Docker one.
pub(super) fn is_docker(container: Option<&ContainerInfo>) -> bool {
    container.is_some_and(|container| container.r#type() == container_info::Type::Docker)
}

/// The least that an executor of a task group must ask for (src/master/constants.hpp).
pub(super) fn minimum() -> (Scalar, Scalar) {
    (Scalar::from_f64(0.01), Scalar::from_f64(32.0))
}
