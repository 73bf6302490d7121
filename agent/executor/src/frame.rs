//! The Launch frame, agent to zygote: `u32` length of the rest, version, kind, then the fields in order.
//!
//! Numbers are little-endian. Texts are a `u32` length, the bytes and a NUL, so that the supervisor hands them to
//! execve where they lie, without a copy.

use std::{ffi::CStr, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use crate::jail::Jail;

mod surroundings;

pub use surroundings::{Enter, Io, ReceivedEnter, ReceivedIo, Scope, Unread, Window};

/// Version of the frame and of the events. Agent and zygote come from one build; an upgrade of the files on disk under
/// a running agent is noticed by it.
pub const VERSION: u8 = 4;

/// Longest frame, without its length.
pub const MAX_FRAME: usize = 16 * 1024 * 1024;

const KIND_LAUNCH: u8 = 1;
const NO_CREDENTIALS: u8 = 0;
const WITH_CREDENTIALS: u8 = 1;
const COMMAND_SHELL: u8 = 0;
const COMMAND_EXEC: u8 = 1;

/// The numbers of a user to run as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub uid: u32,
    /// Its first group.
    pub gid: u32,
    /// All its groups.
    pub groups: Vec<u32>,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// `sh -c <text>`.
    Shell(&'a str),
    /// The file, looked for in the sandbox and in PATH when it has no slash, with exactly these arguments.
    Exec(&'a str, &'a [String]),
}

/// One container to start.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The agent's number for it; comes back in its events.
    pub number: u64,
    /// Its slot in the records.
    pub slot: u32,
    /// Its id, for the record.
    pub container: &'a str,
    /// The working directory; the supervisor makes it.
    pub sandbox: &'a Path,
    /// `None`: as the zygote runs.
    pub credentials: Option<&'a Credentials>,
    /// What to run.
    pub command: Command<'a>,
    /// All of the environment.
    pub environment: &'a [(String, String)],
    /// How the files of its output are kept short; `None`: they grow.
    pub rotation: Option<Rotation>,
    /// How long it runs on without any agent, in whole milliseconds; `None`: as long as it will.
    pub patience: Option<Duration>,
    /// What it is kept in; `None`: in nothing.
    pub jail: Option<&'a Jail>,
    /// Its input and output are held for those who attach; `None`: it has no input and writes to its files itself.
    pub io: Option<Io<'a>>,
    /// Another container's process, into whose surroundings this one is put.
    pub enter: Option<Enter<'a>>,
}

/// When the files of a task's output are put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// When `stdout` would become longer than so many bytes; 0 is never.
    pub stdout_bytes: u64,
    /// The same of `stderr`.
    pub stderr_bytes: u64,
    /// How many older ones are kept of each: `stdout.1` is the latest of them.
    pub files: u32,
}

/// Why a frame cannot be made or read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// execve takes no such text.
    #[error("the {0} contains a NUL byte")]
    Nul(&'static str),
    /// The record is a file of lines.
    #[error("the {0} contains a line break")]
    LineBreak(&'static str),
    /// More than [`MAX_FRAME`].
    #[error("command and environment take {0} bytes; at most {MAX_FRAME} are possible")]
    TooLong(usize),
    /// The other side is of another version.
    #[error("the frame has version {0}, this mezzo-executor speaks version {VERSION}")]
    Version(u8),
    /// The bytes end early or make no sense.
    #[error("the frame is malformed")]
    Malformed,
}

/// Appends the frame of `launch`; on an error the buffer is as before.
pub fn encode(out: &mut Vec<u8>, launch: &Launch<'_>) -> Result<(), FrameError> {
    let start = out.len();
    let result = Encoder { out, start }.launch(launch);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// The length of the first frame in `bytes`, its length field included; `None` if that field is not there yet.
pub fn length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*prefix) as usize;
    if length > MAX_FRAME { Err(FrameError::TooLong(length)) } else { Ok(Some(length + 4)) }
}

/// Appends the parts of a frame.
pub(crate) struct Encoder<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl Encoder<'_> {
    fn launch(mut self, launch: &Launch<'_>) -> Result<(), FrameError> {
        self.number(0);
        self.out.extend([VERSION, KIND_LAUNCH]);
        self.out.extend(launch.number.to_le_bytes());
        self.number(launch.slot);
        self.line("container's id", launch.container.as_bytes())?;
        self.line("sandbox's path", launch.sandbox.as_os_str().as_bytes())?;
        match launch.credentials {
            None => self.out.push(NO_CREDENTIALS),
            Some(credentials) => {
                self.out.push(WITH_CREDENTIALS);
                self.number(credentials.uid);
                self.number(credentials.gid);
                self.count(credentials.groups.len())?;
                credentials.groups.iter().for_each(|group| self.number(*group));
            }
        }
        match launch.command {
            Command::Shell(text) => {
                self.out.push(COMMAND_SHELL);
                self.text("command", text.as_bytes(), &[])?;
            }
            Command::Exec(file, arguments) => {
                self.out.push(COMMAND_EXEC);
                self.text("command", file.as_bytes(), &[])?;
                self.count(arguments.len())?;
                arguments.iter().try_for_each(|argument| self.text("argument list", argument.as_bytes(), &[]))?;
            }
        }
        self.count(launch.environment.len())?;
        for (name, value) in launch.environment {
            self.text("environment", name.as_bytes(), &[b"=", value.as_bytes()])?;
        }
        let rotation = launch.rotation.unwrap_or(Rotation { stdout_bytes: 0, stderr_bytes: 0, files: 0 });
        self.out.extend(rotation.stdout_bytes.to_le_bytes());
        self.out.extend(rotation.stderr_bytes.to_le_bytes());
        self.number(rotation.files);
        let millis = |patience: Duration| u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        self.option(launch.patience.map(millis).as_ref(), |out, millis| {
            out.long(*millis);
            Ok(())
        })?;
        self.option(launch.jail, |out, jail| jail.encode(out))?;
        self.surroundings(launch)?;
        let length = self.out.len() - self.start - 4;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        let prefix = u32::try_from(length).map_err(|_| FrameError::TooLong(length))?.to_le_bytes();
        self.out[self.start..self.start + 4].copy_from_slice(&prefix);
        Ok(())
    }

    pub(crate) fn number(&mut self, number: u32) {
        self.out.extend(number.to_le_bytes());
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.byte(flag.into());
    }

    pub(crate) fn long(&mut self, number: u64) {
        self.out.extend(number.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.count(bytes.len())?;
        self.out.extend(bytes);
        Ok(())
    }

    pub(crate) fn path(&mut self, path: &Path) -> Result<(), FrameError> {
        self.text("path", path.as_os_str().as_bytes(), &[])
    }

    pub(crate) fn option<T>(
        &mut self,
        value: Option<&T>,
        write: impl FnOnce(&mut Self, &T) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.flag(value.is_some());
        value.map_or(Ok(()), |value| write(self, value))
    }

    pub(crate) fn list<T>(
        &mut self,
        items: &[T],
        mut write: impl FnMut(&mut Self, &T) -> Result<(), FrameError>,
    ) -> Result<(), FrameError> {
        self.count(items.len())?;
        items.iter().try_for_each(|item| write(self, item))
    }

    fn count(&mut self, count: usize) -> Result<(), FrameError> {
        self.number(u32::try_from(count).map_err(|_| FrameError::TooLong(count))?);
        Ok(())
    }

    pub(crate) fn line(&mut self, what: &'static str, bytes: &[u8]) -> Result<(), FrameError> {
        if bytes.contains(&b'\n') {
            return Err(FrameError::LineBreak(what));
        }
        self.text(what, bytes, &[])
    }

    pub(crate) fn text(&mut self, what: &'static str, first: &[u8], more: &[&[u8]]) -> Result<(), FrameError> {
        let parts = || std::iter::once(first).chain(more.iter().copied());
        if parts().any(|part| part.contains(&0)) {
            return Err(FrameError::Nul(what));
        }
        self.count(parts().map(<[u8]>::len).sum())?;
        parts().for_each(|part| self.out.extend(part));
        self.out.push(0);
        Ok(())
    }
}

/// A frame as it was received: the texts lie in the receiver's buffer.
#[derive(Debug)]
pub struct Received<'a> {
    /// The agent's number for it.
    pub number: u64,
    /// Its slot in the records.
    pub slot: u32,
    /// Its id.
    pub container: &'a CStr,
    /// The working directory.
    pub sandbox: &'a CStr,
    /// Whom to run as.
    pub credentials: Option<Credentials>,
    /// `None`: through the shell.
    pub arguments: Option<Vec<&'a CStr>>,
    /// The shell's text, or the file.
    pub command: &'a CStr,
    /// `NAME=value`, in order.
    pub environment: Vec<&'a CStr>,
    /// How the files of its output are kept short.
    pub rotation: Option<Rotation>,
    /// How long it runs on without any agent.
    pub patience: Option<Duration>,
    /// What it is kept in.
    pub jail: Option<Jail>,
    /// How its input and output are held.
    pub io: Option<ReceivedIo<'a>>,
    /// Whose surroundings are entered.
    pub enter: Option<ReceivedEnter<'a>>,
}

/// The number of the launch in a frame (without its length), readable in any version.
pub fn number(frame: &[u8]) -> Result<u64, FrameError> {
    let bytes = frame.get(2..10).and_then(|bytes| bytes.first_chunk::<8>()).ok_or(FrameError::Malformed)?;
    Ok(u64::from_le_bytes(*bytes))
}

/// Reads a frame, without its length.
pub fn decode(frame: &[u8]) -> Result<Received<'_>, FrameError> {
    let mut decoder = Decoder { rest: frame };
    let version = decoder.byte()?;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    if decoder.byte()? != KIND_LAUNCH {
        return Err(FrameError::Malformed);
    }
    let number = number(frame)?;
    decoder.take(8)?;
    let slot = decoder.number()?;
    let container = decoder.text()?;
    let sandbox = decoder.text()?;
    let credentials = match decoder.byte()? {
        NO_CREDENTIALS => None,
        WITH_CREDENTIALS => Some(Credentials {
            uid: decoder.number()?,
            gid: decoder.number()?,
            groups: decoder.list(4, Decoder::number)?,
        }),
        _ => return Err(FrameError::Malformed),
    };
    let (command, arguments) = match decoder.byte()? {
        COMMAND_SHELL => (decoder.text()?, None),
        COMMAND_EXEC => (decoder.text()?, Some(decoder.list(5, Decoder::text)?)),
        _ => return Err(FrameError::Malformed),
    };
    let environment = decoder.list(5, Decoder::text)?;
    let (stdout_bytes, stderr_bytes, files) = (decoder.long()?, decoder.long()?, decoder.number()?);
    let patience = decoder.option(Decoder::long)?.map(Duration::from_millis);
    let jail = decoder.option(Jail::decode)?;
    let (io, enter) = (decoder.io()?, decoder.enter()?);
    if !decoder.rest.is_empty() {
        return Err(FrameError::Malformed);
    }
    let rotation = Rotation { stdout_bytes, stderr_bytes, files };
    let rotation = Some(rotation).filter(|_| stdout_bytes > 0 || stderr_bytes > 0);
    Ok(Received {
        number,
        slot,
        container,
        sandbox,
        credentials,
        arguments,
        command,
        environment,
        rotation,
        patience,
        jail,
        io,
        enter,
    })
}

/// Takes a frame apart.
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(FrameError::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, FrameError> {
        Ok(self.take(1)?[0])
    }

    pub(crate) fn number(&mut self) -> Result<u32, FrameError> {
        let bytes = self.take(4)?.first_chunk::<4>().ok_or(FrameError::Malformed)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    pub(crate) fn long(&mut self) -> Result<u64, FrameError> {
        let bytes = self.take(8)?.first_chunk::<8>().ok_or(FrameError::Malformed)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn text(&mut self) -> Result<&'a CStr, FrameError> {
        let length = self.number()? as usize;
        let bytes = self.take(length.checked_add(1).ok_or(FrameError::Malformed)?)?;
        CStr::from_bytes_with_nul(bytes).map_err(|_| FrameError::Malformed)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, FrameError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError::Malformed),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], FrameError> {
        let count = self.number()? as usize;
        self.take(count)
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Option<T>, FrameError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A counted list; the count is held against what the bytes can contain (`least` bytes each) before memory is taken.
    pub(crate) fn list<T>(
        &mut self,
        least: usize,
        item: impl Fn(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Vec<T>, FrameError> {
        let count = self.number()? as usize;
        if count > self.rest.len() / least {
            return Err(FrameError::Malformed);
        }
        (0..count).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests;
