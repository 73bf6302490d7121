//! Operations on resources (src/master/validation.cpp, namespace operation), in Mesos' order: the first error counts.

use std::collections::BTreeSet;

use mezzo_api::{
    resources::{DiskType, Resource, Resources, Scalar, Value, display_proto},
    v1::{self, agent_info::capability, offer::operation, volume::Mode},
};

use super::{Invalid, resources};
use crate::frameworks::Framework;

/// Who wants what of which agent.
pub(crate) struct Petition<'a> {
    /// `None` is an operator.
    pub(crate) framework: Option<&'a Framework>,
    /// Whom reservations and volumes must name, if anybody is known.
    pub(crate) principal: Option<&'a str>,
    pub(crate) capabilities: &'a [capability::Type],
    /// All that the agent has, without allocation.
    pub(crate) total: &'a Resources,
    /// What tasks and executors hold of it.
    pub(crate) used: &'a Resources,
}

impl Petition<'_> {
    fn agent_has(&self, capability: capability::Type) -> bool {
        self.capabilities.contains(&capability)
    }
}

/// Whether the operation may be tried. Its payload is there and its resources are valid each.
pub(crate) fn validate(operation: &v1::offer::Operation, petition: &Petition<'_>) -> Result<(), Invalid> {
    let missing = || Invalid::new("Unknown operation");
    match operation.r#type() {
        operation::Type::Reserve => reserve(operation.reserve.as_ref().ok_or_else(missing)?, petition),
        operation::Type::Unreserve => unreserve(&operation.unreserve.as_ref().ok_or_else(missing)?.resources),
        operation::Type::Create => create(&operation.create.as_ref().ok_or_else(missing)?.volumes, petition),
        operation::Type::Destroy => destroy(&operation.destroy.as_ref().ok_or_else(missing)?.volumes, petition),
        operation::Type::GrowVolume => grow(operation.grow_volume.as_ref().ok_or_else(missing)?, petition),
        operation::Type::ShrinkVolume => shrink(operation.shrink_volume.as_ref().ok_or_else(missing)?, petition),
        operation::Type::CreateDisk => create_disk(operation.create_disk.as_ref().ok_or_else(missing)?),
        operation::Type::DestroyDisk => destroy_disk(&operation.destroy_disk.as_ref().ok_or_else(missing)?.source),
        operation::Type::Unknown | operation::Type::Launch | operation::Type::LaunchGroup => Err(missing()),
    }
}

fn reserve(reserve: &operation::Reserve, petition: &Petition<'_>) -> Result<(), Invalid> {
    let all = read_all(&reserve.resources)?;
    if !reserve.source.is_empty() {
        let source = read_all(&reserve.source).map_err(|invalid| invalid.within("Invalid source"))?;
        exchange(&source, &all)?;
    }
    single_provider(&all)?;
    for resource in &all {
        if !resource.is_dynamically_reserved() {
            return Err(Invalid(format!("Resource {resource} is not dynamically reserved")));
        }
        capable(resource, petition, ["Resource", "reserved"])?;
        named(resource, petition)?;
        of_framework(resource, petition)?;
    }
    single_role(&all, petition, "Invalid reservation resources")
}

/// A reservation that takes the place of another: the same amounts, each side reserved in one way.
fn exchange(source: &[Resource], target: &[Resource]) -> Result<(), Invalid> {
    for (what, side) in [("Invalid source", source), ("Invalid resources", target)] {
        let Some(first) = side.first() else { return Err(Invalid::new("Resource cannot be empty").within(what)) };
        if side.iter().any(|resource| resource.reservations() != first.reservations()) {
            let all: Resources = side.iter().cloned().collect();
            return Err(Invalid(format!("Mixed reservations are not supported{all}")).within(what));
        }
    }
    let bare = |side: &[Resource]| side.iter().cloned().collect::<Resources>().to_unreserved();
    let (source, target) = (bare(source), bare(target));
    if source == target {
        return Ok(());
    }
    Err(Invalid(format!(
        "Source and target resources should refer to identical resource quantities: {source} vs. {target}"
    )))
}

/// The agent can keep such a reservation.
fn capable(resource: &Resource, petition: &Petition<'_>, [what, done]: [&str; 2]) -> Result<(), Invalid> {
    let role = resource.reservation_role().unwrap_or_default();
    if role.contains('/') && !petition.agent_has(capability::Type::HierarchicalRole) {
        return Err(Invalid(format!(
            "{what} {resource} with reservation for hierarchical role '{role}' cannot be {done} on an agent without \
             HIERARCHICAL_ROLE capability"
        )));
    }
    if resource.has_refined_reservations() && !petition.agent_has(capability::Type::ReservationRefinement) {
        return Err(Invalid(format!(
            "{what} {resource} with reservation refinement cannot be {done} on an agent without RESERVATION_REFINEMENT \
             capability"
        )));
    }
    Ok(())
}

/// A reservation says whose it is.
fn named(resource: &Resource, petition: &Petition<'_>) -> Result<(), Invalid> {
    let Some(principal) = petition.principal else { return Ok(()) };
    match resource.reservations().last().and_then(|last| last.principal.as_deref()) {
        None => Err(Invalid(format!(
            "A reserve operation was attempted by principal '{principal}', but there is a reserved resource in the \
             request with no principal set"
        ))),
        Some(other) if other != principal => Err(Invalid(format!(
            "A reserve operation was attempted by authenticated principal '{principal}', which does not match a reserved \
             resource in the request with principal '{other}'"
        ))),
        Some(_) => Ok(()),
    }
}

/// Frameworks reserve for the role that they were offered the resources for; operators what nobody was offered.
fn of_framework(resource: &Resource, petition: &Petition<'_>) -> Result<(), Invalid> {
    let allocated = resource.allocation_role();
    let Some(framework) = petition.framework else {
        return match allocated {
            None => Ok(()),
            Some(_) => Err(Invalid::new(
                "A reserve operation was attempted with an allocated resource, but the operator API only allows \
                 reservations to be made to unallocated resources",
            )),
        };
    };
    let Some(allocated) = allocated else {
        return Err(Invalid(format!(
            "A reserve operation was attempted on unallocated resource {resource}, but frameworks can only perform \
             reservations on allocated resources"
        )));
    };
    let reserved = resource.reservation_role().unwrap_or_default();
    if allocated != reserved {
        return Err(Invalid(format!(
            "A reserve operation was attempted for a resource with role '{reserved}', but the resource was allocated to \
             role '{allocated}'"
        )));
    }
    if !framework.roles.contains(allocated) {
        let roles: Vec<&str> = framework.roles.iter().map(String::as_str).collect();
        return Err(Invalid(format!(
            "A reserve operation was attempted for a resource allocated to role '{allocated}', but the framework only has \
             roles '{{ {} }}'",
            roles.join(", ")
        )));
    }
    Ok(())
}

fn unreserve(protos: &[v1::Resource]) -> Result<(), Invalid> {
    let all = read_all(protos)?;
    single_provider(&all)?;
    for resource in &all {
        if !resource.is_dynamically_reserved() {
            return Err(Invalid(format!("Resource {resource} is not dynamically reserved")));
        }
        if resource.is_persistent_volume() {
            return Err(Invalid(format!(
                "A dynamically reserved persistent volume {resource} cannot be unreserved directly. Please destroy the \
                 persistent volume first then unreserve the resource"
            )));
        }
    }
    Ok(())
}

fn create(protos: &[v1::Resource], petition: &Petition<'_>) -> Result<(), Invalid> {
    let all = read_all(protos)?;
    single_provider(&all)?;
    volumes(protos).map_err(|invalid| invalid.within("Not a persistent volume"))?;
    unique_ids(&all, petition.total)?;
    for volume in &all {
        if let Some(framework) = petition.framework
            && volume.is_shared()
            && !framework.capabilities.shared_resources
        {
            return Err(Invalid(format!(
                "Create volume operation for '{volume}' has been attempted by framework '{}' with no SHARED_RESOURCES \
                 capability",
                framework.id
            )));
        }
        capable(volume, petition, ["Volume", "created"])?;
        owned(volume, petition)?;
    }
    single_role(&all, petition, "Invalid volume resources")
}

/// No two volumes of a role on an agent have the same id.
fn unique_ids(new: &[Resource], total: &Resources) -> Result<(), Invalid> {
    let there = total.persistent_volumes();
    let mut seen: BTreeSet<_> =
        there.iter().map(|volume| (volume.reservation_role(), volume.persistence_id())).collect();
    match new.iter().find(|volume| !seen.insert((volume.reservation_role(), volume.persistence_id()))) {
        Some(volume) => {
            Err(Invalid(format!("Persistence ID '{}' is not unique", volume.persistence_id().unwrap_or_default())))
        }
        None => Ok(()),
    }
}

/// A volume says whose it is.
fn owned(volume: &Resource, petition: &Petition<'_>) -> Result<(), Invalid> {
    let Some(principal) = petition.principal else { return Ok(()) };
    let persistence = volume.disk().and_then(|disk| disk.persistence.as_ref());
    match persistence.and_then(|persistence| persistence.principal.as_deref()) {
        None => Err(Invalid(format!(
            "Create volume operation attempted by principal '{principal}', but there is a volume in the operation with no \
             principal set in 'disk.persistence'"
        ))),
        Some(other) if other != principal => Err(Invalid(format!(
            "Create volume operation attempted by authenticated principal '{principal}', which does not match a volume in \
             the operation with principal '{other}' set in 'disk.persistence'"
        ))),
        Some(_) => Ok(()),
    }
}

fn destroy(protos: &[v1::Resource], petition: &Petition<'_>) -> Result<(), Invalid> {
    let all = read_all(protos)?;
    single_provider(&all)?;
    volumes(protos).map_err(|invalid| invalid.within("Not a persistent volume"))?;
    let bare = |volume: &Resource| {
        let mut one = Resources::from(volume.clone());
        one.unallocate();
        one
    };
    if all.iter().any(|volume| volume.provider_id().is_none() && !petition.total.contains(&bare(volume))) {
        return Err(Invalid::new("Persistent volumes not found"));
    }
    let mut used = petition.used.clone();
    used.unallocate();
    let in_use = all.iter().any(|volume| used.contains(&bare(volume)));
    if in_use && !mezzo_api::mutant!("volume-in-use-destroyed") {
        return Err(Invalid::new("Persistent volumes in use"));
    }
    Ok(())
}

fn grow(grow: &operation::GrowVolume, petition: &Petition<'_>) -> Result<(), Invalid> {
    let read = |proto: &v1::Resource, field: &str| {
        Resource::from_proto(proto)
            .map_err(|error| Invalid(format!("Invalid resource in the '{field}' field: {error}")))
    };
    let volume = read(&grow.volume, "GrowVolume.volume")?;
    let addition = read(&grow.addition, "GrowVolume.addition")?;
    if addition.amount().is_none_or(|amount| amount <= Scalar::ZERO) {
        return Err(Invalid::new("The size of 'GrowVolume.addition' field must be greater than zero"));
    }
    if volume.provider_id().is_some() {
        return Err(Invalid::new("Growing a volume from a resource provider is not supported"));
    }
    volumes(std::slice::from_ref(&grow.volume))
        .map_err(|invalid| invalid.within("Invalid persistent volume in the 'GrowVolume.volume' field"))?;
    if volume.is_shared() {
        return Err(Invalid::new("Growing a shared persistent volume is not supported"));
    }
    let together: Resources = [volume.without_persistence(), addition].into_iter().collect();
    if together.len() != 1 {
        return Err(Invalid::new("Incompatible resources in the 'GrowVolume.volume' and 'GrowVolume.addition' fields"));
    }
    resizable(&volume, petition, "grown")
}

fn shrink(shrink: &operation::ShrinkVolume, petition: &Petition<'_>) -> Result<(), Invalid> {
    let volume = Resource::from_proto(&shrink.volume)
        .map_err(|error| Invalid(format!("Invalid resource in the 'ShrinkVolume.volume' field: {error}")))?;
    let subtract = Scalar::checked_from_f64(shrink.subtract.value).unwrap_or_default();
    if subtract <= Scalar::ZERO {
        return Err(Invalid::new("Value of 'ShrinkVolume.subtract' must be greater than zero"));
    }
    if volume.amount().unwrap_or_default() <= subtract {
        return Err(Invalid::new(
            "Value of 'ShrinkVolume.subtract' must be smaller than the size of 'ShrinkVolume.volume'",
        ));
    }
    if volume.provider_id().is_some() {
        return Err(Invalid::new("Shrinking a volume from a resource provider is not supported"));
    }
    if volume.disk_type() == Some(DiskType::Mount) {
        return Err(Invalid::new("Shrinking a volume on a MOUNT disk is not supported"));
    }
    volumes(std::slice::from_ref(&shrink.volume))
        .map_err(|invalid| invalid.within("Invalid persistent volume in the 'ShrinkVolume.volume' field"))?;
    if volume.is_shared() {
        return Err(Invalid::new("Shrinking a shared persistent volume is not supported"));
    }
    resizable(&volume, petition, "shrunk")
}

fn resizable(volume: &Resource, petition: &Petition<'_>, done: &str) -> Result<(), Invalid> {
    if petition.agent_has(capability::Type::ResizeVolume) {
        return Ok(());
    }
    Err(Invalid(format!("Volume {volume} cannot be {done} on an agent without RESIZE_VOLUME capability")))
}

/// Only resource providers make disks; agents have none.
fn create_disk(create: &operation::CreateDisk) -> Result<(), Invalid> {
    let source = read_one(&create.source)?;
    if source.provider_id().is_none() {
        return Err(Invalid::new("'source' is not managed by a resource provider"));
    }
    if source.disk_type() != Some(DiskType::Raw) {
        return Err(Invalid::new("'source' is not a RAW disk resource"));
    }
    if !matches!(create.target_type(), DiskType::Mount | DiskType::Block) {
        return Err(Invalid::new("'target_type' is neither MOUNT or BLOCK"));
    }
    let has_profile = source.disk_source().is_some_and(|source| source.profile.is_some());
    match (has_profile, create.target_profile.is_some()) {
        (true, true) => Err(Invalid::new("'target_profile' must not be set when 'source' has a profile")),
        (false, false) => Err(Invalid::new("'target_profile' must be set when 'source' has no profile")),
        _ => unmanaged(&source),
    }
}

fn destroy_disk(proto: &v1::Resource) -> Result<(), Invalid> {
    let source = read_one(proto)?;
    if source.provider_id().is_none() {
        return Err(Invalid::new("'source' is not managed by a resource provider"));
    }
    if !matches!(source.disk_type(), Some(DiskType::Mount | DiskType::Block | DiskType::Raw)) {
        return Err(Invalid::new("'source' is neither a MOUNT, BLOCK or RAW disk resource"));
    }
    if source.disk_source().is_none_or(|source| source.id.is_none()) {
        return Err(Invalid::new("'source' is not backed by a CSI volume"));
    }
    if source.is_persistent_volume() {
        return Err(Invalid(format!(
            "A disk resource containing a persistent volume {source} cannot be destroyed directly. Please destroy the \
             persistent volume first then destroy the disk resource"
        )));
    }
    unmanaged(&source)
}

fn unmanaged(source: &Resource) -> Result<(), Invalid> {
    Err(Invalid(format!("There is no resource provider '{}'", source.provider_id().unwrap_or_default())))
}

fn read_one(proto: &v1::Resource) -> Result<Resource, Invalid> {
    let all = read_all(std::slice::from_ref(proto))
        .map_err(|invalid| Invalid(invalid.0.replacen("Invalid resources", "Invalid resource", 1)))?;
    all.into_iter().next().ok_or_else(|| Invalid::new("Invalid resource: it is empty"))
}

/// What holds of any list of resources, one by one: the sum of two equal volumes must not hide one.
fn read_all(protos: &[v1::Resource]) -> Result<Vec<Resource>, Invalid> {
    let wrong = |invalid: Invalid| invalid.within("Invalid resources");
    let read = |proto| Resource::from_proto(proto).map_err(|error| Invalid(error.to_string()));
    let all: Vec<Resource> = protos.iter().map(read).collect::<Result<_, _>>().map_err(wrong)?;
    resources::validate(&all.iter().cloned().collect()).map_err(wrong)?;
    Ok(all)
}

fn single_provider(all: &[Resource]) -> Result<(), Invalid> {
    let providers: BTreeSet<Option<&str>> = all.iter().map(Resource::provider_id).collect();
    if providers.len() == 1 {
        return Ok(());
    }
    if providers.contains(&None) {
        return Err(Invalid::new("Invalid resources: Some resources have a resource provider and some do not"));
    }
    let names: Vec<&str> = providers.into_iter().flatten().collect();
    Err(Invalid(format!("Invalid resources: The resources have multiple resource providers: {}", names.join(", "))))
}

/// Of frameworks: all for one role.
fn single_role(all: &[Resource], petition: &Petition<'_>, context: &str) -> Result<(), Invalid> {
    if petition.framework.is_none() {
        return Ok(());
    }
    resources::validate_single_role(&all.iter().cloned().collect()).map_err(|invalid| invalid.within(context))
}

fn volumes(protos: &[v1::Resource]) -> Result<(), Invalid> {
    for proto in protos {
        let Some(disk) = &proto.disk else {
            return Err(Invalid(format!("Resource {} does not have DiskInfo", display_proto(proto))));
        };
        let Some(_) = disk.persistence else { return Err(Invalid::new("'persistence' is not set in DiskInfo")) };
        let Some(volume) = &disk.volume else {
            return Err(Invalid::new("Expecting 'volume' to be set for persistent volume"));
        };
        if volume.mode() == Mode::Ro {
            return Err(Invalid::new("Read-only persistent volume not supported"));
        }
        if !matches!(Resource::from_proto(proto).as_ref().map(Resource::value), Ok(Value::Scalar(_))) {
            return Err(Invalid::new("A persistent volume must be a scalar"));
        }
    }
    Ok(())
}
