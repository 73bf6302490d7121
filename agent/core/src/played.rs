//! What the agent does in the part of an executor, whether of a command task (src/launcher/executor.cpp) or of a pod
//! (src/launcher/default_executor.cpp): the statuses of a task that runs, its kill, its time limit.

use std::{sync::Arc, time::Duration};

use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    time::Now,
    v1::{
        self, CheckStatusInfo, TaskState,
        framework_info::capability,
        task_status::{Reason, Source},
    },
};

use crate::{
    checks,
    container::Stop,
    core::Core,
    effect::{Effect, Effects},
    entity::Executor,
    record::Entry,
    run::{Kill, Run, Why},
    status::{self, Report},
    timers::Timer,
    view::ExecutorState,
};

/// Between SIGTERM and SIGKILL when neither the kill nor the task says.
pub(crate) const DEFAULT_GRACE: Duration = Duration::from_secs(3);

/// A task of an executor of a framework.
pub(crate) type Place<'a> = (&'a FrameworkId, &'a ExecutorId, &'a TaskId);

/// What a check has found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// Whether the task is healthy.
    Health(bool),
    /// What a check that decides nothing says.
    Check(CheckStatusInfo),
}

impl Core {
    /// The task that runs in a container, if the agent plays its executor.
    pub(crate) fn run_in(&mut self, container: &ContainerId) -> Option<&mut Run> {
        let (framework, id) = self.containers.get(container)?;
        let executor = self.frameworks.get_mut(framework)?.executors.get_mut(id)?;
        executor.played.as_mut()?.runs.iter_mut().find(|run| run.container_id == *container)
    }

    /// Whose it is.
    pub(crate) fn played_in(&mut self, container: &ContainerId) -> Option<(FrameworkId, ExecutorId, TaskId)> {
        let task = self.run_in(container)?.task.clone();
        let (framework, id) = self.containers.get(container)?;
        Some((framework.clone(), id.clone(), task))
    }

    /// The process of a task runs: what its executor would say of it by now.
    pub(crate) fn run_started(&mut self, now: Now, place: Place<'_>, out: &mut Effects) {
        let (framework, id, task) = place;
        let Some(executor) = self.executor(framework, id) else { return };
        // It may have been killed before it came to run.
        let Some(state) = executor.launched.get(task).map(|task| task.state()) else { return };
        let Some(run) = executor.run_of(task) else { return };
        let (kill, container, checked) = (run.kill, run.container_id.clone(), run.spec.is_checked());
        let limited = run.spec.max_completion.is_some();
        match kill {
            // Again, since a restart of the agent.
            Some(kill) => out.push(Effect::Stop(container.clone(), Stop::Graceful(kill.grace))),
            None if limited => self.arm_completion(now, place),
            None => {}
        }
        let first = matches!(state, TaskState::TaskStaging | TaskState::TaskStarting);
        if state == TaskState::TaskStaging {
            self.played_update(now, place, Report::new(TaskState::TaskStarting), out);
        }
        if first && kill.is_none() {
            self.played_update(now, place, Report::new(TaskState::TaskRunning), out);
        }
        if kill.is_none() && checked {
            self.start_checks(now, &container, !first);
        }
    }

    /// Sets the timer of the task's `max_completion_time`, which runs since its start.
    fn arm_completion(&mut self, now: Now, (framework, id, task): Place<'_>) {
        let Some(executor) = self.executor(framework, id) else { return };
        if executor.state != ExecutorState::Running {
            return;
        }
        let Some(run) = executor.run_mut(task) else { return };
        let Some(limit) = run.spec.max_completion else { return };
        let passed = Duration::try_from_secs_f64(now.timestamp() - run.started_at).unwrap_or_default();
        let (old, container) = (run.completion.take(), run.container_id.clone());
        self.timers.cancel(old);
        let timer = self.timers.set(now.mono + limit.saturating_sub(passed), Timer::Completion(container.clone()));
        if let Some(run) = self.run_in(&container) {
            run.completion = Some(timer);
        }
    }

    /// Its `max_completion_time` is up.
    pub(crate) fn completion_timeout(&mut self, now: Now, container: &ContainerId, out: &mut Effects) {
        let Some(run) = self.run_in(container) else { return };
        run.completion = None;
        let killed = run.kill.is_some();
        let Some((framework, id, task)) = self.played_in(container).filter(|_| !killed) else { return };
        tracing::info!(%framework, %task, "killing a task that exceeded its maximum completion time");
        self.kill_run(now, (&framework, &id, &task), Duration::ZERO, Why::Completion, out);
    }

    /// How long a task may take to end when it is killed.
    pub(crate) fn run_grace(
        &mut self,
        framework: &FrameworkId,
        id: &ExecutorId,
        task: &TaskId,
        asked: Option<Duration>,
    ) -> Duration {
        let of_task = self.executor(framework, id).and_then(|executor| executor.run_of(task)?.spec.grace);
        asked.or(of_task).unwrap_or(DEFAULT_GRACE)
    }

    /// Kills a task that runs. Repeated, the grace of a command task can only become shorter, as a whole; for a task of
    /// a pod nothing changes.
    pub(crate) fn kill_run(&mut self, now: Now, place: Place<'_>, grace: Duration, why: Why, out: &mut Effects) {
        let (framework, id, task) = place;
        let Some(executor) = self.executor(framework, id) else { return };
        let pod = executor.is_pod();
        let Some(run) = executor.run_mut(task) else { return };
        let before = run.kill;
        if before.is_some_and(|before| pod || grace >= before.grace) {
            return;
        }
        let kill = Kill {
            since: before.map_or(now.mono, |before| before.since),
            grace,
            why: before.map_or(why, |before| before.why),
        };
        run.kill = Some(kill);
        let (timer, container) = (run.completion.take(), run.container_id.clone());
        if why == Why::Unhealthy
            && let Some(played) = executor.played.as_mut()
        {
            played.unhealthy = true;
        }
        self.timers.cancel(timer);
        self.record(Entry::Kill(kill.record(framework.proto(), id.proto(), &container)), out);
        self.end_checks(&container, out);
        let tells =
            self.frameworks.get(framework).is_some_and(|framework| framework.has(capability::Type::TaskKillingState));
        if before.is_none() && why != Why::Completion && tells {
            self.played_update(now, place, Report::new(TaskState::TaskKilling), out);
        }
        let left = (kill.since + grace).saturating_sub(now.mono);
        out.push(Effect::Stop(container, Stop::Graceful(left)));
    }

    /// What is said of a task that has ended by itself or by a kill; `exit` is its wait status.
    pub(crate) fn end_of(run: &Run, exit: i32) -> Report {
        let report = match run.kill.map(|kill| kill.why) {
            Some(Why::Completion) => Report::new(TaskState::TaskFailed).reason(Reason::MaxCompletionTimeReached),
            Some(Why::Asked | Why::Unhealthy) => Report::new(TaskState::TaskKilled),
            None if status::succeeded(exit) => Report::new(TaskState::TaskFinished),
            None => Report::new(TaskState::TaskFailed),
        };
        report.message(format!("Command {}", status::describe_exit(exit)))
    }

    /// The agent, in the part of an executor, says something of a task.
    pub(crate) fn played_update(&mut self, now: Now, place: Place<'_>, report: Report, out: &mut Effects) {
        let (framework, id, task) = place;
        let terminal = status::is_terminal(report.state);
        let report = report.executor(id);
        let mut status = report.status(now, &mut self.random, task, self.agent_id.as_ref(), Source::Executor);
        if let Some(executor) = self.executor(framework, id) {
            let check = executor.run_of(task).and_then(|run| run.spec.check_type);
            status.check_status = check.map(checks::empty_status);
            status.healthy = (terminal && told_unhealthy(executor, task)).then_some(false);
            status.container_status = own_container(executor, task);
        }
        self.update(now, framework, status, None, out);
    }

    /// A check has found something: the last status again, with that (src/common/protobuf_utils.cpp, createTaskStatus).
    pub(crate) fn checked_update(
        &mut self,
        now: Now,
        framework: &FrameworkId,
        id: &ExecutorId,
        task: &TaskId,
        found: Found,
        out: &mut Effects,
    ) {
        let (healthy, check_status) = match found {
            Found::Health(healthy) => (Some(healthy), None),
            Found::Check(status) => (None, Some(status)),
        };
        let Some(executor) = self.executor(framework, id) else { return };
        let Some(last) = executor.launched.get(task).and_then(|task| task.statuses.last().cloned()) else { return };
        let container_status = own_container(executor, task);
        let reason =
            if healthy.is_some() { Reason::TaskHealthCheckStatusUpdated } else { Reason::TaskCheckStatusUpdated };
        let uuid = status::uuid(&mut self.random);
        let status = v1::TaskStatus {
            uuid: Some(bytes::Bytes::copy_from_slice(uuid.as_bytes())),
            timestamp: Some(now.timestamp()),
            reason: Some(reason as i32),
            healthy: healthy.or(last.healthy),
            check_status: check_status.or(last.check_status),
            container_status,
            ..last
        };
        self.update(now, framework, status, None, out);
    }
}

/// Whether the end of a task is told with `healthy` false: it was killed for its health or, in a pod, after another was.
fn told_unhealthy(executor: &Executor, task: &TaskId) -> bool {
    let own = executor.run_of(task).and_then(|run| run.kill).is_some_and(|kill| kill.why == Why::Unhealthy);
    own || executor.is_pod() && executor.played.as_ref().is_some_and(|played| played.unhealthy)
}

/// The container that the executor itself names: that of a task of a pod.
fn own_container(executor: &Executor, task: &TaskId) -> Option<v1::ContainerStatus> {
    let run = executor.run_of(task).filter(|_| executor.is_pod())?;
    let parent = Some(Box::new(executor.container_id.proto()));
    let container_id = v1::ContainerId { parent, ..run.container_id.proto() };
    Some(v1::ContainerStatus { container_id: Some(container_id), ..Default::default() })
}

/// The task is the executor's now.
pub(crate) fn hand_over(executor: &mut Executor, task: &TaskId) -> Option<Arc<v1::TaskInfo>> {
    let queued = executor.dequeue(task)?;
    executor.launched.insert(task.clone(), queued.task);
    Some(queued.info)
}
