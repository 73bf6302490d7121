//! `cargo xtask bench`: hands over to the load generators in `bench/`, built for release.

use anyhow::Result;

use crate::process::{cargo, target_dir};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Everything is handed to `mezzo-bench`: a name, `--json`, its parameters.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // The figures go to standard output: what cargo says stays on standard error.
    let status = cargo().args(["build", "--release", "--workspace", "--bins", "--exclude", "xtask"]).status()?;
    anyhow::ensure!(status.success(), "the release build failed");
    let status = crate::process::command(target_dir().join("release/mezzo-bench")).args(&arguments.rest).status()?;
    anyhow::ensure!(status.success(), "mezzo-bench failed: {status}");
    Ok(())
}
