//! The driver's task: both connections, the core between them, and the queues to the executor.

use std::time::Duration;

use mezzo_api::{
    codec,
    v1::executor::{Call, Event as AgentEvent},
};
use mezzo_sdk_core::executor::{Core, Effect, Effects, Event, StreamId};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tracing::warn;

use super::{Command, ExecutorDriver};
use crate::{
    clock::{Clock, seed},
    wire::{Body, Calls, Done, EventStream, Item, Requests},
};

const MAX_EVENT_BYTES: usize = 64 * 1024 * 1024;
/// Updates that wait for their answers at a time.
const PIPELINING: usize = 32;
/// When there is nothing to wait for.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// A call as it waits for its answer.
struct Sent(Box<Call>);

impl Body for Sent {
    type Message = Call;

    fn message(&self) -> &Call {
        &self.0
    }
}

pub(super) struct Driver {
    core: Core,
    clock: Clock,
    driver: ExecutorDriver,
    requests: Requests,
    effects: Effects,
    stream: Option<(StreamId, EventStream)>,
    calls: Option<(StreamId, Calls<Sent>)>,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::UnboundedSender<Event>,
    unacknowledged: watch::Sender<usize>,
    /// When the process group is killed.
    watchdog: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        driver: ExecutorDriver,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::UnboundedSender<Event>,
        unacknowledged: watch::Sender<usize>,
    ) -> Self {
        let environment = &driver.environment;
        let authorization = environment.authorization.as_deref();
        Self {
            core: Core::new(environment.config.clone(), seed()),
            clock: Clock::start(),
            requests: Requests::new(&environment.peer, &environment.path, driver.encoding, authorization),
            driver,
            effects: Vec::new(),
            stream: None,
            calls: None,
            commands,
            events,
            unacknowledged,
            watchdog: None,
        }
    }

    pub(super) async fn run(mut self) {
        let (mut items, mut done) = (Vec::new(), Vec::new());
        self.core.start(self.clock.now(), &mut self.effects);
        loop {
            self.carry_out();
            self.unacknowledged.send_if_modified(|count| {
                let now = self.to_be_acknowledged();
                std::mem::replace(count, now) != now
            });
            if self.core.ended() && self.watchdog.is_none() {
                return;
            }
            let deadline = self.deadline();
            tokio::select! {
                biased;
                () = progress(&mut self.calls, &mut done) => self.calls_done(&mut done),
                () = read(&mut self.stream, &mut items) => self.stream_came(&mut items),
                command = self.commands.recv() => match command {
                    Some(command) => self.commanded(command),
                    None => return, // nobody can report any more
                },
                () = tokio::time::sleep_until(deadline) => {
                    if self.watchdog.is_some_and(|at| at <= Instant::now()) {
                        kill_process_group();
                        return;
                    }
                    self.core.tick(self.clock.now(), &mut self.effects);
                }
            }
        }
    }

    /// After the end, no acknowledgement will come.
    fn to_be_acknowledged(&self) -> usize {
        if self.core.ended() { 0 } else { self.core.unacknowledged() }
    }

    fn deadline(&self) -> Instant {
        let core = self.core.deadline().map_or_else(|| Instant::now() + FAR, |mono| self.clock.instant(mono));
        self.watchdog.map_or(core, |watchdog| watchdog.min(core))
    }

    fn stream_came(&mut self, items: &mut Vec<Item>) {
        let Some((id, _)) = self.stream else { return items.clear() };
        let now = self.clock.now();
        for item in items.drain(..) {
            match item {
                Item::Head(answer) => {
                    if answer.status == 200 {
                        let peer = self.driver.environment.peer.clone();
                        self.calls = Some((id, Calls::new(peer, self.requests.clone(), PIPELINING)));
                    }
                    self.core.head(now, id, &answer, &mut self.effects);
                }
                Item::Record(encoding, record) => match codec::decode::<AgentEvent>(encoding, &record) {
                    Ok(event) => self.core.event(now, id, event, &mut self.effects),
                    Err(error) => warn!(%error, "an event that cannot be read is passed over"),
                },
                Item::Closed(reason) => self.core.closed(now, id, reason, &mut self.effects),
            }
        }
    }

    fn calls_done(&mut self, done: &mut Vec<Done<Sent>>) {
        let Some((id, _)) = self.calls else { return done.clear() };
        let now = self.clock.now();
        for done in done.drain(..) {
            match done {
                Done::Answered(Sent(call), answer) => self.core.answered(now, id, &call, &answer, &mut self.effects),
                Done::Lost { calls, reachable } => {
                    let calls = calls.into_iter().map(|Sent(call)| *call).collect();
                    self.core.calls_lost(now, id, calls, reachable, &mut self.effects);
                }
            }
        }
    }

    fn commanded(&mut self, command: Command) {
        match command {
            Command::Update(status) => {
                self.core.update(self.clock.now(), *status, &mut self.effects);
            }
            Command::Message(data) => self.core.message(data, &mut self.effects),
            Command::Barrier(reached) => {
                self.unacknowledged.send_replace(self.to_be_acknowledged());
                let _ = reached.send(()); // nobody waits any more
            }
        }
    }

    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Open { stream, call } => {
                        let peer = self.driver.environment.peer.clone();
                        self.stream = Some((stream, EventStream::open(peer, &self.requests, &*call, MAX_EVENT_BYTES)));
                    }
                    Effect::Close(id) => {
                        // what has no answer is part of the next SUBSCRIBE
                        self.calls.take_if(|(current, _)| *current == id);
                        self.stream.take_if(|(current, _)| *current == id);
                    }
                    Effect::Send(id, call) => match &mut self.calls {
                        Some((current, calls)) if *current == id => calls.push(Sent(call)),
                        _ => self.core.calls_lost(self.clock.now(), id, vec![*call], true, &mut self.effects),
                    },
                    Effect::Deliver(event) => self.deliver(event),
                }
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        if let Event::Shutdown(reason) = &event
            && self.driver.kill_after_grace
            && self.watchdog.is_none()
        {
            let grace = self.driver.environment.grace;
            warn!(%reason, ?grace, "shutting down: the process group is killed after the grace period");
            self.watchdog = Some(Instant::now() + grace);
        }
        let _ = self.events.send(event); // the executor may have stopped listening
    }
}

/// As Mesos' library does (src/executor/executor.cpp): what does not end by itself is ended.
fn kill_process_group() {
    if let Err(error) = rustix::process::kill_current_process_group(rustix::process::Signal::KILL) {
        warn!(%error, "cannot kill the own process group");
    }
}

async fn progress(calls: &mut Option<(StreamId, Calls<Sent>)>, done: &mut Vec<Done<Sent>>) {
    match calls {
        Some((_, calls)) => calls.progress(done).await,
        None => std::future::pending().await,
    }
}

async fn read(stream: &mut Option<(StreamId, EventStream)>, items: &mut Vec<Item>) {
    match stream {
        Some((_, stream)) => stream.read(items).await,
        None => std::future::pending().await,
    }
}
