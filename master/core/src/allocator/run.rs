//! One run: agents with something new go to the poorest clients that may have it and do not refuse.
//!
//! First each role gets what it is promised and does not have yet; then everything that is not kept free for such
//! promises goes to whoever is poorest (src/master/allocator/mesos/hierarchical.cpp, __allocate). A run is a slice:
//! agents of which something was freed, and then some of those that are looked at because of a framework, so that the
//! former never wait for the latter.

use std::time::Duration;

use mezzo_api::resources::{Resource, Resources, Scalar};
use rand::{Rng, SeedableRng, rngs::SmallRng, seq::SliceRandom};
use smallvec::SmallVec;

use super::{
    Allocation, Allocator, Sorter,
    agents::{Agent, Bars},
    amounts::Sign,
    clients::{Client, ClientKey, Takes},
    filters::{Expiry, slot_of},
    rules::{counts, is_for, meets},
    shrink::shrink,
    tree::{Delta, Role, RoleKey},
};
use crate::keys::AgentKey;

/// Clients that a run looks at, about: some hundred microseconds of work.
const SLICE: usize = 32_768;

/// Agents of a run, at least and at most.
const SLICE_AGENTS: std::ops::RangeInclusive<usize> = 16..=128;

/// An agent within a run.
struct Visit {
    agent: AgentKey,
    slot: usize,
    bars: Bars,
    /// Clients that were served already in this stage.
    served: SmallVec<[ClientKey; 2]>,
    /// Shared resources that were offered already in this run.
    shared: Resources,
}

/// Which part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What roles are promised and do not have.
    Guarantees,
    /// Everything else.
    Rest,
}

/// A bundle for all clients of a kind, and what was found out about it.
struct Bundle {
    takes: Takes,
    /// With the resources, whether they meet the flag's minimum, and what is covered by what was refused.
    offer: Option<(Resources, bool, Covered)>,
}

/// Whether a refusal covers a bundle, by refusal; unknown until somebody asks.
type Covered = SmallVec<[Option<bool>; 4]>;

impl Allocator {
    /// Ends filters and, if it is time, hands out what is free of some of the agents that wait.
    pub(crate) fn run(&mut self, now: Duration) -> Vec<Allocation> {
        self.end_filters(now);
        if self.queue_due().is_none_or(|due| due > now) || self.is_paused(now) {
            return Vec::new();
        }
        let batch = self.next_batch(now);
        self.serve(now, &batch)
    }

    /// Hands out what is free of these agents.
    pub(super) fn serve(&mut self, now: Duration, batch: &[AgentKey]) -> Vec<Allocation> {
        self.refresh_shares(now);
        let mut visits: Vec<Visit> = batch.iter().filter_map(|agent| self.visit(*agent)).collect();
        let mut allocations = Vec::new();
        if !self.tree.required().is_zero() {
            for visit in &mut visits {
                self.hand_out(now, visit, Stage::Guarantees, &mut allocations);
                visit.served.clear();
            }
        }
        for visit in &mut visits {
            self.hand_out(now, visit, Stage::Rest, &mut allocations);
            if !visit.shared.is_empty() {
                // What is shared is still there for others.
                self.expiries.add(now + self.interval, Expiry::Look(visit.agent));
            }
            self.ask_to_leave(now, visit.agent);
        }
        allocations
    }

    /// Shares are fractions of a cluster that may have grown.
    pub(super) fn refresh_shares(&mut self, now: Duration) {
        if self.shares_of != self.totals.version {
            self.shares_of = self.totals.version;
            self.tree.refresh_shares(&self.totals);
            self.clients.refresh_shares(now, &mut self.tree, &self.totals);
        }
    }

    fn visit(&self, key: AgentKey) -> Option<Visit> {
        let agent = self.agents.get(key)?;
        Some(Visit {
            agent: key,
            slot: slot_of(key),
            bars: self.bars(agent),
            served: SmallVec::new(),
            shared: Resources::new(),
        })
    }

    /// Takes agents off the queues, in random order: freed ones first, but never those alone.
    pub(super) fn next_batch(&mut self, now: Duration) -> Vec<AgentKey> {
        let size = (SLICE / self.tree.wanting().max(1)).clamp(*SLICE_AGENTS.start(), *SLICE_AGENTS.end());
        let mut batch = Vec::with_capacity(size);
        if std::mem::take(&mut self.everything) {
            self.free.iter().for_each(|agent| self.background.insert(*agent));
        }
        if self.urgent_at.is_some_and(|at| at <= now) {
            let most = if self.background.is_empty() { size } else { size - size / 4 };
            while batch.len() < most && !self.urgent.is_empty() {
                let at = self.rng.random_range(0..self.urgent.len());
                if let Some(agent) = self.urgent.swap_remove_index(at) {
                    self.background.remove(agent);
                    batch.push(agent);
                }
            }
            if self.urgent.is_empty() {
                self.urgent_at = None;
            }
        }
        while batch.len() < size {
            match self.background.pop(|below| self.rng.random_range(0..below)) {
                Some(agent) => batch.push(agent),
                None => break,
            }
        }
        batch
    }

    fn hand_out(&mut self, now: Duration, visit: &mut Visit, stage: Stage, allocations: &mut Vec<Allocation>) {
        let fixed = self.random_order();
        while let Some((client, resources)) = self.next_for(visit, stage, fixed.as_ref()) {
            visit.served.push(client);
            visit.shared += &resources.shared();
            allocations.extend(self.book(now, client, visit.agent, resources));
        }
    }

    /// The client takes what it is offered.
    fn book(&mut self, now: Duration, key: ClientKey, agent: AgentKey, resources: Resources) -> Option<Allocation> {
        let client = self.clients.get(key)?;
        let (framework, role_key) = (client.framework, client.role);
        self.change_agent(agent, |held, names| held.take(framework, &resources, names));
        let delta = Delta::new(&mut self.names, agent, &resources);
        self.clients.book_client(now, key, &delta, Sign::Plus, &mut self.tree, &self.totals);
        let role = self.tree.get_mut(role_key);
        (role.last_offer, role.told) = (Some(now), None);
        let role = role.name.clone();
        let mut allocated = resources;
        allocated.allocate_to(&role);
        Some(Allocation { framework, role, agent, resources: allocated })
    }

    /// The poorest client that may have something of the agent, and what.
    fn next_for(&self, visit: &Visit, stage: Stage, fixed: Option<&RandomOrder>) -> Option<(ClientKey, Resources)> {
        let agent = self.agents.get(visit.agent).filter(|agent| agent.is_offerable() && !agent.available.is_empty())?;
        if agent.plain && self.clients.own_minima == 0 && !meets(&agent.available, &self.min_allocatable) {
            return None;
        }
        let mut bundles: SmallVec<[Bundle; 2]> = SmallVec::new();
        let mut look = |key: RoleKey, role: &Role| {
            if stage == Stage::Guarantees && !self.tree.lacks(key) {
                return None;
            }
            // A bundle holds for one role, unless nothing about it depends on the role.
            let depends = !agent.plain || self.tree.has_quotas();
            if depends {
                bundles.clear();
            }
            let fits = |client_key: ClientKey, bundles: &mut SmallVec<[Bundle; 2]>| {
                self.fits(visit, agent, stage, (key, role), client_key, bundles)
            };
            match fixed {
                Some(order) if self.framework_sorter == Sorter::Random => {
                    order.clients(role).into_iter().find_map(|client| fits(client, &mut bundles))
                }
                _ => role.clients.iter().find_map(|(_, client)| fits(*client, &mut bundles)),
            }
        };
        match fixed.and_then(|order| order.roles.as_ref()) {
            Some(roles) => roles.iter().find_map(|key| look(*key, self.tree.get(*key))),
            None => self.tree.in_order(&mut look),
        }
    }

    /// What the client may have of the agent, if anything.
    fn fits(
        &self,
        visit: &Visit,
        agent: &Agent,
        stage: Stage,
        (role_key, role): (RoleKey, &Role),
        key: ClientKey,
        bundles: &mut SmallVec<[Bundle; 2]>,
    ) -> Option<(ClientKey, Resources)> {
        let client = self.clients.get(key)?;
        if !client.barred_by.common(visit.bars).is_empty() || visit.served.contains(&key) {
            return None;
        }
        let known = bundles.iter().position(|bundle| bundle.takes == client.takes);
        let at = known.unwrap_or_else(|| {
            bundles.push(self.bundle(visit, agent, stage, role_key, role, client.takes));
            bundles.len() - 1
        });
        let (offer, meets_default, covered) = bundles[at].offer.as_mut()?;
        let enough = match &client.minimum {
            None => *meets_default,
            Some(minimum) => meets(offer, minimum),
        };
        if !enough || !Self::allowed(client, &role.name, visit.slot, agent) {
            return None;
        }
        if self.refuses(client, visit, agent, offer, covered) {
            return None;
        }
        Some((key, offer.clone()))
    }

    /// Whether the client refused this, or more.
    fn refuses(&self, client: &Client, visit: &Visit, agent: &Agent, offer: &Resources, covered: &mut Covered) -> bool {
        if mezzo_api::mutant!("filter-ignored") {
            return false;
        }
        if let Some(reference) = client.filters.reference(visit.slot) {
            let at = usize::from(reference);
            if covered.len() <= at {
                covered.resize(at + 1, None);
            }
            let refused = || agent.references.get(reference).is_some_and(|refused| refused.contains(offer));
            if *covered[at].get_or_insert_with(refused) {
                return true;
            }
        }
        client.filters.covered_exactly(visit.agent, offer)
    }

    fn bundle(
        &self,
        visit: &Visit,
        agent: &Agent,
        stage: Stage,
        role_key: RoleKey,
        role: &Role,
        takes: Takes,
    ) -> Bundle {
        let offer = self.offer(visit, agent, stage, role_key, role, takes);
        let offer = offer.map(|offer| {
            let enough = meets(&offer, &self.min_allocatable);
            (offer, enough, SmallVec::new())
        });
        Bundle { takes, offer }
    }

    /// What clients of the role that take such resources may be offered.
    fn offer(
        &self,
        visit: &Visit,
        agent: &Agent,
        stage: Stage,
        role_key: RoleKey,
        role: &Role,
        takes: Takes,
    ) -> Option<Resources> {
        let available = if agent.plain {
            agent.available.clone()
        } else {
            let once = |resource: &Resource| !(resource.is_shared() && visit.shared.contains_one(resource));
            agent.available.filter(|resource| is_for(resource, &role.name, takes) && once(resource))
        };
        if !self.tree.has_quotas() {
            return Some(available);
        }
        let counted = available.filter(counts);
        let reserved = |resource: &Resource| {
            !resource.is_unreserved() && (stage == Stage::Rest || resource.is_reserved_to(&role.name))
        };
        let other = available.filter(|resource| {
            !counts(resource)
                && (reserved(resource)
                    || resource.is_unreserved() && (resource.amount().is_none() || resource.is_revocable()))
        });
        let promised = match stage {
            Stage::Guarantees => {
                let promised = shrink(&counted, |name| Some(self.promised(role_key, name)));
                (!promised.is_empty()).then_some(promised)?
            }
            Stage::Rest => Resources::new(),
        };
        let extra = shrink(&(&counted - &promised), |name| self.extra(role_key, name, &promised));
        Some(&(&other + &promised) + &extra)
    }

    /// What of this the role may be offered in the second stage.
    pub(super) fn within_quota(&self, role: RoleKey, resources: &Resources) -> Resources {
        if !self.tree.has_quotas() {
            return resources.clone();
        }
        let extra = shrink(&resources.filter(counts), |name| self.extra(role, name, &Resources::new()));
        &resources.filter(|resource| !counts(resource)) + &extra
    }

    /// How much of a name the role has a right to, on account of guarantees.
    fn promised(&self, role: RoleKey, name: &str) -> Scalar {
        let Some(name) = self.names.find(name) else { return Scalar::ZERO };
        let allowance = self.tree.allowance(role, name);
        self.tree.room(role, name).map_or(allowance, |room| room.min(allowance)).max(Scalar::ZERO)
    }

    /// How much of a name the role may have beyond that: not past limits, and not of what is kept free for guarantees.
    fn extra(&self, role: RoleKey, name: &str, promised: &Resources) -> Option<Scalar> {
        let number = self.names.find(name)?;
        let room = self.tree.room(role, number).filter(|_| !mezzo_api::mutant!("limit-ignored"));
        let room = room.map(|room| room - promised.scalar(name));
        let required = self.tree.required().get(number);
        let kept = required > Scalar::ZERO && !mezzo_api::mutant!("headroom-ignored");
        let headroom = kept.then(|| self.headroom.get(number) - required);
        [room, headroom].into_iter().flatten().min().map(|most| most.max(Scalar::ZERO))
    }

    pub(super) fn end_filters(&mut self, now: Duration) {
        while let Some(ended) = self.expiries.pop(now) {
            for expiry in ended {
                match expiry {
                    Expiry::Class(client, code) => self.end_class(now, client, code),
                    Expiry::Exact(client, agent) => {
                        let client = self.clients.get_mut(client);
                        if client.is_some_and(|client| client.filters.end_exact(agent, now)) {
                            self.soon(now, agent);
                        }
                    }
                    Expiry::Look(agent) => self.soon(now, agent),
                }
            }
        }
    }

    fn end_class(&mut self, now: Duration, key: ClientKey, code: u8) {
        let Some(client) = self.clients.get_mut(key) else { return };
        for slot in client.filters.end_class(code, now) {
            let Some(agent_key) = self.slots.get(slot).copied().flatten() else { continue };
            let Some(agent) = self.agents.get_mut(agent_key) else { continue };
            client.filters.release(slot, &mut agent.references);
            if agent.is_offerable() && !agent.available.is_empty() {
                self.background.insert(agent_key);
            }
        }
    }

    /// The order in which this agent goes round, if chance decides.
    fn random_order(&mut self) -> Option<RandomOrder> {
        if self.role_sorter == Sorter::Drf && self.framework_sorter == Sorter::Drf {
            return None;
        }
        let seed = self.rng.random();
        let roles = (self.role_sorter == Sorter::Random).then(|| {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut keyed: Vec<(f64, RoleKey)> = Vec::new();
            self.tree.weighted(&mut |role, weight| {
                let uniform: f64 = rng.random_range(f64::MIN_POSITIVE..1.0);
                keyed.push((-uniform.powf(1.0 / weight), role));
            });
            keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
            keyed.into_iter().map(|(_, role)| role).collect()
        });
        Some(RandomOrder { seed, roles })
    }
}

/// An order drawn for one agent.
struct RandomOrder {
    seed: u64,
    roles: Option<Vec<RoleKey>>,
}

impl RandomOrder {
    fn clients(&self, role: &Role) -> Vec<ClientKey> {
        let mut clients: Vec<ClientKey> = role.clients.iter().map(|(_, client)| *client).collect();
        clients.shuffle(&mut SmallRng::seed_from_u64(self.seed ^ role.clients.len() as u64));
        clients
    }
}
