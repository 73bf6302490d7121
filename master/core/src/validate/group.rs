//! `TaskGroupInfo` of a LAUNCH_GROUP (src/master/validation.cpp, namespace task::group).

use mezzo_api::{
    resources::{Resources, Scalar},
    v1::{ExecutorInfo, TaskInfo, executor_info, health_check},
};

use super::{
    Invalid, executor, resources,
    task::{Prepared, Site, is_docker, minimum, share_cgroups, validate_task},
};

/// A task group as it came, with its resources read and allocated.
#[derive(Debug)]
pub(crate) struct PreparedGroup {
    pub(crate) executor: ExecutorInfo,
    pub(crate) executor_resources: Resources,
    pub(crate) tasks: Vec<Prepared>,
}

/// Checks a group; the answer is what it takes out of the offers, and whether its executor is a new one.
pub(crate) fn validate(
    group: &PreparedGroup,
    site: &Site<'_>,
    offered: &Resources,
) -> Result<(Resources, bool), Invalid> {
    if group.tasks.is_empty() {
        // Mesos takes the executor's resources for such a group and never gives them back.
        return Err(Invalid::new("Task group has no tasks"));
    }
    for task in &group.tasks {
        validate_task(task, site)
            .and_then(|()| validate_in_group(&task.info))
            .map_err(|invalid| Invalid(format!("Task '{}' is invalid: {invalid}", task.info.task_id.value)))?;
    }
    validate_distinct(group)?;
    let answer = validate_executor(group, site, offered)?;
    executor::validate_share_cgroups(&group.executor)?;
    validate_share_cgroups(group)?;
    Ok(answer)
}

fn validate_in_group(task: &TaskInfo) -> Result<(), Invalid> {
    if let Some(container) = &task.container {
        let kind = task.health_check.as_deref().map(mezzo_api::v1::HealthCheck::r#type);
        if !container.network_infos.is_empty()
            && matches!(kind, Some(health_check::Type::Http | health_check::Type::Tcp))
        {
            return Err(Invalid::new(
                "HTTP and TCP health checks are not supported for nested containers not joining parent's network",
            ));
        }
        if is_docker(Some(container)) {
            return Err(Invalid::new("Docker ContainerInfo is not supported on the task"));
        }
    }
    if !task.limits.is_empty() && share_cgroups(task.container.as_deref()) != Some(false) {
        return Err(Invalid::new(
            "Resource limits may only be set for tasks within a task group when the 'share_cgroups' field is set to 'false'.",
        ));
    }
    Ok(())
}

/// Mesos crashes on a group that has the same task twice.
fn validate_distinct(group: &PreparedGroup) -> Result<(), Invalid> {
    let mut seen = std::collections::BTreeSet::new();
    match group.tasks.iter().map(|task| task.info.task_id.value.as_str()).find(|id| !seen.insert(*id)) {
        Some(id) => Err(Invalid(format!("Task '{id}' is invalid: Task has duplicate ID: {id}"))),
        None => Ok(()),
    }
}

fn validate_executor(
    group: &PreparedGroup,
    site: &Site<'_>,
    offered: &Resources,
) -> Result<(Resources, bool), Invalid> {
    let PreparedGroup { executor: info, executor_resources, tasks } = group;
    let id = &info.executor_id.value;
    executor::validate(info, executor_resources, site)?;
    if info.r#type.is_none() {
        return Err(Invalid::new("'ExecutorInfo.type' must be set"));
    }
    if info.r#type() == executor_info::Type::Unknown {
        return Err(Invalid::new("Unknown executor type"));
    }
    if is_docker(info.container.as_deref()) {
        return Err(Invalid::new("Docker ContainerInfo is not supported on the executor"));
    }
    if let Some(task) = tasks.iter().find(|task| task.info.executor.as_deref().is_some_and(|own| own != info)) {
        return Err(Invalid(format!(
            "The `ExecutorInfo` of task '{}' is different from executor '{id}'",
            task.info.task_id.value
        )));
    }
    validate_minimum(id, executor_resources)?;
    validate_together(group)?;
    let mut consumed: Resources = tasks.iter().map(|task| &task.resources).sum();
    let launch_executor = site.executor(id).is_none();
    if launch_executor {
        consumed += executor_resources;
    }
    if !offered.contains(&consumed) {
        return Err(Invalid(format!(
            "Total resources {consumed} required by task group and its executor are more than available {offered}"
        )));
    }
    Ok((consumed, launch_executor))
}

fn validate_minimum(id: &str, resources: &Resources) -> Result<(), Invalid> {
    let (min_cpus, min_mem) = minimum();
    let or_none = |amount: Scalar, text: String| if amount.is_zero() { "None".to_owned() } else { text };
    let cpus = resources.cpus();
    if cpus < min_cpus {
        let cpus = or_none(cpus, cpus.to_string());
        return Err(Invalid(format!("Executor '{id}' uses less CPUs ({cpus}) than the minimum required ({min_cpus})")));
    }
    let mem = resources.mem();
    if mem < min_mem {
        let mem = or_none(mem, megabytes(mem));
        return Err(Invalid(format!(
            "Executor '{id}' uses less memory ({mem}) than the minimum required ({})",
            megabytes(min_mem)
        )));
    }
    if resources.disk().is_zero() {
        return Err(Invalid(format!("Executor '{id}' uses no disk")));
    }
    Ok(())
}

/// An amount of memory as stout prints bytes: in the largest unit without a rest.
fn megabytes(amount: Scalar) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few megabytes
    let bytes = (amount.as_f64() * 1_048_576.0) as u64;
    match bytes {
        _ if !bytes.is_multiple_of(1024) || bytes == 0 => format!("{bytes}B"),
        _ if !bytes.is_multiple_of(1 << 20) => format!("{}KB", bytes >> 10),
        _ => format!("{}MB", bytes >> 20),
    }
}

fn validate_together(group: &PreparedGroup) -> Result<(), Invalid> {
    let mut all: Vec<&Resources> = group.tasks.iter().map(|task| &task.resources).collect();
    all.push(&group.executor_resources);
    let total: Resources = all.iter().copied().sum();
    resources::validate_unique_persistence_ids(&total)
        .map_err(|invalid| invalid.within("Task group and executor use duplicate persistence ID"))?;
    resources::validate_revocable(&total)
        .map_err(|invalid| invalid.within("Task group and executor mix revocable and non-revocable resources"))?;
    if resources::overlap(&all) {
        let of_tasks: Vec<String> = group.tasks.iter().map(|task| task.resources.to_string()).collect();
        return Err(Invalid(format!(
            "There are overlapping resources in the task group's task resources {{ {} }} and/or executor resources {}",
            of_tasks.join(", "),
            group.executor_resources
        )));
    }
    Ok(())
}

fn validate_share_cgroups(group: &PreparedGroup) -> Result<(), Invalid> {
    let mut values = group.tasks.iter().map(|task| share_cgroups(task.info.container.as_deref()).unwrap_or(true));
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(Invalid::new(
            "If set, the value of 'share_cgroups' must be the same for all tasks in each task group and under a single executor",
        ));
    }
    Ok(())
}
