//! What is reserved, and the volume on it, as Mesos writes them.

use mezzo_sdk::{
    offers::carve,
    resources::Resources,
    v1::{self, offer::Operation, resource::ReservationInfo, resource::disk_info::Persistence},
};

/// Reservations are made to a role.
pub(crate) const ROLE: &str = "journal";
/// For a task, and the disk that stays.
const TASK: &str = "cpus:0.1;mem:32";
const ALL: &str = "cpus:0.1;mem:32;disk:16";
/// The volume's id; in the task's sandbox it is the directory `data`.
const ID: &str = "journal";

/// Operations that are asked for with feedback: their ids.
pub(crate) const RESERVE: &str = "reserve";
pub(crate) const CREATE: &str = "create";
pub(crate) const DESTROY: &str = "destroy";
pub(crate) const UNRESERVE: &str = "unreserve";

/// Turns a part of an offer into a volume: reserved first, which keeps everybody else away, then made.
pub(crate) fn make(offer: &v1::Offer) -> Option<Vec<Operation>> {
    use mezzo_sdk::scheduler::calls::{create, reserve, with_feedback};
    let mut left = unreserved(offer);
    let carved = carve(&mut left, &Resources::parse(ALL, "*").ok()?, 0, 0)?;
    let reserved: Vec<v1::Resource> = carved.resources.into_iter().map(reserved).collect();
    let disk = reserved.iter().find(|resource| resource.name == "disk")?.clone();
    let volume = v1::Resource { disk: Some(Box::new(persistent())), ..disk };
    Some(vec![with_feedback(reserve(reserved), RESERVE), with_feedback(create(vec![volume]), CREATE)])
}

/// What of the offer is the volume, and what a task needs beside it; if the offer has both.
pub(crate) fn find(offer: &v1::Offer) -> Option<(v1::Resource, Vec<v1::Resource>)> {
    let is_it = |resource: &&v1::Resource| {
        let persistence = resource.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
        persistence.is_some_and(|persistence| persistence.id == ID)
    };
    let volume = offer.resources.iter().find(is_it)?.clone();
    let mut left = Resources::from_protos(&offer.resources).ok()?;
    // what is reserved is used first
    let carved = carve(&mut left, &Resources::parse(TASK, "*").ok()?, 0, 0)?;
    Some((volume, carved.resources))
}

/// The way back, for a volume that is not in use and what was reserved with it.
pub(crate) fn unmake(volume: v1::Resource, beside: Vec<v1::Resource>) -> Vec<Operation> {
    use mezzo_sdk::scheduler::calls::{destroy, unreserve, with_feedback};
    let disk = v1::Resource { disk: None, ..volume.clone() };
    let mut all: Vec<v1::Resource> = beside.into_iter().filter(|resource| !resource.reservations.is_empty()).collect();
    all.push(disk);
    vec![with_feedback(destroy(vec![volume]), DESTROY), with_feedback(unreserve(all), UNRESERVE)]
}

/// Only this is cut up: what is reserved is somebody's already.
fn unreserved(offer: &v1::Offer) -> Resources {
    let free: Vec<v1::Resource> =
        offer.resources.iter().filter(|resource| resource.reservations.is_empty()).cloned().collect();
    Resources::from_protos(&free).unwrap_or_default()
}

fn reserved(resource: v1::Resource) -> v1::Resource {
    let reservation = ReservationInfo {
        r#type: Some(v1::resource::reservation_info::Type::Dynamic as i32),
        role: Some(ROLE.into()),
        ..Default::default()
    };
    v1::Resource { reservations: vec![reservation], ..resource }
}

fn persistent() -> v1::resource::DiskInfo {
    v1::resource::DiskInfo {
        persistence: Some(Persistence { id: ID.into(), principal: None }),
        volume: Some(v1::Volume {
            container_path: "data".into(),
            mode: v1::volume::Mode::Rw as i32,
            ..Default::default()
        }),
        ..Default::default()
    }
}
