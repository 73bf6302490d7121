//! The driver's task: both connections, the core between them, and the queues to the framework.

use std::{collections::HashMap, pin::Pin, time::Duration};

use mezzo_api::{
    codec,
    v1::scheduler::{Call, Event as MasterEvent},
};
use mezzo_election::Detector;
use mezzo_sdk_core::{
    address::Address,
    scheduler::{CallError, Config, Core, Effect, Effects, Event, Outgoing, StreamId, Ticket},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, Sleep},
};
use tracing::warn;

use super::{Command, builder::Settings};
use crate::{
    clock::{Clock, seed},
    wire::{Body, Calls, Done, EventStream, Item, Peer, Requests},
};

const PATH: &str = "/api/v1/scheduler";
/// With so many events that the framework has not taken, no more are read from the master.
const MAX_OUTBOX: usize = 10_000;
/// Commands that are handled before the connections have their turn.
const COMMANDS_AT_ONCE: usize = 256;
/// When there is nothing to wait for.
const FAR: Duration = Duration::from_secs(24 * 3600);

impl Body for Outgoing {
    type Message = Call;

    fn message(&self) -> &Call {
        &self.call
    }
}

pub(super) struct Driver {
    core: Core,
    clock: Clock,
    settings: Settings,
    /// Where ZooKeeper tells who leads.
    detector: Option<Detector>,
    effects: Effects,
    stream: Option<(StreamId, Peer, EventStream)>,
    calls: Option<(StreamId, Calls<Outgoing>)>,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Vec<Event>>,
    outbox: Vec<Event>,
    waiting: HashMap<Ticket, oneshot::Sender<Result<(), CallError>>>,
    last_ticket: u64,
}

/// What woke the driver.
enum Woken {
    Calls,
    Stream,
    Commands(usize),
    Leader(Option<Address>),
    Delivered,
    FrameworkGone,
    Timer,
}

impl Driver {
    pub(super) fn new(
        config: Config,
        settings: Settings,
        detector: Option<Detector>,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Vec<Event>>,
    ) -> Self {
        Self {
            core: Core::new(config, seed()),
            clock: Clock::start(),
            settings,
            detector,
            effects: Vec::new(),
            stream: None,
            calls: None,
            commands,
            events,
            outbox: Vec::new(),
            waiting: HashMap::new(),
            last_ticket: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let mut timer = Box::pin(tokio::time::sleep(FAR));
        let (mut items, mut done, mut commands) = (Vec::new(), Vec::new(), Vec::new());
        self.core.start(self.clock.now(), &mut self.effects);
        loop {
            self.carry_out();
            if self.core.ended() && self.outbox.is_empty() {
                return;
            }
            self.set_timer(&mut timer);
            match self.wait(timer.as_mut(), &mut items, &mut done, &mut commands).await {
                Woken::Calls => self.calls_done(&mut done),
                Woken::Stream => self.stream_came(&mut items),
                Woken::Commands(0) => return, // nobody can make calls or read events any more
                Woken::Commands(_) => {}
                Woken::Leader(leader) => self.core.detected(self.clock.now(), leader, &mut self.effects),
                Woken::Delivered => {}
                Woken::FrameworkGone => self.outbox.clear(),
                Woken::Timer => {
                    let now = self.clock.now();
                    if self.blocked() {
                        self.core.heard(now); // it was not listening
                    }
                    self.core.tick(now, &mut self.effects);
                }
            }
            while commands.len() < COMMANDS_AT_ONCE
                && let Ok(command) = self.commands.try_recv()
            {
                commands.push(command);
            }
            self.commanded(&mut commands);
        }
    }

    async fn wait(
        &mut self,
        timer: Pin<&mut Sleep>,
        items: &mut Vec<Item>,
        done: &mut Vec<Done<Outgoing>>,
        commands: &mut Vec<Command>,
    ) -> Woken {
        let blocked = self.blocked();
        let (deliver, gone) = (!self.outbox.is_empty(), self.events.is_closed());
        tokio::select! {
            biased;
            () = progress(&mut self.calls, done) => Woken::Calls,
            () = read(&mut self.stream, items), if !blocked => Woken::Stream,
            count = self.commands.recv_many(commands, COMMANDS_AT_ONCE) => Woken::Commands(count),
            leader = detected(&mut self.detector) => Woken::Leader(leader),
            permit = self.events.reserve(), if deliver && !gone => match permit {
                Ok(permit) => {
                    permit.send(std::mem::take(&mut self.outbox));
                    Woken::Delivered
                }
                Err(_) => Woken::FrameworkGone,
            },
            () = std::future::ready(()), if deliver && gone => Woken::FrameworkGone,
            () = timer => Woken::Timer,
        }
    }

    fn blocked(&self) -> bool {
        self.outbox.len() >= MAX_OUTBOX
    }

    /// Set for the deadline, unless it is set for an earlier moment already: deadlines move with every event, and an
    /// early tick is harmless.
    fn set_timer(&self, timer: &mut Pin<Box<Sleep>>) {
        let deadline = self.core.deadline().map_or_else(|| Instant::now() + FAR, |mono| self.clock.instant(mono));
        if deadline < timer.deadline() || timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
    }

    fn stream_came(&mut self, items: &mut Vec<Item>) {
        let Some((id, ..)) = self.stream else { return items.clear() };
        let now = self.clock.now();
        for item in items.drain(..) {
            match item {
                Item::Head(answer) => {
                    if answer.status == 200 {
                        self.open_calls(id, answer.mesos_stream_id.as_deref().unwrap_or_default());
                    }
                    self.core.head(now, id, &answer, &mut self.effects);
                }
                Item::Record(encoding, record) => match codec::decode::<MasterEvent>(encoding, &record) {
                    Ok(event) => self.core.event(now, id, event, &mut self.effects),
                    Err(error) => warn!(%error, "an event that cannot be read is passed over"),
                },
                Item::Closed(reason) => self.core.closed(now, id, reason, &mut self.effects),
            }
        }
    }

    fn calls_done(&mut self, done: &mut Vec<Done<Outgoing>>) {
        let Some((id, _)) = self.calls else { return done.clear() };
        let now = self.clock.now();
        for done in done.drain(..) {
            match done {
                Done::Answered(call, answer) => self.core.answered(now, id, call, &answer, &mut self.effects),
                Done::Lost { calls, reachable } => {
                    self.core.calls_lost(now, id, calls, reachable, &mut self.effects);
                }
            }
        }
    }

    fn commanded(&mut self, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        let now = self.clock.now();
        for command in commands.drain(..) {
            match command {
                Command::Call(call, answer) => {
                    let ticket = answer.map(|answer| {
                        self.last_ticket += 1;
                        let ticket = Ticket(self.last_ticket);
                        self.waiting.insert(ticket, answer);
                        ticket
                    });
                    self.core.call(now, *call, ticket, &mut self.effects);
                }
                Command::Handled(calls) => self.core.handled(now, calls, &mut self.effects),
            }
        }
    }

    /// Carries out what the core asks for, and what it asks for because of that.
    fn carry_out(&mut self) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                match effect {
                    Effect::Open { stream, master, call } => self.open(stream, master, &call),
                    Effect::Close(stream) => self.close(stream),
                    Effect::Send(stream, outgoing) => self.send(stream, outgoing),
                    Effect::Deliver(event) => self.outbox.push(event),
                    Effect::Settle(ticket, result) => {
                        if let Some(answer) = self.waiting.remove(&ticket) {
                            let _ = answer.send(result); // nobody waits any more
                        }
                    }
                }
            }
        }
    }

    fn open(&mut self, id: StreamId, master: Address, subscribe: &Call) {
        let peer = self.peer(master);
        let requests = self.requests(&peer);
        let stream = EventStream::open(peer.clone(), &requests, subscribe, self.settings.max_event_bytes);
        self.stream = Some((id, peer, stream));
    }

    fn peer(&self, master: Address) -> Peer {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.settings.tls {
            return Peer::Tls(master, tls.clone());
        }
        Peer::Tcp(master)
    }

    /// Calls carry the id of the subscription that they belong to.
    fn open_calls(&mut self, id: StreamId, mesos_stream_id: &str) {
        if let Some((_, peer, _)) = &self.stream {
            let requests = self.requests(peer).with("Mesos-Stream-Id", mesos_stream_id);
            self.calls = Some((id, Calls::new(peer.clone(), requests, self.settings.pipelining)));
        }
    }

    fn requests(&self, peer: &Peer) -> Requests {
        Requests::new(peer, PATH, self.settings.encoding, self.settings.authorization.as_deref())
    }

    fn send(&mut self, id: StreamId, outgoing: Outgoing) {
        match &mut self.calls {
            Some((current, calls)) if *current == id => calls.push(outgoing),
            _ => self.core.calls_lost(self.clock.now(), id, vec![outgoing], true, &mut self.effects),
        }
    }

    fn close(&mut self, id: StreamId) {
        if self.stream.as_ref().is_some_and(|(current, ..)| *current == id) {
            self.stream = None;
        }
        if let Some((current, calls)) = self.calls.take_if(|(current, _)| *current == id) {
            let lost = calls.into_unanswered();
            if !lost.is_empty() {
                self.core.calls_lost(self.clock.now(), current, lost, true, &mut self.effects);
            }
        }
    }
}

async fn detected(detector: &mut Option<Detector>) -> Option<Address> {
    match detector {
        Some(detector) => {
            let (host, port) = mezzo_election::address_of(&detector.changed().await?);
            Some(Address { host, port })
        }
        None => std::future::pending().await,
    }
}

async fn progress(calls: &mut Option<(StreamId, Calls<Outgoing>)>, done: &mut Vec<Done<Outgoing>>) {
    match calls {
        Some((_, calls)) => calls.progress(done).await,
        None => std::future::pending().await,
    }
}

async fn read(stream: &mut Option<(StreamId, Peer, EventStream)>, items: &mut Vec<Item>) {
    match stream {
        Some((_, _, stream)) => stream.read(items).await,
        None => std::future::pending().await,
    }
}
