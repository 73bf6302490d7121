//! The return of an agent with an id: known, recovered after a change of masters, unreachable, or never heard of
//! (src/master/master.cpp, __reregisterSlave, ___reregisterSlave, reconcileKnownSlave).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId, TaskId},
    link::{self, to_agent},
    time::Now,
    v1::{FrameworkInfo, Task, TaskState, task_status::Reason},
};
use prost::Message;

use super::{
    address,
    register::{advertised, capabilities},
    report::{generated_executors, read_executor, read_task},
};
use crate::{
    allocator::{AgentAbilities, FrameworkOptions},
    core::Core,
    counters::Counter,
    effect::{Change, Effect, Effects},
    events::{self, Statement, is_terminal},
    frameworks::{Framework, failover_timeout},
    input::LinkId,
    keys::{AgentKey, FrameworkKey, TaskKey},
    model::TaskList,
    operations::total_of,
    reconcile::restate,
    timers::Timer,
};

/// A return that may wait for the registry.
#[derive(Debug)]
pub(crate) struct Return {
    pub(super) link: LinkId,
    pub(super) id: AgentId,
    pub(super) report: Box<link::Reregister>,
    pub(super) were: Were,
}

/// What the agent was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Were {
    Known,
    Recovered,
    Unreachable,
    Unknown,
}

/// How an unreachable task ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) state: TaskState,
    pub(super) reason: Reason,
    pub(super) message: &'static str,
}

/// The agent is back without it.
const NOT_BROUGHT_BACK: End = End {
    state: TaskState::TaskGone,
    reason: Reason::Reconciliation,
    message: "Reconciliation: Task is unknown to the agent",
};

impl Core {
    /// The registry knows all that it needs to.
    pub(crate) fn readmit(&mut self, now: Now, back: Return, out: &mut Effects) {
        let Return { link, id, report, were } = back;
        let peer = self.agents.links.get_mut(&link).map(|link| {
            link.waiting = false;
            link.peer
        });
        self.counters.increment(Counter::SlaveReregistrations);
        let key = match self.agents.find(id.as_str()) {
            Some(key) => {
                self.refresh_agent(now, key, &report.register, peer, out);
                key
            }
            None => {
                let (register, peer) = (report.register.clone(), peer.unwrap_or([0, 0, 0, 0].into()));
                self.insert_agent(now, id.clone(), register, peer, Some(now.timestamp()))
            }
        };
        let welcome = self.welcome(now, key, were);
        self.recover_frameworks(now, &report.frameworks);
        let missing = self.reconcile_report(now, key, &report, were, out);
        let dropped = self.reconcile_report_of_operations(key, &report, out);
        if were != Were::Known {
            self.forget_recovered(&id);
            self.mark(&id, None);
            self.end_unreachable_tasks(now, &id, NOT_BROUGHT_BACK, out);
        }
        if peer.is_some() {
            self.connect(now, key, link, out);
            self.answer_report(key, link, &report, missing, dropped, out);
            if let Some(text) = welcome {
                self.tell_link(link, to_agent::Message::Notice(link::Notice { text }), out);
            }
            self.repeat_drain(now, key, out);
        } else if let Some(agent) = self.agents.get_mut(key) {
            agent.heard = false;
        }
        self.end_write_of(now, &id, out);
    }

    /// Tells the operator that an agent is back, and gives what the agent itself is to hear of its absence.
    fn welcome(&self, now: Now, key: AgentKey, were: Were) -> Option<String> {
        let agent = self.agents.get(key)?;
        let (id, hostname) = (&agent.id, agent.info.hostname());
        match were {
            Were::Known => {
                let away = agent.away_since.map(|since| now.mono.saturating_sub(since).as_secs_f64());
                tracing::info!(agent = %id, hostname, away_secs = away, "agent is back: nothing was lost");
                None
            }
            Were::Recovered => {
                tracing::info!(agent = %id, hostname, "agent is back after a change of masters");
                None
            }
            Were::Unknown => {
                tracing::warn!(agent = %id, hostname, "an agent that the registry does not know is back and taken");
                Some("the master did not know this agent and takes it back with its tasks".to_owned())
            }
            Were::Unreachable => {
                let since = self.agents.unreachable.get(id).copied().unwrap_or_default();
                let seconds = super::liveness::nanoseconds(now).saturating_sub(since) / 1_000_000_000;
                let tasks = self.agents.unreachable_tasks.get(id).map_or(0, BTreeSet::len);
                tracing::warn!(
                    agent = %id, hostname, unreachable_secs = seconds, tasks,
                    "agent is back after it was given up: those of its tasks that still run are taken back"
                );
                Some(format!(
                    "this agent did not answer and was unreachable to the master for {seconds} s: {tasks} of its tasks were \
                     reported unreachable or lost, and may have been launched elsewhere; those that still run are taken back"
                ))
            }
        }
    }

    /// What the agent says of itself may have changed.
    fn refresh_agent(
        &mut self,
        now: Now,
        key: AgentKey,
        register: &link::Register,
        peer: Option<std::net::IpAddr>,
        out: &mut Effects,
    ) {
        let info = self.agents.kinds.describe(&register.agent);
        let Some(agent) = self.agents.get_mut(key) else { return };
        let before = address(agent);
        agent.peer = peer.unwrap_or(agent.peer);
        agent.advertised = advertised(register, agent.peer);
        agent.version.clone_from(&register.version);
        agent.mezzo_version.clone_from(&register.mezzo_version);
        agent.capabilities = capabilities(&register.capabilities);
        self.allocator.set_agent_abilities(key, AgentAbilities::new(&agent.capabilities));
        agent.reregistered_time = Some(now.timestamp());
        agent.resource_version.clone_from(&register.resource_version);
        let total = if mezzo_api::mutant!("speculation-kept") {
            agent.total.clone()
        } else {
            total_of(&info, &register.checkpointed_resources).unwrap_or_default()
        };
        if agent.info != info {
            agent.info = info.clone();
            let before = agent.total.clone();
            self.allocator.update_agent(now.mono, key, info, before);
        }
        self.set_total(now, key, total, out);
        self.agents.readdress(key, &before);
        self.plan_for_agent(now, key);
        self.dirty.agents.insert(key);
    }

    /// Frameworks that have not subscribed since this master leads are known from their agents.
    fn recover_frameworks(&mut self, now: Now, frameworks: &[FrameworkInfo]) {
        for info in frameworks {
            let Some(id) = info.id.as_ref().filter(|id| !id.value.is_empty()) else { continue };
            if self.frameworks.find(&id.value).is_some() || self.frameworks.is_completed(&id.value) {
                continue;
            }
            tracing::info!(framework = id.value, "recovering framework from an agent");
            let framework = Framework::new(FrameworkId::from(id), info.clone(), now.timestamp());
            let options = FrameworkOptions {
                id: framework.id.as_str().into(),
                roles: framework.roles.clone(),
                suppressed: BTreeSet::new(),
                capabilities: framework.capabilities,
                min_allocatable: BTreeMap::new(),
                constraints: None,
            };
            // Its agents were given so long to come back; nobody comes back later than that and its own timeout.
            let timeout = failover_timeout(info).max(self.config.agent_reregister_timeout);
            let key = self.frameworks.insert(framework);
            let timer = self.timers.set(now.mono.saturating_add(timeout), Timer::Failover(key));
            if let Some(framework) = self.frameworks.get_mut(key) {
                framework.failover = Some(timer);
            }
            self.allocator.put_framework(now.mono, key, false, options);
            self.dirty.frameworks.insert(key);
        }
    }

    /// Brings the books in line with the report. The answer is the tasks that the agent does not have.
    fn reconcile_report(
        &mut self,
        now: Now,
        key: AgentKey,
        report: &link::Reregister,
        were: Were,
        out: &mut Effects,
    ) -> Vec<link::ReconcileTask> {
        let mut reported: BTreeSet<(FrameworkKey, TaskId)> = BTreeSet::new();
        for task in &report.tasks {
            let Some(framework) = self.frameworks.find(&task.framework_id.value) else { continue };
            let id = TaskId::from(&task.task_id);
            let known = self.frameworks.get(framework).is_some_and(|framework| framework.tasks.contains_key(&id));
            if reported.insert((framework, id)) && !known {
                self.adopt_task(now, key, framework, task.clone(), were, out);
            }
        }
        self.reconcile_executors(now, key, report, out);
        if were != Were::Known {
            self.adopt_history(&report.completed_tasks, out);
            return Vec::new();
        }
        self.missing_tasks(key, &reported)
    }

    fn adopt_task(
        &mut self,
        now: Now,
        key: AgentKey,
        framework_key: FrameworkKey,
        task: Task,
        were: Were,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(framework_key) else { return };
        let terminal = is_terminal(task.state());
        if were == Were::Unreachable && mezzo_api::mutant!("returning-tasks-ignored") {
            return;
        }
        if were == Were::Known && terminal {
            return; // acknowledged already; the agent will hear it again
        }
        let id = TaskId::from(&task.task_id);
        if let Some(stranded) = framework.unreachable.shift_remove(&id) {
            self.forget_unreachable(&stranded);
        }
        let Some(info) = self.frameworks.get(framework_key).map(|framework| framework.info.clone()) else { return };
        let Some(task) = read_task(task, &info) else { return };
        if !terminal {
            self.allocator.take(now.mono, framework_key, key, &task.resources);
        }
        self.add_task(framework_key, key, task.item, task.resources, out);
        let message = match were {
            Were::Unreachable => "Unreachable agent re-reregistered",
            Were::Unknown => "Unknown agent reregistered",
            Were::Known | Were::Recovered => return,
        };
        let added = self.frameworks.get(framework_key).and_then(|framework| framework.tasks.get(&id).copied());
        if let Some(task) = added.and_then(|task| self.tasks.get(task)) {
            let status = restate(task, now, task.view.state, Reason::AgentReregistered, message);
            self.send(framework_key, events::update(status), out);
        }
    }

    fn reconcile_executors(&mut self, now: Now, key: AgentKey, report: &link::Reregister, out: &mut Effects) {
        let generated = generated_executors(report);
        let mut reported: BTreeSet<(FrameworkKey, ExecutorId)> = BTreeSet::new();
        for executor in &report.executors {
            let framework_id = executor.framework_id.as_ref().map_or("", |id| id.value.as_str());
            if generated.contains(&(framework_id.to_owned(), executor.executor_id.value.clone())) {
                continue;
            }
            let Some(framework) = self.frameworks.find(framework_id) else { continue };
            let entry = (framework, ExecutorId::from(&executor.executor_id));
            let known = self.agents.get(key).is_some_and(|agent| agent.executors.contains_key(&entry));
            if !reported.insert(entry) || known {
                continue;
            }
            let Some(info) = self.frameworks.get(framework).map(|framework| framework.info.clone()) else { continue };
            if let Some(executor) = read_executor(executor.clone(), &info) {
                self.allocator.take(now.mono, framework, key, &executor.resources);
                self.insert_executor(framework, key, executor.item, executor.resources, out);
            }
        }
        let held = self.agents.get(key).into_iter().flat_map(|agent| agent.executors.keys());
        let ended: Vec<_> = held.filter(|entry| !reported.contains(*entry)).cloned().collect();
        for (framework, executor) in ended {
            self.remove_executor(now, key, framework, &executor, out);
        }
    }

    /// History that this master does not have; what does not fit into its bounds is not even read.
    fn adopt_history(&mut self, histories: &[link::History], out: &mut Effects) {
        for history in histories {
            let Some(key) = self.frameworks.find(&history.framework_id.value) else { continue };
            let mut tasks = history.tasks.clone();
            while !tasks.is_empty() && self.has_room_for_history(key) {
                match Task::decode_length_delimited(&mut tasks) {
                    Ok(task) => self.adopt_ended_task(key, task, out),
                    Err(error) => {
                        let framework = history.framework_id.value.as_str();
                        tracing::warn!(framework, %error, "an agent reports a history that cannot be read");
                        break;
                    }
                }
            }
        }
    }

    fn has_room_for_history(&self, key: FrameworkKey) -> bool {
        let limit = self.config.max_completed_tasks_per_framework;
        self.frameworks.get(key).is_some_and(|framework| framework.history.len() < limit)
    }

    fn adopt_ended_task(&mut self, key: FrameworkKey, task: Task, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(key) else { return };
        let id = TaskId::from(&task.task_id);
        let known = framework.tasks.contains_key(&id)
            || framework.unreachable.contains_key(&id)
            || framework.history.contains(&id);
        if known {
            return;
        }
        let view = crate::tasks::view_of(task, TaskList::Completed);
        out.push(Effect::Publish(Change::Task(Arc::new(view))));
        self.add_history(key, id, out);
    }

    fn missing_tasks(&self, key: AgentKey, reported: &BTreeSet<(FrameworkKey, TaskId)>) -> Vec<link::ReconcileTask> {
        let Some(agent) = self.agents.get(key).filter(|_| !mezzo_api::mutant!("missing-tasks-unasked")) else {
            return Vec::new();
        };
        let missing = |task: &TaskKey| {
            let task = self.tasks.get(*task)?;
            if reported.contains(&(task.framework, task.view.id.clone())) {
                return None;
            }
            let framework = self.frameworks.get(task.framework)?;
            Some(link::ReconcileTask {
                framework_id: framework.id.proto(),
                task_id: task.view.id.proto(),
                partition_aware: framework.capabilities.partition_aware,
            })
        };
        agent.tasks.iter().filter_map(missing).collect()
    }

    fn answer_report(
        &self,
        key: AgentKey,
        link: LinkId,
        report: &link::Reregister,
        reconcile: Vec<link::ReconcileTask>,
        reconcile_operations: Vec<link::ApplyOperation>,
        out: &mut Effects,
    ) {
        let Some(agent) = self.agents.get(key) else { return };
        let reregistered = link::Reregistered {
            agent_id: agent.id.proto(),
            total_ping_timeout_ms: self.total_ping_timeout_ms(),
            reconcile,
            reconcile_operations,
        };
        self.tell_link(link, to_agent::Message::Reregistered(reregistered), out);
        for task in &report.tasks {
            let Some(framework) = self.frameworks.find(&task.framework_id.value) else { continue };
            let id = TaskId::from(&task.task_id);
            if !is_terminal(task.state()) && agent.killed.contains(&(framework, id)) {
                let kill = link::KillTask {
                    framework_id: task.framework_id.clone(),
                    task_id: task.task_id.clone(),
                    kill_policy: None,
                };
                self.tell_link(link, to_agent::Message::KillTask(kill), out);
            }
        }
        for framework_id in report.frameworks.iter().filter_map(|info| info.id.clone()) {
            if self.frameworks.is_completed(&framework_id.value) {
                let shutdown = link::ShutdownFramework { framework_id };
                self.tell_link(link, to_agent::Message::ShutdownFramework(shutdown), out);
                continue;
            }
            let known = self.frameworks.find(&framework_id.value).and_then(|framework| self.frameworks.get(framework));
            if let Some(framework) = known.filter(|framework| !framework.recovered) {
                let update = link::UpdateFramework { framework: (*framework.info).clone() };
                self.tell_link(link, to_agent::Message::UpdateFramework(update), out);
            }
        }
    }

    /// Tasks that the agent took with it when it became unreachable, and that will not come back: frameworks that believe
    /// that they may hear so.
    pub(super) fn end_unreachable_tasks(&mut self, now: Now, id: &AgentId, end: End, out: &mut Effects) {
        for (framework_id, task_id) in self.agents.unreachable_tasks.remove(id).unwrap_or_default() {
            let Some(key) = self.frameworks.find(framework_id.as_str()) else { continue };
            let Some(framework) = self.frameworks.get_mut(key) else { continue };
            let Some(mut view) = framework.unreachable.shift_remove(&task_id) else { continue };
            self.counters.add(Counter::TasksUnreachable, -1);
            let statement = Statement {
                task_id: task_id.as_str(),
                agent_id: Some(id.as_str()),
                executor_id: None,
                state: end.state,
                reason: end.reason,
                message: end.message,
            };
            let task = Arc::make_mut(&mut view);
            task.list = TaskList::Completed;
            if !is_terminal(task.state) {
                let status = statement.status(now);
                task.state = end.state;
                task.statuses.push(&status);
                self.counters.task_ended(end.state, status.source(), Some(end.reason));
                self.send(key, events::update(status), out);
            }
            out.push(Effect::Publish(Change::Task(view)));
            self.add_history(key, task_id, out);
        }
    }
}
