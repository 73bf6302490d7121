//! One server process of a cluster: started, killed and started again with the same command line.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Names the test's directory in the environment of every server, so that none can be overlooked.
pub const MARK: &str = "MEZZO_TEST_DIR";

/// A server process.
#[derive(Debug)]
pub struct Part {
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, String)>,
    dir: PathBuf,
    child: Option<Child>,
}

impl Part {
    /// A part that is not started yet; its log goes to `dir/name.log`.
    #[must_use]
    pub fn new(name: &str, program: PathBuf, arguments: Vec<OsString>, dir: &Path) -> Self {
        Self { name: name.to_owned(), program, arguments, environment: Vec::new(), dir: dir.to_path_buf(), child: None }
    }

    /// Another program from the next start on.
    pub fn set_program(&mut self, program: PathBuf) {
        self.program = program;
    }

    /// With one more variable in its environment.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// With a flag `--name=value`, in the place of an earlier one of that name.
    pub fn set_flag(&mut self, flag: &str) {
        let name = flag.split('=').next().unwrap_or(flag);
        self.arguments.retain(|known| !known.to_string_lossy().starts_with(&format!("{name}=")));
        self.arguments.push(flag.into());
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it runs already, or cannot be started.
    pub fn start(&mut self) {
        assert!(!self.is_running(), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the test's directory must be writable");
        let errors = log.try_clone().expect("a log file can be shared");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(MARK, &self.dir).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", self.program.display()));
        self.child = Some(child);
    }

    /// Where its output goes.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.name))
    }

    /// All that it has written.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it is not started.
    #[must_use]
    pub fn pid(&self) -> i32 {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} is not started", self.name));
        i32::try_from(child.id()).unwrap_or(0)
    }

    /// Whether it has been started and not ended by us.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.pid()), signal);
    }

    /// `kill -9`, at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and insists after `patience`. Gives its exit status where it went by itself.
    pub fn end(&mut self, patience: Duration) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0));
        let _ = kill(pid, Signal::SIGTERM);
        let start = Instant::now();
        while start.elapsed() < patience {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        let start = Instant::now();
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if start.elapsed() < patience => std::thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }

    /// The end of its log, for whoever looks into a failure.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(count);
        format!(
            "---- {} (last {} of {} lines)\n{}\n",
            self.name,
            lines.len() - from,
            lines.len(),
            lines[from..].join("\n")
        )
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}
