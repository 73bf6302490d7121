//! One server of a local cluster: this program again, as a child process.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill},
        wait::WaitStatus,
    },
    unistd::Pid,
};

use crate::programs::PARENT;

/// Lines of a log that are shown when its part fails.
const LOG_LINES: usize = 12;

/// A child process. It is waited for by [`processes`](super::processes) alone.
#[derive(Debug)]
pub(super) struct Part {
    /// E.g. `agent 1`.
    pub(super) name: String,
    pub(super) pid: Pid,
    log: PathBuf,
    /// How it ended.
    pub(super) ended: Option<WaitStatus>,
}

impl Part {
    /// Starts `mezzo <arguments>` in a process group of its own: Ctrl-C is for the parent alone.
    pub(super) fn start(name: &str, arguments: Vec<OsString>, log: PathBuf) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = Command::new("/proc/self/exe")
            .arg0("mezzo")
            .args(arguments)
            .env(PARENT, std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        Ok(Self { name: name.to_owned(), pid: Pid::from_raw(pid), log, ended: None })
    }

    pub(super) fn runs(&self) -> bool {
        self.ended.is_none()
    }

    /// Sends a signal if it still runs.
    pub(super) fn signal(&self, signal: Signal) {
        if self.runs() {
            match kill(self.pid, signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => eprintln!("mezzo: cannot send {signal} to the {}: {error}", self.name),
            }
        }
    }

    /// What to say when it has ended and should not have.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        let how = match self.ended? {
            WaitStatus::Exited(_, code) => format!("exited with status {code}"),
            WaitStatus::Signaled(_, signal, _) => format!("was killed by {signal}"),
            other => format!("ended: {other:?}"),
        };
        let log = tail(&self.log);
        Some(anyhow::anyhow!("the {} {how}. The end of its log:\n{log}", self.name))
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    last.iter().map(|line| format!("  | {line}\n")).collect()
}
