//! Pseudo terminals.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
};

use nix::libc;

use crate::frame::Window;

/// Opens a terminal of this size: the end that holds it, which never blocks, and the end for the task, owned by `owner`.
/// Neither becomes this process' own terminal, nor outlives an exec.
pub fn open_terminal(owner: Option<(u32, u32)>, window: Window) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: each descriptor that a call returns is new and nobody else's; the arguments live through the calls.
    let (near, far) = unsafe {
        let near = owned(libc::open(c"/dev/ptmx".as_ptr(), flags | libc::O_NONBLOCK))?;
        let unlocked: libc::c_int = 0;
        if libc::ioctl(near.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) == -1 {
            return Err(io::Error::last_os_error());
        }
        let far = owned(libc::ioctl(near.as_raw_fd(), libc::TIOCGPTPEER, flags))?;
        (near, far)
    };
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&far, Some(uid), Some(gid))?;
    }
    rustix::fs::fchmod(&far, rustix::fs::Mode::from_raw_mode(0o620))?;
    if window != Window::default() {
        resize(rustix::fd::AsFd::as_fd(&near), window)?;
    }
    Ok((near, far))
}

/// Tells a terminal its size; those who run in it get SIGWINCH.
pub fn resize(terminal: BorrowedFd<'_>, window: Window) -> io::Result<()> {
    let size = libc::winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `size` is whole and lives through the call.
    match unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A write to a pipe that nobody reads is an error from now on, and no signal. Tasks get the signal as ever.
pub fn ignore_broken_pipes() {
    // SAFETY: the set is initialised by sigemptyset. Blocked and not ignored: a task's mask is reset before its exec.
    unsafe {
        let mut set = std::mem::MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGPIPE);
        libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut());
    }
}

unsafe fn owned(fd: libc::c_int) -> io::Result<OwnedFd> {
    if fd == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: by the caller, the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
