//! Who is offered what. Event-driven and incremental: agents with something new to offer are gathered for a few
//! milliseconds, then each goes, by dominant share, to the (framework, role) pairs that may have it
//! (docs of Mesos: allocator; src/master/allocator/mesos/hierarchical.cpp).
//!
//! The allocator counts for itself what is taken: the core tells it of everything that is taken or given back, and
//! turns each [`Allocation`] into an offer.

mod agents;
mod amounts;
mod check;
mod checked;
mod clients;
mod explain;
mod filters;
#[cfg(feature = "harness")]
pub mod harness;
mod inverse;
mod operator;
#[cfg(any(test, feature = "harness"))]
mod oracle;
mod quantities;
mod queue;
mod recovery;
mod rules;
mod run;
mod shrink;
mod starvation;
mod statistics;
mod tree;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mezzo_api::resources::{Resources, Scalar};
use rand::{SeedableRng, rngs::SmallRng};

pub(crate) use agents::{AgentAbilities, scalars_last, unallocated};
pub(crate) use explain::{Group, Inquiry, Nearest, Question, Reason, Standing};
pub(crate) use filters::refusal;
pub(crate) use inverse::InverseAllocation;
pub(crate) use operator::Quota;
pub(crate) use quantities::{Limits, Quantities};

use agents::Agent;
use amounts::{Amounts, Names, Sign, Totals};
use checked::Checked;
use clients::Clients;
use filters::{Expiries, slot_of};
use queue::Queue;
use recovery::Recovery;
use tree::{Delta, Tree};

use crate::{
    description::Description,
    frameworks::Capabilities,
    input::{Config, Sorter},
    keys::{AgentKey, FrameworkKey},
    maps::IndexSet,
    slots::Beside,
    validate::constraints::ConstraintFilter,
};

/// How long freed resources are gathered before they are offered: else each task's end makes a sliver of an offer.
const GATHER: Duration = Duration::from_millis(4);

/// What a framework wants.
#[derive(Debug)]
pub(crate) struct FrameworkOptions {
    /// Its id: between equals the smaller one comes first.
    pub(crate) id: Arc<str>,
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
pub(crate) type Minimum = Vec<(String, Scalar)>;

/// Something to offer: the resources are allocated to the role.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) framework: FrameworkKey,
    pub(crate) role: Arc<str>,
    pub(crate) agent: AgentKey,
    pub(crate) resources: Resources,
}

/// The allocator.
#[derive(Debug)]
pub(crate) struct Allocator {
    agents: Beside<AgentKey, Agent>,
    /// Agents by the number of their slot.
    slots: Vec<Option<AgentKey>>,
    clients: Clients,
    tree: Tree,
    names: Names,
    totals: Totals,
    /// The version of the totals that all shares are of.
    shares_of: u64,
    /// What is free, and may be offered, of what counts against quota.
    headroom: Amounts,
    whitelist: Option<BTreeSet<String>>,
    inverse_offers: Vec<InverseAllocation>,
    expiries: Expiries,
    /// Agents that are to be looked at for their own sake, and when.
    urgent: IndexSet<AgentKey>,
    urgent_at: Option<Duration>,
    /// Agents that are to be looked at because somebody wants them.
    background: Queue,
    /// All of which something is free are to be.
    everything: bool,
    /// Agents of which something may be offered.
    free: BTreeSet<AgentKey>,
    recovery: Option<Recovery>,
    /// When starvation is to be looked for again.
    starvation_at: Duration,
    interval: Duration,
    role_sorter: Sorter,
    framework_sorter: Sorter,
    filter_gpus: bool,
    min_allocatable: Vec<Minimum>,
    region: Option<String>,
    rng: SmallRng,
    /// What the checks keep from step to step, where anybody checks.
    checked: Option<Box<Checked>>,
}

impl Allocator {
    pub(crate) fn new(config: &Config, seed: u64) -> Self {
        let fault_domain = config.master_info.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        let mut names = Names::default();
        let excluded = config.allocator.fair_sharing_excluded.iter().map(|name| names.intern(name)).collect();
        Self {
            agents: Beside::default(),
            slots: Vec::new(),
            clients: Clients::default(),
            tree: Tree::default(),
            names,
            totals: Totals { excluded, ..Totals::default() },
            shares_of: 0,
            headroom: Amounts::default(),
            whitelist: None,
            inverse_offers: Vec::new(),
            expiries: Expiries::default(),
            urgent: IndexSet::default(),
            urgent_at: None,
            background: Queue::default(),
            everything: false,
            free: BTreeSet::new(),
            recovery: None,
            starvation_at: Duration::ZERO,
            interval: config.allocation_interval,
            role_sorter: config.allocator.role_sorter,
            framework_sorter: config.allocator.framework_sorter,
            filter_gpus: config.filter_gpu_resources,
            min_allocatable: rules::minima(&config.min_allocatable_resources),
            region: fault_domain.map(|domain| domain.region.name.clone()),
            rng: SmallRng::seed_from_u64(seed),
            checked: None,
        }
    }

    /// When [`Allocator::run`] has something to do.
    pub(crate) fn due(&self) -> Option<Duration> {
        let queue = self.queue_due().map(|due| due.max(self.paused_until().unwrap_or_default()));
        [queue, self.expiries.next()].into_iter().flatten().min()
    }

    /// A framework appears, or wants something else. What it refused stays refused, except for roles that it leaves
    /// (src/master/allocator/mesos/hierarchical.cpp, updateFramework).
    pub(crate) fn put_framework(&mut self, now: Duration, key: FrameworkKey, active: bool, options: FrameworkOptions) {
        let left = |client: &clients::ClientKey| {
            self.clients.get(*client).is_some_and(|client| !options.roles.contains(&*self.tree.get(client.role).name))
        };
        let left: Vec<clients::ClientKey> = self.clients.of(key).into_iter().filter(left).collect();
        self.forget_filters(&left);
        self.clients.put_framework(now, key, active, &options, &mut self.tree, &self.totals);
        if active {
            self.everything_soon();
        }
    }

    /// Its program is another one, which refused nothing.
    pub(crate) fn forget_refusals(&mut self, key: FrameworkKey) {
        self.forget_filters(&self.clients.of(key));
    }

    /// It is connected, or not. Who is not has its filters forgotten.
    pub(crate) fn set_framework_active(&mut self, now: Duration, key: FrameworkKey, active: bool) {
        self.clients.set_active(now, key, active, &mut self.tree, &self.totals);
        if active {
            self.everything_soon();
        } else {
            self.forget_filters(&self.clients.of(key));
        }
    }

    /// It is no more; what it had was given back before.
    pub(crate) fn remove_framework(&mut self, now: Duration, key: FrameworkKey) {
        self.forget_filters(&self.clients.of(key));
        self.clients.remove_framework(now, key, &mut self.tree, &self.totals);
        self.forget_asked(key);
    }

    /// No offers for these roles.
    pub(crate) fn suppress(&mut self, now: Duration, key: FrameworkKey, roles: &BTreeSet<String>) {
        let suppressed = !mezzo_api::mutant!("suppression-ignored");
        self.clients.set_suppressed(now, key, roles, suppressed, &mut self.tree, &self.totals);
    }

    /// Offers again, whatever was refused.
    pub(crate) fn revive(&mut self, now: Duration, key: FrameworkKey, roles: &BTreeSet<String>) {
        if !mezzo_api::mutant!("refusal-outlives-revive") {
            self.forget_filters(&self.clients.among(key, roles));
        }
        self.clients.set_suppressed(now, key, roles, false, &mut self.tree, &self.totals);
        self.forget_inverse_filters(now, key);
        self.everything_soon();
    }

    /// An agent appears, nothing of it being taken.
    pub(crate) fn add_agent(
        &mut self,
        now: Duration,
        key: AgentKey,
        info: Description,
        total: Arc<Resources>,
        active: bool,
    ) {
        self.count_total(&total, Sign::Plus);
        let mut agent = Agent::new(info, total, active, &mut self.names);
        agent.listed = self.is_listed(agent.info.hostname()) || mezzo_api::mutant!("newcomer-listed");
        if agent.is_offerable() {
            self.headroom.plus(&agent.free);
        }
        let slot = slot_of(key);
        if self.slots.len() <= slot {
            self.slots.resize(slot + 1, None);
        }
        self.slots[slot] = Some(key);
        self.agents.insert(key, agent);
        self.refresh_free(key);
        self.soon(now, key);
    }

    /// It has other resources, attributes or capabilities: filters for it are dropped.
    pub(crate) fn update_agent(&mut self, now: Duration, key: AgentKey, info: Description, total: Arc<Resources>) {
        self.forget_agent_in_clients(key);
        let listed = self.is_listed(info.hostname());
        self.change_agent(key, |agent, _| (agent.info, agent.listed) = (info, listed));
        self.update_total(now, key, total);
    }

    /// What it can do for frameworks.
    pub(crate) fn set_agent_abilities(&mut self, key: AgentKey, abilities: AgentAbilities) {
        self.change_agent(key, |agent, _| agent.abilities = abilities);
    }

    /// Its resources may be offered, or not.
    pub(crate) fn set_agent_active(&mut self, now: Duration, key: AgentKey, active: bool) {
        self.change_agent(key, |agent, _| agent.active = active);
        if active {
            self.agent_is_back(key);
            self.soon(now, key);
        }
    }

    /// It is no more; what was taken of it was given back before.
    pub(crate) fn remove_agent(&mut self, key: AgentKey) {
        self.forget_agent_in_clients(key);
        self.change_agent(key, |agent, _| agent.active = false);
        if let Some(agent) = self.agents.remove(key) {
            self.count_total(&agent.total, Sign::Minus);
            self.slots[slot_of(key)] = None;
        }
        self.urgent.swap_remove(&key);
        self.background.remove(key);
    }

    /// A framework has something of an agent that was not offered by this allocator (it came with the agent).
    pub(crate) fn take(&mut self, now: Duration, framework: FrameworkKey, agent: AgentKey, allocated: &Resources) {
        let bare = unallocated(allocated);
        self.change_agent(agent, |held, names| held.take_anyway(framework, &bare, names));
        self.count(now, framework, agent, allocated, Sign::Plus);
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
        if let Some(duration) = filter {
            self.refuse(now, framework, agent, allocated, duration.max(self.interval));
        }
        if !mezzo_api::mutant!("share-kept") {
            self.count(now, framework, agent, allocated, Sign::Minus);
        }
        if self.agents.contains_key(agent) {
            let bare = unallocated(allocated);
            self.change_agent(agent, |held, names| held.give_back(framework, &bare, names));
            self.soon(now, agent);
        }
    }

    fn refuse(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        key: AgentKey,
        allocated: &Resources,
        duration: Duration,
    ) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        allocated.each_allocation(|role, refused| {
            let Some(client_key) = self.clients.find(framework, role) else { return };
            let Some(client) = self.clients.get_mut(client_key).filter(|client| client.subscribed) else { return };
            let bare = unallocated(refused);
            let known = (&mut agent.references, &agent.total);
            if let Some((at, expiry)) = client.filters.add(client_key, key, known, &bare, (now, duration)) {
                self.expiries.add(at, expiry);
            }
        });
    }

    /// Counts, role by role, what a framework takes or gives back.
    fn count(&mut self, now: Duration, framework: FrameworkKey, agent: AgentKey, allocated: &Resources, sign: Sign) {
        allocated.each_allocation(|role, resources| {
            let delta = Delta::new(&mut self.names, agent, resources);
            self.clients.book(now, (framework, role), &delta, sign, &mut self.tree, &self.totals);
        });
    }

    /// The cluster has this more, or less, of which some may be reserved.
    fn count_total(&mut self, total: &Resources, sign: Sign) {
        let amounts = self.names.amounts(total, |_| true);
        self.totals.change(&amounts, sign);
        for (role, reserved) in total.reserved() {
            let amounts = self.names.amounts(&reserved, |_| true);
            let key = self.tree.make(&role);
            self.tree.reserve(key, &amounts, sign);
            self.tree.prune(key);
        }
    }

    /// Every change of an agent goes through here, so that what is kept beside it holds.
    fn change_agent(&mut self, key: AgentKey, change: impl FnOnce(&mut Agent, &mut Names)) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        if agent.is_offerable() {
            self.headroom.minus(&agent.free);
        }
        change(agent, &mut self.names);
        if agent.is_offerable() {
            self.headroom.plus(&agent.free);
        }
        self.refresh_free(key);
    }

    fn refresh_free(&mut self, key: AgentKey) {
        match self.agents.get(key) {
            Some(agent) if agent.is_offerable() && !agent.available.is_empty() => drop(self.free.insert(key)),
            _ => drop(self.free.remove(&key)),
        }
    }

    fn forget_filters(&mut self, clients: &[clients::ClientKey]) {
        for key in clients {
            let Some(client) = self.clients.get_mut(*key) else { continue };
            for (slot, reference) in client.filters.clear() {
                let agent = self.slots.get(slot).copied().flatten();
                if let Some(agent) = agent.and_then(|agent| self.agents.get_mut(agent)) {
                    agent.references.release(reference);
                }
            }
        }
    }

    fn forget_agent_in_clients(&mut self, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        let slot = slot_of(key);
        for (_, client) in self.clients.iter_mut() {
            client.filters.release(slot, &mut agent.references);
            client.filters.release_exact(key);
            client.verdicts.get_mut().forget(slot);
        }
    }

    fn queue_due(&self) -> Option<Duration> {
        if self.everything || !self.background.is_empty() { Some(Duration::ZERO) } else { self.urgent_at }
    }

    /// Something of the agent may be offered that could not be before.
    fn soon(&mut self, now: Duration, agent: AgentKey) {
        if self.agents.contains_key(agent) {
            self.urgent.insert(agent);
            let at = now + GATHER;
            self.urgent_at = Some(self.urgent_at.map_or(at, |before| before.min(at)));
        }
    }

    /// Somebody may want what he did not before.
    fn everything_soon(&mut self) {
        self.everything = true;
    }
}

/// The settings of an allocator that stands alone.
#[cfg(any(test, feature = "harness"))]
fn config(allocator: crate::input::AllocatorConfig) -> Config {
    Config {
        master_id: "alone".into(),
        term: 1,
        master_info: mezzo_api::v1::MasterInfo::default(),
        allocation_interval: Duration::from_secs(1),
        agent_ping_timeout: Duration::from_secs(15),
        max_agent_ping_timeouts: 5,
        agent_reregister_timeout: Duration::from_secs(600),
        offer_timeout: None,
        heartbeat_interval: Duration::from_secs(15),
        max_completed_frameworks: 50,
        max_completed_tasks_per_framework: 1000,
        max_unreachable_tasks_per_framework: 1000,
        roles: None,
        root_submissions: true,
        filter_gpu_resources: true,
        min_allocatable_resources: vec![vec![("cpus".into(), 0.01)], vec![("mem".into(), 32.0)]],
        lifecycle: crate::input::Lifecycle::default(),
        allocator,
    }
}
