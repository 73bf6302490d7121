//! What is to be entered so that a process comes to run where another one does, read from /proc: it works with whatever
//! that one was isolated by, and with none.

use std::{
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

use crate::{
    frame::ReceivedEnter,
    process::Identity,
    sys::{self, Surroundings},
};

/// Entered by sessions and by neighbours, before the mounts.
const SHARED: [&str; 3] = ["ipc", "uts", "net"];

/// Why nothing can be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It ended.
    #[error("the process {0} of the container to be entered has ended")]
    Gone(i32),
    /// Something of it cannot be opened.
    #[error("cannot open '{}' of the container to be entered: {source}", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Opens all that is to be entered and is not the same already.
///
/// # Errors
/// When the process is gone, or something of it may not be opened.
pub fn open(enter: &ReceivedEnter<'_>) -> Result<Surroundings, EnterError> {
    let pid = enter.process.pid;
    let inside = enter.inside.is_some();
    let mut found = Surroundings { cgroups: cgroups(pid)?, ..Surroundings::default() };
    let other: Vec<&str> = if inside { vec!["cgroup", "mnt"] } else { Vec::new() };
    for name in SHARED.into_iter().chain(other) {
        found.namespaces.extend(different(pid, &format!("ns/{name}"))?);
    }
    if inside {
        found.pid_namespace = different(pid, "ns/pid")?;
        found.root = different(pid, "root")?;
        found.limits = sys::limits_of(pid);
        (found.lost_capabilities, found.no_new_privileges) = rights(pid);
    }
    match Identity::of(pid) {
        Some(identity) if identity == enter.process => Ok(found),
        _ => Err(EnterError::Gone(pid)),
    }
}

fn opened(path: &Path) -> Result<File, EnterError> {
    File::open(path).map_err(|source| EnterError::Open { path: path.into(), source })
}

/// The process' own, unless it is ours too.
fn different(pid: i32, name: &str) -> Result<Option<OwnedFd>, EnterError> {
    let theirs = PathBuf::from(format!("/proc/{pid}/{name}"));
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino()));
    let their_identity = match identity(&theirs) {
        Ok(identity) => identity,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(EnterError::Open { path: theirs, source }),
    };
    if identity(&Path::new("/proc/self").join(name)).is_ok_and(|own| own == their_identity) {
        return Ok(None);
    }
    opened(&theirs).map(|file| Some(file.into()))
}

/// The `cgroup.procs` of its cgroups that are not ours.
fn cgroups(pid: i32) -> Result<Vec<OwnedFd>, EnterError> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (theirs, own) = (read(&format!("/proc/{pid}/cgroup")), read("/proc/self/cgroup"));
    let mounts = read("/proc/self/mountinfo");
    let mut found = Vec::new();
    for line in theirs.lines().filter(|line| !own.lines().any(|other| other == *line)) {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let Some(directory) = directory(&mounts, controllers, path) else { continue };
        let procs = directory.join("cgroup.procs");
        let opened = File::options().write(true).open(&procs);
        found.push(opened.map_err(|source| EnterError::Open { path: procs, source })?.into());
    }
    Ok(found)
}

/// Where a cgroup of a hierarchy is mounted; no controllers are the hierarchy of version 2.
fn directory(mounts: &str, controllers: &str, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let fits = match (kind.next()?, controllers) {
            ("cgroup2", "") => true,
            ("cgroup", controllers) if !controllers.is_empty() => {
                let options = kind.nth(1)?;
                controllers.split(',').all(|wanted| options.split(',').any(|option| option == wanted))
            }
            _ => false,
        };
        let below = Path::new(path).strip_prefix(root).ok().filter(|_| fits)?;
        Some(Path::new(point).join(below))
    })
}

/// Capabilities in our bounding set that it has lost, and whether it may gain nothing by an exec.
fn rights(pid: i32) -> (u64, bool) {
    let bounding = |status: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
        u64::from_str_radix(value.trim(), 16).ok()
    };
    let theirs = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lost = bounding(&own).unwrap_or_default() & !bounding(&theirs).unwrap_or(u64::MAX);
    let stays = theirs.lines().any(|line| line.strip_prefix("NoNewPrivs:").is_some_and(|value| value.trim() == "1"));
    (lost, stays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_are_found_where_they_are_mounted() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                      31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 23 0:28 /outer /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let find = |controllers, path| directory(mounts, controllers, path).map(|found| found.display().to_string());
        assert_eq!(find("", "/a"), Some("/sys/fs/cgroup/unified/a".into()));
        assert_eq!(find("cpu,cpuacct", "/mesos/a"), Some("/sys/fs/cgroup/cpu,cpuacct/mesos/a".into()));
        assert_eq!(find("memory", "/outer/a"), Some("/sys/fs/cgroup/memory/a".into()));
        assert_eq!(find("memory", "/elsewhere"), None);
        assert_eq!(find("pids", "/a"), None);
    }

    #[test]
    fn a_neighbour_without_isolation_has_nothing_to_enter() {
        let pid = std::process::id().try_into().unwrap();
        let process = Identity::of(pid).unwrap();
        let found = open(&ReceivedEnter { process, inside: Some(c"/") }).unwrap();
        assert!(found.namespaces.is_empty() && found.cgroups.is_empty());
        assert!(found.pid_namespace.is_none() && found.root.is_none());
        let gone = Identity { start: process.start + 1, ..process };
        assert!(matches!(open(&ReceivedEnter { process: gone, inside: None }), Err(EnterError::Gone(_))));
    }
}
