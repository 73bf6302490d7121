//! `cargo xtask local`: `mezzo local` from this source tree.

use anyhow::Result;

use crate::process::{cargo, run as run_command};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Handed to `mezzo local`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    run_command(cargo().args(["build", "--release", "--workspace", "--bins", "--exclude", "xtask"]))?;
    run_command(cargo().args(["run", "--release", "--bin", "mezzo", "--", "local"]).args(&arguments.rest))
}
