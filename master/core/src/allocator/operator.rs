//! What operators and operations change: quota, weights, totals, unavailability, the whitelist.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mezzo_api::{resources::Resources, v1::Unavailability};

use super::{Allocator, Limits, Quantities, shares::Sign, unallocated};
use crate::keys::{AgentKey, FrameworkKey};

/// What a role is promised, and what it may have at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Kept free for the role until it has it.
    pub(crate) guarantees: Quantities,
    /// Never passed by offers to the role and those below it.
    pub(crate) limits: Limits,
}

/// A framework shall hear that an agent, of which it has something, will not be available.
#[derive(Clone, Debug)]
pub(crate) struct InverseAllocation {
    pub(crate) framework: FrameworkKey,
    pub(crate) agent: AgentKey,
    pub(crate) unavailability: Unavailability,
}

impl Allocator {
    /// A role's quota. It holds for offers from now on; what is outstanding is the caller's to rescind.
    pub(crate) fn set_quota(&mut self, now: Duration, role: &str, guarantees: Quantities, limits: Limits) {
        self.quotas.insert(role.to_owned(), Quota { guarantees, limits });
        self.everything_at_once(now);
    }

    /// The role has no quota any more.
    pub(crate) fn clear_quota(&mut self, now: Duration, role: &str) {
        self.quotas.remove(role);
        self.everything_at_once(now);
    }

    /// The role's quota, if it has one.
    pub(crate) fn quota(&self, role: &str) -> Option<&Quota> {
        self.quotas.get(role)
    }

    /// How much the role counts beside its siblings (1 is the default).
    pub(crate) fn set_weight(&mut self, now: Duration, role: &str, weight: f64) {
        self.weights.insert(role.to_owned(), weight);
        self.everything_at_once(now);
    }

    /// Reservations or volumes of an agent changed; what was refused of it stays refused.
    pub(crate) fn update_total(&mut self, now: Duration, key: AgentKey, total: Arc<Resources>) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        self.totals.subtract(&agent.total);
        self.totals.add(&total);
        agent.set_total(total);
        self.refresh_free(key);
        self.at_once(now, key);
    }

    /// An operation on resources that a framework holds: `consumed` became `converted`, both allocated to its role.
    /// The agent's total changes likewise.
    pub(crate) fn convert(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        key: AgentKey,
        consumed: &Resources,
        converted: &Resources,
    ) {
        self.clients.count(framework, consumed, Sign::Minus, &mut self.totals);
        self.clients.count(framework, converted, Sign::Plus, &mut self.totals);
        let Some(agent) = self.agents.get_mut(key) else { return };
        let (gone, come) = (unallocated(consumed), unallocated(converted));
        agent.taken -= &gone;
        agent.taken += &come;
        let total = Arc::new(&(&*agent.total - &gone) + &come);
        self.update_total(now, key, total);
    }

    /// When the agent will not be available, if that is planned. Inverse offers of before are forgotten: their
    /// rescission is the caller's.
    pub(crate) fn set_unavailability(&mut self, now: Duration, key: AgentKey, planned: Option<Unavailability>) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.unavailability = planned;
        self.at_once(now, key);
    }

    /// The inverse offers of the last run.
    pub(crate) fn take_inverse_offers(&mut self) -> Vec<InverseAllocation> {
        std::mem::take(&mut self.inverse_offers)
    }

    /// An inverse offer was answered, or (without a filter) rescinded. With a filter none is made for that long.
    pub(crate) fn answer_inverse_offer(
        &mut self,
        _now: Duration,
        _framework: FrameworkKey,
        _key: AgentKey,
        _filter: Option<Duration>,
    ) {
    }

    /// Only agents of these host names are offered; `None` is all.
    pub(crate) fn set_whitelist(&mut self, now: Duration, hostnames: Option<BTreeSet<String>>) {
        self.whitelist = hostnames;
        self.everything_at_once(now);
    }

    /// What counts against the role's limits: reservations to it and those below it, allocated or not, and what they
    /// have, offered or used, of resources that are neither reserved nor revocable.
    pub(crate) fn consumed(&self, role: &str) -> Quantities {
        self.consumed_slowly(role)
    }

    /// All that the agents have, by name.
    pub(crate) fn total(&self) -> Quantities {
        self.totals.all().into_iter().collect()
    }
}
