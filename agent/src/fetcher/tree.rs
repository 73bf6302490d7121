//! A directory that nothing gets out of: every path is resolved by the kernel beneath it, links included.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Component, Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Timestamps, openat2},
    io::Errno,
};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// The directory.
#[derive(Clone, Debug)]
pub(crate) struct Tree(Arc<OwnedFd>);

impl Tree {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(Arc::new(rustix::fs::openat(CWD, path, flags, Mode::empty())?)))
    }

    /// Makes a file, or empties the regular one that is there.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK;
        self.open_at(path, flags, Mode::from_raw_mode(0o644)).map(File::from)
    }

    /// Opens a file to read it.
    pub(super) fn read(&self, path: &Path) -> io::Result<File> {
        self.open_at(path, OFlags::RDONLY, Mode::empty()).map(File::from)
    }

    /// Whether there is something under this path, links followed within the tree.
    pub(crate) fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.open_at(path, OFlags::PATH, Mode::empty()) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a directory and its parents; those that exist are fine.
    pub(crate) fn make_directories(&self, path: &Path) -> io::Result<()> {
        let mut made = PathBuf::new();
        for component in normal(path)?.components() {
            let parent = self.directory(&made)?;
            match rustix::fs::mkdirat(&parent, component.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => made.push(component),
                Err(error) => return Err(error.into()),
            }
        }
        self.directory(&made).map(drop)
    }

    /// Makes a symbolic link, in place of a file or link that is there. Where it points to is not followed here.
    pub(crate) fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        replacing(&parent, &name, || rustix::fs::symlinkat(target, &parent, &name))
    }

    /// Gives a file of the tree a second name.
    pub(super) fn hard_link(&self, existing: &Path, path: &Path) -> io::Result<()> {
        let (from, from_name) = self.place(existing)?;
        let (parent, name) = self.place(path)?;
        replacing(&parent, &name, || rustix::fs::linkat(&from, &from_name, &parent, &name, AtFlags::empty()))
    }

    /// Takes away a file or link, if there is one, so that a new file is not written through it.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        match rustix::fs::unlinkat(&parent, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Sets the permissions of a file.
    pub(super) fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        let file = self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
        Ok(rustix::fs::fchmod(file, Mode::from_raw_mode(mode))?)
    }

    fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        Ok(openat2(&*self.0, normal(path)?, flags | OFlags::CLOEXEC, mode, BENEATH)?)
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// The directory that holds `path`, and the name in it.
    fn place(&self, path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
        let path = normal(path)?;
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.into();
        Ok((self.directory(path.parent().unwrap_or(Path::new("")))?, name))
    }
}

/// Sets the time of the last change.
pub(super) fn set_modified(file: impl AsFd, modified: SystemTime) -> io::Result<()> {
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let time = rustix::fs::Timespec {
        tv_sec: since.as_secs().try_into().unwrap_or_default(),
        tv_nsec: since.subsec_nanos().into(),
    };
    Ok(rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time })?)
}

fn replacing(parent: &OwnedFd, name: &Path, make: impl Fn() -> rustix::io::Result<()>) -> io::Result<()> {
    match make() {
        Err(Errno::EXIST) => {}
        result => return Ok(result?),
    }
    rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
    Ok(make()?)
}

/// The path without `.`; one that is absolute or goes up is refused, as by Mesos' extractor (not quietly changed).
fn normal(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused("contains '..'")),
            Component::RootDir | Component::Prefix(_) => return Err(refused("is absolute")),
        }
    }
    if clean.as_os_str().is_empty() {
        clean.push(".");
    }
    Ok(clean)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the path {why}, which leads out of the sandbox"))
}
