//! The published picture: what readers are served from, so that reading never holds up the core.
//!
//! The maps are persistent: a reader takes a snapshot in constant time and keeps it as long as it likes. They stand behind a
//! lock that is held for the time of a pointer's copy, not behind an atomic pointer to an immutable view, because so a
//! batch changes them in place unless a reader still holds the nodes in question.

mod agents;
mod changes;
mod constraints;
pub(crate) mod document;
mod feed;
mod frameworks;
mod messages;
mod operator;
pub(crate) mod page;
mod pieces;
mod registry;
mod roles;
mod shown;
mod state;
mod summary;
mod tasks;
mod written;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use imbl::{HashMap, OrdMap, OrdSet};
use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId},
    v1::{self, quota::QuotaConfig},
};
use mezzo_master_core::{
    description::Description,
    effect::Change,
    model::{Agent, Executor, Framework, FrameworkState, InverseOffer, Maintenance, Mark, Offer, Operation, Task},
    registry::Recovered,
};
use mezzo_server::threads::Steps;

use crate::{activity::TERMINAL, outbox, server::Cut};
use changes::Draft;
use feed::{Feed, Subscribers};

pub(crate) use agents::agents;
pub(crate) use constraints::offer_constraints;
pub(crate) use feed::Batch;
pub(crate) use frameworks::frameworks;
pub(crate) use messages::get_roles;
pub(crate) use operator::{get_operations, quota_status, weight_infos};
pub(crate) use pieces::{LARGE, Pieces};
pub(crate) use registry::registry;
pub(crate) use roles::{roles, roles_of};
pub(crate) use shown::Shown;
pub(crate) use state::{Master, state};
pub(crate) use summary::summary;
pub(crate) use tasks::{TaskQuery, tasks};
pub(crate) use written::{Field, Part, with_part};

/// The tasks of a framework.
pub(crate) type Tasks = HashMap<TaskId, Arc<Shown<Task>>>;

/// One version of the picture.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Grows with each change.
    pub(crate) version: u64,
    pub(crate) agents: OrdMap<AgentId, Arc<Shown<Agent>>>,
    /// Agents of the registry that have not come back yet.
    pub(crate) recovered: OrdMap<AgentId, Description>,
    /// Since when, in nanoseconds since the epoch.
    pub(crate) unreachable: OrdMap<AgentId, i64>,
    /// Since when, in nanoseconds since the epoch.
    pub(crate) gone: OrdMap<AgentId, i64>,
    /// Completed ones too.
    pub(crate) frameworks: OrdMap<FrameworkId, Arc<Framework>>,
    pub(crate) tasks: OrdMap<FrameworkId, Tasks>,
    /// All tasks, by the time of their first status.
    pub(crate) by_first_status: OrdSet<tasks::Place>,
    pub(crate) executors: OrdMap<(FrameworkId, AgentId, ExecutorId), Arc<Executor>>,
    pub(crate) offers: OrdMap<OfferId, Arc<Offer>>,
    /// What the web page tells of the way here.
    pub(crate) activity: page::activity::Activity,
    pub(crate) inverse_offers: OrdMap<OfferId, Arc<InverseOffer>>,
    /// By uuid.
    pub(crate) operations: OrdMap<Bytes, Arc<Operation>>,
    /// By role.
    pub(crate) quotas: OrdMap<String, Arc<QuotaConfig>>,
    /// By role; others weigh 1.
    pub(crate) weights: OrdMap<String, f64>,
    pub(crate) maintenance: Arc<Maintenance>,
}

/// Where the latest version is found.
#[derive(Debug)]
pub(crate) struct Published {
    latest: Mutex<Latest>,
    feed: Feed,
}

#[derive(Debug)]
struct Latest {
    view: View,
    /// What subscribers are still to be told of the way here.
    pending: feed::Pending,
}

/// More is not left to whoever distributes.
const PENDING: usize = 1024;

impl Published {
    /// The picture of a leader that starts.
    pub(crate) fn new(recovered: &Recovered) -> Self {
        let agents = recovered.agents.iter().filter_map(|info| Some((info.id()?.clone(), info.clone())));
        let view = View {
            recovered: agents.collect(),
            unreachable: recovered.unreachable.iter().cloned().collect(),
            gone: recovered.gone.iter().cloned().collect(),
            ..View::default()
        };
        Self { latest: Mutex::new(Latest { view, pending: Vec::new() }), feed: Feed::default() }
    }

    /// The latest version.
    pub(crate) fn snapshot(&self) -> View {
        self.lock().view.clone()
    }

    /// The number of the latest version.
    pub(crate) fn version(&self) -> u64 {
        self.lock().view.version
    }

    /// Makes the next version, and tells of what changed. Gives the tasks that ended by it, with their frameworks.
    pub(crate) fn apply(&self, changes: Vec<Change>) -> Vec<(FrameworkId, v1::TaskState)> {
        let mut latest = self.lock();
        let Latest { view, pending } = &mut *latest;
        view.version += 1;
        let heard = self.feed.len() > 0;
        let (mut drafts, mut ended) = (Vec::new(), Vec::new());
        for change in changes {
            ended.extend(view.ended_by(&change));
            view.observe(&change);
            if heard {
                drafts.extend(Draft::of(view, &change));
            }
            view.apply(change);
        }
        if drafts.is_empty() {
            return ended;
        }
        pending.push(feed::batch(changes::ordered(drafts)));
        let is_late = pending.len() > PENDING;
        drop(latest);
        if is_late {
            self.distribute(&mut self.feed.lock());
        } else {
            self.feed.wake();
        }
        ended
    }

    /// The latest version, and every change of it from then on for each of `connections`: nothing is lost or told twice. A
    /// connection is cut when its reader is too slow, or the oldest of more than `limit`. The calling runtime distributes.
    pub(crate) fn subscribe(
        self: &Arc<Self>,
        limit: usize,
        connections: Vec<Cut>,
    ) -> (View, Vec<(u64, outbox::Receiver<Batch>)>) {
        let mut subscribers = self.feed.lock();
        subscribers.expect(connections.len());
        let mut latest = self.lock();
        let (view, pending) = (latest.view.clone(), std::mem::take(&mut latest.pending));
        drop(latest);
        // Those who come now know it from the picture.
        subscribers.tell(pending);
        let queues = connections.into_iter().map(|connection| subscribers.join(limit, connection)).collect();
        if subscribers.is_unserved() {
            let published = Arc::clone(self);
            tokio::spawn(async move {
                published.feed.serve(|subscribers| published.distribute(subscribers)).await;
            });
        }
        (view, queues)
    }

    /// Tells the subscribers what they were not told yet.
    fn distribute(&self, subscribers: &mut Subscribers) {
        let pending = std::mem::take(&mut self.lock().pending);
        subscribers.tell(pending);
    }

    /// Nothing changes any more: the leadership is over. Subscribers' streams end.
    pub(crate) fn end(&self) {
        let mut subscribers = self.feed.lock();
        self.distribute(&mut subscribers);
        subscribers.end();
        drop(subscribers);
        self.feed.wake();
    }

    /// Whether that is so.
    pub(crate) fn has_ended(&self) -> bool {
        self.feed.lock().has_ended()
    }

    /// The subscriber of this number is gone.
    pub(crate) fn unsubscribe(&self, number: u64) {
        self.feed.leave(number);
    }

    /// How many subscribe.
    pub(crate) fn subscribers(&self) -> usize {
        self.feed.len()
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Agent(agent) => {
                self.agents.insert(agent.id.clone(), Shown::new(agent));
            }
            Change::AgentRemoved(id, _) => {
                self.agents.remove(&id);
                self.recovered.remove(&id);
            }
            Change::AgentMarked(id, mark) => {
                self.unreachable.remove(&id);
                self.gone.remove(&id);
                match mark {
                    Some(Mark::Unreachable(since)) => drop(self.unreachable.insert(id, since)),
                    Some(Mark::Gone(since)) => drop(self.gone.insert(id, since)),
                    None => {}
                }
            }
            Change::RecoveredAgent(id, Some(info)) => {
                self.recovered.insert(id, info);
            }
            Change::RecoveredAgent(id, None) => {
                self.recovered.remove(&id);
            }
            Change::Framework(framework) => {
                self.frameworks.insert(framework.id.clone(), framework);
            }
            Change::FrameworkForgotten(id) => {
                self.frameworks.remove(&id);
                for task in self.tasks.remove(&id).iter().flat_map(HashMap::values) {
                    self.by_first_status.remove(&tasks::Place::of(task));
                }
            }
            Change::Task(task) => self.put_task(task),
            Change::TaskForgotten(framework, task) => self.forget_task(&framework, &task),
            Change::Executor(executor) => {
                let id = ExecutorId::from(&executor.info.executor_id);
                self.executors.insert((executor.framework_id.clone(), executor.agent_id.clone(), id), executor);
            }
            Change::ExecutorRemoved(agent, framework, executor) => {
                self.executors.remove(&(framework, agent, executor));
            }
            Change::Offer(offer) => {
                self.offers.insert(offer.id.clone(), offer);
            }
            Change::OfferRemoved(id) => {
                self.offers.remove(&id);
            }
            Change::InverseOffer(offer) => {
                self.inverse_offers.insert(offer.id.clone(), offer);
            }
            Change::InverseOfferRemoved(id) => {
                self.inverse_offers.remove(&id);
            }
            Change::Operation(operation) => {
                self.operations.insert(operation.uuid.clone(), operation);
            }
            Change::OperationRemoved(uuid) => {
                self.operations.remove(&uuid);
            }
            Change::Quota(quota) => {
                self.quotas.insert(quota.role.clone(), Arc::new(*quota));
            }
            Change::QuotaRemoved(role) => {
                self.quotas.remove(&role);
            }
            Change::Weight(role, weight) => {
                self.weights.insert(role, weight);
            }
            Change::Maintenance(maintenance) => self.maintenance = maintenance,
        }
    }

    fn ended_by(&self, change: &Change) -> Option<(FrameworkId, v1::TaskState)> {
        let Change::Task(task) = change else { return None };
        if !TERMINAL.contains(&task.state) {
            return None;
        }
        let known = self.tasks.get(&task.framework_id)?.get(&task.id)?;
        (!TERMINAL.contains(&known.state)).then(|| (task.framework_id.clone(), task.state))
    }

    fn put_task(&mut self, task: Arc<Task>) {
        let place = tasks::Place::of(&task);
        let tasks = self.tasks.entry(task.framework_id.clone()).or_default();
        let before = tasks.insert(task.id.clone(), Shown::new(task)).map(|before| tasks::Place::of(&before));
        if before.as_ref() != Some(&place) {
            before.map(|before| self.by_first_status.remove(&before));
            self.by_first_status.insert(place);
        }
    }

    fn forget_task(&mut self, framework: &FrameworkId, task: &TaskId) {
        let Some(tasks) = self.tasks.get_mut(framework) else { return };
        if let Some(forgotten) = tasks.remove(task) {
            self.by_first_status.remove(&tasks::Place::of(&forgotten));
        }
        if tasks.is_empty() {
            self.tasks.remove(framework);
        }
    }

    /// Frameworks that are not completed.
    pub(crate) fn present_frameworks(&self) -> impl Iterator<Item = &Arc<Framework>> {
        self.frameworks.values().filter(|framework| framework.state != FrameworkState::Completed)
    }

    /// Completed frameworks, the oldest end first.
    pub(crate) fn completed_frameworks(&self) -> Vec<&Arc<Framework>> {
        let completed = self.frameworks.values().filter(|framework| framework.state == FrameworkState::Completed);
        let mut completed: Vec<_> = completed.collect();
        completed.sort_by(|a, b| a.unregistered_time.total_cmp(&b.unregistered_time));
        completed
    }

    /// A framework's tasks in each of its lists (active, unreachable, completed), by the time of their latest status.
    pub(crate) fn tasks_of(&self, framework: &FrameworkId) -> [Vec<&Arc<Shown<Task>>>; 3] {
        let mut lists = [const { Vec::new() }; 3];
        let steps = Steps::default();
        for task in self.tasks.get(framework).into_iter().flat_map(HashMap::values) {
            steps.step();
            let latest = task.statuses.last_time().unwrap_or_default();
            lists[task.list as usize].push((latest, task));
        }
        lists.map(|mut tasks| {
            tasks.sort_by(|(a, one), (b, other)| {
                steps.step();
                a.total_cmp(b).then_with(|| one.id.cmp(&other.id))
            });
            tasks.into_iter().map(|(_, task)| task).collect()
        })
    }

    /// All tasks of frameworks that are not completed.
    pub(crate) fn present_tasks(&self) -> impl Iterator<Item = &Arc<Shown<Task>>> {
        self.present_frameworks().filter_map(|framework| self.tasks.get(&framework.id)).flat_map(HashMap::values)
    }

    /// How much there is to render, roughly.
    pub(crate) fn size(&self) -> usize {
        self.agents.len() + self.offers.len() + self.tasks.values().map(HashMap::len).sum::<usize>()
    }
}

#[cfg(test)]
pub(crate) mod tests;
