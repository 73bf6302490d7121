//! The agent: link, executor API, containerizer and checkpoint around the core.
//!
//! Begin with [`run`](crate::run): it puts the parts together. The shell (`shell.rs`) runs the core on a thread of its own;
//! doors (`http/`, `link/`) translate; `checkpoint.rs` keeps the core's records; [`containerizer`] runs what is to run.

mod called;
pub mod check;
mod checkpoint;
pub mod containerizer;
pub mod detect;
mod failpoint;
pub mod fetcher;
pub mod flags;
mod gc;
mod http;
mod identity;
mod images;
pub mod isolation;
mod link;
mod memory;
pub mod network;
mod outbox;
mod probes;
mod run;
mod shell;
mod volumes;

use std::{ffi::OsString, process::ExitCode};

pub use mezzo_server::files;
use mezzo_server::logs::Logs;

use flags::Flags;

/// Runs an agent until it is told to end: what the binary `mezzo-agent` does. `args` begin with the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let flags = match Flags::parse_from_environment(args) {
        Ok(flags) => flags,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let log_file = Logs::file_in(flags.log_dir.as_deref(), "mezzo-agent");
    let logs = log_file.and_then(|file| Logs::start(flags.logging_level, flags.quiet, file.as_deref()));
    let logs = match logs {
        Ok(logs) => logs,
        Err(error) => {
            eprintln!("mezzo-agent: cannot write the log (--log_dir): {error}");
            return ExitCode::FAILURE;
        }
    };
    flags.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let mut failures = check::problems(&flags);
    if failures.is_empty() {
        failures.extend(run::run(flags).err().map(|error| format!("{error:#}")));
    }
    for failure in &failures {
        tracing::error!("{failure}");
        eprintln!("mezzo-agent: {failure}");
    }
    if let Some(logs) = logs {
        logs.flush();
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
