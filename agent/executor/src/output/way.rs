//! Which way a task's output goes.

use std::{
    ffi::OsStr,
    io::{self, Write},
    os::unix::ffi::OsStrExt,
    path::Path,
    time::Duration,
};

use super::{Outputs, Stream};
use crate::{
    frame::{Received, Rotation, Unread},
    io::Held,
    sandbox::{self, Sandbox},
    sys::{self, Wake},
};

/// Where a task's output goes.
#[derive(Debug)]
pub(crate) enum Output {
    /// Into its files, by its own hand.
    Direct,
    /// Through pipes into files that are kept short.
    Files(Outputs),
    /// To those who attach.
    Held(Box<Held>),
}

impl Output {
    /// Makes the sandbox if there is to be one, and what takes the output this process' own until the task has it.
    pub(crate) fn open(launch: &Received<'_>) -> Result<Self, String> {
        let owner = launch.credentials.as_ref().map(|credentials| (credentials.uid, credentials.gid));
        let redirected = |error: io::Error| format!("Failed to redirect the output to the sandbox: {error}");
        let path = Path::new(OsStr::from_bytes(launch.sandbox.to_bytes()));
        let made = || sandbox::create(path, owner).map_err(|error| error.to_string());
        match (&launch.io, launch.rotation) {
            (Some(io), rotation) => {
                let logs = match io.unread {
                    Unread::Held => None,
                    Unread::Filed => {
                        let sandbox = made()?;
                        let logs = logs(&sandbox, rotation, owner)?;
                        Some((sandbox, logs))
                    }
                };
                let held = Held::open(io, owner, logs)?;
                held.give().map_err(redirected)?;
                Ok(Self::Held(Box::new(held)))
            }
            (None, Some(rotation)) => Ok(Self::Files(Outputs::open(made()?, rotation, owner)?)),
            (None, None) => {
                let made = made()?;
                let stdout = made.open_output("stdout", owner).map_err(|error| error.to_string())?;
                let stderr = made.open_output("stderr", owner).map_err(|error| error.to_string())?;
                rustix::stdio::dup2_stdout(&stdout)
                    .and_then(|()| rustix::stdio::dup2_stderr(&stderr))
                    .map_err(|error| redirected(error.into()))?;
                Ok(Self::Direct)
            }
        }
    }

    /// The task writes by its own hand.
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self, Self::Direct)
    }

    /// The task has what it inherits.
    pub(crate) fn started(&mut self) -> io::Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Files(outputs) => outputs.started(),
            Self::Held(held) => held.given(),
        }
    }

    /// Says why there is no output of the task's own.
    pub(crate) fn complain(&mut self, line: &str) {
        if let Self::Held(held) = self {
            return held.say(line);
        }
        let _ = self.started();
        let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
    }

    /// As [`sys::wait_signal`], moving what the task writes meanwhile.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Wake {
        match self {
            Self::Direct => sys::wait_signal(timeout),
            Self::Files(outputs) => outputs.wait(timeout),
            Self::Held(held) => held.wait(timeout),
        }
    }

    /// All processes are gone.
    pub(crate) fn settle(&mut self) {
        match self {
            Self::Direct => {}
            Self::Files(outputs) => outputs.finish(),
            Self::Held(held) => held.settle(),
        }
    }

    /// The end was told: those who read get the rest.
    pub(crate) fn finish(self) {
        if let Self::Held(held) = self {
            held.finish();
        }
    }
}

fn logs(sandbox: &Sandbox, rotation: Option<Rotation>, owner: Option<(u32, u32)>) -> Result<[Stream; 2], String> {
    let file = |name| Stream::file(sandbox, name, rotation, owner);
    Ok([file("stdout")?, file("stderr")?])
}
