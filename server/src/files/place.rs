//! From a path in a request to a file, without a way out.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io,
    path::{Component, Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use super::FilesError;

/// Something within a boundary; both are free of links and `..`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    boundary: PathBuf,
    /// Relative to it; empty is the boundary itself.
    rest: PathBuf,
}

/// Finds `rest` below `root`.
pub(super) fn resolve(root: &Path, rest: &Path) -> Result<Place, FilesError> {
    // Joining nothing would add a slash, which no file has.
    let wanted = if rest.as_os_str().is_empty() { root.to_path_buf() } else { root.join(rest) };
    let real = |path: &Path| match path.canonicalize() {
        Ok(real) => Ok(real),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Err(FilesError::NotFound)
        }
        Err(error) => {
            Err(FilesError::Invalid(format!("Failed to determine canonical path of '{}': {error}.\n", path.display())))
        }
    };
    let outside = || FilesError::Invalid(format!("'{}' is inaccessible.\n", wanted.display()));
    if rest.is_absolute() {
        return Err(outside());
    }
    let mut boundary = real(root)?;
    if let Some(run) = run_of(&boundary, rest) {
        let run = real(&root.join(run))?;
        if !run.starts_with(&boundary) {
            return Err(outside());
        }
        boundary = run;
    }
    let found = real(&wanted)?;
    let rest = found.strip_prefix(&boundary).map_err(|_| outside())?.to_path_buf();
    Ok(Place { boundary, rest })
}

/// The part of `rest` that names a run: `…/runs/<run>`, where what comes before has no `..` that would make it another.
fn run_of(root: &Path, rest: &Path) -> Option<PathBuf> {
    let mut run = PathBuf::new();
    let mut after_runs = root.ends_with("runs");
    for component in rest.components() {
        run.push(component);
        match component {
            Component::Normal(_) if after_runs => return Some(run),
            Component::Normal(name) => after_runs = name == "runs",
            _ => after_runs = false,
        }
    }
    None
}

impl Place {
    /// The real path.
    pub(super) fn path(&self) -> PathBuf {
        if self.rest.as_os_str().is_empty() { self.boundary.clone() } else { self.boundary.join(&self.rest) }
    }

    /// What a link in this directory leads to; none if that is out of bounds.
    pub(super) fn behind(&self, link: &OsStr) -> io::Result<Option<Self>> {
        let target = self.path().join(link).canonicalize()?;
        let rest = target.strip_prefix(&self.boundary).ok();
        Ok(rest.map(|rest| Self { boundary: self.boundary.clone(), rest: rest.to_path_buf() }))
    }

    /// Opens it. What a task puts in the way after the path was resolved is not followed, and a FIFO not waited for. Mounts
    /// are: only who administers the machine can have made one that is seen here.
    pub(super) fn open(&self) -> io::Result<File> {
        self.open_with(OFlags::RDONLY | OFlags::NONBLOCK)
    }

    /// Opens it if it is a directory, as [`Self::open`] does.
    pub(super) fn open_directory(&self) -> io::Result<File> {
        self.open_with(OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// What it is, whatever its rights are.
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.open_with(OFlags::PATH)?.metadata()
    }

    fn open_with(&self, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::CLOEXEC;
        if self.rest.as_os_str().is_empty() {
            let flags = flags | OFlags::NOFOLLOW;
            return Ok(rustix::fs::openat(CWD, &self.boundary, flags, Mode::empty())?.into());
        }
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let boundary = rustix::fs::openat(CWD, &self.boundary, directory, Mode::empty())?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        Ok(openat2(&boundary, &self.rest, flags, Mode::empty(), resolve)?.into())
    }
}
