//! Command tasks: the agent plays the part of Mesos' command executor (src/launcher/executor.cpp), the containerizer's
//! supervisor runs the command itself, in the executor's own container.

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    link,
    time::Now,
    v1::{self, TaskState, task_status::Reason},
};

use crate::{
    container::{self, Enter, Scope, Stop},
    core::Core,
    effect::{Effect, Effects},
    environment::{self, Subject},
    executors::event,
    image,
    isolation::Isolation,
    launch::Unlaunchable,
    played::hand_over,
    run::{Why, nanoseconds},
    status::Report,
    view::ExecutorState,
};

/// Kills that wait for an executor whose stream is away.
const MAX_WAITING: usize = 4096;

impl Core {
    /// The command's process runs.
    pub(crate) fn command_running(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let task = TaskId::from(id.as_str());
        let Some(executor) = self.executor(framework, id) else { return };
        if executor.state == ExecutorState::Registering {
            executor.state = ExecutorState::Running;
            hand_over(executor, &task);
        }
        self.run_started(now, (framework, id, &task), out);
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
        let task = TaskId::from(id.as_str());
        let Some(executor) = self.executor(framework, id) else { return };
        let container = executor.container_id.clone();
        let known = executor.launched.contains_key(&task);
        let report = executor.run_of(&task).zip(status).map(|(run, status)| Self::end_of(run, status));
        self.end_checks(&container, out);
        if let Some(report) = report.filter(|_| known) {
            self.played_update(now, (framework, id, &task), report, out);
        }
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
        let task = TaskId::from(id.as_str());
        hand_over(executor, &task);
        self.played_update(now, (framework, &id, &task), Report::new(TaskState::TaskStarting), out);
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
        self.kill_run(now, (framework, id, &TaskId::from(id.as_str())), grace, Why::Asked, out);
    }

    /// A framework wants a task to end.
    pub(crate) fn kill_task(&mut self, now: Now, message: link::KillTask, out: &mut Effects) {
        if self.recovering.is_some() || self.terminating.is_some() {
            return;
        }
        self.kill(now, message, out);
    }

    /// Ends a task, whoever wants it (src/slave/slave.cpp, killTask and kill).
    pub(crate) fn kill(&mut self, now: Now, message: link::KillTask, out: &mut Effects) {
        let (framework_id, task) = (FrameworkId::from(&message.framework_id), TaskId::from(&message.task_id));
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
            ExecutorState::Registering | ExecutorState::Running if executor.played.is_some() => {
                let asked = message.kill_policy.and_then(|policy| policy.grace_period);
                let known = executor.launched.contains_key(&task);
                let grace = self.run_grace(&framework_id, &id, &task, asked.as_ref().map(nanoseconds));
                if known {
                    self.kill_run(now, (&framework_id, &id, &task), grace, Why::Asked, out);
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

    /// The command of a check, in the container of its task: with the task's environment and its own on top.
    pub(crate) fn check_command(
        &mut self,
        container: &ContainerId,
        probe: &ContainerId,
        command: &v1::CommandInfo,
    ) -> Result<container::Launch, String> {
        let gone = || "the task is gone".to_string();
        let (framework_id, id, task) = self.played_in(container).ok_or_else(gone)?;
        let framework = self.frameworks.get(&framework_id).ok_or_else(gone)?;
        let executor = framework.executors.get(&id).ok_or_else(gone)?;
        let run = executor.run_of(&task).ok_or_else(gone)?;
        let program = container::Command::of(command, None).ok_or("the check has no command")?;
        let on_top = environment::with(Vec::new(), command.environment.as_ref()).map_err(|error| error.to_string())?;
        let described = if executor.is_pod() {
            executor.launched.get(&task).and_then(|task| task.container.as_deref())
        } else {
            executor.info.container.as_deref()
        };
        let described = image::describe(self.config.images, described, None).map_err(Unlaunchable::text)?;
        let own = if executor.is_pod() { run.spec.command.as_ref() } else { executor.info.command.as_ref() };
        let sandbox = executor.sandbox_of(run);
        let environment = if executor.is_pod() {
            environment::nested(&self.config, &sandbox, own, run.spec.role.as_deref())
        } else {
            let role = executor.launched.get(&task).and_then(|task| {
                task.resources.iter().find_map(|resource| resource.allocation_info.as_ref()?.role.clone())
            });
            environment::environment(
                &self.config,
                &self.texts,
                &Subject {
                    agent: self.agent_id.as_ref().ok_or_else(gone)?,
                    framework: &framework_id,
                    executor: &id,
                    checkpoint: framework.checkpoint(),
                    directory: &executor.directory,
                    shutdown_grace: executor.shutdown_grace(),
                    command: own,
                    allocation_role: role.as_deref(),
                    own_network: executor.network_of(&task).is_some(),
                },
            )
        };
        let environment = environment
            .and_then(|all| environment::with(all, command.environment.as_ref()))
            .map_err(|error| error.to_string())?;
        Ok(container::Launch {
            container_id: probe.clone(),
            sandbox,
            user: command.user.clone().filter(|_| self.config.switch_user),
            command: program,
            environment,
            uris: Vec::new(),
            volumes: Vec::new(),
            nested: None,
            isolation: Some(Box::new(Isolation { info: described.info, ..Isolation::default() })),
            image: None,
            network: None,
            io: None,
            enter: Some(Box::new(Enter { container: container.clone(), scope: Scope::AsItself(on_top) })),
            called: None,
        })
    }
}
