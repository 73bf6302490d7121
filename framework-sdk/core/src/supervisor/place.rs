//! Finding offers for what waits.

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::{resources::Resources, v1};
use rand::Rng;
use tracing::{info, warn};

use super::{
    State, Supervisor,
    constraint::Place,
    launch,
    slot::{Slot, Task},
};
use crate::{
    offers::{carve, refuse_for},
    scheduler::Context,
};

/// What one agent offers for one role, and what is to be launched there.
struct Batch {
    place: Place,
    offers: Vec<v1::OfferId>,
    left: Resources,
    tasks: Vec<v1::TaskInfo>,
    filled: Vec<(String, u32)>,
}

/// A place that waits.
struct Waiting {
    group: String,
    slot: u32,
    avoid: Option<String>,
}

impl Supervisor {
    /// Launches what waits on what is offered.
    pub(super) fn place(&mut self, context: &mut Context<'_>) {
        if self.offers.is_empty() {
            return;
        }
        let now = context.now().mono;
        let waiting = self.waiting_places(now);
        if waiting.is_empty() {
            return;
        }
        let mut batches = self.batches();
        for place in waiting {
            self.place_one(&place, &mut batches);
        }
        let rest = refuse_for(self.refuse_rest(now));
        for batch in batches.into_iter().filter(|batch| !batch.tasks.is_empty()) {
            for (group, slot) in &batch.filled {
                self.store_slot(context, group, *slot);
            }
            for offer in &batch.offers {
                self.offers.take(&offer.value);
            }
            self.demand.refused();
            context.launch(batch.offers, batch.tasks, rest);
        }
    }

    fn waiting_places(&self, now: Duration) -> Vec<Waiting> {
        let mut found = Vec::new();
        for (name, state) in &self.groups {
            for (number, slot) in &state.slots {
                if slot.wants() && slot.launch_at <= now {
                    found.push(Waiting { group: name.clone(), slot: *number, avoid: self.avoided(slot, now) });
                }
            }
        }
        found
    }

    /// The agent to avoid, as long as there are others.
    fn avoided(&self, slot: &Slot, now: Duration) -> Option<String> {
        let (agent, until) = slot.avoid.as_ref()?;
        let others = self.agents.keys().any(|other| other != agent);
        (others && *until > now).then(|| agent.clone())
    }

    /// Offers of one agent and role are used together.
    fn batches(&self) -> Vec<Batch> {
        let mut batches: BTreeMap<(String, String), Batch> = BTreeMap::new();
        for offer in self.offers.iter() {
            let resources = match Resources::from_protos(&offer.resources) {
                Ok(resources) => resources,
                Err(error) => {
                    warn!(offer = offer.id.value, %error, "an offer that cannot be read is left alone");
                    continue;
                }
            };
            let role = offer.allocation_info.as_ref().and_then(|info| info.role.clone()).unwrap_or_default();
            let batch = batches.entry((offer.agent_id.value.clone(), role)).or_insert_with(|| Batch {
                place: Place::of(offer),
                offers: Vec::new(),
                left: Resources::new(),
                tasks: Vec::new(),
                filled: Vec::new(),
            });
            batch.offers.push(offer.id.clone());
            batch.left += &resources;
        }
        batches.into_values().collect()
    }

    /// On the agent that runs the fewest of the group, of those that suffice and are allowed.
    fn place_one(&mut self, waiting: &Waiting, batches: &mut [Batch]) {
        let Some(state) = self.groups.get(&waiting.group) else { return };
        let Ok(needs) = state.group.needs() else { return };
        let executor = state.group.task.executor.as_ref();
        let executor =
            executor.and_then(|executor| Resources::from_protos(&executor.resources).ok()).unwrap_or_default();
        let ports = usize::try_from(state.group.ports).unwrap_or(usize::MAX);
        let taken: Vec<&Place> = taken(state, waiting.slot).collect();
        let here = |place: &Place| taken.iter().filter(|other| other.agent_id == place.agent_id).count();
        let mut order: Vec<usize> = (0..batches.len()).collect();
        order.sort_by_key(|at| (here(&batches[*at].place), batches[*at].tasks.len()));
        for at in order {
            let batch = &mut batches[at];
            let known = || self.agents.values().map(|(place, _)| place);
            let allowed = waiting.avoid.as_ref() != Some(&batch.place.agent_id)
                && state.rules.iter().all(|rule| rule.allows(&batch.place, taken.iter().copied(), known()));
            if !allowed {
                continue;
            }
            let mut left = batch.left.clone();
            let Some(carved) = carve(&mut left, &needs, ports, self.rng.random()) else { continue };
            if carve(&mut left.clone(), &executor, 0, 0).is_none() {
                continue; // its executor may have to be started, too
            }
            batch.left = left;
            let id = format!("{}.{}.{:08x}", waiting.group, waiting.slot, self.rng.random::<u32>());
            let task = Task {
                id: id.clone(),
                place: batch.place.clone(),
                ports: carved.ports.clone(),
                version: state.version,
                state: v1::TaskState::TaskStaging,
                healthy: None,
                running_since: None,
                unreachable_since: None,
            };
            batch.tasks.push(launch::task_info(&state.group, waiting.slot, &task, carved.resources));
            batch.filled.push((waiting.group.clone(), waiting.slot));
            info!(group = waiting.group, slot = waiting.slot, task = id, host = batch.place.hostname, "launching");
            if let Some(slot) = self.slot(&waiting.group, waiting.slot) {
                slot.avoid = None;
                if slot.current.is_some() { slot.next = Some(task) } else { slot.current = Some(task) }
            }
            self.index.insert(id, (waiting.group.clone(), waiting.slot));
            return;
        }
    }
}

/// Where tasks of the group are that a new one is to keep its distance from: not those that cannot be reached.
fn taken(state: &State, except: u32) -> impl Iterator<Item = &Place> {
    let others = state.slots.iter().filter(move |(number, _)| **number != except);
    let tasks = others.flat_map(|(_, slot)| slot.tasks()).filter(|task| task.unreachable_since.is_none());
    tasks.map(|task| &task.place)
}
