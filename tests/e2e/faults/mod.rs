//! `kill -9` of masters and agents at random moments under load, with a checker that looks on.
//!
//! A handful of runs in CI; `cargo xtask soak --runs 100` for many. A failing run names its seed.

mod checker;
mod load;
mod rolling;

use std::time::Duration;

use load::{Load, Victims};
use mezzo_tests::versions::Versions;

/// How long the load lasts in each run.
const LOAD: Duration = Duration::from_secs(4);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

fn soak(victims: Victims, versions: Option<&Versions>) {
    let runs = number("MEZZO_SOAK_RUNS", 2);
    let first = number("MEZZO_SOAK_SEED", u64::from(std::process::id()));
    for seed in first..first + runs {
        eprintln!("{victims:?}: seed {seed}; to repeat: cargo xtask soak --runs 1 --seed {seed}");
        let load = Load::start(seed, victims);
        let load = match versions {
            Some(versions) => load.of_both(versions.clone()),
            None => load,
        };
        let report = load.run(LOAD);
        eprintln!("{victims:?}: seed {seed}: {report}");
    }
}

#[test]
fn soak_agents_die() {
    soak(Victims::Agents, None);
}

#[test]
fn soak_the_master_dies() {
    soak(Victims::Master, None);
}

#[test]
fn soak_both_die() {
    soak(Victims::Both, None);
}

/// Whoever dies comes back as this version or as the last one.
#[test]
fn soak_both_versions_die() {
    let Some(versions) = Versions::both() else { return };
    soak(Victims::Both, Some(&versions));
}
