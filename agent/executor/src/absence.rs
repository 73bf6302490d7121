//! An agent that stays away: after `--recovery_timeout` its tasks end, as executors of Mesos give up (docs of the executor
//! HTTP API of apache/mesos, "recovery timeout"). Its master has long told their frameworks that they are lost, and nobody
//! would ever end them.
//!
//! An agent that is there holds a lock on the records, whichever agent it is. The lock is looked for, never tried: an agent
//! that starts at this moment must not find it taken.

use std::{
    fs::File,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// All locks of the machine, a line for each: `1: FLOCK  ADVISORY  READ 1234 fe:00:5678 0 EOF` (proc_locks(5)).
const LOCKS: &str = "/proc/locks";

/// How often it is looked at in the time after which it counts, and how often at most and at least.
const LOOKS: u32 = 10;
const EVERY: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(60)];

/// Watches over the agent's absence.
#[derive(Debug)]
pub(crate) struct Absence {
    patience: Duration,
    /// Of the records.
    inode: u64,
    next_look: Instant,
    since: Option<Instant>,
}

impl Absence {
    /// For an agent that has these records; none where its absence cannot be seen.
    pub(crate) fn new(patience: Option<Duration>, records: &File, now: Instant) -> Option<Self> {
        let (patience, inode) = (patience?, records.metadata().ok()?.ino());
        let mut absence = Self { patience, inode, next_look: now, since: None };
        absence.next_look = now + absence.interval();
        Some(absence)
    }

    fn interval(&self) -> Duration {
        (self.patience / LOOKS).clamp(EVERY[0], EVERY[1])
    }

    /// How long until it is to be looked again.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.next_look.saturating_duration_since(now)
    }

    /// Looks, if it is time to: whether the agent has been away for too long. `events` leads to the one that began the task.
    pub(crate) fn is_over(&mut self, now: Instant, events: BorrowedFd<'_>) -> bool {
        if now >= self.next_look {
            self.next_look = now + self.interval();
            let there = !is_closed(events) || self.is_locked();
            self.since = if there { None } else { Some(self.since.unwrap_or(now)) };
        }
        self.since.is_some_and(|since| now >= since + self.patience)
    }

    /// What cannot be read tells nothing against the agent.
    fn is_locked(&self) -> bool {
        std::fs::read_to_string(LOCKS).map_or(true, |text| holds(&text, self.inode))
    }

    /// For how long it is waited.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }
}

fn is_closed(socket: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(socket, PollFlags::empty())];
    let looked = poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    looked.is_ok() && watched[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}

/// Whether anybody has a lock on this file. The device is not compared: stacked file systems show another one here.
fn holds(locks: &str, inode: u64) -> bool {
    locks.lines().any(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        // Of one who waits for a lock an arrow stands before the kind.
        let [_, "FLOCK", _, _, _, file, ..] = fields[..] else { return false };
        file.rsplit(':').next().and_then(|number| number.parse().ok()) == Some(inode)
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::{
        fs::{FlockOperation, flock},
        net::{AddressFamily, SocketFlags, SocketType, socketpair},
    };

    use super::*;

    #[test]
    fn locks_are_found_by_the_file() {
        let text = "1: POSIX  ADVISORY  WRITE 7 fe:00:77 0 EOF\n2: FLOCK  ADVISORY  READ 8 fe:00:78 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 9 fe:00:79 0 EOF\n";
        assert!(holds(text, 78));
        assert!(!holds(text, 77) && !holds(text, 79) && !holds("", 78));
    }

    #[test]
    fn an_agent_counts_as_away_when_nobody_has_its_records() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let records = file.reopen().unwrap();
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let start = Instant::now();
        let patience = Duration::from_secs(100);
        let mut absence = Absence::new(Some(patience), &records, start).unwrap();
        assert_eq!(absence.wait(start), Duration::from_secs(10));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!absence.is_over(at(200), far.as_fd()), "the one that began it is there");
        drop(near);
        let another = file.reopen().unwrap();
        flock(&another, FlockOperation::LockShared).unwrap();
        assert!(!absence.is_over(at(400), far.as_fd()), "another one is there");
        flock(&another, FlockOperation::Unlock).unwrap();
        assert!(!absence.is_over(at(500), far.as_fd()), "from now on it is away");
        assert!(!absence.is_over(at(599), far.as_fd()));
        assert!(absence.is_over(at(600), far.as_fd()));
        flock(&another, FlockOperation::LockShared).unwrap();
        assert!(!absence.is_over(at(700), far.as_fd()), "it is back");
        assert!(Absence::new(None, &records, start).is_none());
    }
}
