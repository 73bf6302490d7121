//! Faults, and what the servers do among themselves.

use std::time::Duration;

use super::{Event, SYNC_LIMIT, World};
use crate::election::{
    ensemble::{SessionId, Write},
    fault::{Fault, MASTERS, SERVERS},
};

impl World {
    pub(super) fn is_active(&self, wanted: impl Fn(&Fault) -> bool) -> bool {
        self.faults.iter().zip(&self.active).any(|(planned, active)| *active && wanted(&planned.fault))
    }

    pub(super) fn is_cut(&self, master: usize, server: usize) -> bool {
        self.is_active(|fault| *fault == Fault::Cut(master, server))
    }

    pub(super) fn are_apart(&self, one: usize, other: usize) -> bool {
        self.is_active(
            |fault| matches!(fault, Fault::CutServers(a, b) if (*a, *b) == (one, other) || (*a, *b) == (other, one)),
        )
    }

    /// The server is the leading one or follows it.
    pub(super) fn is_linked(&self, server: usize) -> bool {
        let up = |server: usize| self.ensemble.servers[server].up;
        let Some(leader) = self.zk_leader.filter(|_| self.now >= self.electing_until) else { return false };
        up(server) && up(leader) && (server == leader || !self.are_apart(server, leader))
    }

    pub(super) fn majority(&self, leader: usize) -> bool {
        let up = |server: usize| self.ensemble.servers[server].up;
        let with = (0..SERVERS).filter(|server| up(*server) && (*server == leader || !self.are_apart(leader, *server)));
        up(leader) && with.count() * 2 > SERVERS
    }

    /// What the servers do among themselves.
    pub(super) fn servers(&mut self) {
        self.at(self.now + Duration::from_millis(50), Event::Servers);
        if self.zk_leader.is_none_or(|leader| !self.majority(leader)) {
            self.zk_leader = (0..SERVERS).find(|server| self.majority(*server));
            let takes = self.random.duration(Duration::from_millis(500), Duration::from_secs(2));
            self.electing_until = self.now + takes;
            self.ensemble.renew(self.now + takes);
        }
        for server in 0..SERVERS {
            let linked = self.is_linked(server);
            let since = &mut self.unlinked_since[server];
            *since = if linked { None } else { since.or(Some(self.now)) };
            let grace = since.is_none_or(|since| self.now < since + SYNC_LIMIT);
            self.ensemble.servers[server].serves = self.ensemble.servers[server].up && grace;
            let due = self.stale[server].is_none_or(|(_, next)| next <= self.now);
            if linked && due {
                self.ensemble.catch_up(server);
                if let Some((lag, next)) = &mut self.stale[server] {
                    *next = self.now + *lag;
                }
            }
        }
        if self.zk_leader.is_some() && self.now >= self.electing_until {
            self.ensemble.expire(self.now);
        }
        for number in 0..MASTERS {
            let reaches = self.reaches(number);
            self.watcher.reach(self.now, number, reaches, self.masters[number].frozen);
        }
    }

    /// Whether the master's session goes well.
    pub(super) fn reaches(&self, number: usize) -> bool {
        let client = &self.masters[number].client;
        let server = client.server;
        client.is_connected() && !self.is_cut(number, server) && self.is_linked(server) && self.stale[server].is_none()
    }

    pub(super) fn begin(&mut self, place: usize) -> Result<(), (&'static str, String)> {
        self.active[place] = true;
        match self.faults[place].fault.clone() {
            Fault::Kill(master) => self.kill(master),
            Fault::Freeze(master) => self.masters[master].frozen = true,
            Fault::Stop(master) if self.masters[master].up && !self.masters[master].frozen => {
                self.input(master, |contender, now, out| contender.stop(now, out))?;
                self.kill(master);
            }
            Fault::KillServer(server) => self.ensemble.servers[server].up = false,
            Fault::Stale(server, lag) => self.stale[server] = Some((lag, self.now + lag)),
            Fault::RemoveLeader => {
                if let Some(first) = self.ensemble.latest.candidates.keys().next().cloned()
                    && let Some(server) = (0..SERVERS).find(|server| self.is_linked(*server))
                {
                    self.watcher.removed_by_hand(self.now, &first);
                    let nobody = SessionId(0);
                    self.ensemble.write(self.now, server, nobody, &Write::Remove(first));
                }
            }
            Fault::Stop(_) | Fault::Between(..) | Fault::Cut(..) | Fault::CutServers(..) => {}
        }
        Ok(())
    }

    pub(super) fn end(&mut self, place: usize) {
        self.active[place] = false;
        match self.faults[place].fault.clone() {
            Fault::Kill(master) | Fault::Stop(master) => {
                let still = self.is_active(|fault| *fault == Fault::Kill(master) || *fault == Fault::Stop(master));
                if !self.masters[master].up && !still {
                    let remembers = self.random.chance(700);
                    let former = if remembers { std::mem::take(&mut self.masters[master].former) } else { Vec::new() };
                    self.masters[master] = self.born(master, former);
                    self.poll_later(master);
                }
            }
            Fault::Freeze(master) => {
                self.masters[master].frozen = self.is_active(|fault| *fault == Fault::Freeze(master));
            }
            Fault::KillServer(server) => {
                self.ensemble.servers[server].up = !self.is_active(|fault| *fault == Fault::KillServer(server));
            }
            Fault::Stale(server, _) => {
                let still = self.is_active(|fault| matches!(fault, Fault::Stale(other, _) if *other == server));
                self.stale[server] = self.stale[server].filter(|_| still);
            }
            Fault::Between(..) | Fault::Cut(..) | Fault::CutServers(..) | Fault::RemoveLeader => {}
        }
    }

    pub(super) fn kill(&mut self, master: usize) {
        self.lives[master] += 1;
        let master = &mut self.masters[master];
        (master.up, master.leading, master.lease) = (false, None, Duration::ZERO);
        master.client.epoch += 1;
        master.inbox.clear();
    }
}
