//! A directory as the root of a file system: every path is resolved by the kernel within it, as after a chroot. An
//! absolute link begins at it, `..` stops at it, and what a layer names is never followed out of it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use rustix::{
    fs::{
        AtFlags, CWD, Dev, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, openat2,
    },
    io::Errno,
};

const WITHIN: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Marks a directory that hides what lower layers have in it (Documentation/filesystems/overlayfs.rst).
const OPAQUE: &str = "trusted.overlay.opaque";

/// Whose something is, and what may be done with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rights {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    /// Seconds since the epoch.
    pub(super) modified: i64,
}

/// A directory of the root, open.
pub(super) type Directory = Rc<OwnedFd>;

/// The root.
#[derive(Debug)]
pub(super) struct Root {
    root: Directory,
    /// Where the last entry was; the next one is mostly there too.
    last: Option<(PathBuf, Directory)>,
}

/// What is in the way of a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Directory,
    Whiteout,
    Other,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: Rc::new(rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty())?), last: None })
    }

    /// The root itself.
    pub(super) fn own(&self) -> Directory {
        self.root.clone()
    }

    /// A directory, made with its parents if it is not there.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<Directory> {
        if path.as_os_str().is_empty() {
            return Ok(self.root.clone());
        }
        if let Some((known, directory)) = &self.last
            && known == path
        {
            return Ok(directory.clone());
        }
        let directory = match self.existing(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.made(path)?,
            result => result?,
        };
        self.last = Some((path.to_path_buf(), directory.clone()));
        Ok(directory)
    }

    /// What a path leads to has changed.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// A directory that must be there.
    pub(super) fn existing(&self, path: &Path) -> io::Result<Directory> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(Rc::new(openat2(&*self.root, path, DIRECTORY, Mode::empty(), WITHIN)?))
    }

    fn made(&self, path: &Path) -> io::Result<Directory> {
        let (mut directory, mut at) = (self.root.clone(), PathBuf::new());
        for component in path.components() {
            match rustix::fs::mkdirat(&*directory, component.as_os_str(), Mode::from_raw_mode(0o755)) {
                Ok(()) => set_mode(&directory, component.as_os_str(), 0o755)?,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at.push(component);
            directory = self.existing(&at)?;
        }
        Ok(directory)
    }
}

/// The path without its root and `.`: one that goes up is refused.
pub(super) fn clean(path: &[u8]) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(path)).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}

/// The directory and the name in it; none for the root.
pub(super) fn split(path: &Path) -> Option<(&Path, OsString)> {
    Some((path.parent().unwrap_or(Path::new("")), path.file_name()?.to_owned()))
}

pub(super) fn look(directory: &Directory, name: &OsStr) -> io::Result<Found> {
    match rustix::fs::statat(&**directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Found::Directory,
            FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
            _ => Found::Other,
        }),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Takes away what is no directory.
pub(super) fn remove(directory: &Directory, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(&**directory, name, AtFlags::empty())?)
}

/// A new file, which was not there.
pub(super) fn create(directory: &Directory, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&**directory, name, flags, Mode::from_raw_mode(0o600))?.into())
}

pub(super) fn make_directory(directory: &Directory, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(&**directory, name, Mode::from_raw_mode(0o700))?)
}

pub(super) fn symlink(directory: &Directory, name: &OsStr, target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(OsStr::from_bytes(target), &**directory, name)?)
}

/// A second name of what is in the root; a symbolic link itself, not what it points to.
pub(super) fn link(from: (&Directory, &OsStr), to: (&Directory, &OsStr)) -> io::Result<()> {
    Ok(rustix::fs::linkat(&**from.0, from.1, &**to.0, to.1, AtFlags::empty())?)
}

pub(super) fn fifo(directory: &Directory, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::mknodat(&**directory, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?)
}

/// What overlayfs takes for "lower layers have nothing of this name".
pub(super) fn whiteout(directory: &Directory, name: &OsStr) -> io::Result<()> {
    const NONE: Dev = 0;
    Ok(rustix::fs::mknodat(&**directory, name, FileType::CharacterDevice, Mode::empty(), NONE)?)
}

pub(super) fn make_opaque(directory: &Directory) -> io::Result<()> {
    let open = rustix::fs::openat(&**directory, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::fsetxattr(open, OPAQUE, b"y", XattrFlags::empty())?)
}

/// Capabilities go with the owner, so they are set behind it; the mode's special bits do too.
pub(super) fn dress(file: impl AsFd, rights: &Rights, capability: Option<&[u8]>) -> io::Result<()> {
    let file = file.as_fd();
    let (uid, gid) = owner(rights);
    rustix::fs::fchown(file, Some(uid), Some(gid))?;
    rustix::fs::fchmod(file, Mode::from_raw_mode(rights.mode))?;
    if let Some(value) = capability {
        rustix::fs::fsetxattr(file, "security.capability", value, XattrFlags::empty())?;
    }
    Ok(rustix::fs::futimens(file, &times(rights.modified))?)
}

/// The same for what cannot be opened: links have no mode of their own.
pub(super) fn dress_at(directory: &Directory, name: &OsStr, rights: &Rights, is_link: bool) -> io::Result<()> {
    let (uid, gid) = owner(rights);
    rustix::fs::chownat(&**directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if !is_link {
        set_mode(directory, name, rights.mode)?;
    }
    Ok(rustix::fs::utimensat(&**directory, name, &times(rights.modified), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opens a directory that is itself no link.
pub(super) fn open_directory(directory: &Directory, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&**directory, name, flags, Mode::empty())?)
}

fn set_mode(directory: &Directory, name: &OsStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::chmodat(&**directory, name, Mode::from_raw_mode(mode), AtFlags::empty())?)
}

fn owner(rights: &Rights) -> (Uid, Gid) {
    (Uid::from_raw(rights.uid), Gid::from_raw(rights.gid))
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
