//! The algorithm, written straight down: everything is counted anew from a plain list of who has what whenever it is
//! needed, and nothing is remembered but what was said.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::{
    resources::{Resource, Resources, Scalar, Value},
    roles,
};

use super::model::{Held, Model};
use crate::keys::{AgentKey, FrameworkKey};

type Amounts = BTreeMap<String, Scalar>;

/// What the allocator is to hand out.
pub(super) type Expected = (FrameworkKey, String, AgentKey, Resources);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Guarantees,
    Rest,
}

impl Model {
    /// One run over these agents: first guarantees, then the rest.
    pub(super) fn serve(&mut self, batch: &[AgentKey]) -> Vec<Expected> {
        let mut expected = Vec::new();
        let mut shared: BTreeMap<AgentKey, Resources> = BTreeMap::new();
        for stage in [Stage::Guarantees, Stage::Rest] {
            let offerable: Vec<AgentKey> = batch.iter().copied().filter(|agent| self.is_offerable(*agent)).collect();
            for agent in &offerable {
                let mut served = BTreeSet::new();
                while let Some((framework, role, offer)) =
                    self.next(*agent, stage, &served, shared.entry(*agent).or_default())
                {
                    served.insert((framework, role.clone()));
                    *shared.entry(*agent).or_default() += &offer.shared();
                    self.hold(Held { framework, role: role.clone(), agent: *agent, resources: offer.clone() });
                    expected.push((framework, role, *agent, offer));
                }
            }
        }
        expected
    }

    fn next(
        &self,
        agent: AgentKey,
        stage: Stage,
        served: &BTreeSet<(FrameworkKey, String)>,
        shared: &Resources,
    ) -> Option<(FrameworkKey, String, Resources)> {
        self.in_order().into_iter().find_map(|(role, framework)| {
            if served.contains(&(framework, role.clone())) {
                return None;
            }
            let offer = self.offer(agent, stage, &role, framework, shared)?;
            Some((framework, role, offer))
        })
    }

    /// Steps 1 to 9 for one framework.
    fn offer(
        &self,
        agent: AgentKey,
        stage: Stage,
        role: &str,
        framework: FrameworkKey,
        shared: &Resources,
    ) -> Option<Resources> {
        let known = &self.frameworks[&framework];
        let facts = &self.agents[&agent];
        if known.zone.as_ref().is_some_and(|zone| *zone != facts.zone) {
            return None;
        }
        let takes = |resource: &Resource| {
            resource.is_allocatable_to(role)
                && (known.capabilities.shared_resources || !resource.is_shared())
                && (known.capabilities.revocable_resources || !resource.is_revocable())
                && (known.capabilities.reservation_refinement || !resource.has_refined_reservations())
                && !(resource.is_shared() && shared.contains_one(resource))
        };
        let available = self.available(agent).filter(takes);
        if !is_allocatable(&available) {
            return None;
        }
        if !facts.total.gpus().is_zero() && !known.capabilities.gpu_resources {
            return None;
        }
        let counted = available.filter(counts);
        let reserved = available.filter(|resource| !resource.is_unreserved());
        let other = available
            .filter(|resource| resource.is_unreserved() && (resource.amount().is_none() || resource.is_revocable()));
        let (reserved, promised) = match stage {
            Stage::Guarantees => {
                let right = |name: &str| {
                    let allowance = self.allowance(role, name);
                    Some(self.room(role, name).map_or(allowance, |room| room.min(allowance)))
                };
                (reserved.reserved_to(role), cut_to(&counted, right))
            }
            Stage::Rest => (reserved, Resources::new()),
        };
        if stage == Stage::Guarantees && promised.is_empty() {
            return None;
        }
        let extra = cut_to(&(&counted - &promised), |name| {
            let room = self.room(role, name).map(|room| room - promised.scalar(name));
            let required = self.needed("").get(name).copied().unwrap_or_default();
            let headroom = (required > Scalar::ZERO).then(|| self.headroom(name) - required);
            [room, headroom].into_iter().flatten().min()
        });
        let offer = &(&(&reserved + &other) + &promised) + &extra;
        let refused = self.filters.iter().any(|filter| {
            (filter.framework, filter.role.as_str(), filter.agent) == (framework, role, agent)
                && filter.refused.contains(&offer)
        });
        (is_allocatable(&offer) && !refused).then_some(offer)
    }

    fn is_offerable(&self, agent: AgentKey) -> bool {
        self.agents.get(&agent).is_some_and(|agent| agent.active && self.is_listed(&agent.hostname))
    }

    /// What is left of the agent; what is shared stays.
    pub(super) fn available(&self, agent: AgentKey) -> Resources {
        let mut left = (*self.agents[&agent].total).clone();
        for held in self.held.iter().filter(|held| held.agent == agent) {
            left -= &held.resources.non_shared();
        }
        left
    }

    fn headroom(&self, name: &str) -> Scalar {
        let agents = self.agents.keys().filter(|agent| self.is_offerable(**agent));
        agents.map(|agent| self.available(*agent).filter(counts).scalar(name)).sum()
    }

    /// All amounts of the cluster.
    pub(super) fn totals(&self) -> Amounts {
        let mut sum = Amounts::new();
        self.agents.values().for_each(|agent| add(&mut sum, &agent.total));
        sum
    }

    /// What somebody has; what is shared counts once for each agent.
    fn taken(&self, of: impl Fn(&Held) -> bool) -> Amounts {
        let mut sum = Amounts::new();
        let mut seen: Vec<(AgentKey, String)> = Vec::new();
        for held in self.held.iter().filter(|held| of(held)) {
            add(&mut sum, &held.resources.non_shared());
            for resource in &held.resources.shared() {
                let id = (held.agent, resource.persistence_id().unwrap().to_owned());
                if !seen.contains(&id) {
                    seen.push(id);
                    *sum.entry(resource.name().to_owned()).or_default() += resource.amount().unwrap();
                }
            }
        }
        sum
    }

    fn share(&self, taken: &Amounts, weight: f64) -> f64 {
        let totals = self.totals();
        let fraction = |(name, amount): (&String, &Scalar)| {
            let total = totals.get(name).copied().unwrap_or_default();
            if total.is_zero() { 0.0 } else { amount.as_f64() / total.as_f64() }
        };
        taken.iter().map(fraction).fold(0.0, f64::max) / weight
    }

    /// The dominant share of a role's subtree.
    pub(super) fn role_share(&self, role: &str) -> f64 {
        self.share(&self.taken(|held| within(&held.role, role)), self.weight(role))
    }

    fn weight(&self, role: &str) -> f64 {
        self.weights.get(role).copied().unwrap_or(1.0)
    }

    /// All (role, framework) pairs that want offers, as the tree is walked.
    pub(super) fn in_order(&self) -> Vec<(String, FrameworkKey)> {
        let mut leaves = Vec::new();
        self.walk("", &mut leaves);
        leaves
            .into_iter()
            .flat_map(|role| self.frameworks_of(&role).into_iter().map(move |key| (role.clone(), key)))
            .collect()
    }

    fn walk(&self, role: &str, leaves: &mut Vec<String>) {
        // The children of which somebody wants offers; "." is the role itself.
        let mut children: BTreeSet<String> = BTreeSet::new();
        for wanting in self.wanting_roles() {
            if wanting == role {
                children.insert(format!("{role}/."));
            } else if role.is_empty() {
                children.insert(wanting.split('/').next().unwrap().to_owned());
            } else if let Some(rest) = wanting.strip_prefix(&format!("{role}/")) {
                children.insert(format!("{role}/{}", rest.split('/').next().unwrap()));
            }
        }
        let mut ranked: Vec<(f64, u64, String)> = children
            .into_iter()
            .map(|child| match child.strip_suffix("/.") {
                Some(own) => {
                    let share = self.share(&self.taken(|held| held.role == own), 1.0);
                    (share, self.own_served.get(own).copied().unwrap_or_default(), child.clone())
                }
                None => (self.role_share(&child), self.served.get(&child).copied().unwrap_or_default(), child),
            })
            .collect();
        ranked.sort_by(|a, b| a.partial_cmp(b).unwrap());
        for (_, _, child) in ranked {
            match child.strip_suffix("/.") {
                Some(own) => leaves.push(own.to_owned()),
                None => self.walk(&child, leaves),
            }
        }
    }

    fn frameworks_of(&self, role: &str) -> Vec<FrameworkKey> {
        let wanting = self.frameworks.iter().filter(|(_, framework)| framework.wants(role));
        let mut ranked: Vec<(f64, u64, String, FrameworkKey)> = wanting
            .map(|(key, framework)| {
                let share = self.share(&self.taken(|held| held.role == role && held.framework == *key), 1.0);
                let served = self.client_served.get(&(*key, role.to_owned())).copied().unwrap_or_default();
                (share, served, framework.id.clone(), *key)
            })
            .collect();
        ranked.sort_by(|a, b| a.partial_cmp(b).unwrap());
        ranked.into_iter().map(|(_, _, _, key)| key).collect()
    }

    fn wanting_roles(&self) -> BTreeSet<String> {
        let roles = self
            .frameworks
            .values()
            .flat_map(|framework| framework.roles.iter().filter(|role| framework.wants(role)).cloned());
        roles.collect()
    }

    /// Reservations of the subtree, and what it has that is neither reserved nor revocable.
    pub(super) fn consumed(&self, role: &str) -> Amounts {
        let mut sum = Amounts::new();
        self.agents.values().for_each(|agent| add(&mut sum, &agent.total.reserved_to_subtree(role)));
        for held in self.held.iter().filter(|held| within(&held.role, role)) {
            add(&mut sum, &held.resources.filter(counts));
        }
        sum
    }

    /// What limits, its own and those above it, leave to the role.
    fn room(&self, role: &str, name: &str) -> Option<Scalar> {
        let bounds = path(role).filter_map(|role| {
            let limit = self.quotas.get(role)?.limits.get(name)?;
            let consumed = self.consumed(role).get(name).copied().unwrap_or_default();
            Some((limit - consumed).max(Scalar::ZERO))
        });
        bounds.min()
    }

    /// What must be kept free for a subtree: what its own guarantee lacks, or what the roles right below it need
    /// together, whichever is more.
    fn needed(&self, role: &str) -> Amounts {
        let mut needed = self.needed_below(role);
        if let Some(quota) = self.quotas.get(role) {
            let consumed = self.consumed(role);
            for (name, guarantee) in quota.guarantees.iter() {
                let short = guarantee - consumed.get(name).copied().unwrap_or_default();
                let before = needed.entry(name.to_owned()).or_default();
                *before = short.max(*before);
            }
        }
        needed
    }

    fn needed_below(&self, role: &str) -> Amounts {
        let mut sum = Amounts::new();
        let below = self.quotas.keys().filter(|other| role.is_empty() || roles::is_strict_subrole(other, role));
        let depth = if role.is_empty() { 0 } else { role.split('/').count() };
        let children: BTreeSet<String> =
            below.map(|other| other.split('/').take(depth + 1).collect::<Vec<_>>().join("/")).collect();
        for child in children {
            for (name, amount) in self.needed(&child) {
                *sum.entry(name).or_default() += amount;
            }
        }
        sum
    }

    /// How much a role may take on account of guarantees without anybody else's getting worse.
    fn allowance(&self, role: &str, name: &str) -> Scalar {
        let of = |amounts: Amounts| amounts.get(name).copied().unwrap_or_default();
        path(role).map(|role| of(self.needed(role)) - of(self.needed_below(role))).sum()
    }
}

fn path(role: &str) -> impl Iterator<Item = &str> {
    std::iter::once(role).chain(roles::ancestors(role))
}

fn within(role: &str, root: &str) -> bool {
    role == root || roles::is_strict_subrole(role, root)
}

/// Amounts that count against quota.
fn counts(resource: &Resource) -> bool {
    resource.amount().is_some() && resource.is_unreserved() && !resource.is_revocable()
}

/// `cpus:0.01|mem:32`
fn is_allocatable(resources: &Resources) -> bool {
    resources.cpus() >= Scalar::from_f64(0.01) || resources.mem() >= Scalar::from_f64(32.0)
}

fn cut_to(resources: &Resources, bound: impl Fn(&str) -> Option<Scalar>) -> Resources {
    let mut taken = Resources::new();
    let whole = resources.iter().filter(|resource| !resource.is_divisible());
    for resource in whole.chain(resources.iter().filter(|resource| resource.is_divisible())) {
        let left = bound(resource.name()).map(|bound| bound - taken.scalar(resource.name()));
        let amount = resource.amount().unwrap();
        match left {
            Some(left) if amount > left => {
                if left > Scalar::ZERO && resource.is_divisible() {
                    taken.add(resource.with_value(Value::Scalar(left)));
                }
            }
            _ => taken.add(resource.clone()),
        }
    }
    taken
}

fn add(sum: &mut Amounts, resources: &Resources) {
    for (name, amount) in resources.quantities() {
        *sum.entry(name.to_owned()).or_default() += amount;
    }
}
