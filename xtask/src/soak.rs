//! `cargo xtask soak`: masters and agents die under load, again and again, and a checker looks on.

use anyhow::Result;

use crate::process::{PROFILE, cargo, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many times each of the scenarios is run.
    #[arg(long, default_value_t = 100)]
    runs: u32,
    /// The seed of the first run; run n has seed + n. A failing run prints its own.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run_command(cargo().args(["build", "--profile", PROFILE, "--workspace", "--bins"]))?;
    let mut test = cargo();
    test.args([
        "test",
        "--profile",
        PROFILE,
        "--package",
        "mezzo-tests",
        "--test",
        "e2e",
        "--",
        "faults::soak",
        "--nocapture",
        "--test-threads=1",
    ]);
    test.env("MEZZO_SOAK_RUNS", arguments.runs.to_string());
    if let Some(seed) = arguments.seed {
        test.env("MEZZO_SOAK_SEED", seed.to_string());
    }
    run_command(&mut test)
}
