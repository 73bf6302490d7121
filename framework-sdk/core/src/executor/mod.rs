//! An executor's driver: subscribes with the agent, keeps what the agent has not acknowledged, and comes back with it
//! after the agent's restart. The protocol is that of docs/executor-http-api.md of apache/mesos.

use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use mezzo_api::{
    time::Now,
    v1::{
        self, TaskInfo, TaskStatus,
        executor::{self as api, Call, call, event},
    },
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tracing::{info, warn};

mod effect;
#[cfg(test)]
mod tests;

pub use effect::{Effect, Effects, EndReason, Event, StreamId};

use crate::{
    answer::Answer,
    backoff::{Backoff, BackoffPolicy},
};

/// What an executor knows of itself, from its environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// MESOS_FRAMEWORK_ID
    pub framework_id: v1::FrameworkId,
    /// MESOS_EXECUTOR_ID
    pub executor_id: v1::ExecutorId,
    /// MESOS_CHECKPOINT: whether the executor outlives a restart of its agent.
    pub checkpoint: bool,
    /// MESOS_RECOVERY_TIMEOUT: without the agent for longer than this, the executor shuts down.
    pub recovery_timeout: Duration,
    /// MESOS_SUBSCRIPTION_BACKOFF_MAX: no wait between attempts to subscribe is longer.
    pub backoff_max: Duration,
}

/// The executor says this often that it is there, to keep what stands between it and the agent from forgetting
/// the connection (src/executor/executor.cpp).
const HEARTBEAT: Duration = Duration::from_secs(30 * 60);
const BACKOFF_BASE: Duration = Duration::from_millis(50);
/// An attempt that has not ended in SUBSCRIBED after this has failed: an agent that stands still takes connections, too.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(30);

/// The driver's decisions.
#[derive(Debug)]
pub struct Core {
    config: Config,
    rng: SmallRng,
    state: State,
    backoff: Backoff,
    last_stream: u64,
    /// Since when the agent is away; from the first subscription on.
    away_since: Option<Duration>,
    heartbeat_at: Duration,
    /// The agent asked to shut down: when it leaves now, it leaves for good.
    shutting_down: bool,
    /// How many of `updates` the last SUBSCRIBE carried.
    subscribed_with: usize,
    /// Tasks of which no update has been acknowledged yet.
    tasks: IndexMap<String, TaskInfo>,
    /// Updates that have not been acknowledged, by uuid, in the order in which they were made.
    updates: IndexMap<Bytes, TaskStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    BackingOff { until: Duration },
    Subscribing { stream: StreamId, until: Duration },
    Subscribed { stream: StreamId },
    Ended,
}

impl Core {
    /// A driver that has not dialled yet.
    pub fn new(config: Config, seed: u64) -> Self {
        let max = config.backoff_max.max(BACKOFF_BASE);
        Self {
            rng: SmallRng::seed_from_u64(seed),
            state: State::Idle,
            backoff: Backoff::new(BackoffPolicy { base: BACKOFF_BASE, max }),
            last_stream: 0,
            away_since: None,
            heartbeat_at: Duration::MAX,
            shutting_down: false,
            subscribed_with: 0,
            tasks: IndexMap::new(),
            updates: IndexMap::new(),
            config,
        }
    }

    /// Begins: dials the agent at once.
    pub fn start(&mut self, now: Now, out: &mut Effects) {
        if self.state == State::Idle {
            self.dial(now, out);
        }
    }

    /// The agent answered a SUBSCRIBE: with a stream (status 200), or with why not.
    pub fn head(&mut self, now: Now, stream: StreamId, answer: &Answer, out: &mut Effects) {
        if !self.subscribing(stream) || answer.status == 200 {
            return;
        }
        match answer.status {
            // the agent is recovering, or its HTTP server runs before the agent does
            404 | 408 | 429 | 500..=599 if answer.status != 501 => {
                out.push(Effect::Close(stream));
                self.retry(now, answer.text(), out);
            }
            _ => self.end(EndReason::Refused(answer.text()), out),
        }
    }

    /// The connection of this attempt or stream could not be made, broke or ended.
    pub fn closed(&mut self, now: Now, stream: StreamId, reason: String, out: &mut Effects) {
        if self.stream() != Some(stream) {
            return;
        }
        if self.shutting_down {
            self.state = State::Ended;
            return;
        }
        let had = self.state == State::Subscribed { stream };
        if had && !self.config.checkpoint {
            // the agent forgets executors of frameworks that do not checkpoint (src/executor/executor.cpp)
            return self.end(EndReason::Disconnected(reason), out);
        }
        if had {
            out.push(Effect::Deliver(Event::Disconnected { reason: reason.clone() }));
        }
        self.retry(now, reason, out);
    }

    /// An event came on a stream.
    pub fn event(&mut self, now: Now, stream: StreamId, event: api::Event, out: &mut Effects) {
        if self.stream() != Some(stream) {
            return;
        }
        match event.r#type() {
            event::Type::Subscribed => {
                if let Some(subscribed) = event.subscribed {
                    self.subscribed(now, stream, *subscribed, out);
                }
            }
            event::Type::Launch => {
                if let Some(launch) = event.launch {
                    self.tasks.insert(launch.task.task_id.value.clone(), launch.task.clone());
                    out.push(Effect::Deliver(Event::Launch(Box::new(launch.task))));
                }
            }
            event::Type::LaunchGroup => {
                if let Some(launch) = event.launch_group {
                    for task in &launch.task_group.tasks {
                        self.tasks.insert(task.task_id.value.clone(), task.clone());
                    }
                    out.push(Effect::Deliver(Event::LaunchGroup(launch.task_group.tasks)));
                }
            }
            event::Type::Kill => {
                if let Some(kill) = event.kill {
                    out.push(Effect::Deliver(Event::Kill { task_id: kill.task_id, policy: kill.kill_policy }));
                }
            }
            event::Type::Acknowledged => {
                if let Some(acknowledged) = event.acknowledged {
                    self.acknowledged(acknowledged, out);
                }
            }
            event::Type::Message => {
                if let Some(message) = event.message {
                    out.push(Effect::Deliver(Event::Message(message.data)));
                }
            }
            event::Type::Error => {
                let message = event.error.map(|error| error.message).unwrap_or_default();
                self.end(EndReason::Refused(message), out);
            }
            event::Type::Shutdown => self.end(EndReason::Asked, out),
            event::Type::Heartbeat | event::Type::Unknown => {}
        }
    }

    /// The executor reports a task's state. Fills in what every status of an executor has (uuid, source, executor,
    /// time), keeps it until the agent acknowledges it, and returns its uuid.
    pub fn update(&mut self, now: Now, mut status: TaskStatus, out: &mut Effects) -> Bytes {
        let uuid = uuid::Builder::from_random_bytes(self.rng.random()).into_uuid();
        let uuid = Bytes::copy_from_slice(uuid.as_bytes());
        status.uuid = Some(uuid.clone());
        status.source = Some(v1::task_status::Source::Executor as i32);
        status.executor_id = Some(self.config.executor_id.clone());
        status.timestamp.get_or_insert(now.timestamp());
        self.updates.insert(uuid.clone(), status.clone());
        if let State::Subscribed { stream } = self.state {
            self.send_update(stream, status, out);
        }
        uuid
    }

    /// Sends data to the framework; best effort: nothing is kept.
    pub fn message(&mut self, data: Bytes, out: &mut Effects) {
        if let State::Subscribed { stream } = self.state {
            let call = Call { message: Some(call::Message { data }), ..self.typed(call::Type::Message) };
            out.push(Effect::Send(stream, Box::new(call)));
        }
    }

    /// The agent answered a call.
    pub fn answered(&mut self, now: Now, stream: StreamId, call: &Call, answer: &Answer, out: &mut Effects) {
        if answer.status == 202 || self.state != (State::Subscribed { stream }) {
            return;
        }
        warn!(call = call.r#type().as_str_name(), answer = answer.text(), "the agent refused a call");
        if matches!(answer.status, 403 | 404 | 503) {
            // it does not know this subscription (any more): come back with everything
            out.push(Effect::Close(stream));
            self.closed(now, stream, answer.text(), out);
        } else if answer.status == 400 && answer.message.contains("cannot be found") {
            self.end(EndReason::Refused(answer.text()), out);
        }
    }

    /// The connection of the calls broke before these were answered. The agent knows updates by their uuid: they may
    /// be sent twice.
    pub fn calls_lost(&mut self, now: Now, stream: StreamId, lost: Vec<Call>, reachable: bool, out: &mut Effects) {
        if self.state != (State::Subscribed { stream }) {
            return;
        }
        if !reachable {
            out.push(Effect::Close(stream));
            return self.closed(now, stream, "calls do not reach the agent".to_owned(), out);
        }
        for call in lost {
            let uuid = call.update.and_then(|update| update.status.uuid);
            if let Some(status) = uuid.and_then(|uuid| self.updates.get(&uuid)) {
                self.send_update(stream, status.clone(), out);
            }
        }
    }

    /// Carries out what is due.
    pub fn tick(&mut self, now: Now, out: &mut Effects) {
        match self.state {
            State::BackingOff { until } if until <= now.mono => {
                if self.given_up(now) {
                    let reason = format!("no agent for {} s", self.config.recovery_timeout.as_secs());
                    return self.end(EndReason::Disconnected(reason), out);
                }
                self.dial(now, out);
            }
            State::Subscribing { stream, until } if until <= now.mono => {
                out.push(Effect::Close(stream));
                self.retry(now, format!("no subscription within {} s", SUBSCRIBE_TIMEOUT.as_secs()), out);
            }
            State::Subscribed { stream } if self.heartbeat_at <= now.mono => {
                self.heartbeat_at = now.mono + HEARTBEAT;
                out.push(Effect::Send(stream, Box::new(self.typed(call::Type::Heartbeat))));
            }
            _ => {}
        }
    }

    /// When to [`tick`](Self::tick) at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::BackingOff { until } | State::Subscribing { until, .. } => Some(until),
            State::Subscribed { .. } => Some(self.heartbeat_at),
            State::Idle | State::Ended => None,
        }
    }

    /// How many updates the agent has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.updates.len()
    }

    /// Whether the driver has ended: it will ask for nothing more.
    pub fn ended(&self) -> bool {
        self.state == State::Ended
    }

    fn subscribed(&mut self, now: Now, stream: StreamId, event: event::Subscribed, out: &mut Effects) {
        if !self.subscribing(stream) {
            return;
        }
        info!(agent = event.agent_info.hostname, "subscribed with the agent");
        self.state = State::Subscribed { stream };
        self.backoff.reset();
        self.away_since = None;
        self.heartbeat_at = now.mono + HEARTBEAT;
        out.push(Effect::Deliver(Event::Subscribed(Box::new(event))));
        // those that were made while the SUBSCRIBE was on its way
        for status in self.updates.values().skip(self.subscribed_with) {
            self.send_update(stream, status.clone(), out);
        }
    }

    fn acknowledged(&mut self, event: event::Acknowledged, out: &mut Effects) {
        self.tasks.shift_remove(&event.task_id.value);
        if self.updates.shift_remove(&event.uuid).is_some() {
            out.push(Effect::Deliver(Event::Acknowledged { task_id: event.task_id, uuid: event.uuid }));
        }
    }

    fn dial(&mut self, now: Now, out: &mut Effects) {
        self.last_stream += 1;
        let stream = StreamId(self.last_stream);
        self.state = State::Subscribing { stream, until: now.mono + SUBSCRIBE_TIMEOUT };
        let forgets = mezzo_api::mutant!("executor-forgets-updates");
        let kept = self.updates.values().filter(|_| !forgets);
        let updates = kept.map(|status| call::Update { status: status.clone() }).collect();
        self.subscribed_with = self.updates.len();
        let subscribe = call::Subscribe {
            unacknowledged_tasks: self.tasks.values().cloned().collect(),
            unacknowledged_updates: updates,
        };
        let call = Call { subscribe: Some(subscribe), ..self.typed(call::Type::Subscribe) };
        out.push(Effect::Open { stream, call: Box::new(call) });
    }

    fn retry(&mut self, now: Now, reason: String, out: &mut Effects) {
        self.away_since.get_or_insert(now.mono);
        if self.given_up(now) {
            return self.end(EndReason::Disconnected(reason), out);
        }
        let delay = self.backoff.next(&mut self.rng);
        warn!(%reason, ?delay, "could not subscribe with the agent");
        self.state = State::BackingOff { until: now.mono + delay };
    }

    fn given_up(&self, now: Now) -> bool {
        self.away_since.is_some_and(|since| now.mono >= since + self.config.recovery_timeout)
    }

    /// The executor is to shut down: the last event says so.
    fn end(&mut self, reason: EndReason, out: &mut Effects) {
        info!(%reason, "the executor is to shut down");
        if reason == EndReason::Asked {
            // the last updates are still to be sent and acknowledged
            self.shutting_down = true;
            out.push(Effect::Deliver(Event::Shutdown(reason)));
            return;
        }
        if let Some(stream) = self.stream() {
            out.push(Effect::Close(stream));
        }
        self.state = State::Ended;
        out.push(Effect::Deliver(Event::Shutdown(reason)));
    }

    fn subscribing(&self, wanted: StreamId) -> bool {
        matches!(self.state, State::Subscribing { stream, .. } if stream == wanted)
    }

    fn stream(&self) -> Option<StreamId> {
        match self.state {
            State::Subscribing { stream, .. } | State::Subscribed { stream } => Some(stream),
            State::Idle | State::BackingOff { .. } | State::Ended => None,
        }
    }

    fn typed(&self, kind: call::Type) -> Call {
        Call {
            executor_id: self.config.executor_id.clone(),
            framework_id: self.config.framework_id.clone(),
            r#type: Some(kind as i32),
            ..Call::default()
        }
    }

    fn send_update(&self, stream: StreamId, status: TaskStatus, out: &mut Effects) {
        let call = Call { update: Some(call::Update { status }), ..self.typed(call::Type::Update) };
        out.push(Effect::Send(stream, Box::new(call)));
    }
}
