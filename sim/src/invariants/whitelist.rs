//! Of an agent that the whitelist leaves out nothing is offered by a master that was told so (docs/configuration of
//! apache/mesos, `--whitelist`); what was offered before may stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use mezzo_api::ids::AgentId;
use mezzo_master_core::effect::Change;

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Whitelist {
    listed: BTreeMap<ProcessId, Rc<BTreeSet<String>>>,
    hosts: BTreeMap<(ProcessId, AgentId), String>,
}

impl Invariant for Whitelist {
    fn name(&self) -> &'static str {
        "whitelist"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, _world: &World) -> Result<(), String> {
        match fact {
            Fact::Listed(master, Some(hosts)) => drop(self.listed.insert(*master, hosts.clone())),
            Fact::Listed(master, None) => drop(self.listed.remove(master)),
            Fact::MasterEnded { master, .. } => {
                self.listed.remove(master);
                self.hosts.retain(|(of, _), _| of != master);
            }
            Fact::Published(master, change) => match &**change {
                Change::Agent(agent) if !self.hosts.contains_key(&(*master, agent.id.clone())) => {
                    self.hosts.insert((*master, agent.id.clone()), agent.info.hostname().to_owned());
                }
                Change::AgentRemoved(id, _) => drop(self.hosts.remove(&(*master, id.clone()))),
                Change::Offer(offer) => return self.offered(*master, &offer.agent_id),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }
}

impl Whitelist {
    fn offered(&self, master: ProcessId, agent: &AgentId) -> Result<(), String> {
        let Some(listed) = self.listed.get(&master) else { return Ok(()) };
        match self.hosts.get(&(master, agent.clone())) {
            Some(host) if !listed.contains(host) => {
                Err(format!("master{master} offers {agent} on {host}, which is not on the whitelist"))
            }
            _ => Ok(()),
        }
    }
}
