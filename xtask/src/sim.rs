//! `cargo xtask sim`: whole clusters of the real cores, from seeds (docs/simulation.md).

use anyhow::Result;

use crate::process::{cargo, run as run_command};

/// Optimised, with the checks of the arithmetic on.
const PROFILE: &str = "sim";

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// Everything is handed to `mezzo-sim`: `cargo xtask sim --help` lists its options.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut command = cargo();
    // Figures are taken of what is shipped, and of the simulator itself as it runs seeds.
    let scale = arguments.options.iter().position(|option| option == "--scale");
    let of_itself = scale.is_none_or(|place| arguments.options[place + 1..] == ["steady"]);
    let profile = if scale.is_some() { "release" } else { PROFILE };
    command.args(["run", "--quiet", "--profile", profile, "--package", "mezzo-sim"]);
    if of_itself {
        command.args(["--features", "mimalloc"]);
    }
    if arguments.options.iter().any(|option| option == "--mutants") {
        command.args(["--features", "mutants"]);
    }
    command.arg("--").args(&arguments.options);
    run_command(&mut command)
}

/// Seed after seed from this one, for so long.
pub(crate) fn soak(minutes: u64, from: u64) -> Result<()> {
    let options =
        ["--seeds", "1000", "--from", &from.to_string(), "--minutes", &minutes.to_string()].map(str::to_owned);
    run(&Arguments { options: options.to_vec() })
}

/// What CI runs: a fixed budget of seeds, and every bug of the list put back.
pub(crate) fn budget() -> Result<()> {
    for options in [vec!["--seeds", "400"], vec!["--election", "--seeds", "1000"], vec!["--mutants"]] {
        run(&Arguments { options: options.into_iter().map(str::to_owned).collect() })?;
    }
    Ok(())
}
