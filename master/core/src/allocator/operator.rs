//! What operators and operations change: quota, weights, totals, the whitelist.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use mezzo_api::resources::Resources;

use super::{
    Allocator, Limits, Quantities,
    amounts::{Amounts, Sign},
    tree::Bound,
    unallocated,
};
use crate::keys::{AgentKey, FrameworkKey};

/// What a role is promised, and what it may have at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quota {
    /// Kept free for the role until it has it.
    pub(crate) guarantees: Quantities,
    /// Never passed by offers to the role and those below it.
    pub(crate) limits: Limits,
}

impl Allocator {
    /// A role's quota. It holds for offers from now on; what is outstanding is the caller's to rescind.
    pub(crate) fn set_quota(&mut self, _now: Duration, role: &str, guarantees: Quantities, limits: Limits) {
        let bound = Bound {
            guarantees: self.names.read(&guarantees),
            limits: self.names.read_limits(&limits),
            as_set: Quota { guarantees, limits },
        };
        let key = self.tree.make(role);
        self.tree.set_quota(key, Some(bound));
        self.everything_soon();
    }

    /// The role has no quota any more.
    pub(crate) fn clear_quota(&mut self, _now: Duration, role: &str) {
        if let Some(key) = self.tree.find(role) {
            self.tree.set_quota(key, None);
            self.tree.prune(key);
            self.everything_soon();
        }
    }

    /// The role's quota, if it has one.
    #[cfg(test)]
    pub(crate) fn quota(&self, role: &str) -> Option<&Quota> {
        let key = self.tree.find(role)?;
        self.tree.get(key).quota.as_ref().map(|bound| &bound.as_set)
    }

    /// How much the role counts beside its siblings: 1 is the default, which what is not above zero means too.
    pub(crate) fn set_weight(&mut self, _now: Duration, role: &str, weight: f64) {
        let weight = if weight.is_finite() && weight > 0.0 { weight } else { 1.0 };
        let key = self.tree.make(role);
        self.tree.set_weight(key, weight, &self.totals);
        self.tree.prune(key);
        self.everything_soon();
    }

    /// Reservations or volumes of an agent changed; what was refused of it stays refused.
    pub(crate) fn update_total(&mut self, now: Duration, key: AgentKey, total: Arc<Resources>) {
        let Some(before) = self.agents.get(key).map(|agent| agent.total.clone()) else { return };
        // In this order nothing is forgotten between.
        self.count_total(&total, Sign::Plus);
        self.count_total(&before, Sign::Minus);
        self.change_agent(key, |agent, names| agent.set_total(total, names));
        self.soon(now, key);
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
        let Some(before) = self.agents.get(key).map(|agent| agent.total.clone()) else { return };
        self.count(now, framework, key, converted, Sign::Plus);
        self.count(now, framework, key, consumed, Sign::Minus);
        let (gone, come) = (unallocated(consumed), unallocated(converted));
        self.change_agent(key, |agent, names| agent.convert(framework, &gone, &come, names));
        let Some(after) = self.agents.get(key).map(|agent| agent.total.clone()) else { return };
        self.count_total(&after, Sign::Plus);
        self.count_total(&before, Sign::Minus);
        self.soon(now, key);
    }

    /// Only agents of these host names are offered; `None` is all.
    pub(crate) fn set_whitelist(&mut self, now: Duration, hostnames: Option<BTreeSet<String>>) {
        self.whitelist = hostnames;
        let keys: Vec<AgentKey> = self.agents.keys().collect();
        for key in keys {
            let Some(agent) = self.agents.get(key) else { continue };
            let listed = self.is_listed(agent.info.hostname()) || mezzo_api::mutant!("whitelist-ignored");
            if agent.listed != listed {
                self.change_agent(key, |agent, _| agent.listed = listed);
                self.soon(now, key);
            }
        }
    }

    pub(super) fn is_listed(&self, hostname: &str) -> bool {
        self.whitelist.as_ref().is_none_or(|listed| listed.contains(hostname))
    }

    /// What counts against the role's limits: reservations to it and those below it, allocated or not, and what they
    /// have, offered or used, of resources that are neither reserved nor revocable.
    pub(crate) fn consumed(&self, role: &str) -> Quantities {
        let Some(key) = self.tree.find(role) else { return Quantities::default() };
        let role = self.tree.get(key);
        let mut sum = role.reserved.clone();
        sum.plus(&role.unreserved);
        self.quantities(&sum)
    }

    /// All that the agents have, by name.
    #[cfg(any(test, feature = "harness"))]
    pub(crate) fn total(&self) -> Quantities {
        self.quantities(&self.totals.amounts)
    }

    pub(super) fn quantities(&self, amounts: &Amounts) -> Quantities {
        self.names.named(amounts).into_iter().collect()
    }
}
