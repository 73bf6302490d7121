//! An agent's core with everything around it played by the test: time, disk, master, containerizer, executors.
#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use mezzo_agent_core::{
    Core,
    config::{Config, Reconfiguration, Recover},
    container::{ContainerEvent, Launch, Stop},
    effect::{Answer, Effect, LinkId, RequestId, StreamId},
    image::Images,
    isolation::Abilities,
};
use mezzo_api::{
    ids::ContainerId,
    link::{self, from_agent, to_agent},
    time::Now,
    v1::{self, TaskState, framework_info::capability},
};

pub const AGENT: &str = "m-S0";
pub const FRAMEWORK: &str = "m-0000";
pub const BOOT: &str = "boot-1";

pub fn config() -> Config {
    Config {
        info: v1::AgentInfo {
            hostname: "host".into(),
            port: Some(5051),
            resources: ["cpus:8", "mem:8192", "disk:1000", "ports:[31000-32000]"]
                .iter()
                .flat_map(|text| mezzo_api::resources::Resources::parse(text, "*").unwrap().to_protos())
                .collect(),
            ..Default::default()
        },
        hostname_is_found: false,
        work_dir: PathBuf::from("/w"),
        ip: Ipv4Addr::LOCALHOST.into(),
        port: 5051,
        advertise_ip: None,
        libprocess_ip: None,
        boot_id: BOOT.into(),
        switch_user: true,
        executor_environment: Vec::new(),
        executor_registration_timeout: Duration::from_secs(60),
        executor_reregistration_timeout: Duration::from_secs(2),
        executor_shutdown_grace_period: Duration::from_secs(5),
        recovery_timeout: Duration::from_secs(900),
        recover: Recover::Reconnect,
        strict: true,
        reconfiguration: Reconfiguration::Equal,
        max_completed_executors_per_framework: 150,
        max_completed_frameworks: 50,
        abilities: Abilities::default(),
        images: Images::default(),
    }
}

/// One core with the records that it wrote; effects wait here until a test takes them.
pub struct Agent {
    pub core: Core,
    pub records: Vec<Bytes>,
    pub effects: Vec<Effect>,
    pub now: Duration,
    pub link: u64,
    /// What the containerizer is to tell of after a restart.
    pub recovered: Vec<ContainerId>,
    next_request: u64,
}

impl Agent {
    /// An agent without a past.
    pub fn new() -> Self {
        Self::recover(Vec::new(), 1)
    }

    /// An agent that starts from these records.
    pub fn recover(records: Vec<Bytes>, seed: u64) -> Self {
        Self::recover_with(config(), records, seed)
    }

    pub fn recover_with(config: Config, mut records: Vec<Bytes>, seed: u64) -> Self {
        let start = Duration::from_secs(1000 * seed);
        let mut out = Vec::new();
        let mut recovered = Core::recover(config, seed, moment(start), records.clone(), &mut out).unwrap();
        recovered.core.check();
        recovered.core.check_touched();
        records.extend(out.iter().filter_map(record));
        Self {
            core: recovered.core,
            records,
            effects: out,
            now: start,
            link: 0,
            recovered: recovered.containers,
            next_request: 0,
        }
    }

    /// Registered with a master, nothing running.
    pub fn registered() -> Self {
        let mut agent = Self::new();
        agent.link_up();
        agent.say(to_agent::Message::Registered(link::Registered {
            agent_id: v1::AgentId { value: AGENT.into() },
            total_ping_timeout_ms: 75_000,
        }));
        agent.effects.clear();
        agent
    }

    /// The master promises to be silent for long.
    pub fn never_mind_pings(&mut self) {
        self.say(to_agent::Message::Registered(link::Registered {
            agent_id: v1::AgentId { value: AGENT.into() },
            total_ping_timeout_ms: 100_000_000,
        }));
    }

    /// The same agent after a crash.
    pub fn restarted(self, seed: u64) -> Self {
        Self::recover(self.records, seed)
    }

    pub fn step(&mut self, act: impl FnOnce(&mut Core, Now, &mut Vec<Effect>)) {
        let mut out = Vec::new();
        act(&mut self.core, moment(self.now), &mut out);
        self.core.check();
        self.core.check_touched();
        self.records.extend(out.iter().filter_map(record));
        self.effects.extend(out);
    }

    pub fn link_up(&mut self) {
        self.link += 1;
        let link = LinkId(self.link);
        self.step(|core, now, out| core.link_up(now, link, out));
    }

    pub fn link_down(&mut self) {
        let link = LinkId(self.link);
        self.step(|core, now, out| core.link_down(now, link, out));
    }

    /// Link and re-registration.
    pub fn reregister(&mut self) {
        self.link_up();
        self.say(reregistered());
    }

    pub fn say(&mut self, message: to_agent::Message) {
        self.say_as(1, message);
    }

    pub fn say_as(&mut self, term: u64, message: to_agent::Message) {
        let link = LinkId(self.link);
        let message = link::ToAgent { term, message: Some(message) };
        self.step(|core, now, out| core.master(now, link, message, out));
    }

    pub fn container(&mut self, id: &ContainerId, event: ContainerEvent) {
        self.step(|core, now, out| core.container(now, id.clone(), event, out));
    }

    pub fn running(&mut self, id: &ContainerId) {
        self.container(id, ContainerEvent::Running { pid: 4242, address: None });
    }

    pub fn exited(&mut self, id: &ContainerId, status: i32) {
        self.container(id, ContainerEvent::Exited { status: Some(status) });
    }

    /// Lets time pass, with every tick that is due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.step(|core, now, out| core.tick(now, out));
        }
        self.now = end;
    }

    pub fn call(&mut self, call: v1::executor::Call) -> Answer {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        self.step(|core, now, out| core.executor_call(now, request, call, out));
        self.answer(request)
    }

    pub fn subscribe(&mut self, executor: &str, stream: u64, subscribe: v1::executor::call::Subscribe) -> Answer {
        self.next_request += 1;
        let request = RequestId(self.next_request);
        let call =
            v1::executor::Call { subscribe: Some(subscribe), ..call(executor, v1::executor::call::Type::Subscribe) };
        self.step(|core, now, out| core.executor_subscribe(now, request, StreamId(stream), call, out));
        self.answer(request)
    }

    fn answer(&mut self, request: RequestId) -> Answer {
        let replies: Vec<Answer> = self.take(|effect| match effect {
            Effect::Reply(to, answer) if *to == request => Some(answer.clone()),
            _ => None,
        });
        assert_eq!(replies.len(), 1, "one answer to each request");
        replies[0].clone()
    }

    /// Acknowledges an update as its framework.
    pub fn acknowledge(&mut self, status: &v1::TaskStatus) {
        self.say(to_agent::Message::Acknowledge(link::Acknowledge {
            framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        }));
    }

    /// Takes the effects for which `pick` gives something.
    pub fn take<T>(&mut self, pick: impl Fn(&Effect) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        self.effects.retain(|effect| match pick(effect) {
            Some(value) => {
                taken.push(value);
                false
            }
            None => true,
        });
        taken
    }

    pub fn take_messages(&mut self) -> Vec<from_agent::Message> {
        self.take(|effect| match effect {
            Effect::ToMaster(message) => Some((**message).clone()),
            _ => None,
        })
    }

    pub fn take_updates(&mut self) -> Vec<v1::TaskStatus> {
        self.take(|effect| match effect {
            Effect::ToMaster(message) => match &**message {
                from_agent::Message::StatusUpdate(update) => Some(update.status.clone()),
                _ => None,
            },
            _ => None,
        })
    }

    /// Takes the one update there is, and acknowledges it.
    pub fn take_update(&mut self) -> v1::TaskStatus {
        let updates = self.take_updates();
        assert_eq!(updates.len(), 1, "{updates:?}");
        self.acknowledge(&updates[0]);
        updates[0].clone()
    }

    /// Takes and acknowledges updates as long as there are any: the states in order.
    pub fn take_states(&mut self) -> Vec<TaskState> {
        let mut states = Vec::new();
        loop {
            let updates = self.take_updates();
            if updates.is_empty() {
                return states;
            }
            for update in updates {
                self.acknowledge(&update);
                states.push(update.state());
            }
        }
    }

    pub fn take_launch(&mut self) -> Launch {
        let launches: Vec<Launch> = self.take(|effect| match effect {
            Effect::Launch(launch) => Some((**launch).clone()),
            _ => None,
        });
        assert_eq!(launches.len(), 1, "{launches:?}");
        launches[0].clone()
    }

    pub fn take_launches(&mut self) -> Vec<Launch> {
        self.take(|effect| match effect {
            Effect::Launch(launch) => Some((**launch).clone()),
            _ => None,
        })
    }

    /// The stops with their containers.
    pub fn take_ends(&mut self) -> Vec<(ContainerId, Stop)> {
        self.take(|effect| match effect {
            Effect::Stop(id, how) => Some((id.clone(), *how)),
            _ => None,
        })
    }

    pub fn take_stops(&mut self) -> Vec<Stop> {
        self.take(|effect| match effect {
            Effect::Stop(_, how) => Some(*how),
            _ => None,
        })
    }

    pub fn take_events(&mut self) -> Vec<(u64, v1::executor::Event)> {
        self.take(|effect| match effect {
            Effect::ToExecutor(stream, event) => Some((stream.0, (**event).clone())),
            _ => None,
        })
    }

    /// The names of the events that went to executors.
    pub fn take_event_names(&mut self) -> Vec<&'static str> {
        self.take_events().iter().map(|(_, event)| event.r#type().as_str_name()).collect()
    }

    /// Nothing was asked for that the test did not expect.
    pub fn assert_quiet(&mut self) {
        let rest = self.take(|effect| match effect {
            Effect::Record { .. } | Effect::Attach { .. } => None,
            other => Some(format!("{other:?}")),
        });
        assert!(rest.is_empty(), "{rest:#?}");
    }

    /// Runs a command task up to TASK_RUNNING, acknowledged.
    pub fn run_command(&mut self, task: &v1::TaskInfo, framework: &v1::FrameworkInfo) -> ContainerId {
        self.say(run_task(framework, task, true));
        let id = self.take_launch().container_id;
        self.running(&id);
        assert_eq!(self.take_states(), [TaskState::TaskStarting, TaskState::TaskRunning]);
        id
    }
}

fn moment(mono: Duration) -> Now {
    Now { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + mono }
}

fn record(effect: &Effect) -> Option<Bytes> {
    match effect {
        Effect::Record { record, .. } | Effect::Volume { settled: record, .. } => Some(record.clone()),
        _ => None,
    }
}

pub fn reregistered() -> to_agent::Message {
    to_agent::Message::Reregistered(link::Reregistered {
        agent_id: v1::AgentId { value: AGENT.into() },
        total_ping_timeout_ms: 75_000,
        reconcile: Vec::new(),
        reconcile_operations: Vec::new(),
    })
}

pub fn framework(capabilities: &[capability::Type]) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        user: "nobody".into(),
        name: "test".into(),
        id: Some(v1::FrameworkId { value: FRAMEWORK.into() }),
        roles: vec!["dev".into()],
        checkpoint: Some(true),
        capabilities: capabilities
            .iter()
            .map(|kind| v1::framework_info::Capability { r#type: Some(*kind as i32) })
            .collect(),
        ..Default::default()
    }
}

pub fn plain() -> v1::FrameworkInfo {
    framework(&[])
}

pub fn modern() -> v1::FrameworkInfo {
    framework(&[capability::Type::PartitionAware, capability::Type::TaskKillingState, capability::Type::MultiRole])
}

pub fn resources(text: &str) -> Vec<v1::Resource> {
    let mut resources = mezzo_api::resources::Resources::parse(text, "*").unwrap();
    resources.allocate("dev");
    resources.to_protos()
}

pub fn command_task(id: &str, command: &str) -> v1::TaskInfo {
    v1::TaskInfo {
        name: id.into(),
        task_id: v1::TaskId { value: id.into() },
        agent_id: v1::AgentId { value: AGENT.into() },
        resources: resources("cpus:0.1;mem:32"),
        command: Some(v1::CommandInfo { value: Some(command.into()), ..Default::default() }),
        ..Default::default()
    }
}

pub fn executor(id: &str) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        executor_id: v1::ExecutorId { value: id.into() },
        framework_id: Some(v1::FrameworkId { value: FRAMEWORK.into() }),
        r#type: Some(v1::executor_info::Type::Custom as i32),
        command: Some(v1::CommandInfo { value: Some("exec ./executor".into()), ..Default::default() }),
        resources: resources("cpus:0.1;mem:32"),
        ..Default::default()
    }
}

pub fn executor_task(id: &str, executor_id: &str) -> v1::TaskInfo {
    v1::TaskInfo { command: None, executor: Some(Box::new(executor(executor_id))), ..command_task(id, "") }
}

pub fn run_task(framework: &v1::FrameworkInfo, task: &v1::TaskInfo, launch_executor: bool) -> to_agent::Message {
    to_agent::Message::RunTask(Box::new(link::RunTask {
        framework: framework.clone(),
        task: task.clone(),
        launch_executor,
        resource_version: None,
    }))
}

/// The default executor.
pub fn pod(id: &str) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        r#type: Some(v1::executor_info::Type::Default as i32),
        command: None,
        resources: resources("cpus:0.1;mem:32;disk:1"),
        ..executor(id)
    }
}

pub fn run_group(
    framework: &v1::FrameworkInfo,
    executor: &v1::ExecutorInfo,
    tasks: &[v1::TaskInfo],
    launch_executor: bool,
) -> to_agent::Message {
    to_agent::Message::RunTaskGroup(Box::new(link::RunTaskGroup {
        resource_version: Default::default(),
        framework: framework.clone(),
        executor: executor.clone(),
        task_group: v1::TaskGroupInfo { tasks: tasks.to_vec() },
        launch_executor,
    }))
}

/// A task with a health check by command and a check by TCP, each second.
pub fn checked(task: v1::TaskInfo) -> v1::TaskInfo {
    v1::TaskInfo {
        health_check: Some(Box::new(v1::HealthCheck {
            r#type: Some(v1::health_check::Type::Command as i32),
            command: Some(v1::CommandInfo { value: Some("true".into()), ..Default::default() }),
            delay_seconds: Some(1.0),
            interval_seconds: Some(1.0),
            timeout_seconds: Some(5.0),
            grace_period_seconds: Some(0.0),
            consecutive_failures: Some(2),
            ..Default::default()
        })),
        check: Some(Box::new(v1::CheckInfo {
            r#type: Some(v1::check_info::Type::Tcp as i32),
            tcp: Some(v1::check_info::Tcp { port: 80 }),
            delay_seconds: Some(1.0),
            interval_seconds: Some(1.0),
            timeout_seconds: Some(5.0),
            ..Default::default()
        })),
        ..task
    }
}

pub fn drain(grace: Option<Duration>, mark_gone: bool) -> to_agent::Message {
    to_agent::Message::DrainAgent(link::DrainAgent {
        config: v1::DrainConfig { max_grace_period: grace.map(duration), mark_gone: Some(mark_gone) },
    })
}

pub fn kill(task: &str, grace: Option<Duration>) -> to_agent::Message {
    to_agent::Message::KillTask(link::KillTask {
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        task_id: v1::TaskId { value: task.into() },
        kill_policy: grace.map(|grace| v1::KillPolicy { grace_period: Some(duration(grace)) }),
    })
}

pub fn duration(duration: Duration) -> v1::DurationInfo {
    v1::DurationInfo { nanoseconds: i64::try_from(duration.as_nanos()).unwrap() }
}

pub fn call(executor: &str, kind: v1::executor::call::Type) -> v1::executor::Call {
    v1::executor::Call {
        executor_id: v1::ExecutorId { value: executor.into() },
        framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
        r#type: Some(kind as i32),
        ..Default::default()
    }
}

/// An executor's UPDATE; `number` makes the uuid.
pub fn update(executor: &str, task: &str, state: TaskState, number: u8) -> v1::executor::Call {
    v1::executor::Call {
        update: Some(v1::executor::call::Update { status: status(executor, task, state, number) }),
        ..call(executor, v1::executor::call::Type::Update)
    }
}

pub fn status(executor: &str, task: &str, state: TaskState, number: u8) -> v1::TaskStatus {
    let mut uuid = [number; 16];
    uuid[6] = 0x40 | (number & 0x0f);
    v1::TaskStatus {
        task_id: v1::TaskId { value: task.into() },
        state: state as i32,
        source: Some(v1::task_status::Source::Executor as i32),
        executor_id: Some(v1::ExecutorId { value: executor.into() }),
        uuid: Some(Bytes::copy_from_slice(&uuid)),
        ..Default::default()
    }
}
