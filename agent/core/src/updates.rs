//! Status updates: received once, recorded, sent in order per task, again and again until they are acknowledged
//! (src/slave/task_status_update_manager.cpp; src/slave/slave.cpp, statusUpdate).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    link::{self, from_agent},
    time::Now,
    v1::{self, TaskState, task_status::Source},
};

use crate::{
    core::Core,
    counters::Counters,
    effect::{Effect, Effects},
    entity::Executor,
    network,
    record::{self, Entry},
    status::{Report, is_terminal},
    timers::{Handle, Timer},
    view::ExecutorState,
    watched::{Map, Touched, in_order},
};

/// An unacknowledged update is sent again after this.
const RETRY_MIN: Duration = Duration::from_secs(10);
/// Doubling up to this.
const RETRY_MAX: Duration = Duration::from_secs(600);
/// Uuids of acknowledged updates that are remembered for each task, against an executor that repeats itself. It
/// repeats what the agent has not taken, so that old ones need not be kept.
const REMEMBERED: usize = 256;

/// The updates of one task.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Not acknowledged, the oldest first.
    pub(crate) pending: VecDeque<Arc<v1::TaskStatus>>,
    /// Uuids of acknowledged ones, the oldest first.
    pub(crate) acknowledged: VecDeque<Bytes>,
    retry: Option<Handle>,
    interval: Duration,
}

impl Stream {
    /// Whether the oldest update will be sent again.
    pub(crate) fn is_scheduled(&self) -> bool {
        self.retry.is_some()
    }

    fn has_seen(&self, uuid: &Bytes) -> bool {
        self.acknowledged.contains(uuid) || self.pending.iter().any(|status| status.uuid.as_ref() == Some(uuid))
    }
}

/// The updates of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// By framework and task.
    map: BTreeMap<FrameworkId, Map<TaskId, Stream>>,
    touched: Touched<(FrameworkId, TaskId)>,
}

impl Streams {
    fn touch(&mut self, framework: &FrameworkId, task: &TaskId) {
        let same = |(of, last): &(FrameworkId, TaskId)| last == task && of == framework;
        self.touched.add_unless(same, || (framework.clone(), task.clone()));
    }

    pub(crate) fn get(&self, framework: &FrameworkId, task: &TaskId) -> Option<&Stream> {
        self.map.get(framework)?.get(task)
    }

    fn get_mut(&mut self, framework: &FrameworkId, task: &TaskId) -> Option<&mut Stream> {
        self.touch(framework, task);
        self.map.get_mut(framework)?.get_mut(task)
    }

    pub(crate) fn entry(&mut self, framework: &FrameworkId, task: &TaskId) -> &mut Stream {
        self.touch(framework, task);
        self.map.entry(framework.clone()).or_default().entry(task.clone()).or_default()
    }

    fn remove(&mut self, framework: &FrameworkId, task: &TaskId) -> Option<Stream> {
        self.touch(framework, task);
        let streams = self.map.get_mut(framework)?;
        let stream = streams.swap_remove(task);
        if streams.is_empty() {
            self.map.remove(framework);
        }
        stream
    }

    /// Whether a framework has updates that are not acknowledged.
    pub(crate) fn has_pending(&self, framework: &FrameworkId) -> bool {
        self.map.get(framework).is_some_and(|streams| streams.values().any(|stream| !stream.pending.is_empty()))
    }

    /// In order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&FrameworkId, &TaskId, &Stream)> {
        self.map
            .iter()
            .flat_map(|(framework, streams)| in_order(streams).map(move |(task, stream)| (framework, task, stream)))
    }

    /// Moves whose updates were touched since the last time to `into`, once each; `false` if that is too much.
    pub(crate) fn take_touched(&mut self, into: &mut Vec<(FrameworkId, TaskId)>) -> bool {
        self.touched.take(into)
    }

    /// Takes an update if it was not there before; gives how many of the task are pending then.
    pub(crate) fn push(&mut self, framework: &FrameworkId, task: &TaskId, status: Arc<v1::TaskStatus>) -> usize {
        let stream = self.entry(framework, task);
        if status.uuid.as_ref().is_none_or(|uuid| !stream.has_seen(uuid)) {
            stream.pending.push_back(status);
        }
        stream.pending.len()
    }

    /// Takes the acknowledgement of the oldest update; gives that update if it is the one.
    pub(crate) fn pop(&mut self, framework: &FrameworkId, task: &TaskId, uuid: &Bytes) -> Option<Popped> {
        let stream = self.get_mut(framework, task)?;
        stream.pending.front().filter(|head| head.uuid.as_ref() == Some(uuid))?;
        let head = stream.pending.pop_front()?;
        stream.acknowledged.push_back(uuid.clone());
        if stream.acknowledged.len() > REMEMBERED {
            stream.acknowledged.pop_front();
        }
        let end_is_next = stream.pending.front().is_some_and(|next| is_terminal(next.state()));
        let mut popped = Popped { terminal: is_terminal(head.state()), end_is_next, retry: stream.retry.take() };
        if popped.terminal
            && let Some(rest) = self.remove(framework, task)
        {
            popped.retry = popped.retry.or(rest.retry);
        }
        Some(popped)
    }
}

/// An acknowledged update.
pub(crate) struct Popped {
    /// It was the task's last; its stream is gone.
    pub(crate) terminal: bool,
    /// The task's last is the next one.
    end_is_next: bool,
    retry: Option<Handle>,
}

impl Core {
    /// The agent itself says something of a task.
    pub(crate) fn agent_update(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        task: &TaskId,
        report: Report,
        out: &mut Effects,
    ) {
        let status = report.status(now, &mut self.random, task, self.agent_id.as_ref(), Source::Agent);
        self.update(now, framework, status, None, out);
    }

    /// An update of a task of a framework that the agent may not know.
    pub(crate) fn orphan_update(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        task: &TaskId,
        report: Report,
        out: &mut Effects,
    ) {
        let status = report.status(now, &mut self.random, task, self.agent_id.as_ref(), Source::Agent);
        self.enqueue(now, framework, task, status, out);
    }

    /// An update of whatever origin; `caller` is the executor that sent it and waits for its ACKNOWLEDGED.
    pub(crate) fn update(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        mut status: v1::TaskStatus,
        caller: Option<&ExecutorId>,
        out: &mut Effects,
    ) {
        let task = TaskId::from(&status.task_id);
        self.tell_drain(framework_id, &mut status);
        let Some(framework) = self.frameworks.get_mut(framework_id).filter(|framework| !framework.terminating) else {
            tracing::warn!(framework = %framework_id, %task, "ignored an update of an unknown or ending framework");
            self.counters.invalid_status_updates += 1;
            return;
        };
        self.counters.valid_status_updates += 1;
        let seen = self
            .updates
            .get(framework_id, &task)
            .is_some_and(|stream| status.uuid.as_ref().is_some_and(|uuid| stream.has_seen(uuid)));
        let known = framework.executor_of(&task).map(|executor| {
            if seen || executor.queued.contains_key(&task) && !is_terminal(status.state()) {
                return false;
            }
            if reached_executor(executor, &task, &status) {
                fill_container_status(&mut status, &task, executor, &self.texts.ip);
            }
            executor.enter(&task, &status)
        });
        let completed = || {
            let executor = framework.executors.get(caller?)?;
            executor.completed.iter().find(|entry| entry.task_id == status.task_id)
        };
        let fresh = match known {
            Some(entered) => entered,
            None => !seen && completed().is_none(),
        };
        if fresh {
            if known.is_some() {
                count(&mut self.counters, status.state());
            }
            let uuid = status.uuid.clone();
            if is_terminal(status.state()) {
                self.unlink_volumes(framework_id, &task, out);
                self.allot_after(framework_id, &task, out);
            }
            self.enqueue(now, framework_id, &task, status, out);
            if known.is_some() {
                self.acknowledge_executor(framework_id, caller, &task, uuid, out);
            }
        } else {
            tracing::debug!(framework = %framework_id, %task, "an update that is known, or of a task that is over");
            self.acknowledge_executor(framework_id, caller, &task, status.uuid.clone(), out);
        }
    }

    fn enqueue(&mut self, now: Now, framework: &FrameworkId, task: &TaskId, status: v1::TaskStatus, out: &mut Effects) {
        let (terminal, status) = (is_terminal(status.state()), Arc::new(status));
        let entry = Entry::Update(record::Update { framework_id: framework.proto(), status: status.clone().into() });
        let place = out.len();
        if terminal && !mezzo_api::mutant!("terminal-update-unsynced") {
            self.record_synced(entry, out);
        } else {
            self.record(entry, out);
        }
        tracing::debug!(framework = %framework, %task, state = status.state().as_str_name(), "update");
        if self.updates.push(framework, task, status) == 1 {
            self.forward(now, framework, task, RETRY_MIN, out);
        }
        if mezzo_api::mutant!("update-sent-before-recorded") {
            out[place..].rotate_left(1);
        }
    }

    /// ACKNOWLEDGED for the executor that sent an update: it is stored.
    fn acknowledge_executor(
        &mut self,
        framework: &FrameworkId,
        caller: Option<&ExecutorId>,
        task: &TaskId,
        uuid: Option<Bytes>,
        out: &mut Effects,
    ) {
        let (Some(caller), Some(uuid)) = (caller, uuid) else { return };
        let Some(stream) = self.executor(framework, caller).and_then(|executor| executor.stream) else { return };
        let event = v1::executor::Event {
            r#type: Some(v1::executor::event::Type::Acknowledged as i32),
            acknowledged: Some(v1::executor::event::Acknowledged { task_id: task.proto(), uuid }),
            ..Default::default()
        };
        out.push(Effect::ToExecutor(stream, Box::new(event)));
    }

    /// Sends the oldest update of a task, and again after `interval`.
    fn forward(&mut self, now: Now, framework: &FrameworkId, task: &TaskId, interval: Duration, out: &mut Effects) {
        if !self.registered {
            return;
        }
        let Some(stream) = self.updates.get_mut(framework, task) else { return };
        let Some(head) = stream.pending.front().cloned() else { return };
        self.timers.cancel(stream.retry.take());
        stream.interval = interval;
        stream.retry = Some(self.timers.set(now.mono + interval, Timer::Retry(framework.clone(), task.clone())));
        let entry =
            self.frameworks.get_mut(framework).and_then(|framework| framework.executor_of(task)?.task_mut(task));
        let latest_state = entry.map(|entry| {
            entry.status_update_state = Some(head.state);
            entry.status_update_uuid.clone_from(&head.uuid);
            entry.state
        });
        let message = link::StatusUpdate { framework_id: framework.proto(), status: (*head).clone(), latest_state };
        self.say(from_agent::Message::StatusUpdate(message), out);
    }

    /// The framework has acknowledged the oldest update of a task.
    pub(crate) fn acknowledge(&mut self, now: Now, message: link::Acknowledge, out: &mut Effects) {
        let (framework_id, task) = (FrameworkId::from(&message.framework_id), TaskId::from(&message.task_id));
        let Some(popped) = self.updates.pop(&framework_id, &task, &message.uuid) else {
            tracing::debug!(framework = %framework_id, %task, "an acknowledgement that nothing waits for");
            return;
        };
        self.timers.cancel(popped.retry);
        let entry = Entry::Acknowledged(record::Acknowledged {
            framework_id: message.framework_id,
            task_id: message.task_id,
            uuid: message.uuid,
        });
        // Once the end of a task is sent, a power cut must not bring back what was said before it.
        if mezzo_api::mutant!("acknowledgement-unrecorded") {
            // nothing is written
        } else if popped.terminal || popped.end_is_next {
            self.record_synced(entry, out);
        } else {
            self.record(entry, out);
        }
        if popped.terminal {
            match self.complete_task(&framework_id, &task) {
                Some(executor) => {
                    self.end_pod_if_idle(now, &framework_id, &executor, out);
                    self.remove_if_done(&framework_id, &executor, out);
                }
                None => self.remove_framework_if_idle(&framework_id, out),
            }
        } else {
            self.forward(now, &framework_id, &task, RETRY_MIN, out);
            self.remove_framework_if_idle(&framework_id, out);
        }
    }

    /// The end of a task is acknowledged. Gives the executor that had it, if there is one.
    pub(crate) fn complete_task(&mut self, framework: &FrameworkId, task: &TaskId) -> Option<ExecutorId> {
        let framework = self.frameworks.get_mut(framework)?;
        let executor = framework.executor_of(task).filter(|executor| executor.terminated.contains_key(task))?;
        executor.complete(task);
        framework.tasks.remove(task)
    }

    /// An update was not acknowledged in time.
    pub(crate) fn retry(&mut self, now: Now, framework: &FrameworkId, task: &TaskId, out: &mut Effects) {
        let Some(stream) = self.updates.get_mut(framework, task) else { return };
        stream.retry = None;
        let interval = (stream.interval * 2).clamp(RETRY_MIN, RETRY_MAX);
        tracing::info!(%framework, %task, "update not acknowledged, sending it again");
        self.forward(now, framework, task, interval, out);
    }

    /// Nothing is sent before the next registration.
    pub(crate) fn pause_updates(&mut self) {
        for stream in self.updates.map.values_mut().flat_map(Map::values_mut) {
            self.timers.cancel(stream.retry.take());
        }
    }

    /// Sends the oldest update of every task (again).
    pub(crate) fn resume_updates(&mut self, now: Now, out: &mut Effects) {
        let waiting: Vec<(FrameworkId, TaskId)> = self
            .updates
            .iter()
            .filter(|(_, _, stream)| !stream.pending.is_empty())
            .map(|(framework, task, _)| (framework.clone(), task.clone()))
            .collect();
        for (framework, task) in waiting {
            self.forward(now, &framework, &task, RETRY_MIN, out);
        }
    }

    /// Sends the oldest update of every task of one framework again: it has a new scheduler.
    pub(crate) fn resend_updates_of(&mut self, now: Now, framework: &FrameworkId, out: &mut Effects) {
        let streams = self.updates.map.get(framework).into_iter();
        let tasks: Vec<TaskId> = streams.flat_map(in_order).map(|(task, _)| task.clone()).collect();
        for task in tasks {
            if mezzo_api::mutant!("update-dropped-on-resubscription")
                && let Some(stream) = self.updates.get_mut(framework, &task).filter(|stream| stream.pending.len() > 1)
            {
                stream.pending.pop_front();
            }
            self.forward(now, framework, &task, RETRY_MIN, out);
        }
    }

    /// The framework is gone: nobody will acknowledge its updates.
    pub(crate) fn drop_updates_of(&mut self, framework: &FrameworkId) {
        for stream in self.updates.map.remove(framework).unwrap_or_default().into_values() {
            self.timers.cancel(stream.retry);
        }
    }
}

/// Whether the container's status belongs into a status: not if the task never came to its executor, nor when the
/// container is gone, or the executor speaks of a container of its own that the agent does not know.
fn reached_executor(executor: &Executor, task: &TaskId, status: &v1::TaskStatus) -> bool {
    let dropped = matches!(status.state(), TaskState::TaskDropped | TaskState::TaskLost)
        && status.source == Some(Source::Agent as i32);
    let own = status.container_status.as_ref().and_then(|container| container.container_id.as_ref());
    let nested = own.is_some_and(|id| ContainerId::from(id) != executor.container_id);
    let ended = nested && is_terminal(status.state());
    executor.state != ExecutorState::Terminated
        && !executor.queued.contains_key(task)
        && !dropped
        && (!nested || executor.is_pod() && !ended)
}

fn fill_container_status(status: &mut v1::TaskStatus, task: &TaskId, executor: &Executor, ip: &str) {
    let container = status.container_status.get_or_insert_default();
    container.container_id.get_or_insert_with(|| executor.container_id.proto());
    let (pid, address) = match executor.is_pod() {
        true => executor.run_of(task).map_or((None, None), |run| (run.pid, run.address)),
        false => (executor.pid, executor.address),
    };
    container.executor_pid = pid.and_then(|pid| u32::try_from(pid).ok());
    if !container.network_infos.is_empty() {
        return;
    }
    if let Some(own) = executor.network_of(task) {
        container.network_infos.extend(address.map(|address| network::with_address(own, address)));
    } else {
        container.network_infos.push(v1::NetworkInfo {
            ip_addresses: vec![v1::network_info::IpAddress { ip_address: Some(ip.to_string()), ..Default::default() }],
            ..Default::default()
        });
    }
}

fn count(counters: &mut Counters, state: TaskState) {
    match state {
        TaskState::TaskFinished => counters.tasks_finished += 1,
        TaskState::TaskFailed => counters.tasks_failed += 1,
        TaskState::TaskKilled => counters.tasks_killed += 1,
        TaskState::TaskLost => counters.tasks_lost += 1,
        TaskState::TaskGone => counters.tasks_gone += 1,
        _ => {}
    }
}
