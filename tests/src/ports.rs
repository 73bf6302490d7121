//! Free ports that stay ours: tests run in many processes at once, and a restarted server needs its port again.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::ops::Range;

use nix::fcntl::{Flock, FlockArg};

/// Below the range from which the kernel takes ports for outgoing connections.
const RANGE: Range<u16> = 20_000..30_000;
/// Ports in one block; a cluster takes one block.
const BLOCK: u16 = 20;

/// A block of ports that no other test takes while this lives.
#[derive(Debug)]
pub struct Ports {
    next: u16,
    end: u16,
    _lock: Flock<File>,
}

impl Ports {
    /// Reserves a block, for all test processes of this machine.
    ///
    /// # Panics
    /// When every block is taken.
    #[must_use]
    pub fn reserve() -> Self {
        let dir = std::env::temp_dir().join("mezzo-test-ports");
        std::fs::create_dir_all(&dir).expect("the temporary directory must be writable");
        let blocks = (RANGE.end - RANGE.start) / BLOCK;
        // Start somewhere of our own, so that processes that begin together seldom meet.
        let first = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or(0);
        for block in (0..blocks).map(|n| (first + n) % blocks) {
            let start = RANGE.start + block * BLOCK;
            let Ok(file) =
                OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(start.to_string()))
            else {
                continue;
            };
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Self { next: start, end: start + BLOCK, _lock: lock };
            }
        }
        panic!("every block of ports in {RANGE:?} is taken: do other tests still run?");
    }

    /// The next free port.
    ///
    /// # Panics
    /// When the block is used up.
    pub fn take(&mut self) -> u16 {
        while self.next < self.end {
            let port = self.next;
            self.next += 1;
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
        panic!("no port is free below {}", self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_never_meet() {
        let (mut first, mut second) = (Ports::reserve(), Ports::reserve());
        let firsts: Vec<u16> = (0..5).map(|_| first.take()).collect();
        let seconds: Vec<u16> = (0..5).map(|_| second.take()).collect();
        assert!(firsts.iter().all(|port| !seconds.contains(port)));
    }
}
