//! A framework that keeps a number of tasks running, as a careful author would write it on the SDK.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mezzo_api::v1::{
    self, OperationState, TaskState,
    scheduler::{Call, call::reconcile_operations},
};
use mezzo_sdk_core::scheduler::{Event, calls};

use super::storage;
use crate::{random::Random, time::Moment, workload::Program};

/// What it knows of a task.
#[derive(Clone, Debug)]
pub struct Known {
    /// Where it is.
    pub agent: Option<v1::AgentId>,
    /// The last state that it was told.
    pub state: TaskState,
    /// It asked for its end.
    pub killing: bool,
}

/// How tasks are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Some tasks are given to custom executors.
    pub executors: bool,
    /// Its tasks run so long; drawn for each if not given.
    pub task_time: Option<Duration>,
    /// It kills tasks of its own now and then.
    pub kills: bool,
    /// It asks for no offers while it has enough.
    pub suppresses: bool,
    /// It declines for an hour what it does not need.
    pub long_filters: bool,
    /// It waits for offers rather than ask for them.
    pub patient: bool,
    /// It reserves, makes volumes, and gives them back.
    pub reserves: bool,
    /// Some tasks may take more memory than they ask for; an agent that cannot hold them to that drops them.
    pub bursts: bool,
}

/// One run of the framework's program.
#[derive(Debug)]
pub struct Keeper {
    /// How many tasks it wants.
    pub wanted: usize,
    /// Those that it believes in.
    pub tasks: BTreeMap<String, Known>,
    /// Operations that it waits for: since when, and on which agent.
    pub operations: BTreeMap<String, (Moment, v1::AgentId)>,
    /// Its id, once it has one.
    pub framework_id: Option<String>,
    prefix: String,
    next: u64,
    style: Style,
    random: Random,
    suppressed: bool,
    hungry_since: Option<Moment>,
}

/// Without an offer for so long it asks for some.
const PATIENCE: Duration = Duration::from_secs(20);

impl Keeper {
    /// A program that knows nothing yet; `prefix` makes its tasks' ids unique.
    pub fn new(wanted: usize, prefix: String, style: Style, random: Random) -> Self {
        Self {
            wanted,
            tasks: BTreeMap::new(),
            operations: BTreeMap::new(),
            framework_id: None,
            prefix,
            next: 0,
            style,
            random,
            suppressed: false,
            hungry_since: None,
        }
    }

    /// Tasks that run, or are on their way there, as far as it knows.
    pub fn active(&self) -> usize {
        self.tasks.values().filter(|known| known.state != TaskState::TaskUnreachable && !known.killing).count()
    }

    /// Reacts to what it is told. `settled`: from now on tasks run for good.
    pub fn told(&mut self, now: Moment, event: &Event, settled: bool) -> Vec<Call> {
        match event {
            Event::Subscribed(subscribed) => {
                let id = subscribed.framework_id.value.clone();
                if self.framework_id.as_ref().is_some_and(|old| *old != id) {
                    self.tasks.clear();
                    self.operations.clear();
                }
                self.framework_id = Some(id);
                Vec::new()
            }
            Event::Offers(offers) => self.offered(now, offers, settled),
            Event::OperationUpdate(status) => {
                let id = status.operation_id.as_ref().map_or("", |id| id.value.as_str());
                if !matches!(status.state(), OperationState::OperationPending | OperationState::OperationRecovering) {
                    self.operations.remove(id);
                }
                calls::acknowledge_operation(status).into_iter().collect()
            }
            Event::Update(status) => {
                self.updated(status);
                calls::acknowledge(status).into_iter().chain(self.trim()).collect()
            }
            _ => Vec::new(),
        }
    }

    fn updated(&mut self, status: &v1::TaskStatus) {
        let id = status.task_id.value.clone();
        use TaskState::*;
        match status.state() {
            TaskFinished | TaskFailed | TaskKilled | TaskError | TaskLost | TaskDropped | TaskGone
            | TaskGoneByOperator | TaskUnknown => {
                self.tasks.remove(&id);
            }
            TaskStaging | TaskStarting | TaskRunning | TaskKilling | TaskUnreachable => {
                let known =
                    self.tasks.entry(id).or_insert_with(|| Known { agent: None, state: TaskStaging, killing: false });
                known.agent = status.agent_id.clone().or_else(|| known.agent.take());
                known.state = status.state();
            }
        }
    }

    /// Ends what is too much: tasks that came back, or that an earlier run of the program had launched.
    fn trim(&mut self) -> Option<Call> {
        // Hardly ever are there more than it wants: then there is nothing to count.
        if self.tasks.len() <= self.wanted || self.active() <= self.wanted {
            return None;
        }
        let (id, known) = self
            .tasks
            .iter_mut()
            .rev()
            .find(|(_, known)| !known.killing && known.state != TaskState::TaskUnreachable)?;
        known.killing = true;
        Some(calls::kill(v1::TaskId { value: id.clone() }, known.agent.clone(), None))
    }

    fn offered(&mut self, now: Moment, offers: &[v1::Offer], settled: bool) -> Vec<Call> {
        let mut made = Vec::new();
        let mut declined = Vec::new();
        for offer in offers {
            if !settled && self.style.reserves && self.random.chance(250) {
                let operations = storage::operations(offer, || {
                    self.next += 1;
                    format!("{}-op{}", self.prefix, self.next)
                });
                if !operations.is_empty() {
                    for id in operations.iter().filter_map(|operation| operation.id.as_ref()) {
                        self.operations.insert(id.value.clone(), (now, offer.agent_id.clone()));
                    }
                    made.push(calls::accept(vec![offer.id.clone()], operations, None));
                    continue;
                }
            }
            let missing = self.wanted.saturating_sub(self.active());
            let tasks = if missing == 0 { Vec::new() } else { self.tasks_for(offer, missing, settled) };
            if tasks.is_empty() {
                declined.push(offer.id.clone());
                continue;
            }
            self.hungry_since = None;
            for task in &tasks {
                let agent = Some(offer.agent_id.clone());
                let known = Known { agent, state: TaskState::TaskStaging, killing: false };
                self.tasks.insert(task.task_id.value.clone(), known);
            }
            let launch = self.operation(tasks);
            made.push(calls::accept(vec![offer.id.clone()], vec![launch], self.filters(missing > 0)));
        }
        if !declined.is_empty() {
            made.push(calls::decline(declined, self.filters(self.active() < self.wanted)));
        }
        if self.active() >= self.wanted && self.style.suppresses && !self.suppressed && self.random.chance(300) {
            self.suppressed = true;
            made.push(calls::suppress(Vec::new()));
        }
        made
    }

    /// Tasks of a custom executor go as a group now and then.
    fn operation(&mut self, tasks: Vec<v1::TaskInfo>) -> v1::offer::Operation {
        let executor = tasks.first().and_then(|task| task.executor.as_deref().cloned());
        let pod = executor.as_ref().is_some_and(is_pod);
        let Some(executor) = executor.filter(|_| pod || self.random.chance(400)) else { return calls::launch(tasks) };
        let tasks = tasks.into_iter().map(|task| v1::TaskInfo { executor: None, ..task }).collect();
        let group = v1::offer::operation::LaunchGroup { executor, task_group: v1::TaskGroupInfo { tasks } };
        v1::offer::Operation {
            r#type: Some(v1::offer::operation::Type::LaunchGroup as i32),
            launch_group: Some(Box::new(group)),
            ..Default::default()
        }
    }

    fn filters(&mut self, hungry: bool) -> Option<v1::Filters> {
        let secs = match self.random.within(0..=4) {
            0 | 1 => return None,
            2 => 0.0,
            3 if self.style.long_filters && !hungry => 3600.0,
            _ => 30.0,
        };
        Some(v1::Filters { refuse_seconds: Some(secs) })
    }

    /// As many tasks as are missing and fit.
    fn tasks_for(&mut self, offer: &v1::Offer, missing: usize, settled: bool) -> Vec<v1::TaskInfo> {
        let mut cpus = amount(offer, "cpus");
        let mut mem = amount(offer, "mem");
        let most = if self.random.chance(500) { missing } else { 1 };
        let mut tasks = Vec::new();
        let mut executor = None;
        if self.style.executors && self.random.chance(500) {
            let pod = self.random.chance(500);
            let id = format!("{}{}", if pod { "p" } else { "e" }, self.random.within(0..=2));
            let known = offer.executor_ids.iter().any(|known| known.value == id);
            let (need_cpus, need_mem) = if known { (0.0, 0.0) } else { (0.1, 32.0) };
            if cpus >= need_cpus && mem >= need_mem {
                cpus -= need_cpus;
                mem -= need_mem;
                executor = Some(Box::new(self.executor(offer, id, pod)));
            }
        }
        let mut volume = storage::volume_in(offer).filter(|_| !settled && self.random.chance(600)).cloned();
        while tasks.len() < most && cpus >= 0.1 && mem >= 32.0 {
            cpus -= 0.1;
            mem -= 32.0;
            let mut task = self.task(offer, executor.clone(), settled);
            task.resources.extend(volume.take());
            tasks.push(task);
        }
        tasks
    }

    fn executor(&self, offer: &v1::Offer, id: String, pod: bool) -> v1::ExecutorInfo {
        let kind = if pod { v1::executor_info::Type::Default } else { v1::executor_info::Type::Custom };
        let disk = pod.then(|| scalar(offer, "disk", 1.0));
        v1::ExecutorInfo {
            executor_id: v1::ExecutorId { value: id },
            framework_id: self.framework_id.clone().map(|value| v1::FrameworkId { value }),
            r#type: Some(kind as i32),
            command: (!pod).then(|| command(Program::Executor)),
            resources: [scalar(offer, "cpus", 0.1), scalar(offer, "mem", 32.0)].into_iter().chain(disk).collect(),
            ..Default::default()
        }
    }

    fn task(&mut self, offer: &v1::Offer, executor: Option<Box<v1::ExecutorInfo>>, settled: bool) -> v1::TaskInfo {
        let for_ms = match self.style.task_time {
            _ if settled => 1_000_000_000,
            Some(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            // Some outlast the timeout after which a silent agent is unreachable, and come back with it.
            None if self.random.chance(150) => self.random.within(60_000..=400_000),
            None => self.random.within(200..=60_000),
        };
        let code = if settled || self.style.task_time.is_some() || self.random.chance(900) { 0 } else { 3 };
        let program = Program::Run { for_ms, code, stubborn: self.random.chance(100) };
        let value = format!("{}-{}", self.prefix, self.next);
        self.next += 1;
        let command_task = executor.as_deref().is_none_or(is_pod);
        let bursts = !settled && self.style.bursts && self.random.chance(100);
        let more = || ("mem".to_owned(), v1::value::Scalar { value: 64.0 });
        let checked = command_task && !settled && self.style.task_time.is_none() && self.random.chance(200);
        v1::TaskInfo {
            name: "sim".to_owned(),
            task_id: v1::TaskId { value },
            agent_id: offer.agent_id.clone(),
            resources: vec![scalar(offer, "cpus", 0.1), scalar(offer, "mem", 32.0)],
            command: command_task.then(|| command(program)),
            health_check: checked.then(health_check).map(Box::new),
            check: checked.then(check).map(Box::new),
            limits: bursts.then(more).into_iter().collect(),
            data: (!command_task).then(|| program.text().into()),
            executor,
            ..Default::default()
        }
    }

    /// Looks around, every few seconds.
    pub fn look(&mut self, now: Moment, settled: bool) -> Vec<Call> {
        let mut made = Vec::new();
        if self.active() < self.wanted {
            let since = *self.hungry_since.get_or_insert(now);
            let impatient = !self.style.patient || self.style.long_filters;
            if now - since > PATIENCE && impatient || self.suppressed {
                self.hungry_since = Some(now);
                self.suppressed = false;
                made.push(calls::revive(Vec::new()));
            }
        }
        if !settled && self.style.kills && self.random.chance(100) {
            made.extend(self.kill_one());
        }
        if !settled && self.style.executors {
            made.extend(self.bother_executor());
        }
        made.extend(self.trim());
        made.extend(self.ask_for_operations(now));
        for (id, known) in self.tasks.iter().filter(|(_, known)| known.killing).take(5) {
            made.push(calls::kill(v1::TaskId { value: id.clone() }, known.agent.clone(), None));
        }
        made
    }

    /// What became of operations that nobody tells of?
    fn ask_for_operations(&mut self, now: Moment) -> Option<Call> {
        let late = self.operations.iter_mut().filter(|(_, (since, _))| now - *since > PATIENCE);
        let questions: Vec<_> = late
            .map(|(id, (since, agent))| {
                *since = now;
                reconcile_operations::Operation {
                    operation_id: v1::OperationId { value: id.clone() },
                    agent_id: Some(agent.clone()),
                    ..Default::default()
                }
            })
            .collect();
        (!questions.is_empty()).then(|| calls::reconcile_operations(questions))
    }

    /// Sends an executor a message, or tells it to end.
    fn bother_executor(&mut self) -> Option<Call> {
        let known: Vec<&v1::AgentId> = self.tasks.values().filter_map(|known| known.agent.as_ref()).collect();
        if known.is_empty() {
            return None;
        }
        let agent = known[self.random.index(known.len())].clone();
        let executor = v1::ExecutorId { value: format!("e{}", self.random.within(0..=2)) };
        match self.random.within(0..=19) {
            0 => Some(calls::shutdown_executor(executor, agent)),
            1..=6 => Some(calls::message(agent, executor, Bytes::from_static(b"hello"))),
            _ => None,
        }
    }

    fn kill_one(&mut self) -> Option<Call> {
        if self.tasks.is_empty() {
            return None;
        }
        let place = self.random.index(self.tasks.len());
        let nanoseconds = i64::try_from(self.random.within(0..=10_000_000_000)).unwrap_or_default();
        let policy =
            self.random.chance(500).then_some(v1::KillPolicy { grace_period: Some(v1::DurationInfo { nanoseconds }) });
        let (id, known) = self.tasks.iter_mut().nth(place)?;
        if known.state == TaskState::TaskUnreachable {
            return None;
        }
        known.killing = true;
        Some(calls::kill(v1::TaskId { value: id.clone() }, known.agent.clone(), policy))
    }
}

/// Of the kind that the agent plays itself.
fn is_pod(executor: &v1::ExecutorInfo) -> bool {
    executor.r#type() == v1::executor_info::Type::Default
}

fn health_check() -> v1::HealthCheck {
    v1::HealthCheck {
        r#type: Some(v1::health_check::Type::Tcp as i32),
        tcp: Some(v1::health_check::TcpCheckInfo { port: 80, protocol: None }),
        delay_seconds: Some(1.0),
        interval_seconds: Some(2.0),
        timeout_seconds: Some(5.0),
        ..Default::default()
    }
}

fn check() -> v1::CheckInfo {
    v1::CheckInfo {
        r#type: Some(v1::check_info::Type::Tcp as i32),
        tcp: Some(v1::check_info::Tcp { port: 80 }),
        delay_seconds: Some(0.5),
        interval_seconds: Some(3.0),
        ..Default::default()
    }
}

/// A command with this program.
pub fn command(program: Program) -> v1::CommandInfo {
    v1::CommandInfo { value: Some(program.text()), shell: Some(true), ..Default::default() }
}

/// How much of a scalar an offer has.
pub fn amount(offer: &v1::Offer, name: &str) -> f64 {
    let named = offer.resources.iter().filter(|resource| resource.name == name);
    named.filter_map(|resource| resource.scalar.as_ref()).map(|scalar| scalar.value).sum()
}

/// So much of a scalar, allocated as the offer is.
pub fn scalar(offer: &v1::Offer, name: &str, value: f64) -> v1::Resource {
    v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        allocation_info: offer.allocation_info.clone(),
        ..Default::default()
    }
}
