//! Frameworks: what the core knows of each, and the way from an id or a stream to it.

mod connection;
mod subscribe;
mod teardown;
mod update;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use mezzo_api::{
    ids::{FrameworkId, TaskId},
    resources::Resources,
    v1::{FrameworkInfo, framework_info::capability, scheduler::OfferConstraints},
};

pub(crate) use connection::failover_timeout;
pub(crate) use teardown::Requester;

use crate::{
    input::StreamId,
    keys::{AgentKey, FrameworkKey, OfferNumber, TaskKey},
    maps::{HashMap, HashSet, IndexMap},
    model,
    slots::Slots,
    timers::TimerId,
    validate::framework::{has_capability, roles_of},
};

/// How many ids of completed frameworks are remembered, so that they are refused.
const MAX_COMPLETED_IDS: usize = 100_000;

/// A framework that is not completed.
#[derive(Debug)]
pub(crate) struct Framework {
    pub(crate) id: FrameworkId,
    pub(crate) info: Arc<FrameworkInfo>,
    pub(crate) roles: BTreeSet<String>,
    pub(crate) capabilities: Capabilities,
    /// Where its events go; none while it is disconnected.
    pub(crate) stream: Option<StreamId>,
    /// Known from agents only: it has not subscribed since this master leads.
    pub(crate) recovered: bool,
    /// Its end is being written down; who waits for it.
    pub(crate) removing: Option<Vec<Requester>>,
    pub(crate) registered_time: f64,
    pub(crate) reregistered_time: f64,
    pub(crate) tasks: IndexMap<TaskId, TaskKey>,
    /// Tasks whose agent does not answer, the oldest first.
    pub(crate) unreachable: IndexMap<TaskId, Arc<model::Task>>,
    pub(crate) history: History,
    /// Agents that have something of it, and how many tasks and executors.
    pub(crate) agents: BTreeMap<AgentKey, usize>,
    pub(crate) offers: BTreeSet<OfferNumber>,
    pub(crate) used: Resources,
    /// What its last task got: many get the same, and share it.
    usual: Arc<Resources>,
    pub(crate) offered: Resources,
    pub(crate) suppressed: BTreeSet<String>,
    pub(crate) offer_constraints: Option<Arc<OfferConstraints>>,
    pub(crate) heartbeat: Option<TimerId>,
    pub(crate) failover: Option<TimerId>,
}

impl Framework {
    /// A framework that is known, but not connected.
    pub(crate) fn new(id: FrameworkId, info: FrameworkInfo, now: f64) -> Self {
        Self {
            roles: roles_of(&info),
            capabilities: Capabilities::new(&info),
            id,
            info: Arc::new(info),
            stream: None,
            recovered: true,
            removing: None,
            registered_time: now,
            reregistered_time: now,
            tasks: IndexMap::default(),
            unreachable: IndexMap::default(),
            history: History::default(),
            agents: BTreeMap::new(),
            offers: BTreeSet::new(),
            used: Resources::new(),
            usual: Arc::default(),
            offered: Resources::new(),
            suppressed: BTreeSet::new(),
            offer_constraints: None,
            heartbeat: None,
            failover: None,
        }
    }

    pub(crate) fn set_info(&mut self, info: FrameworkInfo) {
        self.roles = roles_of(&info);
        self.capabilities = Capabilities::new(&info);
        self.info = Arc::new(info);
    }

    /// It has a stream for its events.
    pub(crate) fn is_connected(&self) -> bool {
        self.stream.is_some()
    }

    pub(crate) fn state(&self) -> model::FrameworkState {
        if self.stream.is_some() {
            model::FrameworkState::Active
        } else if self.recovered {
            model::FrameworkState::Recovered
        } else {
            model::FrameworkState::Disconnected
        }
    }

    /// The resources of a task, shared with the one before it if that has the same.
    pub(crate) fn common(&mut self, resources: Resources) -> Arc<Resources> {
        if *self.usual != resources {
            self.usual = Arc::new(resources);
        }
        self.usual.clone()
    }

    /// An agent got one more task or executor of it.
    pub(crate) fn attach(&mut self, agent: AgentKey) {
        *self.agents.entry(agent).or_default() += 1;
    }

    /// An agent lost one.
    pub(crate) fn detach(&mut self, agent: AgentKey) {
        if let Some(count) = self.agents.get_mut(&agent) {
            *count -= 1;
            if *count == 0 {
                self.agents.remove(&agent);
            }
        }
    }

    /// As readers see it.
    pub(crate) fn view(&self, state: model::FrameworkState, unregistered_time: f64) -> Arc<model::Framework> {
        Arc::new(model::Framework {
            id: self.id.clone(),
            info: self.info.clone(),
            state,
            registered_time: self.registered_time,
            reregistered_time: self.reregistered_time,
            unregistered_time,
            used: self.used.clone(),
            offered: self.offered.clone(),
            suppressed_roles: self.suppressed.iter().cloned().collect(),
            offer_constraints: self.offer_constraints.clone(),
        })
    }
}

/// What a framework has said that it can do, as far as the master acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) partition_aware: bool,
    pub(crate) multi_role: bool,
    pub(crate) reservation_refinement: bool,
    pub(crate) gpu_resources: bool,
    pub(crate) revocable_resources: bool,
    pub(crate) shared_resources: bool,
    pub(crate) region_aware: bool,
}

impl Capabilities {
    fn new(info: &FrameworkInfo) -> Self {
        Self {
            partition_aware: has_capability(info, capability::Type::PartitionAware),
            multi_role: has_capability(info, capability::Type::MultiRole),
            reservation_refinement: has_capability(info, capability::Type::ReservationRefinement),
            gpu_resources: has_capability(info, capability::Type::GpuResources),
            revocable_resources: has_capability(info, capability::Type::RevocableResources),
            shared_resources: has_capability(info, capability::Type::SharedResources),
            region_aware: has_capability(info, capability::Type::RegionAware),
        }
    }
}

/// The bounded list of a framework's completed tasks, as ids: the tasks themselves are in the published view.
#[derive(Debug, Default)]
pub(crate) struct History {
    tasks: VecDeque<(TaskId, u64)>,
    // An id that is used again belongs to its newest run.
    latest: HashMap<TaskId, u64>,
    next: u64,
}

impl History {
    /// Adds a task; the answer is the ids that fell out.
    pub(crate) fn push(&mut self, id: TaskId, limit: usize) -> Vec<TaskId> {
        self.latest.insert(id.clone(), self.next);
        self.tasks.push_back((id, self.next));
        self.next += 1;
        let mut forgotten = Vec::new();
        while self.tasks.len() > limit {
            let Some((id, run)) = self.tasks.pop_front() else { break };
            if self.latest.get(&id) == Some(&run) {
                self.latest.remove(&id);
                forgotten.push(id);
            }
        }
        forgotten
    }

    /// The id stands for a task that is not history (again).
    pub(crate) fn revive(&mut self, id: &TaskId) {
        self.latest.remove(id);
    }

    /// All ids that are still in it.
    pub(crate) fn into_ids(self) -> Vec<TaskId> {
        let latest = self.latest;
        self.tasks.into_iter().filter(|(id, run)| latest.get(id) == Some(run)).map(|(id, _)| id).collect()
    }

    pub(crate) fn contains(&self, id: &TaskId) -> bool {
        self.latest.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }
}

/// All frameworks.
#[derive(Debug, Default)]
pub(crate) struct Frameworks {
    pub(crate) slots: Slots<FrameworkKey, Framework>,
    by_id: HashMap<FrameworkId, FrameworkKey>,
    pub(crate) streams: HashMap<StreamId, FrameworkKey>,
    /// Ids that never come back, the oldest first.
    completed: VecDeque<FrameworkId>,
    completed_ids: HashSet<FrameworkId>,
    /// Those of them that readers still see, with their tasks.
    pub(crate) history: VecDeque<(FrameworkId, Vec<TaskId>)>,
    pub(crate) next_id: u64,
}

impl Frameworks {
    pub(crate) fn get(&self, key: FrameworkKey) -> Option<&Framework> {
        self.slots.get(key)
    }

    pub(crate) fn get_mut(&mut self, key: FrameworkKey) -> Option<&mut Framework> {
        self.slots.get_mut(key)
    }

    pub(crate) fn find(&self, id: &str) -> Option<FrameworkKey> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn insert(&mut self, framework: Framework) -> FrameworkKey {
        let id = framework.id.clone();
        let key = self.slots.insert(framework);
        self.by_id.insert(id, key);
        key
    }

    pub(crate) fn remove(&mut self, key: FrameworkKey) -> Option<Framework> {
        let framework = self.slots.remove(key)?;
        self.by_id.remove(&framework.id);
        if let Some(stream) = framework.stream {
            self.streams.remove(&stream);
        }
        Some(framework)
    }

    pub(crate) fn is_completed(&self, id: &str) -> bool {
        self.completed_ids.contains(id)
    }

    pub(crate) fn complete(&mut self, id: FrameworkId) {
        if self.completed_ids.insert(id.clone()) {
            self.completed.push_back(id);
        }
        while self.completed.len() > MAX_COMPLETED_IDS {
            if let Some(oldest) = self.completed.pop_front() {
                self.completed_ids.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_bounded_and_keeps_the_newest_run_of_an_id() {
        let mut history = History::default();
        let id = |text: &str| TaskId::from(text);
        assert_eq!(history.push(id("a"), 2), []);
        assert_eq!(history.push(id("a"), 2), []);
        assert_eq!(history.push(id("b"), 2), [], "the older run of a fell out, the newer one is there");
        assert_eq!(history.push(id("c"), 2), [id("a")]);
        history.revive(&id("b"));
        assert_eq!(history.push(id("d"), 2), [], "b runs again");
        assert_eq!(history.into_ids(), [id("c"), id("d")]);
    }
}
