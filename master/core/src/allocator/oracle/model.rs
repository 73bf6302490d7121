//! What was said to the allocator, as plain lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mezzo_api::{resources::Resources, roles};

use super::super::Quota;
use crate::{
    frameworks::Capabilities,
    keys::{AgentKey, FrameworkKey},
};

/// A framework.
#[derive(Clone, Debug)]
pub(super) struct Framework {
    pub(super) id: String,
    pub(super) roles: BTreeSet<String>,
    pub(super) suppressed: BTreeSet<String>,
    pub(super) capabilities: Capabilities,
    pub(super) active: bool,
    /// The only zone of which it wants agents.
    pub(super) zone: Option<String>,
}

impl Framework {
    pub(super) fn wants(&self, role: &str) -> bool {
        self.active && self.roles.contains(role) && !self.suppressed.contains(role)
    }
}

/// An agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) hostname: String,
    pub(super) zone: String,
    pub(super) total: Arc<Resources>,
    pub(super) active: bool,
}

/// Something that a framework has; without allocation.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) framework: FrameworkKey,
    pub(super) role: String,
    pub(super) agent: AgentKey,
    pub(super) resources: Resources,
}

/// Something that it does not want.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) framework: FrameworkKey,
    pub(super) role: String,
    pub(super) agent: AgentKey,
    pub(super) refused: Resources,
    /// Ends at the next jump in time.
    pub(super) short: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) frameworks: BTreeMap<FrameworkKey, Framework>,
    pub(super) agents: BTreeMap<AgentKey, Agent>,
    pub(super) held: Vec<Held>,
    pub(super) filters: Vec<Filter>,
    pub(super) quotas: BTreeMap<String, Quota>,
    pub(super) weights: BTreeMap<String, f64>,
    pub(super) whitelist: Option<BTreeSet<String>>,
    /// How often somebody was given something: subtrees, roles by themselves, frameworks in roles.
    pub(super) served: BTreeMap<String, u64>,
    pub(super) own_served: BTreeMap<String, u64>,
    pub(super) client_served: BTreeMap<(FrameworkKey, String), u64>,
}

impl Model {
    pub(super) fn is_listed(&self, hostname: &str) -> bool {
        self.whitelist.as_ref().is_none_or(|listed| listed.contains(hostname))
    }

    /// Somebody takes something.
    pub(super) fn hold(&mut self, held: Held) {
        self.count(held.framework, &held.role);
        self.held.push(held);
    }

    pub(super) fn count(&mut self, framework: FrameworkKey, role: &str) {
        *self.client_served.entry((framework, role.to_owned())).or_default() += 1;
        *self.own_served.entry(role.to_owned()).or_default() += 1;
        for role in std::iter::once(role).chain(roles::ancestors(role)) {
            *self.served.entry(role.to_owned()).or_default() += 1;
        }
    }

    /// Frameworks that left a role and have nothing of it are forgotten, and so are roles of which nothing is known.
    pub(super) fn forget(&mut self) {
        // Who has ports only has no share, and is as good as one who has nothing.
        let counts = |held: &&Held| !held.resources.scalars().is_empty();
        let known = |framework: FrameworkKey, role: &str, held: &[Held]| {
            self.frameworks.get(&framework).is_some_and(|known| known.roles.contains(role))
                || held.iter().filter(counts).any(|held| held.framework == framework && held.role == role)
        };
        self.client_served.retain(|(framework, role), _| known(*framework, role, &self.held));
        let mut alive: BTreeSet<String> = self.held.iter().filter(counts).map(|held| held.role.clone()).collect();
        alive.extend(self.frameworks.values().flat_map(|framework| framework.roles.iter().cloned()));
        alive.extend(self.quotas.keys().cloned());
        alive.extend(self.weights.iter().filter(|(_, weight)| **weight != 1.0).map(|(role, _)| role.clone()));
        alive.extend(self.agents.values().flat_map(|agent| agent.total.reserved().into_keys()));
        let alive = |role: &String| alive.iter().any(|one| one == role || roles::is_strict_subrole(one, role));
        self.served.retain(|role, _| alive(role));
        self.own_served.retain(|role, _| alive(role));
    }
}
