//! The default executor, played by the agent (src/launcher/default_executor.cpp): task groups, each task in a container
//! of its own whose sandbox lies in the executor's. The executor's own container has no process.

use std::{path::PathBuf, time::Duration};

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    time::Now,
    v1::{self, TaskState, task_status::Reason},
};

use crate::{
    container::{self, ContainerEvent, Nested, Stop},
    core::Core,
    effect::{Effect, Effects},
    entity::{Container, Executor},
    environment, image,
    isolation::{self, Isolation, Limitation},
    launch::{Unlaunchable, sandbox_volumes, usable},
    network,
    played::{DEFAULT_GRACE, Place, hand_over},
    record::{self, Entry, Termination},
    run::{Run, Spec, Why},
    status::{self, Report},
    timers::Timer,
    view::ExecutorState,
    volumes::links,
};

/// An executor that has nothing to do waits for acknowledgements no longer (src/launcher/default_executor.cpp, _shutdown).
const FAILSAFE: Duration = Duration::from_secs(60);

impl Core {
    /// Starts the groups that wait: each task gets its container.
    pub(crate) fn launch_groups(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(executor) = self.executor(framework, id) else { return };
        let groups = std::mem::take(&mut executor.queued_groups);
        let ending = executor.timer.take();
        self.timers.cancel(ending);
        for group in groups {
            let mut launched = Vec::with_capacity(group.len());
            for task in &group {
                if let Some(info) = self.give_to_pod(framework, id, task, out) {
                    launched.push((task.clone(), info));
                }
            }
            if let Some(played) = self.executor(framework, id).and_then(|executor| executor.played.as_mut()) {
                played.groups += 1;
            }
            for (task, _) in &launched {
                self.played_update(now, (framework, id, task), Report::new(TaskState::TaskStarting), out);
            }
            for (task, info) in &launched {
                match self.container_of_task(framework, id, task, info) {
                    Ok(launch) => out.push(Effect::Launch(Box::new(launch))),
                    Err(why) => self.run_failed(now, (framework, id, task), &why.text(), out),
                }
            }
        }
    }

    /// A task leaves the queue and gets its container's id.
    fn give_to_pod(
        &mut self,
        framework: &FrameworkId,
        id: &ExecutorId,
        task: &TaskId,
        out: &mut Effects,
    ) -> Option<v1::TaskInfo> {
        let container_id = ContainerId::from(status::uuid(&mut self.random).to_string());
        let executor = self.executor(framework, id)?;
        let info = hand_over(executor, task)?;
        let parent = executor.container_id.to_string();
        let played = executor.played.as_mut()?;
        let spec = Spec::of(&info, true);
        let entry = Entry::Nested(Box::new(record::Nested {
            framework_id: framework.proto(),
            executor_id: id.proto(),
            parent_id: parent,
            container_id: container_id.to_string(),
            task_id: task.proto(),
            group: played.groups,
            command: spec.record(),
        }));
        let mut run = Run::new(task.clone(), container_id.clone(), spec, Container::Launched);
        run.group = played.groups;
        played.runs.push(run);
        self.containers.insert(container_id, (framework.clone(), id.clone()));
        self.record(entry, out);
        Some((*info).clone())
    }

    fn container_of_task(
        &self,
        framework_id: &FrameworkId,
        id: &ExecutorId,
        task: &TaskId,
        info: &v1::TaskInfo,
    ) -> Result<container::Launch, Unlaunchable> {
        let framework = self.frameworks.get(framework_id).ok_or(Unlaunchable::Unknown)?;
        let executor = framework.executors.get(id).ok_or(Unlaunchable::Unknown)?;
        let run = executor.run_of(task).ok_or(Unlaunchable::Unknown)?;
        let described = image::describe(self.config.images, info.container.as_deref(), info.command.as_ref())?;
        let volumes = sandbox_volumes(self.config.abilities, info)?;
        let allotment = isolation::of_task(info);
        network::check_ports(described.network.as_ref(), &allotment.ports).map_err(Unlaunchable::Container)?;
        let command = info.command.as_ref().ok_or(Unlaunchable::NoCommand)?;
        let program = container::Command::of(command, described.image.as_ref()).ok_or(Unlaunchable::NoCommand)?;
        let sandbox = executor.sandbox_of(run);
        let environment = environment::nested(&self.config, &sandbox, Some(command), run.spec.role.as_deref());
        let user = self.config.switch_user.then(|| framework.info.user.clone());
        Ok(container::Launch {
            container_id: run.container_id.clone(),
            sandbox,
            user: self.config.switch_user.then(|| command.user.clone().unwrap_or_else(|| framework.info.user.clone())),
            command: program,
            environment: environment.map_err(|error| Unlaunchable::Container(error.to_string()))?,
            uris: command.uris.clone(),
            volumes: usable(links(&self.config.work_dir, &info.resources))?,
            nested: Some(Box::new(Nested {
                parent: executor.directory.to_path_buf(),
                parent_user: user,
                task: task.to_string(),
                volumes,
            })),
            isolation: Some(Box::new(Isolation {
                info: described.info,
                allotment,
                pod: Some(isolation::pod(executor)),
            })),
            image: described.image.map(Box::new),
            network: described.network,
            io: container::Io::of_task(info.container.as_deref()),
            enter: None,
            called: None,
        })
    }

    /// What became of the container of a task. `false` if the container is none of that kind.
    pub(crate) fn nested_event(
        &mut self,
        now: Now,
        container: &ContainerId,
        event: &ContainerEvent,
        out: &mut Effects,
    ) -> bool {
        let Some((framework, id, task)) = self.pod_task_in(container) else { return false };
        let place = (&framework, &id, &task);
        match event {
            ContainerEvent::Running { pid, address } => {
                if let Some(run) = self.run_in(container) {
                    run.address = *address;
                }
                self.nested_running(now, place, container, Some(*pid), out);
            }
            ContainerEvent::Failed { message } => self.run_failed(now, place, message, out),
            ContainerEvent::Exited { status } => self.nested_exited(now, place, container, (*status, None), out),
            ContainerEvent::Limited { status, limitation } => {
                self.nested_exited(now, place, container, (*status, Some(limitation)), out);
            }
        }
        true
    }

    /// Whose container it is, if it is that of a task of a pod.
    fn pod_task_in(&self, container: &ContainerId) -> Option<(FrameworkId, ExecutorId, TaskId)> {
        let (framework, id) = self.containers.get(container)?;
        let executor = self.frameworks.get(framework)?.executors.get(id).filter(|executor| executor.is_pod())?;
        let run = executor.runs().iter().find(|run| run.container_id == *container)?;
        Some((framework.clone(), id.clone(), run.task.clone()))
    }

    fn nested_running(
        &mut self,
        now: Now,
        place: Place<'_>,
        container: &ContainerId,
        pid: Option<i32>,
        out: &mut Effects,
    ) {
        let Some(run) = self.run_in(container) else { return };
        let first = run.container != Container::Started;
        run.container = Container::Started;
        run.pid = pid.or(run.pid);
        if first {
            let at = now.timestamp();
            run.started_at = at;
            let entry = Entry::Started(record::Started {
                framework_id: place.0.proto(),
                executor_id: place.1.proto(),
                container_id: container.to_string(),
                pid,
                at,
            });
            self.record(entry, out);
        }
        self.run_started(now, place, out);
    }

    fn nested_exited(
        &mut self,
        now: Now,
        place: Place<'_>,
        container: &ContainerId,
        (status, limitation): (Option<i32>, Option<&Limitation>),
        out: &mut Effects,
    ) {
        let Some(run) = self.run_in(container) else { return };
        let ran = run.container == Container::Started;
        let report = match status {
            Some(status) => {
                if !ran {
                    self.nested_running(now, place, container, None, out); // it ran while nobody looked
                }
                let Some(run) = self.run_in(container) else { return };
                Self::end_of(run, status)
            }
            None if run.kill.is_some() => Report::new(TaskState::TaskKilled),
            None if ran => Report::new(TaskState::TaskFailed).message("Command terminated with unknown status"),
            None => Report::new(TaskState::TaskFailed).message("Unable to retrieve command's termination information"),
        };
        let report = match limitation {
            Some(limitation) => limited(report, limitation),
            None => report,
        };
        self.run_over(now, place, report, out);
    }

    /// Its container never ran.
    fn run_failed(&mut self, now: Now, place: Place<'_>, message: &str, out: &mut Effects) {
        let (framework, id, task) = place;
        self.counters.container_launch_errors += 1;
        tracing::warn!(%framework, %task, "failed to launch: {message}");
        let killed = self.executor(framework, id).and_then(|executor| executor.run_of(task)?.kill).is_some();
        let report = if killed {
            Report::new(TaskState::TaskKilled)
        } else {
            Report::new(TaskState::TaskFailed).message(message)
        };
        self.run_over(now, place, report, out);
    }

    /// A task of a pod is over: so is its group if it did not finish, and the executor when it was the last one.
    fn run_over(&mut self, now: Now, place: Place<'_>, report: Report, out: &mut Effects) {
        let (framework, id, task) = place;
        let Some(executor) = self.executor(framework, id) else { return };
        let Some(run) = executor.run_of(task) else { return };
        let (container, group, group_ends) = (run.container_id.clone(), run.group, run.group_ends);
        self.end_checks(&container, out);
        // It may have been told before a restart of the agent, which had not come to decide what follows.
        let told = self.executor(framework, id).and_then(|executor| executor.ended_in(task));
        let state = told.unwrap_or(report.state);
        if told.is_none() {
            self.played_update(now, place, report, out);
        }
        let Some(executor) = self.executor(framework, id) else { return };
        let running = executor.state == ExecutorState::Running;
        let failed = matches!(state, TaskState::TaskFailed | TaskState::TaskKilled | TaskState::TaskGoneByOperator);
        if failed && running && !group_ends && !mezzo_api::mutant!("group-outlives-failure") {
            self.end_group(now, (framework, id, task), group, out);
        }
        let entry = Entry::NestedExited(record::Container::new(framework, id, &container));
        self.record(entry, out);
        self.forget_run(&container);
        out.push(Effect::Forget(container));
        self.end_pod_if_idle(now, framework, id, out);
    }

    /// Kills the others of a group (src/launcher/default_executor.cpp, waited).
    fn end_group(&mut self, now: Now, (framework, id, task): Place<'_>, group: u32, out: &mut Effects) {
        let Some(played) = self.executor(framework, id).and_then(|executor| executor.played.as_mut()) else { return };
        let mut others = Vec::new();
        for run in played.runs.iter_mut().filter(|run| run.group == group && run.task != *task) {
            run.group_ends = true;
            if run.kill.is_none() {
                others.push(run.task.clone());
            }
        }
        for other in others {
            self.kill_run(now, (framework, id, &other), DEFAULT_GRACE, Why::Asked, out);
        }
    }

    pub(crate) fn forget_run(&mut self, container: &ContainerId) {
        let Some((framework, id)) = self.containers.get(container).cloned() else { return };
        let Some(played) = self.executor(&framework, &id).and_then(|executor| executor.played.as_mut()) else { return };
        let Some(place) = played.runs.iter().position(|run| run.container_id == *container) else { return };
        let run = played.runs.remove(place);
        self.timers.cancel(run.completion);
        self.containers.remove(container);
    }

    /// The default executor ends with its last task, when that task's end is acknowledged or after a while.
    pub(crate) fn end_pod_if_idle(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(entry) = self.frameworks.get_mut(framework) else { return };
        let unheard = entry.terminating || self.terminating.is_some();
        let Some(executor) = entry.executors.get_mut(id) else { return };
        let idle = executor.is_pod() && executor.runs().is_empty() && executor.queued_groups.is_empty();
        if !idle || executor.state == ExecutorState::Terminated {
            return;
        }
        let container = executor.container_id.clone();
        let at_once = unheard || executor.state == ExecutorState::Terminating || executor.terminated.is_empty();
        if at_once {
            self.container_gone(now, &container, Some(0), None, out);
        } else if executor.timer.is_none() {
            executor.timer = Some(self.timers.set(now.mono + FAILSAFE, Timer::PodEnd(container)));
        }
    }

    /// Nobody acknowledges the ends of its tasks.
    pub(crate) fn pod_timeout(&mut self, now: Now, container: &ContainerId, out: &mut Effects) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        executor.timer = None;
        if executor.state == ExecutorState::Running && executor.runs().is_empty() {
            self.container_gone(now, container, Some(0), None, out);
        }
    }

    /// SHUTDOWN: every task is killed.
    pub(crate) fn shut_down_pod(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(executor) = self.executor(framework, id) else { return };
        let tasks: Vec<TaskId> = executor.runs().iter().map(|run| run.task.clone()).collect();
        for task in tasks {
            self.kill_run(now, (framework, id, &task), DEFAULT_GRACE, Why::Asked, out);
        }
        self.end_pod_if_idle(now, framework, id, out);
    }

    /// The grace of its shutdown is over.
    pub(crate) fn kill_pod(&mut self, container: &ContainerId, out: &mut Effects) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        for run in executor.runs() {
            out.push(Effect::Stop(run.container_id.clone(), Stop::Kill));
        }
    }

    /// After a restart: tasks that were given to a pod and never got their container are lost, and a pod without any ends.
    pub(crate) fn tidy_pod(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let Some(dropped) = self.frameworks.get(framework).map(|framework| framework.dropped()) else { return };
        let Some(executor) = self.executor(framework, id) else { return };
        if !executor.is_pod() || executor.state == ExecutorState::Terminated {
            return;
        }
        let lost: Vec<TaskId> =
            executor.launched.keys().filter(|task| executor.run_of(task).is_none()).cloned().collect();
        for task in lost {
            let report = Report::new(dropped)
                .reason(Reason::AgentRestarted)
                .message("Task launched during agent restart")
                .executor(id);
            self.agent_update(now, framework, &task, report, out);
        }
        self.end_pod_if_idle(now, framework, id, out);
    }

    /// A pod whose machine was started anew: nothing of it runs.
    pub(crate) fn lose_pod(&mut self, now: Now, container: &ContainerId, termination: Termination, out: &mut Effects) {
        let Some((_, executor)) = self.executor_in(container) else { return };
        let runs: Vec<ContainerId> = executor.runs().iter().map(|run| run.container_id.clone()).collect();
        self.container_gone(now, container, None, Some(termination), out);
        runs.iter().for_each(|run| self.forget_run(run));
    }
}

/// What the container's end says goes before how its process ended (src/launcher/default_executor.cpp, waited).
fn limited(report: Report, limitation: &Limitation) -> Report {
    let message = match &report.message {
        Some(message) => format!("{message}: {}", limitation.message),
        None => limitation.message.clone(),
    };
    Report { state: TaskState::TaskFailed, ..report }
        .reason(limitation.reason)
        .message(message)
        .limited(limitation.resources.clone())
}

impl Executor {
    /// The state that a task has ended in, as far as it is remembered.
    fn ended_in(&self, task: &TaskId) -> Option<TaskState> {
        let acknowledged = || self.completed.iter().rev().find(|entry| entry.task_id.value == task.as_str());
        self.terminated.get(task).or_else(acknowledged).map(|entry| entry.state())
    }

    /// Where a task of an executor that the agent plays has its sandbox.
    pub(crate) fn sandbox_of(&self, run: &Run) -> PathBuf {
        if self.is_pod() {
            self.directory.join("containers").join(run.container_id.as_str())
        } else {
            self.directory.to_path_buf()
        }
    }
}
