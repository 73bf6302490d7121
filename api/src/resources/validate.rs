//! Which resources are valid (src/common/resources.cpp, `Resources::validate`).

use super::Scalar;
use crate::{
    roles::{self, RoleError},
    v1::{self, resource::disk_info::source::Type as DiskType, resource::reservation_info::Type as ReservationType},
};

/// Why a resource is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // each variant is its text
pub enum InvalidResource {
    #[error("Empty resource name")]
    EmptyName,
    #[error("Invalid resource type")]
    UnknownType,
    #[error("Unsupported resource type")]
    UnsupportedType,
    #[error("Invalid scalar resource")]
    Scalar,
    #[error("Invalid scalar resource: value <= 0")]
    NotPositive,
    #[error("Invalid scalar resource: value is not a number")]
    NotANumber,
    #[error("Invalid scalar resource: value is too large")]
    TooLarge,
    #[error("Invalid ranges resource")]
    Ranges,
    #[error("Invalid ranges resource: begin > end")]
    InvertedRange,
    #[error("Invalid ranges resource: overlapping ranges")]
    OverlappingRanges,
    #[error("Invalid set resource")]
    Set,
    #[error("Invalid set resource: duplicated elements")]
    DuplicatedElements,
    #[error("DiskInfo should not be set for {0} resource")]
    UnexpectedDisk(String),
    #[error("Mount should not be set for {0} disk source")]
    UnexpectedMount(&'static str),
    #[error("Path should not be set for {0} disk source")]
    UnexpectedPath(&'static str),
    #[error("Unsupported 'DiskInfo.Source.Type' in 'UNKNOWN'")]
    UnsupportedDiskSource,
    #[error(transparent)]
    Role(#[from] RoleError),
    #[error("'Resource.ReservationInfo.type' must not be set for the 'Resource.reservation' field")]
    LegacyReservationType,
    #[error("'Resource.ReservationInfo.role' must not be set for the 'Resource.reservation' field")]
    LegacyReservationRole,
    #[error("Invalid reservation: role \"*\" cannot be dynamically reserved")]
    LegacyDefaultRole,
    #[error("Invalid reservation: 'Resource.ReservationInfo.type' field must be set.")]
    ReservationWithoutType,
    #[error("Invalid reservation: 'Resource.ReservationInfo.role' field must be set.")]
    ReservationWithoutRole,
    #[error("Invalid reservation: role \"*\" cannot be reserved")]
    DefaultRole,
    #[error("Unsupported 'Resource.ReservationInfo.Type'")]
    UnsupportedReservationType,
    #[error("Invalid refined reservation: A refined reservation cannot be STATIC")]
    StaticRefinement,
    #[error("Invalid refined reservation: role '{role}' is not a refinement of '{ancestor}'")]
    NoRefinement { role: String, ancestor: String },
    #[error(
        "Invalid resource format: 'Resource.role' field with '{legacy}' does not match the role '{role}' in 'Resource.reservations'"
    )]
    RoleMismatch { legacy: String, role: String },
    #[error(
        "Invalid resource format: 'Resource.reservation' must not be set if the single reservation in 'Resource.reservations' is STATIC"
    )]
    ReservationBesideStatic,
    #[error(
        "Invalid resource format: 'Resource.role' and 'Resource.reservation' must either be both set or both not set if the single reservation in 'Resource.reservations' is DYNAMIC"
    )]
    HalfLegacy,
    #[error(
        "Invalid resource format: 'Resource.reservation.principal' field with '{legacy}' does not match the principal '{principal}' in 'Resource.reservations'"
    )]
    PrincipalMismatch { legacy: String, principal: String },
    #[error(
        "Invalid resource format: 'Resource.reservation.labels' field does not match the labels in 'Resource.reservations'"
    )]
    LabelsMismatch,
    #[error(
        "Invalid resource format: 'Resource.role' must not be set if there is more than one reservation in 'Resource.reservations'"
    )]
    RoleBesideRefinement,
    #[error(
        "Invalid resource format: 'Resource.reservation' must not be set if there is more than one reservation in 'Resource.reservations'"
    )]
    ReservationBesideRefinement,
    #[error("Resource {0} cannot be shared")]
    NotShareable(String),
    #[error("Only persistent volumes can be shared")]
    SharedWithoutPersistence,
}

/// Whether `resource` is valid, in any of its forms. Amounts that Mesos lets overflow are refused.
pub fn validate(resource: &v1::Resource) -> Result<(), InvalidResource> {
    if resource.name.is_empty() {
        return Err(InvalidResource::EmptyName);
    }
    validate_value(resource)?;
    validate_disk(resource)?;
    if resource.reservations.is_empty() { validate_legacy_form(resource) } else { validate_reservations(resource) }?;
    validate_shared(resource)
}

fn validate_value(resource: &v1::Resource) -> Result<(), InvalidResource> {
    let r#type = v1::value::Type::try_from(resource.r#type).map_err(|_| InvalidResource::UnknownType)?;
    match (r#type, &resource.scalar, &resource.ranges, &resource.set) {
        (v1::value::Type::Scalar, Some(scalar), None, None) => validate_amount(scalar.value),
        (v1::value::Type::Scalar, ..) => Err(InvalidResource::Scalar),
        (v1::value::Type::Ranges, None, Some(ranges), None) => validate_ranges(ranges),
        (v1::value::Type::Ranges, ..) => Err(InvalidResource::Ranges),
        (v1::value::Type::Set, None, None, Some(set)) => validate_set(set),
        (v1::value::Type::Set, ..) => Err(InvalidResource::Set),
        (v1::value::Type::Text, ..) => Err(InvalidResource::UnsupportedType),
    }
}

fn validate_amount(value: f64) -> Result<(), InvalidResource> {
    if value.is_nan() {
        return Err(InvalidResource::NotANumber);
    }
    match Scalar::checked_from_f64(value) {
        None if value > 0.0 => Err(InvalidResource::TooLarge),
        None => Err(InvalidResource::NotPositive),
        Some(amount) if value != 0.0 && amount <= Scalar::ZERO => Err(InvalidResource::NotPositive),
        Some(_) => Ok(()),
    }
}

fn validate_ranges(ranges: &v1::value::Ranges) -> Result<(), InvalidResource> {
    if ranges.range.iter().any(|range| range.begin > range.end) {
        return Err(InvalidResource::InvertedRange);
    }
    let mut sorted: Vec<(u64, u64)> = ranges.range.iter().map(|range| (range.begin, range.end)).collect();
    sorted.sort_unstable();
    let overlap = sorted.windows(2).any(|pair| pair[1].0 <= pair[0].1);
    if overlap { Err(InvalidResource::OverlappingRanges) } else { Ok(()) }
}

fn validate_set(set: &v1::value::Set) -> Result<(), InvalidResource> {
    let mut sorted: Vec<&String> = set.item.iter().collect();
    sorted.sort_unstable();
    let duplicate = sorted.windows(2).any(|pair| pair[0] == pair[1]);
    if duplicate { Err(InvalidResource::DuplicatedElements) } else { Ok(()) }
}

fn validate_disk(resource: &v1::Resource) -> Result<(), InvalidResource> {
    let Some(disk) = &resource.disk else { return Ok(()) };
    if resource.name != "disk" {
        return Err(InvalidResource::UnexpectedDisk(resource.name.clone()));
    }
    let Some(source) = &disk.source else { return Ok(()) };
    match source.r#type() {
        DiskType::Path | DiskType::Mount => Ok(()),
        DiskType::Unknown => Err(InvalidResource::UnsupportedDiskSource),
        kind @ (DiskType::Block | DiskType::Raw) => {
            if source.mount.is_some() {
                Err(InvalidResource::UnexpectedMount(kind.as_str_name()))
            } else if source.path.is_some() {
                Err(InvalidResource::UnexpectedPath(kind.as_str_name()))
            } else {
                Ok(())
            }
        }
    }
}

#[allow(deprecated)] // the form before reservation refinement
fn validate_legacy_form(resource: &v1::Resource) -> Result<(), InvalidResource> {
    roles::validate(resource.role())?;
    let Some(reservation) = &resource.reservation else { return Ok(()) };
    if reservation.r#type.is_some() {
        Err(InvalidResource::LegacyReservationType)
    } else if reservation.role.is_some() {
        Err(InvalidResource::LegacyReservationRole)
    } else if resource.role() == "*" {
        Err(InvalidResource::LegacyDefaultRole)
    } else {
        Ok(())
    }
}

#[allow(deprecated)]
fn validate_reservations(resource: &v1::Resource) -> Result<(), InvalidResource> {
    for reservation in &resource.reservations {
        if reservation.r#type.is_none() {
            return Err(InvalidResource::ReservationWithoutType);
        }
        let role = reservation.role.as_deref().ok_or(InvalidResource::ReservationWithoutRole)?;
        roles::validate(role)?;
        if role == "*" {
            return Err(InvalidResource::DefaultRole);
        }
        if reservation.r#type() == ReservationType::Unknown {
            return Err(InvalidResource::UnsupportedReservationType);
        }
    }
    for pair in resource.reservations.windows(2) {
        if pair[1].r#type() == ReservationType::Static {
            return Err(InvalidResource::StaticRefinement);
        }
        if !roles::is_strict_subrole(pair[1].role(), pair[0].role()) {
            let (role, ancestor) = (pair[1].role().into(), pair[0].role().into());
            return Err(InvalidResource::NoRefinement { role, ancestor });
        }
    }
    match resource.reservations.as_slice() {
        [single] => validate_endpoint_form(resource, single),
        _ if resource.role.is_some() => Err(InvalidResource::RoleBesideRefinement),
        _ if resource.reservation.is_some() => Err(InvalidResource::ReservationBesideRefinement),
        _ => Ok(()),
    }
}

/// The form of endpoints has both `reservations` and the fields before it, which must agree.
#[allow(deprecated)]
fn validate_endpoint_form(
    resource: &v1::Resource,
    single: &v1::resource::ReservationInfo,
) -> Result<(), InvalidResource> {
    if let Some(legacy) = resource.role.as_deref().filter(|role| *role != single.role()) {
        return Err(InvalidResource::RoleMismatch { legacy: legacy.into(), role: single.role().into() });
    }
    if single.r#type() == ReservationType::Static {
        return if resource.reservation.is_some() { Err(InvalidResource::ReservationBesideStatic) } else { Ok(()) };
    }
    if resource.role.is_some() != resource.reservation.is_some() {
        return Err(InvalidResource::HalfLegacy);
    }
    let Some(legacy) = &resource.reservation else { return Ok(()) };
    if legacy.principal() != single.principal() {
        let (legacy, principal) = (legacy.principal().into(), single.principal().into());
        return Err(InvalidResource::PrincipalMismatch { legacy, principal });
    }
    let (left, right) = (legacy.labels.clone().unwrap_or_default(), single.labels.clone().unwrap_or_default());
    if super::resource::same_labels(&left, &right) { Ok(()) } else { Err(InvalidResource::LabelsMismatch) }
}

fn validate_shared(resource: &v1::Resource) -> Result<(), InvalidResource> {
    if resource.shared.is_none() {
        return Ok(());
    }
    if resource.name != "disk" {
        return Err(InvalidResource::NotShareable(resource.name.clone()));
    }
    match resource.disk.as_ref().and_then(|disk| disk.persistence.as_ref()) {
        Some(_) => Ok(()),
        None => Err(InvalidResource::SharedWithoutPersistence),
    }
}
