//! What happened, as invariants, the reference model and the trace see it. The trace is these, one a line.

use std::{collections::BTreeSet, fmt, path::Path, rc::Rc, sync::Arc};

use mezzo_agent_core::container::Launch;
use mezzo_api::{
    ids::ContainerId,
    link::{from_agent, to_agent},
    v1::{
        self, TaskState,
        scheduler::{Call, Event, call, event},
    },
};
use mezzo_master_core::{
    effect::{Answer, Change},
    input::{LinkId, OperatorCall, RequestId, StreamId},
    registry::{Recovered, RegistryError, RegistryOp},
};

use crate::{
    ids::{Host, ProcessId},
    record::Written,
};

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Killed at once.
    Killed,
    /// Its machine went down with it.
    PowerCut,
    /// By its own decision.
    Exited(String),
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A fault begins or ends.
    Fault(String),
    /// A master leads.
    MasterStarted {
        /// Which.
        master: ProcessId,
        /// Where.
        host: Host,
        /// Its leadership term.
        term: u64,
        /// What it read from the registry.
        recovered: Rc<Recovered>,
    },
    /// A master is no more.
    MasterEnded {
        /// Which.
        master: ProcessId,
        /// How.
        how: End,
    },
    /// A link stands, as the master sees it.
    LinkUp(ProcessId, LinkId),
    /// A link is no more, as the master sees it.
    LinkDown(ProcessId, LinkId),
    /// The master's core heard this from an agent.
    FromAgent(ProcessId, LinkId, Rc<from_agent::Message>),
    /// The master's core said this to an agent.
    ToAgent(ProcessId, LinkId, Rc<to_agent::Message>),
    /// A framework's SUBSCRIBE reached the master's core.
    StreamOpened(ProcessId, StreamId, Arc<Call>),
    /// The master's core heard that a stream ended; whether the master had cut it.
    StreamClosed(ProcessId, StreamId, bool),
    /// The master's core sent this event.
    Event(ProcessId, StreamId, Rc<Event>),
    /// A call reached the master's core.
    Called(ProcessId, RequestId, Option<String>, Arc<Call>),
    /// The master's core answered it.
    Answered(ProcessId, RequestId, Answer),
    /// The master's core shows readers a change.
    Published(ProcessId, Rc<Change>),
    /// The master's core asked for a write.
    Asked(ProcessId, Rc<Vec<RegistryOp>>),
    /// This became durable.
    Durable(ProcessId, Rc<Vec<RegistryOp>>),
    /// The master's core heard the end of a write.
    Written(ProcessId, Result<(), RegistryError>),
    /// An agent's process began with so many records and these containers to look for.
    AgentStarted {
        /// Of which machine.
        agent: u16,
        /// Which process.
        process: ProcessId,
        /// The machine was started anew before.
        rebooted: bool,
        /// The checkpoint's length.
        records: usize,
    },
    /// An agent's process is no more; so many written records were lost with it.
    AgentEnded {
        /// Of which machine.
        agent: u16,
        /// How.
        how: End,
        /// Records that had been written, but not synced.
        lost: usize,
    },
    /// The agent's core took a message of this term, and asked for so many launches, records and messages.
    Heard {
        /// The agent.
        agent: u16,
        /// Of the master that said it.
        term: u64,
        /// What.
        message: Rc<to_agent::Message>,
        /// How many effects of the agent's core changed anything.
        effects: usize,
    },
    /// The agent said this on its link.
    Said(u16, Rc<from_agent::Message>),
    /// The agent wrote this record.
    Recorded(u16, Rc<Written>, bool),
    /// The agent replaced its log.
    Compacted(u16, usize),
    /// A container was launched.
    Launched(u16, Rc<Launch>),
    /// A process ended with this raw wait status; whether somebody had asked it to.
    ContainerEnded(u16, ContainerId, i32, bool),
    /// A process ended for what it took: its agent is told what that was.
    Limited(u16, Rc<Launch>),
    /// A container could not be started.
    Unlaunched(u16, ContainerId),
    /// The directory of a persistent volume is removed; which running container sees it.
    VolumeRemoved(u16, Rc<Path>, Option<ContainerId>),
    /// The master's core is told which hosts' agents are to be offered; `None`: all.
    Listed(ProcessId, Option<Rc<BTreeSet<String>>>),
    /// A process vanished with its machine, or with the agent that was about to start it.
    ContainerLost(u16, ContainerId),
    /// A framework's process began.
    SchedulerStarted(u16, ProcessId),
    /// A framework's process is no more.
    SchedulerEnded(u16, End),
    /// A framework put this call on the wire, for the framework of this id.
    Sent(u16, Arc<Call>),
    /// A framework's driver took this event.
    Delivered {
        /// Which.
        framework: u16,
        /// The framework's id, once it has one.
        id: Option<String>,
        /// What.
        event: Rc<Event>,
        /// The master that leads had sent it.
        of_leader: bool,
    },
    /// What must never be false of an election was.
    ElectionBroken(&'static str, String),
    /// An operator asked the master for this.
    Operated(ProcessId, RequestId, Rc<OperatorCall>),
    /// The master answered an operator, with this status.
    OperatorTold(ProcessId, RequestId, u16),
    /// A framework's author was told this.
    Told(u16, Rc<mezzo_sdk_core::scheduler::Event>),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(text) => write!(f, "FAULT {text}"),
            Self::MasterStarted { master, host, term, recovered } => write!(
                f,
                "master{master} starts on {host}, term {term}, with {} agents, {} unreachable",
                recovered.agents.len(),
                recovered.unreachable.len()
            ),
            Self::MasterEnded { master, how } => write!(f, "master{master} ends: {how:?}"),
            Self::LinkUp(master, link) => write!(f, "master{master} link {} up", link.0),
            Self::LinkDown(master, link) => write!(f, "master{master} link {} down", link.0),
            Self::FromAgent(master, link, message) => {
                write!(f, "master{master} link {} <- {}", link.0, from_agent(message))
            }
            Self::ToAgent(master, link, message) => {
                write!(f, "master{master} link {} -> {}", link.0, to_agent(message))
            }
            Self::StreamOpened(master, stream, call) => {
                write!(f, "master{master} stream {} opens: {}", short(stream), self::call(call))
            }
            Self::StreamClosed(master, stream, cut) => {
                write!(f, "master{master} stream {} ends{}", short(stream), if *cut { ", cut" } else { "" })
            }
            Self::Event(master, stream, event) => {
                write!(f, "master{master} stream {} -> {}", short(stream), self::event(event))
            }
            Self::Called(master, request, _, call) => {
                write!(f, "master{master} request {} {}", request.0, self::call(call))
            }
            Self::Answered(master, request, answer) => {
                write!(f, "master{master} request {} answered {} {}", request.0, answer.status, answer.body)
            }
            Self::Published(master, change) => write!(f, "master{master} shows {}", self::change(change)),
            Self::Asked(master, operations) => write!(f, "master{master} asks to write {}", ops(operations)),
            Self::Durable(master, operations) => write!(f, "master{master}'s write is durable: {}", ops(operations)),
            Self::Written(master, result) => write!(f, "master{master} hears of its write: {result:?}"),
            Self::AgentStarted { agent, process, rebooted, records } => {
                let rebooted = if *rebooted { " after a reboot" } else { "" };
                write!(f, "agent{agent}{process} starts{rebooted} with {records} records")
            }
            Self::AgentEnded { agent, how, lost } => write!(f, "agent{agent} ends: {how:?}, {lost} records lost"),
            Self::Heard { agent, term, message, .. } => {
                write!(f, "agent{agent} <- (term {term}) {}", to_agent(message))
            }
            Self::Said(agent, message) => write!(f, "agent{agent} -> {}", from_agent(message)),
            Self::Recorded(agent, record, sync) => {
                write!(f, "agent{agent} writes {} bytes{}", record.bytes.len(), if *sync { ", synced" } else { "" })
            }
            Self::Compacted(agent, records) => write!(f, "agent{agent} compacts its log to {records} records"),
            Self::Launched(agent, launch) => {
                write!(f, "agent{agent} launches {} in {}", launch.container_id, launch.sandbox.display())
            }
            Self::ContainerEnded(agent, container, status, stopped) => {
                let stopped = if *stopped { ", stopped" } else { "" };
                write!(f, "agent{agent} container {container} ends with {status:#x}{stopped}")
            }
            Self::Limited(agent, launch) => write!(f, "agent{agent} container {} took too much", launch.container_id),
            Self::Unlaunched(agent, container) => write!(f, "agent{agent} container {container} cannot be started"),
            Self::VolumeRemoved(agent, volume, _) => write!(f, "agent{agent} removes the volume {}", volume.display()),
            Self::Listed(master, Some(hosts)) => write!(f, "master{master} may offer agents of {hosts:?}"),
            Self::Listed(master, None) => write!(f, "master{master} may offer every agent"),
            Self::ContainerLost(agent, container) => write!(f, "agent{agent} container {container} is lost"),
            Self::SchedulerStarted(framework, process) => write!(f, "framework{framework}{process} starts"),
            Self::SchedulerEnded(framework, how) => write!(f, "framework{framework} ends: {how:?}"),
            Self::Sent(framework, call) => write!(f, "framework{framework} -> {}", self::call(call)),
            Self::Delivered { framework, event, .. } => write!(f, "framework{framework} <- {}", self::event(event)),
            Self::ElectionBroken(invariant, detail) => write!(f, "the election breaks {invariant}: {detail}"),
            Self::Operated(master, request, call) => {
                write!(f, "an operator asks master{master}, request {}: {}", request.0, operator(call))
            }
            Self::OperatorTold(master, request, status) => {
                write!(f, "master{master} answers the operator's request {}: {status}", request.0)
            }
            Self::Told(framework, event) => write!(f, "framework{framework} is told {}", told(event)),
        }
    }
}

fn short(stream: &StreamId) -> String {
    stream.0.to_string()[..8].to_owned()
}

/// A message to an agent in a few words.
pub fn to_agent(message: &to_agent::Message) -> String {
    use to_agent::Message;
    match message {
        Message::Registered(message) => format!("REGISTERED {}", tail(&message.agent_id.value)),
        Message::Reregistered(message) => {
            let tasks: Vec<&str> = message.reconcile.iter().map(|task| task.task_id.value.as_str()).collect();
            format!("REREGISTERED {}, missing {tasks:?}", tail(&message.agent_id.value))
        }
        Message::Ping(ping) => format!("PING {}", ping.sequence),
        Message::RunTask(message) => {
            format!(
                "RUN {}{}",
                message.task.task_id.value,
                if message.launch_executor { " in a new executor" } else { "" }
            )
        }
        Message::RunTaskGroup(message) => {
            let tasks: Vec<&str> = message.task_group.tasks.iter().map(|task| task.task_id.value.as_str()).collect();
            format!("RUN GROUP {tasks:?}")
        }
        Message::DrainAgent(message) => format!("DRAIN {:?}", message.config),
        Message::KillTask(message) => format!("KILL {}", message.task_id.value),
        Message::ShutdownExecutor(message) => format!("SHUTDOWN EXECUTOR {}", message.executor_id.value),
        Message::ShutdownFramework(message) => format!("SHUTDOWN FRAMEWORK {}", tail(&message.framework_id.value)),
        Message::FrameworkMessage(message) => format!("MESSAGE for {}", message.executor_id.value),
        Message::Acknowledge(message) => format!("ACKNOWLEDGE {} {}", message.task_id.value, uuid(&message.uuid)),
        Message::UpdateFramework(message) => {
            format!("UPDATE FRAMEWORK {}", message.framework.id.as_ref().map_or("?", |id| tail(&id.value)))
        }
        Message::Shutdown(message) => format!("SHUTDOWN: {}", message.reason),
        Message::OpenBulk(_) => "OPEN BULK".to_owned(),
        Message::ApplyOperation(message) => {
            format!("APPLY {} {}", message.operation.r#type().as_str_name(), hex(&message.operation_uuid))
        }
        Message::AcknowledgeOperation(message) => format!("ACKNOWLEDGE OPERATION {}", hex(&message.operation_uuid)),
        Message::Notice(message) => format!("NOTICE: {}", message.text),
    }
}

/// An agent's message in a few words.
pub fn from_agent(message: &from_agent::Message) -> String {
    use from_agent::Message;
    match message {
        Message::Register(register) => format!("REGISTER {}", register.agent.hostname),
        Message::Reregister(report) => {
            let tasks: Vec<String> =
                report.tasks.iter().map(|task| format!("{} {}", task.task_id.value, state(task.state))).collect();
            let last = if report.last { "" } else { " …" };
            format!("REREGISTER {} report {}: {tasks:?}{last}", report.register.agent.hostname, report.report)
        }
        Message::Pong(pong) => format!("PONG {}", pong.sequence),
        Message::StatusUpdate(message) => {
            let latest = message.latest_state.map_or(String::new(), |latest| format!(", latest {}", state(latest)));
            format!("UPDATE {}{latest}", status(&message.status))
        }
        Message::ExecutorMessage(message) => format!("MESSAGE of {}", message.executor_id.value),
        Message::ExitedExecutor(message) => {
            format!("EXITED EXECUTOR {} {:#x}", message.executor_id.value, message.status)
        }
        Message::Unregister(_) => "UNREGISTER".to_owned(),
        Message::OperationStatus(message) => {
            format!("OPERATION {}: {}", hex(&message.operation_uuid), message.status.state().as_str_name())
        }
        Message::ResourcesChanged(_) => "RESOURCES CHANGED".to_owned(),
    }
}

/// A status in a few words.
pub fn status(status: &v1::TaskStatus) -> String {
    let mut text = format!("{} {}", status.task_id.value, state(status.state));
    let name = |name: &str, prefix: &str| name.strip_prefix(prefix).unwrap_or(name).to_lowercase();
    if status.source.is_some() {
        text += &format!(" by {}", name(status.source().as_str_name(), "SOURCE_"));
    }
    if status.reason.is_some() {
        text += &format!(" because {}", name(status.reason().as_str_name(), "REASON_"));
    }
    if let Some(bytes) = &status.uuid {
        text += &format!(" {}", uuid(bytes));
    }
    text
}

/// A state's name without its prefix.
pub fn state(number: i32) -> String {
    TaskState::try_from(number).map_or_else(
        |_| format!("state {number}"),
        |state| state.as_str_name().strip_prefix("TASK_").unwrap_or_default().to_owned(),
    )
}

/// The first digits of a UUID.
pub fn uuid(bytes: &[u8]) -> String {
    bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// What follows the master's UUID in an id.
pub fn tail(id: &str) -> &str {
    id.rsplit_once('-').map_or(id, |(_, tail)| tail)
}

/// A call in a few words.
pub fn call(call: &Call) -> String {
    let mut text = call.r#type().as_str_name().to_owned();
    if let Some(id) = &call.framework_id {
        text += &format!(" of {}", tail(&id.value));
    }
    match call.r#type() {
        call::Type::Subscribe => {
            let suppressed = call.subscribe.iter().flat_map(|subscribe| &subscribe.suppressed_roles);
            let suppressed: Vec<&String> = suppressed.collect();
            if !suppressed.is_empty() {
                text += &format!(", no offers for {suppressed:?}");
            }
        }
        call::Type::Accept => {
            let accept = call.accept.clone().unwrap_or_default();
            let offers: Vec<&str> = accept.offer_ids.iter().map(|id| tail(&id.value)).collect();
            let tasks: Vec<&str> = crate::fact::launched(call).map(|task| task.task_id.value.as_str()).collect();
            text += &format!(" {offers:?} for {tasks:?}");
        }
        call::Type::Decline => {
            let decline = call.decline.clone().unwrap_or_default();
            let offers: Vec<&str> = decline.offer_ids.iter().map(|id| tail(&id.value)).collect();
            text += &format!(" {offers:?}");
        }
        call::Type::Kill => text += &format!(" {}", call.kill.as_ref().map_or("?", |kill| &kill.task_id.value)),
        call::Type::Acknowledge => {
            if let Some(acknowledge) = &call.acknowledge {
                text += &format!(" {} {}", acknowledge.task_id.value, uuid(&acknowledge.uuid));
            }
        }
        call::Type::Reconcile => {
            let tasks = call.reconcile.iter().flat_map(|reconcile| &reconcile.tasks);
            let tasks: Vec<&str> = tasks.map(|task| task.task_id.value.as_str()).collect();
            text += &format!(" {tasks:?}");
        }
        _ => {}
    }
    text
}

/// An event in a few words.
pub fn event(event: &Event) -> String {
    let name = event.r#type().as_str_name();
    match event.r#type() {
        event::Type::Subscribed => {
            let id = event.subscribed.as_ref().map_or("?", |subscribed| tail(&subscribed.framework_id.value));
            format!("{name} {id}")
        }
        event::Type::Offers => {
            let offers: Vec<String> = event
                .offers
                .iter()
                .flat_map(|offers| &offers.offers)
                .map(|offer| format!("{} of {}", tail(&offer.id.value), tail(&offer.agent_id.value)))
                .collect();
            format!("{name} {offers:?}")
        }
        event::Type::Update => match &event.update {
            Some(update) => format!("{name} {}", status(&update.status)),
            None => name.to_owned(),
        },
        event::Type::Rescind => {
            format!("{name} {}", event.rescind.as_ref().map_or("?", |rescind| tail(&rescind.offer_id.value)))
        }
        event::Type::Error => {
            format!("{name} {}", event.error.as_ref().map_or("", |error| &error.message))
        }
        event::Type::Failure => match &event.failure {
            Some(failure) => format!(
                "{name} {} {}",
                failure.agent_id.as_ref().map_or("", |id| tail(&id.value)),
                failure.executor_id.as_ref().map_or("", |id| &id.value)
            ),
            None => name.to_owned(),
        },
        _ => name.to_owned(),
    }
}

/// The tasks that an ACCEPT launches.
pub fn launched(call: &Call) -> impl Iterator<Item = &v1::TaskInfo> {
    call.accept.iter().flat_map(|accept| &accept.operations).flat_map(|operation| {
        let single = operation.launch.iter().flat_map(|launch| &launch.task_infos);
        let group = operation.launch_group.iter().flat_map(|group| &group.task_group.tasks);
        single.chain(group)
    })
}

/// The framework and the task (or executor) that a container is of, as its sandbox and its launch name them.
pub fn of_sandbox(launch: &Launch) -> Option<(&str, &str)> {
    let mut parts = launch.sandbox.to_str()?.split('/');
    let framework = parts.find(|part| *part == "frameworks").and_then(|_| parts.next())?;
    let executor = parts.find(|part| *part == "executors").and_then(|_| parts.next())?;
    Some((framework, launch.nested.as_ref().map_or(executor, |nested| nested.task.as_str())))
}

/// The name of an operator's call.
pub fn operator(call: &OperatorCall) -> &'static str {
    match call {
        OperatorCall::Teardown { .. } => "TEARDOWN",
        OperatorCall::KillTask { .. } => "KILL TASK",
        OperatorCall::Operation { operation, .. } => operation.r#type().as_str_name(),
        OperatorCall::UpdateQuota { .. } => "UPDATE QUOTA",
        OperatorCall::SetQuota(_) => "SET QUOTA",
        OperatorCall::RemoveQuota { .. } => "REMOVE QUOTA",
        OperatorCall::UpdateWeights(_) => "UPDATE WEIGHTS",
        OperatorCall::UpdateSchedule(_) => "UPDATE SCHEDULE",
        OperatorCall::StartMaintenance(_) => "START MAINTENANCE",
        OperatorCall::StopMaintenance(_) => "STOP MAINTENANCE",
        OperatorCall::MarkAgentGone { .. } => "MARK AGENT GONE",
        OperatorCall::Explain(_) => "EXPLAIN",
        OperatorCall::Drain { .. } => "DRAIN",
        OperatorCall::Deactivate { .. } => "DEACTIVATE",
        OperatorCall::Reactivate { .. } => "REACTIVATE",
    }
}

fn told(event: &mezzo_sdk_core::scheduler::Event) -> String {
    use mezzo_sdk_core::scheduler::Event;
    match event {
        Event::Subscribed(subscribed) => format!("subscribed as {}", tail(&subscribed.framework_id.value)),
        Event::Disconnected { reason } => format!("disconnected: {reason}"),
        Event::Retrying { reason, delay, .. } => format!("retrying in {delay:?}: {reason}"),
        Event::Offers(offers) => format!("{} offers", offers.len()),
        Event::Update(update) => format!("update {}", status(update)),
        Event::Reconciled => "reconciled".to_owned(),
        Event::Ended(reason) => format!("the end: {reason}"),
        Event::Rejected { call, error } => format!("rejected {}: {error}", call.as_str_name()),
        _ => "something else".to_owned(),
    }
}

fn ops(operations: &[RegistryOp]) -> String {
    let one = |operation: &RegistryOp| match operation {
        RegistryOp::PutAgent(info) => format!("put {}", info.id.as_ref().map_or("?", |id| tail(&id.value))),
        RegistryOp::RemoveAgent(id) => format!("remove {}", tail(id.as_str())),
        RegistryOp::MarkUnreachable(id, _) => format!("mark {} unreachable", tail(id.as_str())),
        RegistryOp::MarkGone(id, _) => format!("mark {} gone", tail(id.as_str())),
        RegistryOp::PruneAgent(id) => format!("forget {}", tail(id.as_str())),
        RegistryOp::PutStanding(id, standing) => format!("put {} {standing:?}", tail(id.as_str())),
        RegistryOp::CompleteFramework(id) => format!("complete {}", tail(id.as_str())),
        RegistryOp::PutQuota(quota) => format!("quota of {}", quota.role),
        RegistryOp::RemoveQuota(role) => format!("no quota of {role}"),
        RegistryOp::PutWeight(role, weight) => format!("weight {weight} of {role}"),
        RegistryOp::PutMachine(machine) => format!("{} is {:?}", machine.info.id.hostname(), machine.info.mode()),
        RegistryOp::RemoveMachine(id) => format!("{} is up", id.hostname()),
    };
    operations.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The first bytes of a uuid.
fn hex(uuid: &[u8]) -> String {
    uuid.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn change(change: &Change) -> String {
    match change {
        Change::Agent(agent) => format!(
            "agent {}: used {}, offered {}{}",
            tail(agent.id.as_str()),
            agent.used,
            agent.offered,
            if agent.connected { "" } else { ", disconnected" }
        ),
        Change::AgentRemoved(id, gone) => format!("agent {} removed: {gone:?}", tail(id.as_str())),
        Change::RecoveredAgent(id, info) => {
            format!("agent {} {}awaited", tail(id.as_str()), if info.is_some() { "" } else { "no longer " })
        }
        Change::AgentMarked(id, mark) => format!("agent {} marked: {mark:?}", tail(id.as_str())),
        Change::Framework(framework) => format!("framework {}: {:?}", tail(framework.id.as_str()), framework.state),
        Change::FrameworkForgotten(id) => format!("framework {} forgotten", tail(id.as_str())),
        Change::Task(task) => format!("task {}: {} {:?}", task.id, state(task.state as i32), task.list),
        Change::TaskForgotten(_, id) => format!("task {id} forgotten"),
        Change::Executor(executor) => format!("executor {}", executor.info.executor_id.value),
        Change::ExecutorRemoved(_, _, id) => format!("executor {id} removed"),
        Change::Offer(offer) => format!("offer {}", tail(offer.id.as_str())),
        Change::OfferRemoved(id) => format!("offer {} removed", tail(id.as_str())),
        Change::InverseOffer(offer) => format!("inverse offer {}", tail(offer.id.as_str())),
        Change::InverseOfferRemoved(id) => format!("inverse offer {} removed", tail(id.as_str())),
        Change::Operation(operation) => {
            format!("operation {}: {:?}", hex(&operation.uuid), operation.latest.state())
        }
        Change::OperationRemoved(uuid) => format!("operation {} removed", hex(uuid)),
        Change::Quota(quota) => format!("quota of {}", quota.role),
        Change::QuotaRemoved(role) => format!("no quota of {role}"),
        Change::Weight(role, weight) => format!("weight {weight} of {role}"),
        Change::Maintenance(_) => "maintenance".to_owned(),
    }
}
