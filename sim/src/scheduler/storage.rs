//! What a framework does with disks: it reserves a part of one and makes a volume of it, or gives both back.

use mezzo_api::{
    resources::Resource as Held,
    v1::{
        self, Resource,
        offer::{Operation, operation},
        resource::{DiskInfo, ReservationInfo, disk_info::Persistence, reservation_info},
    },
};

use super::keeper::scalar;

/// The size of a volume in MB.
const SIZE: f64 = 8.0;

/// Operations on an offer, each with an id of its own; none if there is nothing to do with it.
pub(super) fn operations(offer: &v1::Offer, mut id: impl FnMut() -> String) -> Vec<Operation> {
    let Some(role) = offer.allocation_info.as_ref().and_then(|allocation| allocation.role.clone()) else {
        return Vec::new();
    };
    let volume = volume_in(offer);
    let mut named = |operation: Operation| Operation { id: Some(v1::OperationId { value: id() }), ..operation };
    match volume {
        Some(volume) => {
            let Ok(held) = Held::from_proto(volume) else { return Vec::new() };
            vec![
                named(Operation {
                    r#type: Some(operation::Type::Destroy.into()),
                    destroy: Some(operation::Destroy { volumes: vec![volume.clone()] }),
                    ..Default::default()
                }),
                named(Operation {
                    r#type: Some(operation::Type::Unreserve.into()),
                    unreserve: Some(operation::Unreserve { resources: vec![held.without_persistence().to_proto()] }),
                    ..Default::default()
                }),
            ]
        }
        None => {
            let reserved = Resource {
                reservations: vec![ReservationInfo {
                    r#type: Some(reservation_info::Type::Dynamic.into()),
                    role: Some(role),
                    ..Default::default()
                }],
                ..scalar(offer, "disk", SIZE)
            };
            let reserve = named(Operation {
                r#type: Some(operation::Type::Reserve.into()),
                reserve: Some(operation::Reserve { resources: vec![reserved.clone()], source: Vec::new() }),
                ..Default::default()
            });
            let persistence_id = reserve.id.as_ref().map(|id| id.value.clone()).unwrap_or_default();
            let create = Operation {
                r#type: Some(operation::Type::Create.into()),
                create: Some(operation::Create { volumes: vec![volume_of(reserved, persistence_id)] }),
                ..Default::default()
            };
            vec![reserve, named(create)]
        }
    }
}

/// A volume that is offered.
pub(super) fn volume_in(offer: &v1::Offer) -> Option<&Resource> {
    offer.resources.iter().find(|resource| {
        resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some()) && resource.provider_id.is_none()
    })
}

/// A volume of this id on reserved disk.
pub fn volume_of(reserved: Resource, id: String) -> Resource {
    let volume =
        v1::Volume { container_path: "data".to_owned(), mode: v1::volume::Mode::Rw.into(), ..Default::default() };
    let persistence = Persistence { id, principal: None };
    Resource {
        disk: Some(Box::new(DiskInfo { persistence: Some(persistence), volume: Some(volume), ..Default::default() })),
        ..reserved
    }
}
