//! The life of executors: what becomes of their containers, how they are shut down, when they are done
//! (src/slave/slave.cpp, executorTerminated, removeExecutor, shutdownExecutor).

use std::sync::Arc;

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    link::{self, from_agent},
    time::{Now, format_duration},
    v1::{self, TaskState, task_status::Reason},
};

use crate::{
    container::{ContainerEvent, Stop},
    core::Core,
    effect::{Effect, Effects},
    entity::Container,
    isolation::Limitation,
    record::{self, Entry, Termination},
    status::Report,
    timers::Timer,
    view::ExecutorState,
};

impl Core {
    /// What became of a container.
    pub fn container(&mut self, now: Now, container: ContainerId, event: ContainerEvent, out: &mut Effects) {
        if self.check_command_event(now, &container, &event, out) {
            return;
        }
        if self.nested_event(now, &container, &event, out) {
            if self.unheard.remove(&container) {
                self.end_recovery_if_complete(now, out);
            }
            return;
        }
        let Some((_, executor)) = self.executor_in(&container) else {
            tracing::warn!(%container, "an event of a container that no executor has");
            match event {
                ContainerEvent::Running { .. } => out.push(Effect::Stop(container, Stop::Kill)),
                ContainerEvent::Failed { .. } | ContainerEvent::Exited { .. } | ContainerEvent::Limited { .. } => {
                    out.push(Effect::Forget(container));
                }
            }
            return;
        };
        match event {
            ContainerEvent::Limited { status, .. } if mezzo_api::mutant!("limitation-untold") => {
                self.container_exited(now, &container, status, out);
            }
            ContainerEvent::Running { pid, address } => {
                executor.address = address;
                self.container_running(now, &container, Some(pid), out);
            }
            ContainerEvent::Failed { message } => self.container_failed(now, &container, &message, out),
            ContainerEvent::Exited { status } => self.container_exited(now, &container, status, out),
            ContainerEvent::Limited { status, limitation } => {
                self.container_limited(now, &container, status, limitation, out);
            }
        }
        if self.unheard.remove(&container) {
            self.end_recovery_if_complete(now, out);
        }
    }

    fn container_running(&mut self, now: Now, container: &ContainerId, pid: Option<i32>, out: &mut Effects) {
        let Some((framework, executor)) = self.executor_in(container) else { return };
        let first = executor.container != Container::Started;
        let known = executor.pid;
        executor.container = Container::Started;
        executor.pid = pid.or(known);
        let asked = executor.subscribed || executor.runs().iter().any(|run| run.kill.is_some());
        let ending = match executor.state {
            ExecutorState::Registering | ExecutorState::Running => false,
            ExecutorState::Terminating => first && !asked, // told to end before anybody in it could be asked
            ExecutorState::Terminated => true,
        };
        if ending && pid.is_some() {
            out.push(Effect::Stop(container.clone(), Stop::Kill));
        }
        let id = executor.id.clone();
        let generated = executor.generated();
        if first {
            let at = now.timestamp();
            for run in executor.played.iter_mut().flat_map(|played| &mut played.runs) {
                run.started_at = at;
            }
            let entry = Entry::Started(record::Started {
                framework_id: framework.proto(),
                executor_id: id.proto(),
                container_id: container.as_str().to_owned(),
                pid,
                at,
            });
            self.record(entry, out);
        } else {
            self.allot(&framework, &id, out); // an earlier life of the agent launched it
        }
        if generated {
            self.command_running(now, &framework, &id, out);
        }
    }

    /// It never ran.
    pub(crate) fn container_failed(&mut self, now: Now, container: &ContainerId, message: &str, out: &mut Effects) {
        let Some((framework, executor)) = self.executor_in(container) else { return };
        let termination = if executor.container == Container::Launched {
            self.counters.container_launch_errors += 1;
            tracing::warn!(%framework, %container, "failed to launch: {message}");
            Termination {
                state: TaskState::TaskFailed as i32,
                reason: Reason::ContainerLaunchFailed as i32,
                message: format!("Failed to launch container: {message}"),
                limitation: Vec::new(),
            }
        } else {
            self.launch_died_with_the_agent(&framework)
        };
        self.container_gone(now, container, None, Some(termination), out);
    }

    fn container_exited(&mut self, now: Now, container: &ContainerId, status: Option<i32>, out: &mut Effects) {
        let Some((framework, executor)) = self.executor_in(container) else { return };
        if executor.container == Container::Recovered && status.is_none() {
            let termination = self.launch_died_with_the_agent(&framework);
            self.container_gone(now, container, None, Some(termination), out);
            return;
        }
        let (id, generated) = (executor.id.clone(), executor.generated());
        if executor.container != Container::Started {
            self.container_running(now, container, None, out); // it ran while nobody looked
        }
        if generated {
            self.command_exited(now, &framework, &id, status, out);
        }
        self.container_gone(now, container, status, None, out);
    }

    /// It took more than it may: its tasks fail for that, whatever else was to become of them.
    fn container_limited(
        &mut self,
        now: Now,
        container: &ContainerId,
        status: Option<i32>,
        limitation: Limitation,
        out: &mut Effects,
    ) {
        let Some((framework, executor)) = self.executor_in(container) else { return };
        tracing::info!(%framework, executor = %executor.id, %container, "{}", limitation.message);
        if executor.container != Container::Started {
            self.container_running(now, container, None, out); // it ran while nobody looked
        }
        let termination = Termination {
            state: TaskState::TaskFailed as i32,
            reason: limitation.reason as i32,
            message: limitation.message,
            limitation: limitation.resources,
        };
        self.container_gone(now, container, status, Some(termination), out);
    }

    /// What is said of tasks whose container an earlier life of the agent meant to launch, and did not.
    fn launch_died_with_the_agent(&self, framework: &FrameworkId) -> Termination {
        let state = self.frameworks.get(framework).map_or(TaskState::TaskLost, |framework| framework.dropped());
        Termination {
            state: state as i32,
            reason: Reason::AgentRestarted as i32,
            message: "Task launched during agent restart".into(),
            limitation: Vec::new(),
        }
    }

    /// The container of an executor is no more: its tasks end with it.
    pub(crate) fn container_gone(
        &mut self,
        now: Now,
        container: &ContainerId,
        status: Option<i32>,
        termination: Option<Termination>,
        out: &mut Effects,
    ) {
        let Some((framework_id, executor)) = self.executor_in(container) else { return };
        if executor.state == ExecutorState::Terminated {
            return;
        }
        executor.state = ExecutorState::Terminated;
        let id = executor.id.clone();
        let generated = executor.generated();
        let (timer, heartbeat, stream) = (executor.timer.take(), executor.heartbeat.take(), executor.stream.take());
        executor.waiting.clear();
        let completions: Vec<_> =
            executor.played.iter_mut().flat_map(|played| &mut played.runs).map(|run| run.completion.take()).collect();
        let pod = executor.is_pod();
        let report = report_of(&id, [executor.termination.clone(), termination]);
        let tasks: Vec<TaskId> = executor.launched.keys().chain(executor.queued.keys()).cloned().collect();
        self.counters.executors_terminated += 1;
        self.timers.cancel(timer);
        self.timers.cancel(heartbeat);
        completions.into_iter().for_each(|completion| self.timers.cancel(completion));
        self.end_checks(container, out);
        if let Some(stream) = stream {
            self.streams.remove(&stream);
            out.push(Effect::CloseStream(stream));
        }
        tracing::debug!(framework = %framework_id, executor = %id, %container, ?status, "executor ended");
        // The master tells of the executor's end before that of its tasks.
        if !generated {
            let message = link::ExitedExecutor {
                framework_id: framework_id.proto(),
                executor_id: id.proto(),
                status: status.unwrap_or(-1),
            };
            self.say(from_agent::Message::ExitedExecutor(message), out);
        }
        // The updates are recorded first: whoever recovers a prefix of the records finds the container not yet ended,
        // and asks for its end again.
        let terminating = self.frameworks.get(&framework_id).is_some_and(|framework| framework.terminating);
        if terminating {
            if let Some((_, executor)) = self.executor_in(container) {
                executor.terminated.append(&mut executor.launched);
            }
        } else {
            for task in tasks {
                self.agent_update(now, &framework_id, &task, report.clone(), out);
            }
        }
        self.record(Entry::Exited(record::Container::new(&framework_id, &id, container)), out);
        if !pod {
            out.push(Effect::Forget(container.clone()));
        }
        self.remove_if_done(&framework_id, &id, out);
    }

    /// Makes an executor history if nothing of it is left, and its framework too when it has none.
    pub(crate) fn remove_if_done(&mut self, framework_id: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let ending = framework.terminating || self.terminating.is_some();
        let done = framework.executors.get(id).is_some_and(|executor| executor.is_done(ending));
        if done {
            self.remove_executor(framework_id, id, out);
        }
        self.remove_framework_if_idle(framework_id, out);
    }

    /// Makes executors of which nothing is left history, and their framework too when it has none.
    pub(crate) fn remove_what_is_done(&mut self, framework_id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(framework_id) else { return };
        let ending = framework.terminating || self.terminating.is_some();
        let done: Vec<ExecutorId> = framework
            .executors
            .values()
            .filter(|executor| executor.is_done(ending))
            .map(|executor| executor.id.clone())
            .collect();
        for id in done {
            self.remove_executor(framework_id, &id, out);
        }
        self.remove_framework_if_idle(framework_id, out);
    }

    fn remove_executor(&mut self, framework_id: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(executor) = self.executor(framework_id, id) else { return };
        let (container, directory) = (executor.container_id.clone(), executor.directory.to_path_buf());
        self.record(Entry::Done(record::Container::new(framework_id, id, &container)), out);
        out.push(Effect::Collect(directory));
        self.complete_executor(framework_id, id);
    }

    pub(crate) fn complete_executor(&mut self, framework_id: &FrameworkId, id: &ExecutorId) {
        let keep = self.config.max_completed_executors_per_framework;
        let Some(framework) = self.frameworks.get_mut(framework_id) else { return };
        if let Some(executor) = framework.executors.get(id) {
            self.containers.remove(&executor.container_id);
        }
        framework.complete(id, keep);
    }

    pub(crate) fn remove_framework_if_idle(&mut self, id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(id) else { return };
        let ending = framework.terminating || self.terminating.is_some();
        if framework.executors.is_empty() && (ending || !self.updates.has_pending(id)) {
            tracing::info!(framework = %id, "nothing of the framework is left");
            self.record(Entry::FrameworkDone(id.proto()), out);
            self.complete_framework(id);
            self.end_drain_if_empty(out);
        }
        if self.frameworks.is_empty()
            && let Some(reason) = &self.terminating
        {
            out.push(Effect::Exit(reason.clone()));
        }
    }

    pub(crate) fn complete_framework(&mut self, id: &FrameworkId) {
        self.drop_updates_of(id);
        let Some(mut framework) = self.frameworks.remove(id) else { return };
        framework.terminating = false;
        self.completed_frameworks.push_back(framework);
        while self.completed_frameworks.len() > self.config.max_completed_frameworks {
            self.completed_frameworks.pop_front();
        }
    }

    pub(crate) fn shutdown_executor_message(&mut self, now: Now, message: &link::ShutdownExecutor, out: &mut Effects) {
        let (framework, id) = (FrameworkId::from(&message.framework_id), ExecutorId::from(&message.executor_id));
        if self.frameworks.get(&framework).is_some_and(|framework| framework.terminating) {
            return;
        }
        self.shut_down_executor(now, &framework, &id, out);
    }

    /// Asks an executor to end; after its grace it is ended. Nothing happens if it ends already.
    pub(crate) fn shut_down_executor(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let default = self.config.executor_shutdown_grace_period;
        let Some(executor) = self.executor(framework, id) else {
            tracing::warn!(%framework, executor = %id, "ignored the shutdown of an unknown executor");
            return;
        };
        if matches!(executor.state, ExecutorState::Terminating | ExecutorState::Terminated) {
            return;
        }
        tracing::info!(%framework, executor = %id, "shutting down");
        executor.state = ExecutorState::Terminating;
        let container = executor.container_id.clone();
        let grace = executor.shutdown_grace().unwrap_or(default);
        let (timer, stream, generated) = (executor.timer.take(), executor.stream, executor.generated());
        let pod = executor.is_pod();
        let nobody_to_ask = !generated && executor.container != Container::Started;
        self.timers.cancel(timer);
        let entry = Entry::Shutdown(record::Shutdown {
            framework_id: framework.proto(),
            executor_id: id.proto(),
            container_id: container.as_str().to_owned(),
            termination: None,
        });
        self.record(entry, out);
        if generated {
            self.shut_down_command(now, framework, id, out);
        } else if pod {
            self.shut_down_pod(now, framework, id, out);
        } else if let Some(stream) = stream {
            out.push(Effect::ToExecutor(stream, Box::new(event(v1::executor::event::Type::Shutdown))));
        }
        if self.executor(framework, id).is_none_or(|executor| executor.state == ExecutorState::Terminated) {
            return; // a pod without tasks
        }
        let deadline = if nobody_to_ask { now.mono } else { now.mono + grace };
        self.arm_shutdown(&container, deadline);
    }

    pub(crate) fn arm_shutdown(&mut self, container: &ContainerId, deadline: std::time::Duration) {
        let timer = self.timers.set(deadline, Timer::ShutdownGrace(container.clone()));
        if let Some((_, executor)) = self.executor_in(container) {
            executor.timer = Some(timer);
        }
    }

    /// The grace of a shutdown is over.
    pub(crate) fn shutdown_timeout(&mut self, container: &ContainerId, out: &mut Effects) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        executor.timer = None;
        if executor.state == ExecutorState::Terminating {
            tracing::info!(%container, "killing an executor that did not end within its grace");
            if executor.is_pod() {
                self.kill_pod(container, out);
            } else {
                out.push(Effect::Stop(container.clone(), Stop::Kill));
            }
        }
    }

    /// A custom executor has not subscribed in time.
    pub(crate) fn registration_timeout(&mut self, _now: Now, container: &ContainerId, out: &mut Effects) {
        let timeout = format_duration(self.config.executor_registration_timeout);
        let Some((framework, executor)) = self.executor_in(container) else { return };
        executor.timer = None;
        if executor.state != ExecutorState::Registering {
            return;
        }
        let (id, container) = (executor.id.clone(), container.clone());
        let termination = Termination {
            state: TaskState::TaskFailed as i32,
            reason: Reason::ExecutorRegistrationTimeout as i32,
            message: format!("Executor did not register within {timeout}"),
            limitation: Vec::new(),
        };
        self.kill_executor(&framework, &id, &container, termination, out);
    }

    /// Executors that survived a restart of the agent and did not subscribe again are ended.
    pub(crate) fn give_up_silent_executors(&mut self, _now: Now, out: &mut Effects) {
        let timeout = format_duration(self.config.executor_reregistration_timeout);
        let mut silent = Vec::new();
        for framework in self.frameworks.values() {
            for executor in framework.executors.values() {
                if executor.state == ExecutorState::Registering && executor.played.is_none() {
                    let id = (framework.id.clone(), executor.id.clone(), executor.container_id.clone());
                    silent.push((id, framework.gone()));
                }
            }
        }
        for ((framework, id, container), state) in silent {
            let termination = Termination {
                state: state as i32,
                reason: Reason::ExecutorReregistrationTimeout as i32,
                message: format!("Executor did not reregister within {timeout}"),
                limitation: Vec::new(),
            };
            self.kill_executor(&framework, &id, &container, termination, out);
        }
    }

    /// Ends an executor without asking it; its tasks get `termination`.
    fn kill_executor(
        &mut self,
        framework: &FrameworkId,
        id: &ExecutorId,
        container: &ContainerId,
        termination: Termination,
        out: &mut Effects,
    ) {
        tracing::warn!(%framework, executor = %id, "{}", termination.message);
        let entry = Entry::Shutdown(record::Shutdown {
            framework_id: framework.proto(),
            executor_id: id.proto(),
            container_id: container.as_str().to_owned(),
            termination: Some(termination.clone()),
        });
        self.record(entry, out);
        if let Some(executor) = self.executor(framework, id) {
            executor.state = ExecutorState::Terminating;
            executor.termination = Some(termination);
        }
        out.push(Effect::Stop(container.clone(), Stop::Kill));
    }

    /// Ends everything of a framework.
    pub(crate) fn shutdown_framework(&mut self, now: Now, id: &FrameworkId, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(id).filter(|framework| !framework.terminating) else { return };
        tracing::info!(framework = %id, "shutting down");
        framework.terminating = true;
        let executors: Vec<ExecutorId> = framework.executors.keys().cloned().collect();
        self.record(Entry::FrameworkShutdown(id.proto()), out);
        self.drop_updates_of(id);
        for executor in executors {
            self.shut_down_executor(now, id, &executor, out);
        }
        self.remove_what_is_done(id, out);
    }

    /// Ends everything, then the agent.
    pub(crate) fn shut_down(&mut self, now: Now, reason: String, out: &mut Effects) {
        if self.terminating.is_some() {
            return;
        }
        tracing::warn!("the agent shuts down: {reason}");
        self.terminating = Some(reason.clone());
        self.registered = false;
        self.pause_updates();
        self.pause_operations();
        if self.frameworks.is_empty() {
            out.push(Effect::Exit(reason));
            return;
        }
        let frameworks: Vec<FrameworkId> = self.frameworks.keys().cloned().collect();
        for framework in frameworks {
            self.shutdown_framework(now, &framework, out);
        }
    }

    /// The framework's scheduler is another one, or describes itself anew.
    pub(crate) fn update_framework(&mut self, now: Now, message: link::UpdateFramework, out: &mut Effects) {
        let Some(id) = message.framework.id.as_ref().map(FrameworkId::from) else { return };
        let Some(framework) = self.frameworks.get(&id).filter(|framework| !framework.terminating) else { return };
        if *framework.info != message.framework {
            let info = Arc::new(message.framework);
            self.record(Entry::Framework(info.clone().into()), out);
            self.enter_framework(id.clone(), info);
        }
        self.resend_updates_of(now, &id, out);
    }

    /// Data of a framework for its executor.
    pub(crate) fn framework_message(&mut self, message: link::FrameworkMessage, out: &mut Effects) {
        let (framework, id) = (FrameworkId::from(message.framework_id), ExecutorId::from(message.executor_id));
        let ending = self.frameworks.get(&framework).is_none_or(|framework| framework.terminating);
        let stream = self
            .executor(&framework, &id)
            .filter(|executor| !ending && executor.state == ExecutorState::Running)
            .and_then(|executor| executor.stream);
        let Some(stream) = stream else {
            tracing::warn!(%framework, executor = %id, "dropped a message: the executor does not run");
            self.counters.invalid_framework_messages += 1;
            return;
        };
        self.counters.valid_framework_messages += 1;
        let event = v1::executor::Event {
            message: Some(v1::executor::event::Message { data: message.data }),
            ..event(v1::executor::event::Type::Message)
        };
        out.push(Effect::ToExecutor(stream, Box::new(event)));
    }
}

/// An event of this type, without content.
pub(crate) fn event(kind: v1::executor::event::Type) -> v1::executor::Event {
    v1::executor::Event { r#type: Some(kind as i32), ..Default::default() }
}

/// How tasks that are left at an executor's end are reported: what the container's end says goes before what the
/// agent had in mind, messages of both are told (src/slave/slave.cpp, sendExecutorTerminatedStatusUpdate).
fn report_of(id: &ExecutorId, [pending, last]: [Option<Termination>; 2]) -> Report {
    let texts: Vec<&str> = pending.iter().chain(&last).map(|termination| termination.message.as_str()).collect();
    let message = if texts.is_empty() { "Executor terminated".to_string() } else { texts.join("; ") };
    let says = last.as_ref().or(pending.as_ref());
    let state = says.and_then(|says| says.state.try_into().ok()).unwrap_or(TaskState::TaskFailed);
    let reason = says.and_then(|says| says.reason.try_into().ok()).unwrap_or(Reason::ExecutorTerminated);
    let limitation = says.map(|says| says.limitation.clone()).unwrap_or_default();
    Report::new(state).reason(reason).message(message).executor(id).limited(limitation)
}

impl record::Container {
    pub(crate) fn new(framework: &FrameworkId, executor: &ExecutorId, container: &ContainerId) -> Self {
        Self {
            framework_id: framework.proto(),
            executor_id: executor.proto(),
            container_id: container.as_str().to_owned(),
        }
    }
}
