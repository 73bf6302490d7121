//! Operations on resources as conversions of some into others (src/common/resources_utils.cpp, getResourceConversions;
//! `Resources::apply`): a reservation is pushed or popped, a disk becomes a volume, a volume another one.

use super::{Resource, Resources, ResourcesError, Scalar, Value};
use crate::v1::offer::{Operation, operation};

/// Some resources that become others.
#[derive(Clone, Debug, PartialEq)]
pub struct Conversion {
    /// What must be there, and is no more afterwards.
    pub consumed: Resources,
    /// What is there afterwards.
    pub converted: Resources,
    /// A volume that must have no other shares left afterwards.
    destroyed: Option<Resource>,
}

/// Why a conversion cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConversionError {
    /// What it would take is not there.
    #[error("{held} does not contain {consumed}")]
    NotContained {
        /// What is there.
        held: Box<Resources>,
        /// What is wanted.
        consumed: Box<Resources>,
    },
    /// Somebody else holds a share of the volume.
    #[error("Persistent volume {0} cannot be removed due to additional shared copies")]
    Shared(Box<Resource>),
    /// It is no operation on resources that an agent itself carries out.
    #[error("Operation not supported")]
    Unsupported,
    /// A resource of the operation is not valid.
    #[error(transparent)]
    Invalid(#[from] ResourcesError),
}

impl Conversion {
    fn new(consumed: impl Into<Resources>, converted: impl Into<Resources>) -> Self {
        Self { consumed: consumed.into(), converted: converted.into(), destroyed: None }
    }

    /// The same without the role that the resources are allocated to: as the agent's total is counted.
    #[must_use]
    pub fn unallocated(&self) -> Self {
        let bare = |resources: &Resources| {
            let mut bare = resources.clone();
            bare.unallocate();
            bare
        };
        let destroyed = self.destroyed.as_ref().map(|volume| {
            let mut volume = volume.clone();
            volume.set_allocation(None);
            volume
        });
        Self { consumed: bare(&self.consumed), converted: bare(&self.converted), destroyed }
    }
}

/// What an operation does, in order.
///
/// # Errors
/// If it is none that an agent carries out by itself, or names invalid resources.
pub fn conversions(operation: &Operation) -> Result<Vec<Conversion>, ConversionError> {
    let all = match operation.r#type() {
        operation::Type::Reserve => operation.reserve.as_ref().map(reserve),
        operation::Type::Unreserve => operation.unreserve.as_ref().map(unreserve),
        operation::Type::Create => operation.create.as_ref().map(create),
        operation::Type::Destroy => operation.destroy.as_ref().map(destroy),
        operation::Type::GrowVolume => operation.grow_volume.as_deref().map(grow),
        operation::Type::ShrinkVolume => operation.shrink_volume.as_deref().map(shrink),
        operation::Type::Unknown
        | operation::Type::Launch
        | operation::Type::LaunchGroup
        | operation::Type::CreateDisk
        | operation::Type::DestroyDisk => None,
    };
    all.unwrap_or(Err(ConversionError::Unsupported))
}

fn each(
    protos: &[crate::v1::Resource],
    convert: impl Fn(&Resource) -> Conversion,
) -> Result<Vec<Conversion>, ConversionError> {
    protos.iter().map(|proto| Ok(convert(&Resource::from_proto(proto)?))).collect()
}

fn reserve(reserve: &operation::Reserve) -> Result<Vec<Conversion>, ConversionError> {
    let reserved = Resources::from_protos(&reserve.resources)?;
    let consumed =
        if reserve.source.is_empty() { reserved.pop_reservation() } else { Resources::from_protos(&reserve.source)? };
    Ok(vec![Conversion::new(consumed, reserved)])
}

fn unreserve(unreserve: &operation::Unreserve) -> Result<Vec<Conversion>, ConversionError> {
    each(&unreserve.resources, |reserved| {
        Conversion::new(reserved.clone(), Resources::from(reserved.clone()).pop_reservation())
    })
}

fn create(create: &operation::Create) -> Result<Vec<Conversion>, ConversionError> {
    each(&create.volumes, |volume| Conversion::new(volume.without_persistence(), volume.clone()))
}

fn destroy(destroy: &operation::Destroy) -> Result<Vec<Conversion>, ConversionError> {
    each(&destroy.volumes, |volume| Conversion {
        destroyed: Some(volume.clone()),
        ..Conversion::new(volume.clone(), volume.without_persistence())
    })
}

fn grow(grow: &operation::GrowVolume) -> Result<Vec<Conversion>, ConversionError> {
    let volume = Resource::from_proto(&grow.volume)?;
    let addition = Resource::from_proto(&grow.addition)?;
    let amount = |resource: &Resource| resource.amount().unwrap_or_default();
    let bigger = volume.with_value(Value::Scalar(amount(&volume) + amount(&addition)));
    let consumed: Resources = [volume, addition].into_iter().collect();
    Ok(vec![Conversion::new(consumed, bigger)])
}

fn shrink(shrink: &operation::ShrinkVolume) -> Result<Vec<Conversion>, ConversionError> {
    let volume = Resource::from_proto(&shrink.volume)?;
    let taken = Scalar::from_f64(shrink.subtract.value);
    let freed = volume.without_persistence().with_value(Value::Scalar(taken));
    let smaller = volume.with_value(Value::Scalar(volume.amount().unwrap_or_default() - taken));
    let converted: Resources = [smaller, freed].into_iter().collect();
    Ok(vec![Conversion::new(volume, converted)])
}

impl Resources {
    /// The same after a conversion.
    ///
    /// # Errors
    /// If what it consumes is not among these, or a volume is still shared.
    pub fn apply(&self, conversion: &Conversion) -> Result<Self, ConversionError> {
        if !self.contains(&conversion.consumed) {
            let (held, consumed) = (Box::new(self.clone()), Box::new(conversion.consumed.clone()));
            return Err(ConversionError::NotContained { held, consumed });
        }
        let mut result = self.clone();
        result -= &conversion.consumed;
        result += &conversion.converted;
        match &conversion.destroyed {
            Some(volume) if result.contains_one(volume) => Err(ConversionError::Shared(Box::new(volume.clone()))),
            _ => Ok(result),
        }
    }

    /// The same after several conversions, one after the other.
    ///
    /// # Errors
    /// As [`Resources::apply`]; then none of them counts.
    pub fn apply_all(&self, conversions: &[Conversion]) -> Result<Self, ConversionError> {
        conversions.iter().try_fold(self.clone(), |resources, conversion| resources.apply(conversion))
    }

    /// What an agent must not forget: dynamic reservations and persistent volumes
    /// (src/common/resources_utils.cpp, needCheckpointing).
    pub fn checkpointed(&self) -> Self {
        self.select(|resource| resource.is_dynamically_reserved() || resource.is_persistent_volume())
    }

    /// An agent's total from what it was started with and what it remembers of reservations and volumes
    /// (src/common/resources_utils.cpp, applyCheckpointedResources).
    ///
    /// # Errors
    /// If what it remembers is not a part of what it was started with.
    pub fn with_checkpointed(&self, checkpointed: &Self) -> Result<Self, ConversionError> {
        let mut total = self.clone();
        for resource in checkpointed {
            let conversion = Conversion::new(resource.as_started(), resource.clone());
            total = total.apply(&conversion)?;
        }
        Ok(total)
    }
}

impl Resource {
    /// The disk under a volume, shared with nobody; other resources as they are.
    #[must_use]
    pub fn without_persistence(&self) -> Self {
        self.map_details(|details| {
            details.shared = false;
            match &mut details.disk {
                Some(disk) if disk.source.is_some() => (disk.persistence, disk.volume) = (None, None),
                disk => *disk = None,
            }
        })
    }

    /// As the agent was started with it: no volume, and only static reservations.
    fn as_started(&self) -> Self {
        let dynamic = crate::v1::resource::reservation_info::Type::Dynamic;
        self.without_persistence()
            .map_details(|details| details.reservations.retain(|reservation| reservation.r#type() != dynamic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{self, resource::ReservationInfo, resource::reservation_info};

    fn dynamic(role: &str) -> ReservationInfo {
        ReservationInfo {
            r#type: Some(reservation_info::Type::Dynamic.into()),
            role: Some(role.into()),
            ..Default::default()
        }
    }

    fn parse(text: &str) -> Resources {
        Resources::parse(text, "*").unwrap()
    }

    fn volume(id: &str, size: f64) -> v1::Resource {
        let mut proto = parse(&format!("disk:{size}")).push_reservation(&dynamic("r")).to_protos().remove(0);
        proto.disk = Some(Box::new(v1::resource::DiskInfo {
            persistence: Some(v1::resource::disk_info::Persistence { id: id.into(), principal: None }),
            volume: Some(v1::Volume {
                container_path: "data".into(),
                mode: v1::volume::Mode::Rw.into(),
                ..Default::default()
            }),
            ..Default::default()
        }));
        proto
    }

    fn operation(kind: operation::Type) -> Operation {
        Operation { r#type: Some(kind.into()), ..Default::default() }
    }

    fn after(resources: &Resources, operation: &Operation) -> Result<Resources, ConversionError> {
        resources.apply_all(&conversions(operation)?)
    }

    #[test]
    fn what_is_reserved_created_destroyed_and_unreserved_is_as_before() {
        let start = parse("cpus:4;disk:100");
        let reserved = parse("disk:64").push_reservation(&dynamic("r")).to_protos();
        let reserve = Operation {
            reserve: Some(operation::Reserve { resources: reserved.clone(), source: vec![] }),
            ..operation(operation::Type::Reserve)
        };
        let held = after(&start, &reserve).unwrap();
        assert_eq!(held.to_string(), "cpus:4; disk:36; disk(reservations: [(DYNAMIC,r)]):64");
        let create = Operation {
            create: Some(operation::Create { volumes: vec![volume("v", 64.0)] }),
            ..operation(operation::Type::Create)
        };
        let held = after(&held, &create).unwrap();
        assert_eq!(held.checkpointed().to_string(), "disk(reservations: [(DYNAMIC,r)])[v:data]:64");
        assert_eq!(start.with_checkpointed(&held.checkpointed()).unwrap(), held);
        assert!(matches!(after(&held, &create), Err(ConversionError::NotContained { .. })));
        let destroy = Operation {
            destroy: Some(operation::Destroy { volumes: vec![volume("v", 64.0)] }),
            ..operation(operation::Type::Destroy)
        };
        let held = after(&held, &destroy).unwrap();
        let unreserve = Operation {
            unreserve: Some(operation::Unreserve { resources: reserved }),
            ..operation(operation::Type::Unreserve)
        };
        assert_eq!(after(&held, &unreserve).unwrap(), start);
    }

    #[test]
    fn a_volume_is_resized_in_place() {
        let start: Resources =
            [Resource::from_proto(&volume("v", 64.0)).unwrap()].into_iter().collect::<Resources>() + &parse("cpus:1");
        let shrink = Operation {
            shrink_volume: Some(Box::new(operation::ShrinkVolume {
                volume: volume("v", 64.0),
                subtract: v1::value::Scalar { value: 16.0 },
            })),
            ..operation(operation::Type::ShrinkVolume)
        };
        let smaller = after(&start, &shrink).unwrap();
        assert_eq!(smaller.disk(), Scalar::from_f64(64.0));
        assert_eq!(smaller.persistent_volumes().disk(), Scalar::from_f64(48.0));
        let grow = Operation {
            grow_volume: Some(Box::new(operation::GrowVolume {
                volume: volume("v", 48.0),
                addition: parse("disk:16").push_reservation(&dynamic("r")).to_protos().remove(0),
            })),
            ..operation(operation::Type::GrowVolume)
        };
        assert_eq!(after(&smaller, &grow).unwrap(), start);
    }

    #[test]
    fn a_shared_volume_with_other_holders_is_not_destroyed() {
        let mut proto = volume("v", 8.0);
        proto.shared = Some(v1::resource::SharedInfo::default());
        let once = Resource::from_proto(&proto).unwrap();
        let twice: Resources = [once.clone(), once].into_iter().collect();
        let destroy = Operation {
            destroy: Some(operation::Destroy { volumes: vec![proto] }),
            ..operation(operation::Type::Destroy)
        };
        assert!(matches!(after(&twice, &destroy), Err(ConversionError::Shared(_))));
    }

    #[test]
    fn a_launch_converts_nothing() {
        assert_eq!(conversions(&operation(operation::Type::Launch)), Err(ConversionError::Unsupported));
        assert_eq!(conversions(&operation(operation::Type::Reserve)), Err(ConversionError::Unsupported));
    }
}
