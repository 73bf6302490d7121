//! The command line tool `mezzo`, and every other program of Mezzo in the same file: it answers to the names
//! `mezzo-master`, `mezzo-agent` and `mezzo-executor`, and to those of Mesos.
#![forbid(unsafe_code)]

mod args;
mod credential;
mod explain;
mod http;
mod install;
mod local;
mod operate;
mod programs;
mod registry;
mod run;
mod task;

use std::{io::IsTerminal, process::ExitCode};

use args::Command;
use clap::Parser;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = programs::dispatch(&arguments) {
        return code;
    }
    let args::Mezzo { command, credential } = args::Mezzo::parse_from(&arguments);
    if let Err(error) = credential::take(credential.as_deref()) {
        eprintln!("mezzo: {error}");
        return ExitCode::from(operate::MISUSED);
    }
    let program = arguments.first().map_or_else(|| "mezzo".into(), |name| name.to_string_lossy().into_owned());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("mezzo: {error}");
            return ExitCode::from(run::OWN_FAILURE);
        }
    };
    match command {
        Command::Local(options) => local::main(&runtime, &options, &program),
        Command::Run(options) => {
            log_to_stderr();
            runtime.block_on(run::main(&options))
        }
        Command::Registry(command) => runtime.block_on(registry::main(&command)),
        Command::Install(command) => runtime.block_on(install::main(&command)),
        Command::Config(command) => install::config(&command),
        Command::Explain(options) => runtime.block_on(explain::main(&options)),
        Command::Task { command: operate::args::Task::Logs(options), .. } => runtime.block_on(task::logs(&options)),
        other => match other.verb() {
            Some(verb) => runtime.block_on(operate::main(verb)),
            // these names are dispatched before anything is parsed
            None => ExitCode::from(run::OWN_FAILURE),
        },
    }
}

/// What the SDK logs is for who asks for it: `RUST_LOG=info mezzo run …`.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr).init();
}
