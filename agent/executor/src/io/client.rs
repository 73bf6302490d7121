//! One who is attached to a container.

use std::{os::fd::OwnedFd, time::Instant};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};

use super::wire::{self, Message};
use crate::frame::Window;

/// What is read of a client at a time.
const CHUNK_BYTES: usize = 16 * 1024;

/// What a client wants.
#[derive(Debug)]
pub(super) enum Asks {
    Output,
    Input,
    Write(Vec<u8>),
    Eof,
    Resize(Window),
    Finish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// It has not said.
    New,
    Reader,
    Writer,
    /// It gets what it is owed, and nothing is heard of it any more.
    Leaving,
}

/// A connection on a container's socket.
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    role: Role,
    received: Vec<u8>,
    unsent: Vec<u8>,
    taken: u64,
    /// Since when it takes nothing although it is owed something.
    stalled: Option<Instant>,
    gone: bool,
    /// It will say nothing more.
    silent: bool,
}

impl Client {
    pub(super) fn new(socket: OwnedFd) -> Self {
        let (received, unsent) = (Vec::new(), Vec::new());
        Self { socket, role: Role::New, received, unsent, taken: 0, stalled: None, gone: false, silent: false }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// All that it ever took.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    pub(super) fn is_reader(&self) -> bool {
        self.role == Role::Reader
    }

    pub(super) fn is_writer(&self) -> bool {
        self.role == Role::Writer
    }

    /// Nothing is left to be said either way.
    pub(super) fn is_over(&self) -> bool {
        self.gone || self.role == Role::Leaving && self.unsent.is_empty()
    }

    /// It says nothing more, and is told nothing for now.
    pub(super) fn is_done_talking(&self) -> bool {
        self.silent && self.unsent.is_empty()
    }

    /// Bytes that it has not taken.
    pub(super) fn owed(&self) -> usize {
        if self.gone { 0 } else { self.unsent.len() }
    }

    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.stalled
    }

    /// What to watch it for. A writer is heard only when there is room for what it says.
    pub(super) fn interest(&self, room: bool) -> PollFlags {
        let hears = match self.role {
            Role::New | Role::Reader => !self.silent,
            Role::Writer => room && !self.silent,
            Role::Leaving => false,
        };
        let mut flags = if hears { PollFlags::IN } else { PollFlags::empty() };
        if !self.unsent.is_empty() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    pub(super) fn become_reader(&mut self) {
        self.role = Role::Reader;
        self.say(&Message::Ready);
    }

    pub(super) fn become_writer(&mut self) {
        self.role = Role::Writer;
        self.say(&Message::Ready);
    }

    /// The last word to it.
    pub(super) fn refuse(&mut self, why: &Message) {
        self.say(why);
        self.role = Role::Leaving;
    }

    /// There will be nothing more for it.
    pub(super) fn end(&mut self) {
        match self.role {
            Role::Reader | Role::Writer => self.refuse(&Message::End),
            Role::New => self.gone = true,
            Role::Leaving => {}
        }
    }

    fn say(&mut self, message: &Message) {
        let mut encoded = Vec::new();
        wire::encode(&mut encoded, message);
        self.owe(&encoded);
    }

    pub(super) fn owe(&mut self, encoded: &[u8]) {
        self.unsent.extend(encoded);
    }

    /// Gives it what it takes.
    pub(super) fn send(&mut self) {
        while !self.unsent.is_empty() && !self.gone {
            match send(&self.socket, &self.unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(count) => {
                    self.unsent.drain(..count);
                    self.taken += count as u64;
                    self.stalled = None;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return;
                }
                Err(_) => self.gone = true,
            }
        }
    }

    /// Takes what it said, at most a chunk.
    pub(super) fn receive(&mut self) {
        let mut chunk = [0; CHUNK_BYTES];
        match recv(&self.socket, &mut chunk[..], RecvFlags::DONTWAIT) {
            // A writer that only shut its side down still waits for its answer.
            Ok((_, 0)) if self.role == Role::Writer => self.silent = true,
            Ok((_, 0)) => self.gone = true,
            Ok((_, count)) => self.received.extend(&chunk[..count.min(CHUNK_BYTES)]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.gone = true,
        }
    }

    /// The next thing that it wants.
    pub(super) fn next(&mut self) -> Option<Asks> {
        if self.role == Role::Leaving {
            return None;
        }
        match wire::decode(&mut self.received) {
            Ok(Some(message)) => match (self.role, message) {
                (Role::New, Message::Output) => Some(Asks::Output),
                (Role::New, Message::Input) => Some(Asks::Input),
                (Role::Writer, Message::Stdin(bytes)) => Some(Asks::Write(bytes)),
                (Role::Writer, Message::Eof) => Some(Asks::Eof),
                (Role::Writer, Message::Resize(window)) => Some(Asks::Resize(window)),
                (Role::Writer, Message::Finish) => Some(Asks::Finish),
                _ => {
                    self.gone = true;
                    None
                }
            },
            Ok(None) => {
                // Without a last word: its agent died.
                self.gone |= self.silent;
                None
            }
            Err(_) => {
                self.gone = true;
                None
            }
        }
    }
}
