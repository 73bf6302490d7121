//! Processes as /proc shows them: a pid counts only together with its start time.

use std::{fs::File, io::Read, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// What /proc/<pid>/stat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub identity: Identity,
    /// State letter, e.g. `Z`.
    pub state: u8,
    /// Its parent.
    pub parent: i32,
    /// Its process group.
    pub group: i32,
    /// Its session.
    pub session: i32,
    /// It has a place where its environment ends, be that empty: one in the middle of an exec has none, nor has a thread of the kernel.
    pub has_environment: bool,
}

impl Stat {
    /// Reads it; `None` when there is no such process.
    pub fn of(pid: i32) -> Option<Self> {
        let mut text = [0; 1024];
        let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
        let length = file.read(&mut text).ok()?;
        Self::parse(pid, &text[..length])
    }

    /// All processes of the system that can be seen.
    pub fn all() -> impl Iterator<Item = Self> {
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Self::of)
    }

    /// Whether it has ended and only waits for its parent to notice.
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// The name, in brackets, may hold anything: what follows its last bracket are fields 3, 4, …
    fn parse(pid: i32, text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(&text[end + 1..]).ok()?.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        let session = fields.next()?.parse().ok()?;
        let start = fields.nth(15)?.parse().ok()?; // field 22
        let has_environment = fields.nth(28).is_some_and(|end| end != "0"); // field 51
        Some(Self { identity: Identity { pid, start }, state, parent, group, session, has_environment })
    }
}

/// A process that is never mistaken for a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since boot (/proc/<pid>/stat, field 22).
    pub start: u64,
}

impl Identity {
    /// Of the process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Stat::of(pid).map(|stat| stat.identity)
    }

    /// Its stat, if it is still there.
    pub fn stat(&self) -> Option<Stat> {
        Stat::of(self.pid).filter(|stat| stat.identity == *self)
    }

    /// A descriptor of exactly this process, `None` when it is gone.
    pub fn open(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Checked after the open: the descriptor is of a process that lives now, and this one does.
        self.stat().filter(|stat| !stat.is_dead()).map(|_| pidfd)
    }

    /// Sends a signal to exactly this process; `Err` only when it lives and may not be signalled.
    pub fn signal(&self, signal: Signal) -> rustix::io::Result<()> {
        let Some(pidfd) = self.open() else { return Ok(()) };
        match pidfd_send_signal(pidfd, signal) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_spaces_do_not_confuse() {
        let line = b"42 (a ) R 9 (x) S 7 8 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 2\n";
        let stat = Stat::parse(42, line).unwrap();
        assert_eq!((stat.parent, stat.group, stat.session), (7, 8, 9));
        assert_eq!(stat.identity, Identity { pid: 42, start: 123_456 });
        assert_eq!(Stat::parse(42, b"42 (sh) S 1"), None);
    }

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().try_into().unwrap();
        let identity = Identity::of(pid).unwrap();
        let earlier = Identity { pid, start: identity.start - 1 };
        assert!(earlier.open().is_none());
        earlier.signal(Signal::KILL).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "a process of another start time was killed");
        identity.signal(Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(identity.open().is_none());
    }
}
