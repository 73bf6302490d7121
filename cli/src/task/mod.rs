//! `mezzo task …`: what is known of one task.

mod follow;
mod master;

use std::{io, process::ExitCode, time::Duration};

use follow::{Followed, Step};
use master::{Found, Master, MasterError};

use crate::{args::Logs, operate::MISUSED, run::OWN_FAILURE};

/// There is no such task.
const NOT_FOUND: u8 = 1;
/// Waits between looks while the task runs.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(1000);
/// A task that has ended may have written to the last: so many looks without anything new are the end.
const LAST_LOOKS: u32 = 2;

/// `mezzo task logs`
pub(crate) async fn logs(options: &Logs) -> ExitCode {
    ExitCode::from(match show(options).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mezzo: {error}");
            if matches!(error, LogsError::Master(MasterError::Address(_))) { MISUSED } else { OWN_FAILURE }
        }
    })
}

/// Why nothing is shown.
#[derive(Debug, thiserror::Error)]
enum LogsError {
    #[error(transparent)]
    Master(#[from] MasterError),
    #[error("cannot write: {0}")]
    Output(#[from] io::Error),
}

async fn show(options: &Logs) -> Result<u8, LogsError> {
    let mut master = Master::new(&options.master())?;
    let Some(mut found) = find(&mut master, options).await? else {
        eprintln!("mezzo: there is no task '{}'", options.task);
        return Ok(NOT_FOUND);
    };
    let mut followed = Followed::new(&options.file);
    let (mut wait, mut quiet, mut told) = (FIRST_WAIT, 0, false);
    loop {
        let step = followed.step(&mut master, &found, &mut io::stdout().lock()).await?;
        let problem = match step {
            Step::New => {
                (wait, quiet, told) = (FIRST_WAIT, 0, false);
                continue;
            }
            Step::Nothing => {
                quiet += 1;
                None
            }
            Step::Absent(problem) => Some(problem),
        };
        if !options.follow || found.ended && quiet >= LAST_LOOKS {
            return Ok(finish(problem));
        }
        if let Some(problem) = problem.filter(|_| found.ended || !told) {
            if found.ended && followed.is_empty() {
                return Ok(finish(Some(problem)));
            }
            eprintln!("mezzo: waiting: {problem}");
            told = true;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        // A master that is away is waited for.
        if let Ok(Some(now)) = find(&mut master, options).await {
            quiet = if now.ended == found.ended { quiet } else { 0 };
            found = now;
        }
    }
}

fn finish(problem: Option<String>) -> u8 {
    match problem {
        Some(problem) => {
            eprintln!("mezzo: {problem}");
            NOT_FOUND
        }
        None => 0,
    }
}

async fn find(master: &mut Master, options: &Logs) -> Result<Option<Found>, MasterError> {
    master.find(&options.task, options.framework.as_deref()).await
}
