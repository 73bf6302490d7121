//! The executors' calls (src/slave/http.cpp, executor; src/slave/slave.cpp, subscribe) and what is sent on their
//! event streams.

use std::time::Duration;

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    link::{self, from_agent},
    time::Now,
    v1::{
        self, TaskState,
        executor::{call, event as event_type},
        task_status::Reason,
    },
};

use crate::{
    core::Core,
    effect::{Answer, Effect, Effects, RequestId, StreamId},
    entity::Executor,
    executors::event,
    status::Report,
    timers::Timer,
    view::ExecutorState,
};

/// HEARTBEAT events of an executor's stream are this far apart; the first one comes after as long.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30 * 60);
const RECOVERING: &str = "Agent has not finished recovery";

impl Core {
    /// A call of an executor, after call-level validation ([`crate::validate`]); neither SUBSCRIBE nor HEARTBEAT,
    /// which the door answers.
    pub fn executor_call(&mut self, now: Now, request: RequestId, call: v1::executor::Call, out: &mut Effects) {
        let kind = call.r#type();
        let answer = match self.find_caller(&call) {
            _ if self.recovering.is_some() => Answer::new(503, RECOVERING),
            Err(answer) => answer,
            Ok(()) if kind == call::Type::Unknown => Answer::new(501, "501 Not Implemented."),
            Ok(()) => {
                self.take_call(now, call, out);
                Answer::accepted()
            }
        };
        out.push(Effect::Reply(request, answer));
    }

    /// Whether the call is one of a subscribed executor.
    fn find_caller(&self, call: &v1::executor::Call) -> Result<(), Answer> {
        let framework = self.frameworks.get(call.framework_id.value.as_str());
        let framework = framework.ok_or_else(|| Answer::new(400, "Framework cannot be found"))?;
        let executor = framework.executors.get(&ExecutorId::from(&call.executor_id));
        let executor = executor.filter(|executor| executor.played.is_none());
        let executor = executor.ok_or_else(|| Answer::new(400, "Executor cannot be found"))?;
        if executor.state == ExecutorState::Registering && call.r#type() != call::Type::Subscribe {
            return Err(Answer::new(403, "Executor is not subscribed"));
        }
        Ok(())
    }

    fn take_call(&mut self, now: Now, call: v1::executor::Call, out: &mut Effects) {
        let framework = FrameworkId::from(&call.framework_id);
        let executor = ExecutorId::from(&call.executor_id);
        if let Some(update) = call.update {
            self.executor_update(now, &framework, &executor, update, out);
        } else if let Some(message) = call.message {
            self.executor_message(&framework, &executor, message.data, out);
        }
    }

    fn executor_update(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        executor: &ExecutorId,
        update: call::Update,
        out: &mut Effects,
    ) {
        let mut status = update.status;
        status.agent_id = self.agent_id.as_ref().map(|id| id.proto());
        status.timestamp.get_or_insert_with(|| now.timestamp());
        self.update(now, framework, status, Some(executor), out);
    }

    /// Data of an executor for its framework.
    fn executor_message(
        &mut self,
        framework: &FrameworkId,
        executor: &ExecutorId,
        data: bytes::Bytes,
        out: &mut Effects,
    ) {
        let ending = self.frameworks.get(framework).is_none_or(|framework| framework.terminating);
        if ending || !self.registered {
            tracing::warn!(%framework, %executor, "dropped a message: no master, or the framework ends");
            self.counters.invalid_framework_messages += 1;
            return;
        }
        self.counters.valid_framework_messages += 1;
        let message = link::ExecutorMessage { framework_id: framework.proto(), executor_id: executor.proto(), data };
        self.say(from_agent::Message::ExecutorMessage(message), out);
    }

    /// An executor's SUBSCRIBE: answered 200 before the first event on `stream`, or refused.
    pub fn executor_subscribe(
        &mut self,
        now: Now,
        request: RequestId,
        stream: StreamId,
        call: v1::executor::Call,
        out: &mut Effects,
    ) {
        if let Err(answer) = self.find_caller(&call) {
            out.push(Effect::Reply(request, answer));
            return;
        }
        out.push(Effect::Reply(request, Answer::new(200, "")));
        let framework_id = FrameworkId::from(&call.framework_id);
        let id = ExecutorId::from(&call.executor_id);
        let subscribe = call.subscribe.unwrap_or_default();
        let ending = self.terminating.is_some()
            || self.frameworks.get(&framework_id).is_none_or(|framework| framework.terminating);
        let Some(executor) = self.executor(&framework_id, &id) else { return };
        let ended = matches!(executor.state, ExecutorState::Terminating | ExecutorState::Terminated);
        if ending || ended {
            tracing::info!(framework = %framework_id, executor = %id, "an executor that is to end subscribed");
            out.push(Effect::ToExecutor(stream, Box::new(event(event_type::Type::Shutdown))));
            out.push(Effect::CloseStream(stream));
            return;
        }
        tracing::info!(framework = %framework_id, executor = %id, "subscribed");
        let container = executor.container_id.clone();
        self.take_stream(now, &container, stream, out);
        let acknowledged = self.take_missed_updates(now, &framework_id, &id, subscribe.unacknowledged_updates, out);
        self.drop_tasks_unknown_to(now, &framework_id, &id, &subscribe.unacknowledged_tasks, out);
        let Some(executor) = self.executor(&framework_id, &id) else { return };
        if !executor.ever_sent_task() && executor.queued.is_empty() {
            tracing::warn!(framework = %framework_id, executor = %id, "it never had a task and gets none");
            self.shut_down_executor(now, &framework_id, &id, out);
            out.extend(acknowledged);
        } else {
            self.send_subscribed(&framework_id, &id, stream, out);
            out.extend(acknowledged);
            self.deliver_queued(&framework_id, &id, out);
        }
        self.end_recovery_if_complete(now, out);
    }

    /// Stores the updates that a resubscription brings. Gives the ACKNOWLEDGED events: they come after SUBSCRIBED.
    fn take_missed_updates(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        id: &ExecutorId,
        updates: Vec<call::Update>,
        out: &mut Effects,
    ) -> Effects {
        let mut effects = Effects::new();
        for update in updates {
            self.executor_update(now, framework, id, update, &mut effects);
        }
        let (events, others): (Effects, Effects) =
            effects.into_iter().partition(|effect| matches!(effect, Effect::ToExecutor(..)));
        out.extend(others);
        events
    }

    /// The executor speaks on this stream from now on; an older one is closed.
    fn take_stream(&mut self, now: Now, container: &ContainerId, stream: StreamId, out: &mut Effects) {
        let heartbeat = self.timers.set(now.mono + HEARTBEAT_INTERVAL, Timer::Heartbeat(container.clone()));
        let Some((_, executor)) = self.executor_in(container) else { return };
        executor.state = ExecutorState::Running;
        executor.subscribed = true;
        let old = executor.stream.replace(stream);
        let timers = [executor.timer.take(), executor.heartbeat.replace(heartbeat)];
        for timer in timers {
            self.timers.cancel(timer);
        }
        self.streams.insert(stream, container.clone());
        if let Some(old) = old {
            self.streams.remove(&old);
            out.push(Effect::CloseStream(old));
        }
    }

    /// Tasks that were sent, of which nothing was heard, and that the executor does not know: they are lost.
    fn drop_tasks_unknown_to(
        &mut self,
        now: Now,
        framework_id: &FrameworkId,
        id: &ExecutorId,
        known: &[v1::TaskInfo],
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let state = framework.dropped();
        let Some(executor) = framework.executors.get(id) else { return };
        let lost: Vec<TaskId> = executor
            .launched
            .values()
            .filter(|task| task.state() == TaskState::TaskStaging)
            .filter(|task| !known.iter().any(|known| known.task_id == task.task_id))
            .map(|task| TaskId::from(&task.task_id))
            .collect();
        for task in lost {
            let report = Report::new(state)
                .reason(Reason::AgentRestarted)
                .message("Task launched during agent restart")
                .executor(id);
            self.agent_update(now, framework_id, &task, report, out);
        }
    }

    fn send_subscribed(&mut self, framework_id: &FrameworkId, id: &ExecutorId, stream: StreamId, out: &mut Effects) {
        let agent_info = (*self.info).clone();
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        let framework_info = (*framework.info).clone();
        let Some(executor) = framework.executors.get_mut(id) else { return };
        let subscribed = event_type::Subscribed {
            executor_info: (*executor.info).clone(),
            framework_info,
            agent_info,
            container_id: Some(executor.container_id.proto()),
        };
        let first =
            v1::executor::Event { subscribed: Some(Box::new(subscribed)), ..event(event_type::Type::Subscribed) };
        out.push(Effect::ToExecutor(stream, Box::new(first)));
        for event in executor.waiting.drain(..) {
            out.push(Effect::ToExecutor(stream, Box::new(event)));
        }
    }

    /// Sends the queued tasks, if the executor listens: single tasks first, then groups.
    pub(crate) fn deliver_queued(&mut self, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(executor) = self.executor(framework, id) else { return };
        let Some(stream) = executor.stream.filter(|_| executor.state == ExecutorState::Running) else { return };
        self.show_volumes(framework, id, out);
        let Some(executor) = self.executor(framework, id) else { return };
        let groups = std::mem::take(&mut executor.queued_groups);
        let singles: Vec<TaskId> =
            executor.queued.keys().filter(|task| !groups.iter().any(|group| group.contains(task))).cloned().collect();
        for task in singles {
            let Some(task) = deliver(executor, &task) else { continue };
            let launch = Some(Box::new(event_type::Launch { task }));
            let event = v1::executor::Event { launch, ..event(event_type::Type::Launch) };
            out.push(Effect::ToExecutor(stream, Box::new(event)));
        }
        for group in groups {
            let tasks = group.iter().filter_map(|task| deliver(executor, task)).collect();
            let launch_group = Some(Box::new(event_type::LaunchGroup { task_group: v1::TaskGroupInfo { tasks } }));
            let event = v1::executor::Event { launch_group, ..event(event_type::Type::LaunchGroup) };
            out.push(Effect::ToExecutor(stream, Box::new(event)));
        }
    }

    /// An executor's stream ended. The executor is given as long as its process lives.
    pub fn stream_closed(&mut self, _now: Now, stream: StreamId, _out: &mut Effects) {
        let Some(container) = self.streams.remove(&stream) else { return };
        let Some((framework, executor)) = self.executor_in(&container) else { return };
        if executor.stream == Some(stream) {
            tracing::info!(%framework, executor = %executor.id, "an executor's stream ended");
            executor.stream = None;
            let heartbeat = executor.heartbeat.take();
            self.timers.cancel(heartbeat);
        }
    }

    pub(crate) fn heartbeat(&mut self, now: Now, container: &ContainerId, out: &mut Effects) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        executor.heartbeat = None;
        let Some(stream) = executor.stream else { return };
        out.push(Effect::ToExecutor(stream, Box::new(event(event_type::Type::Heartbeat))));
        let next = self.timers.set(now.mono + HEARTBEAT_INTERVAL, Timer::Heartbeat(container.clone()));
        if let Some((_, executor)) = self.executor_in(container) {
            executor.heartbeat = Some(next);
        }
    }
}

/// The task is the executor's now.
fn deliver(executor: &mut Executor, task: &TaskId) -> Option<v1::TaskInfo> {
    let queued = executor.queued.shift_remove(task)?;
    executor.launched.insert(task.clone(), queued.task);
    Some((*queued.info).clone())
}
