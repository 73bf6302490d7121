//! `cargo xtask screenshots`: the pictures of the web page in `docs/images`, taken anew of a cluster that is made for it.

use anyhow::Result;

use crate::process::{PROFILE, cargo, root, run as run_command};

pub(crate) fn run() -> Result<()> {
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
        "page::pictures",
        "--nocapture",
    ]);
    test.env("MEZZO_PICTURES", root().join("docs/images"));
    run_command(&mut test)
}
