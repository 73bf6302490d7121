//! What an author can ask.

use mezzo_api::v1::TaskState;

use super::{
    Outcome, State, Supervisor,
    slot::{Slot, Task},
};

/// A task of a group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Instance {
    /// Its place, from 0.
    pub slot: u32,
    /// Its id.
    pub task_id: String,
    /// Its agent's.
    pub agent_id: String,
    /// Where it runs.
    pub hostname: String,
    /// The ports that were chosen for it.
    pub ports: Vec<u16>,
    /// Its last state.
    pub state: TaskState,
    /// What its health check says.
    pub healthy: Option<bool>,
    /// Whether it does its work: it runs, and is healthy if that is checked.
    pub ready: bool,
    /// Whether it is as the group is described now.
    pub current: bool,
}

/// A group in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Places to fill.
    pub wanted: usize,
    /// Tasks that run.
    pub running: usize,
    /// Tasks that do their work.
    pub ready: usize,
    /// Places for which a task is to be launched, now or after a wait.
    pub waiting: usize,
    /// Tasks that are not as the group is described now.
    pub outdated: usize,
    /// Jobs that finished.
    pub succeeded: usize,
    /// Jobs that were given up.
    pub failed: usize,
}

impl Supervisor {
    /// The tasks of a group, by place.
    pub fn instances(&self, group: &str) -> Vec<Instance> {
        let Some(state) = self.groups.get(group) else { return Vec::new() };
        let of_slot =
            |(number, slot): (&u32, &Slot)| slot.tasks().map(|task| instance(state, *number, task)).collect::<Vec<_>>();
        state.slots.iter().flat_map(of_slot).collect()
    }

    /// A group in numbers; `None` if there is no such group.
    pub fn summary(&self, group: &str) -> Option<Summary> {
        let state = self.groups.get(group)?;
        let instances = self.instances(group);
        let done = |succeeded: bool| {
            let outcomes = state.slots.values().filter_map(|slot| slot.done.as_ref());
            outcomes.filter(|outcome| outcome.succeeded == succeeded).count()
        };
        Some(Summary {
            wanted: state.slots.len(),
            running: instances.iter().filter(|task| task.state == TaskState::TaskRunning).count(),
            ready: instances.iter().filter(|task| task.ready).count(),
            waiting: state.slots.values().filter(|slot| slot.wants()).count(),
            outdated: instances.iter().filter(|task| !task.current).count(),
            succeeded: done(true),
            failed: done(false),
        })
    }

    /// Jobs that have ended since this was last asked, in that order.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes).into()
    }

    /// How the jobs of a group ended, by place, those of earlier runs of the program included.
    pub fn outcomes(&self, group: &str) -> Vec<&Outcome> {
        let slots = self.groups.get(group).into_iter().flat_map(|state| state.slots.values());
        slots.filter_map(|slot| slot.done.as_ref()).collect()
    }

    /// Tasks that are to end but have not yet, as far as is known.
    pub fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Those of them whose agents cannot be reached: each is killed if it comes back, which it may never do.
    pub fn out_of_reach(&self) -> usize {
        self.leaving.values().filter(|leaving| leaving.kill_at.is_none()).count()
    }
}

fn instance(state: &State, slot: u32, task: &Task) -> Instance {
    Instance {
        slot,
        task_id: task.id.clone(),
        agent_id: task.place.agent_id.clone(),
        hostname: task.place.hostname.clone(),
        ports: task.ports.clone(),
        state: task.state,
        healthy: task.healthy,
        ready: task.ready(state.group.task.health_check.is_some()),
        current: task.version == state.version,
    }
}
