//! The mounts of a container, made from within its mount namespace.
//!
//! Targets and sources that a task may have had its hands on are opened with `openat2`, which follows no link out of where
//! they belong, and are mounted by their descriptors: nothing can be put in their place meanwhile.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat, symlinkat},
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
        UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount, mount_change, move_mount,
        open_tree, unmount,
    },
    process::{chdir, fchdir, pivot_root},
};

use super::{Jail, Mount, Namespace, Root, Source, Target, edge, network};

const QUIET: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV).union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Devices of the host that a container with a root of its own has.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Parts of /proc that reach the whole host.
const LOCKED: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// Makes all mounts of the calling process' new mount namespace, and enters its root.
pub(super) fn set_up(jail: &Jail, sandbox: &Path) -> Result<(), String> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(|error| format!("Failed to make the container's mounts its own: {error}"))?;
    let mut place = Place { root: None, sandbox: directory(sandbox)? };
    if let Some(root) = &jail.root {
        let made = overlay(root)?;
        place.root = Some(directory(&made)?);
        furnish(jail, &mut place, sandbox)?;
    } else if jail.namespaces.contains(&Namespace::Pid) {
        attach(new_file_system("proc", &[], QUIET)?.as_fd(), directory(Path::new("/proc"))?.as_fd(), "/proc")?;
    }
    if jail.namespaces.contains(&Namespace::Ipc) {
        let target = Target::Root("/dev/mqueue".into());
        if place.root.is_some() || Path::new("/dev/mqueue").is_dir() {
            place.mount_on(&target, Kind::Directory, new_file_system("mqueue", &[], QUIET)?.as_fd())?;
        }
    }
    jail.mounts.iter().try_for_each(|mount| one(mount, &place))?;
    match (&jail.root, &place.root) {
        (Some(root), Some(directory)) => enter(root, directory),
        _ => Ok(()),
    }
}

/// Where targets are found.
struct Place {
    /// The root of its own.
    root: Option<OwnedFd>,
    /// The sandbox, as it is to be seen.
    sandbox: OwnedFd,
}

/// What a target has to be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

fn one(mount: &Mount, place: &Place) -> Result<(), String> {
    let (tree, kind) = match &mount.source {
        Source::Bind { base, below } => bind(base, below)?,
        Source::Tmpfs { bytes } => {
            let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            (new_file_system("tmpfs", &[("size", &bytes.to_string()), ("mode", "1777")], flags)?, Kind::Directory)
        }
    };
    if mount.read_only {
        edge::make_read_only(tree.as_fd(), true)
            .map_err(|error| format!("Failed to make the volume at {} read-only: {error}", shown(&mount.target)))?;
    }
    place.mount_on(&mount.target, kind, tree.as_fd())
}

fn shown(target: &Target) -> String {
    match target {
        Target::Root(path) => format!("'{}'", path.display()),
        Target::Sandbox(path) => format!("'{}' in the sandbox", path.display()),
    }
}

impl Place {
    fn mount_on(&self, target: &Target, kind: Kind, tree: BorrowedFd<'_>) -> Result<(), String> {
        let failed = |error: Errno| format!("Failed to find or make {} to mount on: {error}", shown(target));
        let opened = match (target, &self.root) {
            (Target::Root(path), Some(root)) => find_or_make(root.as_fd(), path, kind, ResolveFlags::IN_ROOT),
            (Target::Root(path), None) => openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
            (Target::Sandbox(path), _) => find_or_make(self.sandbox.as_fd(), path, kind, ResolveFlags::BENEATH),
        };
        attach(tree, opened.map_err(failed)?.as_fd(), &shown(target))
    }
}

pub(super) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>, shown: &str) -> Result<(), String> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags).map_err(|error| format!("Failed to mount on {shown}: {error}"))
}

pub(super) fn directory(path: &Path) -> Result<OwnedFd, String> {
    openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| format!("Failed to open '{}': {error}", path.display()))
}

/// A copy of a part of the host's tree.
pub(super) fn bind(base: &Path, below: &Path) -> Result<(OwnedFd, Kind), String> {
    let failed = |error: Errno| {
        let path = if below.as_os_str().is_empty() { base.to_path_buf() } else { base.join(below) };
        format!("Failed to find the source '{}' of a volume: {error}", path.display())
    };
    let mut found = openat(CWD, base, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    if !below.as_os_str().is_empty() {
        found = find_or_make(found.as_fd(), below, Kind::Directory, ResolveFlags::BENEATH).map_err(failed)?;
    }
    let kind = statat(&found, "", AtFlags::EMPTY_PATH).map_err(failed)?.st_mode;
    let kind = if FileType::from_raw_mode(kind) == FileType::Directory { Kind::Directory } else { Kind::File };
    Ok((copied(found.as_fd()).map_err(failed)?, kind))
}

fn copied(tree: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(tree, "", flags)
}

/// Opens `path` within `base`, making what is missing.
pub(super) fn find_or_make(
    base: BorrowedFd<'_>,
    path: &Path,
    kind: Kind,
    scope: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let scope = scope | ResolveFlags::NO_MAGICLINKS;
    let open =
        |path: &Path, flags: OFlags| openat2(base, path, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty(), scope);
    let path: PathBuf = path.components().filter(|part| !matches!(part, Component::RootDir)).collect();
    let path = if path.as_os_str().is_empty() { PathBuf::from(".") } else { path };
    match open(&path, OFlags::empty()) {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    let mut walked = PathBuf::new();
    let mut at = open(Path::new("."), OFlags::DIRECTORY)?;
    let mut parts = path.components().peekable();
    while let Some(part) = parts.next() {
        walked.push(part);
        let last = parts.peek().is_none();
        let next = match open(&walked, OFlags::empty()) {
            Err(Errno::NOENT) => {
                let name = Path::new(part.as_os_str());
                let made = if last && kind == Kind::File {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                    openat(&at, name, flags, Mode::from_raw_mode(0o644)).map(drop)
                } else {
                    mkdirat(&at, name, Mode::from_raw_mode(0o755))
                };
                // Containers that share it may make it at the same moment.
                if made != Err(Errno::EXIST) {
                    made?;
                }
                open(&walked, OFlags::empty())?
            }
            result => result?,
        };
        at = next;
    }
    Ok(at)
}

fn new_file_system(kind: &str, options: &[(&str, &str)], flags: MountAttrFlags) -> Result<OwnedFd, String> {
    let made = || {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
        fsconfig_create(context.as_fd())?;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
    };
    made().map_err(|error: Errno| format!("Failed to make a file system of type {kind} for the container: {error}"))
}

/// Mounts the layers; the directory where.
fn overlay(root: &Root) -> Result<PathBuf, String> {
    let failed = |error: io::Error| format!("Failed to make the root of the container: {error}");
    let made = root.upper.with_file_name("root");
    for path in [&root.upper, &root.work, &made] {
        fs::create_dir_all(path).map_err(failed)?;
    }
    fs::set_permissions(&root.upper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(failed)?;
    // By their descriptors: the options of a mount have room for a page of text only.
    let opened = root.lower.iter().rev().chain([&root.upper, &root.work]).map(|path| directory(path));
    let opened = opened.collect::<Result<Vec<OwnedFd>, String>>()?;
    let paths: Vec<String> = opened.iter().map(|fd| format!("/proc/self/fd/{}", fd.as_raw_fd())).collect();
    let (lower, upper) = paths.split_at(root.lower.len());
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper[0], upper[1]);
    let mounted = |more: &str| {
        let options = std::ffi::CString::new(format!("{options}{more}")).map_err(|_| Errno::INVAL)?;
        mount("overlay", &made, "overlay", MountFlags::empty(), Some(options.as_c_str()))
    };
    // What is written is thrown away with the container: nothing needs to reach the disk when it is unmounted.
    match mounted(",volatile") {
        Err(Errno::INVAL) => mounted(""),
        result => result,
    }
    .map_err(|error| {
        format!(
            "Failed to mount the {} layers of the container's root on '{}' (overlayfs): {error}",
            root.lower.len(),
            made.display()
        )
    })?;
    Ok(made)
}

/// What every root has: /proc, /sys, /dev, the sandbox, how names of hosts are found.
fn furnish(jail: &Jail, place: &mut Place, sandbox: &Path) -> Result<(), String> {
    let at = |path: &str| Target::Root(path.into());
    let processes = new_file_system("proc", &[], QUIET)?;
    place.mount_on(&at("/proc"), Kind::Directory, processes.as_fd())?;
    for name in LOCKED {
        lock(place, name)?;
    }
    let system = new_file_system("sysfs", &[], QUIET | MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    place.mount_on(&at("/sys"), Kind::Directory, system.as_fd())?;
    let devices = new_file_system("tmpfs", &[("mode", "755"), ("size", "65536k")], MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    for name in DEVICES {
        let host = Path::new("/dev").join(name);
        if let Ok((tree, kind)) = bind(&host, Path::new("")) {
            let node = find_or_make(devices.as_fd(), Path::new(name), kind, ResolveFlags::BENEATH)
                .map_err(|error| format!("Failed to make '/dev/{name}': {error}"))?;
            attach(tree.as_fd(), node.as_fd(), &host.display().to_string())?;
        }
    }
    for (name, target) in LINKS {
        symlinkat(target, &devices, name).map_err(|error| format!("Failed to make '/dev/{name}': {error}"))?;
    }
    place.mount_on(&at("/dev"), Kind::Directory, devices.as_fd())?;
    let terminals = [("ptmxmode", "0666"), ("mode", "620"), ("gid", "5")];
    let flags = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    place.mount_on(&at("/dev/pts"), Kind::Directory, new_file_system("devpts", &terminals, flags)?.as_fd())?;
    let shared = [("mode", "1777"), ("size", "65536k")];
    place.mount_on(&at("/dev/shm"), Kind::Directory, new_file_system("tmpfs", &shared, QUIET)?.as_fd())?;
    for (name, file) in names(jail)? {
        if let Ok((tree, kind)) = bind(&file, Path::new("")) {
            place.mount_on(&at(name), kind, tree.as_fd())?;
        }
    }
    if let Some(inside) = &jail.sandbox {
        let target = Target::Root(inside.clone());
        let (tree, kind) = bind(sandbox, Path::new(""))?;
        place.mount_on(&target, kind, tree.as_fd())?;
        if let Some(root) = &place.root {
            place.sandbox = find_or_make(root.as_fd(), inside, Kind::Directory, ResolveFlags::IN_ROOT)
                .map_err(|error| format!("Failed to open the sandbox in the container: {error}"))?;
        }
    }
    Ok(())
}

/// How names of hosts are found: the host's files, or the container's own if it has a network of its own.
fn names(jail: &Jail) -> Result<Vec<(&'static str, PathBuf)>, String> {
    match jail.root.as_ref().and_then(|root| root.upper.parent()) {
        Some(place) if jail.namespaces.contains(&Namespace::Net) => network::files(jail, place),
        _ => Ok(["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"].map(|file| (file, file.into())).into()),
    }
}

/// Makes a part of the container's /proc read-only.
fn lock(place: &Place, name: &str) -> Result<(), String> {
    let Some(root) = &place.root else { return Ok(()) };
    let path = Path::new("/proc").join(name);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(found) = openat2(root, &path, flags, Mode::empty(), ResolveFlags::IN_ROOT) else { return Ok(()) };
    let failed = |error: io::Error| format!("Failed to make '/proc/{name}' read-only: {error}");
    let tree = copied(found.as_fd()).map_err(|error| failed(error.into()))?;
    edge::make_read_only(tree.as_fd(), true).map_err(failed)?;
    attach(tree.as_fd(), found.as_fd(), &path.display().to_string())
}

/// The root of its own takes the place of the host's.
fn enter(root: &Root, directory: &OwnedFd) -> Result<(), String> {
    let failed = |error: Errno| format!("Failed to enter the root of the container: {error}");
    if root.read_only {
        edge::make_read_only(directory.as_fd(), false)
            .map_err(|error| format!("Failed to make the root of the container read-only: {error}"))?;
    }
    fchdir(directory).map_err(failed)?;
    pivot_root(".", ".").map_err(failed)?;
    unmount(".", UnmountFlags::DETACH).map_err(failed)?;
    chdir("/").map_err(failed)
}
