//! Records without ZooKeeper, for tests of formats.

use mezzo_master_core::registry::{Recovered, RegistryOp};

use super::{
    layout::{Kind, Place},
    record::{Change, Findings, change, decode, encode, torn_down},
};

/// Where the operation writes, and what.
pub(in crate::registry) fn written(operation: &RegistryOp) -> (String, Vec<u8>) {
    let (place, entry) = match change(operation) {
        Change::Put(place, entry) => (place, entry),
        Change::TearDown(id) => (Place::of(Kind::Framework, id.as_str()), torn_down(1)),
        Change::Delete(place) => panic!("{} is deleted", place.as_str()),
    };
    (place.as_str().to_owned(), encode(entry))
}

/// What a leader finds where these records stand.
pub(in crate::registry) fn read<'a>(records: impl Iterator<Item = (&'a str, Vec<u8>)>) -> Recovered {
    let mut findings = Findings::default();
    for (path, data) in records {
        let (parent, name) = path.rsplit_once('/').expect("a record stands below a directory");
        let kind = Kind::ALL.into_iter().find(|kind| parent.starts_with(kind.directory())).expect("a known kind");
        let id = Place::found(parent, name).id(kind).expect("a place of ours");
        findings.add(kind, id, decode(&data).expect("a record")).expect("a record of its place");
    }
    findings.recovered().0
}
