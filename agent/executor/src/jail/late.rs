//! Mounts that come to a container that runs, and go again: made by the agent, from within the container's mount namespace.

use std::{
    fs::File,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, fstat, openat2, statat},
    io::Errno,
    mount::{UnmountFlags, unmount},
    process::fchdir,
};

use super::{
    edge,
    mounts::{Kind, attach, bind, directory, find_or_make},
};
use crate::process::Identity;

/// A directory of the host in the sandbox of a container.
#[derive(Clone, Debug)]
pub struct Late {
    /// What is shown.
    pub source: PathBuf,
    /// Where, below the sandbox.
    pub target: PathBuf,
    /// Nothing may be written there.
    pub read_only: bool,
}

/// Shows directories in a container that runs, or takes those away that are shown. What is done already is left as it is, so
/// that this may be asked for again. `process` is one of the container's; `sandbox` as that one sees it. Blocks.
///
/// # Errors
/// Which one cannot be shown or taken away, and why.
pub fn change(process: Identity, sandbox: &Path, all: Vec<Late>, present: bool) -> Result<(), String> {
    let sandbox = sandbox.to_path_buf();
    // A thread that goes into another mount namespace does not come back.
    let thread = thread::Builder::new().name("mounts".into()).stack_size(512 * 1024);
    let thread = thread.spawn(move || {
        let sources: Vec<Opened> = all.iter().map(open).collect::<Result<_, String>>()?;
        enter(process)?;
        let sandbox = directory(&sandbox)?;
        for (late, source) in all.iter().zip(&sources) {
            if present { show(sandbox.as_fd(), late, source)? } else { hide(sandbox.as_fd(), late, source)? }
        }
        Ok(())
    });
    let thread = thread.map_err(|error| format!("Failed to start a thread that mounts: {error}"))?;
    thread.join().unwrap_or_else(|_| Err("The thread that mounts broke down".into()))
}

/// A source, found on the host.
struct Opened {
    tree: OwnedFd,
    identity: (u64, u64),
}

fn open(late: &Late) -> Result<Opened, String> {
    let (tree, kind) = bind(&late.source, Path::new(""))?;
    let failed = |error: Errno| format!("Failed to look at '{}': {error}", late.source.display());
    if kind != Kind::Directory {
        return Err(failed(Errno::NOTDIR));
    }
    if late.read_only {
        edge::make_read_only(tree.as_fd(), true)
            .map_err(|error| failed(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
    }
    let identity = identity(tree.as_fd()).map_err(failed)?;
    Ok(Opened { tree, identity })
}

fn identity(directory: BorrowedFd<'_>) -> Result<(u64, u64), Errno> {
    fstat(directory).map(|stat| (stat.st_dev, stat.st_ino))
}

/// The calling thread sees the container's files from now on.
fn enter(process: Identity) -> Result<(), String> {
    let pid = process.pid;
    let failed = |what: &str, error: std::io::Error| format!("Failed to {what} of process {pid}: {error}");
    let namespace = File::open(format!("/proc/{pid}/ns/mnt")).map_err(|error| failed("open the mounts", error))?;
    if Identity::of(pid) != Some(process) {
        return Err(format!("The process {pid} of the container has ended"));
    }
    // The directories of a thread are those of its process otherwise, and then it may not enter.
    unshare(CloneFlags::CLONE_FS)
        .and_then(|()| setns(namespace, CloneFlags::CLONE_NEWNS))
        .map_err(|error| failed("enter the mounts", error.into()))
}

fn show(sandbox: BorrowedFd<'_>, late: &Late, source: &Opened) -> Result<(), String> {
    let shown = late.target.display().to_string();
    let failed = |error: Errno| format!("Failed to find or make '{shown}' in the sandbox to mount on: {error}");
    let target = find_or_make(sandbox, &late.target, Kind::Directory, ResolveFlags::BENEATH).map_err(failed)?;
    if identity(target.as_fd()).map_err(failed)? == source.identity {
        return Ok(());
    }
    attach(source.tree.as_fd(), target.as_fd(), &shown)
}

fn hide(sandbox: BorrowedFd<'_>, late: &Late, source: &Opened) -> Result<(), String> {
    let failed = |error: Errno| format!("Failed to unmount '{}' in the sandbox: {error}", late.target.display());
    let Some(name) = late.target.file_name() else { return Ok(()) };
    let parent = late.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let scope = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match openat2(sandbox, parent, flags, Mode::empty(), scope) {
        Err(Errno::NOENT) => return Ok(()),
        result => result.map_err(failed)?,
    };
    match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if (stat.st_dev, stat.st_ino) == source.identity => {}
        _ => return Ok(()),
    }
    fchdir(&parent)
        .and_then(|()| unmount(Path::new(name), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW))
        .map_err(failed)
}
