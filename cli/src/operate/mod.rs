//! The operator's verbs: each asks the leading master, and shows the answer as a table, or as JSON with `--json`.

mod agents;
pub(crate) mod args;
mod cluster;
mod completions;
mod config;
mod doctor;
mod events;
mod frameworks;
mod policy;
mod session;
mod show;
mod tasks;
mod top;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

pub(crate) use args::{Options, Verb};
use cluster::Cluster;
pub(crate) use cluster::ClusterError;
pub(crate) use config::credential;

/// Everything is as it was asked for.
pub(crate) const OK: u8 = 0;
/// The cluster refused, knows nothing of the kind, or `doctor` found something.
pub(crate) const REFUSED: u8 = 1;
/// The master cannot be reached.
pub(crate) const UNREACHED: u8 = 125;
/// The arguments or the configuration are wrong.
pub(crate) const MISUSED: u8 = 2;

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers, or the configuration is of no use.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The master said no.
    #[error("the master refuses ({status}): {text}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What it said.
        text: String,
    },
    /// There is no such thing.
    #[error("{what} '{id}' is not known to the master{hint}")]
    Unknown {
        /// agent, framework or task.
        what: &'static str,
        /// As it was asked for.
        id: String,
        /// A way out.
        hint: String,
    },
    /// Several fit.
    #[error("'{id}' is not one {what}: {fitting} fit; give more of the id")]
    Ambiguous {
        /// agent, framework or task.
        what: &'static str,
        /// As it was asked for.
        id: String,
        /// How many fit.
        fitting: usize,
    },
    /// A value is of no use.
    #[error("{0}")]
    Value(String),
    /// What cannot be taken back was not confirmed.
    #[error("{0}: not done without --yes")]
    Unconfirmed(String),
    /// What came is no JSON, or not what was expected.
    #[error("the master's answer cannot be read: {0}")]
    Answer(String),
    /// A file cannot be written.
    #[error("{path} cannot be written: {source}")]
    Written {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Output failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Cluster(ClusterError::Config(_) | ClusterError::Address(_)) => MISUSED,
            Self::Cluster(_) => UNREACHED,
            Self::Value(_) | Self::Unconfirmed(_) => MISUSED,
            Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe => 128 + 13,
            _ => REFUSED,
        }
    }
}

/// Carries a verb out.
pub(crate) async fn main(verb: Verb) -> ExitCode {
    let code = match run(verb).await {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("mezzo: {failure}");
            failure.exit_code()
        }
    };
    ExitCode::from(code)
}

async fn run(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Agent { options, command } => agents::run(&mut Cluster::of(&options)?, &options, command).await,
        Verb::Framework { options, command } => frameworks::run(&mut Cluster::of(&options)?, &options, command).await,
        Verb::Task { options, command } => tasks::run(&mut Cluster::of(&options)?, &options, command).await,
        Verb::Policy { options, command } => policy::run(&mut Cluster::of(&options)?, &options, command).await,
        Verb::Top { options, once, interval } => top::run(&mut Cluster::of(&options)?, &options, once, interval).await,
        Verb::Events { options } => events::run(&mut Cluster::of(&options)?, &options).await,
        Verb::Doctor { options } => doctor::run(&options).await,
        Verb::Completions { shell } => completions::completions(shell),
        Verb::Man { directory } => completions::man_pages(&directory),
    }
}

/// Asks a person before what cannot be taken back.
fn confirm(what: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Unconfirmed(what.to_owned()));
    }
    eprint!("{what}: this cannot be taken back. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::Unconfirmed(what.to_owned())) }
}
