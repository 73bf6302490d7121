//! `mezzo run`: one command as a task, from a small framework.

mod explain;
mod outcome;
pub(crate) mod output;
mod session;
mod task;

use std::process::ExitCode;

use mezzo_sdk::SchedulerDriver;

use crate::{args::Run, credential, operate::MISUSED};
use session::Session;
use task::Task;

/// The command line tool itself failed.
pub(crate) const OWN_FAILURE: u8 = 125;
/// Nothing suitable was offered in time.
const NOT_PLACED: u8 = 124;
/// Ended by Ctrl-C.
const INTERRUPTED: u8 = 130;
/// As a shell says it of a program that writes to a pipe that nobody reads.
const BROKEN_PIPE: u8 = 128 + 13;

/// An argument is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misused(String);

/// Runs the command; the exit code is the task's.
pub(crate) async fn main(options: &Run) -> ExitCode {
    ExitCode::from(run(options).await.unwrap_or_else(|error| {
        eprintln!("mezzo: {error:#}");
        if error.is::<Misused>() { MISUSED } else { OWN_FAILURE }
    }))
}

/// As [`main`]; what goes wrong before there is a task is an error.
pub(crate) async fn run(options: &Run) -> anyhow::Result<u8> {
    let task = Task::new(options).map_err(|error| Misused(format!("--resources='{}': {error}", options.resources)))?;
    let mut driver = SchedulerDriver::builder(task.framework()).master(options.master());
    if let Some(own) = credential::own() {
        driver = driver.credentials(&own.principal, own.secret());
    }
    let (scheduler, events) = driver.build().map_err(|error| Misused(format!("--{error}")))?;
    Session::new(options, task, scheduler, events).run().await
}
