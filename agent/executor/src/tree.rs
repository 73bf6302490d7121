//! Process trees: finding them, signalling each process once, leaving nobody behind.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::{Signal, WaitOptions, getpid, wait};

use crate::{
    process::{Identity, Stat},
    record::Processes,
    sys,
};

/// Rounds of [`sweep`], [`SWEEP_PAUSE`] apart, against a tree that forks while it is killed.
const SWEEP_ROUNDS: usize = 100;
const SWEEP_PAUSE: Duration = Duration::from_millis(10);
/// Rounds of them that are waited for processes of which nothing can be told yet.
const UNCLEAR_ROUNDS: usize = 10;

/// All living descendants of `root`, without itself.
pub fn descendants(root: i32) -> Vec<Stat> {
    if children(root).is_none() {
        return descendants_by_scan(root);
    }
    let mut found: Vec<Stat> = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for pid in children(parent).unwrap_or_default() {
            // A pid that changed hands since it was listed has another parent.
            let Some(stat) = Stat::of(pid).filter(|stat| stat.parent == parent) else { continue };
            parents.push(pid);
            found.push(stat);
        }
    }
    found.retain(|stat| !stat.is_dead());
    found
}

/// The children of a process, dead ones that it has not noticed included.
pub(crate) fn children_or_scan(pid: i32) -> Vec<i32> {
    let scanned = || Stat::all().filter(|stat| stat.parent == pid).map(|stat| stat.identity.pid).collect();
    children(pid).unwrap_or_else(scanned)
}

/// The kernel's own list, where it keeps one (CONFIG_PROC_CHILDREN): proportional to the tree, not to the host.
fn children(pid: i32) -> Option<Vec<i32>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut pids = Vec::new();
    for thread in threads.flatten() {
        let text = fs::read_to_string(thread.path().join("children")).ok()?;
        pids.extend(text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    Some(pids)
}

fn descendants_by_scan(root: i32) -> Vec<Stat> {
    let all: Vec<Stat> = Stat::all().collect();
    let mut known = BTreeSet::from([root]);
    let mut found = Vec::new();
    loop {
        let before = found.len();
        for stat in &all {
            if known.contains(&stat.parent) && known.insert(stat.identity.pid) {
                found.push(*stat);
            }
        }
        if found.len() == before {
            found.retain(|stat| !stat.is_dead());
            return found;
        }
    }
}

/// Sends `signal` to every descendant of `root` that is not in `done`, which it joins. Returns how many got it.
pub fn signal_descendants(root: i32, signal: Signal, done: &mut Vec<Identity>) -> usize {
    let mut count = 0;
    for stat in descendants(root) {
        if !done.contains(&stat.identity) {
            done.push(stat.identity);
            count += usize::from(stat.identity.signal(signal).is_ok());
        }
    }
    count
}

/// How well the session's number can be trusted once its leader is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// The supervisor's death was seen as it happened: no pid was given away since.
    UntilNow,
    /// It died unseen, perhaps long ago: the session's number may be another's by now.
    No,
}

/// Kills what is left of a container whose supervisor is dead: the task's session and process group, and every process
/// that carries the container's mark, until none is found. Blocks for as long as that takes, at most a second or so.
/// Returns how many processes were killed.
///
/// The mark is what descendants inherit and strangers do not have: an environment variable whose value is the sandbox
/// (MESOS_SANDBOX), or standard output or error in the sandbox.
pub fn sweep(processes: &Processes, watched: Watched) -> usize {
    let mut killed = BTreeSet::new();
    for round in 0..SWEEP_ROUNDS {
        if round > 0 {
            std::thread::sleep(SWEEP_PAUSE);
        }
        let leader = Stat::of(processes.task.pid).map(|stat| stat.identity);
        let own_session = leader == Some(processes.task) || (leader.is_none() && watched == Watched::UntilNow);
        // A supervisor's own output is in the sandbox too.
        let own = getpid().as_raw_nonzero().get();
        let (mut found, mut unclear) = (Vec::new(), false);
        for stat in Stat::all() {
            let stranger = stat.identity.start < processes.task.start || stat.identity.pid == own;
            if stat.is_dead() || stranger {
                continue;
            }
            let in_session = stat.session == processes.task.pid || stat.group == processes.task.pid;
            if own_session && in_session {
                found.push(stat);
                continue;
            }
            match Marked::look(stat.identity.pid, &processes.sandbox) {
                Marked::Yes => found.push(stat),
                // Threads of the kernel, which have no session, are always so.
                Marked::Unclear => unclear |= stat.session != 0,
                Marked::No => {}
            }
        }
        if found.is_empty() && !(unclear && round < UNCLEAR_ROUNDS) {
            break;
        }
        for stat in found {
            if stat.identity.signal(Signal::KILL).is_ok() {
                killed.insert(stat.identity.pid);
            }
        }
    }
    killed.len()
}

/// Whether a process carries a container's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Yes,
    No,
    /// It is in the middle of an exec, where the kernel shows no environment.
    Unclear,
}

impl Marked {
    fn look(pid: i32, sandbox: &Path) -> Self {
        let output = |fd: i32| fs::read_link(format!("/proc/{pid}/fd/{fd}"));
        if [1, 2].into_iter().any(|fd| output(fd).is_ok_and(|path| path.starts_with(sandbox))) {
            return Self::Yes;
        }
        let sandbox = sandbox.as_os_str().as_bytes();
        let is_mark = |variable: &[u8]| {
            variable.iter().position(|byte| *byte == b'=').is_some_and(|at| &variable[at + 1..] == sandbox)
        };
        // Twice: an exec may end between a look at the environment and one at its place.
        for _ in 0..2 {
            let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return Self::No };
            if environment.split(|byte| *byte == 0).any(is_mark) {
                return Self::Yes;
            }
            if !environment.is_empty() {
                return Self::No;
            }
            if Stat::of(pid).is_some_and(|stat| !stat.has_environment) {
                return Self::Unclear;
            }
        }
        Self::No
    }
}

/// Kills every descendant of the calling process, which is their subreaper, and reaps them. `false` when some are left
/// after `patience` (in the kernel for long, or with another user's rights).
pub fn kill_own_descendants(patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(_) => return true, // no child is left
        }
        if Instant::now() >= deadline {
            return false;
        }
        signal_descendants(getpid().as_raw_nonzero().get(), Signal::KILL, &mut Vec::new());
        sys::wait_signal(Some(Duration::from_millis(20)));
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A shell whose whole tree ends with the test.
    struct Shell(Child);

    impl Shell {
        fn start(script: &str) -> Self {
            let mut command = Command::new("sh");
            Self(command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
        }

        fn pid(&self) -> i32 {
            self.0.id().try_into().unwrap()
        }
    }

    impl Drop for Shell {
        fn drop(&mut self) {
            signal_descendants(self.pid(), Signal::KILL, &mut Vec::new());
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(value) = condition() {
                return value;
            }
            assert!(Instant::now() < deadline, "waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn descendants_are_found_both_ways() {
        let shell = Shell::start("sleep 1000 & (sleep 1000 & sleep 1000; :) & wait");
        let mut found = wait_for(|| Some(descendants(shell.pid())).filter(|found| found.len() == 4));
        let mut scanned = descendants_by_scan(shell.pid());
        found.sort_by_key(|stat| stat.identity.pid);
        scanned.sort_by_key(|stat| stat.identity.pid);
        let pids = |stats: &[Stat]| stats.iter().map(|stat| stat.identity.pid).collect::<Vec<_>>();
        assert_eq!(pids(&found), pids(&scanned));
        let mut done = Vec::new();
        assert_eq!(signal_descendants(shell.pid(), Signal::KILL, &mut done), 4);
        assert_eq!(signal_descendants(shell.pid(), Signal::KILL, &mut done), 0);
    }

    #[test]
    fn a_mark_is_found_and_an_empty_environment_has_none() {
        let sandbox = Path::new("/sandbox/of/nobody");
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).env_clear();
        let look = |command: &mut Command| {
            let child = Shell(command.spawn().unwrap());
            wait_for(|| {
                let read = |file: &str| fs::read(format!("/proc/{}/{file}", child.pid())).unwrap();
                read("cmdline").starts_with(b"sleep").then_some(())
            });
            Marked::look(child.pid(), sandbox)
        };
        assert_eq!(look(&mut command), Marked::No, "whoever has an empty one would be waited for at each sweep");
        assert_eq!(look(command.env("A", "b")), Marked::No);
        assert_eq!(look(command.env("C", sandbox)), Marked::Yes);
    }

    #[test]
    fn a_process_without_memory_of_its_own_is_unclear() {
        // As is one in the middle of an exec: a thread of the kernel, whose parent is process 2.
        let Some(thread) = Stat::all().find(|stat| stat.parent == 2) else {
            return eprintln!("skipped: no thread of the kernel is seen from here");
        };
        if fs::read(format!("/proc/{}/environ", thread.identity.pid)).is_ok() {
            assert_eq!(Marked::look(thread.identity.pid, Path::new("/sandbox/of/nobody")), Marked::Unclear);
        }
    }
}
