//! Notices the ends of supervisors: all their pidfds in one epoll set, itself one descriptor for the runtime.

use std::{io, os::fd::OwnedFd};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    io::Errno,
};
use tokio::io::unix::AsyncFd;

use super::edge;

const BATCH: usize = 128;

/// The set; a pidfd leaves it by being closed.
#[derive(Debug)]
pub(super) struct Watch {
    epoll: AsyncFd<OwnedFd>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: edge::watch(epoll::create(CreateFlags::CLOEXEC)?)? })
    }

    /// Watches a supervisor; `number` comes back once, when it has ended.
    pub(super) fn add(&self, pidfd: &OwnedFd, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::ONESHOT;
        Ok(epoll::add(self.epoll.get_ref(), pidfd, EventData::new_u64(number), flags)?)
    }

    /// Waits until some have ended: their numbers.
    pub(super) async fn ended(&self) -> io::Result<Vec<u64>> {
        loop {
            let mut guard = self.epoll.readable().await?;
            let mut events = Vec::with_capacity(BATCH);
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            match epoll::wait(self.epoll.get_ref(), rustix::buffer::spare_capacity(&mut events), Some(&now)) {
                Ok(0) => guard.clear_ready(),
                Ok(_) => return Ok(events.iter().map(|event| event.data.u64()).collect()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
