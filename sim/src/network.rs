//! Connections between processes: in order within one, in any order among several; slow, cut, half open, silently dead.
//!
//! What TCP does is modelled as far as a program can tell: bytes that were sent before an orderly close arrive before
//! it; while a path is cut, nothing arrives and nobody is told until the sender's kernel gives up; who sends to a
//! closed end is told by a reset.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

pub use crate::packet::{Incoming, Opening, Packet};
use crate::{
    ids::{Host, ProcessId, Service},
    queue::Queue,
    random::Random,
    time::Moment,
    world::Event,
};

/// A connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId(pub u64);

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opened it.
    Dialer,
    /// Who listened.
    Listener,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Listener,
            Self::Listener => Self::Dialer,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Dialer => 0,
            Self::Listener => 1,
        }
    }
}

/// Something for a process.
#[derive(Debug)]
pub struct Delivery {
    /// For whom.
    pub process: ProcessId,
    /// On which connection.
    pub conn: ConnId,
    /// At which end.
    pub side: Side,
    /// What.
    pub what: Incoming,
}

/// The sender's buffer is full: its reader is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

#[derive(Debug)]
struct End {
    host: Host,
    process: Option<ProcessId>,
    open: bool,
}

#[derive(Debug, Default)]
struct Direction {
    waiting: VecDeque<(Moment, Packet)>,
    last_arrival: Moment,
    /// An event that will look at the queue is planned.
    planned: bool,
    /// The sender's kernel will give up, unless something arrives.
    giving_up: Option<u64>,
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    /// By receiving side.
    to: [Direction; 2],
    service: Service,
    /// The listener has taken it.
    stood: bool,
    /// Everything vanishes: a router has forgotten the connection.
    dead: bool,
    /// When something last went through.
    used: Moment,
}

/// How long a dialer waits.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets that a sender's buffer holds.
const BUFFER: usize = 256;

/// All connections.
#[derive(Debug)]
pub struct Network {
    random: Random,
    connections: BTreeMap<ConnId, Connection>,
    next: u64,
    next_epoch: u64,
    listening: BTreeMap<(Host, Service), ProcessId>,
    /// Nothing gets from the one to the other.
    cuts: BTreeMap<(Host, Host), u32>,
    /// Added to every way from or to the host.
    lag: BTreeMap<Host, Duration>,
    down: BTreeSet<Host>,
    /// These read one packet in this time.
    slow: BTreeMap<Host, Duration>,
    /// What these are behind forgets connections that are idle for so long.
    idle_limits: BTreeMap<Host, Duration>,
}

impl Network {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "network"),
            connections: BTreeMap::new(),
            next: 0,
            next_epoch: 0,
            listening: BTreeMap::new(),
            cuts: BTreeMap::new(),
            lag: BTreeMap::new(),
            down: BTreeSet::new(),
            slow: BTreeMap::new(),
            idle_limits: BTreeMap::new(),
        }
    }

    /// The process takes connections to this service of its host.
    pub fn listen(&mut self, host: Host, service: Service, process: ProcessId) {
        self.listening.insert((host, service), process);
    }

    /// Opens a connection.
    pub fn dial(
        &mut self,
        queue: &mut Queue<Event>,
        now: Moment,
        from: (Host, ProcessId),
        to: (Host, Service),
        opening: Opening,
    ) -> ConnId {
        let conn = ConnId(self.next);
        self.next += 1;
        let ends =
            [End { host: from.0, process: Some(from.1), open: true }, End { host: to.0, process: None, open: true }];
        let connection =
            Connection { ends, to: Default::default(), service: to.1, stood: false, dead: false, used: now };
        self.connections.insert(conn, connection);
        self.put(queue, now, conn, Side::Listener, Packet::Open(opening));
        queue.push(now + DIAL_TIMEOUT, Event::DialTimeout(conn));
        conn
    }

    /// Sends a packet from `side`; what is sent on a closed connection is lost.
    pub fn send(
        &mut self,
        queue: &mut Queue<Event>,
        now: Moment,
        conn: ConnId,
        side: Side,
        packet: Packet,
    ) -> Result<(), Full> {
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        if !connection.ends[side.index()].open {
            return Ok(());
        }
        if connection.to[side.other().index()].waiting.len() >= BUFFER {
            return Err(Full);
        }
        self.put(queue, now, conn, side.other(), packet);
        Ok(())
    }

    /// Ends a connection after what was sent before.
    pub fn close(&mut self, queue: &mut Queue<Event>, now: Moment, conn: ConnId, side: Side) {
        self.end(queue, now, conn, side, Packet::Fin);
    }

    /// Ends a connection; what is on the way may be lost.
    pub fn abort(&mut self, queue: &mut Queue<Event>, now: Moment, conn: ConnId, side: Side) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            let waiting = &mut connection.to[side.other().index()].waiting;
            let kept = self.random.index(waiting.len() + 1);
            waiting.truncate(kept);
        }
        self.end(queue, now, conn, side, Packet::Reset);
    }

    fn end(&mut self, queue: &mut Queue<Event>, now: Moment, conn: ConnId, side: Side, packet: Packet) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let end = &mut connection.ends[side.index()];
        if !std::mem::replace(&mut end.open, false) {
            return;
        }
        connection.to[side.index()].waiting.clear();
        if connection.ends[side.other().index()].open {
            self.put(queue, now, conn, side.other(), packet);
        } else {
            self.connections.remove(&conn);
        }
    }

    /// The process is gone: its kernel closes its connections, some orderly, some not.
    pub fn process_ended(&mut self, queue: &mut Queue<Event>, now: Moment, process: ProcessId) {
        self.listening.retain(|_, listener| *listener != process);
        for (conn, side) in self.of_process(process) {
            if self.random.chance(500) {
                self.abort(queue, now, conn, side);
            } else {
                self.close(queue, now, conn, side);
            }
        }
    }

    /// The machine is off: nobody is told.
    pub fn host_down(&mut self, host: Host) {
        self.down.insert(host);
        self.listening.retain(|(listening, _), _| *listening != host);
        for connection in self.connections.values_mut() {
            for end in &mut connection.ends {
                if end.host == host {
                    end.open = false;
                }
            }
        }
        self.connections.retain(|_, connection| connection.ends.iter().any(|end| end.open));
    }

    /// The machine is on again.
    pub fn host_up(&mut self, queue: &mut Queue<Event>, now: Moment, host: Host) {
        self.down.remove(&host);
        self.look_again(queue, now);
    }

    /// Cuts the way from one host to another; cuts add up.
    pub fn cut(&mut self, from: Host, to: Host) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// Takes one cut back.
    pub fn mend(&mut self, queue: &mut Queue<Event>, now: Moment, from: Host, to: Host) {
        if let Some(count) = self.cuts.get_mut(&(from, to)) {
            *count -= 1;
            if *count == 0 {
                self.cuts.remove(&(from, to));
            }
        }
        self.look_again(queue, now);
    }

    /// Sets what is added to each way from or to a host.
    pub fn set_lag(&mut self, host: Host, lag: Option<Duration>) {
        match lag {
            Some(lag) => self.lag.insert(host, lag),
            None => self.lag.remove(&host),
        };
    }

    /// Sets how slowly the host's processes read.
    pub fn set_slow(&mut self, queue: &mut Queue<Event>, now: Moment, host: Host, pace: Option<Duration>) {
        match pace {
            Some(pace) => self.slow.insert(host, pace),
            None => self.slow.remove(&host),
        };
        self.look_again(queue, now);
    }

    /// Sets how long connections of the host may be idle.
    pub fn set_idle_limit(&mut self, host: Host, limit: Option<Duration>) {
        if let Some(limit) = limit {
            self.idle_limits.insert(host, limit);
        }
    }

    /// Breaks the connections between two hosts. `silently`: neither is told until its kernel gives up.
    pub fn break_connections(&mut self, queue: &mut Queue<Event>, now: Moment, between: [Host; 2], silently: bool) {
        let affected: Vec<ConnId> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                let hosts = [connection.ends[0].host, connection.ends[1].host];
                hosts == between || hosts == [between[1], between[0]]
            })
            .map(|(conn, _)| *conn)
            .collect();
        for conn in affected {
            if silently {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.dead = true;
                }
                continue;
            }
            for side in [Side::Dialer, Side::Listener] {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    let direction = &mut connection.to[side.index()];
                    let kept = self.random.index(direction.waiting.len() + 1);
                    direction.waiting.truncate(kept);
                }
                self.put(queue, now, conn, side, Packet::Reset);
            }
        }
    }

    /// The connection vanishes without a word.
    pub fn vanish(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.dead = true;
        }
    }

    /// Whether the end has not been closed.
    pub fn is_open(&self, conn: ConnId, side: Side) -> bool {
        self.connections.get(&conn).is_some_and(|connection| connection.ends[side.index()].open)
    }

    /// The process at the other end.
    pub fn peer(&self, conn: ConnId, side: Side) -> Option<ProcessId> {
        self.connections.get(&conn).and_then(|connection| connection.ends[side.other().index()].process)
    }

    /// The machine at this end.
    pub fn host_of(&self, conn: ConnId, side: Side) -> Option<Host> {
        self.connections.get(&conn).map(|connection| connection.ends[side.index()].host)
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    fn of_process(&self, process: ProcessId) -> Vec<(ConnId, Side)> {
        let mut found = Vec::new();
        for (conn, connection) in &self.connections {
            for side in [Side::Dialer, Side::Listener] {
                let end = &connection.ends[side.index()];
                if end.open && end.process == Some(process) {
                    found.push((*conn, side));
                }
            }
        }
        found
    }

    /// Puts a packet on its way to `side`.
    fn put(&mut self, queue: &mut Queue<Event>, now: Moment, conn: ConnId, to: Side, packet: Packet) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let hosts = [connection.ends[to.other().index()].host, connection.ends[to.index()].host];
        if !self.idle_limits.is_empty() && hosts[0] != hosts[1] {
            let idle = now - connection.used;
            connection.dead |= hosts.iter().any(|host| self.idle_limits.get(host).is_some_and(|limit| idle > *limit));
            connection.used = now;
        }
        let mut way = if hosts[0] == hosts[1] {
            self.random.duration(Duration::from_micros(20), Duration::from_micros(200))
        } else if self.random.chance(20) {
            self.random.duration(Duration::from_millis(5), Duration::from_millis(300))
        } else {
            self.random.duration(Duration::from_micros(100), Duration::from_millis(3))
        };
        if hosts[0] != hosts[1] {
            for host in hosts {
                if let Some(lag) = self.lag.get(&host) {
                    way += self.random.duration(*lag / 2, *lag);
                }
            }
        }
        let direction = &mut connection.to[to.index()];
        let arrival = (now + way).max(direction.last_arrival);
        direction.last_arrival = arrival;
        direction.waiting.push_back((arrival, packet));
        if !std::mem::replace(&mut direction.planned, true) {
            queue.push(arrival, Event::Arrive(conn, to));
        }
    }

    /// Whether nothing gets through to this side at the moment.
    fn stalled(&self, connection: &Connection, to: Side) -> bool {
        let from = connection.ends[to.other().index()].host;
        let host = connection.ends[to.index()].host;
        connection.dead
            || self.cuts.contains_key(&(from, host))
            || self.down.contains(&host)
            || self.down.contains(&from)
    }

    /// Something has arrived, or a process is to look again.
    pub fn arrive(&mut self, queue: &mut Queue<Event>, now: Moment, conn: ConnId, to: Side) -> Option<Delivery> {
        let connection = self.connections.get_mut(&conn)?;
        connection.to[to.index()].planned = false;
        let connection = self.connections.get(&conn)?;
        if self.stalled(connection, to) {
            self.give_up_later(queue, now, conn, to.other());
            return None;
        }
        let pace = self.slow.get(&connection.ends[to.index()].host).copied();
        let connection = self.connections.get_mut(&conn)?;
        let direction = &mut connection.to[to.index()];
        direction.giving_up = None;
        let (arrival, _) = direction.waiting.front()?;
        if *arrival > now {
            direction.planned = true;
            queue.push(*arrival, Event::Arrive(conn, to));
            return None;
        }
        let (_, packet) = direction.waiting.pop_front()?;
        if let Some((next, _)) = direction.waiting.front() {
            direction.planned = true;
            let next = pace.map_or(now, |pace| now + pace).max(*next);
            queue.push(next, Event::Arrive(conn, to));
        }
        self.take(queue, now, conn, to, packet)
    }

    fn take(
        &mut self,
        queue: &mut Queue<Event>,
        now: Moment,
        conn: ConnId,
        to: Side,
        packet: Packet,
    ) -> Option<Delivery> {
        let connection = self.connections.get_mut(&conn)?;
        let end = &mut connection.ends[to.index()];
        if !end.open {
            if matches!(packet, Packet::Fin | Packet::Reset) {
                self.connections.remove(&conn);
            } else {
                self.put(queue, now, conn, to.other(), Packet::Reset);
            }
            return None;
        }
        let what = match packet {
            Packet::Open(opening) => {
                let Some(listener) = self.listening.get(&(end.host, connection.service)) else {
                    end.open = false;
                    self.put(queue, now, conn, to.other(), Packet::Reset);
                    return None;
                };
                end.process = Some(*listener);
                Incoming::Opened(opening)
            }
            Packet::Fin | Packet::Reset => {
                end.open = false;
                let delivery = end.process.map(|process| Delivery {
                    process,
                    conn,
                    side: to,
                    what: Incoming::Closed { stood: connection.stood },
                });
                // If the other end still thinks it open, it learns when it says something.
                if !connection.ends[to.other().index()].open {
                    self.connections.remove(&conn);
                }
                return delivery;
            }
            packet => {
                connection.stood |= to == Side::Dialer;
                Incoming::Packet(packet)
            }
        };
        let process = connection.ends[to.index()].process?;
        Some(Delivery { process, conn, side: to, what })
    }

    fn give_up_later(&mut self, queue: &mut Queue<Event>, now: Moment, conn: ConnId, sender: Side) {
        let patience = self.random.duration(Duration::from_secs(20), Duration::from_secs(900));
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let direction = &mut connection.to[sender.other().index()];
        if direction.giving_up.is_none() {
            self.next_epoch += 1;
            direction.giving_up = Some(self.next_epoch);
            queue.push(now + patience, Event::GiveUp(conn, sender, self.next_epoch));
        }
    }

    /// The sender's kernel has tried for long enough, unless something got through meanwhile.
    pub fn give_up(&mut self, conn: ConnId, sender: Side, epoch: u64) -> Option<Delivery> {
        let connection = self.connections.get_mut(&conn)?;
        if connection.to[sender.other().index()].giving_up != Some(epoch) {
            return None;
        }
        self.tell_closed(conn, sender)
    }

    /// A dialer has waited for long enough, unless it was answered.
    pub fn dial_timeout(&mut self, conn: ConnId) -> Option<Delivery> {
        let connection = self.connections.get(&conn)?;
        if connection.stood {
            return None;
        }
        self.tell_closed(conn, Side::Dialer)
    }

    /// One end learns that the connection is dead; the other one does not.
    fn tell_closed(&mut self, conn: ConnId, side: Side) -> Option<Delivery> {
        let connection = self.connections.get_mut(&conn)?;
        let end = &mut connection.ends[side.index()];
        if !std::mem::replace(&mut end.open, false) {
            return None;
        }
        let delivery = end.process.map(|process| Delivery {
            process,
            conn,
            side,
            what: Incoming::Closed { stood: connection.stood },
        });
        connection.to[side.other().index()].waiting.clear();
        if !connection.ends[side.other().index()].open {
            self.connections.remove(&conn);
        }
        delivery
    }

    /// Every queue is looked at again: what held it up may be gone.
    fn look_again(&mut self, queue: &mut Queue<Event>, now: Moment) {
        for (conn, connection) in &mut self.connections {
            for side in [Side::Dialer, Side::Listener] {
                let direction = &mut connection.to[side.index()];
                if !direction.waiting.is_empty() && !direction.planned {
                    direction.planned = true;
                    queue.push(now, Event::Arrive(*conn, side));
                }
            }
        }
    }

    /// All faults of the network are over. Connections that are dead stay so: whoever holds one finds out.
    pub fn heal(&mut self, queue: &mut Queue<Event>, now: Moment) {
        self.cuts.clear();
        self.lag.clear();
        self.slow.clear();
        self.look_again(queue, now);
    }
}
