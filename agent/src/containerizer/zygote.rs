//! The agent's end of a zygote: frames out, events in.

use std::{
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Instant,
};

use mezzo_executor::event::{self, Packet};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
};
use tokio::{io::unix::AsyncFd, net::UnixStream, process::Child};

use super::{StartError, edge};
use crate::failpoint;

/// A running zygote.
#[derive(Debug)]
pub(super) struct Zygote {
    /// Kept so that the runtime reaps it.
    _process: Child,
    frames: UnixStream,
    events: AsyncFd<OwnedFd>,
    /// Nobody is left who could send one.
    no_more_events: bool,
    /// Bytes on their way to it.
    unsent: Vec<u8>,
    pub(super) started: Instant,
}

/// What came from a zygote.
#[derive(Debug)]
pub(super) enum Heard {
    /// Events, in order.
    Events(Vec<Packet>),
    /// It is dead, and every container that it had begun is on record.
    Ended,
}

impl Zygote {
    /// Starts one on the records at `records`.
    pub(super) fn start(executor: &[OsString], records: &Path) -> Result<Self, StartError> {
        let program = executor.first().cloned().unwrap_or_default();
        let failed = |source: io::Error| StartError::Zygote { program: PathBuf::from(&program), source };
        let (near, far) = StdStream::pair().map_err(failed)?;
        let flags = SocketFlags::CLOEXEC;
        let (near_events, far_events) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| failed(error.into()))?;
        fcntl_setfd(&near_events, FdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
        near.set_nonblocking(true).map_err(failed)?;
        let process = tokio::process::Command::new(&program)
            .args(&executor[1.min(executor.len())..])
            .args(["zygote", "--records"])
            .arg(records)
            .env_clear()
            .envs(failpoint::of_executor())
            .stdin(Stdio::from(OwnedFd::from(far)))
            .stdout(Stdio::from(far_events))
            .spawn()
            .map_err(failed)?;
        tracing::debug!(pid = process.id(), "started the zygote");
        Ok(Self {
            _process: process,
            frames: UnixStream::from_std(near).map_err(failed)?,
            events: edge::watch(near_events).map_err(failed)?,
            no_more_events: false,
            unsent: Vec::new(),
            started: Instant::now(),
        })
    }

    /// Hands a frame over, now or as soon as there is room.
    pub(super) fn send(&mut self, frame: &[u8]) {
        self.unsent.extend_from_slice(frame);
        self.flush();
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.frames.try_write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Its end is noticed by reading; what was not taken is sent again then.
                Err(_) => return self.unsent.clear(),
            }
        }
    }

    /// Waits for the next news, writing what is unsent meanwhile. Cancel-safe: nothing is taken before it is returned.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            tokio::select! {
                biased;
                // Readiness is taken back before reading to the end, so that what comes later is noticed again.
                Ok(mut guard) = self.events.readable(), if !self.no_more_events => {
                    guard.clear_ready();
                    drop(guard);
                    let packets = self.drain();
                    if !packets.is_empty() {
                        return Heard::Events(packets);
                    }
                }
                _ = self.frames.readable() => {
                    // It never writes here.
                    match self.frames.try_read(&mut [0; 16]) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        _ => return Heard::Ended,
                    }
                }
                _ = self.frames.writable(), if !self.unsent.is_empty() => self.flush(),
            }
        }
    }

    /// All events that wait.
    pub(super) fn drain(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        loop {
            match event::receive(self.events.get_ref()) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => {
                    self.no_more_events = true; // it would be readable for ever
                    return packets;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return packets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!("an event of the executor got lost: {error}");
                    if error.kind() != io::ErrorKind::InvalidData {
                        return packets;
                    }
                }
            }
        }
    }
}
