//! Every invariant that one core can see. Each function asserts one kind; they are for tests and the simulator.

use std::collections::BTreeMap;

use bytes::Bytes;
use mezzo_api::{
    resources::{Resource, Resources, Scalar},
    v1::quota::QuotaConfig,
};

use crate::{
    agents::Agent,
    core::Core,
    counters::Counter,
    frameworks::Framework,
    inverse_offers::InverseOffer,
    keys::{AgentKey, FrameworkKey, OfferNumber, TaskKey},
    model::TaskList,
    offers::Offer,
    operations::Operation,
    quota,
    tasks::Task,
    timers::TimerId,
    writes::Pending,
};

/// What an onlooker asks about quotas that he knows of, counted from agents and offers; for the simulator.
impl Core {
    /// What the role of this quota, and those below it, have and are offered of each resource that it has a limit of; and
    /// the limit.
    pub fn taken_of_limits(&self, quota: &QuotaConfig) -> Vec<(String, Scalar, Scalar)> {
        let taken = self.taken(&quota.role);
        let limits = quota.limits.iter().map(|(name, limit)| (name.clone(), quota::amount(*limit)));
        limits.map(|(name, limit)| (name.clone(), taken.get(&name).copied().unwrap_or_default(), limit)).collect()
    }

    /// What is free of each resource that one of these quotas promises, and what guarantees that are not met need of it.
    pub fn kept_for_guarantees<'a>(
        &self,
        quotas: impl Iterator<Item = &'a QuotaConfig>,
    ) -> Vec<(String, Scalar, Scalar)> {
        let mut needed = quota::Amounts::new();
        for quota in quotas {
            let taken = self.taken(&quota.role);
            for (name, promised) in &quota.guarantees {
                let promised = quota::amount(*promised);
                let has = taken.get(name).copied().unwrap_or_default();
                *needed.entry(name.clone()).or_default() += if promised > has { promised - has } else { Scalar::ZERO };
            }
        }
        let active = self.agents.slots.iter().filter(|(_, agent)| agent.active());
        let mut free = Resources::new();
        for (key, _) in active {
            free += &self.allocator.available(key).cloned().unwrap_or_default();
        }
        let free = free.unreserved().non_revocable();
        let free = free.quantities();
        let with_free = |(name, needed): (String, Scalar)| {
            let free = free.get(name.as_str()).copied().unwrap_or_default();
            (name, free, needed)
        };
        needed.into_iter().map(with_free).collect()
    }

    fn taken(&self, role: &str) -> quota::Amounts {
        let mut taken = self.consumed(role);
        quota::add(&mut taken, &self.offered_to(role));
        taken
    }
}

pub(crate) fn check(core: &Core) {
    for (key, agent) in &core.agents.slots {
        resources_of_agent(core, key, agent);
        entities_of_agent(core, key, agent);
        liveness_of_agent(core, agent);
    }
    for (key, framework) in &core.frameworks.slots {
        resources_of_framework(core, key, framework);
        entities_of_framework(core, key, framework);
        connection_of_framework(core, key, framework);
        unreachable_tasks(core, framework);
    }
    for (key, task) in &core.tasks {
        of_task(core, key, task);
    }
    offers(core);
    inverse_offers(core);
    operations(core);
    agent_lists(core);
    let holding = core.tasks.values().filter(|task| task.holds).count();
    let unreachable = core.frameworks.slots.values().map(|framework| framework.unreachable.len()).sum();
    counters(core, holding, unreachable);
    core.allocator.check();
}

fn sum<'a>(all: impl Iterator<Item = &'a Resources>) -> Resources {
    all.sum()
}

/// In use, offered and free are the whole, never twice.
fn resources_of_agent(core: &Core, key: AgentKey, agent: &Agent) {
    let id = &agent.id;
    let of_tasks = agent.tasks.iter().filter_map(|task| core.tasks.get(*task)).filter(|task| task.holds);
    let of_executors = agent.executors.values().map(|executor| &executor.resources);
    let used = sum(of_tasks.map(|task| &*task.resources).chain(of_executors));
    assert_eq!(agent.used, used, "used of {id}");
    let offered =
        sum(agent.offers.iter().filter_map(|offer| core.offers.get(*offer)).map(|offer| &offer.view.resources));
    assert_eq!(agent.offered, offered, "offered of {id}");
    balance_of_agent(core, key, agent);
}

pub(crate) fn balance_of_agent(core: &Core, key: AgentKey, agent: &Agent) {
    let id = &agent.id;
    let available = core.allocator.available(key).expect("the allocator knows every agent");
    if agent.total.are_split_into([&agent.used, &agent.offered], available) {
        return;
    }
    let taken = || {
        let mut taken = &agent.used + &agent.offered;
        taken.unallocate();
        taken
    };
    // It may have come back with less than is used of it.
    let has_enough = || agent.total.contains(&taken());
    if agent.total.iter().any(Resource::is_shared) {
        // What is shared stays free.
        let (total, sum) = (agent.total.non_shared(), taken().non_shared() + &available.non_shared());
        assert!(total == sum || !has_enough(), "used, offered and free of {id}: {sum}, not {total}");
    } else {
        let (total, sum) = (&agent.total, taken() + available);
        assert!(**total == sum || !has_enough(), "used, offered and free of {id}: {sum}, not {total}");
    }
}

fn entities_of_agent(core: &Core, key: AgentKey, agent: &Agent) {
    names_of_agent(core, key, agent);
    for task in &agent.tasks {
        assert_eq!(core.tasks.get(*task).map(|task| task.agent), Some(key), "a task of {}", agent.id);
    }
}

pub(crate) fn names_of_agent(core: &Core, key: AgentKey, agent: &Agent) {
    let id = &agent.id;
    assert_eq!(core.agents.find(id.as_str()), Some(key), "{id} is found by its id");
    assert!(agent.offers.is_empty() || agent.active(), "{id} is offered but not active");
    for (framework, executor) in agent.executors.keys() {
        assert!(core.frameworks.get(*framework).is_some(), "executor {executor} of {id} outlived its framework");
    }
    for (framework, task) in &agent.killed {
        let known = core.frameworks.get(*framework).is_some_and(|framework| framework.tasks.contains_key(task));
        assert!(known, "{id} remembers a kill of {task}, which is no more");
    }
    if let Some(link) = agent.link {
        assert_eq!(core.agents.links.get(&link).and_then(|link| link.agent), Some(key), "the link of {id}");
    }
}

/// Silence is counted as long as an agent is registered.
pub(crate) fn liveness_of_agent(core: &Core, agent: &Agent) {
    let set = agent.ping_timer.is_some_and(|timer| core.timers.is_set(timer));
    assert_eq!(set, !agent.leaving, "ping timer of {}", agent.id);
    assert!(agent.missed_pings <= core.config.max_agent_ping_timeouts, "{} missed pings", agent.id);
    if agent.leaving {
        assert!(core.agents.writing.contains_key(&agent.id), "{} leaves without a write", agent.id);
    }
}

fn resources_of_framework(core: &Core, key: FrameworkKey, framework: &Framework) {
    let id = &framework.id;
    let tasks = framework.tasks.values().filter_map(|task| core.tasks.get(*task)).filter(|task| task.holds);
    let agents = framework.agents.keys().filter_map(|agent| core.agents.get(*agent));
    let executors = agents.flat_map(|agent| &agent.executors).filter(|((owner, _), _)| *owner == key);
    let used = sum(tasks.map(|task| &*task.resources).chain(executors.map(|(_, executor)| &executor.resources)));
    // Ports of several agents do not add up: only amounts are kept right (src/master/framework.hpp).
    assert_eq!(framework.used.scalars(), used.scalars(), "used of {id}");
    let offered =
        sum(framework.offers.iter().filter_map(|offer| core.offers.get(*offer)).map(|offer| &offer.view.resources));
    assert_eq!(framework.offered.scalars(), offered.scalars(), "offered of {id}");
    let all = used + &offered;
    for role in all.allocation_roles() {
        allocated_to_role(core, (key, framework), role, &all);
    }
}

/// Of `all` that it has, what is allocated to the role.
pub(crate) fn allocated_to_role(
    core: &Core,
    (key, framework): (FrameworkKey, &Framework),
    role: &str,
    all: &Resources,
) {
    if core.allocator.has_allocated(key, role, all) {
        return;
    }
    let (id, counted) = (&framework.id, core.allocator.allocated(key, role));
    panic!("the allocator's count of {id} for {role} is {counted:?}: it has {all}");
}

pub(crate) fn names_of_framework(core: &Core, key: FrameworkKey, framework: &Framework) {
    let id = &framework.id;
    assert_eq!(core.frameworks.find(id.as_str()), Some(key), "{id} is found by its id");
    assert!(!core.frameworks.is_completed(id.as_str()), "{id} is alive and completed");
    assert!(framework.history.len() <= core.config.max_completed_tasks_per_framework, "history of {id}");
}

fn entities_of_framework(core: &Core, key: FrameworkKey, framework: &Framework) {
    let id = &framework.id;
    names_of_framework(core, key, framework);
    let mut agents: BTreeMap<AgentKey, usize> = BTreeMap::new();
    for (task_id, task) in &framework.tasks {
        let task = core.tasks.get(*task).expect("a framework's tasks are known");
        assert_eq!((task.framework, &task.view.id), (key, task_id), "a task of {id}");
        *agents.entry(task.agent).or_default() += 1;
    }
    for (agent_key, agent) in &core.agents.slots {
        let executors = agent.executors.keys().filter(|(owner, _)| *owner == key).count();
        if executors > 0 {
            *agents.entry(agent_key).or_default() += executors;
        }
    }
    assert_eq!(framework.agents, agents, "agents of {id}");
}

pub(crate) fn connection_of_framework(core: &Core, key: FrameworkKey, framework: &Framework) {
    let id = &framework.id;
    let is_set = |timer: Option<TimerId>| timer.is_some_and(|timer| core.timers.is_set(timer));
    assert_eq!(is_set(framework.heartbeat), framework.stream.is_some(), "heartbeats of {id}");
    let waits = framework.stream.is_none() && framework.removing.is_none();
    assert_eq!(is_set(framework.failover), waits, "failover timer of {id}");
    if let Some(stream) = framework.stream {
        assert_eq!(core.frameworks.streams.get(&stream), Some(&key), "the stream of {id}");
    }
    let offerable = framework.stream.is_some() && framework.removing.is_none();
    assert!(framework.offers.is_empty() || offerable, "{id} has offers but cannot answer");
    if framework.removing.is_some() {
        let written =
            core.writes.pending().any(|pending| matches!(pending, Pending::Complete(framework) if *framework == key));
        assert!(written, "{id} is being removed without a write");
    }
}

/// Tasks of agents that do not answer are found from both sides.
pub(crate) fn unreachable_tasks(core: &Core, framework: &Framework) {
    assert!(framework.unreachable.len() <= core.config.max_unreachable_tasks_per_framework);
    for (id, task) in &framework.unreachable {
        assert!(!framework.tasks.contains_key(id), "{id} is unreachable and active");
        assert_eq!(task.list, TaskList::Unreachable, "{id}");
        assert!(core.agents.find(task.agent_id.as_str()).is_none(), "{id} is unreachable on a registered agent");
        let of_agent = core.agents.unreachable_tasks.get(&task.agent_id);
        let known = of_agent.is_some_and(|tasks| tasks.contains(&(framework.id.clone(), id.clone())));
        assert!(known, "{id} would not be found when its agent is back");
    }
}

pub(crate) fn of_task(core: &Core, key: TaskKey, task: &Task) {
    let id = &task.view.id;
    let framework = core.frameworks.get(task.framework).expect("no task outlives its framework");
    assert_eq!(framework.tasks.get(id), Some(&key), "{id} of its framework");
    let agent = core.agents.get(task.agent).expect("no task outlives its agent");
    assert!(agent.tasks.contains(&key), "{id} of its agent");
    assert_eq!(task.view.list, TaskList::Active, "{id}");
    assert_eq!(task.holds, !crate::events::is_terminal(task.view.state), "{id} holds its resources until it ends");
}

fn offers(core: &Core) {
    core.offers.iter().for_each(|(number, offer)| of_offer(core, number, offer));
}

pub(crate) fn of_offer(core: &Core, number: OfferNumber, offer: &Offer) {
    let framework = core.frameworks.get(offer.framework).expect("no offer outlives its framework");
    assert!(framework.offers.contains(&number), "{number:?} of its framework");
    let agent = core.agents.get(offer.agent).expect("no offer outlives its agent");
    assert!(agent.offers.contains(&number), "{number:?} of its agent");
    assert!(!offer.view.resources.is_empty(), "{number:?} offers nothing");
}

fn inverse_offers(core: &Core) {
    core.inverse_offers.iter().for_each(|(number, offer)| of_inverse_offer(core, number, offer));
    let of_agents: usize = core.agents.slots.values().map(|agent| agent.inverse_offers.len()).sum();
    assert_eq!(of_agents, core.inverse_offers.iter().count(), "inverse offers");
}

pub(crate) fn of_inverse_offer(core: &Core, number: OfferNumber, offer: &InverseOffer) {
    let framework = core.frameworks.get(offer.framework).expect("no inverse offer outlives its framework");
    assert!(framework.stream.is_some(), "{number:?} cannot be answered");
    let agent = core.agents.get(offer.agent).expect("no inverse offer outlives its agent");
    assert!(agent.inverse_offers.contains(&number), "{number:?} of its agent");
    assert!(agent.unavailability.is_some(), "{number:?} is of an agent that stays");
}

fn operations(core: &Core) {
    core.operations.iter().for_each(|(uuid, operation)| of_operation(core, uuid, operation));
    let of_agents: usize = core.agents.slots.values().map(|agent| agent.operations.len()).sum();
    assert_eq!(of_agents, core.operations.iter().count(), "operations");
    core.agents.slots.values().for_each(quantities_of_agent);
}

/// An operation is found from its agent.
pub(crate) fn of_operation(core: &Core, uuid: &Bytes, operation: &Operation) {
    assert_eq!(*uuid, operation.view.uuid);
    let agent = core.agents.get(operation.agent).expect("no operation outlives its agent");
    assert!(agent.operations.contains(uuid), "{uuid:?} of its agent");
}

/// What operations are about was neither made nor lost.
pub(crate) fn quantities_of_agent(agent: &Agent) {
    let started = agent.info.started().expect("they were valid at registration");
    assert_eq!(agent.total.quantities(), started.quantities(), "operations on {} made or lost something", agent.id);
}

/// An agent is in one list.
pub(crate) fn agent_lists(core: &Core) {
    let agents = &core.agents;
    for id in agents.recovered.keys() {
        assert!(!agents.unreachable.contains_key(id), "{id} is waited for and unreachable");
    }
    for id in agents.unreachable.keys() {
        assert!(!agents.gone.contains_key(id), "{id} is unreachable and gone");
    }
    for id in agents.recovered.keys().chain(agents.unreachable.keys()) {
        assert!(agents.find(id.as_str()).is_none(), "{id} is waited for or unreachable, and there");
    }
}

pub(crate) fn list_of_agent(core: &Core, agent: &Agent) {
    let (agents, id) = (&core.agents, &agent.id);
    assert!(!agents.recovered.contains_key(id) && !agents.unreachable.contains_key(id), "{id} is there, and is not");
}

/// So many tasks hold their resources, so many are unreachable.
pub(crate) fn counters(core: &Core, holding: usize, unreachable: usize) {
    let active: i64 = [Counter::TasksStaging, Counter::TasksStarting, Counter::TasksRunning, Counter::TasksKilling]
        .into_iter()
        .map(|counter| core.counters.get(counter))
        .sum();
    assert_eq!(usize::try_from(active).ok(), Some(holding), "tasks by state");
    let counted = core.counters.get(Counter::TasksUnreachable);
    assert_eq!(usize::try_from(counted).ok(), Some(unreachable), "unreachable tasks");
}
