//! "Keep these tasks running": a [`Scheduler`] that fills places with tasks, starts again what has ended, elsewhere what
//! was lost, changes what is to be changed, and kills what nobody knows.
//!
//! Each group has places, numbered from 0; in each is at most one task (two while a changed one takes over). What is
//! known is stored before a task is launched, so that a run of the program that is killed at any moment leaves nothing
//! that the next one does not find. A task that nothing is known of is killed.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use mezzo_api::v1::{self, TaskState, scheduler::call::reconcile};
use rand::{SeedableRng, rngs::SmallRng};
use tracing::{info, warn};

mod change;
mod constraint;
mod demand;
mod group;
mod launch;
mod leaving;
mod place;
mod record;
mod report;
mod slot;
#[cfg(test)]
mod tests;
mod updates;

pub use constraint::{Constraint, ConstraintError, Field, Place};
pub use group::{Change, Group, GroupError, Lifetime, Order, Retry};
pub use report::{Instance, Summary};
pub use slot::Outcome;

use crate::{
    offers::OfferCache,
    scheduler::{Context, Scheduler, Subscribed},
};
use constraint::Rule;
use leaving::{Leaving, Why};
use slot::Slot;

/// How a supervisor behaves, beside what its groups say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Offers that something may need soon are kept for so long.
    pub keep_offers: Duration,
    /// An offer that does not do for what waits is not wanted again for so long, unless it grows.
    pub refuse_unfit: Duration,
    /// What failed on an agent is rather started on another one, for so long.
    pub avoid: Duration,
    /// A kill that nothing came of is repeated after so long, then after twice as long, …
    pub kill_again: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep_offers: Duration::from_secs(5),
            refuse_unfit: Duration::from_secs(30),
            avoid: Duration::from_secs(5),
            kill_again: Duration::from_secs(10),
        }
    }
}

#[derive(Debug)]
struct State {
    group: Group,
    rules: Vec<Rule>,
    /// Raised with each change of the task.
    version: u64,
    slots: BTreeMap<u32, Slot>,
}

/// Keeps desired tasks running.
#[derive(Debug)]
pub struct Supervisor {
    config: Config,
    rng: SmallRng,
    groups: BTreeMap<String, State>,
    /// Where each task that is wanted is.
    index: BTreeMap<String, (String, u32)>,
    /// Tasks that are to end, or whose place was given to another.
    leaving: BTreeMap<String, Leaving>,
    offers: OfferCache,
    /// Agents by id, with when they were last seen in an offer.
    agents: BTreeMap<String, (Place, Duration)>,
    demand: demand::Demand,
    subscribed: bool,
    outcomes: VecDeque<Outcome>,
}

/// Agents that no offer came from for so long are not counted on.
const AGENT_SEEN: Duration = Duration::from_secs(90);
/// Ends of jobs that nobody has asked for; older ones are dropped.
const MAX_OUTCOMES: usize = 100_000;

impl Supervisor {
    /// One that keeps nothing yet. The seed must not be used twice: it makes tasks' ids unique.
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            offers: OfferCache::new(config.keep_offers),
            config,
            rng: SmallRng::seed_from_u64(seed),
            groups: BTreeMap::new(),
            index: BTreeMap::new(),
            leaving: BTreeMap::new(),
            agents: BTreeMap::new(),
            demand: demand::Demand::default(),
            subscribed: false,
            outcomes: VecDeque::new(),
        }
    }

    /// The group is to be as described here, new or changed. A changed task replaces the running ones step by step.
    ///
    /// # Errors
    /// If the group cannot be; nothing is changed then.
    pub fn set(&mut self, context: &mut Context<'_>, group: Group) -> Result<(), GroupError> {
        group.check()?;
        let rules = rules(&group)?;
        let name = group.name.clone();
        let state = self.groups.entry(name.clone()).or_insert_with(|| State {
            group: group.clone(),
            rules: Vec::new(),
            version: 1,
            slots: BTreeMap::new(),
        });
        if state.group.differs(&group) {
            state.version += 1;
            info!(group = name, version = state.version, "the task has changed: replacing");
        }
        state.rules = rules;
        state.group = group;
        self.store_group(context, &name);
        self.fit_count(context, &name, "not wanted any more");
        self.work(context);
        Ok(())
    }

    /// So many tasks of the group, from now on.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn scale(&mut self, context: &mut Context<'_>, name: &str, count: u32) -> Result<(), GroupError> {
        let state = self.groups.get_mut(name).ok_or_else(|| GroupError::Unknown(name.to_owned()))?;
        info!(group = name, from = state.group.count, to = count, "scaling");
        state.group.count = count;
        self.store_group(context, name);
        self.fit_count(context, name, "scaled down");
        self.work(context);
        Ok(())
    }

    /// Every task of the group is replaced, step by step, by an equal one.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn restart(&mut self, context: &mut Context<'_>, name: &str) -> Result<(), GroupError> {
        let state = self.groups.get_mut(name).ok_or_else(|| GroupError::Unknown(name.to_owned()))?;
        state.version += 1;
        info!(group = name, version = state.version, "restarting");
        self.store_group(context, name);
        self.work(context);
        Ok(())
    }

    /// The group is wanted no more; its tasks are killed.
    ///
    /// # Errors
    /// If there is no such group.
    pub fn remove(&mut self, context: &mut Context<'_>, name: &str) -> Result<(), GroupError> {
        self.scale(context, name, 0)?;
        self.groups.remove(name);
        context.remove(record::group_key(name));
        Ok(())
    }

    /// A group as it was set.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name).map(|state| &state.group)
    }

    /// All groups, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values().map(|state| &state.group)
    }

    fn store_group(&self, context: &mut Context<'_>, name: &str) {
        if let Some(State { group, version, .. }) = self.groups.get(name) {
            let stored = record::StoredGroup { version: *version, group: group.clone() };
            context.put(record::group_key(name), record::encode(stored));
        }
    }

    fn store_slot(&self, context: &mut Context<'_>, name: &str, number: u32) {
        if let Some(slot) = self.groups.get(name).and_then(|state| state.slots.get(&number)) {
            context.put(record::slot_key(name, number), record::encode(slot));
        }
    }

    fn slot(&mut self, name: &str, number: u32) -> Option<&mut Slot> {
        self.groups.get_mut(name)?.slots.get_mut(&number)
    }

    /// As many places as there are to be.
    fn fit_count(&mut self, context: &mut Context<'_>, name: &str, why: &'static str) {
        let Some(state) = self.groups.get_mut(name) else { return };
        let count = state.group.count;
        for number in 0..count {
            state.slots.entry(number).or_default();
        }
        let surplus = state.slots.split_off(&count);
        for (number, mut slot) in surplus {
            context.remove(record::slot_key(name, number));
            for task in slot.current.take().into_iter().chain(slot.next.take()) {
                self.leave(context, name, task, Why::NotWanted(why));
            }
        }
    }

    /// Everything that may follow from what has changed, or from the time.
    fn work(&mut self, context: &mut Context<'_>) {
        let now = context.now().mono;
        self.demand.worked(now);
        self.give_up_unreachable(now);
        self.change(context);
        self.kill_again(context);
        if self.subscribed {
            self.place(context);
            self.give_back(context);
            self.ask(context);
        }
    }

    /// The master has removed the framework: nothing of before exists.
    fn lost_everything(&mut self, context: &mut Context<'_>) {
        self.index.clear();
        self.leaving.clear();
        let mut emptied = Vec::new();
        for (name, state) in &mut self.groups {
            for (number, slot) in &mut state.slots {
                if slot.current.take().or(slot.next.take()).is_some() {
                    slot.launch_at = Duration::ZERO;
                    emptied.push((name.clone(), *number));
                }
            }
        }
        warn!(tasks = emptied.len(), "the framework was removed: every task is started anew");
        for (name, number) in emptied {
            self.store_slot(context, &name, number);
        }
    }
}

fn rules(group: &Group) -> Result<Vec<Rule>, GroupError> {
    let rule = |constraint| Rule::new(constraint);
    let rules: Result<Vec<Rule>, ConstraintError> = group.constraints.iter().map(rule).collect();
    rules.map_err(|source| GroupError::Constraint { name: group.name.clone(), source })
}

impl Scheduler for Supervisor {
    fn restored(&mut self, context: &mut Context<'_>, entries: &BTreeMap<String, Bytes>) {
        let stored = record::read(entries);
        for (name, record::StoredGroup { version, group }) in stored.groups {
            match rules(&group) {
                Ok(rules) => {
                    self.groups.insert(name, State { group, rules, version, slots: BTreeMap::new() });
                }
                Err(error) => warn!(%error, "a stored group is passed over"),
            }
        }
        for (name, number, slot) in stored.slots {
            let Some(state) = self.groups.get_mut(&name) else { continue };
            for task in slot.tasks() {
                self.index.insert(task.id.clone(), (name.clone(), number));
            }
            state.slots.insert(number, slot);
        }
        let names: Vec<String> = self.groups.keys().cloned().collect();
        for name in names {
            self.fit_count(context, &name, "scaled down");
        }
        info!(groups = self.groups.len(), tasks = self.index.len(), "restored");
    }

    fn known_tasks(&self) -> Vec<reconcile::Task> {
        let slots = self.groups.values().flat_map(|state| state.slots.values());
        slots.flat_map(Slot::tasks).map(slot::Task::question).collect()
    }

    fn subscribed(&mut self, context: &mut Context<'_>, subscribed: &Subscribed) {
        let nothing_runs = self.index.is_empty() && self.leaving.is_empty();
        if !subscribed.again && !nothing_runs {
            self.lost_everything(context);
        }
        self.subscribed = true;
        self.offers.clear();
        self.work(context);
    }

    fn disconnected(&mut self, _: &mut Context<'_>, _: &str) {
        self.subscribed = false;
        self.offers.clear();
    }

    fn offered(&mut self, context: &mut Context<'_>, offers: Vec<v1::Offer>) {
        let now = context.now().mono;
        self.agents.retain(|_, (_, seen)| *seen + AGENT_SEEN > now);
        for offer in offers {
            self.agents.insert(offer.agent_id.value.clone(), (Place::of(&offer), now));
            self.offers.insert(now, offer);
        }
        self.work(context);
    }

    fn rescinded(&mut self, _: &mut Context<'_>, offer: &v1::OfferId) {
        self.offers.rescinded(offer);
    }

    fn updated(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {
        self.update(context, status);
        self.work(context);
    }

    fn deadline(&self) -> Option<Duration> {
        let slots = self.groups.values().flat_map(|state| state.slots.values().map(move |slot| (state, slot)));
        let waits = slots.flat_map(|(state, slot)| {
            let launch = (self.subscribed && slot.wants()).then_some(slot.launch_at);
            let launch = launch.filter(|at| self.demand.is_ahead(*at));
            let unreachable = slot.tasks().filter_map(|task| task.unreachable_since).min();
            [launch, unreachable.map(|since| since + state.group.unreachable_grace)]
        });
        let kills = self.leaving.values().filter_map(|leaving| leaving.kill_at);
        let asks = self.demand.deadline().filter(|_| self.subscribed);
        waits.flatten().chain(kills).chain(self.offers.deadline()).chain(asks).min()
    }

    fn due(&mut self, context: &mut Context<'_>) {
        self.work(context);
    }
}

/// Whether nothing more is to come of a task in this state.
fn is_over(state: TaskState) -> bool {
    use TaskState::*;
    match state {
        TaskFinished | TaskFailed | TaskKilled | TaskError | TaskLost | TaskDropped | TaskGone | TaskGoneByOperator
        | TaskUnknown => true,
        TaskStaging | TaskStarting | TaskRunning | TaskKilling | TaskUnreachable => false,
    }
}
