//! The Launch frame, agent to zygote: `u32` length of the rest, version, kind, then the fields in order.
//!
//! Numbers are little-endian. Texts are a `u32` length, the bytes and a NUL, so that the supervisor hands them to
//! execve where they lie, without a copy.

use std::{ffi::CStr, os::unix::ffi::OsStrExt, path::Path};

use crate::jail::Jail;

/// Version of the frame and of the events. Agent and zygote come from one build; an upgrade of the files on disk under
/// a running agent is noticed by it.
pub const VERSION: u8 = 3;

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
    /// What it is kept in; `None`: in nothing.
    pub jail: Option<&'a Jail>,
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
        self.option(launch.jail, |out, jail| jail.encode(out))?;
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
    /// What it is kept in.
    pub jail: Option<Jail>,
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
    let jail = decoder.option(Jail::decode)?;
    if !decoder.rest.is_empty() {
        return Err(FrameError::Malformed);
    }
    let rotation = Rotation { stdout_bytes, stderr_bytes, files };
    let rotation = Some(rotation).filter(|_| stdout_bytes > 0 || stderr_bytes > 0);
    Ok(Received { number, slot, container, sandbox, credentials, arguments, command, environment, rotation, jail })
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
mod tests {
    use super::*;
    use crate::jail::{
        Capabilities, Cgroup, MemoryLimit, Mount, Namespace, Part, Rlimit, Root, Source, Target, Version,
    };

    fn launch<'a>(arguments: &'a [String], environment: &'a [(String, String)]) -> Launch<'a> {
        Launch {
            number: 7,
            slot: 5,
            container: "c-1",
            sandbox: Path::new("/sandbox/s"),
            credentials: None,
            command: Command::Exec("echo", arguments),
            environment,
            rotation: None,
            jail: None,
        }
    }

    fn jail() -> Jail {
        Jail {
            namespaces: vec![Namespace::Mount, Namespace::Net],
            root: Some(Root { lower: vec!["/l".into()], upper: "/u".into(), work: "/w".into(), read_only: true }),
            hostname: Some("box".into()),
            mounts: vec![
                Mount {
                    source: Source::Bind { base: "/b".into(), below: "c".into() },
                    target: Target::Sandbox("d".into()),
                    read_only: true,
                },
                Mount { source: Source::Tmpfs { bytes: 5 }, target: Target::Root("/t".into()), read_only: false },
            ],
            sandbox: Some("/mnt/mesos/sandbox".into()),
            directory: Some("/home".into()),
            cgroups: vec![Cgroup {
                version: Version::Two,
                path: "/g".into(),
                files: vec![("cpu.shares".into(), "2".into())],
                part: Part::Above,
            }],
            memory: Some(MemoryLimit { path: "/g".into(), bytes: 1 << 40 }),
            oom_score: Some(-7),
            rlimits: vec![Rlimit { resource: 7, soft: 1, hard: u64::MAX }],
            capabilities: Some(Capabilities { effective: 1, bounding: u64::MAX }),
            no_new_privileges: true,
            filters: vec![vec![0; 8], Vec::new()],
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let credentials = Credentials { uid: 1, gid: 2, groups: vec![2, 3] };
        let arguments = ["echo".to_owned(), String::new(), "ä b".to_owned()];
        let environment = [("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())];
        let rotation = Some(Rotation { stdout_bytes: 1 << 40, stderr_bytes: 2, files: 3 });
        let jail = jail();
        let launch =
            Launch { credentials: Some(&credentials), rotation, jail: Some(&jail), ..launch(&arguments, &environment) };
        let mut bytes = Vec::new();
        encode(&mut bytes, &launch).unwrap();
        assert_eq!(length(&bytes), Ok(Some(bytes.len())));
        let received = decode(&bytes[4..]).unwrap();
        assert_eq!(received.number, 7);
        assert_eq!((received.slot, received.container), (5, c"c-1"));
        assert_eq!(received.sandbox, c"/sandbox/s");
        assert_eq!(received.credentials, Some(credentials));
        assert_eq!(received.command, c"echo");
        assert_eq!(received.arguments, Some(vec![c"echo", c"", c"ä b"]));
        assert_eq!(received.environment, [c"A=1=2", c"B="]);
        assert_eq!(received.rotation, rotation);
        assert_eq!(received.jail, Some(jail));
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let arguments = ["a".to_owned()];
        let environment = [("A".to_owned(), "1".to_owned())];
        let mut bytes = Vec::new();
        let jail = jail();
        encode(&mut bytes, &Launch { jail: Some(&jail), ..launch(&arguments, &environment) }).unwrap();
        let frame = &bytes[4..];
        for end in 0..frame.len() {
            assert!(decode(&frame[..end]).is_err(), "decoded after {end} bytes");
        }
        for at in 0..frame.len() {
            let mut changed = frame.to_vec();
            changed[at] ^= 0xff;
            let _ = decode(&changed); // must not panic
        }
        assert_eq!(decode(&[9; 20]).unwrap_err(), FrameError::Version(9));
    }

    #[test]
    fn what_execve_cannot_take_is_refused_and_leaves_the_buffer() {
        let mut bytes = b"before".to_vec();
        let arguments = ["a\0b".to_owned()];
        assert_eq!(encode(&mut bytes, &launch(&arguments, &[])), Err(FrameError::Nul("argument list")));
        let environment = [("A".to_owned(), "x".repeat(MAX_FRAME))];
        assert!(matches!(encode(&mut bytes, &launch(&[], &environment)), Err(FrameError::TooLong(_))));
        let broken = Launch { sandbox: Path::new("/a\nb"), ..launch(&[], &[]) };
        assert_eq!(encode(&mut bytes, &broken), Err(FrameError::LineBreak("sandbox's path")));
        assert_eq!(bytes, b"before");
        assert_eq!(length(&u32::MAX.to_le_bytes()), Err(FrameError::TooLong(u32::MAX as usize)));
    }
}
