//! `kill -9` of masters and agents at random moments under load, with a checker that looks on.
//!
//! A handful of runs in CI; `cargo xtask soak --runs 100` for many. A failing run names its seed.

mod checker;
mod load;
mod rolling;

use std::time::Duration;

use load::{Load, Victims};

/// How long the load lasts in each run.
const LOAD: Duration = Duration::from_secs(4);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn soak(victims: Victims) {
    let runs = number("MEZZO_SOAK_RUNS", 2);
    let first = number("MEZZO_SOAK_SEED", u64::from(std::process::id()));
    for seed in first..first + runs {
        eprintln!("{victims:?}: seed {seed}; to repeat: cargo xtask soak --runs 1 --seed {seed}");
        let report = Load::start(seed, victims).run(LOAD);
        eprintln!("{victims:?}: seed {seed}: {report}");
    }
}

#[test]
fn soak_agents_die() {
    soak(Victims::Agents);
}

#[test]
fn soak_the_master_dies() {
    soak(Victims::Master);
}

#[test]
fn soak_both_die() {
    soak(Victims::Both);
}
