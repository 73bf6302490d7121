//! What goes wrong in an election: a schedule drawn from the seed.

use std::time::Duration;

use crate::random::Random;

/// Masters of a run.
pub(super) const MASTERS: usize = 3;
/// ZooKeeper servers of a run.
pub(super) const SERVERS: usize = 3;

/// How nothing gets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// Silence.
    Drop,
    /// Connections are reset at once.
    Reject,
}

/// One thing that goes wrong, for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A master's process is killed.
    Kill(usize),
    /// A master stands still.
    Freeze(usize),
    /// A master's process ends as planned.
    Stop(usize),
    /// Something stands between a master and another one.
    Between(usize, usize, Wall),
    /// Nothing gets between a master and a ZooKeeper server.
    Cut(usize, usize),
    /// A ZooKeeper server is killed.
    KillServer(usize),
    /// Nothing gets between two ZooKeeper servers.
    CutServers(usize, usize),
    /// A server applies writes this much later.
    Stale(usize, Duration),
    /// Somebody removes the leader's znode.
    RemoveLeader,
}

/// A fault, its beginning and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When it begins.
    pub at: Duration,
    /// When it is over.
    pub until: Duration,
    /// What.
    pub fault: Fault,
}

/// Draws a schedule.
pub(super) fn schedule(random: &mut Random, troubled: Duration) -> Vec<Planned> {
    let count = random.within(1..=12);
    let mut planned = Vec::new();
    for _ in 0..count {
        let at = random.duration(Duration::from_secs(2), troubled);
        let until = at + random.spread(Duration::from_millis(100), Duration::from_secs(30));
        let fault = draw(random);
        if let Fault::Freeze(master) = fault
            && random.chance(500)
        {
            // For the others it looks dead: it is challenged, and cannot answer.
            let others = (0..MASTERS).filter(|other| *other != master);
            planned.extend(others.map(|other| {
                let fault = Fault::Between(other, master, Wall::Reject);
                Planned { at, until, fault }
            }));
        }
        if let Fault::Cut(master, _) = fault
            && random.chance(400)
        {
            planned.extend((0..SERVERS).map(|server| Planned { at, until, fault: Fault::Cut(master, server) }));
        }
        planned.push(Planned { at, until, fault });
    }
    planned
}

/// One fault.
pub(crate) fn draw(random: &mut Random) -> Fault {
    let (master, server) = (random.index(MASTERS), random.index(SERVERS));
    let (other_master, other_server) =
        ((master + 1 + random.index(2)) % MASTERS, (server + 1 + random.index(2)) % SERVERS);
    match random.index(14) {
        0 | 1 => Fault::Kill(master),
        2 | 3 => Fault::Freeze(master),
        4 => Fault::Stop(master),
        5..=7 => Fault::Between(master, other_master, if random.chance(700) { Wall::Reject } else { Wall::Drop }),
        8 | 9 => Fault::Cut(master, server),
        10 => Fault::KillServer(server),
        11 => Fault::CutServers(server, other_server),
        12 => Fault::Stale(server, random.spread(Duration::from_millis(100), Duration::from_secs(5))),
        _ => Fault::RemoveLeader,
    }
}
