//! A program in a terminal of its own, at which a test sits.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mezzo_executor::frame::Window;
use mezzo_executor::sys;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::termios::{LocalModes, tcgetattr};

use crate::wait;

/// The terminal and the program in it, which ends with it.
#[derive(Debug)]
pub struct Terminal {
    near: File,
    child: Child,
    /// All that was shown.
    shown: String,
    /// How much of that was looked at.
    looked: usize,
}

impl Terminal {
    /// Starts `command` (through setsid(1), which gives it the terminal) in one of this size.
    ///
    /// # Panics
    /// When there is no terminal, or the program cannot be started.
    #[must_use]
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let (near, far) = sys::open_terminal(None, Window { rows, columns }).expect("a pseudo terminal");
        let end = || Stdio::from(far.try_clone().expect("a descriptor"));
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => leader.env(name, value),
                None => leader.env_remove(name),
            };
        }
        let child = leader.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid is there");
        Self { near: near.into(), child, shown: String::new(), looked: 0 }
    }

    /// Types this.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn enter(&mut self, keys: &str) {
        self.near.write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// Whether keys go to the program as they are, one by one.
    ///
    /// # Panics
    /// When the terminal is gone.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.near).expect("a terminal has modes").local_modes;
        !modes.contains(LocalModes::ICANON)
    }

    /// Sends the program a signal.
    ///
    /// # Panics
    /// When it is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("our own child");
    }

    /// Makes it this large.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn resize(&self, rows: u16, columns: u16) {
        sys::resize(self.near.as_fd(), Window { rows, columns }).expect("a terminal has a size");
    }

    /// Waits until `text` is shown, after what was waited for before.
    ///
    /// # Panics
    /// When it never is.
    pub fn until(&mut self, text: &str) {
        let deadline = Instant::now() + wait::PATIENCE;
        loop {
            if let Some(at) = self.shown[self.looked..].find(text) {
                self.looked += at + text.len();
                return;
            }
            assert!(Instant::now() < deadline, "{text:?} was never shown; what was:\n{}", self.shown);
            if !self.look() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Whether `text` is shown by now, wherever.
    #[must_use]
    pub fn has(&mut self, text: &str) -> bool {
        while self.look() {}
        self.shown.contains(text)
    }

    /// Waits for the program's end: its exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub fn code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + wait::PATIENCE;
        loop {
            self.look();
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the program does not end; shown was:\n{}", self.shown);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn look(&mut self) -> bool {
        let mut chunk = [0; 65536];
        match self.near.read(&mut chunk) {
            Ok(count) if count > 0 => {
                self.shown.push_str(&String::from_utf8_lossy(&chunk[..count]));
                true
            }
            // Also when nobody has the other end open any more.
            Ok(_) | Err(_) => false,
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
