//! In use, offered and free are the whole, on each agent, never twice (docs/architecture.md, 1): in the books that a
//! master shows, and on the machines themselves.

use mezzo_api::{ids::AgentId, resources::Resources};
use mezzo_master_core::effect::Change;

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Never;

impl Invariant for Never {
    fn name(&self) -> &'static str {
        "resources"
    }

    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::Published(master, change) => match &**change {
                Change::Agent(agent) => {
                    let mut taken = &agent.used + &agent.offered;
                    taken.unallocate();
                    if !agent.total.contains(&taken) {
                        return Err(format!("agent {}: {taken} of {} is used or offered", agent.id, agent.total));
                    }
                    let offered = offered(books, *master, &agent.id);
                    if offered != agent.offered {
                        return Err(format!("agent {}: {} is shown as offered, {offered} is", agent.id, agent.offered));
                    }
                    Ok(())
                }
                _ => Ok(()),
            },
            Fact::Launched(agent, _) => machine(world, *agent),
            _ => Ok(()),
        }
    }
}

fn offered(books: &Books, master: ProcessId, agent: &AgentId) -> Resources {
    let mut sum = Resources::new();
    let offers = books.masters.get(&master).into_iter().flat_map(|master| master.offers.values());
    for offer in offers.filter(|offer| offer.agent_id == *agent) {
        sum += &offer.resources;
    }
    sum
}

/// What runs on the machine, as its agent counts it at each step.
fn machine(world: &World, number: u16) -> Result<(), String> {
    let machine = &world.agents[usize::from(number)];
    let Some(agent) = &machine.agent else { return Ok(()) };
    let used = agent.core.checked_use();
    if machine.resources.contains(&used) {
        return Ok(());
    }
    Err(format!("agent{number} runs {used} on {}", machine.resources))
}
