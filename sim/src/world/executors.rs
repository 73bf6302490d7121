//! Custom executors: the real driver core, in a program that runs tasks for their time.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use mezzo_agent_core::container::Launch;
use mezzo_api::{
    ids::ContainerId,
    time::{Now, parse_duration},
    v1::{self, TaskState},
};
use mezzo_sdk_core::{
    answer::Answer,
    executor::{Config, Core, Effect, Effects, EndReason, Event as Told, StreamId},
};

use super::{Event, Owner, World};
use crate::{
    ids::{Host, ProcessId, Service},
    network::{ConnId, Incoming, Opening, Packet, Side},
    time::{Clock, Moment},
    workload::Program,
};

/// One run of an executor.
#[derive(Debug)]
pub(super) struct Executor {
    machine: u16,
    container: ContainerId,
    core: Core,
    clock: Clock,
    stream: Option<(StreamId, ConnId)>,
    calls: Option<ConnId>,
    unanswered: VecDeque<Rc<v1::executor::Call>>,
    tasks: BTreeMap<String, Program>,
    ending: bool,
    planned: Option<Moment>,
}

impl Executor {
    pub(super) fn told(&self) -> (&ContainerId, Vec<&str>, usize) {
        (&self.container, self.tasks.keys().map(String::as_str).collect(), self.core.unacknowledged())
    }
}

/// An executor that has nothing to do for so long ends.
const IDLE: Duration = Duration::from_secs(20);

impl World {
    pub(super) fn start_executor(&mut self, machine: u16, launch: &Launch) {
        let process = self.new_process(Owner::Executor(machine));
        let variable = |name: &str| {
            let found = launch.environment.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let config = Config {
            framework_id: v1::FrameworkId { value: variable("MESOS_FRAMEWORK_ID") },
            executor_id: v1::ExecutorId { value: variable("MESOS_EXECUTOR_ID") },
            checkpoint: variable("MESOS_CHECKPOINT") == "1",
            recovery_timeout: parse_duration(&variable("MESOS_RECOVERY_TIMEOUT")).unwrap_or(Duration::from_secs(900)),
            backoff_max: parse_duration(&variable("MESOS_SUBSCRIPTION_BACKOFF_MAX")).unwrap_or(Duration::from_secs(2)),
        };
        let clock = self.new_clock();
        let seed = self.random.seed();
        let executor = Executor {
            machine,
            container: launch.container_id.clone(),
            core: Core::new(config, seed),
            clock,
            stream: None,
            calls: None,
            unanswered: VecDeque::new(),
            tasks: BTreeMap::new(),
            ending: false,
            planned: None,
        };
        self.executors.insert(process, Box::new(executor));
        self.executor_step(process, |core, now, out| core.start(now, out));
    }

    /// The process is gone with its machine.
    pub(super) fn end_executor(&mut self, process: ProcessId) {
        self.executors.remove(&process);
        self.end_process(process);
    }

    /// The process in this container is gone.
    pub(super) fn end_executor_in(&mut self, container: &ContainerId) {
        let found = self.executors.iter().find(|(_, executor)| executor.container == *container).map(|(id, _)| *id);
        if let Some(process) = found {
            self.end_executor(process);
        }
    }

    pub(super) fn wake_executor(&mut self, process: ProcessId) {
        let Some(executor) = self.executors.get_mut(&process) else { return };
        if executor.planned.is_none_or(|planned| planned > self.now) {
            return;
        }
        executor.planned = None;
        self.executor_step(process, |core, now, out| core.tick(now, out));
    }

    fn executor_step(&mut self, process: ProcessId, input: impl FnOnce(&mut Core, Now, &mut Effects)) {
        let Some(mut executor) = self.executors.remove(&process) else { return };
        let now = executor.clock.read(self.now);
        let mut effects = Effects::new();
        input(&mut executor.core, now, &mut effects);
        let mut waiting: VecDeque<Effect> = effects.into();
        while let Some(effect) = waiting.pop_front() {
            let mut more = Effects::new();
            self.executor_effect(process, &mut executor, effect, &mut more);
            waiting.extend(more);
        }
        let (clock, deadline, mut planned) = (executor.clock, executor.core.deadline(), executor.planned);
        self.wake_at(process, &clock, deadline, &mut planned);
        executor.planned = planned;
        let exits = executor.ending && executor.tasks.is_empty() && executor.core.unacknowledged() == 0;
        let (machine, container) = (executor.machine, executor.container.clone());
        let ended = executor.core.ended();
        self.executors.insert(process, executor);
        if exits || ended {
            self.executor_exits(machine, &container);
        }
    }

    /// The program ends with 0.
    fn executor_exits(&mut self, machine: u16, container: &ContainerId) {
        self.agents[usize::from(machine)].containers.end(container, 0);
        self.container_ended(machine, container, 0);
    }

    fn executor_effect(&mut self, process: ProcessId, executor: &mut Executor, effect: Effect, more: &mut Effects) {
        let now = self.now;
        let host = Host::Agent(executor.machine);
        match effect {
            Effect::Open { stream, call } => {
                let opening = Opening::ExecutorSubscribe(Rc::new(*call));
                let to = (host, Service::Agent);
                let conn = self.network.dial(&mut self.queue, now, (host, process), to, opening);
                executor.stream = Some((stream, conn));
            }
            Effect::Close(stream) => {
                if let Some((current, conn)) = executor.stream
                    && current == stream
                {
                    self.network.close(&mut self.queue, now, conn, Side::Dialer);
                    executor.stream = None;
                    if let Some(calls) = executor.calls.take() {
                        self.network.close(&mut self.queue, now, calls, Side::Dialer);
                    }
                    executor.unanswered.clear();
                }
            }
            Effect::Send(_, call) => {
                let calls = executor.calls.unwrap_or_else(|| {
                    let to = (host, Service::Agent);
                    self.network.dial(&mut self.queue, now, (host, process), to, Opening::ExecutorCalls)
                });
                executor.calls = Some(calls);
                let call = Rc::new(*call);
                executor.unanswered.push_back(call.clone());
                let _ = self.network.send(&mut self.queue, now, calls, Side::Dialer, Packet::ExecutorCall(call));
            }
            Effect::Deliver(event) => self.executor_told(process, executor, event, more),
        }
    }

    fn executor_told(&mut self, process: ProcessId, executor: &mut Executor, event: Told, out: &mut Effects) {
        let now = executor.clock.read(self.now);
        match event {
            Told::Launch(task) => self.executor_launches(process, executor, &task, out),
            Told::LaunchGroup(tasks) => {
                for task in tasks {
                    self.executor_launches(process, executor, &task, out);
                }
            }
            Told::Kill { task_id, .. } if executor.tasks.contains_key(&task_id.value) => {
                let delay = self.random.duration(Duration::from_millis(1), Duration::from_secs(2));
                self.queue.push(self.now + delay, Event::TaskOver(process, task_id.value, true));
            }
            Told::Kill { .. } => {}
            Told::Shutdown(reason) => {
                executor.ending = true;
                for task in std::mem::take(&mut executor.tasks).into_keys() {
                    if reason == EndReason::Asked {
                        executor.core.update(now, status(&task, TaskState::TaskKilled), out);
                    }
                }
            }
            // It says what it hears.
            Told::Message(data) => executor.core.message(data, out),
            _ => {}
        }
    }

    fn executor_launches(
        &mut self,
        process: ProcessId,
        executor: &mut Executor,
        task: &v1::TaskInfo,
        out: &mut Effects,
    ) {
        let now = executor.clock.read(self.now);
        let text = task.data.as_ref().map(|data| String::from_utf8_lossy(data).into_owned()).unwrap_or_default();
        let program = Program::read(&text);
        let id = task.task_id.value.clone();
        executor.tasks.insert(id.clone(), program);
        executor.core.update(now, status(&id, TaskState::TaskRunning), out);
        self.queue.push(self.now + program.duration(), Event::TaskOver(process, id, false));
    }

    pub(super) fn executor_task_over(&mut self, process: ProcessId, task: &str, killed: bool) {
        let Some(executor) = self.executors.get_mut(&process) else { return };
        let Some(program) = executor.tasks.remove(task) else { return };
        let state = match program.wait_status() {
            _ if killed => TaskState::TaskKilled,
            0 => TaskState::TaskFinished,
            _ => TaskState::TaskFailed,
        };
        if executor.tasks.is_empty() {
            self.queue.push(self.now + IDLE, Event::Idle(process));
        }
        let status = status(task, state);
        self.executor_step(process, |core, now, out| {
            core.update(now, status, out);
        });
    }

    pub(super) fn executor_idle(&mut self, process: ProcessId) {
        let Some(executor) = self.executors.get(&process) else { return };
        if executor.tasks.is_empty() && executor.core.unacknowledged() == 0 {
            let (machine, container) = (executor.machine, executor.container.clone());
            self.executor_exits(machine, &container);
        }
    }

    pub(super) fn executor_incoming(&mut self, process: ProcessId, conn: ConnId, what: Incoming) {
        let Some(executor) = self.executors.get_mut(&process) else { return };
        if executor.calls == Some(conn) {
            match what {
                Incoming::Packet(Packet::ExecutorAnswer(code, text)) => {
                    let Some((stream, _)) = executor.stream else { return };
                    let Some(call) = executor.unanswered.pop_front() else { return };
                    let answer = Answer::new(code, text);
                    self.executor_step(process, |core, now, out| core.answered(now, stream, &call, &answer, out));
                }
                Incoming::Closed { stood } => {
                    executor.calls = None;
                    let Some((stream, _)) = executor.stream else { return };
                    let lost = executor.unanswered.drain(..).map(|call| (*call).clone()).collect();
                    self.executor_step(process, |core, now, out| core.calls_lost(now, stream, lost, stood, out));
                }
                Incoming::Opened(_) | Incoming::Packet(_) => {}
            }
            return;
        }
        let Some((stream, _)) = executor.stream.filter(|(_, current)| *current == conn) else { return };
        match what {
            Incoming::Packet(Packet::ExecutorAnswer(code, text)) => {
                let answer = Answer::new(code, text);
                self.executor_step(process, |core, now, out| core.head(now, stream, &answer, out));
            }
            Incoming::Packet(Packet::ExecutorEvent(event)) => {
                let event = (*event).clone();
                self.executor_step(process, |core, now, out| core.event(now, stream, event, out));
            }
            Incoming::Closed { .. } => {
                executor.stream = None;
                if let Some(calls) = executor.calls.take() {
                    self.network.close(&mut self.queue, self.now, calls, Side::Dialer);
                }
                executor.unanswered.clear();
                self.executor_step(process, |core, now, out| core.closed(now, stream, "closed".to_owned(), out));
            }
            Incoming::Opened(_) | Incoming::Packet(_) => {}
        }
    }
}

fn status(task: &str, state: TaskState) -> v1::TaskStatus {
    v1::TaskStatus { task_id: v1::TaskId { value: task.to_owned() }, state: state as i32, ..Default::default() }
}
