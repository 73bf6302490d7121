//! The shell around the core: one thread hands it whatever inputs wait, with one moment, and carries out what it asks for.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use mezzo_api::{ids::AgentId, link, time::Now, v1};
use mezzo_election::Lease;
use mezzo_master_core::{
    Core,
    counters::Counter,
    effect::{Answer, Change, CloseReason, Effect, Effects},
    input::{Config, LinkId, LinkUp, OperatorCall, Principal, RequestId, SchedulerCall, StreamId, Subscribe, Ticket},
};
use mezzo_server::{prometheus::Histogram, threads, timer::Timer};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use crate::{
    activity::{Activity, Frameworks},
    link::{LinkSink, Links},
    outbox::{self, PushError},
    prober::Prober,
    registry::{Opened, RegistryFailure, Writer},
    view::Published,
};

/// Inputs that wait for the core. Whoever brings more waits, and with him his connection.
const WAITING_INPUTS: usize = 4096;
/// Inputs that the core takes between two looks at its timers.
const BATCH: usize = 1024;

/// What doors tell the core.
#[derive(Debug)]
pub(crate) enum Input {
    /// A framework subscribes; its stream is open.
    Subscribe(Box<Subscribe>, StreamSink),
    /// A framework's stream ended.
    StreamClosed(StreamId),
    /// Any other scheduler call.
    Scheduler {
        /// The call.
        call: Box<v1::scheduler::Call>,
        /// The header Mesos-Stream-Id.
        stream_id: Option<String>,
        /// Who speaks.
        principal: Principal,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// A call of an operator.
    Operator {
        /// The call.
        call: OperatorCall,
        /// Who speaks.
        principal: Principal,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// An agent opened a link.
    LinkUp(LinkUp, LinkSink),
    /// A link ended.
    LinkDown(LinkId),
    /// Messages of an agent.
    Agent(LinkId, Vec<link::FromAgent>),
    /// An agent's advertised address was tried; why it was not found there.
    Probed(AgentId, SocketAddr, Option<String>),
    /// A registry write ended.
    Registry(Ticket, Result<(), RegistryFailure>),
    /// Somebody wants to know whether the core's thread answers.
    Ping(oneshot::Sender<()>),
    /// `--whitelist` was read: only agents of these hosts are offered.
    Whitelist(BTreeSet<String>),
    /// Somebody wants the core's numbers.
    Metrics(oneshot::Sender<Numbers>),
    /// The server stops.
    Stop,
}

/// What the core's thread counts and measures.
#[derive(Debug)]
pub(crate) struct Numbers {
    /// By Mesos' names.
    pub(crate) metrics: Vec<(String, f64)>,
    /// What was counted of each framework.
    pub(crate) frameworks: Frameworks,
    /// Durations.
    pub(crate) histograms: Vec<Histogram>,
}

/// Where a framework's events go.
#[derive(Debug)]
pub(crate) struct StreamSink {
    /// The connection's queue.
    pub(crate) events: outbox::Sender<Box<v1::scheduler::Event>>,
    /// Ends the connection when its reader is too slow.
    pub(crate) connection: Cut,
}

/// Ends one connection from outside.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<tokio::sync::Notify>);

impl Cut {
    /// Ends it now.
    pub(crate) fn cut(&self) {
        self.0.notify_one();
    }

    /// Returns when it is to end.
    pub(crate) async fn wanted(&self) {
        self.0.notified().await;
    }
}

/// The doors' way to the core.
#[derive(Clone, Debug)]
pub(crate) struct CoreHandle {
    inputs: mpsc::Sender<Input>,
}

/// The core has stopped.
#[derive(Debug, thiserror::Error)]
#[error("the master is stopping")]
pub(crate) struct Stopped;

impl CoreHandle {
    /// The way to a core that is not there: whatever is sent is refused.
    pub(crate) fn of_nobody() -> Self {
        Self { inputs: mpsc::channel(1).0 }
    }

    /// Hands over an input; waits while too many wait.
    pub(crate) async fn send(&self, input: Input) -> Result<(), Stopped> {
        self.inputs.send(input).await.map_err(|_| Stopped)
    }

    /// Whether nobody listens any more.
    pub(crate) fn has_stopped(&self) -> bool {
        self.inputs.is_closed()
    }

    /// Inputs that wait for the core.
    pub(crate) fn waiting(&self) -> usize {
        WAITING_INPUTS - self.inputs.capacity().min(WAITING_INPUTS)
    }

    /// Hands over an input from a place that cannot wait.
    pub(crate) fn send_later(&self, input: Input) {
        let Err(mpsc::error::TrySendError::Full(input)) = self.inputs.try_send(input) else { return };
        let inputs = self.inputs.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { inputs.send(input).await });
        }
    }

    /// Hands over a call and waits for its answer.
    pub(crate) async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.send(input(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }
}

/// Why the shell ended by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShellError {
    /// What must be durable cannot be made so.
    #[error("the registry cannot be written, so this master stops: {0}")]
    Registry(#[from] RegistryFailure),
    /// Another master leads.
    #[error("another master leads now, so this one stops")]
    Deposed,
    /// A defect.
    #[error("the master's core failed; the log tells where")]
    Panicked,
}

/// A shell at work.
pub(crate) struct Running {
    /// The way to its core.
    pub(crate) core: CoreHandle,
    /// Ends with the shell.
    pub(crate) ended: oneshot::Receiver<Result<(), ShellError>>,
}

/// Starts the core on a thread of its own; the calling runtime does what waits for the network.
pub(crate) fn start(
    config: Config,
    opened: Opened,
    published: Arc<Published>,
    links: Arc<Links>,
    lease: Lease,
) -> io::Result<Running> {
    let (inputs, waiting) = mpsc::channel(WAITING_INPUTS);
    let core = CoreHandle { inputs: inputs.clone() };
    let Opened { registry, recovered, term: _, took, damaged } = opened;
    let mut registry_fetch = Timer::latest("registrar/state_fetch_ms");
    registry_fetch.record(took);
    let writer = Writer::start(registry, move |ticket, result| {
        // The core never waits for this thread, so that this may wait for the core.
        let _ = inputs.blocking_send(Input::Registry(ticket, result));
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let prober = Prober::new(tokio::runtime::Handle::current(), core.clone());
    let (end, ended) = oneshot::channel();
    thread::Builder::new().name("core".into()).stack_size(2 * 1024 * 1024).spawn(move || {
        threads::prompt();
        let origin = Instant::now();
        let now = moment(origin);
        let feed = Arc::clone(&published);
        let shell = Shell {
            core: Core::new(config, uuid::Uuid::new_v4().as_u64_pair().0, now, recovered),
            origin,
            published,
            links_by_agent: links,
            writer,
            prober,
            streams: HashMap::new(),
            links: HashMap::new(),
            replies: HashMap::new(),
            next_request: 0,
            effects: Effects::new(),
            allocation_run: Timer::with_statistics("allocator/mesos/allocation_run_ms"),
            allocation_latency: Timer::with_statistics("allocator/mesos/allocation_run_latency_ms"),
            registry_store: Timer::with_statistics("registrar/state_store_ms"),
            registry_fetch,
            activity: Activity::default(),
            damaged_records: damaged.len(),
            writing: HashMap::new(),
            ended_streams: Vec::new(),
        };
        let result =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(shell.run(waiting, lease))));
        feed.end();
        let _ = end.send(result.unwrap_or(Err(ShellError::Panicked)));
    })?;
    Ok(Running { core, ended })
}

fn moment(origin: Instant) -> Now {
    Now { mono: origin.elapsed(), wall: SystemTime::now() }
}

struct Shell {
    core: Core,
    origin: Instant,
    published: Arc<Published>,
    links_by_agent: Arc<Links>,
    writer: Writer,
    prober: Prober,
    streams: HashMap<StreamId, StreamSink>,
    links: HashMap<LinkId, LinkSink>,
    replies: HashMap<RequestId, oneshot::Sender<Answer>>,
    next_request: u64,
    effects: Effects,
    allocation_run: Timer,
    allocation_latency: Timer,
    registry_store: Timer,
    registry_fetch: Timer,
    activity: Activity,
    /// Records that could not be read.
    damaged_records: usize,
    /// When the writes that are under way were asked for.
    writing: HashMap<Ticket, Instant>,
    /// Streams that were found to be closed (`false`) or were cut (`true`) while effects were carried out.
    ended_streams: Vec<(StreamId, bool)>,
}

impl Shell {
    /// Nothing is done without a valid lease, timers least of all: after the process was frozen, another master may lead.
    async fn run(mut self, mut waiting: mpsc::Receiver<Input>, mut lease: Lease) -> Result<(), ShellError> {
        let mut batch = Vec::with_capacity(BATCH);
        if lease.valid().await.is_err() {
            return Ok(());
        }
        self.step(&mut batch)?;
        loop {
            let deadline = self.core.deadline();
            tokio::select! {
                biased;
                () = lease.ended() => return Ok(()),
                count = waiting.recv_many(&mut batch, BATCH) => if count == 0 { return Ok(()) },
                () = until(self.origin, deadline) => {}
            }
            if !lease.is_valid() && !mezzo_api::mutant!("core-without-lease") {
                if lease.valid().await.is_err() {
                    return Ok(());
                }
                // What came meanwhile is heard before a timer that waited for it is let go off.
                while batch.len() < BATCH
                    && let Ok(input) = waiting.try_recv()
                {
                    batch.push(input);
                }
            }
            if batch.iter().any(|input| matches!(input, Input::Stop)) {
                return Ok(());
            }
            let start = Instant::now();
            self.step(&mut batch)?;
            self.activity.step.record(start.elapsed());
        }
    }

    fn step(&mut self, batch: &mut Vec<Input>) -> Result<(), ShellError> {
        let now = moment(self.origin);
        let due = self.core.deadline();
        for input in batch.drain(..) {
            self.take(now, input)?;
        }
        if self.core.deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.core.tick(now, &mut self.effects);
        }
        loop {
            self.flush(now, due);
            self.carry_out();
            if self.ended_streams.is_empty() {
                break;
            }
            for (stream, cut) in std::mem::take(&mut self.ended_streams) {
                self.core.stream_closed(now, stream, cut, &mut self.effects);
            }
        }
        if self.core.deposed() { Err(ShellError::Deposed) } else { Ok(()) }
    }

    /// Ends the batch. What that takes is the allocator's time, if it ran.
    fn flush(&mut self, now: Now, due: Option<Duration>) {
        let runs = self.core.counters().get(Counter::AllocationRuns);
        let start = Instant::now();
        self.core.flush(now, &mut self.effects);
        if self.core.counters().get(Counter::AllocationRuns) != runs {
            let (took, late) = (start.elapsed(), due.map_or(Duration::ZERO, |due| now.mono.saturating_sub(due)));
            self.allocation_run.record(took);
            self.allocation_latency.record(late);
            self.activity.allocation.record(took);
            self.activity.allocation_delay.record(late);
        }
    }

    fn take(&mut self, now: Now, input: Input) -> Result<(), ShellError> {
        let out = &mut self.effects;
        match input {
            Input::Subscribe(subscribe, sink) => {
                self.streams.insert(subscribe.stream, sink);
                self.core.subscribe(now, *subscribe, out);
            }
            Input::StreamClosed(stream) => {
                self.streams.remove(&stream);
                self.activity.closed(stream);
                self.core.stream_closed(now, stream, false, out);
            }
            Input::Scheduler { call, stream_id, principal, reply } => {
                self.activity.call(&call);
                let request = Self::expect_reply(&mut self.next_request, &mut self.replies, reply);
                self.core.scheduler_call(now, SchedulerCall { request, stream_id, principal, call: *call }, out);
            }
            Input::Operator { call, principal, reply } => {
                let request = Self::expect_reply(&mut self.next_request, &mut self.replies, reply);
                self.core.operator_call(now, request, principal, call, out);
            }
            Input::LinkUp(up, sink) => {
                self.links.insert(up.link, sink);
                self.core.link_up(now, up, out);
            }
            Input::LinkDown(link) => {
                self.links.remove(&link);
                self.links_by_agent.down(link);
                self.core.link_down(now, link, out);
            }
            Input::Agent(link, messages) => {
                for message in messages {
                    self.core.agent(now, link, message, out);
                }
            }
            Input::Probed(agent, address, failure) => self.core.probed(&agent, address, failure.as_deref(), out),
            Input::Registry(ticket, Ok(())) => {
                if let Some(asked) = self.writing.remove(&ticket) {
                    self.registry_store.record(asked.elapsed());
                    self.activity.registry.record(asked.elapsed());
                }
                self.core.registry(now, ticket, Ok(()), out);
            }
            Input::Registry(ticket, Err(failure)) => match failure.for_core() {
                Some(error) => self.core.registry(now, ticket, Err(error), out),
                None => return Err(failure.into()),
            },
            Input::Whitelist(hosts) => self.core.set_whitelist(now, Some(hosts)),
            Input::Metrics(reply) => {
                let _ = reply.send(self.metrics(now));
            }
            Input::Ping(reply) => {
                let _ = reply.send(());
            }
            Input::Stop => {}
        }
        Ok(())
    }

    fn metrics(&self, now: Now) -> Numbers {
        #[allow(clippy::cast_precision_loss)] // counters are told as doubles
        let counters = self.core.counters().iter().map(|(name, value)| (name.to_owned(), value as f64));
        let mut metrics: Vec<(String, f64)> = counters.chain(self.core.allocator_metrics(now)).collect();
        #[allow(clippy::cast_precision_loss)] // few
        metrics.push(("registrar/damaged_records".to_owned(), self.damaged_records as f64));
        for timer in [&self.allocation_run, &self.allocation_latency, &self.registry_store, &self.registry_fetch] {
            timer.metrics(&mut metrics);
        }
        #[allow(clippy::cast_precision_loss)] // a count
        metrics.push(("registrar/queued_operations".to_owned(), self.writing.len() as f64));
        Numbers { metrics, frameworks: self.activity.frameworks(), histograms: self.activity.histograms() }
    }

    fn expect_reply(
        next: &mut u64,
        replies: &mut HashMap<RequestId, oneshot::Sender<Answer>>,
        reply: oneshot::Sender<Answer>,
    ) -> RequestId {
        let request = RequestId(*next);
        *next += 1;
        replies.insert(request, reply);
        request
    }

    /// First what readers see, then the rest in order: whoever is answered sees what he was answered.
    fn carry_out(&mut self) {
        let mut effects = std::mem::take(&mut self.effects);
        let changes: Vec<Change> = effects
            .iter_mut()
            .filter_map(|effect| if let Effect::Publish(change) = effect { Some(change.clone()) } else { None })
            .collect();
        if !changes.is_empty() {
            changes.iter().for_each(|change| self.activity.change(change));
            for (framework, state) in self.published.apply(changes) {
                self.activity.ended(&framework, state);
            }
        }
        for effect in effects.drain(..) {
            self.carry_out_one(effect);
        }
        self.effects = effects;
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::Reply(request, answer) => {
                if let Some(reply) = self.replies.remove(&request) {
                    // Who has gone away needs no answer.
                    let _ = reply.send(answer);
                }
            }
            Effect::ToFramework(stream, event) => self.send_event(stream, event),
            Effect::CloseStream(stream) => {
                self.streams.remove(&stream);
            }
            Effect::ToAgent(link, message) => self.send_message(link, message),
            Effect::CloseLink(link, reason) => self.close_link(link, reason),
            Effect::Probe(agent, address) => self.prober.probe(agent, address),
            Effect::Write(ticket, operations) => {
                self.writing.insert(ticket, Instant::now());
                self.writer.write(ticket, operations);
            }
            Effect::Publish(_) => {}
        }
    }

    fn send_event(&mut self, stream: StreamId, event: Box<v1::scheduler::Event>) {
        let Some(sink) = self.streams.get(&stream) else { return };
        self.activity.event(stream, &event);
        let bytes = event.encoded_len();
        let Err(error) = sink.events.push(event, bytes) else { return };
        if error == PushError::Full {
            tracing::warn!(stream = %stream.0, "the framework reads too slowly: its stream is cut");
            sink.connection.cut();
        }
        self.streams.remove(&stream);
        self.ended_streams.push((stream, error == PushError::Full));
    }

    fn send_message(&mut self, link: LinkId, message: Box<link::to_agent::Message>) {
        let Some(sink) = self.links.get(&link) else { return };
        if let Some(agent) = named_agent(&message) {
            self.links_by_agent.up(agent.into(), link, sink);
        }
        let bytes = message.encoded_len();
        if sink.messages.push(message, bytes) == Err(PushError::Full) {
            tracing::warn!(link = link.0, "the agent reads too slowly: its link is cut");
            // The link's task reports the end.
            sink.connection.cut();
            self.links.remove(&link);
        }
    }

    fn close_link(&mut self, link: LinkId, reason: CloseReason) {
        if let Some(sink) = self.links.remove(&link) {
            tracing::info!(link = link.0, %reason, "closing a link");
            sink.closing.cut();
        }
    }
}

fn named_agent(message: &link::to_agent::Message) -> Option<&v1::AgentId> {
    match message {
        link::to_agent::Message::Registered(registered) => Some(&registered.agent_id),
        link::to_agent::Message::Reregistered(reregistered) => Some(&reregistered.agent_id),
        _ => None,
    }
}

async fn until(origin: Instant, deadline: Option<Duration>) {
    match deadline.and_then(|deadline| origin.checked_add(deadline)) {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
