//! A container's input and output, held by its supervisor for those who attach: terminal or pipes on one side, a Unix
//! socket on the other, so that a session outlives the agent that began it.
//!
//! Output is passed on in the order it came. A reader that lags makes the task wait, as a terminal does: nothing is
//! lost and little is kept. Only where the output is in files too (a task's) a reader that takes nothing for
//! [`STALLED`] is cut off; the task shall not hang for it.

mod client;
mod ends;
pub mod wire;

pub use ends::address;

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SocketFlags, accept_with},
};

use crate::{
    frame::{ReceivedIo, Unread, Window},
    output::Stream,
    sandbox::Sandbox,
    sys::{self, Wake},
};
use client::{Asks, Client};
use ends::{pipes, serve, terminal};
use wire::Message;

/// Longest name of a socket, without its directory: what fits behind `/proc/self/fd/<n>/` in a socket's address.
pub const MAX_SOCKET_NAME: usize = 80;

/// What is moved at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// What waits for a reader at most, before nothing more is read from the task.
const LAG_BYTES: usize = 64 * 1024;
/// A reader of a task's output that takes nothing for so long is cut off.
const STALLED: Duration = Duration::from_secs(10);
/// The first reader of a session may come so long after its end.
const UNCLAIMED: Duration = Duration::from_secs(15);
/// A reader of a session that has ended may take nothing for so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// Clients at a time.
const MAX_CLIENTS: usize = 64;

/// Where a container's socket lies in its directory: the id, or what stands for a long one.
pub fn socket_name(container: &str) -> String {
    if container.len() <= MAX_SOCKET_NAME {
        return container.to_owned();
    }
    // FNV-1a: a name that is the same for every version of this program.
    let hash = container
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let start: String = container.chars().filter(char::is_ascii).take(MAX_SOCKET_NAME - 17).collect();
    format!("{start}-{hash:016x}")
}

/// Input and output of one container.
#[derive(Debug)]
pub struct Held {
    listener: OwnedFd,
    /// Where its name is, to take it away at the end.
    directory: OwnedFd,
    name: Vec<u8>,
    signals: OwnedFd,
    /// The task's ends, until it has them.
    far: Option<[OwnedFd; 3]>,
    terminal: bool,
    /// What the task reads; for a terminal another descriptor of the source.
    input: Option<OwnedFd>,
    /// On its way there.
    unwritten: Vec<u8>,
    /// The input ends when that is written.
    ending: bool,
    sources: Vec<Source>,
    unread: Unread,
    sandbox: Option<Sandbox>,
    clients: Vec<Client>,
    /// Somebody was attached to the output once.
    claimed: bool,
}

/// Where output comes from.
#[derive(Debug)]
struct Source {
    fd: Option<OwnedFd>,
    error: bool,
    log: Option<Stream>,
}

/// The poll set's entries besides signals and listener.
#[derive(Clone, Copy)]
enum Watched {
    Source(usize),
    Input,
    Client(usize),
}

impl Held {
    /// Opens terminal or pipes, and the socket. `logs` are the files that take the output, in `sandbox`.
    ///
    /// # Errors
    /// What could not be made, and why.
    pub(crate) fn open(
        io: &ReceivedIo<'_>,
        owner: Option<(u32, u32)>,
        logs: Option<(Sandbox, [Stream; 2])>,
    ) -> Result<Self, String> {
        let path = Path::new(OsStr::from_bytes(io.socket.to_bytes()));
        let failed = |what: &str| {
            let text = format!("Failed to {what} for the container's input and output ('{}')", path.display());
            move |error: io::Error| format!("{text}: {error}")
        };
        sys::ignore_broken_pipes();
        let (directory, name, listener) = serve(path).map_err(failed("open a socket"))?;
        let (sandbox, logs) = match logs {
            Some((sandbox, [stdout, stderr])) => (Some(sandbox), [Some(stdout), Some(stderr)]),
            None => (None, [None, None]),
        };
        let ends = match io.terminal {
            Some(window) => terminal(window, owner, logs).map_err(failed("open a terminal"))?,
            None => pipes(logs).map_err(failed("open pipes"))?,
        };
        let signals = sys::signal_descriptor().map_err(failed("watch signals"))?;
        Ok(Self {
            listener,
            directory,
            name,
            signals,
            far: Some(ends.far),
            terminal: io.terminal.is_some(),
            input: Some(ends.input),
            unwritten: Vec::new(),
            ending: false,
            sources: ends.sources,
            unread: io.unread,
            sandbox,
            clients: Vec::new(),
            claimed: false,
        })
    }

    /// Makes the task's ends this process' standard input and outputs, for the child to inherit.
    ///
    /// # Errors
    /// The system's.
    pub fn give(&self) -> io::Result<()> {
        if let Some([stdin, stdout, stderr]) = &self.far {
            rustix::stdio::dup2_stdin(stdin)?;
            rustix::stdio::dup2_stdout(stdout)?;
            rustix::stdio::dup2_stderr(stderr)?;
        }
        Ok(())
    }

    /// The task has its ends: this process lets go of them. What it says itself goes to the files, if there are any.
    ///
    /// # Errors
    /// The system's.
    pub fn given(&mut self) -> io::Result<()> {
        let null = std::fs::File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        self.sources.iter().filter_map(|source| source.log.as_ref()).for_each(Stream::say_here);
        self.far = None;
        Ok(())
    }

    /// Says something to whoever reads the task's standard error, before the task does.
    pub fn say(&self, line: &str) {
        if let Some([.., stderr]) = &self.far {
            let _ = rustix::io::write(stderr, format!("{line}\n").as_bytes());
        }
    }

    /// As [`sys::wait_signal`], moving input and output meanwhile.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Wake {
        if self.turn(timeout) { sys::wait_signal(Some(Duration::ZERO)) } else { Wake::Timeout }
    }

    /// All processes are gone: what they wrote goes into the files, as far as there are any.
    pub fn settle(&mut self) {
        if self.unread == Unread::Held {
            return;
        }
        for at in 0..self.sources.len() {
            while self.read(at) {}
        }
    }

    /// Serves those who read what is left, and ends.
    pub fn finish(mut self) {
        self.input = None;
        let mut patience = if self.claimed { PATIENCE } else { UNCLAIMED };
        let (mut since, mut before) = (Instant::now(), 0);
        loop {
            let dry = self.sources.iter().all(|source| source.fd.is_none());
            if dry && (self.claimed || self.unread == Unread::Filed) {
                self.clients.iter_mut().for_each(Client::end);
                self.clients.retain_mut(|client| {
                    client.send();
                    !client.is_over()
                });
                if self.clients.is_empty() {
                    break;
                }
            }
            if self.unread == Unread::Held && self.claimed && !self.is_read() && !dry {
                break; // nobody is left who would take it
            }
            let (now, taken) = (Instant::now(), self.clients.iter().map(Client::taken).sum());
            if taken != before {
                (since, before) = (now, taken);
                patience = if self.unread == Unread::Held { PATIENCE } else { STALLED };
            }
            let deadline = since + patience;
            if now >= deadline {
                break;
            }
            // What signals ask for is done already.
            if self.turn(Some(Duration::from_secs(1).min(deadline.saturating_duration_since(now)))) {
                sys::wait_signal(Some(Duration::ZERO));
            }
        }
        let _ = rustix::fs::unlinkat(&self.directory, self.name.as_slice(), rustix::fs::AtFlags::empty());
    }

    fn is_read(&self) -> bool {
        self.clients.iter().any(Client::is_reader)
    }

    /// Whether output is taken from the task at present.
    fn takes(&self) -> bool {
        let room = self.clients.iter().filter(|client| client.is_reader()).all(|client| client.owed() < LAG_BYTES);
        room && (self.unread == Unread::Filed || self.is_read())
    }

    /// One round; whether a signal waits.
    fn turn(&mut self, timeout: Option<Duration>) -> bool {
        self.cut_stalled();
        let (signalled, incoming, ready) = self.look(timeout);
        // Readers are served first, so that there is room for what comes next. Backwards: those that end are removed.
        for (watched, flags) in ready.into_iter().rev() {
            match watched {
                Watched::Client(at) => self.serve(at, flags),
                Watched::Input => self.write_input(),
                Watched::Source(at) => {
                    if self.takes() {
                        self.read(at);
                    }
                }
            }
        }
        // What a client said while there was no room for it.
        (0..self.clients.len()).rev().for_each(|at| self.listen(at));
        if incoming {
            self.welcome();
        }
        signalled
    }

    /// Waits for something to do.
    fn look(&self, timeout: Option<Duration>) -> (bool, bool, Vec<(Watched, PollFlags)>) {
        let mut set = vec![PollFd::new(&self.signals, PollFlags::IN)];
        let listening = if self.clients.len() < MAX_CLIENTS { PollFlags::IN } else { PollFlags::empty() };
        set.push(PollFd::new(&self.listener, listening));
        let mut of = Vec::new();
        if self.takes() {
            for (at, source) in self.sources.iter().enumerate() {
                if let Some(fd) = &source.fd {
                    set.push(PollFd::new(fd, PollFlags::IN));
                    of.push(Watched::Source(at));
                }
            }
        }
        if let Some(input) = self.input.as_ref().filter(|_| !self.unwritten.is_empty()) {
            set.push(PollFd::new(input, PollFlags::OUT));
            of.push(Watched::Input);
        }
        // A closed socket is always ready: one that is only waited for is left out.
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| !client.is_done_talking()) {
            set.push(PollFd::new(client.socket(), client.interest(self.unwritten.is_empty())));
            of.push(Watched::Client(at));
        }
        let stalls = self.clients.iter().filter_map(|client| client.stalled_since());
        let stalls = stalls.map(|since| STALLED.saturating_sub(since.elapsed()) + Duration::from_millis(1));
        let stalls = stalls.filter(|_| self.unread == Unread::Filed);
        let timeout = timeout.into_iter().chain(stalls).min();
        let limit = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        if poll(&mut set, limit.as_ref()).is_err() {
            return (false, false, Vec::new());
        }
        let happened = |at: usize| set[at].revents();
        let ready = of.into_iter().enumerate().map(|(at, watched)| (watched, happened(at + 2)));
        let ready = ready.filter(|(_, flags)| !flags.is_empty()).collect();
        (happened(0).contains(PollFlags::IN), happened(1).contains(PollFlags::IN), ready)
    }

    fn cut_stalled(&mut self) {
        if self.unread == Unread::Filed {
            let stalled = |client: &Client| client.stalled_since().is_some_and(|since| since.elapsed() >= STALLED);
            self.clients.retain(|client| !stalled(client));
        }
    }

    fn welcome(&mut self) {
        if let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            self.clients.push(Client::new(socket));
        }
    }

    /// Hears a client, and gives it what it is owed.
    fn serve(&mut self, at: usize, flags: PollFlags) {
        if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.clients[at].receive();
        }
        self.listen(at);
    }

    /// Does what it has asked for, as far as there is room.
    fn listen(&mut self, at: usize) {
        while self.unwritten.is_empty() {
            let Some(asked) = self.clients[at].next() else { break };
            self.answer(at, asked);
        }
        let client = &mut self.clients[at];
        client.send();
        if client.is_over() {
            self.clients.remove(at);
        }
    }

    fn answer(&mut self, at: usize, asked: Asks) {
        let other = self.clients.iter().enumerate().any(|(other, client)| other != at && client.is_writer());
        let client = &mut self.clients[at];
        match asked {
            Asks::Output => {
                client.become_reader();
                self.claimed = true;
            }
            Asks::Input if other => client.refuse(&Message::Busy),
            Asks::Input => client.become_writer(),
            Asks::Write(bytes) => {
                self.unwritten = bytes;
                self.write_input();
            }
            Asks::Eof => self.end_input(),
            Asks::Resize(window) => {
                let terminal = self.input.as_ref().map(AsFd::as_fd);
                if let Err(error) = resize(terminal, window) {
                    client.refuse(&Message::NotResized(error));
                }
            }
            Asks::Finish => client.refuse(&Message::Done),
        }
    }

    fn end_input(&mut self) {
        if self.terminal {
            return;
        }
        self.ending = true;
        if self.unwritten.is_empty() {
            self.input = None;
        }
    }

    /// Hands on what was given, as far as the task takes it.
    fn write_input(&mut self) {
        let result = match &self.input {
            Some(input) => rustix::io::write(input, &self.unwritten),
            None => Err(Errno::PIPE),
        };
        match result {
            Ok(count) => drop(self.unwritten.drain(..count)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => {
                self.unwritten.clear();
                let text = io::Error::from(error).to_string();
                let text = text.split(" (os error").next().unwrap_or_default();
                let message = Message::NotWritten(format!("Failed writing to stdin: {text}"));
                self.clients.iter_mut().filter(|client| client.is_writer()).for_each(|client| client.refuse(&message));
            }
        }
        if self.unwritten.is_empty() && self.ending {
            self.input = None;
        }
    }

    /// Moves a chunk from a source to all readers and into its file; `false` when there was nothing.
    fn read(&mut self, at: usize) -> bool {
        let source = &mut self.sources[at];
        let Some(fd) = &source.fd else { return false };
        let mut chunk = [0; CHUNK_BYTES];
        let count = match rustix::io::read(fd, &mut chunk) {
            Ok(0) => 0,
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Err(_) => 0, // a terminal that nobody has open any more
        };
        if count == 0 {
            source.fd = None;
            return false;
        }
        let bytes = &chunk[..count];
        if let (Some(log), Some(sandbox)) = (&mut source.log, &self.sandbox)
            && log.write(sandbox, bytes)
        {
            log.say_here();
        }
        let message = if source.error { Message::Stderr(bytes.to_vec()) } else { Message::Stdout(bytes.to_vec()) };
        let mut encoded = Vec::with_capacity(count + 8);
        wire::encode(&mut encoded, &message);
        for client in self.clients.iter_mut().filter(|client| client.is_reader()) {
            client.owe(&encoded);
            client.send();
        }
        true
    }
}

fn resize(terminal: Option<BorrowedFd<'_>>, window: Window) -> Result<(), String> {
    let result = match terminal {
        Some(terminal) => sys::resize(terminal, window),
        None => Err(io::Error::from(Errno::BADF)),
    };
    result.map_err(|error| {
        let text = error.to_string();
        format!("Unable to set the window size: {}", text.split(" (os error").next().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_have_short_names_of_their_own() {
        assert_eq!(socket_name("a.b"), "a.b");
        let (one, other) = (format!("{}1", "x".repeat(200)), format!("{}2", "x".repeat(200)));
        assert!(socket_name(&one).len() <= MAX_SOCKET_NAME);
        assert_ne!(socket_name(&one), socket_name(&other));
    }
}
