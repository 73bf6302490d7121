//! Tasks that the master gives (src/slave/slave.cpp, run and __run), and the containers that they need.

use std::{
    path::{Component, Path},
    sync::Arc,
};

use mezzo_api::{
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId, TaskId},
    link::{self, from_agent},
    time::Now,
    v1::{self, TaskState, executor_info, task_status::Reason, volume::source::sandbox_path},
};

use crate::{
    container,
    core::Core,
    effect::{Effect, Effects},
    entity::{self, Container, Executor, Framework, Queued},
    environment::{self, Subject},
    generated,
    image::{self, Described},
    isolation::{self, Abilities},
    network, record,
    record::Entry,
    run::{Played, Run, Spec},
    status::{self, Report},
    timers::Timer,
    view::ExecutorState,
    volumes::{self, VolumeLink},
};

/// A launch as the master sent it: one task, or a group.
struct Request {
    framework: FrameworkId,
    executor: Arc<v1::ExecutorInfo>,
    tasks: Vec<Arc<v1::TaskInfo>>,
    group: bool,
    /// The agent makes up the executor.
    command: bool,
    /// The master counts on a new executor.
    launch_executor: bool,
    /// The master counts on resources that are no more so.
    outdated: bool,
}

impl Core {
    /// One task.
    pub(crate) fn run_task(&mut self, now: Now, message: link::RunTask, out: &mut Effects) {
        let framework = framework_id(&message.framework);
        let task = message.task;
        let command = task.executor.is_none();
        let executor = match &task.executor {
            Some(executor) => (**executor).clone(),
            None => generated::executor(&framework, &task),
        };
        let request = Request {
            framework,
            executor: Arc::new(executor),
            tasks: vec![Arc::new(task)],
            group: false,
            command,
            launch_executor: message.launch_executor,
            outdated: self.is_outdated(message.resource_version.as_ref()),
        };
        self.run(now, message.framework, request, out);
    }

    /// Tasks that are delivered together or not at all.
    pub(crate) fn run_task_group(&mut self, now: Now, message: link::RunTaskGroup, out: &mut Effects) {
        let executor = message.executor;
        let whole = |task: v1::TaskInfo| {
            let executor = task.executor.unwrap_or_else(|| Box::new(executor.clone()));
            Arc::new(v1::TaskInfo { executor: Some(executor), ..task })
        };
        let tasks = message.task_group.tasks.into_iter().map(whole);
        let request = Request {
            framework: framework_id(&message.framework),
            tasks: tasks.collect(),
            executor: Arc::new(executor),
            group: true,
            command: false,
            launch_executor: message.launch_executor,
            outdated: self.is_outdated(message.resource_version.as_ref()),
        };
        self.run(now, message.framework, request, out);
    }

    fn is_outdated(&self, version: Option<&bytes::Bytes>) -> bool {
        version.is_some_and(|version| *version != self.operations.version)
    }

    fn run(&mut self, now: Now, info: v1::FrameworkInfo, mut request: Request, out: &mut Effects) {
        if self.recovering.is_some() || self.terminating.is_some() || request.tasks.is_empty() {
            tracing::warn!(framework = %request.framework, "ignored a launch: the agent recovers or ends");
            return;
        }
        let own = self.agent_id.as_ref().map(AgentId::as_str);
        if request.tasks.iter().any(|task| Some(task.agent_id.value.as_str()) != own) {
            tracing::warn!(framework = %request.framework, "ignored a launch that was meant for another agent");
            return;
        }
        Arc::make_mut(&mut request.executor).framework_id = Some(request.framework.proto());
        inject_role(&info, &mut request);
        self.know_framework(info, &request.framework, out);
        if self.frameworks.get(&request.framework).is_some_and(|framework| framework.terminating) {
            tracing::warn!(framework = %request.framework, "ignored a launch of an ending framework");
            self.executor_not_launched(&request, out);
            return;
        }
        if let Err(refusal) = self.admit(now, &request, out) {
            self.drop_tasks(now, &request, &refusal, out);
            if refusal.exited {
                self.executor_not_launched(&request, out);
            }
            self.remove_what_is_done(&request.framework, out);
            return;
        }
        let executor = ExecutorId::from(&request.executor.executor_id);
        let new = self.executor(&request.framework, &executor).is_none();
        if new {
            self.make_executor(now, &request, out);
        }
        self.queue_tasks(&request, &executor, out);
        let pod = self.executor(&request.framework, &executor).is_some_and(|executor| executor.is_pod());
        if pod {
            self.launch_pod(now, &request.framework, &executor, out);
        } else if new {
            self.launch_container(now, &request, &executor, out);
        } else {
            self.allot(&request.framework, &executor, out);
            self.deliver_queued(&request.framework, &executor, out);
        }
    }

    /// What the container of an executor may use from now on.
    pub(crate) fn allot(&mut self, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let allots = self.config.abilities.allots;
        let allots = allots && !mezzo_api::mutant!("allotment-unchanged");
        let Some(executor) = self.executor(framework, id).filter(|_| allots) else { return };
        let allotment = isolation::of_executor(executor);
        out.push(Effect::Allot(executor.container_id.clone(), Box::new(allotment)));
    }

    /// A task has ended: what its executor may use is less.
    pub(crate) fn allot_after(&mut self, framework: &FrameworkId, task: &TaskId, out: &mut Effects) {
        let executor = self.frameworks.get_mut(framework).and_then(|framework| framework.executor_of(task));
        let goes_on = |executor: &&mut Executor| !executor.generated() && executor.state == ExecutorState::Running;
        let ended = executor.filter(goes_on).map(|executor| executor.id.clone());
        if let Some(id) = ended {
            self.allot(framework, &id, out);
        }
    }

    /// The volumes of tasks that a running executor is about to get are shown in its sandbox; those of its first tasks are
    /// there already.
    pub(crate) fn show_volumes(&mut self, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let work_dir = self.config.work_dir.clone();
        let Some(executor) = self.executor(framework, id) else { return };
        let links: Vec<_> =
            executor.queued.values().flat_map(|queued| volumes::links(&work_dir, &queued.info.resources)).collect();
        if links.is_empty() {
            return;
        }
        let (container, sandbox) = (executor.container_id.clone(), executor.directory.to_path_buf());
        out.push(Effect::ShowVolumes { container, sandbox, links, present: true });
    }

    /// Enters the framework if it is new, or new again.
    fn know_framework(&mut self, mut info: v1::FrameworkInfo, id: &FrameworkId, out: &mut Effects) {
        if self.frameworks.contains_key(id) {
            return;
        }
        info.id = Some(id.proto());
        let info = Arc::new(info);
        self.record(Entry::Framework(info.clone().into()), out);
        self.enter_framework(id.clone(), info);
    }

    pub(crate) fn enter_framework(&mut self, id: FrameworkId, info: Arc<v1::FrameworkInfo>) {
        if let Some(framework) = self.frameworks.get_mut(&id) {
            framework.info = info;
            return;
        }
        let mut framework = Framework::new(id.clone(), info);
        if let Some(place) = self.completed_frameworks.iter().position(|completed| completed.id == id)
            && let Some(before) = self.completed_frameworks.remove(place)
        {
            framework.completed = before.completed;
        }
        self.frameworks.insert(id, framework);
    }

    /// Whether the tasks can be given to their executor, present or new.
    fn admit(&mut self, now: Now, request: &Request, out: &mut Effects) -> Result<(), Refusal> {
        if self.draining.is_some() {
            let text = "Task was received while agent was already draining";
            return Err(Refusal { names_executor: false, ..Refusal::new(Reason::AgentDraining, text) });
        }
        if self.disk_full {
            let text = "The disk of the agent's work directory is full";
            return Err(Refusal { names_executor: false, ..Refusal::new(Reason::GcError, text) });
        }
        let ids = [request.framework.as_str(), &request.executor.executor_id.value];
        if let Some(id) = ids.into_iter().find(|id| !entity::is_path_part(id)) {
            return Err(Refusal::new(Reason::TaskInvalid, format!("'{id}' cannot be the name of a directory")));
        }
        if request.outdated {
            let text = "The resources that the task was launched on have changed on the agent";
            return Err(Refusal::new(Reason::InvalidOffers, text));
        }
        let unknown = |resources: &[v1::Resource]| !self.knows(resources);
        if unknown(&request.executor.resources) || request.tasks.iter().any(|task| unknown(&task.resources)) {
            let text = "The checkpointed resources being used by the task are unknown to the agent";
            return Err(Refusal::new(Reason::ResourcesUnknown, text));
        }
        if let Some(text) =
            request.tasks.iter().find_map(|task| isolation::unsupported_limit(self.config.abilities, task))
        {
            return Err(Refusal { names_executor: false, ..Refusal::new(Reason::GcError, text) });
        }
        let repeated = |task: &v1::TaskInfo| {
            let framework = self.frameworks.get(&request.framework);
            framework.is_some_and(|framework| framework.tasks.contains_key(&TaskId::from(&task.task_id)))
        };
        let executor_id = ExecutorId::from(&request.executor.executor_id);
        let exists =
            self.frameworks.get(&request.framework).and_then(|framework| framework.executors.get(&executor_id));
        if request.command {
            if exists.is_some() {
                let text = "Cannot reuse an already existing executor for a command task";
                return Err(Refusal { exited: false, ..Refusal::new(Reason::TaskInvalid, text) });
            }
        } else if request.launch_executor
            && let Some(executor) = exists
        {
            let terminated = executor.state == ExecutorState::Terminated;
            if !terminated {
                self.shut_down_executor(now, &request.framework, &executor_id, out);
            }
            let text = "Master wants to launch executor, but one already exists";
            return Err(Refusal { exited: terminated, ..Refusal::new(Reason::ExecutorTerminated, text) });
        } else if !request.launch_executor && exists.is_none() {
            let text = "No executor is expected to launch and there is none running";
            return Err(Refusal { exited: false, ..Refusal::new(Reason::ExecutorTerminated, text) });
        } else if let Some(executor) = exists
            && matches!(executor.state, ExecutorState::Terminating | ExecutorState::Terminated)
        {
            let terminating = executor.state == ExecutorState::Terminating;
            let text = if terminating { "Executor terminating" } else { "Executor terminated" };
            return Err(Refusal { exited: false, ..Refusal::new(Reason::ExecutorTerminated, text) });
        }
        if let Some(task) = request.tasks.iter().find(|task| repeated(task)) {
            let text = format!("Task '{}' is on the agent already", task.task_id.value);
            return Err(Refusal { exited: false, ..Refusal::new(Reason::TaskInvalid, text) });
        }
        Ok(())
    }

    fn drop_tasks(&mut self, now: Now, request: &Request, refusal: &Refusal, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(&request.framework) else { return };
        let state = framework.dropped();
        let executor = ExecutorId::from(&request.executor.executor_id);
        let unknown = |task: &TaskId| !framework.tasks.contains_key(task); // a known one has its own updates
        let tasks: Vec<TaskId> = request.tasks.iter().map(|task| TaskId::from(&task.task_id)).filter(unknown).collect();
        for task in tasks {
            tracing::warn!(framework = %request.framework, %task, "dropped: {}", refusal.message);
            let mut report = Report::new(state).reason(refusal.reason).message(refusal.message.as_str());
            if refusal.names_executor {
                report = report.executor(&executor);
            }
            self.orphan_update(now, &request.framework, &task, report, out);
        }
    }

    /// The master counts an executor that does not come to be.
    fn executor_not_launched(&mut self, request: &Request, out: &mut Effects) {
        if request.launch_executor && !request.command {
            self.say(
                from_agent::Message::ExitedExecutor(link::ExitedExecutor {
                    framework_id: request.framework.proto(),
                    executor_id: request.executor.executor_id.clone(),
                    status: -1,
                }),
                out,
            );
        }
    }

    /// Makes the executor of these tasks.
    fn make_executor(&mut self, now: Now, request: &Request, out: &mut Effects) {
        let Some(agent) = self.agent_id.clone() else { return };
        let container_id = ContainerId::from(status::uuid(&mut self.random).to_string());
        let pod = request.executor.r#type == Some(executor_info::Type::Default as i32);
        let run = request.command.then(|| {
            let task = &request.tasks[0];
            let id = TaskId::from(&task.task_id);
            Run::new(id, container_id.clone(), Spec::of(task, false), Container::Launched)
        });
        self.record(
            Entry::Executor(record::Executor {
                framework_id: request.framework.proto(),
                info: request.executor.clone().into(),
                container_id: container_id.as_str().to_owned(),
                command: run.as_ref().map(|run| Box::new(run.spec.record())),
                subscribed: false,
                pod: pod.then_some(true),
            }),
            out,
        );
        let id = ExecutorId::from(&request.executor.executor_id);
        let directory = entity::sandbox(&self.config.work_dir, &agent, &request.framework, &id, &container_id);
        let played =
            (pod || run.is_some()).then(|| Played { pod, runs: run.into_iter().collect(), ..Played::default() });
        let mut executor =
            Executor::new(request.executor.clone(), container_id.clone(), directory, played, Container::Launched);
        if executor.played.is_none() {
            let deadline = now.mono + self.config.executor_registration_timeout;
            executor.timer = Some(self.timers.set(deadline, Timer::Registration(container_id.clone())));
        }
        self.containers.insert(container_id.clone(), (request.framework.clone(), id.clone()));
        if let Some(framework) = self.frameworks.get_mut(&request.framework) {
            framework.executors.insert(id, executor);
        }
        tracing::debug!(framework = %request.framework, executor = %request.executor.executor_id.value, container = %container_id, "launching");
    }

    /// Queues the tasks until their executor can take them.
    fn queue_tasks(&mut self, request: &Request, id: &ExecutorId, out: &mut Effects) {
        let mut tasks = Vec::with_capacity(request.tasks.len());
        for info in &request.tasks {
            let task = Arc::new(status::staging(info, &request.framework));
            let entry = record::Task { executor_id: id.proto(), task: task.clone().into(), completed: false };
            self.record(Entry::Task(entry), out);
            tasks.push((TaskId::from(&info.task_id), Queued { info: info.clone(), task }));
        }
        let Some(framework) = self.frameworks.get_mut(&request.framework) else { return };
        let Some(executor) = framework.executors.get_mut(id) else { return };
        if request.group {
            executor.queued_groups.push(tasks.iter().map(|(task, _)| task.clone()).collect());
        }
        for (task, queued) in tasks {
            framework.tasks.insert(task.clone(), id.clone());
            executor.queued.insert(task, queued);
        }
    }

    /// The default executor takes its groups as soon as it is there.
    fn launch_pod(&mut self, now: Now, framework: &FrameworkId, id: &ExecutorId, out: &mut Effects) {
        let (abilities, images) = (self.config.abilities, self.config.images);
        let Some(executor) = self.executor(framework, id) else { return };
        if executor.container == Container::Launched {
            let unlaunchable = image::describe(images, executor.info.container.as_deref(), None)
                .and_then(Described::without_image)
                .and_then(|info| executor_volumes(abilities, info.as_ref()));
            let container = executor.container_id.clone();
            if let Err(why) = unlaunchable {
                self.container_failed(now, &container, &why.text(), out);
                return;
            }
            executor.container = Container::Started;
            executor.state = ExecutorState::Running;
        }
        self.launch_groups(now, framework, id, out);
    }

    /// Asks the containerizer, or fails at once what it could not do.
    fn launch_container(&mut self, now: Now, request: &Request, id: &ExecutorId, out: &mut Effects) {
        let Some(container_id) = self.executor(&request.framework, id).map(|executor| executor.container_id.clone())
        else {
            return;
        };
        match self.container_of(request, id) {
            Ok(launch) => out.push(Effect::Launch(Box::new(launch))),
            Err(Unlaunchable::Container(why)) => {
                self.container_failed(now, &container_id, &why, out);
            }
            Err(Unlaunchable::NoCommand) => self.fail_without_command(now, &request.framework, &container_id, out),
            Err(Unlaunchable::Unknown) => {
                let termination = record::Termination {
                    state: TaskState::TaskFailed as i32,
                    reason: Reason::ExecutorTerminated as i32,
                    message: "Abnormal executor termination: unknown container".into(),
                    limitation: Vec::new(),
                };
                self.container_gone(now, &container_id, None, Some(termination), out);
            }
        }
    }

    /// The container of an executor.
    fn container_of(&self, request: &Request, id: &ExecutorId) -> Result<container::Launch, Unlaunchable> {
        let framework = self.frameworks.get(&request.framework).ok_or(Unlaunchable::Unknown)?;
        let executor = framework.executors.get(id).ok_or(Unlaunchable::Unknown)?;
        let agent = self.agent_id.as_ref().ok_or(Unlaunchable::Unknown)?;
        let task = &request.tasks[0];
        let info = if request.command { task.command.as_ref() } else { executor.info.command.as_ref() };
        let described = image::describe(self.config.images, executor.info.container.as_deref(), info)?;
        executor_volumes(self.config.abilities, described.info.as_ref())?;
        let allotment = isolation::of_executor(executor);
        network::check_ports(described.network.as_ref(), &allotment.ports).map_err(Unlaunchable::Container)?;
        let info = info.ok_or(Unlaunchable::NoCommand)?;
        let command = container::Command::of(info, described.image.as_ref()).ok_or(Unlaunchable::NoCommand)?;
        let role = task.resources.iter().find_map(|resource| resource.allocation_info.as_ref()?.role.as_deref());
        let environment = environment::environment(
            &self.config,
            &self.texts,
            &Subject {
                agent,
                framework: &request.framework,
                executor: id,
                checkpoint: framework.checkpoint(),
                directory: &executor.directory,
                shutdown_grace: executor.shutdown_grace(),
                command: Some(info),
                allocation_role: if request.command { role } else { None },
                own_network: described.network.is_some(),
            },
        );
        let user = info.user.clone().unwrap_or_else(|| framework.info.user.clone());
        Ok(container::Launch {
            container_id: executor.container_id.clone(),
            sandbox: executor.directory.to_path_buf(),
            user: self.config.switch_user.then_some(user),
            command,
            environment: environment.map_err(|error| Unlaunchable::Container(error.to_string()))?,
            uris: info.uris.clone(),
            volumes: volumes_of(&self.config.work_dir, request)?,
            nested: None,
            isolation: Some(Box::new(isolation::Isolation { info: described.info, allotment, pod: None })),
            image: described.image.map(Box::new),
            network: described.network,
            io: container::Io::of_task(executor.info.container.as_deref()),
            enter: None,
            called: None,
        })
    }
}

impl Core {
    /// A task of an executor that goes on has ended: what only it used is shown no more.
    pub(crate) fn unlink_volumes(&mut self, framework: &FrameworkId, task: &TaskId, out: &mut Effects) {
        let work_dir = &self.config.work_dir;
        let Some(executor) = self.frameworks.get_mut(framework).and_then(|framework| framework.executor_of(task))
        else {
            return;
        };
        let Some(ended) = executor.terminated.get(task).filter(|_| executor.played.is_none()) else { return };
        let of_others = executor.launched.values().map(|other| &other.resources);
        let queued = executor.queued.values().map(|other| &other.info.resources);
        let used: Vec<_> = of_others
            .chain(queued)
            .chain([&executor.info.resources])
            .flat_map(|resources| volumes::links(work_dir, resources))
            .collect();
        let mut links = volumes::links(work_dir, &ended.resources);
        links.retain(|link| !used.contains(link));
        if !links.is_empty() {
            let (container, sandbox) = (executor.container_id.clone(), executor.directory.to_path_buf());
            out.push(Effect::ShowVolumes { container, sandbox, links, present: false });
        }
    }
}

/// The volumes that a new container sees: those of its executor and of its first tasks.
fn volumes_of(work_dir: &std::path::Path, request: &Request) -> Result<Vec<VolumeLink>, Unlaunchable> {
    let mut all = volumes::links(work_dir, &request.executor.resources);
    for task in &request.tasks {
        for link in volumes::links(work_dir, &task.resources) {
            if !all.contains(&link) {
                all.push(link);
            }
        }
    }
    usable(all)
}

/// Links that lead nowhere but into the sandbox.
pub(crate) fn usable(all: Vec<VolumeLink>) -> Result<Vec<VolumeLink>, Unlaunchable> {
    let unusable = |link: &&VolumeLink| {
        let path = std::path::Path::new(&link.container_path);
        path.as_os_str().is_empty() || !path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
    };
    match all.iter().find(unusable) {
        Some(link) => Err(Unlaunchable::Container(format!(
            "The container path '{}' of a persistent volume must be relative to the sandbox and within it",
            link.container_path
        ))),
        None => Ok(all),
    }
}

/// Why a launch is refused.
struct Refusal {
    reason: Reason,
    message: String,
    /// The master's new executor does not come to be.
    exited: bool,
    /// Whether the statuses carry the executor's id.
    names_executor: bool,
}

impl Refusal {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), exited: true, names_executor: true }
    }
}

/// Why a container cannot even be asked for.
pub(crate) enum Unlaunchable {
    Container(String),
    /// Mesos' command executor starts, finds nothing to run and dies.
    NoCommand,
    /// No containerizer takes it.
    Unknown,
}

impl Unlaunchable {
    /// What is told of a task of a pod.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Container(text) => text,
            Self::NoCommand => "Container has no command to run".into(),
            Self::Unknown => "The provided ContainerInfo is not supported".into(),
        }
    }
}

/// An executor has no parent to share with, and an agent without mounts shares nothing else.
fn executor_volumes(abilities: Abilities, info: Option<&v1::ContainerInfo>) -> Result<(), Unlaunchable> {
    if abilities.mounts {
        return isolation::check_volumes(info, false);
    }
    match info.map_or(&[][..], |info| &info.volumes).first() {
        None => Ok(()),
        Some(volume) if is_of_parent(volume) => {
            Err(Unlaunchable::Container("SANDBOX_PATH volume PARENT type only works for nested container".into()))
        }
        Some(_) => Err(Unlaunchable::Container("Volumes in ContainerInfo is not supported".into())),
    }
}

fn is_of_parent(volume: &v1::Volume) -> bool {
    let path = volume.source.as_ref().and_then(|source| source.sandbox_path.as_ref());
    path.is_some_and(|path| path.r#type() == sandbox_path::Type::Parent)
}

/// What a task of a pod shares with its executor's sandbox: its own volumes, and those of the disks it uses, which are
/// the executor's (src/launcher/default_executor.cpp; src/slave/containerizer/mesos/isolators/volume/sandbox_path.cpp).
pub(crate) fn sandbox_volumes(
    abilities: Abilities,
    task: &v1::TaskInfo,
) -> Result<Vec<container::SandboxVolume>, Unlaunchable> {
    if abilities.mounts {
        isolation::check_volumes(task.container.as_deref(), true)?;
        return Ok(Vec::new()); // they are mounted
    }
    let refuse = |text: String| Err(Unlaunchable::Container(text));
    let mut volumes = Vec::new();
    for volume in task.container.as_ref().map_or(&[][..], |info| &info.volumes) {
        let path = volume.source.as_ref().and_then(|source| source.sandbox_path.as_ref());
        let Some(path) = path.filter(|_| is_of_parent(volume)) else {
            return refuse("Volumes in ContainerInfo is not supported".into());
        };
        volumes.push((path.path.as_str(), volume.container_path.as_str()));
    }
    let disks = task.resources.iter().filter_map(|resource| resource.disk.as_ref()?.volume.as_ref());
    volumes.extend(disks.map(|volume| (volume.container_path.as_str(), volume.container_path.as_str())));
    let mut shared = Vec::with_capacity(volumes.len());
    for (source, target) in volumes {
        if Path::new(source).is_absolute() {
            return refuse(format!("Path '{source}' in SANDBOX_PATH volume is absolute"));
        }
        if Path::new(target).is_absolute() {
            return refuse(
                "The 'linux' launcher and 'filesystem/linux' isolator must be enabled to support SANDBOX_PATH volume \
                 with absolute container path"
                    .into(),
            );
        }
        if [source, target].iter().any(|path| leads_out(Path::new(path))) {
            return refuse(format!(
                "The paths '{source}' and '{target}' of a SANDBOX_PATH volume must lie in the sandbox"
            ));
        }
        shared.push(container::SandboxVolume { source: source.into(), target: target.into() });
    }
    Ok(shared)
}

fn leads_out(path: &Path) -> bool {
    path.components().next().is_none()
        || path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
}

fn framework_id(info: &v1::FrameworkInfo) -> FrameworkId {
    info.id.as_ref().map_or_else(|| FrameworkId::from(""), FrameworkId::from)
}

/// Resources without an allocation are the framework's only role's (src/slave/slave.cpp, injectAllocationInfo).
#[allow(deprecated)] // `role` is what frameworks without MULTI_ROLE have
fn inject_role(framework: &v1::FrameworkInfo, request: &mut Request) {
    let role = framework.roles.first().or(framework.role.as_ref()).map_or("*", String::as_str);
    let inject = |resources: &mut Vec<v1::Resource>| {
        for resource in resources {
            resource
                .allocation_info
                .get_or_insert_with(|| v1::resource::AllocationInfo { role: Some(role.to_string()) });
        }
    };
    inject(&mut Arc::make_mut(&mut request.executor).resources);
    for task in request.tasks.iter_mut().map(Arc::make_mut) {
        inject(&mut task.resources);
        if let Some(executor) = &mut task.executor {
            inject(&mut executor.resources);
        }
    }
}
