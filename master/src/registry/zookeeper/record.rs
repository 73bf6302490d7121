//! Operations as records, and records as what a leader starts from. A new kind of operation is one arm in [`change`], a
//! new kind of entry one arm in [`Findings::add`].

use mezzo_api::{
    ids::{AgentId, FrameworkId},
    registry::{Admitted, Gone, Maintained, Record, Standing, TornDown, Unreachable, record::Entry},
    v1::WeightInfo,
};
use mezzo_master_core::registry::{self, Machine, Recovered, RegistryOp};
use prost::Message;

use super::layout::{Kind, Place};

/// The version that this master writes, and the newest that it understands.
pub(super) const VERSION: u32 = 1;

/// What an operation does.
pub(super) enum Change {
    /// The record becomes this.
    Put(Place, Entry),
    /// There is no record any more.
    Delete(Place),
    /// One more torn-down framework; its number is the store's affair.
    TearDown(FrameworkId),
}

/// The operation as a change of one record.
pub(super) fn change(operation: &RegistryOp) -> Change {
    let agent = |id: &AgentId| Place::of(Kind::Agent, id.as_str());
    match operation {
        RegistryOp::PutAgent(info) => {
            let id = info.id.as_ref().map_or("", |id| id.value.as_str());
            Change::Put(Place::of(Kind::Agent, id), Entry::Admitted(Admitted { agent: (**info).clone() }))
        }
        RegistryOp::RemoveAgent(id) | RegistryOp::PruneAgent(id) => Change::Delete(agent(id)),
        RegistryOp::MarkUnreachable(id, since) => {
            Change::Put(agent(id), Entry::Unreachable(Unreachable { since_ns: *since }))
        }
        RegistryOp::MarkGone(id, since) => Change::Put(agent(id), Entry::Gone(Gone { since_ns: *since })),
        RegistryOp::PutStanding(id, wanted) => {
            let place = Place::of(Kind::Standing, id.as_str());
            if *wanted == registry::Standing::default() {
                return Change::Delete(place);
            }
            let standing = Standing { deactivated: wanted.deactivated, drain: wanted.drain };
            Change::Put(place, Entry::Standing(standing))
        }
        RegistryOp::CompleteFramework(id) => Change::TearDown(id.clone()),
        RegistryOp::PutQuota(quota) => {
            Change::Put(Place::of(Kind::Quota, &quota.role), Entry::Quota((**quota).clone()))
        }
        RegistryOp::RemoveQuota(role) => Change::Delete(Place::of(Kind::Quota, role)),
        RegistryOp::PutWeight(role, weight) => Change::Put(
            Place::of(Kind::Weight, role),
            Entry::Weight(WeightInfo { role: Some(role.clone()), weight: *weight }),
        ),
        RegistryOp::PutMachine(machine) => {
            let Machine { info, window, position } = (**machine).clone();
            let place = Place::of(Kind::Machine, &Machine::key(&info.id));
            Change::Put(place, Entry::Maintained(Maintained { machine: info, window, position }))
        }
        RegistryOp::RemoveMachine(id) => Change::Delete(Place::of(Kind::Machine, &Machine::key(id))),
    }
}

/// A record as it stands in its znode.
pub(super) fn encode(entry: Entry) -> Vec<u8> {
    Record { version: VERSION, entry: Some(entry) }.encode_to_vec()
}

/// Why a record is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    /// Written by a master that knows more.
    #[error("it has version {0}, and this master knows versions up to {VERSION}")]
    Newer(u32),
    /// It is no record, or was damaged.
    #[error("it is no record of the registry: {0}")]
    Damaged(String),
}

/// Reads what stands in a znode.
pub(super) fn decode(data: &[u8]) -> Result<Entry, RecordError> {
    let record = Record::decode(data).map_err(|error| RecordError::Damaged(error.to_string()))?;
    match (record.version, record.entry) {
        (0, _) => Err(RecordError::Damaged("its version is missing".to_owned())),
        (version, _) if version > VERSION => Err(RecordError::Newer(version)),
        (_, None) => Err(RecordError::Damaged("it has no entry".to_owned())),
        (_, Some(entry)) => Ok(entry),
    }
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    recovered: Recovered,
    /// Torn-down frameworks with their numbers.
    pub(super) torn_down: Vec<(u64, FrameworkId)>,
}

impl Findings {
    /// Adds the record of one entity.
    pub(super) fn add(&mut self, kind: Kind, id: String, entry: Entry) -> Result<(), RecordError> {
        match (kind, entry) {
            (Kind::Agent, Entry::Admitted(admitted)) => {
                let named = admitted.agent.id.as_ref().map_or("", |id| id.value.as_str());
                if named != id {
                    return Err(RecordError::Damaged(format!("it is of agent '{named}'")));
                }
                self.recovered.agents.push(&admitted.agent);
            }
            (Kind::Agent, Entry::Unreachable(unreachable)) => {
                self.recovered.unreachable.push((id.into(), unreachable.since_ns));
            }
            (Kind::Agent, Entry::Gone(gone)) => self.recovered.gone.push((id.into(), gone.since_ns)),
            (Kind::Standing, Entry::Standing(standing)) => {
                let Standing { deactivated, drain } = standing;
                self.recovered.standings.push((id.into(), registry::Standing { deactivated, drain }));
            }
            (Kind::Framework, Entry::TornDown(torn_down)) => self.torn_down.push((torn_down.number, id.into())),
            (Kind::Quota, Entry::Quota(quota)) if quota.role == id => self.recovered.quotas.push(quota),
            (Kind::Weight, Entry::Weight(weight)) if weight.role() == id => {
                self.recovered.weights.push((id, weight.weight));
            }
            (Kind::Machine, Entry::Maintained(Maintained { machine: info, window, position }))
                if Machine::key(&info.id) == id =>
            {
                self.recovered.machines.push(Machine { info, window, position });
            }
            (kind, _) => return Err(RecordError::Damaged(format!("it is not what stands in {}", kind.directory()))),
        }
        Ok(())
    }

    /// Everything in an order that does not depend on how it came.
    pub(super) fn recovered(mut self) -> (Recovered, Vec<(u64, FrameworkId)>) {
        self.torn_down.sort();
        self.recovered.agents.sort();
        self.recovered.unreachable.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
        self.recovered.gone.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
        self.recovered.standings.sort_by(|one, other| one.0.cmp(&other.0));
        self.recovered.quotas.sort_by(|one, other| one.role.cmp(&other.role));
        self.recovered.weights.sort_by(|one, other| one.0.cmp(&other.0));
        self.recovered.machines.sort_by_key(|machine| (machine.window, machine.position));
        self.recovered.completed_frameworks = self.torn_down.iter().map(|(_, id)| id.clone()).collect();
        (self.recovered, self.torn_down)
    }
}

/// An entry of a torn-down framework.
pub(super) fn torn_down(number: u64) -> Entry {
    Entry::TornDown(TornDown { number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for entry in
            [Entry::Unreachable(Unreachable { since_ns: 5 }), torn_down(7), Entry::Admitted(Admitted::default())]
        {
            assert_eq!(decode(&encode(entry.clone())), Ok(entry));
        }
    }

    #[test]
    fn what_is_no_record_is_told_from_what_is_newer() {
        for data in [&b""[..], b"nonsense", &[0xff; 100], &[8, 1]] {
            assert!(matches!(decode(data), Err(RecordError::Damaged(_))), "{data:?}");
        }
        let newer = Record { version: VERSION + 1, entry: None }.encode_to_vec();
        assert_eq!(decode(&newer), Err(RecordError::Newer(VERSION + 1)));
    }

    #[test]
    fn a_record_in_the_wrong_place_is_damage() {
        let mut findings = Findings::default();
        assert!(findings.add(Kind::Framework, "f".into(), Entry::Gone(Gone { since_ns: 1 })).is_err());
        assert!(findings.add(Kind::Agent, "a".into(), torn_down(1)).is_err());
        assert!(findings.add(Kind::Agent, "a".into(), Entry::Admitted(Admitted::default())).is_err());
        assert_eq!(findings.recovered().0, Recovered::default());
    }
}
