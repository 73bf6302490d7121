//! All processes below this one. `mezzo local` adopts what its children leave (PR_SET_CHILD_SUBREAPER): executors
//! outlive their agent by design, and here nothing may.

use std::{fs, time::Duration};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

/// What does not end after SIGKILL within this is reported.
const KILL_WITHIN: Duration = Duration::from_secs(5);

/// From now on orphans below this process become its children.
pub(super) fn adopt_orphans() -> nix::Result<()> {
    prctl::set_child_subreaper(true)
}

/// The children that have ended, adopted ones included.
pub(super) fn reap() -> Vec<WaitStatus> {
    let mut ended = Vec::new();
    loop {
        match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(status @ (WaitStatus::Exited(..) | WaitStatus::Signaled(..))) => ended.push(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                eprintln!("mezzo: cannot wait for processes: {error}");
                return ended;
            }
        }
    }
}

/// Kills every process below this one until there are none.
///
/// # Errors
/// Names the processes that could not be ended.
pub(super) async fn kill_all() -> anyhow::Result<()> {
    let deadline = Instant::now() + KILL_WITHIN;
    loop {
        reap();
        let left = below(Pid::this());
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            anyhow::bail!("these processes do not end: {left:?}");
        }
        for pid in left {
            let _ = kill(pid, Signal::SIGKILL); // it may have ended meanwhile
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// All descendants, from /proc.
fn below(root: Pid) -> Vec<Pid> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| Some((pid, parent_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect();
    let mut found = vec![root.as_raw()];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.drain(..1);
    found.into_iter().map(Pid::from_raw).collect()
}

/// The fourth field of /proc/PID/stat; the second, the name, may contain anything but is in parentheses.
fn parent_of(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_parent_behind_any_name() {
        assert_eq!(parent_of("12 (a) S) (b) S 7 12 12 0"), Some(7));
        assert_eq!(parent_of("12 (x)"), None);
    }

    #[test]
    fn finds_children_of_children() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let found = below(Pid::from_raw(i32::try_from(child.id()).unwrap()));
        assert_eq!(found.len(), 1);
        kill(found[0], Signal::SIGKILL).unwrap();
        child.wait().unwrap();
    }
}
