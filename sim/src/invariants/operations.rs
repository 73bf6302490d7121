//! Operations on resources: each ends in one status, which never changes and is never told again once its
//! acknowledgement is written down; nothing is made or lost by them (the cores' own checks say so after each step); and
//! when all is over, master, agent and disk agree on what is reserved and which volumes there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mezzo_api::{
    ids::AgentId,
    link::{from_agent, to_agent},
    resources::Resources,
};
use mezzo_master_core::effect::Change;

use super::{Books, Invariant};
use crate::{
    fact::Fact,
    ids::ProcessId,
    plan::Character,
    time::Moment,
    world::{AgentMachine, Author, World},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Operations {
    /// By operation: the status' uuid and its state.
    said: BTreeMap<Bytes, (Bytes, i32)>,
    /// Acknowledgements of what it said that an agent heard, and when.
    heard: BTreeMap<(u16, Bytes), Moment>,
    /// Those after which it lived on, so that they are on its disk.
    settled: BTreeSet<(u16, Bytes)>,
    /// Those that it has written down.
    over: BTreeSet<Bytes>,
    /// What each master shows of each agent.
    shown: BTreeMap<(ProcessId, AgentId), Arc<Resources>>,
}

/// Within this an agent has what it heard on its disk.
const WRITTEN: Duration = Duration::from_secs(1);

/// A record that holds little more than a uuid.
const SHORT: usize = 40;

impl Invariant for Operations {
    fn name(&self) -> &'static str {
        "operations"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::Said(agent, message) => {
                let from_agent::Message::OperationStatus(told) = &**message else { return Ok(()) };
                let uuid = &told.operation_uuid;
                if self.over.contains(uuid) {
                    return Err(format!("agent{agent} tells again of {uuid:?}, which was acknowledged"));
                }
                if self.settled.contains(&(*agent, uuid.clone())) {
                    return Err(format!("agent{agent} tells again of {uuid:?}, whose acknowledgement it had heard"));
                }
                let status = (told.status.uuid.clone().unwrap_or_default().value, told.status.state);
                match self.said.get(uuid) {
                    Some(before) if *before != status => {
                        Err(format!("agent{agent} says {:?} of {uuid:?}, and before {before:?}", status))
                    }
                    Some(_) => Ok(()),
                    None => {
                        self.said.insert(uuid.clone(), status);
                        Ok(())
                    }
                }
            }
            Fact::Heard { agent, message, .. } => {
                if let to_agent::Message::AcknowledgeOperation(acknowledged) = &**message {
                    let uuid = &acknowledged.operation_uuid;
                    if self.said.get(uuid).is_some_and(|(status, _)| *status == acknowledged.status_uuid) {
                        self.heard.entry((*agent, uuid.clone())).or_insert(world.now);
                    }
                }
                Ok(())
            }
            Fact::AgentEnded { agent, .. } => {
                let long_ago = |(of, _): &(u16, Bytes), heard: &Moment| of == agent && world.now - *heard > WRITTEN;
                let settled = self.heard.iter().filter(|(of, heard)| long_ago(of, heard)).map(|(of, _)| of.clone());
                self.settled.extend(settled);
                Ok(())
            }
            Fact::Recorded(agent, record, _) if record.bytes.len() < SHORT && !self.heard.is_empty() => {
                let of_record = |(of, uuid): &&(u16, Bytes)| {
                    of == agent && record.bytes.windows(uuid.len()).any(|part| part == uuid)
                };
                self.over.extend(self.heard.keys().filter(of_record).map(|(_, uuid)| uuid.clone()));
                Ok(())
            }
            Fact::Published(master, change) => {
                if let Change::Agent(agent) = &**change {
                    self.shown.insert((*master, agent.id.clone()), agent.total.clone());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _books: &Books, world: &World) -> Result<(), String> {
        for machine in &world.agents {
            self.agree(machine, world)?;
        }
        for machine in world.frameworks.iter().filter(|machine| machine.character == Character::Keeper) {
            let Some(Author::Keeper(keeper)) = machine.scheduler.as_ref().map(|scheduler| &scheduler.author) else {
                continue;
            };
            if let Some((id, _)) = keeper.operations.first_key_value() {
                return Err(format!("framework{} never hears what became of {id}", machine.number));
            }
        }
        Ok(())
    }
}

impl Operations {
    fn agree(&self, machine: &AgentMachine, world: &World) -> Result<(), String> {
        let number = machine.number;
        let Some(agent) = &machine.agent else { return Ok(()) };
        let view = agent.core.view();
        if let Some(operation) = view.operations.first() {
            return Err(format!("the status of {:?} is not acknowledged on agent{number}", operation.uuid.value));
        }
        let volumes = view.total.persistent_volumes();
        let expected: BTreeSet<String> = volumes
            .iter()
            .map(|volume| {
                let role = volume.reservation_role().unwrap_or_default().replace('/', " ");
                format!("/{}/volumes/roles/{role}/{}", "work", volume.persistence_id().unwrap_or_default())
            })
            .collect();
        let found: BTreeSet<String> = machine.volumes.iter().map(|path| path.to_string_lossy().into_owned()).collect();
        if expected != found {
            return Err(format!("agent{number} has the volumes {expected:?}, and {found:?} on its disk"));
        }
        let (Some(leader), Some(id)) = (world.leader, &view.agent_id) else { return Ok(()) };
        match self.shown.get(&(leader, id.clone())) {
            Some(shown) if **shown != view.total => {
                Err(format!("agent{number} has {}, and its master believes in {shown}", view.total))
            }
            _ => Ok(()),
        }
    }
}
