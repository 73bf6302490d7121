//! Cgroups of a container: made and removed by its supervisor, joined by its first process.
//!
//! Both versions look alike from here: directories, files in them. They differ in how a process comes in.

use std::{
    fs::{self, File},
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    process::{Pid, Signal, kill_process},
};

use super::{Cgroup, MemoryLimit, Part, Version};
use crate::sys::{self, Wake};

/// Another container may remove a shared cgroup between its making and the joining.
const ATTEMPTS: usize = 5;

/// How long the kernel may take until nothing is in a cgroup any more whose processes are dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the kernel may take from a lack of memory to a victim.
const VICTIM_PATIENCE: Duration = Duration::from_secs(2);

/// Makes them, and writes their files. Another container's end may take a shared one away meanwhile: then all over again.
pub(crate) fn make(cgroups: &[Cgroup]) -> Result<(), String> {
    let made = |cgroup: &Cgroup| make_one(cgroup).map_err(|error| (cgroup.path.clone(), error));
    again_while_gone(|(_, error): &(PathBuf, io::Error)| is_gone(error), || cgroups.iter().try_for_each(made))
        .map_err(|(path, error)| format!("Failed to make the cgroup '{}': {error}", path.display()))
}

fn again_while_gone<E>(gone: impl Fn(&E) -> bool, mut action: impl FnMut() -> Result<(), E>) -> Result<(), E> {
    let mut result = action();
    for _ in 1..ATTEMPTS {
        if !result.as_ref().is_err_and(&gone) {
            break;
        }
        result = action();
    }
    result
}

/// Whether a cgroup was removed: by its name, or under the hands of who holds it open.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENODEV)
}

fn make_one(cgroup: &Cgroup) -> io::Result<()> {
    match fs::create_dir(&cgroup.path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    cgroup.files.iter().try_for_each(|(name, value)| set(&cgroup.path, name, value))
}

/// Writes a file of a cgroup.
///
/// # Errors
/// With the file's name and the value; of the kind `NotFound` if the cgroup is gone.
pub fn set(cgroup: &Path, name: &str, value: &str) -> io::Result<()> {
    fs::write(cgroup.join(name), value).map_err(|error| {
        let kind = if is_gone(&error) { ErrorKind::NotFound } else { error.kind() };
        io::Error::new(kind, format!("cannot write '{value}' to {name}: {error}"))
    })
}

/// The cgroup of version 2 that a new process can begin in.
pub(super) fn to_be_born_in(cgroups: &[Cgroup]) -> Result<Option<OwnedFd>, String> {
    let joined = cgroups.iter().find(|cgroup| cgroup.part != Part::Above && cgroup.version == Version::Two);
    joined
        .map(|cgroup| {
            let opened = File::open(&cgroup.path).map(OwnedFd::from);
            opened.map_err(|error| format!("Failed to open the cgroup '{}': {error}", cgroup.path.display()))
        })
        .transpose()
}

/// Moves the calling process, which has one thread, into those of version 1. As a thread: moving a process takes a lock
/// of the whole system for several milliseconds.
pub(super) fn join(cgroups: &[Cgroup]) -> Result<(), String> {
    for cgroup in cgroups.iter().filter(|cgroup| cgroup.part != Part::Above && cgroup.version == Version::One) {
        let mut here = false;
        let join = || {
            if here {
                make_one(cgroup)?; // a shared one, which another container's end took away
            }
            here = true;
            fs::write(cgroup.path.join("tasks"), "0")
        };
        again_while_gone(is_gone, join)
            .map_err(|error| format!("Failed to join the cgroup '{}': {error}", cgroup.path.display()))?;
    }
    Ok(())
}

/// The directories that a container leaves when nothing removes them, the innermost first.
pub(crate) fn directories(cgroups: &[Cgroup]) -> impl Iterator<Item = &Path> {
    cgroups.iter().rev().map(|cgroup| cgroup.path.as_path())
}

/// SIGKILL to all that is in the container's own cgroups.
pub(crate) fn kill_own(cgroups: &[Cgroup]) {
    cgroups.iter().filter(|cgroup| cgroup.part == Part::Own).for_each(|cgroup| kill(&cgroup.path));
}

/// SIGKILL to all that is in a cgroup and below, which cannot fork its way out of it.
pub fn kill(cgroup: &Path) {
    for child in below(cgroup) {
        kill(&child);
    }
    if fs::write(cgroup.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let Some(first) = processes(cgroup).filter(|pids| !pids.is_empty()) else { return };
    // Where there is a freezer nobody forks while the list is gone through; elsewhere no fork succeeds any more.
    let frozen = fs::write(cgroup.join("freezer.state"), "FROZEN").is_ok();
    let _ = fs::write(cgroup.join("pids.max"), "0");
    for pid in first.into_iter().chain(processes(cgroup).unwrap_or_default()) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    if frozen {
        let _ = fs::write(cgroup.join("freezer.state"), "THAWED");
    }
}

fn processes(cgroup: &Path) -> Option<Vec<i32>> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
    Some(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn below(cgroup: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Removes a container's cgroups: its own for certain, those that it shares if nobody else is in them.
pub(crate) fn remove(cgroups: &[Cgroup]) -> Result<(), String> {
    let mut failed = Ok(());
    for cgroup in cgroups.iter().rev() {
        match cgroup.part {
            Part::Own => {
                if let Err(error) = destroy(&cgroup.path) {
                    failed = Err(format!("Failed to remove the cgroup '{}': {error}", cgroup.path.display()));
                }
            }
            Part::Shared | Part::Above => {
                let _ = fs::remove_dir(&cgroup.path);
            }
        }
    }
    failed
}

/// Ends whatever is in a cgroup and below, and removes it.
///
/// # Errors
/// When something stays in it for long.
pub fn destroy(cgroup: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        for child in below(cgroup) {
            destroy(&child)?;
        }
        match fs::remove_dir(cgroup) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => kill(cgroup),
            result => return result,
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Notices that a container ran out of its memory.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    limit: MemoryLimit,
    kills_before: u64,
    /// Readable when the limit was hit, and when a signal waits; version 2 ends the whole container by itself.
    event: Option<(OwnedFd, OwnedFd)>,
}

impl MemoryWatch {
    pub(crate) fn new(limit: &MemoryLimit) -> Self {
        let event = notification(&limit.path).and_then(|event| Ok((event, sys::signal_descriptor()?))).ok();
        Self { limit: limit.clone(), kills_before: kills(&limit.path), event }
    }

    /// As [`sys::wait_signal`]; ends sooner when the limit is hit.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Wake {
        let Some((event, signals)) = &self.event else { return sys::wait_signal(timeout) };
        let limit = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let mut watched = [PollFd::new(signals, PollFlags::IN), PollFd::new(event, PollFlags::IN)];
        let _ = poll(&mut watched, limit.as_ref());
        let [signalled, exceeded] = watched.map(|fd| fd.revents().contains(PollFlags::IN));
        if exceeded {
            let _ = rustix::io::read(event, &mut [0; 8]);
            // It is told before the kernel has chosen a victim, and of a victim it tells nothing.
            let deadline = Instant::now() + VICTIM_PATIENCE;
            while !self.is_exceeded() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if signalled { sys::wait_signal(Some(Duration::ZERO)) } else { Wake::Timeout }
    }

    /// Whether the kernel has killed for lack of memory.
    pub(crate) fn is_exceeded(&self) -> bool {
        kills(&self.limit.path) > self.kills_before
    }

    /// The limit in bytes, and what to say (src/slave/containerizer/mesos/isolators/cgroups/subsystems/memory.cpp).
    pub(crate) fn describe(&self) -> (u64, String) {
        let number = |name: &str| {
            let text = fs::read_to_string(self.limit.path.join(name)).ok()?;
            text.trim().parse::<u64>().ok()
        };
        let limit = number("memory.limit_in_bytes").or_else(|| number("memory.max")).unwrap_or(self.limit.bytes);
        let most = number("memory.max_usage_in_bytes").or_else(|| number("memory.peak"));
        let mut text = format!("Memory limit exceeded: Requested: {}", megabytes(limit));
        if let Some(most) = most {
            text.push_str(&format!(" Maximum Used: {}", megabytes(most)));
        }
        (limit, text)
    }
}

fn megabytes(bytes: u64) -> String {
    const MEGABYTE: u64 = 1 << 20;
    if bytes.is_multiple_of(MEGABYTE) {
        return format!("{}MB", bytes / MEGABYTE);
    }
    #[allow(clippy::cast_precision_loss)] // for people
    let value = bytes as f64 / MEGABYTE as f64;
    format!("{value:.1}MB")
}

/// How often the kernel has killed in a cgroup for lack of memory.
fn kills(path: &Path) -> u64 {
    let text = fs::read_to_string(path.join("memory.events"))
        .or_else(|_| fs::read_to_string(path.join("memory.oom_control")))
        .unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or_default()
}

/// The event of version 1.
fn notification(path: &Path) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let control = File::open(path.join("memory.oom_control"))?;
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    fs::write(path.join("cgroup.event_control"), format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_filled_and_described() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let files = vec![("memory.max".to_owned(), "67108864".to_owned())];
        let cgroup = Cgroup { version: Version::Two, path: path.clone(), files, part: Part::Own };
        make(std::slice::from_ref(&cgroup)).unwrap();
        make(std::slice::from_ref(&cgroup)).unwrap();
        fs::write(path.join("memory.events"), "low 0\noom 3\noom_kill 2\n").unwrap();
        fs::write(path.join("memory.peak"), "67106816\n").unwrap();
        let watch = MemoryWatch::new(&MemoryLimit { path: path.clone(), bytes: 1 });
        assert!(watch.event.is_none() && !watch.is_exceeded());
        fs::write(path.join("memory.events"), "oom_kill 3\n").unwrap();
        assert!(watch.is_exceeded());
        let (limit, text) = watch.describe();
        assert_eq!(limit, 64 << 20);
        assert_eq!(text, "Memory limit exceeded: Requested: 64MB Maximum Used: 64.0MB");
    }

    #[test]
    fn an_error_names_the_file_and_the_value() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("g");
        let files = vec![("no/such".to_owned(), "7".to_owned())];
        let text = make(&[Cgroup { version: Version::One, path, files, part: Part::Shared }]).unwrap_err();
        assert!(text.contains("'7' to no/such") && text.contains("cgroup '"), "{text}");
    }
}
