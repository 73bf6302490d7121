//! Taking over what an earlier life of the agent recorded.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use mezzo_api::{
    ids::{ContainerId, ExecutorId, FrameworkId, TaskId},
    resources::Resources,
    time::Now,
    v1::{self, TaskState, task_status::Reason},
};

use crate::{
    config::{Config, Reconfiguration, Recover},
    core::{Core, RecoverError, Recovered},
    effect::Effects,
    entity::{self, Container, Executor},
    record::{self, Entry, Termination},
    run::{Health, Kill, Played, Run, Spec, Why},
    status,
    timers::Timer,
    view::{ExecutorState, ExecutorView},
};

impl Core {
    /// An agent that starts from its checkpoint's `records`, in order; none for a new agent. `seed` drives what is
    /// random: uuids.
    ///
    /// # Errors
    /// When a record cannot be read, or the agent's description is not the recorded one.
    pub fn recover(
        config: Config,
        seed: u64,
        now: Now,
        records: impl IntoIterator<Item = Bytes>,
        out: &mut Effects,
    ) -> Result<Recovered, RecoverError> {
        let mut core = Self::new(config.clone(), seed);
        let mut boot = None;
        for (index, bytes) in records.into_iter().enumerate() {
            match Entry::decode(index, &bytes) {
                Ok(Entry::Boot(id)) => boot = Some(id),
                Ok(entry) => core.replay(now, entry),
                Err(error) if config.strict => return Err(error),
                Err(error) => tracing::warn!("left out: {error}"),
            }
        }
        let rebooted = boot.as_ref().is_some_and(|boot| *boot != config.boot_id);
        if let Some(id) = core.agent_id.clone() {
            let info = described(&config, &core.info);
            match compatible(&core.info, &info, config.reconfiguration) {
                Err(error) if !rebooted => return Err(error),
                Err(error) => {
                    tracing::warn!(agent = %id, "registering anew after a reboot: {error}");
                    core = Self::new(config.clone(), seed);
                }
                Ok(()) => core.adopt(Arc::new(v1::AgentInfo { id: Some(id.proto()), ..info })),
            }
        }
        if boot.as_ref() != Some(&config.boot_id) {
            core.record(Entry::Boot(config.boot_id.clone()), out);
        }
        core.renew_version();
        core.settle_volumes(out);
        core.attach_sandboxes(out);
        let containers = if rebooted { core.lose_all_containers(now, out) } else { core.await_containers(now, out) };
        if config.recover == Recover::Cleanup && core.recovering.is_none() {
            core.clean_up(now, out);
        }
        Ok(Recovered { core, containers })
    }

    /// Enters what happened.
    fn replay(&mut self, now: Now, entry: Entry) {
        match entry {
            Entry::Agent(info) => self.adopt(info.into()),
            Entry::Boot(_) => {}
            Entry::Term(term) => self.term = term,
            Entry::Framework(info) => {
                let id = info.id.as_ref().map_or_else(|| FrameworkId::from(""), FrameworkId::from);
                self.enter_framework(id, info.into());
            }
            Entry::FrameworkShutdown(id) => {
                let id = FrameworkId::from(id);
                self.drop_updates_of(&id);
                if let Some(framework) = self.frameworks.get_mut(&id) {
                    framework.terminating = true;
                }
            }
            Entry::FrameworkDone(id) => self.complete_framework(&FrameworkId::from(id)),
            Entry::Executor(record) => self.replay_executor(record),
            Entry::Started(record) => self.replay_started(&record),
            Entry::Kill(record) => self.replay_kill(now, &record),
            Entry::Nested(record) => self.replay_nested(*record),
            Entry::NestedExited(record) => {
                let container = ContainerId::from(record.container_id);
                self.forget_run(&container);
            }
            Entry::Health(record) => {
                let task = TaskId::from(record.task_id);
                let framework = self.frameworks.get_mut(record.framework_id.value.as_str());
                let executor = framework.and_then(|framework| framework.executor_of(&task));
                if let Some(run) = executor.and_then(|executor| executor.run_mut(&task)) {
                    run.health = Health { failures: record.failures, succeeded: record.succeeded };
                }
            }
            Entry::Drain(record) => self.draining = record.config,
            Entry::Shutdown(record) => {
                if let Some(executor) = self.recorded(&record.container_id) {
                    executor.state = ExecutorState::Terminating;
                    executor.termination = record.termination;
                }
            }
            Entry::Exited(record) => {
                if let Some(executor) = self.recorded(&record.container_id) {
                    executor.state = ExecutorState::Terminated;
                    let terminating = self.frameworks.get(record.framework_id.value.as_str());
                    if terminating.is_some_and(|framework| framework.terminating)
                        && let Some(executor) = self.recorded(&record.container_id)
                    {
                        executor.terminated.append(&mut executor.launched);
                    }
                }
            }
            Entry::Done(record) => {
                let (framework, id) = (FrameworkId::from(record.framework_id), ExecutorId::from(record.executor_id));
                if self.recorded(&record.container_id).is_some() {
                    self.complete_executor(&framework, &id);
                }
            }
            Entry::Task(record) => self.replay_task(record),
            Entry::Update(record) => {
                let (framework_id, task) =
                    (FrameworkId::from(record.framework_id), TaskId::from(&record.status.task_id));
                if let Some(framework) = self.frameworks.get_mut(&framework_id)
                    && let Some(executor) = framework.executor_of(&task)
                {
                    executor.enter(&task, &record.status);
                }
                self.updates.push(&framework_id, &task, record.status.into());
            }
            Entry::Acknowledged(record) => {
                let (framework, task) = (FrameworkId::from(record.framework_id), TaskId::from(record.task_id));
                if self.updates.pop(&framework, &task, &record.uuid).is_some_and(|popped| popped.terminal) {
                    self.complete_task(&framework, &task);
                }
            }
            Entry::Stream(record) => {
                let (framework, task) = (FrameworkId::from(record.framework_id), TaskId::from(record.task_id));
                let stream = self.updates.entry(&framework, &task);
                stream.acknowledged = record.acknowledged.into();
                stream.pending = record.pending.into_iter().map(Into::into).collect();
            }
            Entry::Completed(record) => self.replay_completed(record),
            Entry::Operation(record) => self.replay_operation(*record),
            Entry::OperationAcknowledged(uuid) => self.replay_operation_acknowledged(&uuid),
            Entry::VolumeSettled(path) => self.replay_volume_settled(&path),
            Entry::Resources(record) => self.replay_resources(&record),
        }
    }

    fn recorded(&mut self, container: &str) -> Option<&mut Executor> {
        self.executor_in(&ContainerId::from(container)).map(|(_, executor)| executor)
    }

    fn replay_executor(&mut self, record: record::Executor) {
        let Some(agent) = self.agent_id.clone() else { return };
        let framework_id = FrameworkId::from(record.framework_id);
        let container = ContainerId::from(record.container_id);
        let id = ExecutorId::from(&record.info.executor_id);
        let directory = entity::sandbox(&self.config.work_dir, &agent, &framework_id, &id, &container);
        let pod = record.pod.unwrap_or(false);
        let run = record.command.as_deref().map(|command| {
            let task = TaskId::from(id.as_str());
            Run::new(task, container.clone(), Spec::recorded(command), Container::Recovered)
        });
        let played =
            (pod || run.is_some()).then(|| Played { pod, runs: run.into_iter().collect(), ..Played::default() });
        let mut executor =
            Executor::new(record.info.into(), container.clone(), directory, played, Container::Recovered);
        if pod {
            (executor.container, executor.state) = (Container::Started, ExecutorState::Running);
        }
        executor.subscribed = record.subscribed;
        if let Some(framework) = self.frameworks.get_mut(&framework_id) {
            framework.executors.insert(id.clone(), executor);
            self.containers.insert(container, (framework_id, id));
        }
    }

    fn replay_started(&mut self, record: &record::Started) {
        let container = ContainerId::from(record.container_id.as_str());
        if let Some(run) = self.run_in(&container) {
            (run.container, run.started_at, run.pid) = (Container::Started, record.at, record.pid);
        }
        let Some(executor) = self.recorded(&record.container_id) else { return };
        executor.container = Container::Started;
        executor.pid = record.pid;
        if executor.generated() && executor.state == ExecutorState::Registering {
            executor.state = ExecutorState::Running;
        }
    }

    fn replay_kill(&mut self, now: Now, record: &record::Kill) {
        let container = ContainerId::from(record.container_id.as_str());
        let Some(run) = self.run_in(&container) else { return };
        let kill = Kill::recorded(record, now.mono);
        run.kill = Some(kill);
        let unhealthy = kill.why == Why::Unhealthy;
        let Some((framework, id, _)) = self.played_in(&container).filter(|_| unhealthy) else { return };
        if let Some(played) = self.executor(&framework, &id).and_then(|executor| executor.played.as_mut()) {
            played.unhealthy = true;
        }
    }

    fn replay_nested(&mut self, record: record::Nested) {
        let (framework, id) = (FrameworkId::from(record.framework_id), ExecutorId::from(record.executor_id));
        let container = ContainerId::from(record.container_id);
        let parent = ContainerId::from(record.parent_id);
        let executor = self.executor(&framework, &id).filter(|executor| executor.container_id == parent);
        let Some(played) = executor.and_then(|executor| executor.played.as_mut()) else { return };
        let spec = Spec::recorded(&record.command);
        let mut run = Run::new(TaskId::from(record.task_id), container.clone(), spec, Container::Recovered);
        run.group = record.group;
        played.groups = played.groups.max(record.group + 1);
        played.runs.push(run);
        self.containers.insert(container, (framework, id));
    }

    fn replay_task(&mut self, record: record::Task) {
        let framework_id = FrameworkId::from(&record.task.framework_id);
        let task = TaskId::from(&record.task.task_id);
        let id = ExecutorId::from(record.executor_id);
        let Some(framework) = self.frameworks.get_mut(&framework_id) else { return };
        let Some(executor) = framework.executors.get_mut(&id) else { return };
        let terminal = status::is_terminal(record.task.state());
        if record.completed {
            executor.push_completed(record.task.into());
            return;
        }
        let place = if terminal { &mut executor.terminated } else { &mut executor.launched };
        place.insert(task.clone(), record.task.into());
        framework.tasks.insert(task, id);
    }

    fn replay_completed(&mut self, record: record::Completed) {
        let Some(agent) = self.agent_id.clone() else { return };
        let framework_id = FrameworkId::from(record.framework_id);
        let container_id = ContainerId::from(record.container_id);
        let id = ExecutorId::from(&record.info.executor_id);
        let directory = entity::sandbox(&self.config.work_dir, &agent, &framework_id, &id, &container_id);
        let Some(framework) = self.frameworks.get_mut(&framework_id) else { return };
        framework.completed.push_back(Arc::new(ExecutorView {
            info: record.info.into(),
            container_id,
            directory: directory.into(),
            state: ExecutorState::Terminated,
            pid: None,
            generated: false,
            nested: Vec::new(),
            queued: Vec::new(),
            tasks: Vec::new(),
            terminated: Vec::new(),
            completed: record.tasks.into_iter().map(Into::into).collect(),
        }));
    }

    /// The machine was started anew: nothing runs any more.
    fn lose_all_containers(&mut self, now: Now, out: &mut Effects) -> Vec<ContainerId> {
        let live = self.live_containers();
        tracing::warn!(containers = live.len(), "the machine was started anew, containers are gone");
        for container in live {
            let Some((_, executor)) = self.executor_in(&container) else { continue };
            if executor.is_pod() {
                self.lose_pod(now, &container, lost(), out);
            } else if executor.container == Container::Recovered {
                self.container_failed(now, &container, "", out);
            } else {
                self.container_gone(now, &container, None, Some(lost()), out);
            }
        }
        self.tidy(now, out);
        Vec::new()
    }

    /// What ran before may run still: the containerizer will tell, custom executors will subscribe.
    fn await_containers(&mut self, now: Now, out: &mut Effects) -> Vec<ContainerId> {
        self.tidy(now, out);
        let executors = self.live_containers();
        let live = self.live_processes();
        self.unheard = live.iter().cloned().collect();
        for container in &executors {
            let Some((_, executor)) = self.executor_in(container) else { continue };
            if executor.state == ExecutorState::Terminating {
                let at_once = executor.termination.is_some();
                let grace = executor.shutdown_grace().unwrap_or(self.config.executor_shutdown_grace_period);
                self.arm_shutdown(container, if at_once { now.mono } else { now.mono + grace });
            }
        }
        if !live.is_empty() {
            tracing::info!(containers = live.len(), "recovering");
            let deadline = now.mono + self.config.executor_reregistration_timeout;
            self.recovering = Some(self.timers.set(deadline, Timer::RecoveryEnd));
        }
        live
    }

    /// Finishes what a crash left half done.
    fn tidy(&mut self, now: Now, out: &mut Effects) {
        let frameworks: Vec<(FrameworkId, bool)> =
            self.frameworks.values().map(|framework| (framework.id.clone(), framework.terminating)).collect();
        for (id, terminating) in frameworks {
            let executors: VecDeque<ExecutorId> = self
                .frameworks
                .get(&id)
                .map(|framework| framework.executors.keys().cloned().collect())
                .unwrap_or_default();
            for executor in executors {
                self.tidy_pod(now, &id, &executor, out);
                if terminating {
                    self.shut_down_executor(now, &id, &executor, out);
                }
            }
            self.remove_what_is_done(&id, out);
        }
    }

    fn live_containers(&self) -> Vec<ContainerId> {
        self.frameworks
            .values()
            .flat_map(|framework| framework.executors.values())
            .filter(|executor| executor.state != ExecutorState::Terminated)
            .map(|executor| executor.container_id.clone())
            .collect()
    }

    /// Those with a process: of a pod, its tasks'.
    fn live_processes(&self) -> Vec<ContainerId> {
        let executors = self.frameworks.values().flat_map(|framework| framework.executors.values());
        executors
            .filter(|executor| executor.state != ExecutorState::Terminated)
            .flat_map(|executor| {
                let own = (!executor.is_pod()).then(|| executor.container_id.clone());
                let nested = executor.runs().iter().filter(|_| executor.is_pod());
                own.into_iter().chain(nested.map(|run| run.container_id.clone()))
            })
            .collect()
    }

    /// `--recover=cleanup`: everything ends, and then the agent.
    pub(crate) fn clean_up(&mut self, now: Now, out: &mut Effects) {
        self.shut_down(now, "everything that an earlier agent left is cleaned up".into(), out);
    }

    /// Recovery need not wait for its timeout when every container was heard of and every custom executor is back.
    pub(crate) fn end_recovery_if_complete(&mut self, now: Now, out: &mut Effects) {
        let awaited = |executor: &Executor| executor.played.is_none() && executor.state == ExecutorState::Registering;
        if self.recovering.is_none() || !self.unheard.is_empty() {
            return;
        }
        let waiting = self.frameworks.values().any(|framework| framework.executors.values().any(awaited));
        if !waiting {
            self.end_recovery(now, out);
        }
    }
}

/// What is said of tasks whose machine was started anew.
fn lost() -> Termination {
    Termination {
        state: TaskState::TaskFailed as i32,
        reason: Reason::ExecutorTerminated as i32,
        message: "Abnormal executor termination: unknown container".into(),
        limitation: Vec::new(),
    }
}

/// The agent's description, under the host name that it has had so far where that is only looked up.
fn described(config: &Config, was: &v1::AgentInfo) -> v1::AgentInfo {
    let mut info = config.info.clone();
    if config.hostname_is_found && info.hostname != was.hostname {
        tracing::warn!(
            hostname = was.hostname,
            found = info.hostname,
            "the address has another name now; this agent keeps the one that it registered with"
        );
        info.hostname.clone_from(&was.hostname);
    }
    info
}

/// Whether an agent may go on under its id with another description (src/slave/compatibility.cpp, `equal`). The port
/// may change: nothing of the cluster dials it.
fn compatible(was: &v1::AgentInfo, is: &v1::AgentInfo, policy: Reconfiguration) -> Result<(), RecoverError> {
    let changed = |what, was: String, is: String| Err(RecoverError::Incompatible { what, was, is });
    if was.hostname != is.hostname {
        return changed("hostname", was.hostname.clone(), is.hostname.clone());
    }
    if policy == Reconfiguration::Additive {
        return additive(was, is);
    }
    if was.resources != is.resources {
        return changed("resources", resources_text(&was.resources), resources_text(&is.resources));
    }
    if was.attributes != is.attributes {
        let names = |info: &v1::AgentInfo| {
            info.attributes.iter().map(|attribute| attribute.name.clone()).collect::<Vec<_>>().join("; ")
        };
        return changed("attributes", names(was), names(is));
    }
    if was.domain != is.domain {
        return changed("domain", format!("{:?}", was.domain), format!("{:?}", is.domain));
    }
    Ok(())
}

/// Nothing that was there may be less, or gone.
fn additive(was: &v1::AgentInfo, is: &v1::AgentInfo) -> Result<(), RecoverError> {
    let changed = |what, was: String, is: String| Err(RecoverError::Incompatible { what, was, is });
    let read = |info: &v1::AgentInfo| Resources::from_protos(&info.resources).unwrap_or_default();
    let (before, now) = (read(was), read(is));
    if !now.contains(&before) {
        return changed("resources", before.to_string(), now.to_string());
    }
    let kept = |attribute: &&v1::Attribute| is.attributes.contains(attribute);
    if let Some(lost) = was.attributes.iter().find(|attribute| !kept(attribute)) {
        let now = is.attributes.iter().find(|attribute| attribute.name == lost.name);
        return changed("attributes", format!("{lost:?}"), now.map_or("missing".into(), |now| format!("{now:?}")));
    }
    if was.domain.is_some() && was.domain != is.domain {
        return changed("domain", format!("{:?}", was.domain), format!("{:?}", is.domain));
    }
    Ok(())
}

fn resources_text(resources: &[v1::Resource]) -> String {
    Resources::from_protos(resources).map_or_else(|error| error.to_string(), |resources| resources.to_string())
}
