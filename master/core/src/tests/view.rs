//! What readers see, put together from published changes only.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId, OfferId, TaskId},
    v1::quota::QuotaConfig,
};

use crate::{
    Core,
    description::Description,
    effect::Change,
    model::{self, FrameworkState, TaskList},
};

#[derive(Default)]
pub(crate) struct View {
    pub(crate) agents: BTreeMap<AgentId, Arc<model::Agent>>,
    pub(crate) recovered: BTreeMap<AgentId, Description>,
    pub(crate) frameworks: BTreeMap<FrameworkId, Arc<model::Framework>>,
    pub(crate) tasks: BTreeMap<(FrameworkId, TaskId), Arc<model::Task>>,
    pub(crate) executors: BTreeMap<(AgentId, FrameworkId, ExecutorId), Arc<model::Executor>>,
    pub(crate) offers: BTreeMap<OfferId, Arc<model::Offer>>,
    pub(crate) inverse_offers: BTreeMap<OfferId, Arc<model::InverseOffer>>,
    pub(crate) operations: BTreeMap<Bytes, Arc<model::Operation>>,
    pub(crate) quotas: BTreeMap<String, QuotaConfig>,
    pub(crate) weights: BTreeMap<String, f64>,
    pub(crate) maintenance: model::Maintenance,
    pub(crate) marks: BTreeMap<AgentId, model::Mark>,
    pub(crate) removed: Vec<(AgentId, model::AgentGone)>,
}

impl View {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Agent(agent) => drop(self.agents.insert(agent.id.clone(), agent)),
            Change::AgentRemoved(id, gone) => {
                assert!(self.agents.remove(&id).is_some(), "{id} was not there");
                self.removed.push((id, gone));
            }
            Change::RecoveredAgent(id, Some(info)) => drop(self.recovered.insert(id, info)),
            Change::RecoveredAgent(id, None) => drop(self.recovered.remove(&id)),
            Change::AgentMarked(id, Some(mark)) => drop(self.marks.insert(id, mark)),
            Change::AgentMarked(id, None) => {
                assert!(self.marks.remove(&id).is_some(), "{id} was neither unreachable nor gone")
            }
            Change::Framework(framework) => drop(self.frameworks.insert(framework.id.clone(), framework)),
            Change::FrameworkForgotten(id) => {
                assert!(self.frameworks.remove(&id).is_some(), "{id} was not there");
                assert!(!self.tasks.keys().any(|(framework, _)| *framework == id), "{id} left tasks behind");
            }
            Change::Task(task) => drop(self.tasks.insert((task.framework_id.clone(), task.id.clone()), task)),
            Change::TaskForgotten(framework, task) => {
                assert!(self.tasks.remove(&(framework, task.clone())).is_some(), "{task} was not there");
            }
            Change::Executor(executor) => {
                let id = ExecutorId::from(&executor.info.executor_id);
                self.executors.insert((executor.agent_id.clone(), executor.framework_id.clone(), id), executor);
            }
            Change::ExecutorRemoved(agent, framework, executor) => {
                assert!(self.executors.remove(&(agent, framework, executor)).is_some());
            }
            Change::Offer(offer) => drop(self.offers.insert(offer.id.clone(), offer)),
            Change::OfferRemoved(id) => assert!(self.offers.remove(&id).is_some(), "{id} was not there"),
            Change::InverseOffer(offer) => drop(self.inverse_offers.insert(offer.id.clone(), offer)),
            Change::InverseOfferRemoved(id) => assert!(self.inverse_offers.remove(&id).is_some(), "{id} was not there"),
            Change::Operation(operation) => drop(self.operations.insert(operation.uuid.clone(), operation)),
            Change::OperationRemoved(uuid) => {
                assert!(self.operations.remove(&uuid).is_some(), "{uuid:?} was not there")
            }
            Change::Quota(quota) => drop(self.quotas.insert(quota.role.clone(), *quota)),
            Change::QuotaRemoved(role) => assert!(self.quotas.remove(&role).is_some(), "{role} had no quota"),
            Change::Weight(role, weight) => drop(self.weights.insert(role, weight)),
            Change::Maintenance(maintenance) => self.maintenance = (*maintenance).clone(),
        }
    }

    /// Readers see what the core knows.
    pub(crate) fn check(&self, core: &Core) {
        assert_eq!(self.agents.len(), core.agents.slots.len(), "agents");
        assert_eq!(self.inverse_offers.len(), core.inverse_offers.iter().count(), "inverse offers");
        assert_eq!(self.operations.len(), core.operations.iter().count(), "operations");
        for (uuid, operation) in core.operations.iter() {
            assert_eq!(self.operations[uuid].latest, operation.view.latest, "{uuid:?}");
        }
        assert_eq!((&self.quotas, &self.weights), (&core.quotas, &core.weights), "quota and weights");
        let maintenance = core.maintenance_view();
        assert_eq!(self.maintenance.schedule, maintenance.schedule);
        assert_eq!(self.maintenance.status, maintenance.status);
        for agent in core.agents.slots.values() {
            let seen = &self.agents[&agent.id];
            assert_eq!((&seen.used, &seen.offered), (&agent.used, &agent.offered), "{}", agent.id);
            assert_eq!((seen.connected, seen.active), (agent.link.is_some(), agent.active()), "{}", agent.id);
        }
        let waited_for: Vec<_> = core.agents.recovered.keys().collect();
        assert_eq!(self.recovered.keys().collect::<Vec<_>>(), waited_for, "recovered agents");
        let unreachable =
            core.agents.unreachable.iter().map(|(id, since)| (id.clone(), model::Mark::Unreachable(*since)));
        let gone = core.agents.gone.iter().map(|(id, since)| (id.clone(), model::Mark::Gone(*since)));
        assert_eq!(self.marks, unreachable.chain(gone).collect(), "unreachable and gone agents");
        let alive = self.frameworks.values().filter(|framework| framework.state != FrameworkState::Completed).count();
        assert_eq!(alive, core.frameworks.slots.len(), "frameworks");
        for framework in core.frameworks.slots.values() {
            let seen = &self.frameworks[&framework.id];
            assert_eq!(seen.state, framework.state(), "{}", framework.id);
            assert_eq!((&seen.used, &seen.offered), (&framework.used, &framework.offered), "{}", framework.id);
        }
        let listed = |list: TaskList| self.tasks.values().filter(|task| task.list == list).count();
        assert_eq!(listed(TaskList::Active), core.tasks.len(), "tasks");
        let unreachable: usize = core.frameworks.slots.values().map(|framework| framework.unreachable.len()).sum();
        assert_eq!(listed(TaskList::Unreachable), unreachable, "unreachable tasks");
        for task in core.tasks.values() {
            let seen = &self.tasks[&(task.view.framework_id.clone(), task.view.id.clone())];
            assert_eq!(
                (seen.state, &seen.status_update),
                (task.view.state, &task.view.status_update),
                "{}",
                task.view.id
            );
        }
        assert_eq!(self.offers.len(), core.offers.len(), "offers");
        let executors: usize = core.agents.slots.values().map(|agent| agent.executors.len()).sum();
        assert_eq!(self.executors.len(), executors, "executors");
    }
}
