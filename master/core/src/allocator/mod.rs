//! Who is offered what. Event-driven and incremental: agents with something new to offer are gathered for a few
//! milliseconds, then each goes, by dominant share, to the (framework, role) pairs that may have it
//! (docs of Mesos: allocator; src/master/allocator/mesos/hierarchical.cpp).
//!
//! The allocator counts for itself what is taken: the core tells it of everything that is taken or given back, and
//! turns each [`Allocation`] into an offer.
#![allow(
    dead_code,
    unused_imports,
    reason = "the operator calls that use quota, weights and the like are on their way"
)]

mod clients;
mod filters;
mod operator;
mod quantities;
mod rules;
mod run;
mod shares;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use indexmap::IndexSet;
use mezzo_api::{
    resources::Resources,
    v1::{AgentInfo, Unavailability},
};
use rand::{SeedableRng, rngs::SmallRng};

use clients::Clients;
use filters::Expiries;
pub(crate) use filters::refusal;
pub(crate) use operator::{InverseAllocation, Quota};
pub(crate) use quantities::{Limits, Quantities};
use shares::Totals;

use crate::{
    frameworks::Capabilities,
    input::Config,
    keys::{AgentKey, FrameworkKey},
    validate::constraints::ConstraintFilter,
};

/// How long freed resources are gathered before they are offered: else each task's end makes a sliver of an offer.
const GATHER: Duration = Duration::from_millis(4);

/// What a framework wants.
#[derive(Debug)]
pub(crate) struct FrameworkOptions {
    /// Roles that it subscribes to.
    pub(crate) roles: BTreeSet<String>,
    /// Roles for which it wants no offers.
    pub(crate) suppressed: BTreeSet<String>,
    /// What it can do.
    pub(crate) capabilities: Capabilities,
    /// Alternatives, of which an offer must meet one, by role; other roles have the master's.
    pub(crate) min_allocatable: BTreeMap<String, Vec<Minimum>>,
    /// Which agents it wants.
    pub(crate) constraints: Option<Arc<ConstraintFilter>>,
}

/// Names and amounts that must all be there.
pub(crate) type Minimum = Vec<(String, mezzo_api::resources::Scalar)>;

/// Something to offer: the resources are allocated to the role.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) framework: FrameworkKey,
    pub(crate) role: String,
    pub(crate) agent: AgentKey,
    pub(crate) resources: Resources,
}

#[derive(Debug)]
struct Framework {
    active: bool,
    options: FrameworkOptions,
}

#[derive(Debug)]
struct Agent {
    info: Arc<AgentInfo>,
    total: Arc<Resources>,
    /// Offered or used; without allocation. An agent may come back with less than is used of it.
    taken: Resources,
    /// What is left of the total.
    available: Resources,
    active: bool,
    has_gpus: bool,
    unavailability: Option<Unavailability>,
    /// Nothing about its resources needs a second look: no reservations, nothing shared or revocable.
    plain: bool,
}

/// The allocator.
#[derive(Debug)]
pub(crate) struct Allocator {
    frameworks: slotmap::SecondaryMap<FrameworkKey, Framework>,
    agents: slotmap::SecondaryMap<AgentKey, Agent>,
    clients: Clients,
    totals: Totals,
    quotas: BTreeMap<String, Quota>,
    weights: BTreeMap<String, f64>,
    whitelist: Option<BTreeSet<String>>,
    inverse_offers: Vec<InverseAllocation>,
    expiries: Expiries,
    /// Agents to be looked at in the next run.
    dirty: IndexSet<AgentKey>,
    /// Active agents of which something is free.
    free: BTreeSet<AgentKey>,
    /// When the next run is to be made.
    run_at: Option<Duration>,
    interval: Duration,
    filter_gpus: bool,
    min_allocatable: Vec<Minimum>,
    region: Option<String>,
    rng: SmallRng,
}

impl Allocator {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let fault_domain = config.master_info.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        Self {
            frameworks: slotmap::SecondaryMap::new(),
            agents: slotmap::SecondaryMap::new(),
            clients: Clients::default(),
            totals: Totals::default(),
            quotas: BTreeMap::new(),
            weights: BTreeMap::new(),
            whitelist: None,
            inverse_offers: Vec::new(),
            expiries: Expiries::default(),
            dirty: IndexSet::new(),
            free: BTreeSet::new(),
            run_at: None,
            interval: config.allocation_interval,
            filter_gpus: config.filter_gpu_resources,
            min_allocatable: rules::minima(&config.min_allocatable_resources),
            region: fault_domain.map(|domain| domain.region.name.clone()),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// When [`Allocator::run`] has something to do.
    pub(crate) fn due(&self) -> Option<Duration> {
        [self.run_at, self.expiries.next()].into_iter().flatten().min()
    }

    /// A framework appears, or wants something else. Its filters are dropped.
    pub(crate) fn put_framework(&mut self, now: Duration, key: FrameworkKey, active: bool, options: FrameworkOptions) {
        self.clients.put_framework(key, active, &options);
        self.frameworks.insert(key, Framework { active, options });
        if active {
            self.everything_at_once(now);
        }
    }

    /// It is connected, or not.
    pub(crate) fn set_framework_active(&mut self, now: Duration, key: FrameworkKey, active: bool) {
        if let Some(framework) = self.frameworks.get_mut(key) {
            framework.active = active;
            self.clients.set_active(key, active);
        }
        if active {
            self.everything_at_once(now);
        }
    }

    /// It is no more; what it had was given back before.
    pub(crate) fn remove_framework(&mut self, key: FrameworkKey) {
        self.frameworks.remove(key);
        self.clients.remove_framework(key);
    }

    /// No offers for these roles.
    pub(crate) fn suppress(&mut self, key: FrameworkKey, roles: &BTreeSet<String>) {
        if let Some(framework) = self.frameworks.get_mut(key) {
            framework.options.suppressed.extend(roles.iter().cloned());
            self.clients.set_suppressed(key, roles, !mezzo_api::mutant!("suppression-ignored"));
        }
    }

    /// Offers again, whatever was refused.
    pub(crate) fn revive(&mut self, now: Duration, key: FrameworkKey, roles: &BTreeSet<String>) {
        if let Some(framework) = self.frameworks.get_mut(key) {
            framework.options.suppressed.retain(|role| !roles.contains(role));
            self.clients.set_suppressed(key, roles, false);
            self.clients.clear_filters(key, roles);
            self.everything_at_once(now);
        }
    }

    /// An agent appears, nothing of it being taken.
    pub(crate) fn add_agent(
        &mut self,
        now: Duration,
        key: AgentKey,
        info: Arc<AgentInfo>,
        total: Arc<Resources>,
        active: bool,
    ) {
        self.totals.add(&total);
        self.agents.insert(key, Agent::new(info, total, active));
        self.refresh_free(key);
        self.at_once(now, key);
    }

    /// It has other resources, attributes or capabilities: filters for it are dropped.
    pub(crate) fn update_agent(&mut self, now: Duration, key: AgentKey, info: Arc<AgentInfo>, total: Arc<Resources>) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        self.totals.subtract(&agent.total);
        self.totals.add(&total);
        let (active, taken) = (agent.active, std::mem::take(&mut agent.taken));
        *agent = Agent::new(info, total, active);
        agent.change(|all| *all = taken);
        self.clients.drop_filters_of(key);
        self.refresh_free(key);
        self.at_once(now, key);
    }

    /// Its resources may be offered, or not.
    pub(crate) fn set_agent_active(&mut self, now: Duration, key: AgentKey, active: bool) {
        if let Some(agent) = self.agents.get_mut(key) {
            agent.active = active;
            self.refresh_free(key);
            if active {
                self.at_once(now, key);
            }
        }
    }

    /// It is no more; what was taken of it was given back before.
    pub(crate) fn remove_agent(&mut self, key: AgentKey) {
        if let Some(agent) = self.agents.remove(key) {
            self.totals.subtract(&agent.total);
        }
        self.dirty.swap_remove(&key);
        self.free.remove(&key);
        self.clients.drop_filters_of(key);
    }

    /// A framework has something of an agent that was not offered by this allocator (it came with the agent).
    pub(crate) fn take(&mut self, framework: FrameworkKey, agent: AgentKey, allocated: &Resources) {
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.change(|taken| *taken += &unallocated(allocated));
        }
        self.refresh_free(agent);
        self.clients.count(framework, allocated, shares::Sign::Plus, &mut self.totals);
    }

    /// What was offered or used is free again. With a filter it is not offered to the framework for that long.
    pub(crate) fn give_back(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        agent: AgentKey,
        allocated: &Resources,
        filter: Option<Duration>,
    ) {
        if allocated.is_empty() {
            return;
        }
        self.clients.count(framework, allocated, shares::Sign::Minus, &mut self.totals);
        let Some(held) = self.agents.get_mut(agent) else { return };
        held.change(|taken| *taken -= &unallocated(allocated));
        self.refresh_free(agent);
        if let Some(duration) = filter {
            self.refuse(now, framework, agent, allocated, duration.max(self.interval));
        }
        self.dirty.insert(agent);
        self.run_by(now + GATHER);
    }

    fn refuse(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        agent: AgentKey,
        allocated: &Resources,
        duration: Duration,
    ) {
        for (role, refused) in allocated.allocations() {
            if let Some(client) = self.clients.find(framework, &role) {
                let expires = self.expiries.add(now + duration, client, agent);
                self.clients.add_filter(client, agent, unallocated(&refused), expires);
            }
        }
    }

    fn consumed_slowly(&self, role: &str) -> Quantities {
        let mut all = Quantities::default();
        for agent in self.agents.values() {
            all.add(&Quantities::from(&agent.total.reserved_to_subtree(role)));
        }
        all.add(&self.clients.consumed(role, &self.totals));
        all
    }

    fn refresh_free(&mut self, key: AgentKey) {
        match self.agents.get(key) {
            Some(agent) if agent.active && !agent.available.is_empty() => drop(self.free.insert(key)),
            _ => drop(self.free.remove(&key)),
        }
    }

    fn run_by(&mut self, at: Duration) {
        self.run_at = Some(self.run_at.map_or(at, |before| before.min(at)));
    }

    fn at_once(&mut self, now: Duration, agent: AgentKey) {
        self.dirty.insert(agent);
        self.run_by(now);
    }

    fn everything_at_once(&mut self, now: Duration) {
        self.dirty.extend(self.free.iter().copied());
        self.run_by(now);
    }

    /// What is free of an agent; for checks.
    pub(crate) fn available(&self, agent: AgentKey) -> Option<&Resources> {
        Some(&self.agents.get(agent)?.available)
    }

    /// What a framework has for a role, by the allocator's own count; for checks.
    pub(crate) fn allocated(
        &self,
        framework: FrameworkKey,
        role: &str,
    ) -> BTreeMap<String, mezzo_api::resources::Scalar> {
        let client = self.clients.find(framework, role);
        client.map(|client| self.totals.named(self.clients.quantities(client))).unwrap_or_default()
    }
}

impl Agent {
    fn new(info: Arc<AgentInfo>, total: Arc<Resources>, active: bool) -> Self {
        let total = scalars_last(total);
        let plain =
            total.iter().all(|resource| resource.is_unreserved() && !resource.is_revocable() && !resource.is_shared());
        let (available, has_gpus) = ((*total).clone(), !total.gpus().is_zero());
        Self { info, taken: Resources::new(), available, has_gpus, total, active, plain, unavailability: None }
    }

    fn set_total(&mut self, total: Arc<Resources>) {
        let fresh = Self::new(self.info.clone(), total, self.active);
        let taken = std::mem::take(&mut self.taken);
        *self = Self { unavailability: self.unavailability.take(), ..fresh };
        self.change(|all| *all = taken);
    }

    fn change(&mut self, change: impl FnOnce(&mut Resources)) {
        change(&mut self.taken);
        self.available = left(&self.total, &self.taken);
    }
}

/// In the order in which they are offered (src/master/allocator/mesos/hierarchical.cpp: what is not scalar goes first).
fn scalars_last(total: Arc<Resources>) -> Arc<Resources> {
    let mut ordered = total.filter(|resource| resource.amount().is_none());
    ordered += &total.filter(|resource| resource.amount().is_some());
    Arc::new(ordered)
}

/// What is left; nothing of a name of which more is taken than there is.
fn left(total: &Resources, taken: &Resources) -> Resources {
    let mut left = total.clone();
    for resource in taken {
        if left.contains_one(resource) {
            left.subtract(resource);
        } else {
            left = left.filter(|other| other.name() != resource.name());
        }
    }
    left
}

/// Without allocation.
pub(crate) fn unallocated(resources: &Resources) -> Resources {
    let mut bare = resources.clone();
    bare.unallocate();
    bare
}
