//! `cargo xtask soak`: for hours what CI does for minutes. Real masters and agents die under load while a checker looks on;
//! simulated clusters run from seed after seed. In one of the
//! scenarios whoever dies comes back as this version or as the last one.

use anyhow::Result;

use crate::process::{PROFILE, cargo, run as run_command};
use crate::{last_version, sim};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many times each of the scenarios is run.
    #[arg(long, default_value_t = 100)]
    runs: u32,
    /// So many minutes of chaos for the example `service`.
    #[arg(long, default_value_t = 10)]
    service_minutes: u32,
    /// The seed of the first run; run n has seed + n. A failing run prints its own.
    #[arg(long)]
    seed: Option<u64>,
    /// Simulate for so long, instead of killing real processes.
    #[arg(long)]
    simulate_minutes: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.simulate_minutes {
        Some(minutes) => sim::soak(minutes, arguments.seed.unwrap_or_else(a_seed)),
        None => kill(arguments),
    }
}

/// Other seeds each day, so that soaks do not repeat each other.
fn a_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 86_400 * 1_000_000
}

fn kill(arguments: &Arguments) -> Result<()> {
    run_command(cargo().args(["build", "--profile", PROFILE, "--workspace", "--bins"]))?;
    last_version::run(&last_version::Arguments::default())?;
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
        "soak_",
        "--nocapture",
        "--test-threads=1",
    ]);
    test.env("MEZZO_SOAK_RUNS", arguments.runs.to_string());
    test.env("MEZZO_ROLLING_RESTARTS", (2 * arguments.runs).to_string());
    test.env("MEZZO_SOAK_MINUTES", arguments.service_minutes.to_string());
    if let Some(seed) = arguments.seed {
        test.env("MEZZO_SOAK_SEED", seed.to_string());
    }
    run_command(&mut test)
}
