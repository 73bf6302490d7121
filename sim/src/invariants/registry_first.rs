//! What must be durable first is durable first (docs/architecture.md, 5 and 7): an agent is told that it is registered,
//! frameworks are told that an agent is unreachable, and agents are told that a framework is at its end, only when the
//! registry says so; so that no crash can take it back.

use mezzo_api::{ids::AgentId, link::to_agent};
use mezzo_master_core::{effect::Change, model::AgentGone};

use super::{Books, Invariant};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RegistryFirst;

impl Invariant for RegistryFirst {
    fn name(&self) -> &'static str {
        "registry first"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        let content = &world.registry.content;
        match fact {
            // What a deposed master believes is its own affair: the registry is another's by now.
            Fact::ToAgent(master, _, message) if world.leader == Some(*master) => match &**message {
                to_agent::Message::Registered(told) => admitted(world, &told.agent_id),
                to_agent::Message::Reregistered(told) => admitted(world, &told.agent_id),
                to_agent::Message::ShutdownFramework(told)
                    if !content.completed.contains(told.framework_id.value.as_str()) =>
                {
                    Err(format!("framework {} is ended and the registry does not know", told.framework_id.value))
                }
                _ => Ok(()),
            },
            Fact::Published(master, change) if world.leader == Some(*master) => match &**change {
                Change::AgentRemoved(id, AgentGone::Unreachable) if !content.unreachable.contains_key(id) => {
                    Err(format!("agent {id} is unreachable and the registry does not know"))
                }
                Change::AgentRemoved(id, AgentGone::Removed) if content.agents.contains_key(id) => {
                    Err(format!("agent {id} is removed and the registry does not know"))
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn admitted(world: &World, id: &mezzo_api::v1::AgentId) -> Result<(), String> {
    if world.registry.content.agents.contains_key(&AgentId::from(id)) {
        return Ok(());
    }
    Err(format!("agent {} is told that it is registered and the registry does not know", id.value))
}
