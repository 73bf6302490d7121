//! The rules of resources that a task or an executor asks for (src/master/validation.cpp, namespace resource).

use std::collections::BTreeSet;

use mezzo_api::{
    resources::{Resource, Resources, Value},
    v1,
};

use super::{Invalid, validate_id};

/// What holds of any list of resources.
pub(super) fn validate(resources: &Resources) -> Result<(), Invalid> {
    if resources.gpus().as_f64().fract() != 0.0 {
        return Err(Invalid::new("Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer"));
    }
    for resource in resources {
        if let Some(disk) = resource.disk() {
            validate_disk(resource, disk).map_err(|invalid| invalid.within("Invalid DiskInfo"))?;
        }
    }
    match resources.iter().find(|resource| resource.is_dynamically_reserved() && resource.is_revocable()) {
        Some(resource) => Err(Invalid(format!(
            "Invalid ReservationInfo: Dynamically reserved resource {resource} cannot be created from revocable resources"
        ))),
        None => Ok(()),
    }
}

fn validate_disk(resource: &Resource, disk: &v1::resource::DiskInfo) -> Result<(), Invalid> {
    let Some(persistence) = &disk.persistence else {
        return match (&disk.volume, &disk.source) {
            (Some(_), _) => Err(Invalid::new("Non-persistent volume not supported")),
            (None, None) => Err(Invalid::new("DiskInfo is set but empty")),
            (None, Some(_)) => Ok(()),
        };
    };
    if resource.is_revocable() {
        return Err(Invalid::new("Persistent volumes cannot be created from revocable resources"));
    }
    if resource.is_unreserved() {
        return Err(Invalid::new("Persistent volumes cannot be created from unreserved resources"));
    }
    match &disk.volume {
        None => Err(Invalid::new("Expecting 'volume' to be set for persistent volume")),
        Some(volume) if volume.host_path.is_some() => {
            Err(Invalid::new("Expecting 'host_path' to be unset for persistent volume"))
        }
        Some(_) => validate_id(&persistence.id)
            .map_err(|invalid| invalid.within("Invalid persistence ID for persistent volume")),
    }
}

/// Persistence ids are unique per role on an agent.
pub(super) fn validate_unique_persistence_ids(resources: &Resources) -> Result<(), Invalid> {
    let mut seen = BTreeSet::new();
    for resource in resources {
        if let Some(id) = resource.persistence_id()
            && !seen.insert((resource.reservation_role(), id))
        {
            return Err(Invalid(format!("Persistence ID '{id}' is not unique")));
        }
    }
    Ok(())
}

/// One list of resources is allocated to one role.
pub(super) fn validate_single_role(resources: &Resources) -> Result<(), Invalid> {
    let mut role: Option<&str> = None;
    for resource in resources {
        let Some(allocated) = resource.allocation_role() else {
            return Err(Invalid::new("The resources are not allocated to a role"));
        };
        match role {
            Some(role) if role != allocated => {
                return Err(Invalid(format!(
                    "The resources have multiple allocation roles ('{allocated}' and '{role}') but only one allocation role is allowed"
                )));
            }
            _ => role = Some(allocated),
        }
    }
    Ok(())
}

/// Resources of one name are either all revocable or none.
pub(super) fn validate_revocable(resources: &Resources) -> Result<(), Invalid> {
    let revocable: BTreeSet<_> =
        resources.iter().filter(|resource| resource.is_revocable()).map(Resource::name).collect();
    match resources.iter().find(|resource| !resource.is_revocable() && revocable.contains(resource.name())) {
        Some(resource) => {
            let name = resource.name();
            Err(Invalid(format!("Cannot use both revocable and non-revocable '{name}' at the same time")))
        }
        None => Ok(()),
    }
}

/// Whether the same port (or item of a set) is asked for twice.
pub(super) fn overlap(all: &[&Resources]) -> bool {
    let sum: Resources = all.iter().copied().sum();
    let parts: u64 = all.iter().map(|resources| discrete(resources)).sum();
    parts != discrete(&sum)
}

fn discrete(resources: &Resources) -> u64 {
    resources
        .iter()
        .map(|resource| match resource.value() {
            Value::Scalar(_) => 0,
            Value::Ranges(ranges) => ranges.count(),
            Value::Set(items) => items.len() as u64,
        })
        .sum()
}
