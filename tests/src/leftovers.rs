//! Which processes belong to a test: each carries the test's own directory in its place, its command line or its environment.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::wait;

/// A process that belongs to a test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its command line.
    pub command: String,
}

/// All living processes that carry `mark`.
#[must_use]
pub fn of(mark: &Path) -> Vec<Process> {
    that_run(mark, "")
}

/// Those whose command line begins with `command`: of the others no more than that is read.
#[must_use]
pub fn that_run(mark: &Path, command: &str) -> Vec<Process> {
    let mark = mark.as_os_str().as_encoded_bytes();
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let pids = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut found: Vec<Process> =
        pids.filter(|pid| *pid != own).filter_map(|pid| belongs(pid, mark, command)).collect();
    found.sort();
    found
}

fn belongs(pid: i32, mark: &[u8], begins: &str) -> Option<Process> {
    let dir = Path::new("/proc").join(pid.to_string());
    let command = fs::read(dir.join("cmdline")).ok()?;
    if !String::from_utf8_lossy(&command).replace('\0', " ").starts_with(begins) {
        return None;
    }
    let state = fs::read_to_string(dir.join("stat")).ok()?;
    // A zombie has ended; whoever started it has not looked yet.
    if state.rsplit(')').next()?.trim_start().starts_with(['Z', 'X']) {
        return None;
    }
    let place =
        fs::read_link(dir.join("cwd")).map(|path| path.as_os_str().as_encoded_bytes().to_vec()).unwrap_or_default();
    let environment = fs::read(dir.join("environ")).unwrap_or_default();
    let marked = [&command, &place, &environment]
        .into_iter()
        .any(|bytes| bytes.windows(mark.len()).any(|window| window == mark));
    let command = String::from_utf8_lossy(&command).replace('\0', " ").trim().to_owned();
    marked.then_some(Process { pid, command })
}

/// Waits until no process that carries `mark` is left.
///
/// # Panics
/// When one stays.
pub fn wait_until_gone(mark: &Path) {
    wait::until_within(
        std::time::Duration::from_secs(15),
        &format!("no process of {} is left", mark.display()),
        || {
            let left = of(mark);
            if !left.is_empty() && std::env::var_os("MEZZO_TEST_VERBOSE").is_some() {
                eprintln!("left: {left:?}");
            }
            left.is_empty().then_some(())
        },
    );
}

/// Ends every process that carries `mark`, until none is left.
pub fn end(mark: &Path) {
    for _ in 0..200 {
        let left = of(mark);
        if left.is_empty() {
            return;
        }
        for process in left {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}
