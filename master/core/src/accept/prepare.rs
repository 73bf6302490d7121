//! The form of operations: payloads, resources, ids; allocation and defaults filled in (src/master/master.cpp, accept;
//! src/common/resources_utils.cpp, validateAndUpgradeResources).

use mezzo_api::{
    resources::Resources,
    time::Now,
    v1::{
        ExecutorInfo, HealthCheck, Resource, TaskInfo, health_check,
        offer::{Operation, operation},
        resource::AllocationInfo,
        task_status::Reason,
    },
};

use super::launched_tasks;
use crate::{
    core::Core,
    effect::Effects,
    keys::FrameworkKey,
    validate::{Invalid, group::PreparedGroup, task::Prepared},
};

/// An operation of good form.
pub(super) enum Step {
    Launch(Vec<Prepared>),
    LaunchGroup(Box<PreparedGroup>),
    /// One on resources, allocated to the role of the offers.
    Operation(Box<Operation>),
}

impl Core {
    /// Brings an operation into form, or tells the framework what is wrong with it. One without a known type is ignored.
    pub(super) fn prepare(
        &mut self,
        now: Now,
        key: FrameworkKey,
        role: &str,
        operation: Operation,
        out: &mut Effects,
    ) -> Option<Step> {
        let kind = operation.r#type.and_then(|kind| operation::Type::try_from(kind).ok())?;
        let result = validate_form(&operation, kind, false);
        let invalid = match kind {
            operation::Type::Unknown => return None,
            operation::Type::Launch | operation::Type::LaunchGroup => {
                let id_refused =
                    || Err(Invalid(format!("The `id` field cannot be set on {} operations", kind.as_str_name())));
                result.and_then(|()| if operation.id.is_some() { id_refused() } else { Ok(()) })
            }
            _ => result.map_err(|invalid| invalid.within("Operation attempted with invalid resources")),
        };
        let Err(Invalid(message)) = invalid else { return self.take_apart(key, role, kind, operation) };
        match launched_tasks(&operation) {
            Some(tasks) => {
                let reason =
                    if kind == operation::Type::Launch { Reason::TaskInvalid } else { Reason::TaskGroupInvalid };
                self.err_tasks(now, key, tasks, reason, &message, out);
            }
            None => self.refuse_operation(key, &operation, message, out),
        }
        None
    }

    fn take_apart(&self, key: FrameworkKey, role: &str, kind: operation::Type, operation: Operation) -> Option<Step> {
        match kind {
            operation::Type::Launch => {
                let framework_id = self.frameworks.get(key)?.id.proto();
                let tasks = operation.launch?.task_infos.into_iter();
                let prepare = |mut task: TaskInfo| {
                    if let Some(executor) = &mut task.executor {
                        executor.framework_id.get_or_insert_with(|| framework_id.clone());
                    }
                    if let Some(check) = &mut task.health_check {
                        infer_type(check);
                    }
                    prepare_task(task, role)
                };
                Some(Step::Launch(tasks.map(prepare).collect()))
            }
            operation::Type::LaunchGroup => {
                let group = operation.launch_group?;
                let mut executor = group.executor;
                let executor_resources = allocate(&mut executor.resources, role);
                let prepare = |mut task: TaskInfo| {
                    task.executor.get_or_insert_with(|| Box::new(executor.clone()));
                    prepare_task(task, role)
                };
                let tasks = group.task_group.tasks.into_iter().map(prepare).collect();
                Some(Step::LaunchGroup(Box::new(PreparedGroup { executor, executor_resources, tasks })))
            }
            _ => {
                let mut operation = operation;
                resources_of(&mut operation).for_each(|proto| allocate_one(proto, role));
                Some(Step::Operation(Box::new(operation)))
            }
        }
    }
}

/// Frameworks of old leave the type out when it is plain.
fn infer_type(check: &mut HealthCheck) {
    if check.r#type.is_none() {
        check.r#type = match (&check.command, &check.http) {
            (Some(_), None) => Some(health_check::Type::Command.into()),
            (None, Some(_)) => Some(health_check::Type::Http.into()),
            _ => None,
        };
    }
}

fn prepare_task(mut task: TaskInfo, role: &str) -> Prepared {
    let resources = allocate(&mut task.resources, role);
    let executor_resources =
        task.executor.as_mut().map_or_else(Resources::new, |executor| allocate(&mut executor.resources, role));
    Prepared { info: task, resources, executor_resources }
}

/// Fills in the role that the offer was for, where the framework left it out, and brings old forms of reservations
/// into the new one. The list is known to be valid.
#[allow(deprecated)] // `role` is the old form
fn allocate(protos: &mut Vec<Resource>, role: &str) -> Resources {
    for proto in &mut *protos {
        let info = proto.allocation_info.get_or_insert_with(AllocationInfo::default);
        info.role.get_or_insert_with(|| role.to_owned());
    }
    let resources = Resources::from_protos(protos).unwrap_or_default();
    if protos.iter().any(|proto| proto.role.is_some() || proto.reservation.is_some()) {
        *protos = resources.to_protos();
    }
    resources
}

/// All resources that an operation names.
fn resources_of(operation: &mut Operation) -> impl Iterator<Item = &mut Resource> {
    let Operation {
        reserve, unreserve, create, destroy, grow_volume, shrink_volume, create_disk, destroy_disk, ..
    } = operation;
    let lists = [
        reserve.as_mut().map(|reserve| &mut reserve.resources),
        unreserve.as_mut().map(|unreserve| &mut unreserve.resources),
        create.as_mut().map(|create| &mut create.volumes),
        destroy.as_mut().map(|destroy| &mut destroy.volumes),
    ];
    let ones = [
        shrink_volume.as_mut().map(|shrink| &mut shrink.volume),
        create_disk.as_mut().map(|create| &mut create.source),
        destroy_disk.as_mut().map(|destroy| &mut destroy.source),
    ];
    let grown = grow_volume.as_mut().into_iter().flat_map(|grow| [&mut grow.volume, &mut grow.addition]);
    lists.into_iter().flatten().flatten().chain(ones.into_iter().flatten()).chain(grown)
}

/// In today's form, allocated to the role unless it says which one.
fn allocate_one(proto: &mut Resource, role: &str) {
    let info = proto.allocation_info.get_or_insert_with(AllocationInfo::default);
    info.role.get_or_insert_with(|| role.to_owned());
    if let Ok(resource) = mezzo_api::resources::Resource::from_proto(proto) {
        *proto = resource.to_proto();
    }
}

/// Payload and resources. Only operators say what a reservation takes the place of.
pub(crate) fn validate_form(operation: &Operation, kind: operation::Type, operator: bool) -> Result<(), Invalid> {
    let name = kind.as_str_name();
    let missing = || {
        let field = name.to_ascii_lowercase();
        Invalid(format!("A {name} offer operation must have the Offer.Operation.{field} field set."))
    };
    match kind {
        operation::Type::Unknown => Ok(()),
        operation::Type::Launch => {
            operation.launch.as_ref().ok_or_else(missing)?.task_infos.iter().try_for_each(validate_task_form)
        }
        operation::Type::LaunchGroup => {
            let group = operation.launch_group.as_ref().ok_or_else(missing)?;
            validate_executor_form(&group.executor)?;
            group.task_group.tasks.iter().try_for_each(validate_task_form)
        }
        operation::Type::Reserve => {
            let reserve = operation.reserve.as_ref().ok_or_else(missing)?;
            validate_resources(&reserve.source)?;
            validate_resources(&reserve.resources)?;
            validate_resources(&reserve.source)?;
            if reserve.source.is_empty() || operator {
                return Ok(());
            }
            Err(Invalid::new("Reservation updates are not yet implemented for the scheduler API."))
        }
        operation::Type::Unreserve => validate_resources(&operation.unreserve.as_ref().ok_or_else(missing)?.resources),
        operation::Type::Create => validate_resources(&operation.create.as_ref().ok_or_else(missing)?.volumes),
        operation::Type::Destroy => validate_resources(&operation.destroy.as_ref().ok_or_else(missing)?.volumes),
        operation::Type::GrowVolume => {
            let grow = operation.grow_volume.as_ref().ok_or_else(missing)?;
            validate_resources(std::slice::from_ref(&grow.volume))?;
            validate_resources(std::slice::from_ref(&grow.addition))
        }
        operation::Type::ShrinkVolume => {
            validate_resources(std::slice::from_ref(&operation.shrink_volume.as_ref().ok_or_else(missing)?.volume))
        }
        operation::Type::CreateDisk => {
            validate_resources(std::slice::from_ref(&operation.create_disk.as_ref().ok_or_else(missing)?.source))
        }
        operation::Type::DestroyDisk => {
            validate_resources(std::slice::from_ref(&operation.destroy_disk.as_ref().ok_or_else(missing)?.source))
        }
    }
}

fn validate_task_form(task: &TaskInfo) -> Result<(), Invalid> {
    validate_resources(&task.resources)?;
    task.executor.as_deref().map_or(Ok(()), validate_executor_form)
}

fn validate_executor_form(executor: &ExecutorInfo) -> Result<(), Invalid> {
    validate_resources(&executor.resources)
}

fn validate_resources(resources: &[Resource]) -> Result<(), Invalid> {
    Resources::from_protos(resources).map(drop).map_err(|error| Invalid(error.to_string()))
}
