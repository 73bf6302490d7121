//! Inverse offers: who has something of an agent that will not be available is asked to leave it
//! (src/master/allocator/mesos/hierarchical.cpp, deallocate).

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::v1::Unavailability;

use super::{
    Allocator,
    agents::{Asked, Maintenance},
    filters::Expiry,
};
use crate::keys::{AgentKey, FrameworkKey};

/// A framework shall hear that an agent, of which it has something, will not be available.
#[derive(Clone, Debug)]
pub(crate) struct InverseAllocation {
    pub(crate) framework: FrameworkKey,
    pub(crate) agent: AgentKey,
    pub(crate) unavailability: Unavailability,
}

impl Allocator {
    /// When the agent will not be available, if that is planned. Inverse offers of before are forgotten: their
    /// rescission is the caller's.
    pub(crate) fn set_unavailability(&mut self, now: Duration, key: AgentKey, planned: Option<Unavailability>) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.maintenance =
            planned.map(|unavailability| Box::new(Maintenance { unavailability, asked: BTreeMap::new() }));
        self.soon(now, key);
    }

    /// The inverse offers of the last run.
    pub(crate) fn take_inverse_offers(&mut self) -> Vec<InverseAllocation> {
        std::mem::take(&mut self.inverse_offers)
    }

    /// An inverse offer was answered, or (without a filter) rescinded. With a filter none is made for that long.
    pub(crate) fn answer_inverse_offer(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        key: AgentKey,
        filter: Option<Duration>,
    ) {
        let Some(maintenance) = self.agents.get_mut(key).and_then(|agent| agent.maintenance.as_mut()) else { return };
        match filter {
            Some(duration) => {
                let until = now + duration.max(self.interval);
                maintenance.asked.insert(framework, Asked::Until(until));
                self.expiries.add(until, Expiry::Look(key));
            }
            None => {
                maintenance.asked.remove(&framework);
                self.expiries.add(now + self.interval, Expiry::Look(key));
            }
        }
    }

    /// Makes the inverse offers that the agent is due.
    pub(super) fn ask_to_leave(&mut self, now: Duration, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.is_offerable()) else { return };
        if agent.maintenance.is_none() {
            return;
        }
        let mut holders: Vec<FrameworkKey> = agent.holders().collect();
        holders.sort_unstable();
        let Some(maintenance) = &mut agent.maintenance else { return };
        for framework in holders {
            let wait = maintenance.asked.get(&framework).is_some_and(|asked| match asked {
                Asked::Outstanding => true,
                Asked::Until(until) => *until > now,
            });
            if !wait && self.clients.is_active(framework) {
                maintenance.asked.insert(framework, Asked::Outstanding);
                let unavailability = maintenance.unavailability;
                self.inverse_offers.push(InverseAllocation { framework, agent: key, unavailability });
            }
        }
    }

    /// The framework asks for offers again: also for inverse ones that it had answered.
    pub(super) fn forget_inverse_filters(&mut self, now: Duration, framework: FrameworkKey) {
        let mut again = Vec::new();
        for (key, agent) in self.agents.iter_mut() {
            let Some(maintenance) = &mut agent.maintenance else { continue };
            if matches!(maintenance.asked.get(&framework), Some(Asked::Until(_))) {
                maintenance.asked.remove(&framework);
                again.push(key);
            }
        }
        again.into_iter().for_each(|key| self.soon(now, key));
    }

    /// The framework is no more.
    pub(super) fn forget_asked(&mut self, framework: FrameworkKey) {
        for (_, agent) in self.agents.iter_mut() {
            if let Some(maintenance) = &mut agent.maintenance {
                maintenance.asked.remove(&framework);
            }
        }
    }
}
