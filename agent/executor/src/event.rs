//! What supervisors and zygote tell the agent: one packet each, on a socket that all supervisors of a zygote share.
//!
//! A packet is the version, the kind, the launch's number, then the fields, little-endian. Events are news, not truth:
//! one may be lost (the socket is full, the agent is away). The record on disk and the pidfd say the same.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, recvmsg, sendmsg,
    },
};

use crate::frame::VERSION;

const MAX_TEXT: usize = 1024;
const KIND_RUNNING: u8 = 1;
const KIND_FAILED: u8 = 2;
const KIND_EXITED: u8 = 3;
const KIND_LOST: u8 = 4;

/// One event.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The task was started.
    Running {
        /// The task's first process.
        task: i32,
        /// The supervisor.
        supervisor: i32,
    },
    /// The task could not be started.
    Failed {
        /// What could not be done, and why.
        message: String,
    },
    /// The task ended and its process tree is gone.
    Exited {
        /// The task's first process, for those who missed `Running`.
        task: i32,
        /// Raw status of wait(2).
        status: i32,
        /// It was ended for the memory that it took; on record too, with its limit.
        limited: bool,
    },
    /// The supervisor died; said by the zygote.
    Lost,
}

/// An event of one launch, with the supervisor's pidfd on `Running`.
#[derive(Debug)]
pub struct Packet {
    /// The launch's number.
    pub number: u64,
    /// What happened.
    pub event: Event,
    /// Of the supervisor; comes with `Running` unless the agent had no descriptor left.
    pub pidfd: Option<OwnedFd>,
}

/// How to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Wait until the agent has room, or is gone.
    Wait,
    /// Drop the event rather than wait.
    Drop,
}

/// Sends an event; `false` when it was dropped for lack of room. An agent that is gone counts as told.
pub fn send(
    socket: BorrowedFd<'_>,
    number: u64,
    event: &Event,
    pidfd: Option<BorrowedFd<'_>>,
    patience: Patience,
) -> bool {
    let bytes = encode(number, event);
    let flags = match patience {
        Patience::Wait => SendFlags::NOSIGNAL,
        Patience::Drop => SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = pidfd.map(|fd| [fd]);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(&bytes)], &mut ancillary, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return false,
            // Too many descriptors in flight: without one the agent looks the process up by its record.
            Err(Errno::TOOMANYREFS) if fds.is_some() => return send(socket, number, event, None, patience),
            Err(Errno::NOBUFS | Errno::NOMEM) if patience == Patience::Wait => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return true,
        }
    }
}

/// Receives one packet without waiting. `Ok(None)`: the socket's other ends are closed.
pub fn receive(socket: impl AsFd) -> std::io::Result<Option<Packet>> {
    let mut bytes = [0; MAX_TEXT + 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC,
    )?;
    let pidfd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    if received.bytes == 0 {
        return Ok(None);
    }
    let malformed = || std::io::Error::new(std::io::ErrorKind::InvalidData, "malformed event from mezzo-executor");
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(malformed());
    }
    let (number, event) = decode(&bytes[..received.bytes]).ok_or_else(malformed)?;
    Ok(Some(Packet { number, event, pidfd }))
}

fn encode(number: u64, event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    let kind = match event {
        Event::Running { .. } => KIND_RUNNING,
        Event::Failed { .. } => KIND_FAILED,
        Event::Exited { .. } => KIND_EXITED,
        Event::Lost => KIND_LOST,
    };
    out.extend([VERSION, kind]);
    out.extend(number.to_le_bytes());
    match event {
        Event::Running { task, supervisor } => {
            out.extend(task.to_le_bytes());
            out.extend(supervisor.to_le_bytes());
        }
        Event::Exited { task, status, limited } => {
            out.extend(task.to_le_bytes());
            out.extend(status.to_le_bytes());
            out.push((*limited).into());
        }
        Event::Failed { message } => out.extend(shorten(message).as_bytes()),
        Event::Lost => {}
    }
    out
}

fn shorten(text: &str) -> &str {
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at));
    &text[..end.unwrap_or_default()]
}

fn decode(bytes: &[u8]) -> Option<(u64, Event)> {
    let ([version, kind], rest) = bytes.split_first_chunk::<2>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    if *version != VERSION {
        return None;
    }
    let pair = || {
        let (first, rest) = rest.split_first_chunk::<4>()?;
        Some((i32::from_le_bytes(*first), i32::from_le_bytes(*rest.first_chunk::<4>()?)))
    };
    let event = match *kind {
        KIND_RUNNING => pair().map(|(task, supervisor)| Event::Running { task, supervisor })?,
        KIND_EXITED => pair().map(|(task, status)| Event::Exited { task, status, limited: rest.get(8) == Some(&1) })?,
        KIND_FAILED => Event::Failed { message: String::from_utf8_lossy(rest).into_owned() },
        KIND_LOST => Event::Lost,
        _ => return None,
    };
    Some((u64::from_le_bytes(*number), event))
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    #[test]
    fn events_arrive_whole_with_their_descriptor() {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let long = "ä".repeat(MAX_TEXT);
        let events = [
            Event::Running { task: 5, supervisor: 4 },
            Event::Failed { message: long.clone() },
            Event::Exited { task: 5, status: 256, limited: true },
            Event::Lost,
        ];
        for event in &events {
            let pidfd = matches!(event, Event::Running { .. }).then(|| near.as_fd());
            assert!(send(near.as_fd(), 3, event, pidfd, Patience::Drop));
        }
        for event in events {
            let packet = receive(&far).unwrap().unwrap();
            assert_eq!(packet.number, 3);
            assert_eq!(packet.pidfd.is_some(), matches!(event, Event::Running { .. }));
            match (packet.event, event) {
                (Event::Failed { message }, Event::Failed { .. }) => assert_eq!(message, long[..MAX_TEXT]),
                (got, sent) => assert_eq!(got, sent),
            }
        }
        drop(near);
        assert!(receive(&far).unwrap().is_none());
    }

    #[test]
    fn a_full_socket_drops_what_may_be_dropped() {
        let (near, _far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        let sent = (0..100_000).take_while(|n| send(near.as_fd(), *n, &Event::Lost, None, Patience::Drop)).count();
        assert!(sent > 0 && sent < 100_000);
    }
}
