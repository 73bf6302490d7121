//! The invariants of `check`, of what was touched since the last time alone: sums are carried on from step to step.

mod step;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::ExecutorId,
    resources::{Resource, Resources},
};
use slotmap::SecondaryMap;

use self::step::{Changed, Step};
use crate::{
    agents::Agent,
    check,
    core::Core,
    frameworks::Framework,
    keys::{AgentKey, FrameworkKey, OfferNumber, TaskKey},
    model,
    offers::Offer,
    slots::once_each,
    tasks::Task,
};

/// What the checks keep from step to step.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    sums: Sums,
    /// Only its room is kept.
    step: Step,
}

/// What the checks of earlier steps have counted.
#[derive(Debug, Default)]
struct Sums {
    tasks: SecondaryMap<TaskKey, Held>,
    offers: BTreeMap<OfferNumber, HeldByOffer>,
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

/// What a task has of an agent.
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

    fn is_of(&self, task: &Task) -> bool {
        let same = (self.framework, self.agent, self.holds) == (task.framework, task.agent, task.holds);
        same && Arc::ptr_eq(&self.resources, &task.resources)
    }
}

/// What an offer has of an agent.
#[derive(Debug)]
struct HeldByOffer {
    framework: FrameworkKey,
    agent: AgentKey,
    view: Arc<model::Offer>,
}

impl HeldByOffer {
    fn new(offer: &Offer) -> Self {
        let Offer { framework, agent, .. } = *offer;
        Self { framework, agent, view: offer.view.clone() }
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

/// In whatever order; most have the same.
fn same_amounts(left: &Resources, right: &Resources) -> bool {
    let contains = |all: &Resources, one: &Resource| all.contains_one(one);
    amounts(left).eq(amounts(right))
        || amounts(left).all(|one| contains(right, one)) && amounts(right).all(|one| contains(left, one))
}

/// See [`Core::check_touched`].
pub(crate) fn check_touched(core: &mut Core) {
    let mut checked = core.checked.take().unwrap_or_default();
    let Checked { sums, step } = &mut *checked;
    step.changed.clear();
    sums.count_tasks(core, step);
    sums.count_offers(core, step);
    sums.count_inverse_offers(core, step);
    sums.count_operations(core, step);
    sums.count_executors(core, step);
    sums.look_at_agents(core, step);
    sums.look_at_frameworks(core, step);
    sums.look_at_pairs(core, step);
    sums.look_at_numbers(core);
    core.checked = Some(checked);
}

impl Sums {
    fn count_tasks(&mut self, core: &mut Core, step: &mut Step) {
        let Step { tasks: touched, fresh, changed, .. } = step;
        if !core.tasks.take_touched(touched) {
            touched.extend(core.tasks.keys().chain(self.tasks.keys()));
            once_each(touched);
        }
        for &mut key in touched {
            let now = core.tasks.get(key);
            if let Some(task) = now {
                check::of_task(core, key, task);
            }
            if let Some(before) = self.tasks.get(key) {
                if now.is_some_and(|now| before.is_of(now)) {
                    continue;
                }
                changed.add(before.framework, before.agent);
                self.drop_task(key);
            }
            fresh.extend(now.map(|now| (key, Held::of_task(now))));
        }
        for (key, held) in fresh.drain(..) {
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
            amounts(&held.resources).for_each(|resource| framework.used.add_one(resource));
        }
    }

    fn drop_task(&mut self, key: TaskKey) {
        let Some(held) = self.tasks.remove(key) else { return };
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

    fn count_offers(&mut self, core: &mut Core, step: &mut Step) {
        let Step { offers: touched, changed, .. } = step;
        if !core.offers.take_touched(touched) {
            touched.extend(core.offers.iter().map(|(number, _)| number).chain(self.offers.keys().copied()));
        }
        for &mut number in touched {
            if let Some(before) = self.offers.remove(&number) {
                changed.add(before.framework, before.agent);
                self.drop_offer(&before);
            }
            let Some(offer) = core.offers.get(number) else { continue };
            check::of_offer(core, number, offer);
            changed.add(offer.framework, offer.agent);
            let held = HeldByOffer::new(offer);
            self.take_offer(&held);
            self.offers.insert(number, held);
        }
    }

    fn take_offer(&mut self, held: &HeldByOffer) {
        let agent = self.agents.entry(held.agent).or_default();
        let framework = self.frameworks.entry(held.framework).or_default();
        let resources = &held.view.resources;
        agent.offers += 1;
        agent.offered += resources;
        framework.offers += 1;
        amounts(resources).for_each(|resource| framework.offered.add_one(resource));
    }

    fn drop_offer(&mut self, held: &HeldByOffer) {
        let agent = self.agents.entry(held.agent).or_default();
        let framework = self.frameworks.entry(held.framework).or_default();
        let resources = &held.view.resources;
        agent.offers -= 1;
        agent.offered -= resources;
        framework.offers -= 1;
        amounts(resources).for_each(|resource| framework.offered.subtract(resource));
    }

    fn count_inverse_offers(&mut self, core: &mut Core, step: &mut Step) {
        let Step { offers: touched, changed, .. } = step;
        if !core.inverse_offers.take_touched(touched) {
            let known = self.inverse_offers.keys().copied();
            touched.extend(core.inverse_offers.iter().map(|(number, _)| number).chain(known));
        }
        for &mut number in touched {
            if let Some(before) = self.inverse_offers.remove(&number) {
                changed.agents.push(before);
                self.agents.entry(before).or_default().inverse_offers -= 1;
            }
            let Some(offer) = core.inverse_offers.get(number) else { continue };
            check::of_inverse_offer(core, number, offer);
            changed.agents.push(offer.agent);
            self.agents.entry(offer.agent).or_default().inverse_offers += 1;
            self.inverse_offers.insert(number, offer.agent);
        }
    }

    fn count_operations(&mut self, core: &mut Core, step: &mut Step) {
        let Step { operations: touched, changed, .. } = step;
        if !core.operations.take_touched(touched) {
            touched.extend(core.operations.iter().map(|(uuid, _)| uuid).chain(self.operations.keys()).cloned());
        }
        for uuid in &*touched {
            if let Some(before) = self.operations.remove(uuid) {
                changed.agents.push(before);
                self.agents.entry(before).or_default().operations -= 1;
            }
            let Some(operation) = core.operations.get(uuid) else { continue };
            check::of_operation(core, uuid, operation);
            changed.agents.push(operation.agent);
            self.agents.entry(operation.agent).or_default().operations += 1;
            self.operations.insert(uuid.clone(), operation.agent);
        }
    }

    fn count_executors(&mut self, core: &mut Core, step: &mut Step) {
        if !core.agents.slots.take_touched(&mut step.agents) {
            step.agents.extend(core.agents.slots.keys().chain(self.agents.keys().copied()));
        }
        for key in &step.agents {
            self.count_executors_of(core, *key, &mut step.changed);
        }
    }

    fn count_executors_of(&mut self, core: &Core, key: AgentKey, changed: &mut Changed) {
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
            amounts(resources).for_each(|resource| framework.used.add_one(resource));
            counted.executors.insert((*framework_key, executor.clone()), resources.clone());
        }
    }

    /// Those that were touched, or of which something changed; and the sums of those that the allocator touched too.
    fn look_at_agents(&mut self, core: &mut Core, step: &mut Step) {
        let Step { agents: touched, changed, unbalanced, .. } = step;
        core.allocator.check_touched(unbalanced);
        unbalanced.extend(&changed.agents);
        changed.agents.append(touched);
        once_each(&mut changed.agents);
        for key in &changed.agents {
            self.look_at_agent(core, *key, unbalanced);
        }
        once_each(unbalanced);
        for (key, agent) in unbalanced.iter().filter_map(|key| Some((*key, core.agents.get(*key)?))) {
            check::balance_of_agent(core, key, agent);
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

    /// What the allocator counts for itself of those of which something changed; and those that were touched too.
    fn look_at_frameworks(&mut self, core: &mut Core, step: &mut Step) {
        let Step { frameworks: touched, changed: Changed { frameworks: changed, .. }, .. } = step;
        once_each(changed);
        for key in &*changed {
            self.look_at_roles(core, *key);
        }
        if !core.frameworks.slots.take_touched(touched) {
            touched.extend(core.frameworks.slots.keys().chain(self.frameworks.keys().copied()));
        }
        changed.append(touched);
        once_each(changed);
        for key in &*changed {
            self.look_at_framework(core, *key);
        }
    }

    fn look_at_roles(&mut self, core: &Core, key: FrameworkKey) {
        let Some(framework) = core.frameworks.get(key) else { return };
        let counted = self.frameworks.entry(key).or_default();
        let all = &counted.used + &counted.offered;
        let roles = all.allocation_roles();
        for role in &roles {
            check::allocated_to_role(core, (key, framework), role, &all);
        }
        let gone = counted.roles.iter().filter(|role| !roles.contains(&role.as_str()));
        gone.for_each(|role| check::allocated_to_role(core, (key, framework), role, &Resources::new()));
        if !roles.iter().eq(&counted.roles) {
            counted.roles = roles.into_iter().map(str::to_owned).collect();
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

    fn look_at_pairs(&self, core: &Core, step: &mut Step) {
        let pairs = &mut step.changed.pairs;
        once_each(pairs);
        for (key, agent) in &*pairs {
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

    fn agrees(&self, core: &Core) {
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

impl Checked {
    /// What was counted from step to step is what there is.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn agrees(&self, core: &Core) {
        self.sums.agrees(core);
    }
}
