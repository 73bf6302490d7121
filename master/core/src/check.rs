//! Every invariant that one core can see. Each function asserts one kind; they are for tests and the simulator.

use std::collections::BTreeMap;

use mezzo_api::resources::{Resources, Scalar};

use crate::{
    agents::Agent,
    allocator::unallocated,
    core::Core,
    counters::Counter,
    frameworks::Framework,
    keys::{AgentKey, FrameworkKey, TaskKey},
    model::TaskList,
    quota,
    tasks::Task,
    timers::TimerId,
    writes::Pending,
};

/// What was touched since the last time. Sums over all that a framework has, and lists, are left to [`check`].
pub(crate) fn check_touched(core: &mut Core) {
    let agents = core.agents.slots.take_touched();
    let frameworks = core.frameworks.slots.take_touched();
    let (Some(agents), Some(frameworks), Some(tasks)) = (agents, frameworks, core.tasks.take_touched()) else {
        return check(core);
    };
    for (key, agent) in agents.into_iter().filter_map(|key| Some((key, core.agents.get(key)?))) {
        of_agent(core, key, agent);
    }
    for (key, framework) in frameworks.into_iter().filter_map(|key| Some((key, core.frameworks.get(key)?))) {
        connection_of_framework(core, key, framework);
        unreachable_tasks(core, framework);
    }
    for (key, task) in tasks.into_iter().filter_map(|key| Some((key, core.tasks.get(key)?))) {
        of_task(core, key, task);
    }
}

/// What an onlooker asks of quotas, counted from agents and offers; for the simulator.
impl Core {
    /// Whether any role has quota.
    pub fn has_quotas(&self) -> bool {
        !self.quotas.is_empty()
    }

    /// Whether the role has a guarantee.
    pub fn is_promised(&self, role: &str) -> bool {
        self.quotas.get(role).is_some_and(|quota| !quota.guarantees.is_empty())
    }

    /// What the role, and those below it, have and are offered of each resource that it has a limit of; and the limit.
    pub fn taken_of_limits(&self, role: &str) -> Vec<(String, Scalar, Scalar)> {
        let Some(quota) = self.quotas.get(role) else { return Vec::new() };
        let mut taken = self.consumed(role);
        quota::add(&mut taken, &self.offered_to(role));
        let limits = quota.limits.iter().map(|(name, limit)| (name.clone(), quota::amount(*limit)));
        limits.map(|(name, limit)| (name.clone(), taken.get(&name).copied().unwrap_or_default(), limit)).collect()
    }

    /// What is free of each resource that somebody was promised, and what guarantees that are not met need of it.
    pub fn kept_for_guarantees(&self) -> Vec<(String, Scalar, Scalar)> {
        let mut needed = quota::Amounts::new();
        for (role, quota) in &self.quotas {
            let mut taken = self.consumed(role);
            quota::add(&mut taken, &self.offered_to(role));
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
}

fn of_agent(core: &Core, key: AgentKey, agent: &Agent) {
    resources_of_agent(core, key, agent);
    entities_of_agent(core, key, agent);
    liveness_of_agent(core, agent);
}

pub(crate) fn check(core: &Core) {
    for (key, agent) in &core.agents.slots {
        of_agent(core, key, agent);
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
    counters(core);
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
    let offered = sum(agent.offers.iter().filter_map(|offer| core.offers.get(*offer)).map(|offer| &offer.resources));
    assert_eq!(agent.offered, offered, "offered of {id}");
    let available = core.allocator.available(key).expect("the allocator knows every agent");
    let taken = unallocated(&agent.used) + &unallocated(&agent.offered);
    if agent.total.contains(&taken) {
        // What is shared stays free.
        let (total, taken) = (agent.total.non_shared(), taken.non_shared());
        assert_eq!(total, &taken + &available.non_shared(), "used, offered and free of {id}");
    }
}

fn entities_of_agent(core: &Core, key: AgentKey, agent: &Agent) {
    let id = &agent.id;
    assert_eq!(core.agents.find(id.as_str()), Some(key), "{id} is found by its id");
    assert!(agent.offers.is_empty() || agent.active(), "{id} is offered but not active");
    for task in &agent.tasks {
        assert_eq!(core.tasks.get(*task).map(|task| task.agent), Some(key), "a task of {id}");
    }
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
fn liveness_of_agent(core: &Core, agent: &Agent) {
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
        sum(framework.offers.iter().filter_map(|offer| core.offers.get(*offer)).map(|offer| &offer.resources));
    assert_eq!(framework.offered.scalars(), offered.scalars(), "offered of {id}");
    let all = used + &offered;
    for (role, resources) in all.allocations() {
        let counted = core.allocator.allocated(key, &role);
        let counted: BTreeMap<&str, Scalar> = counted.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
        assert_eq!(resources.quantities(), counted, "the allocator's count of {id} for {role}");
    }
}

fn entities_of_framework(core: &Core, key: FrameworkKey, framework: &Framework) {
    let id = &framework.id;
    assert_eq!(core.frameworks.find(id.as_str()), Some(key), "{id} is found by its id");
    assert!(!core.frameworks.is_completed(id.as_str()), "{id} is alive and completed");
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
    assert!(framework.history.len() <= core.config.max_completed_tasks_per_framework, "history of {id}");
}

fn connection_of_framework(core: &Core, key: FrameworkKey, framework: &Framework) {
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
fn unreachable_tasks(core: &Core, framework: &Framework) {
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

fn of_task(core: &Core, key: TaskKey, task: &Task) {
    let id = &task.view.id;
    let framework = core.frameworks.get(task.framework).expect("no task outlives its framework");
    assert_eq!(framework.tasks.get(id), Some(&key), "{id} of its framework");
    let agent = core.agents.get(task.agent).expect("no task outlives its agent");
    assert!(agent.tasks.contains(&key), "{id} of its agent");
    assert_eq!(task.view.list, TaskList::Active, "{id}");
    assert_eq!(task.holds, !crate::events::is_terminal(task.view.state), "{id} holds its resources until it ends");
}

fn offers(core: &Core) {
    for (number, offer) in core.offers.iter() {
        let framework = core.frameworks.get(offer.framework).expect("no offer outlives its framework");
        assert!(framework.offers.contains(&number), "{number:?} of its framework");
        let agent = core.agents.get(offer.agent).expect("no offer outlives its agent");
        assert!(agent.offers.contains(&number), "{number:?} of its agent");
        assert!(!offer.resources.is_empty(), "{number:?} offers nothing");
    }
}

fn inverse_offers(core: &Core) {
    for (number, offer) in core.inverse_offers.iter() {
        let framework = core.frameworks.get(offer.framework).expect("no inverse offer outlives its framework");
        assert!(framework.stream.is_some(), "{number:?} cannot be answered");
        let agent = core.agents.get(offer.agent).expect("no inverse offer outlives its agent");
        assert!(agent.inverse_offers.contains(&number), "{number:?} of its agent");
        assert!(agent.unavailability.is_some(), "{number:?} is of an agent that stays");
    }
    let of_agents: usize = core.agents.slots.values().map(|agent| agent.inverse_offers.len()).sum();
    assert_eq!(of_agents, core.inverse_offers.iter().count(), "inverse offers");
}

/// An operation is found from its agent; what it is about was neither made nor lost.
fn operations(core: &Core) {
    for (uuid, operation) in core.operations.iter() {
        assert_eq!(*uuid, operation.view.uuid);
        let agent = core.agents.get(operation.agent).expect("no operation outlives its agent");
        assert!(agent.operations.contains(uuid), "{uuid:?} of its agent");
    }
    let of_agents: usize = core.agents.slots.values().map(|agent| agent.operations.len()).sum();
    assert_eq!(of_agents, core.operations.iter().count(), "operations");
    for agent in core.agents.slots.values() {
        let started = agent.info.started().expect("they were valid at registration");
        assert_eq!(agent.total.quantities(), started.quantities(), "operations on {} made or lost something", agent.id);
    }
}

/// An agent is in one list.
fn agent_lists(core: &Core) {
    let agents = &core.agents;
    for id in agents.recovered.keys() {
        assert!(
            agents.find(id.as_str()).is_none() && !agents.unreachable.contains_key(id),
            "{id} is waited for and there"
        );
    }
    for id in agents.unreachable.keys() {
        assert!(agents.find(id.as_str()).is_none() && !agents.gone.contains_key(id), "{id} is unreachable and there");
    }
}

fn counters(core: &Core) {
    let active: i64 = [Counter::TasksStaging, Counter::TasksStarting, Counter::TasksRunning, Counter::TasksKilling]
        .into_iter()
        .map(|counter| core.counters.get(counter))
        .sum();
    let held = core.tasks.values().filter(|task| task.holds).count();
    assert_eq!(usize::try_from(active).ok(), Some(held), "tasks by state");
    let unreachable: usize = core.frameworks.slots.values().map(|framework| framework.unreachable.len()).sum();
    assert_eq!(
        usize::try_from(core.counters.get(Counter::TasksUnreachable)).ok(),
        Some(unreachable),
        "unreachable tasks"
    );
}
