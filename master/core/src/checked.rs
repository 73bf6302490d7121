//! The invariants of `check`, of what was touched since the last time alone: sums are carried on from step to step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use mezzo_api::{
    ids::ExecutorId,
    resources::{Resource, Resources},
};
use slotmap::SecondaryMap;

use crate::{
    agents::Agent,
    check,
    core::Core,
    frameworks::Framework,
    keys::{AgentKey, FrameworkKey, OfferNumber, TaskKey},
    offers::Offer,
    tasks::Task,
};

/// What the checks of earlier steps have counted.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    tasks: SecondaryMap<TaskKey, Held>,
    offers: BTreeMap<OfferNumber, Held>,
    inverse_offers: BTreeMap<OfferNumber, AgentKey>,
    operations: BTreeMap<Bytes, AgentKey>,
    agents: BTreeMap<AgentKey, OfAgent>,
    frameworks: BTreeMap<FrameworkKey, OfFramework>,
    /// Tasks that hold their resources.
    holding: usize,
    unreachable: usize,
    /// How long the lists of agents were that are awaited, unreachable and gone.
    lists: [usize; 3],
}

/// What a task or an offer has of an agent.
#[derive(Debug)]
struct Held {
    framework: FrameworkKey,
    agent: AgentKey,
    resources: Arc<Resources>,
    holds: bool,
}

impl Held {
    fn of_task(task: &Task) -> Self {
        let Task { framework, agent, holds, .. } = *task;
        Self { framework, agent, resources: task.resources.clone(), holds }
    }

    fn of_offer(offer: &Offer) -> Self {
        let Offer { framework, agent, .. } = *offer;
        Self { framework, agent, resources: Arc::new(offer.resources.clone()), holds: true }
    }

    fn is_of(&self, task: &Task) -> bool {
        let same = (self.framework, self.agent, self.holds) == (task.framework, task.agent, task.holds);
        same && Arc::ptr_eq(&self.resources, &task.resources)
    }
}

/// The sums of an agent.
#[derive(Debug, Default)]
struct OfAgent {
    used: Resources,
    offered: Resources,
    total: Option<Arc<Resources>>,
    executors: BTreeMap<(FrameworkKey, ExecutorId), Resources>,
    tasks: usize,
    offers: usize,
    inverse_offers: usize,
    operations: usize,
}

impl OfAgent {
    fn numbers(&self) -> [usize; 4] {
        [self.tasks, self.offers, self.inverse_offers, self.operations]
    }

    fn agrees(&self, agent: &Agent) {
        let id = &agent.id;
        assert_eq!(agent.used, self.used, "used of {id}");
        assert_eq!(agent.offered, self.offered, "offered of {id}");
        let numbers = [agent.tasks.len(), agent.offers.len(), agent.inverse_offers.len(), agent.operations.len()];
        assert_eq!(numbers, self.numbers(), "tasks, offers, inverse offers and operations of {id}");
    }
}

/// The sums of a framework; of resources only amounts.
#[derive(Debug, Default)]
struct OfFramework {
    used: Resources,
    offered: Resources,
    roles: Vec<String>,
    agents: BTreeMap<AgentKey, usize>,
    tasks: usize,
    offers: usize,
    unreachable: usize,
}

impl OfFramework {
    fn agrees(&self, framework: &Framework) {
        let id = &framework.id;
        assert!(same_amounts(&framework.used, &self.used), "used of {id}: {}, not {}", framework.used, self.used);
        let offered = &framework.offered;
        assert!(same_amounts(offered, &self.offered), "offered of {id}: {offered}, not {}", self.offered);
        assert_eq!(framework.tasks.len(), self.tasks, "tasks of {id}");
        assert_eq!(framework.offers.len(), self.offers, "offers of {id}");
        assert_eq!(framework.agents.len(), self.agents.len(), "agents of {id}");
    }

    fn attach(&mut self, agent: AgentKey) {
        *self.agents.entry(agent).or_default() += 1;
    }

    fn detach(&mut self, agent: AgentKey) {
        let count = self.agents.get_mut(&agent).expect("it was attached");
        *count -= 1;
        if *count == 0 {
            self.agents.remove(&agent);
        }
    }
}

fn amounts(resources: &Resources) -> impl Iterator<Item = &Resource> {
    resources.iter().filter(|resource| resource.amount().is_some())
}

fn same_amounts(left: &Resources, right: &Resources) -> bool {
    let contains = |all: &Resources, one: &Resource| all.contains_one(one);
    amounts(left).all(|one| contains(right, one)) && amounts(right).all(|one| contains(left, one))
}

/// What a step changed.
#[derive(Debug, Default)]
struct Changed {
    agents: BTreeSet<AgentKey>,
    frameworks: BTreeSet<FrameworkKey>,
    pairs: BTreeSet<(FrameworkKey, AgentKey)>,
}

impl Changed {
    fn add(&mut self, framework: FrameworkKey, agent: AgentKey) {
        self.agents.insert(agent);
        self.frameworks.insert(framework);
        self.pairs.insert((framework, agent));
    }
}

/// See [`Core::check_touched`].
pub(crate) fn check_touched(core: &mut Core) {
    let mut checked = std::mem::take(&mut core.checked);
    let mut changed = Changed::default();
    checked.count_tasks(core, &mut changed);
    checked.count_offers(core, &mut changed);
    checked.count_inverse_offers(core, &mut changed);
    checked.count_operations(core, &mut changed);
    let agents = core.agents.slots.take_touched();
    let all = || core.agents.slots.keys().chain(checked.agents.keys().copied()).collect();
    let agents = agents.unwrap_or_else(all);
    for key in &agents {
        checked.count_executors(core, *key, &mut changed);
    }
    let mut unbalanced = core.allocator.check_touched();
    unbalanced.extend(&changed.agents);
    changed.agents.extend(agents);
    for key in &changed.agents {
        checked.look_at_agent(core, *key, &mut unbalanced);
    }
    unbalanced.sort_unstable();
    unbalanced.dedup();
    for (key, agent) in unbalanced.into_iter().filter_map(|key| Some((key, core.agents.get(key)?))) {
        check::balance_of_agent(core, key, agent);
    }
    for key in &changed.frameworks {
        checked.look_at_roles(core, *key);
    }
    let frameworks = core.frameworks.slots.take_touched();
    let all = || core.frameworks.slots.keys().chain(checked.frameworks.keys().copied()).collect();
    changed.frameworks.extend(frameworks.unwrap_or_else(all));
    for key in &changed.frameworks {
        checked.look_at_framework(core, *key);
    }
    checked.look_at_pairs(core, &changed.pairs);
    checked.look_at_numbers(core);
    core.checked = checked;
}

impl Checked {
    fn count_tasks(&mut self, core: &mut Core, changed: &mut Changed) {
        let touched = core.tasks.take_touched().unwrap_or_else(|| core.tasks.keys().chain(self.tasks.keys()).collect());
        let mut fresh = Vec::new();
        for key in touched {
            let now = core.tasks.get(key);
            if let Some(task) = now {
                check::of_task(core, key, task);
            }
            if now.is_some_and(|now| self.tasks.get(key).is_some_and(|before| before.is_of(now))) {
                continue;
            }
            if let Some(before) = self.tasks.remove(key) {
                changed.add(before.framework, before.agent);
                self.drop_task(&before);
            }
            fresh.extend(now.map(|now| (key, Held::of_task(now))));
        }
        for (key, held) in fresh {
            changed.add(held.framework, held.agent);
            self.take_task(&held);
            self.tasks.insert(key, held);
        }
    }

    fn take_task(&mut self, held: &Held) {
        let agent = self.agents.entry(held.agent).or_default();
        let framework = self.frameworks.entry(held.framework).or_default();
        agent.tasks += 1;
        framework.tasks += 1;
        framework.attach(held.agent);
        if held.holds {
            self.holding += 1;
            agent.used += &*held.resources;
            framework.used.extend(amounts(&held.resources).cloned());
        }
    }

    fn drop_task(&mut self, held: &Held) {
        let agent = self.agents.entry(held.agent).or_default();
        let framework = self.frameworks.entry(held.framework).or_default();
        agent.tasks -= 1;
        framework.tasks -= 1;
        framework.detach(held.agent);
        if held.holds {
            self.holding -= 1;
            agent.used -= &*held.resources;
            amounts(&held.resources).for_each(|resource| framework.used.subtract(resource));
        }
    }

    fn count_offers(&mut self, core: &mut Core, changed: &mut Changed) {
        let touched = core.offers.take_touched();
        let all = || core.offers.iter().map(|(number, _)| number).chain(self.offers.keys().copied()).collect();
        for number in touched.unwrap_or_else(all) {
            if let Some(before) = self.offers.remove(&number) {
                changed.add(before.framework, before.agent);
                let agent = self.agents.entry(before.agent).or_default();
                let framework = self.frameworks.entry(before.framework).or_default();
                agent.offers -= 1;
                agent.offered -= &*before.resources;
                framework.offers -= 1;
                amounts(&before.resources).for_each(|resource| framework.offered.subtract(resource));
            }
            let Some(offer) = core.offers.get(number) else { continue };
            check::of_offer(core, number, offer);
            let held = Held::of_offer(offer);
            changed.add(held.framework, held.agent);
            let agent = self.agents.entry(held.agent).or_default();
            let framework = self.frameworks.entry(held.framework).or_default();
            agent.offers += 1;
            agent.offered += &*held.resources;
            framework.offers += 1;
            framework.offered.extend(amounts(&held.resources).cloned());
            self.offers.insert(number, held);
        }
    }

    fn count_inverse_offers(&mut self, core: &mut Core, changed: &mut Changed) {
        let touched = core.inverse_offers.take_touched();
        let known = self.inverse_offers.keys().copied();
        let all = || core.inverse_offers.iter().map(|(number, _)| number).chain(known).collect();
        for number in touched.unwrap_or_else(all) {
            if let Some(before) = self.inverse_offers.remove(&number) {
                changed.agents.insert(before);
                self.agents.entry(before).or_default().inverse_offers -= 1;
            }
            let Some(offer) = core.inverse_offers.get(number) else { continue };
            check::of_inverse_offer(core, number, offer);
            changed.agents.insert(offer.agent);
            self.agents.entry(offer.agent).or_default().inverse_offers += 1;
            self.inverse_offers.insert(number, offer.agent);
        }
    }

    fn count_operations(&mut self, core: &mut Core, changed: &mut Changed) {
        let touched = core.operations.take_touched();
        let all = || core.operations.iter().map(|(uuid, _)| uuid).chain(self.operations.keys()).cloned().collect();
        for uuid in touched.unwrap_or_else(all) {
            if let Some(before) = self.operations.remove(&uuid) {
                changed.agents.insert(before);
                self.agents.entry(before).or_default().operations -= 1;
            }
            let Some(operation) = core.operations.get(&uuid) else { continue };
            check::of_operation(core, &uuid, operation);
            changed.agents.insert(operation.agent);
            self.agents.entry(operation.agent).or_default().operations += 1;
            self.operations.insert(uuid, operation.agent);
        }
    }

    fn count_executors(&mut self, core: &Core, key: AgentKey, changed: &mut Changed) {
        let counted = self.agents.entry(key).or_default();
        let now = core.agents.get(key).map(|agent| &agent.executors);
        let pairs = || now.into_iter().flatten().map(|(key, executor)| (key, &executor.resources));
        let before = std::mem::take(&mut counted.executors);
        if pairs().eq(&before) {
            counted.executors = before;
            return;
        }
        for ((framework_key, _), resources) in &before {
            changed.add(*framework_key, key);
            let framework = self.frameworks.entry(*framework_key).or_default();
            framework.detach(key);
            counted.used -= resources;
            amounts(resources).for_each(|resource| framework.used.subtract(resource));
        }
        for ((framework_key, executor), resources) in pairs() {
            changed.add(*framework_key, key);
            let framework = self.frameworks.entry(*framework_key).or_default();
            framework.attach(key);
            counted.used += resources;
            framework.used.extend(amounts(resources).cloned());
            counted.executors.insert((*framework_key, executor.clone()), resources.clone());
        }
    }

    fn look_at_agent(&mut self, core: &Core, key: AgentKey, unbalanced: &mut Vec<AgentKey>) {
        let counted = self.agents.entry(key).or_default();
        let Some(agent) = core.agents.get(key) else {
            assert_eq!(counted.numbers(), [0; 4], "something outlived its agent");
            self.agents.remove(&key);
            return;
        };
        counted.agrees(agent);
        check::names_of_agent(core, key, agent);
        check::liveness_of_agent(core, agent);
        check::list_of_agent(core, agent);
        if !counted.total.as_ref().is_some_and(|total| Arc::ptr_eq(total, &agent.total)) {
            check::quantities_of_agent(agent);
            counted.total = Some(agent.total.clone());
            unbalanced.push(key);
        }
    }

    /// What the allocator counts for itself.
    fn look_at_roles(&mut self, core: &Core, key: FrameworkKey) {
        let Some(framework) = core.frameworks.get(key) else { return };
        let counted = self.frameworks.entry(key).or_default();
        let all = &counted.used + &counted.offered;
        let roles = all.allocations();
        for (role, resources) in &roles {
            check::allocated_to_role(core, (key, framework), role, resources);
        }
        for gone in counted.roles.iter().filter(|role| !roles.contains_key(*role)) {
            check::allocated_to_role(core, (key, framework), gone, &Resources::new());
        }
        if !roles.keys().eq(&counted.roles) {
            counted.roles = roles.into_keys().collect();
        }
    }

    fn look_at_framework(&mut self, core: &Core, key: FrameworkKey) {
        let counted = self.frameworks.entry(key).or_default();
        let unreachable = core.frameworks.get(key).map_or(0, |framework| framework.unreachable.len());
        self.unreachable = self.unreachable + unreachable - std::mem::replace(&mut counted.unreachable, unreachable);
        let Some(framework) = core.frameworks.get(key) else {
            assert_eq!((counted.tasks, counted.offers), (0, 0), "something outlived its framework");
            assert!(counted.agents.is_empty(), "an executor outlived its framework");
            self.frameworks.remove(&key);
            return;
        };
        counted.agrees(framework);
        check::names_of_framework(core, key, framework);
        check::connection_of_framework(core, key, framework);
        check::unreachable_tasks(core, framework);
    }

    fn look_at_pairs(&self, core: &Core, pairs: &BTreeSet<(FrameworkKey, AgentKey)>) {
        for (key, agent) in pairs {
            let Some(framework) = core.frameworks.get(*key) else { continue };
            let counted = self.frameworks.get(key).and_then(|counted| counted.agents.get(agent));
            assert_eq!(framework.agents.get(agent), counted, "what {} has on an agent", framework.id);
        }
    }

    fn look_at_numbers(&mut self, core: &Core) {
        check::counters(core, self.holding, self.unreachable);
        let agents = &core.agents;
        let lists = [agents.recovered.len(), agents.unreachable.len(), agents.gone.len()];
        if self.lists != lists {
            check::agent_lists(core);
            self.lists = lists;
        }
    }

    /// What was counted from step to step is what there is.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn agrees(&self, core: &Core) {
        assert_eq!(self.tasks.len(), core.tasks.len(), "tasks that were counted");
        for (key, task) in &core.tasks {
            assert!(self.tasks.get(key).is_some_and(|held| held.is_of(task)), "{} was not counted", task.view.id);
        }
        let offers = core.offers.iter().map(|(number, _)| number);
        assert!(offers.eq(self.offers.keys().copied()), "offers that were counted");
        let inverse_offers = core.inverse_offers.iter().map(|(number, offer)| (number, offer.agent));
        assert!(inverse_offers.eq(self.inverse_offers.iter().map(|(number, agent)| (*number, *agent))));
        assert_eq!(self.operations.len(), core.operations.iter().count(), "operations that were counted");
        assert_eq!(self.agents.len(), core.agents.slots.len(), "agents that were counted");
        for (key, agent) in &core.agents.slots {
            self.agents.get(&key).expect("it was counted").agrees(agent);
        }
        assert_eq!(self.frameworks.len(), core.frameworks.slots.len(), "frameworks that were counted");
        for (key, framework) in &core.frameworks.slots {
            let counted = self.frameworks.get(&key).expect("it was counted");
            counted.agrees(framework);
            assert_eq!(framework.agents, counted.agents, "agents of {}", framework.id);
        }
    }
}
