//! `cargo xtask test`: everything that must hold before a change goes in.

use std::time::Instant;

use anyhow::{Result, bail};

use crate::process::{PROFILE, cargo, run as run_command, step, succeeds};
use crate::{dependencies, examples, fuzz, last_version, setup, sim, tidy};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only the steps whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Seconds to fuzz each target.
    #[arg(long, default_value_t = 5)]
    fuzz_seconds: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let steps: [(&str, &dyn Fn() -> Result<()>); 12] = [
        ("setup", &|| setup::run(&setup::Arguments::default())),
        ("format", &|| run_command(cargo().args(["fmt", "--all", "--check"]))),
        ("tidy", &tidy::run),
        ("clippy", &clippy),
        ("dependencies", &dependencies::check),
        ("build", &build),
        ("last version", &|| last_version::run(&last_version::Arguments::default())),
        ("unit tests", &unit_tests),
        ("simulation", &sim::budget),
        ("end-to-end tests", &end_to_end_tests),
        ("examples", &|| examples::check(&examples::Arguments::default())),
        ("fuzz", &|| fuzz::run(&fuzz::Arguments { seconds: arguments.fuzz_seconds, target: None })),
    ];
    let wanted = |name: &str| arguments.only.as_ref().is_none_or(|part| name.contains(part.as_str()));
    let chosen: Vec<_> = steps.iter().filter(|(name, _)| wanted(name)).collect();
    if chosen.is_empty() {
        bail!("no step is called that; there are: {}", steps.map(|(name, _)| name).join(", "));
    }
    for (name, run) in &chosen {
        step(name, run)?;
    }
    println!("All {} steps passed in {:.0} s.", chosen.len(), start.elapsed().as_secs_f64());
    Ok(())
}

/// With the profile of the tests: what clippy checks of the dependencies is not checked again for another profile.
fn clippy() -> Result<()> {
    run_command(cargo().args(["clippy", "--workspace", "--all-targets", "--profile", PROFILE, "--", "-D", "warnings"]))
}

/// Everything at once, with the features of the whole workspace: the steps after this one have nothing left to build.
fn build() -> Result<()> {
    run_command(cargo().args(["build", "--profile", PROFILE, "--workspace", "--all-targets"]))
}

fn unit_tests() -> Result<()> {
    tests("not binary(e2e)", &[&["--exclude", "mezzo-tests", "--bins", "--tests"], &["--lib"]])?;
    run_command(cargo().args(["test", "--quiet", "--profile", PROFILE, "--workspace", "--doc"]))
}

fn end_to_end_tests() -> Result<()> {
    tests("binary(e2e)", &[&["--test", "e2e"]])
}

/// One process for each test where cargo-nextest is installed; threads, in these runs, otherwise.
fn tests(filter: &str, without_nextest: &[&[&str]]) -> Result<()> {
    if succeeds(cargo().args(["nextest", "--version"])) {
        return run_command(cargo().args(["nextest", "run", "--cargo-profile", PROFILE, "--workspace", "-E", filter]));
    }
    without_nextest
        .iter()
        .try_for_each(|targets| run_command(cargo().args(["test", "--profile", PROFILE, "--workspace"]).args(*targets)))
}
