//! Random lives of an agent that crashes at any record, between any two effects. Around it a master that loses its link, a
//! framework that acknowledges late or twice, and containers that live on without the agent. At the end all is healed,
//! and every task must have been told, in order, once, and truly.
//!
//! `CRASH_WALK_SEEDS=N` walks N seeds; a failure prints its seed: `CRASH_WALK_SEED=<seed>` repeats it alone.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use mezzo_agent_core::{
    Core,
    container::{ContainerEvent, Outcome, Stop},
    effect::{Effect, LinkId, RequestId, StreamId},
    is_terminal,
};
use mezzo_api::{
    ids::ContainerId,
    link::{self, from_agent, to_agent},
    time::Now,
    v1::{self, TaskState},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use support::{
    AGENT, FRAMEWORK, checked, command_task, config, drain, executor_task, kill, modern, pod, run_group, run_task,
    status,
};

const STEPS: usize = 120;

/// What a container truly is.
#[derive(Clone, Debug, PartialEq)]
enum Truth {
    Running,
    Exited(i32),
}

/// What a framework has seen of a task.
#[derive(Debug, Default)]
struct Seen {
    /// First sight of each update, in order.
    updates: Vec<(Bytes, TaskState)>,
    unacknowledged: Vec<v1::TaskStatus>,
}

/// A custom executor's own memory: it lives in its container.
#[derive(Debug, Default, Clone)]
struct Executor {
    tasks: BTreeMap<String, v1::TaskInfo>,
    unacknowledged: Vec<v1::TaskStatus>,
    ended: BTreeSet<String>,
    stream: Option<StreamId>,
    next: u8,
}

struct World {
    random: StdRng,
    core: Core,
    now: Duration,
    records: Vec<Bytes>,
    containers: BTreeMap<ContainerId, Truth>,
    /// Events that the containerizer has yet to tell.
    events: Vec<(ContainerId, ContainerEvent)>,
    executors: BTreeMap<ContainerId, (String, Executor)>,
    forgotten: BTreeSet<ContainerId>,
    /// Looks at tasks that are to be answered.
    probes: Vec<ContainerId>,
    killed: BTreeSet<String>,
    tasks: BTreeMap<String, Seen>,
    /// Acknowledgements that the agent has recorded.
    recorded: BTreeSet<Bytes>,
    link: u64,
    registered: bool,
    /// The tasks of a report that is not answered.
    reported: Option<BTreeSet<String>>,
    next: u64,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut out = Vec::new();
        let recovered = Core::recover(config(), seed, moment(Duration::ZERO), Vec::new(), &mut out).unwrap();
        let mut world = Self {
            random: StdRng::seed_from_u64(seed),
            core: recovered.core,
            now: Duration::ZERO,
            records: Vec::new(),
            containers: BTreeMap::new(),
            events: Vec::new(),
            executors: BTreeMap::new(),
            forgotten: BTreeSet::new(),
            probes: Vec::new(),
            killed: BTreeSet::new(),
            tasks: BTreeMap::new(),
            recorded: BTreeSet::new(),
            link: 0,
            registered: false,
            reported: None,
            next: 0,
            trace: Vec::new(),
        };
        world.carry_out(out);
        world
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One input; the agent may crash while it records or carries out what follows from it.
    fn step(&mut self, crash: bool, what: String, act: impl FnOnce(&mut Core, Now, &mut Vec<Effect>)) {
        self.trace.push(what);
        let mut out = Vec::new();
        act(&mut self.core, moment(self.now), &mut out);
        self.core.check();
        if !crash {
            self.carry_out(out);
            return;
        }
        let records: Vec<Bytes> = out.iter().filter_map(record).collect();
        let kept = self.random.random_range(0..=records.len());
        let all = kept == records.len();
        self.records.extend(records.into_iter().take(kept));
        if all {
            out.retain(|effect| record(effect).is_none());
            let carried = self.random.random_range(0..=out.len());
            out.truncate(carried);
            self.carry_out(out);
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.trace.push("-- crash".into());
        let mut records = self.records.clone();
        if self.random.random_bool(0.3) {
            // A checkpoint that was compacted says the same.
            let mut out = Vec::new();
            let seed = self.random.random();
            let compacted = Core::recover(config(), seed, moment(self.now), records.clone(), &mut out).unwrap();
            records.extend(out.iter().filter_map(record));
            let _ = records;
            records = compacted.core.snapshot();
            self.records = records.clone();
        }
        let seed = self.random.random();
        let mut out = Vec::new();
        let recovered = Core::recover(config(), seed, moment(self.now), records, &mut out).unwrap();
        recovered.core.check();
        self.core = recovered.core;
        self.registered = false;
        self.reported = None;
        self.events.clear();
        self.probes.clear();
        for (_, executor) in self.executors.values_mut() {
            executor.stream = None;
        }
        for id in &recovered.containers {
            assert!(!self.forgotten.contains(id), "{id} was forgotten and is asked for");
            self.events.push((
                id.clone(),
                match self.containers.get(id) {
                    None => ContainerEvent::Exited { status: None },
                    Some(Truth::Running) => ContainerEvent::Running { pid: 7, address: None },
                    Some(Truth::Exited(status)) => ContainerEvent::Exited { status: Some(*status) },
                },
            ));
        }
        let known: BTreeSet<_> = recovered.containers.into_iter().collect();
        self.containers.retain(|id, truth| known.contains(id) || *truth != Truth::Running);
        self.executors.retain(|id, _| known.contains(id));
        self.carry_out(out);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        // Records first, as the shell does.
        self.records.extend(effects.iter().filter_map(record));
        for effect in effects {
            match effect {
                Effect::Record { .. } | Effect::Collect(_) | Effect::Attach { .. } | Effect::Reply(..) => {}
                Effect::ToMaster(message) => self.heard(*message),
                Effect::CloseLink(_) => self.registered = false,
                Effect::ToExecutor(stream, event) => self.tell_executor(stream, &event),
                Effect::CloseStream(stream) => {
                    for (_, executor) in
                        self.executors.values_mut().filter(|(_, executor)| executor.stream == Some(stream))
                    {
                        executor.stream = None;
                    }
                }
                Effect::Launch(launch) => {
                    let id = launch.container_id;
                    assert!(!self.containers.contains_key(&id), "a container was launched twice");
                    if self.random.random_bool(0.1) {
                        self.events.push((id, ContainerEvent::Failed { message: "no luck".into() }));
                        continue;
                    }
                    self.containers.insert(id.clone(), Truth::Running);
                    let executor = launch.sandbox.ancestors().nth(2).unwrap().file_name().unwrap().to_str().unwrap();
                    if launch.nested.is_none() && executor.starts_with('e') {
                        self.executors.insert(id.clone(), (executor.into(), Executor::default()));
                    }
                    self.events.push((id, ContainerEvent::Running { pid: 7, address: None }));
                }
                Effect::Stop(id, how) => {
                    if self.containers.get(&id) == Some(&Truth::Running)
                        && (how == Stop::Kill || self.random.random_bool(0.5))
                    {
                        self.end(&id, 9);
                    }
                }
                Effect::Forget(id) => {
                    self.forgotten.insert(id);
                }
                Effect::Probe { id, .. } => self.probes.push(id),
                Effect::EndProbe(id) => self.probes.retain(|probe| *probe != id),
                Effect::OpenBulk(_) | Effect::Volume { .. } | Effect::ShowVolumes { .. } | Effect::Allot(..) => {}
                Effect::Exit(reason) => panic!("the agent ended: {reason}"),
            }
        }
    }

    fn end(&mut self, id: &ContainerId, status: i32) {
        self.containers.insert(id.clone(), Truth::Exited(status));
        self.executors.remove(id);
        self.events.push((id.clone(), ContainerEvent::Exited { status: Some(status) }));
    }

    /// What the master, and through it the framework, hears.
    fn heard(&mut self, message: from_agent::Message) {
        if let from_agent::Message::Reregister(report) = &message {
            let tasks = report.tasks.iter().map(|task| task.task_id.value.clone());
            self.reported.get_or_insert_default().extend(tasks);
        }
        let from_agent::Message::StatusUpdate(update) = message else { return };
        let status = update.status;
        let uuid = status.uuid.clone().unwrap();
        assert!(!self.recorded.contains(&uuid), "an acknowledged update was seen again: {status:?}");
        let seen = self.tasks.get_mut(&status.task_id.value).expect("an update of a task that was launched");
        if seen.updates.iter().all(|(known, _)| *known != uuid) {
            if let Some((_, last)) = seen.updates.last() {
                assert!(!is_terminal(*last), "{} after its end {last:?}: {status:?}", status.task_id.value);
            }
            seen.updates.push((uuid.clone(), status.state()));
        }
        seen.unacknowledged.retain(|known| known.uuid.as_ref() != Some(&uuid));
        seen.unacknowledged.push(status);
    }

    fn tell_executor(&mut self, stream: StreamId, event: &v1::executor::Event) {
        let Some((_, executor)) = self.executors.values_mut().find(|(_, executor)| executor.stream == Some(stream))
        else {
            return;
        };
        if let Some(launch) = &event.launch {
            executor.tasks.insert(launch.task.task_id.value.clone(), launch.task.clone());
        }
        if let Some(acknowledged) = &event.acknowledged {
            executor.unacknowledged.retain(|status| status.uuid.as_ref() != Some(&acknowledged.uuid));
            executor.tasks.remove(&acknowledged.task_id.value);
        }
    }

    fn link_up(&mut self, crash: bool) {
        self.link += 1;
        self.reported = None;
        let link = LinkId(self.link);
        self.step(crash, "link up".into(), |core, now, out| core.link_up(now, link, out));
        if !self.registered && self.core.view().agent_id.is_none() {
            self.say(
                false,
                to_agent::Message::Registered(link::Registered {
                    agent_id: v1::AgentId { value: AGENT.into() },
                    total_ping_timeout_ms: 1 << 40,
                }),
            );
        }
    }

    /// The master answers a report, if there was one, and asks for the tasks that it misses in it.
    fn answer_registration(&mut self, crash: bool) {
        let Some(reported) = self.reported.take() else { return };
        let open = |seen: &Seen| seen.updates.last().is_none_or(|(_, state)| !is_terminal(*state));
        let missing = self.tasks.iter().filter(|(id, seen)| open(seen) && !reported.contains(*id));
        let reconcile = missing.map(|(id, _)| link::ReconcileTask {
            framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
            task_id: v1::TaskId { value: id.clone() },
            partition_aware: true,
        });
        let message = to_agent::Message::Reregistered(link::Reregistered {
            agent_id: v1::AgentId { value: AGENT.into() },
            total_ping_timeout_ms: 1 << 40,
            reconcile: reconcile.collect(),
            reconcile_operations: Vec::new(),
        });
        self.say(crash, message);
    }

    fn say(&mut self, crash: bool, message: to_agent::Message) {
        let link = LinkId(self.link);
        let what = format!("master: {message:?}").chars().take(160).collect();
        let message = link::ToAgent { term: 1, message: Some(message) };
        self.step(crash, what, |core, now, out| core.master(now, link, message, out));
        self.registered = self.core.view().registered;
    }

    fn launch(&mut self, crash: bool) {
        if !self.registered || self.tasks.len() >= 40 {
            return;
        }
        let id = format!("t{}", self.tasks.len());
        if self.random.random_bool(0.4) {
            return self.launch_group(crash);
        }
        let executor =
            if self.random.random_bool(0.4) { Some(format!("e{}", self.random.random_range(0..3))) } else { None };
        let view = self.core.view();
        let taken = |name: &str| {
            view.frameworks
                .iter()
                .flat_map(|framework| &framework.executors)
                .any(|executor| executor.info.executor_id.value == name)
        };
        let message = match executor {
            Some(executor) => run_task(&modern(), &executor_task(&id, &executor), !taken(&executor)),
            None if self.random.random_bool(0.3) => run_task(&modern(), &checked(command_task(&id, "x")), true),
            None => run_task(&modern(), &command_task(&id, "x"), true),
        };
        self.tasks.insert(id.clone(), Seen::default());
        self.say(crash, message);
    }

    fn launch_group(&mut self, crash: bool) {
        let name = format!("p{}", self.random.random_range(0..3));
        let view = self.core.view();
        let mut executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
        let there = executors.any(|executor| executor.info.executor_id.value == name);
        let mut tasks = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let id = format!("t{}", self.tasks.len());
            self.tasks.insert(id.clone(), Seen::default());
            let task = command_task(&id, "x");
            tasks.push(if self.random.random_bool(0.3) { checked(task) } else { task });
        }
        self.say(crash, run_group(&modern(), &pod(&name), &tasks, !there));
    }

    /// What was seen of a task is told.
    fn answer_probe(&mut self, crash: bool) {
        if self.probes.is_empty() {
            return;
        }
        let place = self.random.random_range(0..self.probes.len());
        let probe = self.probes.remove(place);
        let outcome = Outcome::Tcp(self.random.random_bool(0.5));
        self.step(crash, format!("{probe}: {outcome:?}"), |core, now, out| core.probed(now, &probe, &outcome, out));
    }

    fn acknowledge(&mut self, crash: bool) {
        let waiting: Vec<v1::TaskStatus> = self.tasks.values().flat_map(|seen| seen.unacknowledged.clone()).collect();
        if waiting.is_empty() || !self.registered {
            return;
        }
        let status = waiting[self.random.random_range(0..waiting.len())].clone();
        let uuid = status.uuid.clone().unwrap();
        let before = self.records.len();
        self.say(
            crash,
            to_agent::Message::Acknowledge(link::Acknowledge {
                framework_id: v1::FrameworkId { value: FRAMEWORK.into() },
                task_id: status.task_id.clone(),
                uuid: uuid.clone(),
            }),
        );
        let kept = if crash { self.core_forgot(&status) } else { self.records.len() > before };
        if kept {
            self.recorded.insert(uuid.clone());
        }
        if !self.random.random_bool(0.2) {
            let seen = self.tasks.get_mut(&status.task_id.value).unwrap();
            seen.unacknowledged.retain(|known| known.uuid.as_ref() != Some(&uuid));
        }
    }

    /// Whether the recovered agent would not send this update any more: a snapshot shows what is pending.
    fn core_forgot(&self, status: &v1::TaskStatus) -> bool {
        let mut out = Vec::new();
        let mut probe = Core::recover(config(), 1, moment(self.now), self.core.snapshot(), &mut out).unwrap();
        let end = moment(self.now + Duration::from_secs(3));
        probe.core.tick(end, &mut out);
        probe.core.link_up(end, LinkId(u64::MAX), &mut out);
        let mut sent = Vec::new();
        let mut said = vec![link::ToAgent { term: 1, message: Some(support::reregistered()) }];
        while let Some(message) = said.pop() {
            let mut out = Vec::new();
            probe.core.master(end, LinkId(u64::MAX), message, &mut out);
            for effect in out {
                let Effect::ToMaster(message) = effect else { continue };
                let from_agent::Message::StatusUpdate(update) = *message else { continue };
                said.push(link::ToAgent {
                    term: 1,
                    message: Some(to_agent::Message::Acknowledge(link::Acknowledge {
                        framework_id: update.framework_id,
                        task_id: update.status.task_id.clone(),
                        uuid: update.status.uuid.clone().unwrap(),
                    })),
                });
                sent.push(update.status.uuid);
            }
        }
        !sent.contains(&status.uuid)
    }

    fn tell_event(&mut self, crash: bool) {
        if self.events.is_empty() {
            return;
        }
        // In order for each container, in any order among them.
        let place = self.random.random_range(0..self.events.len());
        let id = self.events[place].0.clone();
        let place = self.events.iter().position(|(other, _)| *other == id).unwrap();
        let (id, event) = self.events.remove(place);
        if self.forgotten.contains(&id) {
            return;
        }
        self.step(crash, format!("container {id}: {event:?}"), |core, now, out| core.container(now, id, event, out));
    }

    fn end_something(&mut self) {
        let running: Vec<ContainerId> =
            self.containers.iter().filter(|(_, truth)| **truth == Truth::Running).map(|(id, _)| id.clone()).collect();
        if !running.is_empty() {
            let id = running[self.random.random_range(0..running.len())].clone();
            let status = if self.random.random_bool(0.7) { 0 } else { 256 };
            self.trace.push(format!("{id} exits with {status}"));
            self.end(&id, status);
        }
    }

    fn executor_speaks(&mut self, crash: bool) {
        let all: Vec<ContainerId> = self.executors.keys().cloned().collect();
        if all.is_empty() {
            return;
        }
        let id = all[self.random.random_range(0..all.len())].clone();
        if self.events.iter().any(|(other, _)| *other == id) {
            return;
        }
        let request = RequestId(self.number());
        let (name, mut executor) = self.executors[&id].clone();
        let mut call = support::call(&name, v1::executor::call::Type::Subscribe);
        let Some(stream) = executor.stream else {
            let stream = StreamId(self.number());
            let updates = executor.unacknowledged.iter().cloned().map(|status| v1::executor::call::Update { status });
            call.subscribe = Some(v1::executor::call::Subscribe {
                unacknowledged_tasks: executor.tasks.values().cloned().collect(),
                unacknowledged_updates: updates.collect(),
            });
            executor.stream = Some(stream);
            self.executors.insert(id, (name.clone(), executor));
            self.step(crash, format!("{name} subscribes"), |core, now, out| {
                core.executor_subscribe(now, request, stream, call, out)
            });
            return;
        };
        let Some(task) = executor.tasks.keys().find(|task| !executor.ended.contains(*task)).cloned() else { return };
        executor.next = executor.next.wrapping_add(1);
        let state = if self.random.random_bool(0.5) { TaskState::TaskRunning } else { TaskState::TaskFinished };
        let mut status = status(&name, &task, state, executor.next);
        let mut uuid = [0; 16];
        self.random.fill(&mut uuid);
        uuid[6] = 0x40;
        status.uuid = Some(Bytes::copy_from_slice(&uuid));
        if state == TaskState::TaskFinished {
            executor.ended.insert(task.clone());
        }
        executor.unacknowledged.push(status.clone());
        self.executors.insert(id, (name.clone(), executor));
        let call = v1::executor::Call {
            update: Some(v1::executor::call::Update { status }),
            ..support::call(&name, v1::executor::call::Type::Update)
        };
        let _ = stream;
        self.step(crash, format!("{name}: {task} {state:?}"), |core, now, out| {
            core.executor_call(now, request, call, out)
        });
    }

    fn kill_something(&mut self, crash: bool) {
        let running: Vec<String> = self
            .tasks
            .iter()
            .filter(|(_, seen)| seen.updates.last().is_none_or(|(_, state)| !is_terminal(*state)))
            .map(|(id, _)| id.clone())
            .collect();
        if running.is_empty() || !self.registered {
            return;
        }
        let id = running[self.random.random_range(0..running.len())].clone();
        self.killed.insert(id.clone());
        let grace = Duration::from_secs(self.random.random_range(0..10));
        self.say(crash, kill(&id, Some(grace)));
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.step(false, format!("tick at {:?}", self.now), |core, now, out| core.tick(now, out));
        }
        self.now = end;
    }

    fn walk(&mut self) {
        for _ in 0..STEPS {
            let crash = self.random.random_bool(0.08);
            match self.random.random_range(0..100) {
                0..20 => self.launch(crash),
                20..40 => self.acknowledge(crash),
                40..60 => self.tell_event(crash),
                60..70 => self.end_something(),
                70..80 => self.executor_speaks(crash),
                80..84 => self.kill_something(crash),
                84 if self.registered && self.random.random_bool(0.3) => {
                    let grace = Duration::from_secs(self.random.random_range(0..10));
                    let gone = self.random.random_bool(0.5);
                    self.say(crash, drain(Some(grace), gone));
                }
                84 => self.answer_probe(crash),
                85..90 => {
                    if self.link > 0 && self.random.random_bool(0.5) {
                        let link = LinkId(self.link);
                        self.step(crash, "link down".into(), |core, now, out| core.link_down(now, link, out));
                        self.registered = false;
                    }
                    self.link_up(false);
                }
                90..97 => self.answer_registration(crash),
                _ => {
                    let seconds = self.random.random_range(0..30);
                    self.pass(Duration::from_secs(seconds));
                }
            }
        }
    }

    /// The world calms down: all containers end, everything is told and acknowledged.
    fn heal(&mut self) {
        for round in 0..400 {
            if round == 5 {
                for id in self.containers.keys().cloned().collect::<Vec<_>>() {
                    if self.containers[&id] == Truth::Running {
                        self.end(&id, 0);
                    }
                }
            }
            while !self.events.is_empty() {
                self.tell_event(false);
            }
            self.pass(Duration::from_secs(2));
            if !self.core.view().registered {
                self.link_up(false);
                self.answer_registration(false);
            }
            while self.tasks.values().any(|seen| !seen.unacknowledged.is_empty()) && self.registered {
                self.acknowledge(false);
            }
            if round > 40 && self.core.view().frameworks.is_empty() {
                return;
            }
        }
    }

    fn judge(&self) {
        let view = self.core.view();
        assert!(view.frameworks.is_empty(), "something is left: {:#?}", view.frameworks);
        for (id, seen) in &self.tasks {
            let states: Vec<TaskState> = seen.updates.iter().map(|(_, state)| *state).collect();
            let ends = states.iter().filter(|state| is_terminal(**state)).count();
            assert_eq!(ends, 1, "{id} was told {states:?}");
            assert!(states.last().is_some_and(|state| is_terminal(*state)), "{id} was told {states:?}");
            let rank = |state: TaskState| match state {
                TaskState::TaskStarting => 1,
                TaskState::TaskRunning => 2,
                TaskState::TaskKilling => 3,
                _ => 4,
            };
            assert!(states.windows(2).all(|pair| rank(pair[0]) <= rank(pair[1])), "{id} was told {states:?}");
        }
    }
}

fn record(effect: &Effect) -> Option<Bytes> {
    match effect {
        Effect::Record { record, .. } => Some(record.clone()),
        _ => None,
    }
}

fn moment(mono: Duration) -> Now {
    Now { mono, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + mono }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn live(seed: u64) {
    let mut world = World::new(seed);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world.link_up(false);
        world.answer_registration(false);
        world.walk();
        world.heal();
        world.judge();
    }));
    if let Err(panic) = outcome {
        let trace: Vec<&String> = world.trace.iter().filter(|line| !line.starts_with("tick")).collect();
        eprintln!("the last steps of seed {seed} (CRASH_WALK_SEED={seed} repeats it):");
        for line in trace.iter().skip(trace.len().saturating_sub(
            number("CRASH_WALK_LINES").map_or(120, |lines| usize::try_from(lines).unwrap_or(usize::MAX)),
        )) {
            eprintln!("  {line}");
        }
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn no_update_is_lost_or_doubled_whenever_the_agent_crashes() {
    if let Some(seed) = number("CRASH_WALK_SEED") {
        return live(seed);
    }
    for seed in 0..number("CRASH_WALK_SEEDS").unwrap_or(150) {
        live(seed);
    }
}
