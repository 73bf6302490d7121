//! Forks a supervisor for each Launch frame, and notices supervisors that die before their time.

use std::{
    fs::File,
    ops::Range,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    process::ExitCode,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::signal::{SigSet, Signal},
};
use rustix::process::{WaitOptions, wait};

use crate::{
    event::{Event, Patience, send},
    frame,
    supervisor::{self, Channels},
    sys,
};

/// A buffer that grew for a large frame is given back: each supervisor starts as a copy of the zygote.
const KEEP_BYTES: usize = 64 * 1024;

/// Serves frames from standard input until it ends.
pub fn main(records: &Path) -> ExitCode {
    sys::settle_signals();
    sys::notice_children();
    sys::close_inherited();
    // Away from the agent's terminal and its signals.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let _ = std::env::set_current_dir("/");
    match Zygote::new(records) {
        Ok(zygote) => zygote.serve(),
        Err(error) => {
            eprintln!("mezzo-executor: failed to start: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Zygote {
    frames: OwnedFd,
    events: OwnedFd,
    records: File,
    /// Another descriptor of the records, with the lock: supervisors give it up when they are on record.
    lock: OwnedFd,
    buffer: Vec<u8>,
    /// Living supervisors and their launches' numbers.
    children: Vec<(i32, u64)>,
}

/// What one reading step brought.
enum Step {
    Bytes,
    Interrupted,
    Ended,
}

impl Zygote {
    /// Moves the sockets from 0 and 1, which become /dev/null for all tasks, to where no exec finds them.
    fn new(path: &Path) -> std::io::Result<Self> {
        let records = File::options().write(true).open(path)?;
        let lock = File::options().read(true).open(path)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared)?;
        let keep = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let (frames, events) = (keep(rustix::stdio::stdin())?, keep(rustix::stdio::stdout())?);
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        Ok(Self { frames, events, records, lock: lock.into(), buffer: Vec::new(), children: Vec::new() })
    }

    fn serve(mut self) -> ExitCode {
        loop {
            match self.read() {
                Ok(Step::Bytes) => {}
                Ok(Step::Interrupted) => {
                    self.reap();
                    continue;
                }
                Ok(Step::Ended) => return ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("mezzo-executor: failed to read from the agent: {error}");
                    return ExitCode::FAILURE;
                }
            }
            let mut done = 0;
            loop {
                match frame::length(&self.buffer[done..]) {
                    Ok(Some(length)) if self.buffer.len() - done >= length => {
                        self = self.launch(done + 4..done + length);
                        done += length;
                    }
                    Ok(_) => break,
                    Err(error) => {
                        eprintln!("mezzo-executor: {error}");
                        return ExitCode::FAILURE;
                    }
                }
            }
            self.buffer.drain(..done);
            if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES {
                self.buffer = Vec::new();
            }
        }
    }

    /// Waits for bytes or for the end of a child.
    fn read(&mut self) -> std::io::Result<Step> {
        let mut watched = [PollFd::new(self.frames.as_fd(), PollFlags::POLLIN)];
        let mut mask = SigSet::thread_get_mask()?;
        mask.remove(Signal::SIGCHLD);
        match ppoll(&mut watched, None, Some(mask)) {
            Err(Errno::EINTR) => return Ok(Step::Interrupted),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        self.buffer.reserve(8 * 1024);
        match rustix::io::read(&self.frames, rustix::buffer::spare_capacity(&mut self.buffer)) {
            Ok(0) => Ok(Step::Ended),
            Ok(_) => Ok(Step::Bytes),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => Ok(Step::Interrupted),
            Err(error) => Err(error.into()),
        }
    }

    /// Comes back in the zygote only: the supervisor takes over what it needs of its copy, and ends.
    fn launch(mut self, frame: Range<usize>) -> Self {
        let number = frame::number(&self.buffer[frame.clone()]).unwrap_or_default();
        match sys::fork() {
            Ok(Some(child)) => self.children.push((child, number)),
            Ok(None) => {
                let pending = [self.frames, self.lock];
                let channels = Channels { records: self.records, events: self.events, pending };
                sys::exit(supervisor::run(&self.buffer[frame], channels))
            }
            Err(error) => {
                let event = Event::Failed { message: format!("Failed to fork a supervisor: {error}") };
                send(self.events.as_fd(), number, &event, None, Patience::Wait);
            }
        }
        self
    }

    /// Supervisors end with 0 when they have said and recorded all; one that does not was killed.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            let Some(index) = self.children.iter().position(|(child, _)| *child == pid) else { continue };
            let (_, number) = self.children.swap_remove(index);
            if status.exit_status() != Some(0) {
                send(self.events.as_fd(), number, &Event::Lost, None, Patience::Wait);
            }
        }
    }
}
