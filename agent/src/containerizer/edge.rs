//! Registering our own descriptors with the runtime: its function for that is marked unsafe.
#![allow(unsafe_code)]

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

/// Makes a descriptor's readiness something to await.
pub(super) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always the same, and closed only when the `AsyncFd` that now owns it is dropped,
    // which takes it back from the runtime first.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
