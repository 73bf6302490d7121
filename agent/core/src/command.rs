//! Command tasks: the agent plays the part of Mesos' command executor (src/launcher/executor.cpp), the containerizer's
//! supervisor runs the command itself.

use std::{sync::Arc, time::Duration};

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    link,
    time::Now,
    v1::{self, TaskState, framework_info::capability, task_status::Reason},
};

use crate::{
    container::Stop,
    core::Core,
    effect::{Effect, Effects},
    entity::{CommandKill, Executor},
    executors::event,
    record::{self, Entry},
    status::{self, Report},
    timers::Timer,
    view::ExecutorState,
};

/// Between SIGTERM and SIGKILL when neither the kill nor the task says.
const DEFAULT_GRACE: Duration = Duration::from_secs(3);
/// Kills that wait for an executor whose stream is away.
const MAX_WAITING: usize = 4096;

impl Core {
    /// The command's process runs: what the executor would say of it by now.
    pub(crate) fn command_running(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let task = TaskId::from(id.as_str());
        let Some(executor) = self.executor(framework, id) else { return };
        if executor.state == ExecutorState::Registering {
            executor.state = ExecutorState::Running;
            hand_over(executor, framework, &task);
        }
        let state = executor.launched.get(&task).map(|task| task.state());
        let kill = executor.command.as_ref().and_then(|task| task.kill);
        let container = executor.container_id.clone();
        if let Some(kill) = kill {
            out.push(Effect::Stop(container, Stop::Graceful(kill.grace))); // again, since a restart of the agent
        } else {
            self.arm_completion(now, &container);
        }
        if state == Some(TaskState::TaskStaging) {
            self.command_update(now, framework, id, Report::new(TaskState::TaskStarting), out);
        }
        if matches!(state, Some(TaskState::TaskStaging | TaskState::TaskStarting)) {
            self.command_update(now, framework, id, Report::new(TaskState::TaskRunning), out);
        }
    }

    /// Sets the timer of the task's `max_completion_time`, which runs since its start.
    fn arm_completion(&mut self, now: Now, container: &ContainerId) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        let Some((limit, started_at)) =
            executor.command.as_ref().and_then(|task| Some((task.max_completion?, task.started_at)))
        else {
            return;
        };
        if executor.state != ExecutorState::Running {
            return;
        }
        let old = executor.timer.take();
        let passed = Duration::try_from_secs_f64(now.timestamp() - started_at).unwrap_or_default();
        self.timers.cancel(old);
        let timer = self.timers.set(now.mono + limit.saturating_sub(passed), Timer::Completion(container.clone()));
        if let Some((_, executor)) = self.executor_in(container) {
            executor.timer = Some(timer);
        }
    }

    /// The command is over: what the executor would say of its end. Without a wait status there is nothing to say;
    /// the task then ends with its container.
    pub(crate) fn command_exited(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        id: &ExecutorId,
        status: Option<i32>,
        out: &mut Effects,
    ) {
        let Some(executor) = self.executor(framework, id) else { return };
        let Some(status) = status.filter(|_| executor.launched.contains_key(id.as_str())) else { return };
        let kill = executor.command.as_ref().and_then(|task| task.kill);
        let report = match kill {
            Some(kill) if kill.completion => {
                Report::new(TaskState::TaskFailed).reason(Reason::MaxCompletionTimeReached)
            }
            Some(_) => Report::new(TaskState::TaskKilled),
            None if status::succeeded(status) => Report::new(TaskState::TaskFinished),
            None => Report::new(TaskState::TaskFailed),
        };
        let report = report.message(format!("Command {}", status::describe_exit(status)));
        self.command_update(now, framework, id, report, out);
    }

    /// There is nothing to run: Mesos' executor starts, and dies of it.
    pub(crate) fn fail_without_command(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        container: &ContainerId,
        out: &mut Effects,
    ) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        if !executor.generated() {
            self.container_failed(now, container, "The executor has no command", out);
            return;
        }
        executor.state = ExecutorState::Running;
        let id = executor.id.clone();
        hand_over(executor, framework, &TaskId::from(id.as_str()));
        self.command_update(now, framework, &id, Report::new(TaskState::TaskStarting), out);
        self.container_gone(now, container, None, None, out);
    }

    /// The executor of a command task is to end.
    pub(crate) fn shut_down_command(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let default = self.config.executor_shutdown_grace_period;
        let Some(executor) = self.executor(framework, id) else { return };
        if executor.launched.is_empty() {
            out.push(Effect::Stop(executor.container_id.clone(), Stop::Kill));
            return;
        }
        let grace = executor.command_shutdown_grace(default);
        self.kill_command(now, framework, id, grace, false, out);
    }

    /// Its `max_completion_time` is up.
    pub(crate) fn completion_timeout(&mut self, now: Now, container: &ContainerId, out: &mut Effects) {
        let Some((framework, executor)) = self.executor_in(container) else { return };
        executor.timer = None;
        let id = executor.id.clone();
        if executor.command.as_ref().is_some_and(|task| task.kill.is_none()) {
            tracing::info!(%framework, task = %id, "killing a task that exceeded its maximum completion time");
            self.kill_command(now, &framework, &id, Duration::ZERO, true, out);
        }
    }

    /// Kills a command that runs. Repeated, the grace can only become shorter, as a whole.
    fn kill_command(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        id: &ExecutorId,
        grace: Duration,
        completion: bool,
        out: &mut Effects,
    ) {
        let Some(executor) = self.executor(framework, id) else { return };
        let container = executor.container_id.clone();
        let Some(task) = executor.command.as_mut() else { return };
        let before = task.kill;
        if before.is_some_and(|before| grace >= before.grace) {
            return;
        }
        let kill = CommandKill {
            since: before.map_or(now.mono, |before| before.since),
            grace,
            completion: before.map_or(completion, |before| before.completion),
        };
        task.kill = Some(kill);
        if executor.state == ExecutorState::Running {
            let timer = executor.timer.take();
            self.timers.cancel(timer);
        }
        let entry = Entry::Kill(record::Kill {
            framework_id: framework.proto(),
            executor_id: id.proto(),
            container_id: container.to_string(),
            grace_ns: u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX),
            completion: kill.completion,
        });
        self.record(entry, out);
        let tells =
            self.frameworks.get(framework).is_some_and(|framework| framework.has(capability::Type::TaskKillingState));
        if before.is_none() && !completion && tells {
            self.command_update(now, framework, id, Report::new(TaskState::TaskKilling), out);
        }
        let left = (kill.since + grace).saturating_sub(now.mono);
        out.push(Effect::Stop(container, Stop::Graceful(left)));
    }

    /// A framework wants a task to end (src/slave/slave.cpp, killTask and kill).
    pub(crate) fn kill_task(&mut self, now: Now, message: link::KillTask, out: &mut Effects) {
        let (framework_id, task) = (FrameworkId::from(&message.framework_id), TaskId::from(&message.task_id));
        if self.recovering.is_some() || self.terminating.is_some() {
            return;
        }
        let Some(framework) = self.frameworks.get_mut(&framework_id).filter(|framework| !framework.terminating) else {
            tracing::warn!(framework = %framework_id, %task, "ignored the kill of a task of an unknown or ending framework");
            return;
        };
        let dropped = framework.dropped();
        let Some(executor) = framework.executor_of(&task) else {
            let report = Report::new(dropped).reason(Reason::ExecutorTerminated).message("Cannot find executor");
            self.orphan_update(now, &framework_id, &task, report, out);
            return;
        };
        let (id, stream, generated) = (executor.id.clone(), executor.stream, executor.generated());
        tracing::info!(framework = %framework_id, %task, "killing");
        match executor.state {
            ExecutorState::Terminating | ExecutorState::Terminated => {}
            ExecutorState::Registering if !(generated && executor.launched.contains_key(&task)) => {
                self.kill_queued(now, &framework_id, &id, &task, out);
            }
            ExecutorState::Running if executor.queued.contains_key(&task) => {
                self.kill_queued(now, &framework_id, &id, &task, out);
            }
            ExecutorState::Registering | ExecutorState::Running if generated => {
                let of_task = executor.command.as_ref().and_then(|command| command.grace);
                let asked = message.kill_policy.and_then(|policy| policy.grace_period);
                let asked = asked.map(|grace| Duration::from_nanos(grace.nanoseconds.max(0).unsigned_abs()));
                let grace = asked.or(of_task).unwrap_or(DEFAULT_GRACE);
                if executor.launched.contains_key(&task) {
                    self.kill_command(now, &framework_id, &id, grace, false, out);
                }
            }
            ExecutorState::Registering | ExecutorState::Running => {
                let kill = v1::executor::event::Kill { task_id: message.task_id, kill_policy: message.kill_policy };
                let event = v1::executor::Event { kill: Some(kill), ..event(v1::executor::event::Type::Kill) };
                match stream {
                    Some(stream) => out.push(Effect::ToExecutor(stream, Box::new(event))),
                    None if executor.waiting.len() < MAX_WAITING => executor.waiting.push(event),
                    None => {}
                }
            }
        }
    }

    /// Kills a task that was not given to its executor yet, with its group.
    fn kill_queued(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, task: &TaskId, out: &mut Effects) {
        let Some(executor) = self.executor(framework, id) else { return };
        if !executor.queued.contains_key(task) {
            return; // recovered: it may have been given to an executor that has yet to come back
        }
        let registering = executor.state == ExecutorState::Registering;
        let generated = executor.generated();
        let (tasks, group) = executor.queued_with(task);
        let text = if group && registering {
            "A task within the task group was killed before delivery to the executor"
        } else {
            "Killed before delivery to the executor"
        };
        for task in tasks {
            let report =
                Report::new(TaskState::TaskKilled).reason(Reason::TaskKilledDuringLaunch).message(text).executor(id);
            self.agent_update(now, framework, &task, report, out);
        }
        let Some(executor) = self.executor(framework, id) else { return };
        let never_used = !executor.ever_sent_task() && executor.queued.is_empty();
        if never_used && (generated || !registering) {
            self.shut_down_executor(now, framework, id, out);
        }
    }
}

/// The task is the executor's now.
fn hand_over(executor: &mut Executor, framework: &FrameworkId, task: &TaskId) {
    if let Some(info) = executor.dequeue(task) {
        executor.launched.insert(task.clone(), Arc::new(status::staging(&info, framework)));
    }
}
