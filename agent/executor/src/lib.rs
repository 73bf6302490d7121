//! The zygote and the task supervisor: small, single-threaded, outlives the agent.
//!
//! ```text
//! agent ── Launch frames (stream) ──▶ zygote ── fork ──▶ supervisor ── clone + exec ──▶ the task
//!   ◀──── events (seqpacket): Running + pidfd, Exited, Failed ───────────┘
//!   ───── stop: a queued signal through the pidfd ───────▶ supervisor
//! ```
//!
//! * The **zygote** ([`zygote`]) is started once by the agent and forks a supervisor for each container, without exec.
//!   It ends when the agent closes its stream, that is also when the agent dies.
//! * The **supervisor** ([`supervisor`]) makes the sandbox, starts the task, waits for it, ends its whole process tree,
//!   and writes what happened to its record ([`record`]). It needs neither agent nor zygote to do so.
//! * An agent that does not come back has its tasks ended after a while, each by its supervisor ([`absence`]).
//! * An agent that comes back finds supervisors by their records: pids count only with their start time.
//!
//! What crosses a version boundary (a new agent, old supervisors) is the record's text and the stop signal: both are
//! documented where they are defined and only ever extended. Frames and events stay within one zygote's life.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

mod absence;
pub mod enter;
pub mod event;
mod failpoint;
pub mod frame;
pub mod io;
pub mod jail;
pub mod netlink;
pub mod output;
pub mod process;
pub mod record;
pub mod sandbox;
pub mod supervisor;
pub mod sys;
pub mod tree;
pub mod zygote;

const USAGE: &str = "usage: mezzo-executor zygote --records FILE\n\
    Started by mezzo-agent, which speaks on its standard input and output. It is of no use by hand.\n";

/// Runs what the arguments (without the program's name) ask for.
///
/// `zygote --records FILE`: serves Launch frames from the socket on standard input, sends events on the socket on
/// standard output; supervisors write to the records FILE, on which a shared lock is held while a container may yet come.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    let text: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or_default()).collect();
    match text.as_slice() {
        ["zygote", "--records", _] => zygote::main(&PathBuf::from(&args[2])),
        ["--version"] => {
            println!("mezzo-executor {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        ["--help"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
