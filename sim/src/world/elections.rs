//! Who leads, where an election decides it: the masters' cores begin and end as their contenders say, and do nothing
//! without a valid lease (master/src/server.rs).

use std::time::Duration;

use super::{Event, World};
use crate::{
    election::{self, Embedded},
    fact::{End, Fact},
    ids::{Host, ProcessId},
    time::Moment,
};

/// How soon a master that may not act looks again.
const LOOK: Duration = Duration::from_millis(10);
/// So long after all faults one leads for good, and the election need not be looked at any more.
const CALM: Duration = Duration::from_secs(120);

impl World {
    /// Everything up to now happens among contenders and servers; the cores follow.
    pub(super) fn hold_election(&mut self) {
        let now = self.now.elapsed();
        let Some(elections) = self.elections.as_mut() else { return };
        let broken = elections.advance(now).err();
        let next = elections.next_at();
        if let Some((invariant, detail)) = broken {
            self.note(Fact::ElectionBroken(invariant, detail));
        }
        self.follow_election();
        let over = self.healed && self.now > Moment::after(self.plan.troubled) + CALM && self.masters.len() == 1;
        if over && self.leader.is_some() {
            self.elections = None;
        } else if let Some(next) = next {
            self.queue.push(Moment::after(next), Event::Election);
        }
    }

    fn follow_election(&mut self) {
        for number in 0..Embedded::MASTERS {
            let Some(standing) = self.elections.as_ref().map(|elections| elections.standing(number)) else { return };
            let host = Host::Master(u8::try_from(number).unwrap_or_default());
            let running = self.masters.iter().find(|(_, master)| master.host == host);
            let running = running.map(|(process, master)| (*process, master.term));
            if running.map(|(_, term)| term) == standing.leading {
                continue;
            }
            if let Some((process, _)) = running {
                let how = if standing.up { End::Exited("it leads no more".to_owned()) } else { End::Killed };
                self.end_master(process, how);
            }
            if let Some(term) = standing.leading {
                self.start_master(host, Some(term));
            }
        }
    }

    /// Something goes wrong in the election, for so long.
    pub(super) fn trouble_election(&mut self, fault: election::Fault, time: Duration) {
        let now = self.now.elapsed();
        let Some(elections) = self.elections.as_mut() else { return };
        if let election::Fault::Freeze(master) = fault {
            let host = Host::Master(u8::try_from(master).unwrap_or_default());
            let until = self.frozen.get(&host).map_or(self.now + time, |until| (*until).max(self.now + time));
            self.frozen.insert(host, until);
        }
        if let Err((invariant, detail)) = elections.begin(now, fault, time) {
            self.note(Fact::ElectionBroken(invariant, detail));
        }
        self.follow_election();
    }

    /// The leader's number, where there are elections.
    pub(super) fn elected(&self) -> Option<usize> {
        self.elections.as_ref().and_then(|elections| elections.leader())
    }

    /// When a program on this machine goes on, if it stands still or may not act at the moment.
    pub(super) fn held_until(&self, host: Host) -> Option<Moment> {
        let frozen = self.frozen.get(&host).copied().filter(|until| *until > self.now);
        frozen.or_else(|| (!self.has_lease(host)).then(|| self.now + LOOK))
    }

    /// Whether a master on this machine may act: one that does not lead has nothing to act for.
    fn has_lease(&self, host: Host) -> bool {
        let (Host::Master(number), Some(elections)) = (host, &self.elections) else { return true };
        let standing = elections.standing(usize::from(number));
        standing.leading.is_none() || self.now.elapsed() < standing.lease || mezzo_api::mutant!("lease-ignored")
    }

    /// When the master goes on, if it stands still or may not act at the moment.
    pub(super) fn master_held_until(&self, process: ProcessId) -> Option<Moment> {
        self.masters.get(&process).and_then(|master| self.held_until(master.host))
    }
}
