//! The parts of a frame that say what holds a container's input and output, and where else it is put.

use std::{ffi::CStr, os::unix::ffi::OsStrExt, path::Path};

use super::{Decoder, Encoder, FrameError, Launch};
use crate::process::Identity;

/// How a container's input and output are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io<'a> {
    /// The socket that the supervisor listens on; at most [`crate::io::MAX_SOCKET_NAME`] bytes in its last component.
    pub socket: &'a Path,
    /// A terminal of this size, and no pipes.
    pub terminal: Option<Window>,
    /// What becomes of output that nobody is attached to.
    pub unread: Unread,
}

/// Output that nobody is attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// All output is in the sandbox's files too: a task's.
    Filed,
    /// It is held back until somebody is: a session's. There are no files, and no sandbox is made.
    Held,
}

/// A terminal's size in characters; 0 by 0 is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

/// Whose surroundings are entered, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enter<'a> {
    /// The process, with its start time.
    pub process: Identity,
    /// How far.
    pub scope: Scope<'a>,
}

/// How far another container is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Wholly, as a session in it: every namespace, root, cgroups, limits; with the working directory as seen inside.
    Inside(&'a Path),
    /// As its neighbour: network, host name, IPC and cgroups.
    Beside,
}

/// [`Io`] as it was received.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceivedIo<'a> {
    /// The socket that the supervisor listens on.
    pub socket: &'a CStr,
    /// A terminal of this size, and no pipes.
    pub terminal: Option<Window>,
    /// What becomes of output that nobody is attached to.
    pub unread: Unread,
}

/// [`Enter`] as it was received.
#[derive(Debug, PartialEq, Eq)]
pub struct ReceivedEnter<'a> {
    /// The process.
    pub process: Identity,
    /// The working directory inside; `None`: only beside it.
    pub inside: Option<&'a CStr>,
}

impl Encoder<'_> {
    pub(super) fn surroundings(&mut self, launch: &Launch<'_>) -> Result<(), FrameError> {
        match &launch.io {
            None => self.out.push(0),
            Some(io) => {
                self.out.extend([1, u8::from(io.unread == Unread::Held), u8::from(io.terminal.is_some())]);
                let Window { rows, columns } = io.terminal.unwrap_or_default();
                self.out.extend(rows.to_le_bytes());
                self.out.extend(columns.to_le_bytes());
                self.text("socket's path", io.socket.as_os_str().as_bytes(), &[])?;
            }
        }
        let Some(Enter { process, scope }) = &launch.enter else {
            self.out.push(0);
            return Ok(());
        };
        self.out.push(if matches!(scope, Scope::Inside(_)) { 1 } else { 2 });
        self.out.extend(process.pid.to_le_bytes());
        self.out.extend(process.start.to_le_bytes());
        match scope {
            Scope::Inside(directory) => self.text("working directory", directory.as_os_str().as_bytes(), &[]),
            Scope::Beside => Ok(()),
        }
    }
}

impl<'a> Decoder<'a> {
    pub(super) fn io(&mut self) -> Result<Option<ReceivedIo<'a>>, FrameError> {
        if self.byte()? == 0 {
            return Ok(None);
        }
        let unread = if self.byte()? == 1 { Unread::Held } else { Unread::Filed };
        let has_terminal = self.byte()? == 1;
        let (rows, columns) = (self.short()?, self.short()?);
        let terminal = has_terminal.then_some(Window { rows, columns });
        Ok(Some(ReceivedIo { socket: self.text()?, terminal, unread }))
    }

    pub(super) fn enter(&mut self) -> Result<Option<ReceivedEnter<'a>>, FrameError> {
        let scope = self.byte()?;
        if scope == 0 {
            return Ok(None);
        }
        let pid = i32::try_from(self.number()?).map_err(|_| FrameError::Malformed)?;
        let process = Identity { pid, start: self.long()? };
        let inside = if scope == 1 { Some(self.text()?) } else { None };
        Ok(Some(ReceivedEnter { process, inside }))
    }

    fn short(&mut self) -> Result<u16, FrameError> {
        let bytes = self.take(2)?.first_chunk::<2>().ok_or(FrameError::Malformed)?;
        Ok(u16::from_le_bytes(*bytes))
    }
}
