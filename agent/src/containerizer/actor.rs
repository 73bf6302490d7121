//! The one who knows all containers.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::Ipv4Addr,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use mezzo_agent_core::{
    container::{ContainerEvent, Launch, Stop},
    isolation::{Allotment, Limitation},
};
use mezzo_api::ids::ContainerId;
use mezzo_executor::{
    event::{Event, Packet},
    record::{Processes, Record, Records, Stage},
    sys,
    tree::{self, Watched},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Config, StartError, Told,
    keeping::{Kept, destroy, exited},
    launching::Ready,
    limits::Limits,
    shown::{Change, Shown},
    slots::Slots,
    user::Own,
    watch::Watch,
    zygote::{Heard, Zygote},
};
use crate::{
    failpoint,
    fetcher::Fetcher,
    isolation::{self, Chain},
};

/// What the actor is asked.
#[derive(Debug)]
pub(super) enum Request {
    Launch(Box<Launch>),
    Stop(ContainerId, Stop),
    Forget(ContainerId),
    Recover(Wanted, oneshot::Sender<()>),
    /// The processes of a container, while it runs.
    Processes(ContainerId, oneshot::Sender<Option<Processes>>),
    /// A signal to its first process.
    Signal(ContainerId, i32, oneshot::Sender<Result<bool, String>>),
    /// A launch is ready for the zygote, or never will be.
    Prepared(Box<Launch>, Result<Ready, String>),
    /// The processes of a container without supervisor are gone.
    Swept(u64),
    Allot(ContainerId, Box<Allotment>),
    Show(Box<Change>, Shown),
    /// It is time for one of those who look at running containers.
    Look(usize),
    /// It has looked.
    Looked(usize),
    /// What one of them found.
    Found(ContainerId, Box<Limitation>),
}

/// What an agent that comes back still wants.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// By the core.
    pub(super) own: Vec<ContainerId>,
    /// By those who called.
    pub(super) called: Vec<ContainerId>,
}

/// Who hears of containers.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) own: mpsc::UnboundedSender<(ContainerId, ContainerEvent)>,
    pub(super) calls: mpsc::UnboundedSender<Told>,
}

/// A container, from its launch until it is forgotten.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) number: u64,
    pub(super) slot: Option<u32>,
    pub(super) phase: Phase,
    /// Asked for before there was anybody to ask.
    pub(super) stop: Option<Stop>,
    /// To be forgotten as soon as it has ended.
    pub(super) forget: bool,
    /// Nobody wants to hear of it (left by an earlier agent, unknown to the core).
    pub(super) silent: bool,
    /// What the isolators know of it.
    pub(super) kept: Kept,
    /// Those who serve calls hear of it, and not the core.
    pub(super) called: bool,
}

/// How far a container came.
#[derive(Debug)]
pub(super) enum Phase {
    /// Its user is looked up, its URIs are fetched.
    Preparing(CancellationToken),
    /// It waits for its turn.
    Queued(Vec<u8>),
    /// The zygote has it.
    Starting { frame: Vec<u8>, attempts: u8 },
    /// Its supervisor watches it.
    Running(Option<OwnedFd>),
    /// Its supervisor died; what it left is being killed.
    Sweeping,
    /// Its end was told.
    Ended,
}

pub(super) struct Actor {
    pub(super) config: Config,
    pub(super) records_path: PathBuf,
    pub(super) records: Records,
    pub(super) found: Vec<(u32, Record)>,
    pub(super) listeners: Listeners,
    pub(super) requests: mpsc::WeakUnboundedSender<Request>,
    pub(super) own: Own,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) containers: HashMap<ContainerId, Container>,
    pub(super) numbers: HashMap<u64, ContainerId>,
    pub(super) next_number: u64,
    pub(super) slots: Slots,
    pub(super) queue: VecDeque<u64>,
    pub(super) starting: usize,
    pub(super) zygote: Option<Zygote>,
    pub(super) watch: Watch,
    pub(super) chain: Option<Chain>,
    /// Those of the chain that look at running containers at the moment.
    pub(super) looking: HashSet<usize>,
    pub(super) limits: Limits,
}

/// What woke the actor.
enum Wake {
    Zygote(Heard),
    Ended(Vec<u64>),
    Requests,
    Closed,
}

impl Actor {
    pub(super) fn new(
        config: Config,
        records_path: PathBuf,
        records: Records,
        found: Vec<(u32, Record)>,
        listeners: Listeners,
        requests: mpsc::WeakUnboundedSender<Request>,
    ) -> Result<Self, StartError> {
        let zygote = Zygote::start(&config.executor, &records_path)?;
        let watch =
            Watch::new().map_err(|source| StartError::RuntimeDir { path: config.runtime_dir.clone(), source })?;
        Ok(Self {
            own: Own::new(config.switch_user),
            fetcher: Arc::new(Fetcher::new(config.fetcher.clone())),
            slots: Slots::new(found.iter().map(|(slot, _)| *slot)),
            chain: config.isolation.clone(),
            limits: Limits::new(&config.runtime_dir),
            config,
            records_path,
            records,
            found,
            listeners,
            requests,
            containers: HashMap::new(),
            numbers: HashMap::new(),
            next_number: 1,
            queue: VecDeque::new(),
            starting: 0,
            zygote: Some(zygote),
            watch,
            looking: HashSet::new(),
        })
    }

    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut batch = Vec::with_capacity(256);
        loop {
            match self.wake(&mut requests, &mut batch).await {
                Wake::Zygote(Heard::Events(packets)) => packets.into_iter().for_each(|packet| self.hear(packet)),
                Wake::Zygote(Heard::Ended) => self.zygote_ended(),
                Wake::Ended(numbers) => {
                    // What a supervisor said before its end comes first.
                    let packets = self.zygote.as_mut().map(Zygote::drain).unwrap_or_default();
                    packets.into_iter().for_each(|packet| self.hear(packet));
                    numbers.into_iter().for_each(|number| self.supervisor_ended(number));
                }
                Wake::Requests => batch.drain(..).for_each(|request| self.handle(request)),
                Wake::Closed => return,
            }
            self.pump();
        }
    }

    async fn wake(&mut self, requests: &mut mpsc::UnboundedReceiver<Request>, batch: &mut Vec<Request>) -> Wake {
        let zygote = async {
            match &mut self.zygote {
                Some(zygote) => zygote.hear().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = zygote => Wake::Zygote(heard),
            Ok(numbers) = self.watch.ended() => Wake::Ended(numbers),
            count = requests.recv_many(batch, 256) => if count == 0 { Wake::Closed } else { Wake::Requests },
        }
    }

    fn handle(&mut self, request: Request) {
        match request {
            Request::Launch(launch) => self.launch(launch),
            Request::Stop(container, how) => self.stop(&container, how),
            Request::Forget(container) => self.forget(&container),
            Request::Recover(containers, done) => {
                self.recover(containers);
                let _ = done.send(());
            }
            Request::Processes(container, answer) => {
                let _ = answer.send(self.processes_of(&container));
            }
            Request::Signal(container, signal, answer) => {
                let _ = answer.send(self.signal(&container, signal));
            }
            Request::Prepared(launch, result) => self.prepared(&launch, result),
            Request::Allot(container, allotment) => self.allot(container, *allotment),
            Request::Show(change, done) => self.show(*change, done),
            Request::Look(place) => self.look(place),
            Request::Looked(place) => drop(self.looking.remove(&place)),
            Request::Found(container, limitation) => self.limit(&container, *limitation),
            Request::Swept(number) => {
                if let Some(container) = self.numbers.get(&number).cloned() {
                    self.end(&container, ContainerEvent::Exited { status: None });
                }
            }
        }
    }

    /// What a supervisor or the zygote says.
    pub(super) fn hear(&mut self, packet: Packet) {
        let Some(id) = self.numbers.get(&packet.number).cloned() else { return };
        match packet.event {
            Event::Running { task, .. } => {
                let pidfd = packet.pidfd.or_else(|| self.supervisor_of(&id));
                self.running(&id, task, pidfd);
            }
            Event::Failed { message } => self.end(&id, ContainerEvent::Failed { message }),
            Event::Exited { task, status, limited } => {
                if matches!(self.containers.get(&id).map(|container| &container.phase), Some(Phase::Starting { .. })) {
                    let address = self.address_of(&id);
                    self.emit(&id, ContainerEvent::Running { pid: task, address });
                }
                let limitation = if limited { self.record_of(&id).and_then(|record| record.limitation) } else { None };
                self.end(&id, exited(status, limitation));
            }
            Event::Lost => self.supervisor_ended(packet.number),
        }
    }

    /// The container runs under the supervisor behind `pidfd`.
    pub(super) fn running(&mut self, id: &ContainerId, pid: i32, pidfd: Option<OwnedFd>) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if matches!(container.phase, Phase::Running(_) | Phase::Sweeping | Phase::Ended) {
            return;
        }
        failpoint::pass("running");
        match &pidfd {
            Some(pidfd) => {
                if let Err(error) = self.watch.add(pidfd, container.number) {
                    tracing::warn!(container = %id, "cannot watch the supervisor: {error}");
                }
            }
            None => tracing::warn!(container = %id, "there is no descriptor to watch the supervisor with"),
        }
        let started = matches!(container.phase, Phase::Starting { .. });
        container.phase = Phase::Running(pidfd);
        container.kept.pid = pid;
        let stop = container.stop.take();
        if started {
            self.starting = self.starting.saturating_sub(1);
        }
        let address = self.address_of(id);
        self.emit(id, ContainerEvent::Running { pid, address });
        if let Some(how) = stop {
            self.stop(id, how);
        }
    }

    /// A supervisor is gone: by the record it had ended its container, or it was killed.
    fn supervisor_ended(&mut self, number: u64) {
        let Some(id) = self.numbers.get(&number).cloned() else { return };
        if let Some(record) = self.record_of(&id) {
            return self.take_over(&id, record, Watched::UntilNow);
        }
        if matches!(self.containers.get(&id).map(|container| &container.phase), Some(Phase::Starting { .. })) {
            let message = "The supervisor of the container died before it had started the task".to_owned();
            return self.end(&id, ContainerEvent::Failed { message });
        }
        self.end(&id, ContainerEvent::Exited { status: None });
    }

    /// Goes on from what is on record, with nobody having told.
    pub(super) fn take_over(&mut self, id: &ContainerId, record: Record, watched: Watched) {
        let cgroups = record.cgroups;
        if let (Stage::Started { processes, .. }, Some(container)) = (&record.stage, self.containers.get_mut(id)) {
            container.kept.sandbox.clone_from(&processes.sandbox);
        }
        match record.stage {
            Stage::Preparing => self.without_supervisor(id, None, cgroups, watched),
            Stage::Failed { message } => self.end(id, ContainerEvent::Failed { message }),
            Stage::Started { exited: Some(status), .. } => {
                self.end(id, exited(status, record.limitation));
            }
            Stage::Started { processes, exited: None } => match processes.supervisor.open() {
                Some(pidfd) => self.running(id, processes.task.pid, Some(pidfd)),
                None => self.without_supervisor(id, Some(processes), cgroups, watched),
            },
        }
    }

    fn without_supervisor(
        &mut self,
        id: &ContainerId,
        processes: Option<Processes>,
        cgroups: Vec<PathBuf>,
        watched: Watched,
    ) {
        // It may have written the end after the record was read, and left.
        if let Some(Record { stage: Stage::Started { exited: Some(status), .. }, limitation, .. }) = self.record_of(id)
        {
            return self.end(id, exited(status, limitation));
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        if matches!(container.phase, Phase::Sweeping | Phase::Ended) {
            return;
        }
        if matches!(container.phase, Phase::Starting { .. }) {
            self.starting = self.starting.saturating_sub(1);
        }
        container.phase = Phase::Sweeping;
        let (number, id, requests) = (container.number, id.clone(), self.requests.clone());
        tracing::warn!(container = %id, "the supervisor was killed; ending what it left");
        tokio::task::spawn_blocking(move || {
            let killed = processes.map_or(0, |processes| tree::sweep(&processes, watched));
            destroy(&id, &cgroups);
            tracing::info!(container = %id, killed, "ended the processes of a container without supervisor");
            if let Some(requests) = requests.upgrade() {
                let _ = requests.send(Request::Swept(number));
            }
        });
    }

    pub(super) fn stop(&mut self, id: &ContainerId, how: Stop) {
        let Some(container) = self.containers.get_mut(id) else { return };
        match &container.phase {
            Phase::Preparing(cancel) => {
                cancel.cancel();
                container.stop = Some(how);
            }
            Phase::Queued(_) => {
                let number = container.number;
                self.queue.retain(|queued| *queued != number);
                let message = "Container was stopped before it was started".to_owned();
                self.end(id, ContainerEvent::Failed { message });
            }
            Phase::Starting { .. } => {
                let sooner = container.stop.is_none_or(|before| grace(how) < grace(before));
                if sooner {
                    container.stop = Some(how);
                }
            }
            Phase::Running(pidfd) => {
                let opened = if pidfd.is_none() { self.supervisor_of(id) } else { None };
                let Some(pidfd) = self.pidfd_of(id).or(opened.as_ref()) else {
                    return tracing::error!(container = %id, "cannot stop: its supervisor cannot be reached");
                };
                if let Err(error) = sys::queue_stop(pidfd.as_fd(), grace(how))
                    && error.raw_os_error() != Some(nix::libc::ESRCH)
                {
                    tracing::error!(container = %id, "cannot tell the supervisor to stop: {error}");
                }
            }
            Phase::Sweeping | Phase::Ended => {}
        }
    }

    /// Tells the one end of a container.
    pub(super) fn end(&mut self, id: &ContainerId, event: ContainerEvent) {
        let Some(container) = self.containers.get_mut(id) else { return };
        match std::mem::replace(&mut container.phase, Phase::Ended) {
            Phase::Ended => return,
            Phase::Starting { .. } => self.starting = self.starting.saturating_sub(1),
            _ => {}
        }
        failpoint::pass("ended");
        self.numbers.remove(&container.number);
        if let Some(networks) = &self.config.networks {
            networks.leave(id.as_str());
        }
        let forget = container.forget;
        let event = container.kept.told(event);
        match &event {
            ContainerEvent::Failed { message } => tracing::warn!(container = %id, "container failed: {message}"),
            event => tracing::debug!(container = %id, ?event, "container ended"),
        }
        self.emit(id, event);
        if forget {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else { return };
        if !matches!(container.phase, Phase::Ended) {
            container.forget = true;
            return;
        }
        let Some(container) = self.containers.remove(id) else { return };
        if container.kept.was_limited {
            self.limits.remove(id.as_str());
        }
        if container.kept.has_root {
            let root = self.config.runtime_dir.join("roots").join(id.as_str());
            tokio::task::spawn_blocking(move || isolation::remove_root(&root)); // it may hold much
        }
        if let Some(images) = &self.config.images {
            images.release(id.as_str());
        }
        if let Some(slot) = container.slot {
            self.free(slot);
        }
        failpoint::pass("forgotten");
    }

    pub(super) fn free(&mut self, slot: u32) {
        match self.records.clear(slot) {
            Ok(()) => self.slots.give_back(slot),
            Err(error) => tracing::warn!(slot, "cannot clear a record: {error}"),
        }
    }

    pub(super) fn add(&mut self, id: ContainerId, slot: Option<u32>, phase: Phase) -> &mut Container {
        let number = self.next_number;
        self.next_number += 1;
        self.numbers.insert(number, id.clone());
        let kept = Kept::default();
        let (stop, forget, silent, called) = (None, false, false, false);
        let container = Container { number, slot, phase, stop, forget, silent, kept, called };
        self.containers.entry(id).insert_entry(container).into_mut()
    }

    fn address_of(&self, id: &ContainerId) -> Option<Ipv4Addr> {
        self.config.networks.as_ref()?.address_of(id.as_str())
    }

    fn pidfd_of(&self, id: &ContainerId) -> Option<&OwnedFd> {
        match &self.containers.get(id)?.phase {
            Phase::Running(pidfd) => pidfd.as_ref(),
            _ => None,
        }
    }

    /// A descriptor of the supervisor that is on record.
    fn supervisor_of(&self, id: &ContainerId) -> Option<OwnedFd> {
        match self.record_of(id)?.stage {
            Stage::Started { processes, .. } => processes.supervisor.open(),
            Stage::Failed { .. } | Stage::Preparing => None,
        }
    }

    pub(super) fn record_of(&self, id: &ContainerId) -> Option<Record> {
        let slot = self.containers.get(id)?.slot?;
        match self.records.read(slot) {
            Ok(record) => record.filter(|record| record.container == id.as_str()),
            Err(error) => {
                tracing::error!(container = %id, "{error}");
                None
            }
        }
    }

    fn emit(&self, id: &ContainerId, event: ContainerEvent) {
        let Some(container) = self.containers.get(id).filter(|container| !container.silent) else { return };
        if container.called {
            let _ = self.listeners.calls.send(Told::Called(id.clone(), event));
            return;
        }
        if !matches!(event, ContainerEvent::Running { .. }) {
            let status = match &event {
                ContainerEvent::Exited { status } | ContainerEvent::Limited { status, .. } => *status,
                ContainerEvent::Running { .. } | ContainerEvent::Failed { .. } => None,
            };
            let _ = self.listeners.calls.send(Told::Ended(id.clone(), status));
        }
        let _ = self.listeners.own.send((id.clone(), event));
    }
}

fn grace(how: Stop) -> Duration {
    match how {
        // Even without any grace SIGTERM comes first, as in Mesos: what obeys it ends by it.
        Stop::Graceful(grace) => grace.max(Duration::from_millis(1)),
        Stop::Kill => Duration::ZERO,
    }
}
