//! A queue of commands, one on each line of a file: each is run somewhere in the cluster, tried again when it fails,
//! and accounted for.
//!
//! ```sh
//! mezzo local --agents=2 &
//! seq 1 50 | sed 's/^/sleep 1; expr 7 "*" /' > commands
//! cargo run -p example-batch -- commands --retries=3 --results=results.json
//! ```
//!
//! With `--state FILE` a run that was interrupted goes on where it was when it is started again.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mezzo_sdk::{
    SchedulerDriver,
    scheduler::Control,
    store::{FileStore, MemoryStore, Store},
    supervisor::{self, Config, Group, Outcome, Supervisor},
};
use serde_json::json;

/// Runs a file of commands.
#[derive(Parser)]
struct Arguments {
    /// One command on each line; empty lines and those that begin with # are passed over.
    file: PathBuf,
    /// Where masters are.
    #[arg(long, default_value = "127.0.0.1:5050", env = "MESOS_MASTER")]
    master: String,
    /// What each command needs.
    #[arg(long, default_value = "cpus:0.5;mem:32")]
    resources: String,
    /// A command that fails is tried so many times more.
    #[arg(long, default_value_t = 2)]
    retries: u32,
    /// Where the results go, as JSON.
    #[arg(long)]
    results: Option<PathBuf>,
    /// Where to keep what is needed to go on after an interruption.
    #[arg(long)]
    state: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    let text = std::fs::read_to_string(&arguments.file)
        .with_context(|| format!("{} cannot be read", arguments.file.display()))?;
    let commands: Vec<String> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let groups = groups(&arguments, &commands)?;

    let store: Box<dyn Store> = match &arguments.state {
        Some(path) => Box::new(FileStore::open(path)?),
        None => Box::new(MemoryStore::new()),
    };
    let run = SchedulerDriver::builder(supervisor::framework_info("batch"))
        .master(&arguments.master)
        .scheduler(Supervisor::new(Config::default(), supervisor::seed()), store);
    let control = run.control();
    let running = tokio::spawn(run.run());
    let outcomes = tokio::select! {
        outcomes = follow(control, groups) => outcomes?,
        ended = running => anyhow::bail!("ended before its time: {:?}", ended?.map(|(_, how)| how)?),
    };
    report(&arguments, &commands, &outcomes)
}

/// One group, of one job, for each command.
fn groups(arguments: &Arguments, commands: &[String]) -> Result<Vec<Group>> {
    let group = |(number, command): (usize, &String)| {
        let group = Group::new(name(number), command.clone(), &arguments.resources)?;
        anyhow::Ok(group.job(arguments.retries.saturating_add(1)))
    };
    commands.iter().enumerate().map(group).collect()
}

fn name(number: usize) -> String {
    format!("job-{number:05}")
}

/// Sets the jobs, waits until all have ended, and removes the framework.
async fn follow(mut control: Control<Supervisor>, groups: Vec<Group>) -> Result<BTreeMap<String, Outcome>> {
    let bar = ProgressBar::new(u64::try_from(groups.len())?);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}")?);
    let names: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
    control.with(move |jobs, context| groups.into_iter().try_for_each(|group| jobs.set(context, group))).await??;
    loop {
        let names = names.clone();
        let (outcomes, running) = control
            .with(move |jobs, _| {
                let done = names.iter().flat_map(|name| jobs.outcomes(name)).cloned();
                let outcomes: BTreeMap<String, Outcome> = done.map(|it| (it.group.clone(), it)).collect();
                let running = names.iter().filter_map(|name| jobs.summary(name)).map(|it| it.running).sum::<usize>();
                (outcomes, running)
            })
            .await?;
        let failed = outcomes.values().filter(|outcome| !outcome.succeeded).count();
        bar.set_position(u64::try_from(outcomes.len())?);
        bar.set_message(format!("{running} running, {failed} failed"));
        if outcomes.len() == usize::try_from(bar.length().unwrap_or_default())? {
            bar.finish();
            control.with(|_, context| context.tear_down()).await?;
            return Ok(outcomes);
        }
        control.changed().await?;
    }
}

/// Says how it went; the exit code is 1 if a command was given up.
fn report(arguments: &Arguments, commands: &[String], outcomes: &BTreeMap<String, Outcome>) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut failed = 0;
    for (number, command) in commands.iter().enumerate() {
        let Some(outcome) = outcomes.get(&name(number)) else { continue };
        if !outcome.succeeded {
            failed += 1;
            eprintln!("failed after {} tries: {command}: {}", outcome.attempts, outcome.message);
        }
        rows.push(json!({
            "command": command, "succeeded": outcome.succeeded, "tries": outcome.attempts,
            "state": outcome.state, "message": outcome.message, "host": outcome.hostname, "task": outcome.task_id,
        }));
    }
    if let Some(path) = &arguments.results {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)?;
    }
    println!("{} of {} commands succeeded", commands.len() - failed, commands.len());
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
