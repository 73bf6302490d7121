//! A task's output through pipes into files that are put aside before they grow too long.
//!
//! Without a limit the task writes to its files itself and nothing of this is used.

mod way;

pub(crate) use way::Output;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{AtFlags, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    frame::Rotation,
    sandbox::{Sandbox, SandboxError},
    sys::{self, Wake},
};

/// What is moved at a time: little, since a supervisor is to stay small.
const CHUNK_BYTES: usize = 8 * 1024;

/// Both outputs of a task.
#[derive(Debug)]
pub struct Outputs {
    streams: [Stream; 2],
    signals: OwnedFd,
    sandbox: Sandbox,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Stream {
    name: &'static str,
    /// The supervisor's end; none when all writers are gone.
    pipe: Option<OwnedFd>,
    file: File,
    owner: Option<(u32, u32)>,
    written: u64,
    /// 0 is none.
    limit: u64,
    files: u32,
}

impl Outputs {
    /// Pipes, of which the writing ends become this process' standard output and error until [`Self::started`].
    pub fn open(sandbox: Sandbox, rotation: Rotation, owner: Option<(u32, u32)>) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| format!("Failed to redirect the output of the task: {error}");
        let stream = |name, limit| {
            let file = sandbox.open_output(name, owner).map_err(|error: SandboxError| error.to_string())?;
            let written = file.metadata().map_err(|error| said(&error))?.len();
            let (near, far) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| said(&error))?;
            rustix::io::ioctl_fionbio(&near, true).map_err(|error| said(&error))?;
            let stream = Stream { name, pipe: Some(near), file, owner, written, limit, files: rotation.files };
            Ok::<_, String>((stream, far))
        };
        let (stdout, far_stdout) = stream("stdout", rotation.stdout_bytes)?;
        let (stderr, far_stderr) = stream("stderr", rotation.stderr_bytes)?;
        rustix::stdio::dup2_stdout(&far_stdout)
            .and_then(|()| rustix::stdio::dup2_stderr(&far_stderr))
            .map_err(|error| said(&error))?;
        let signals = sys::signal_descriptor().map_err(|error| said(&error))?;
        Ok(Self { streams: [stdout, stderr], signals, sandbox })
    }

    /// The task has its ends: this process writes to the files itself from now on.
    pub fn started(&self) -> io::Result<()> {
        rustix::stdio::dup2_stdout(&self.streams[0].file)?;
        Ok(rustix::stdio::dup2_stderr(&self.streams[1].file)?)
    }

    /// As [`sys::wait_signal`], moving what the task writes meanwhile.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Wake {
        let mut watched = vec![PollFd::new(&self.signals, PollFlags::IN)];
        watched.extend(
            self.streams.iter().filter_map(|stream| stream.pipe.as_ref()).map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        let limit = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let ready = poll(&mut watched, limit.as_ref());
        let signalled = watched[0].revents().contains(PollFlags::IN);
        drop(watched);
        if ready.is_ok() {
            self.move_some();
        }
        if signalled { sys::wait_signal(Some(Duration::ZERO)) } else { Wake::Timeout }
    }

    /// What is left when all processes of the task are gone.
    pub fn finish(&mut self) {
        while self.move_some() {}
    }

    /// Moves a chunk of each; `false` when there was nothing.
    fn move_some(&mut self) -> bool {
        let mut moved = false;
        for stream in &mut self.streams {
            let Some(pipe) = &stream.pipe else { continue };
            let mut chunk = [0; CHUNK_BYTES];
            match rustix::io::read(pipe, &mut chunk) {
                Ok(0) => stream.pipe = None,
                Ok(count) => {
                    if stream.write(&self.sandbox, &chunk[..count]) {
                        stream.say_here();
                    }
                    moved = true;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => stream.pipe = None,
            }
        }
        moved
    }
}

impl Stream {
    /// A file alone, for output that comes by another way.
    pub(crate) fn file(
        sandbox: &Sandbox,
        name: &'static str,
        rotation: Option<Rotation>,
        owner: Option<(u32, u32)>,
    ) -> Result<Self, String> {
        let file = sandbox.open_output(name, owner).map_err(|error: SandboxError| error.to_string())?;
        let written = file.metadata().map_or(0, |metadata| metadata.len());
        let limit = rotation.map_or(0, |rotation| match name {
            "stdout" => rotation.stdout_bytes,
            _ => rotation.stderr_bytes,
        });
        let files = rotation.map_or(0, |rotation| rotation.files);
        Ok(Self { name, pipe: None, file, owner, written, limit, files })
    }

    /// What cannot be written, since the disk is full, is lost: the task must not hang for it. `true` if the file is a
    /// new one.
    pub(crate) fn write(&mut self, sandbox: &Sandbox, bytes: &[u8]) -> bool {
        let full = self.limit > 0 && self.written > 0 && self.written + bytes.len() as u64 > self.limit;
        let anew = full && self.put_aside(sandbox).is_ok();
        if anew {
            self.written = 0;
        }
        if self.file.write_all(bytes).is_ok() {
            self.written += bytes.len() as u64;
        }
        anew
    }

    /// What this process itself says goes into the file too.
    pub(crate) fn say_here(&self) {
        let _ = match self.name {
            "stdout" => rustix::stdio::dup2_stdout(self.file.as_fd()),
            _ => rustix::stdio::dup2_stderr(self.file.as_fd()),
        };
    }

    /// `stdout` becomes `stdout.1`, that `stdout.2`, and so on; the oldest goes.
    fn put_aside(&mut self, sandbox: &Sandbox) -> io::Result<()> {
        let directory = sandbox.directory();
        let name = |number: u32| if number == 0 { self.name.to_owned() } else { format!("{}.{number}", self.name) };
        if self.files == 0 {
            return self.file.set_len(0);
        }
        // On a full disk there may be no room for a new file: it is made before anything is moved, or the older ones would be
        // pushed out one after the other while nothing new comes.
        let new = format!("{}.new", self.name);
        match unlinkat(directory, &new, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags =
            OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat2(directory, &new, flags, Mode::from_raw_mode(0o644), ResolveFlags::NO_SYMLINKS)?;
        let file = File::from(file);
        if let Some((uid, gid)) = self.owner {
            std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
        }
        for number in (0..self.files).rev() {
            match renameat(directory, name(number), directory, name(number + 1)) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        renameat(directory, &new, directory, self.name)?;
        self.file = file;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_aside_before_they_grow_too_long() {
        let directory = tempfile::tempdir().unwrap();
        let sandbox = crate::sandbox::create(directory.path(), None).unwrap();
        let file = sandbox.open_output("output", None).unwrap();
        let mut stream = Stream { name: "output", pipe: None, file, owner: None, written: 0, limit: 10, files: 2 };
        for text in ["aaaaaa", "bbbbbb", "cc", "dddddddddddd", "e"] {
            stream.write(&sandbox, text.as_bytes());
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(
            (read("output"), read("output.1"), read("output.2")),
            ("e".into(), "d".repeat(12), "bbbbbbcc".into())
        );
    }
}
