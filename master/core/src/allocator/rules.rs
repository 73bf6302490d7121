//! Which of an agent's resources a client may have.

use mezzo_api::resources::{Resource, Resources, Scalar};

use super::{
    Allocator, Minimum,
    agents::{Agent, Bars},
    clients::{Client, Takes},
};

/// Alternatives of names and amounts, as the core's settings give them.
pub(super) fn minima(alternatives: &[Vec<(String, f64)>]) -> Vec<Minimum> {
    let read = |alternative: &Vec<(String, f64)>| {
        alternative.iter().map(|(name, amount)| (name.clone(), Scalar::from_f64(*amount))).collect()
    };
    alternatives.iter().map(read).collect()
}

/// Whether any alternative is met; with none, anything goes.
pub(super) fn meets(resources: &Resources, alternatives: &[Minimum]) -> bool {
    if resources.is_empty() {
        return false;
    }
    alternatives.is_empty()
        || alternatives
            .iter()
            .any(|alternative| alternative.iter().all(|(name, amount)| resources.scalar(name) >= *amount))
}

/// Whether the resource is for this role and for frameworks of these capabilities.
pub(super) fn is_for(resource: &Resource, role: &str, takes: Takes) -> bool {
    resource.is_allocatable_to(role)
        && (takes.refined || !resource.has_refined_reservations())
        && (takes.revocable || !resource.is_revocable())
        && (takes.shared || !resource.is_shared())
}

/// What counts against quota.
pub(super) fn counts(resource: &Resource) -> bool {
    resource.amount().is_some() && resource.is_unreserved() && !resource.is_revocable()
}

/// What a client's constraints said of agents, by slot: each regular expression is run once for an agent.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    known: Vec<u64>,
    allowed: Vec<u64>,
}

impl Verdicts {
    pub(super) fn of(&mut self, slot: usize, judge: impl FnOnce() -> bool) -> bool {
        let (word, bit) = (slot / 64, 1_u64 << (slot % 64));
        if self.known.len() <= word {
            self.known.resize(word + 1, 0);
            self.allowed.resize(word + 1, 0);
        }
        if self.known[word] & bit == 0 {
            self.known[word] |= bit;
            self.allowed[word] &= !bit;
            if judge() {
                self.allowed[word] |= bit;
            }
        }
        self.allowed[word] & bit != 0
    }

    /// The agent is another one, or has changed.
    pub(super) fn forget(&mut self, slot: usize) {
        if let Some(word) = self.known.get_mut(slot / 64) {
            *word &= !(1 << (slot % 64));
        }
    }
}

impl Allocator {
    /// Which frameworks the agent is not for.
    pub(super) fn bars(&self, agent: &Agent) -> Bars {
        let abilities = agent.abilities;
        Bars::union([
            (Bars::WITHOUT_GPUS, agent.has_gpus && self.filter_gpus),
            (Bars::OF_ONE_REGION, self.is_remote(agent)),
            (Bars::MULTI_ROLE, !abilities.multi_role()),
            (Bars::NESTED_ROLE, !abilities.hierarchical_role()),
        ])
    }

    /// Whether the client's constraints allow the agent.
    pub(super) fn allowed(client: &Client, role: &str, slot: usize, agent: &Agent) -> bool {
        client
            .constraints
            .as_ref()
            .is_none_or(|constraints| client.verdicts.borrow_mut().of(slot, || constraints.allows(role, &agent.info)))
    }

    /// In another region than the master's (src/master/allocator/mesos/hierarchical.cpp, isRemoteSlave).
    fn is_remote(&self, agent: &Agent) -> bool {
        let domain = agent.info.domain().and_then(|domain| domain.fault_domain.as_ref());
        domain.is_some_and(|domain| self.region.as_ref().is_some_and(|region| *region != domain.region.name))
    }
}
