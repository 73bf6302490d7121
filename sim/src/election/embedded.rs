//! Elections within a simulated cluster: the same masters' contenders and ZooKeeper servers, under the cluster's clock.
//! Here only is decided who leads; what a leader does, the cluster's master cores do.

use std::time::Duration;

use super::{
    fault::{Fault, MASTERS},
    world::World,
};

/// Where a master stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its process runs.
    pub up: bool,
    /// The term of its leadership, while it believes in that.
    pub leading: Option<u64>,
    /// Until when it may act, since the begin.
    pub lease: Duration,
    /// Its place was taken from it by others, by hand or by challenge: it may learn that late.
    pub taken: bool,
}

/// All masters and servers.
pub struct Embedded {
    world: World,
}

impl Embedded {
    /// Masters that start, and servers that are well.
    pub fn new(seed: u64) -> Self {
        Self { world: World::new(seed, Vec::new()) }
    }

    /// How many masters there are.
    pub const MASTERS: usize = MASTERS;

    /// When something happens next.
    pub fn next_at(&self) -> Option<Duration> {
        self.world.next_at()
    }

    /// Everything up to this moment happens.
    ///
    /// # Errors
    /// The invariant of elections that is broken, and how.
    pub fn advance(&mut self, now: Duration) -> Result<(), (&'static str, String)> {
        while self.world.step(now)? {}
        Ok(())
    }

    /// Something goes wrong now, for so long.
    ///
    /// # Errors
    /// The invariant of elections that is broken, and how.
    pub fn begin(&mut self, now: Duration, fault: Fault, time: Duration) -> Result<(), (&'static str, String)> {
        self.advance(now)?;
        self.world.inject(fault, now + time)
    }

    /// All faults are over.
    pub fn heal(&mut self) {
        self.world.heal();
    }

    /// Where a master stands.
    pub fn standing(&self, number: usize) -> Standing {
        let master = &self.world.masters[number];
        let leading = master.leading.as_ref().map(|(_, term)| *term);
        let taken = master.leading.as_ref().is_some_and(|(name, _)| self.world.watcher.was_taken(name));
        Standing { up: master.up, leading, lease: master.lease, taken }
    }

    /// Who leads.
    pub fn leader(&self) -> Option<usize> {
        (0..MASTERS).filter_map(|number| Some((self.standing(number).leading?, number))).max().map(|(_, number)| number)
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("leader", &self.leader()).finish_non_exhaustive()
    }
}
