//! Tasks: from their launch to the acknowledgement of their end.

use std::sync::Arc;

use mezzo_api::{
    ids::{ExecutorId, FrameworkId, TaskId},
    link,
    resources::Resources,
    time::Now,
    v1::{
        self, TaskInfo, TaskState, TaskStatus,
        task_status::{Reason, Source},
    },
};
use prost::Message;

use crate::{
    agents::user_of,
    core::Core,
    counters::Counter,
    effect::{Change, Effect, Effects},
    events::{self, Statement, is_terminal},
    frameworks::Framework,
    keys::{AgentKey, FrameworkKey, TaskKey},
    model::{self, TaskList},
};

/// A task that holds resources or waits for the acknowledgement of its end.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) framework: FrameworkKey,
    pub(crate) agent: AgentKey,
    /// Only of executors that frameworks defined.
    pub(crate) executor_id: Option<ExecutorId>,
    /// Allocated to its role.
    pub(crate) resources: Arc<Resources>,
    /// They are still counted as used.
    pub(crate) holds: bool,
    pub(crate) view: Arc<model::Task>,
}

impl Task {
    /// What the framework is told when it asks: the state of the last update that it was sent, if there is one.
    pub(crate) fn told_state(&self) -> TaskState {
        self.view.status_update.as_ref().map_or(self.view.state, |(state, _)| *state)
    }
}

/// A task's parts that never change, from its launch (src/common/protobuf_utils.cpp, createTask).
pub(crate) fn task_of(info: &TaskInfo, framework: &FrameworkId) -> v1::Task {
    v1::Task {
        name: info.name.clone(),
        task_id: info.task_id.clone(),
        framework_id: framework.proto(),
        executor_id: info.executor.as_ref().map(|executor| executor.executor_id.clone()),
        agent_id: info.agent_id.clone(),
        state: TaskState::TaskStaging.into(),
        resources: info.resources.clone(),
        labels: info.labels.clone(),
        discovery: info.discovery.clone(),
        container: info.container.clone(),
        health_check: info.health_check.clone(),
        kill_policy: info.kill_policy,
        user: user_of(info).cloned(),
        limits: info.limits.clone(),
        ..Default::default()
    }
}

/// A task as readers see it.
pub(crate) fn view_of(mut task: v1::Task, list: TaskList) -> model::Task {
    let state = task.state();
    let update = task.status_update_state.take().and_then(|state| TaskState::try_from(state).ok());
    let status_update = update.zip(task.status_update_uuid.take());
    let statuses = std::mem::take(&mut task.statuses).into_iter().collect();
    task.state = TaskState::TaskStaging.into();
    model::Task {
        framework_id: FrameworkId::from(&task.framework_id),
        id: TaskId::from(&task.task_id),
        agent_id: mezzo_api::ids::AgentId::from(&task.agent_id),
        list,
        state,
        status_update,
        statuses,
        fixed: task.encode_to_vec().into(),
    }
}

impl Core {
    /// A task is there: launched just now, or reported by its agent. Its resources are already taken from the
    /// allocator. Statuses and state are those of `task`.
    pub(crate) fn add_task(
        &mut self,
        framework_key: FrameworkKey,
        agent_key: AgentKey,
        task: v1::Task,
        resources: Resources,
        out: &mut Effects,
    ) {
        let (Some(framework), Some(agent)) = (self.frameworks.get_mut(framework_key), self.agents.get_mut(agent_key))
        else {
            return;
        };
        let executor_id = task.executor_id.as_ref().map(ExecutorId::from);
        // A task's own copies of what many have in common are the greater part of what it takes.
        let (framework_id, agent_id) = (framework.id.clone(), agent.id.clone());
        let view = Arc::new(model::Task { framework_id, agent_id, ..view_of(task, TaskList::Active) });
        let resources = framework.common(resources);
        let (id, state) = (view.id.clone(), view.state);
        let holds = !is_terminal(state);
        if holds {
            framework.used += &*resources;
            agent.used += &*resources;
            self.counters.task_moved(None, Some(state));
        }
        let task =
            Task { framework: framework_key, agent: agent_key, executor_id, resources, holds, view: view.clone() };
        let key = self.tasks.insert(task);
        framework.history.revive(&id);
        framework.tasks.insert(id, key);
        framework.attach(agent_key);
        agent.tasks.insert(key);
        self.mark_dirty(framework_key, agent_key);
        out.push(Effect::Publish(Change::Task(view)));
    }

    pub(crate) fn mark_dirty(&mut self, framework: FrameworkKey, agent: AgentKey) {
        self.dirty.frameworks.insert(framework);
        self.dirty.agents.insert(agent);
    }

    /// An update of an agent: to the framework, then into the books (src/master/master.cpp, statusUpdate).
    pub(crate) fn on_status_update(
        &mut self,
        now: Now,
        agent: AgentKey,
        update: link::StatusUpdate,
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesStatusUpdate);
        let Some(agent_id) = self.agents.get(agent).map(|agent| agent.id.proto()) else { return };
        let link::StatusUpdate { framework_id, mut status, latest_state } = update;
        let latest = latest_state.and_then(|state| TaskState::try_from(state).ok());
        status.agent_id.get_or_insert(agent_id);
        status.timestamp.get_or_insert(now.timestamp());
        let framework = self.frameworks.find(&framework_id.value);
        if framework.is_none() && self.frameworks.is_completed(&framework_id.value) {
            // The agent has missed the framework's end: it would wait for an acknowledgement for ever.
            let shutdown = link::ShutdownFramework { framework_id: framework_id.clone() };
            self.tell(agent, link::to_agent::Message::ShutdownFramework(shutdown), out);
        }
        let task = framework
            .and_then(|key| self.frameworks.get(key)?.tasks.get(status.task_id.value.as_str()).copied())
            .filter(|task| self.tasks.get(*task).is_some_and(|task| task.agent == agent));
        let forwarded = framework.and_then(|key| self.frameworks.get(key)).is_some_and(Framework::is_connected);
        self.counters.increment(if forwarded && task.is_some() {
            Counter::ValidStatusUpdates
        } else {
            Counter::InvalidStatusUpdates
        });
        if let Some(task) = task.filter(|_| forwarded) {
            self.note_forwarded(task, &status);
        }
        // Booked first and shown last: so the status itself can go on to the framework.
        let view = task.and_then(|task| self.book_status(now, task, &mut status, latest));
        if let Some(framework) = framework {
            self.send(framework, events::update(status), out);
        }
        out.extend(view.map(|view| Effect::Publish(Change::Task(view))));
    }

    /// The framework gets it from this master, which then passes its acknowledgement on.
    fn note_forwarded(&mut self, task: TaskKey, status: &TaskStatus) {
        if let (Some(task), Some(uuid)) = (self.tasks.get_mut(task), &status.uuid) {
            Arc::make_mut(&mut task.view).status_update = Some((status.state(), uuid.clone()));
        }
    }

    /// Books a status and shows it.
    pub(crate) fn update_task(&mut self, now: Now, key: TaskKey, status: &mut TaskStatus, out: &mut Effects) {
        let view = self.book_status(now, key, status, None);
        out.extend(view.map(|view| Effect::Publish(Change::Task(view))));
    }

    /// Books a status; `latest` is the state that the task has reached by now if the status is an older one
    /// (src/master/master.cpp, updateTask). Its data is not kept: `status` is without while it is written down.
    fn book_status(
        &mut self,
        now: Now,
        key: TaskKey,
        status: &mut TaskStatus,
        latest: Option<TaskState>,
    ) -> Option<Arc<model::Task>> {
        let task = self.tasks.get_mut(key)?;
        let view = Arc::make_mut(&mut task.view);
        let before = view.state;
        if !is_terminal(before) {
            view.state = latest.unwrap_or_else(|| status.state());
        }
        let after = view.state;
        let data = status.data.take();
        view.statuses.push_or_replace(status);
        status.data = data;
        let view = task.view.clone();
        if task.holds {
            let ended = is_terminal(after) || after == TaskState::TaskUnreachable;
            self.counters.task_moved(Some(before), Some(after).filter(|_| !ended));
            if ended {
                self.counters.task_ended(
                    after,
                    status.source(),
                    status.reason.and_then(|reason| Reason::try_from(reason).ok()),
                );
                self.release_task(now, key);
            }
        }
        Some(view)
    }

    /// Its resources are free.
    fn release_task(&mut self, now: Now, key: TaskKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.holds = false;
        let (framework_key, agent_key) = (task.framework, task.agent);
        if let Some(framework) = self.frameworks.get_mut(framework_key) {
            framework.used -= &*task.resources;
        }
        if let Some(agent) = self.agents.get_mut(agent_key) {
            agent.used -= &*task.resources;
        }
        self.allocator.give_back(now.mono, framework_key, agent_key, &task.resources, None);
        if mezzo_api::mutant!("resources-freed-twice") {
            self.allocator.give_back(now.mono, framework_key, agent_key, &task.resources, None);
        }
        self.mark_dirty(framework_key, agent_key);
    }

    /// Takes a task that holds nothing any more out of the books.
    pub(crate) fn take_task(&mut self, key: TaskKey) -> Option<Task> {
        let task = self.tasks.remove(key)?;
        if let Some(agent) = self.agents.get_mut(task.agent) {
            agent.tasks.swap_remove(&key);
            agent.killed.remove(&(task.framework, task.view.id.clone()));
        }
        if let Some(framework) = self.frameworks.get_mut(task.framework) {
            framework.tasks.swap_remove(task.view.id.as_str());
            framework.detach(task.agent);
        }
        Some(task)
    }

    /// Moves a task into its framework's history.
    pub(crate) fn retire_task(&mut self, now: Now, key: TaskKey, out: &mut Effects) {
        if let Some(task) = self.tasks.get(key).filter(|task| task.holds) {
            self.counters.task_moved(Some(task.view.state), None);
            self.release_task(now, key);
        }
        let Some(mut task) = self.take_task(key) else { return };
        Arc::make_mut(&mut task.view).list = TaskList::Completed;
        let id = task.view.id.clone();
        out.push(Effect::Publish(Change::Task(task.view)));
        self.add_history(task.framework, id, out);
        self.end_drain_if_empty(now, task.agent, out);
    }

    pub(crate) fn add_history(&mut self, framework: FrameworkKey, id: TaskId, out: &mut Effects) {
        let limit = self.config.max_completed_tasks_per_framework;
        let Some(framework) = self.frameworks.get_mut(framework) else { return };
        for forgotten in framework.history.push(id, limit) {
            // Readers know a task by its id: what is still unreachable stays.
            if !framework.unreachable.contains_key(&forgotten) {
                out.push(Effect::Publish(Change::TaskForgotten(framework.id.clone(), forgotten)));
            }
        }
    }

    /// Moves a task of an agent that does not answer into its framework's list of such.
    pub(crate) fn strand_task(&mut self, key: TaskKey, out: &mut Effects) {
        let Some(mut task) = self.take_task(key) else { return };
        Arc::make_mut(&mut task.view).list = TaskList::Unreachable;
        let (view, limit) = (task.view, self.config.max_unreachable_tasks_per_framework);
        out.push(Effect::Publish(Change::Task(view.clone())));
        let of_agent = self.agents.unreachable_tasks.entry(view.agent_id.clone()).or_default();
        of_agent.insert((view.framework_id.clone(), view.id.clone()));
        let Some(framework) = self.frameworks.get_mut(task.framework) else { return };
        framework.unreachable.insert(view.id.clone(), view);
        self.counters.add(Counter::TasksUnreachable, 1);
        let mut forgotten = Vec::new();
        while framework.unreachable.len() > limit {
            forgotten.extend(framework.unreachable.shift_remove_index(0));
        }
        for (id, task) in forgotten {
            self.forget_unreachable(&task);
            out.push(Effect::Publish(Change::TaskForgotten(task.framework_id.clone(), id)));
        }
    }

    /// A task that was taken out of its framework's list of unreachable ones.
    pub(crate) fn forget_unreachable(&mut self, task: &model::Task) {
        self.counters.add(Counter::TasksUnreachable, -1);
        if let Some(tasks) = self.agents.unreachable_tasks.get_mut(&task.agent_id) {
            tasks.remove(&(task.framework_id.clone(), task.id.clone()));
            if tasks.is_empty() {
                self.agents.unreachable_tasks.remove(&task.agent_id);
            }
        }
    }

    /// Tells a framework of a task that never was in the books, or is no more: it was refused or lost.
    pub(crate) fn refuse_task(
        &mut self,
        now: Now,
        framework: FrameworkKey,
        statement: &Statement<'_>,
        out: &mut Effects,
    ) {
        self.counters.task_ended(statement.state, Source::Master, Some(statement.reason));
        self.send(framework, events::update(statement.status(now)), out);
    }
}
