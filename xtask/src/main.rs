//! The project's own commands: `cargo xtask <verb>`. One file for each verb.
#![forbid(unsafe_code)]

mod axe;
mod bench;
mod debian;
mod dependencies;
mod examples;
mod fuzz;
mod last_version;
mod local;
mod package;
mod process;
mod screenshots;
mod setup;
mod sim;
mod soak;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the tests need: Python with pymesos, a browser, axe.
    Setup(setup::Arguments),
    /// Everything that must hold before a change goes in; what CI runs.
    Test(test::Arguments),
    /// The habits that no compiler checks: lengths, leftovers, links, descriptions.
    Tidy,
    /// Fuzz every decoder, guided by coverage.
    Fuzz(fuzz::Arguments),
    /// Measure: one JSON object on each line.
    Bench(bench::Arguments),
    /// Kill masters and agents under load, again and again.
    Soak(soak::Arguments),
    /// Simulate whole clusters from seeds: the real cores, virtual time, faults.
    Sim(sim::Arguments),
    /// Take the pictures of the web page in docs/images anew.
    Screenshots,
    /// Run each example against a fresh local cluster and check what came of it.
    Examples(examples::Arguments),
    /// Build, then start a cluster on this machine.
    Local(local::Arguments),
    /// Build the programs of the version before this one, for tests of both together.
    LastVersion(last_version::Arguments),
    /// Make a Debian package and a tarball, with their SBOM and sums.
    Package(package::Arguments),
}

fn main() -> ExitCode {
    match carry_out(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Tidy => tidy::run(),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Sim(arguments) => sim::run(&arguments),
        Verb::Screenshots => screenshots::run(),
        Verb::Examples(arguments) => examples::run(&arguments),
        Verb::Local(arguments) => local::run(&arguments),
        Verb::LastVersion(arguments) => last_version::run(&arguments),
        Verb::Package(arguments) => package::run(&arguments),
    }
}
