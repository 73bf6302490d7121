//! In use, offered and free are the whole, on each agent, never twice (docs/architecture.md, 1): in the books that a
//! master shows, and on the machines themselves.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::{ids::AgentId, link::to_agent, resources::Resources};
use mezzo_master_core::{effect::Change, model::TaskList};

use super::{Books, Invariant};
use crate::{fact::Fact, ids::ProcessId, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Never {
    /// Tasks that an agent did not report when it came back, and of which its master has not heard.
    missing: BTreeMap<(ProcessId, AgentId), BTreeSet<String>>,
}

impl Invariant for Never {
    fn name(&self) -> &'static str {
        "resources"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::ToAgent(master, _, message) => {
                if let to_agent::Message::Reregistered(message) = &**message {
                    let tasks = message.reconcile.iter().map(|task| task.task_id.value.clone());
                    self.missing.insert((*master, AgentId::from(&message.agent_id)), tasks.collect());
                }
                Ok(())
            }
            Fact::MasterEnded { master, .. } => {
                self.missing.retain(|(of, _), _| of != master);
                Ok(())
            }
            Fact::Published(master, change) => match &**change {
                Change::Task(task) => {
                    if task.list != TaskList::Active || mezzo_agent_core::is_terminal(task.state) {
                        let missing = self.missing.get_mut(&(*master, task.agent_id.clone()));
                        missing.map(|missing| missing.remove(task.id.as_str()));
                    }
                    Ok(())
                }
                Change::Agent(agent) => {
                    let mut taken = &agent.used + &agent.offered;
                    taken.unallocate();
                    // A task may have been launched on a volume that its agent never came to make
                    // (src/master/master.cpp of apache/mesos, ___reregisterSlave and reconcileKnownSlave).
                    let missing = self.missing.get(&(*master, agent.id.clone()));
                    let missing = missing.is_some_and(|missing| !missing.is_empty());
                    if missing {
                        taken = taken.unreserved();
                    }
                    // A master that was replaced and does not know it hears of what was launched since, beside what it
                    // still believes in; the agent does nothing that it says.
                    let stale = missing && world.leader != Some(*master);
                    if !stale && !agent.total.contains(&taken) {
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
    // The machine itself knows neither reservations nor volumes.
    let plain = || used.iter().map(mezzo_api::resources::Resource::without_persistence).collect::<Resources>();
    if machine.resources.contains(&used) || machine.resources.contains(&plain().to_unreserved()) {
        return Ok(());
    }
    Err(format!("agent{number} runs {used} on {}", machine.resources))
}
