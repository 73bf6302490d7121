//! One run: each agent that has something new goes to the poorest client that may and does not refuse.

use std::time::Duration;

use rand::seq::SliceRandom;

use super::{Allocation, Allocator, clients::ClientKey, shares::Sign};
use crate::keys::AgentKey;

impl Allocator {
    /// Ends filters and, if it is time, hands out what is free of the agents that were gathered.
    pub(crate) fn run(&mut self, now: Duration) -> Vec<Allocation> {
        self.end_filters(now);
        if self.run_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.run_at = None;
        self.clients.refresh_shares(&self.totals);
        let mut agents: Vec<AgentKey> = self.dirty.drain(..).collect();
        agents.shuffle(&mut self.rng);
        let mut allocations = Vec::new();
        for agent in agents {
            self.hand_out(now, agent, &mut allocations);
        }
        allocations
    }

    fn end_filters(&mut self, now: Duration) {
        while let Some(ended) = self.expiries.pop(now) {
            for (client, agent) in ended {
                if self.clients.expire_filters(client, agent, now) && self.agents.contains_key(agent) {
                    self.at_once(now, agent);
                }
            }
        }
    }

    fn hand_out(&mut self, now: Duration, key: AgentKey, allocations: &mut Vec<Allocation>) {
        // What is reserved for one role is left over by another, so an agent may go to several.
        while let Some((client, resources)) = self.next_for(now, key) {
            let Some(held) = self.clients.get(client) else { return };
            let (framework, role) = (held.framework, held.role.clone());
            let Some(agent) = self.agents.get_mut(key) else { return };
            agent.change(|taken| *taken += &resources);
            self.refresh_free(key);
            let mut allocated = resources;
            allocated.allocate(&role);
            self.clients.count(framework, &allocated, Sign::Plus, &mut self.totals);
            self.clients.served(client);
            allocations.push(Allocation { framework, role, agent: key, resources: allocated });
        }
    }

    /// The poorest client that may have something of the agent, and what.
    fn next_for(&self, now: Duration, key: AgentKey) -> Option<(ClientKey, mezzo_api::resources::Resources)> {
        let agent = self.agents.get(key).filter(|agent| agent.active && !agent.available.is_empty())?;
        self.clients.in_order().find_map(|client_key| {
            let client = self.clients.get(client_key)?;
            let framework = self.frameworks.get(client.framework).filter(|framework| framework.active)?;
            let offer = self.offerable(agent, framework, client)?;
            (!self.clients.refuses(client_key, key, &offer, now)).then_some((client_key, offer))
        })
    }
}
