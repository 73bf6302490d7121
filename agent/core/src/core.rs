//! The state machine's face: every input has its method.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use foldhash::HashMap;
use mezzo_api::{
    ids::{AgentId, ContainerId, ExecutorId, FrameworkId},
    link::{self, from_agent, to_agent},
    time::Now,
    v1,
};
use rand::{SeedableRng, rngs::StdRng};

use crate::{
    checked::Checked,
    checks::Kind,
    config::{Config, Texts},
    counters::Counters,
    effect::{Effect, Effects, LinkId, StreamId},
    entity::{Executor, Framework},
    operations::Operations,
    record::Entry,
    registration::Registration,
    timers::{Handle, Timer, Timers},
    updates::Streams,
};

/// The agent's decisions.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) texts: Texts,
    pub(crate) random: StdRng,
    pub(crate) timers: Timers,
    pub(crate) agent_id: Option<AgentId>,
    /// The description that the master was told, with the id once there is one.
    pub(crate) info: Arc<v1::AgentInfo>,
    /// The highest leadership term that was seen.
    pub(crate) term: u64,
    pub(crate) link: Option<Registration>,
    /// The master has accepted the agent on the present link.
    pub(crate) registered: bool,
    /// Executors of an earlier life of the agent may still subscribe; until then there is no registration.
    pub(crate) recovering: Option<Handle>,
    /// Containers of an earlier life of the agent of which the containerizer has not told yet.
    pub(crate) unheard: BTreeSet<ContainerId>,
    /// The agent ends when nothing is left.
    pub(crate) terminating: Option<String>,
    /// The agent is being emptied.
    pub(crate) draining: Option<v1::DrainConfig>,
    pub(crate) frameworks: BTreeMap<FrameworkId, Framework>,
    /// History, the oldest first.
    pub(crate) completed_frameworks: VecDeque<Framework>,
    pub(crate) containers: HashMap<ContainerId, (FrameworkId, ExecutorId)>,
    pub(crate) streams: HashMap<StreamId, ContainerId>,
    /// Looks at tasks that go on: whose, and which of its checkers'.
    pub(crate) probes: HashMap<ContainerId, (ContainerId, Kind)>,
    pub(crate) updates: Streams,
    pub(crate) operations: Operations,
    pub(crate) counters: Counters,
    /// There is no room to begin anything.
    pub(crate) disk_full: bool,
    /// What the checks of earlier steps have counted.
    pub(crate) checked: Option<Box<Checked>>,
}

/// Why a checkpoint cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A record is of a version that this agent does not know.
    #[error("record {index} of the checkpoint has version {version}; this agent reads up to {known}")]
    Version {
        /// Its place, from 0.
        index: usize,
        /// Its version.
        version: u32,
        /// The newest that is known.
        known: u32,
    },
    /// A record is none.
    #[error("record {index} of the checkpoint is not readable: {detail}")]
    Malformed {
        /// Its place, from 0.
        index: usize,
        /// What is wrong.
        detail: String,
    },
    /// The agent was started with another description than the one that is recorded.
    #[error("the agent's {what} changed since it was registered: it was {was}, now it is {is}")]
    Incompatible {
        /// What changed.
        what: &'static str,
        /// As recorded.
        was: String,
        /// As configured.
        is: String,
    },
}

/// What a recovered core starts from.
#[derive(Debug)]
pub struct Recovered {
    /// The core.
    pub core: Core,
    /// The containers that it believes alive or whose end it has not recorded: for the containerizer's `recover`.
    pub containers: Vec<ContainerId>,
}

impl Core {
    /// An agent without a past. `seed` drives what is random: uuids.
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let info = Arc::new(config.info.clone());
        Self {
            texts: Texts::of(&config),
            config,
            random: StdRng::seed_from_u64(seed),
            timers: Timers::default(),
            agent_id: None,
            info,
            term: 0,
            link: None,
            registered: false,
            recovering: None,
            unheard: BTreeSet::new(),
            terminating: None,
            draining: None,
            frameworks: BTreeMap::new(),
            completed_frameworks: VecDeque::new(),
            containers: HashMap::default(),
            streams: HashMap::default(),
            probes: HashMap::default(),
            updates: Streams::default(),
            operations: Operations::default(),
            counters: Counters::default(),
            disk_full: false,
            checked: None,
        }
    }

    /// A message of the master.
    pub fn master(&mut self, now: Now, link: LinkId, message: link::ToAgent, out: &mut Effects) {
        if !self.heard(now, link, message.term, out) {
            return;
        }
        let Some(message) = message.message else { return };
        match message {
            to_agent::Message::Registered(message) => self.registered(now, message, out),
            to_agent::Message::Reregistered(message) => self.reregistered(now, message, out),
            to_agent::Message::Ping(ping) => {
                self.say(from_agent::Message::Pong(link::Pong { sequence: ping.sequence }), out);
            }
            to_agent::Message::RunTask(message) => self.run_task(now, *message, out),
            to_agent::Message::RunTaskGroup(message) => self.run_task_group(now, *message, out),
            to_agent::Message::KillTask(message) => self.kill_task(now, message, out),
            to_agent::Message::ShutdownExecutor(message) => self.shutdown_executor_message(now, &message, out),
            to_agent::Message::ShutdownFramework(message) => {
                self.shutdown_framework(now, &FrameworkId::from(message.framework_id), out);
            }
            to_agent::Message::FrameworkMessage(message) => self.framework_message(message, out),
            to_agent::Message::Acknowledge(message) => self.acknowledge(now, message, out),
            to_agent::Message::UpdateFramework(message) => self.update_framework(now, message, out),
            to_agent::Message::DrainAgent(message) => self.drain(now, message, out),
            to_agent::Message::Shutdown(message) => self.shut_down(now, message.reason, out),
            to_agent::Message::ApplyOperation(message) => self.apply_operation(now, *message, out),
            to_agent::Message::AcknowledgeOperation(message) => self.acknowledge_operation(&message, out),
            to_agent::Message::Notice(message) => tracing::warn!("the master says: {}", message.text),
            to_agent::Message::OpenBulk(message) => out.push(Effect::OpenBulk(message.token)),
        }
    }

    /// The operator wants the agent out of the cluster (SIGUSR1): unregister, end everything, exit.
    pub fn unregister(&mut self, now: Now, out: &mut Effects) {
        if self.registered
            && let Some(id) = &self.agent_id
        {
            let message = link::Unregister { agent_id: id.proto() };
            self.say(from_agent::Message::Unregister(message), out);
        }
        self.shut_down(now, "Unregistering and shutting down".into(), out);
    }

    /// When to call [`Core::tick`] at the latest, in the driver's monotonic time.
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.deadline()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now, out: &mut Effects) {
        while let Some(timer) = self.timers.due(now.mono) {
            match timer {
                Timer::Retry(framework, task) => self.retry(now, &framework, &task, out),
                Timer::Registration(container) => self.registration_timeout(now, &container, out),
                Timer::ShutdownGrace(container) => self.shutdown_timeout(&container, out),
                Timer::Completion(container) => self.completion_timeout(now, &container, out),
                Timer::Check(container, kind) => self.check_due(now, &container, kind, out),
                Timer::CheckTimeout(container, kind) => self.check_timeout(now, &container, kind, out),
                Timer::PodEnd(container) => self.pod_timeout(now, &container, out),
                Timer::Heartbeat(container) => self.heartbeat(now, &container, out),
                Timer::RecoveryEnd => self.end_recovery(now, out),
                Timer::Operation(uuid) => self.retry_operation(now, &uuid, out),
                Timer::Ping => self.ping_timeout(out),
                Timer::RegistrationRetry => self.registration_retry(now, out),
            }
        }
    }

    /// Whether what must be written down may find no room: then nothing new is begun.
    pub fn disk_full(&mut self, full: bool) {
        if full && !self.disk_full {
            tracing::error!("the disk of the work directory is full: new tasks are refused until there is room again");
        } else if !full && self.disk_full {
            tracing::info!("the disk of the work directory has room again: tasks are taken");
        }
        self.disk_full = full;
    }

    /// Plain numbers behind Mesos' metric names.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether a master has taken the agent on the present link; cheaper than a whole [`View`](crate::view::View).
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether the agent still takes over what an earlier life of it left.
    pub fn is_recovering(&self) -> bool {
        self.recovering.is_some()
    }

    /// The agent's id, once it has one.
    pub fn agent_id(&self) -> Option<&AgentId> {
        self.agent_id.as_ref()
    }

    /// Appends a record that an agent's crash must not lose.
    pub(crate) fn record(&self, entry: Entry, out: &mut Effects) {
        out.push(Effect::Record { record: entry.to_bytes(), sync: false });
    }

    /// Appends a record that a power cut must not lose.
    pub(crate) fn record_synced(&self, entry: Entry, out: &mut Effects) {
        out.push(Effect::Record { record: entry.to_bytes(), sync: true });
    }

    /// Says something to the master, if there is a link.
    pub(crate) fn say(&self, message: from_agent::Message, out: &mut Effects) {
        if self.link.is_some() {
            out.push(Effect::ToMaster(Box::new(message)));
        }
    }

    pub(crate) fn executor(&mut self, framework: &FrameworkId, executor: &ExecutorId) -> Option<&mut Executor> {
        self.frameworks.get_mut(framework)?.executors.get_mut(executor)
    }

    /// The executor that runs, or ran, in a container.
    pub(crate) fn executor_in(&mut self, container: &ContainerId) -> Option<(FrameworkId, &mut Executor)> {
        let (framework, executor) = self.containers.get(container)?;
        let entry = self.frameworks.get_mut(framework)?.executors.get_mut(executor)?;
        (entry.container_id == *container).then(|| (framework.clone(), entry))
    }
}
