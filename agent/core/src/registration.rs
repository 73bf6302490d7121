//! The link with the master: registration, re-registration with a full report, terms, pings.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, BytesMut};
use mezzo_api::{
    MESOS_VERSION, MEZZO_VERSION,
    ids::{AgentId, FrameworkId, TaskId},
    link::{self, from_agent},
    time::Now,
    v1::{self, TaskState, agent_info::capability, task_status::Reason},
};
use prost::Message;

use crate::{
    config::Recover,
    core::Core,
    effect::{Effect, Effects, LinkId},
    record::Entry,
    status::Report,
    timers::{Handle, Timer},
    view::ExecutorState,
};

/// How long a link may be silent before the master has told its own ping timeout (5 pings of 15 s).
const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(75);
/// An unanswered registration is repeated after this, doubling (src/slave/slave.cpp, doReliableRegistration).
const RETRY_MIN: Duration = Duration::from_secs(5);
/// At most.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// About the size of one part of a re-registration, far below the frame limit.
const REPORT_PART_BYTES: usize = 1 << 20;
/// About the size of one piece of a framework's history.
const HISTORY_BYTES: usize = REPORT_PART_BYTES / 4;

/// What this agent can (the master offers only what the agent says that it can).
const CAPABILITIES: [capability::Type; 8] = [
    capability::Type::MultiRole,
    capability::Type::HierarchicalRole,
    capability::Type::ReservationRefinement,
    capability::Type::ResourceProvider,
    capability::Type::ResizeVolume,
    capability::Type::AgentOperationFeedback,
    capability::Type::AgentDraining,
    capability::Type::TaskResourceLimits,
];

/// The agent's capabilities by their names, as `/state` lists them.
pub fn capability_names() -> impl Iterator<Item = &'static str> {
    CAPABILITIES.iter().map(capability::Type::as_str_name)
}

/// The present control stream.
#[derive(Debug)]
pub(crate) struct Registration {
    link: LinkId,
    /// Numbers the reports of this link.
    report: u64,
    ping_timeout: Duration,
    ping: Option<Handle>,
    retry: Option<Handle>,
    retry_after: Duration,
}

impl Core {
    /// The control stream with a master stands.
    pub fn link_up(&mut self, now: Now, link: LinkId, out: &mut Effects) {
        if let Some(old) = self.drop_link() {
            out.push(Effect::CloseLink(old));
        }
        let ping = self.timers.set(now.mono + DEFAULT_PING_TIMEOUT, Timer::Ping);
        self.link = Some(Registration {
            link,
            report: 0,
            ping_timeout: DEFAULT_PING_TIMEOUT,
            ping: Some(ping),
            retry: None,
            retry_after: RETRY_MIN,
        });
        self.register(now, out);
    }

    /// It ended; also when the core asked for it.
    pub fn link_down(&mut self, _now: Now, link: LinkId, _out: &mut Effects) {
        if self.link.as_ref().is_some_and(|current| current.link == link) {
            tracing::warn!("lost the link with the master");
            self.drop_link();
        }
    }

    /// Forgets the present link. Updates pause until the next registration.
    fn drop_link(&mut self) -> Option<LinkId> {
        let old = self.link.take()?;
        self.timers.cancel(old.ping);
        self.timers.cancel(old.retry);
        self.registered = false;
        self.pause_updates();
        self.pause_operations();
        Some(old.link)
    }

    /// A message came over `link` from a master of `term`; `false` if it is not to be heeded.
    pub(crate) fn heard(&mut self, now: Now, link: LinkId, term: u64, out: &mut Effects) -> bool {
        let Some(current) = self.link.as_mut().filter(|current| current.link == link) else { return false };
        if term < self.term && !mezzo_api::mutant!("older-term-obeyed") {
            tracing::warn!(term, newest = self.term, "refused a master of an older term");
            self.drop_link();
            out.push(Effect::CloseLink(link));
            return false;
        }
        self.timers.cancel(current.ping.take());
        current.ping = Some(self.timers.set(now.mono + current.ping_timeout, Timer::Ping));
        if term > self.term {
            self.term = term;
            self.record(Entry::Term(term), out);
        }
        true
    }

    /// Asks for an id, or reports everything under the one there is.
    fn register(&mut self, now: Now, out: &mut Effects) {
        if self.recovering.is_some() || self.registered || self.terminating.is_some() {
            return;
        }
        let Some(current) = self.link.as_mut() else { return };
        current.report += 1;
        let report = current.report;
        self.timers.cancel(current.retry.take());
        current.retry = Some(self.timers.set(now.mono + current.retry_after, Timer::RegistrationRetry));
        current.retry_after = (current.retry_after * 2).min(RETRY_MAX);
        let register = self.register_message();
        if self.agent_id.is_none() {
            self.say(from_agent::Message::Register(register), out);
            return;
        }
        for part in self.report(&register, report) {
            self.say(from_agent::Message::Reregister(part), out);
        }
    }

    fn register_message(&self) -> link::Register {
        link::Register {
            agent: (*self.info).clone(),
            version: MESOS_VERSION.to_string(),
            mezzo_version: Some(MEZZO_VERSION.to_string()),
            capabilities: CAPABILITIES
                .iter()
                .map(|capability| v1::agent_info::Capability { r#type: Some(*capability as i32) })
                .collect(),
            checkpointed_resources: self.operations.checkpointed.to_protos(),
            advertised_ip: Some(self.config.advertise_ip.unwrap_or(self.config.ip).to_string()),
            resource_version: Some(self.operations.version.clone()),
        }
    }

    /// Everything that the agent holds, in parts.
    fn report(&self, register: &link::Register, report: u64) -> Vec<link::Reregister> {
        let mut parts = Parts::new(register.clone(), report);
        for framework in self.frameworks.values() {
            parts.with(framework.info.encoded_len()).frameworks.push((*framework.info).clone());
            for executor in framework.executors.values() {
                if executor.state != ExecutorState::Terminated {
                    let mut info = (*executor.info).clone();
                    info.framework_id = Some(framework.id.proto());
                    parts.with(info.encoded_len()).executors.push(info);
                }
                for queued in executor.queued.values() {
                    parts.with(queued.task.encoded_len()).tasks.push((*queued.task).clone());
                }
                if mezzo_api::mutant!("running-tasks-unreported") {
                    continue;
                }
                for task in executor.launched.values().chain(executor.terminated.values()) {
                    parts.with(task.encoded_len()).tasks.push((**task).clone());
                }
            }
        }
        for operation in self.operations.protos() {
            parts.with(operation.encoded_len()).operations.push(operation);
        }
        for framework in &self.completed_frameworks {
            parts.with(framework.info.encoded_len()).completed_frameworks.push((*framework.info).clone());
            let tasks =
                framework.completed.iter().flat_map(|executor| executor.terminated.iter().chain(&executor.completed));
            for history in histories(&framework.id, tasks.map(|task| &**task)) {
                parts.with(history.encoded_len()).completed_tasks.push(history);
            }
        }
        parts.finish()
    }

    /// The master has given the agent an id.
    pub(crate) fn registered(&mut self, now: Now, message: link::Registered, out: &mut Effects) {
        let id = AgentId::from(message.agent_id);
        if self.agent_id.as_ref().is_some_and(|own| *own != id) {
            let own = self.agent_id.as_ref().map_or("", AgentId::as_str);
            out.push(Effect::Exit(format!("Registered but got wrong id: {id} (expected: {own})")));
            return;
        }
        if self.agent_id.is_none() {
            tracing::info!(agent = %id, "registered");
            let info = Arc::new(v1::AgentInfo { id: Some(id.proto()), ..(*self.info).clone() });
            self.record_synced(Entry::Agent(info.clone().into()), out);
            self.adopt(info);
            self.attach_sandboxes(out);
        }
        self.admitted(now, message.total_ping_timeout_ms, out);
    }

    /// The master has taken the agent with everything it reported.
    pub(crate) fn reregistered(&mut self, now: Now, message: link::Reregistered, out: &mut Effects) {
        let id = AgentId::from(message.agent_id);
        if self.agent_id.as_ref() != Some(&id) {
            let own = self.agent_id.as_ref().map_or("", AgentId::as_str);
            out.push(Effect::Exit(format!("Re-registered but got wrong id: {id} (expected: {own})")));
            return;
        }
        tracing::info!(agent = %id, "re-registered");
        self.admitted(now, message.total_ping_timeout_ms, out);
        for task in message.reconcile {
            let (framework, id) = (FrameworkId::from(task.framework_id), TaskId::from(task.task_id));
            let known = self.frameworks.get(&framework).is_some_and(|framework| framework.tasks.contains_key(&id));
            let told = self.updates.get(&framework, &id).is_some_and(|stream| !stream.pending.is_empty());
            if known || told || mezzo_api::mutant!("lost-task-not-dropped") {
                continue;
            }
            let state = if task.partition_aware { TaskState::TaskDropped } else { TaskState::TaskLost };
            let report =
                Report::new(state).reason(Reason::Reconciliation).message("Reconciliation: task unknown to the agent");
            self.orphan_update(now, &framework, &id, report, out);
        }
        for operation in message.reconcile_operations {
            self.reconcile_operation(now, operation, out);
        }
    }

    fn admitted(&mut self, now: Now, ping_timeout_ms: u64, out: &mut Effects) {
        let Some(current) = self.link.as_mut() else { return };
        self.timers.cancel(current.retry.take());
        if ping_timeout_ms > 0 {
            current.ping_timeout = Duration::from_millis(ping_timeout_ms);
            self.timers.cancel(current.ping.take());
            current.ping = Some(self.timers.set(now.mono + current.ping_timeout, Timer::Ping));
        }
        if !self.registered && self.terminating.is_none() {
            self.registered = true;
            self.resume_updates(now, out);
            self.resume_operations(now, out);
        }
    }

    /// Takes a recorded or given identity.
    pub(crate) fn adopt(&mut self, info: Arc<v1::AgentInfo>) {
        self.agent_id = info.id.as_ref().map(AgentId::from);
        self.info = info;
    }

    /// Sandboxes are reached by their real path and by the virtual one that hides work directory and agent id.
    pub(crate) fn attach_sandboxes(&self, out: &mut Effects) {
        let Some(id) = &self.agent_id else { return };
        let agents = self.config.work_dir.join("slaves");
        let frameworks = agents.join(id.as_str()).join("frameworks");
        out.push(Effect::Attach { virtual_path: agents.to_string_lossy().into_owned(), path: agents });
        out.push(Effect::Attach { virtual_path: "/frameworks".into(), path: frameworks });
    }

    /// The master has not said a word for its ping timeout.
    pub(crate) fn ping_timeout(&mut self, out: &mut Effects) {
        if let Some(link) = self.drop_link() {
            tracing::warn!("no ping from the master; dialling again");
            out.push(Effect::CloseLink(link));
        }
    }

    /// The registration was not answered.
    pub(crate) fn registration_retry(&mut self, now: Now, out: &mut Effects) {
        if let Some(current) = self.link.as_mut() {
            current.retry = None;
        }
        self.register(now, out);
    }

    /// Executors that have not subscribed again since the agent's restart are given up; the agent registers.
    pub(crate) fn end_recovery(&mut self, now: Now, out: &mut Effects) {
        let Some(timer) = self.recovering.take() else { return };
        self.timers.cancel(Some(timer));
        tracing::info!("recovered");
        self.give_up_silent_executors(now, out);
        if self.config.recover == Recover::Cleanup {
            self.clean_up(now, out);
            return;
        }
        self.resume_drain(now, out);
        self.register(now, out);
    }
}

/// Ended tasks of a framework, in pieces that fit into a part each.
fn histories<'a>(framework: &FrameworkId, tasks: impl Iterator<Item = &'a v1::Task>) -> Vec<link::History> {
    let mut histories = Vec::new();
    let mut encoded = BytesMut::new();
    let mut tasks = tasks.peekable();
    while let Some(task) = tasks.next() {
        encoded.put(task.encode_length_delimited_to_vec().as_slice());
        if encoded.len() > HISTORY_BYTES || tasks.peek().is_none() {
            histories.push(link::History { framework_id: framework.proto(), tasks: encoded.split().freeze() });
        }
    }
    histories
}

/// A report in parts of bounded size.
struct Parts {
    done: Vec<link::Reregister>,
    part: link::Reregister,
    bytes: usize,
}

impl Parts {
    fn new(register: link::Register, report: u64) -> Self {
        Self { done: Vec::new(), part: link::Reregister { register, report, ..Default::default() }, bytes: 0 }
    }

    /// The part that takes another message of this size.
    fn with(&mut self, bytes: usize) -> &mut link::Reregister {
        self.bytes += bytes;
        if self.bytes > REPORT_PART_BYTES {
            self.bytes = bytes;
            let next = link::Reregister {
                register: self.part.register.clone(),
                report: self.part.report,
                ..Default::default()
            };
            self.done.push(std::mem::replace(&mut self.part, next));
        }
        &mut self.part
    }

    fn finish(mut self) -> Vec<link::Reregister> {
        self.part.last = true;
        self.done.push(self.part);
        self.done
    }
}
