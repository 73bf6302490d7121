//! Making the ends: the socket, the terminal or the pipes.

use std::{
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, openat},
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with},
    pipe::{PipeFlags, pipe_with},
};

use super::Source;
use crate::{frame::Window, output::Stream, sys};

/// Binds the socket by its directory: an address has little room.
pub(super) fn serve(path: &Path) -> io::Result<(OwnedFd, Vec<u8>, OwnedFd)> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let (parent, name) = (path.parent().ok_or_else(invalid)?, path.file_name().ok_or_else(invalid)?);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, parent, flags, Mode::empty())?;
    let name = name.as_bytes().to_vec();
    match rustix::fs::unlinkat(&directory, name.as_slice(), rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let address = address(directory.as_fd(), &name)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    bind(&listener, &address)?;
    listen(&listener, 16)?;
    Ok((directory, name, listener))
}

/// The address of a socket in an open directory, for those who bind and those who connect.
///
/// # Errors
/// When the name is too long.
pub fn address(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<SocketAddrUnix> {
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend(name);
    SocketAddrUnix::new(path)
}

/// Both sides of a container's input and output.
pub(super) struct Ends {
    pub(super) far: [OwnedFd; 3],
    pub(super) input: OwnedFd,
    pub(super) sources: Vec<Source>,
}

pub(super) fn terminal(window: Window, owner: Option<(u32, u32)>, logs: [Option<Stream>; 2]) -> io::Result<Ends> {
    let (near, far) = sys::open_terminal(owner, window)?;
    let [log, _] = logs;
    Ok(Ends {
        far: [far.try_clone()?, far.try_clone()?, far],
        input: near.try_clone()?,
        sources: vec![Source { fd: Some(near), error: false, log }],
    })
}

pub(super) fn pipes(logs: [Option<Stream>; 2]) -> io::Result<Ends> {
    let [stdout_log, stderr_log] = logs;
    let (stdin_far, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, stdout_far) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_far) = pipe_with(PipeFlags::CLOEXEC)?;
    for near in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(near, true)?;
    }
    Ok(Ends {
        far: [stdin_far, stdout_far, stderr_far],
        input: stdin,
        sources: vec![
            Source { fd: Some(stdout), error: false, log: stdout_log },
            Source { fd: Some(stderr), error: true, log: stderr_log },
        ],
    })
}
