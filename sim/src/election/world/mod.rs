//! Masters and servers, and everything between them.

mod faults;
mod wire;

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use mezzo_api::v1::MasterInfo;
use mezzo_election_core::{
    Config, Contender, Effect, Effects, Ended, Joined,
    challenge::{Deposed, Made, Verdict},
    encode, fixed,
};

use super::{
    client::{Client, Op, Told},
    ensemble::{Ensemble, Outcome, Write},
    fault::{Fault, MASTERS, Planned, SERVERS, Wall},
    invariants::Watcher,
};
use crate::random::Random;

/// Sessions of the masters.
pub(super) const SESSION: Duration = Duration::from_secs(6);
const PROBE: Duration = Duration::from_millis(100);
/// A follower that has lost its leader answers for so long.
const SYNC_LIMIT: Duration = Duration::from_secs(2);
/// At most so long after it came to a server, a sign of life comes to the leading one.
const TOUCH: Duration = Duration::from_millis(250);
/// Acting leaders write so often, of a thousand times.
const WRITES: u32 = 50;

/// A master's process, or where it would be.
pub(super) struct Master {
    /// Its process runs.
    pub(super) up: bool,
    /// It stands still.
    pub(super) frozen: bool,
    /// The real thing.
    pub(super) contender: Contender,
    pub(super) client: Client,
    /// Until when it may act.
    pub(super) lease: Duration,
    /// Its znode and term while it leads.
    pub(super) leading: Option<(String, u64)>,
    /// What it tells who asks.
    id: String,
    probing: Option<(String, MasterInfo)>,
    probed_at: Duration,
    former: Vec<String>,
    /// What came while it stood still.
    inbox: Vec<Told>,
}

enum Event {
    Poll(usize, u64),
    Arrive { master: usize, epoch: u64, server: usize, number: u64, op: Op },
    Respond { master: usize, epoch: u64, told: Told, number: u64 },
    Touch(usize, super::ensemble::SessionId),
    Servers,
    Begin(usize),
    End(usize),
}

/// The whole.
pub(super) struct World {
    now: Duration,
    random: Random,
    queue: BTreeMap<(Duration, u64), Event>,
    next_event: u64,
    /// The masters.
    pub(super) masters: Vec<Master>,
    /// How often each was started.
    lives: Vec<u64>,
    ensemble: Ensemble,
    /// Who leads the servers, and since when the others may.
    zk_leader: Option<usize>,
    electing_until: Duration,
    unlinked_since: Vec<Option<Duration>>,
    stale: Vec<Option<(Duration, Duration)>>,
    faults: Vec<Planned>,
    active: Vec<bool>,
    pub(super) watcher: Watcher,
}

impl World {
    /// All start within the first second.
    pub(super) fn new(seed: u64, faults: Vec<Planned>) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            random: Random::new(seed, "election"),
            queue: BTreeMap::new(),
            next_event: 0,
            masters: Vec::new(),
            lives: vec![0; MASTERS],
            ensemble: Ensemble::new(SERVERS, SESSION),
            zk_leader: Some(0),
            electing_until: Duration::ZERO,
            unlinked_since: vec![None; SERVERS],
            stale: vec![None; SERVERS],
            active: vec![false; faults.len()],
            faults,
            watcher: Watcher::default(),
        };
        for number in 0..MASTERS {
            let master = world.born(number, Vec::new());
            world.masters.push(master);
            world.poll_later(number);
        }
        world.at(Duration::ZERO, Event::Servers);
        for place in 0..world.faults.len() {
            let (begin, end) = (world.faults[place].at, world.faults[place].until);
            world.at(begin, Event::Begin(place));
            world.at(end, Event::End(place));
        }
        world
    }

    /// The next event before `end`.
    pub(super) fn step(&mut self, end: Duration) -> Result<bool, (&'static str, String)> {
        let Some(entry) = self.queue.first_entry() else { return Ok(false) };
        let at = entry.key().0;
        if at > end {
            return Ok(false);
        }
        self.now = at;
        match entry.remove() {
            Event::Poll(master, life) if self.lives[master] == life => self.poll(master)?,
            Event::Poll(..) => {}
            Event::Arrive { master, epoch, server, number, op } => self.arrive(master, epoch, server, number, &op)?,
            Event::Respond { master, epoch, told, number } => self.respond(master, epoch, told, number)?,
            Event::Touch(server, session) => {
                if self.is_linked(server) {
                    self.ensemble.touch(self.now, session);
                }
            }
            Event::Servers => self.servers(),
            Event::Begin(place) => self.begin(place)?,
            Event::End(place) => self.end(place),
        }
        Ok(true)
    }

    /// When something happens next.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    /// Something goes wrong now, until then.
    pub(super) fn inject(&mut self, fault: Fault, until: Duration) -> Result<(), (&'static str, String)> {
        let place = self.faults.len();
        self.faults.push(Planned { at: self.now, until, fault });
        self.active.push(false);
        self.begin(place)?;
        self.at(until, Event::End(place));
        Ok(())
    }

    /// All faults are over.
    pub(super) fn heal(&mut self) {
        for place in 0..self.faults.len() {
            if self.active[place] && !matches!(self.faults[place].fault, Fault::Freeze(_)) {
                self.end(place);
            }
        }
    }

    /// The present moment.
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.next_event += 1;
        self.queue.insert((at.max(self.now), self.next_event), event);
    }

    fn poll_later(&mut self, master: usize) {
        let wait = self.random.duration(Duration::from_millis(5), Duration::from_millis(40));
        self.at(self.now + wait, Event::Poll(master, self.lives[master]));
    }

    fn born(&mut self, number: usize, former: Vec<String>) -> Master {
        let mut effects = Effects::new();
        let info = fixed(&format!("10.0.0.{number}"), 5050);
        let config = Config { info, former: former.clone(), challenge: true };
        let contender = Contender::new(config, self.now, &mut effects);
        Master {
            up: true,
            frozen: false,
            contender,
            client: Client::opening(self.now, self.random.index(SERVERS)),
            lease: Duration::ZERO,
            leading: None,
            id: "standby".to_owned(),
            probing: None,
            probed_at: Duration::ZERO,
            former,
            inbox: Vec::new(),
        }
    }

    /// A moment of the master's process.
    fn poll(&mut self, number: usize) -> Result<(), (&'static str, String)> {
        self.poll_later(number);
        if self.masters[number].frozen {
            return Ok(());
        }
        // After it stood still, any of its threads may be the first.
        if self.random.chance(500) {
            self.act(number)?;
        }
        for told in std::mem::take(&mut self.masters[number].inbox) {
            self.tell(number, told)?;
        }
        self.tend_client(number)?;
        if self.masters[number].contender.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.input(number, |contender, now, out| contender.tick(now, out))?;
        }
        self.probe(number)?;
        self.act(number)
    }

    /// What a leader does, if it may: anything that others notice.
    fn act(&mut self, number: usize) -> Result<(), (&'static str, String)> {
        let master = &self.masters[number];
        let Some((name, term)) = master.leading.clone().filter(|_| self.now < master.lease) else { return Ok(()) };
        self.watcher.acts(self.now, number, &name, term, master.client.is_connected())?;
        if self.random.chance(WRITES) {
            self.send(number, Op::Write(Write::Registry(name)));
        }
        Ok(())
    }

    fn probe(&mut self, number: usize) -> Result<(), (&'static str, String)> {
        let Some((name, info)) = self.masters[number].probing.clone() else { return Ok(()) };
        if self.now < self.masters[number].probed_at + PROBE {
            return Ok(());
        }
        self.masters[number].probed_at = self.now;
        let target = (0..MASTERS).find(|other| info.hostname() == format!("10.0.0.{other}")).unwrap_or(number);
        let wall = |wall: Wall| self.is_active(|fault| *fault == Fault::Between(number, target, wall));
        let other = &self.masters[target];
        let verdict = match () {
            () if wall(Wall::Drop) => Verdict::Unknown,
            () if wall(Wall::Reject) || !other.up => Verdict::Gone,
            () if other.frozen => Verdict::Unknown,
            () if other.id == info.id => Verdict::Alive,
            () => Verdict::Gone,
        };
        self.input(number, |contender, now, out| contender.probed(now, &name, verdict, out))
    }

    fn input(
        &mut self,
        number: usize,
        input: impl FnOnce(&mut Contender, Duration, &mut Effects),
    ) -> Result<(), (&'static str, String)> {
        let mut effects = Effects::new();
        input(&mut self.masters[number].contender, self.now, &mut effects);
        self.masters[number].contender.check();
        for effect in effects {
            self.carry_out(number, effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, number: usize, effect: Effect) -> Result<(), (&'static str, String)> {
        let own = self.masters[number].client.own.clone();
        match effect {
            Effect::Open => {
                let server = self.random.index(SERVERS);
                let master = &mut self.masters[number];
                let epoch = master.client.epoch + 1;
                master.client = Client::opening(self.now, server);
                master.client.epoch = epoch;
            }
            Effect::Close => {
                if let Some(session) = self.masters[number].client.session {
                    self.send(number, Op::Close(session));
                }
                let master = &mut self.masters[number];
                let epoch = master.client.epoch + 1;
                master.client = Client::closed(epoch);
                (master.probing, master.id) = (None, "standby".to_owned());
            }
            Effect::Join(info) => {
                self.masters[number].former.push(info.id.clone());
                self.send(number, Op::Write(Write::Join(Rc::new(encode(&info)))));
            }
            Effect::Watch => self.masters[number].client.watch(),
            Effect::Read(name) => self.send(number, Op::Read(name)),
            Effect::Remove(name) => self.send(number, Op::Write(Write::Remove(name))),
            Effect::Challenge(name) => self.send(number, Op::Write(Write::Challenge(name))),
            Effect::Answer => self.send(number, Op::Write(Write::Answer)),
            Effect::Begin | Effect::Confirm | Effect::Depose(_) => {
                if let Some(Joined { name, .. }) = own {
                    let op = match effect {
                        Effect::Begin => Op::Write(Write::Begin(name)),
                        Effect::Depose(leader) => Op::Write(Write::Depose(name, leader)),
                        _ => Op::Confirm { own: name, asked: self.now },
                    };
                    self.send(number, op);
                }
            }
            Effect::Probe { name, info } => self.masters[number].probing = Some((name, *info)),
            Effect::StopProbing => self.masters[number].probing = None,
            Effect::Lead { name, term, id } => {
                let others = self.masters.iter().enumerate().filter(|(other, master)| {
                    *other != number
                        && master.up
                        && !master.frozen
                        && master.inbox.is_empty()
                        && master.contender.leads()
                });
                let others: Vec<_> =
                    others.filter_map(|(other, master)| Some((other, master.leading.clone()?.0))).collect();
                self.watcher.leads(self.now, number, term, &others)?;
                let master = &mut self.masters[number];
                (master.leading, master.id, master.lease) = (Some((name, term)), id, Duration::ZERO);
            }
            Effect::Lease { until } => self.masters[number].lease = until,
            Effect::StepDown(_) => {
                let master = &mut self.masters[number];
                (master.leading, master.lease) = (None, Duration::ZERO);
            }
            Effect::Follow(_) => {}
        }
        Ok(())
    }

    fn tell(&mut self, number: usize, told: Told) -> Result<(), (&'static str, String)> {
        let now = self.now;
        if !matches!(told, Told::Lost | Told::Expired) {
            self.masters[number].client.last_received = now;
        }
        match told {
            Told::Pong => Ok(()),
            Told::Lost => self.disconnected(number),
            Told::Expired => self.expired(number),
            Told::Opened(session) => {
                self.masters[number].client.opened(session);
                let id = self.random.uuid().to_string();
                self.input(number, |contender, now, out| contender.opened(now, SESSION, id, out))
            }
            Told::Connected => {
                let waiting = self.masters[number].client.connected();
                self.input(number, |contender, now, out| contender.connection(now, true, out))?;
                waiting.into_iter().for_each(|question| self.dispatch(number, question));
                Ok(())
            }
            Told::Children(children, challenge, changes) => {
                let (new, against) = self.masters[number].client.sees(&children, challenge, changes);
                if new {
                    self.input(number, |contender, now, out| contender.children(now, &children, out))?;
                }
                match against {
                    Some(against) => {
                        self.input(number, |contender, now, out| contender.challenge_seen(now, &against, out))
                    }
                    None => Ok(()),
                }
            }
            Told::Read(name, data) => self.input(number, |contender, now, out| {
                contender.read(now, &name, data.as_ref().map(|data| data.as_slice()), out);
            }),
            Told::Confirmed { asked, present } => {
                self.input(number, |contender, now, out| contender.confirmed(now, asked, present, out))
            }
            Told::Wrote(write, outcome) => self.wrote(number, &write, outcome),
        }
    }

    fn wrote(&mut self, number: usize, write: &Write, outcome: Outcome) -> Result<(), (&'static str, String)> {
        let done = outcome == Outcome::Done;
        match (write, outcome) {
            (Write::Join(_), Outcome::Joined(name, czxid)) => {
                let joined = Joined { name, czxid };
                self.masters[number].client.own = Some(joined.clone());
                self.input(number, |contender, now, out| contender.joined(now, Some(joined), out))
            }
            (Write::Begin(_), Outcome::Begun(term)) => {
                self.input(number, |contender, now, out| contender.begun(now, Some(term), out))
            }
            (Write::Begin(_), _) => self.input(number, |contender, now, out| contender.begun(now, None, out)),
            (Write::Challenge(_), _) => {
                let made = if done { Made::Standing } else { Made::No };
                self.input(number, |contender, now, out| contender.challenged(now, made, out))
            }
            (Write::Depose(..), _) => {
                let deposed = if done { Deposed::Yes } else { Deposed::No };
                self.input(number, |contender, now, out| contender.deposed(now, deposed, out))
            }
            _ => Ok(()),
        }
    }

    /// What was asked and not answered comes to nothing that is known.
    fn disconnected(&mut self, number: usize) -> Result<(), (&'static str, String)> {
        let (was, unanswered) = self.masters[number].client.disconnected(self.now, SERVERS);
        if was {
            self.input(number, |contender, now, out| contender.connection(now, false, out))?;
        }
        for op in unanswered {
            match op {
                Op::Write(Write::Join(_)) => {
                    self.input(number, |contender, now, out| contender.joined(now, None, out))?
                }
                Op::Write(Write::Begin(_)) => {
                    self.input(number, |contender, now, out| contender.begun(now, None, out))?
                }
                Op::Write(Write::Challenge(_)) => {
                    self.input(number, |contender, now, out| contender.challenged(now, Made::No, out))?;
                }
                Op::Write(Write::Depose(..)) => {
                    self.input(number, |contender, now, out| contender.deposed(now, Deposed::Unknown, out))?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn expired(&mut self, number: usize) -> Result<(), (&'static str, String)> {
        let master = &mut self.masters[number];
        let ended = if master.client.session.is_some() { Ended::Expired } else { Ended::Unreachable };
        let epoch = master.client.epoch + 1;
        master.client = Client::closed(epoch);
        self.input(number, |contender, now, out| contender.ended(now, ended, out))
    }

    /// Pings, reconnects, and gives up, as the client library does.
    fn tend_client(&mut self, number: usize) -> Result<(), (&'static str, String)> {
        let changes = self.ensemble.servers[self.masters[number].client.server].tree.changes;
        match self.masters[number].client.due(self.now, SESSION, changes) {
            super::client::Due::Nothing => Ok(()),
            super::client::Due::Ask(ops) => {
                ops.into_iter().for_each(|op| self.send(number, op));
                Ok(())
            }
            super::client::Due::Reconnect => {
                let question = self.masters[number].client.reconnect(self.now, SERVERS);
                self.dispatch(number, question);
                Ok(())
            }
            super::client::Due::Lost => self.disconnected(number),
            super::client::Due::Over => self.expired(number),
        }
    }
}
