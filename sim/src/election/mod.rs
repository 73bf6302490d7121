//! Elections alone: three masters' real contenders on a model of ZooKeeper, thousands of seeds. What a leader does is
//! reduced to "it acts". The same runs within a cluster, to decide who leads there (`embedded.rs`).

mod client;
mod embedded;
mod ensemble;
mod fault;
mod invariants;
mod world;

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    batch::choose,
    random::Random,
    run::{Failure, keep_panics, kept_panic},
    time::Moment,
};

pub use embedded::{Embedded, Standing};
pub(crate) use fault::draw;
pub use fault::{Fault, Planned, Wall};

/// Faults begin within this time …
const TROUBLED: Duration = Duration::from_secs(90);
/// … and end at the latest this long after.
const LONGEST: Duration = Duration::from_secs(30);
/// After the last fault somebody leads within this time.
const HEALING: Duration = Duration::from_secs(75);
/// … and has acted within the last.
const CALM: Duration = Duration::from_secs(10);

/// What came of one seed.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Leaders that began.
    pub leaders: u64,
    /// Leaders that were removed by a challenge.
    pub challenges: u64,
    /// What leaders did.
    pub acts: u64,
    /// What was broken.
    pub failure: Option<Failure>,
}

/// The faults of a seed.
pub fn plan(seed: u64) -> Vec<Planned> {
    fault::schedule(&mut Random::new(seed, "election faults"), TROUBLED)
}

/// Runs one seed with these faults.
pub fn run(seed: u64, faults: Vec<Planned>) -> Report {
    keep_panics();
    let mut world = world::World::new(seed, faults);
    let end = TROUBLED + LONGEST + HEALING;
    let mut broken = None;
    loop {
        // A panic of a contender's own checks is a finding like any other.
        match panic::catch_unwind(AssertUnwindSafe(|| world.step(end))) {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => break,
            Ok(Err(failure)) => {
                broken = Some(failure);
                break;
            }
            Err(_) => {
                broken = Some(("panic", kept_panic()));
                break;
            }
        }
    }
    let broken = broken.or_else(|| world.watcher.ended(world.now(), CALM).err());
    let failure = broken.map(|(invariant, detail)| Failure {
        invariant: invariant.to_owned(),
        detail,
        at: Moment::after(world.now()),
    });
    let watcher = &world.watcher;
    Report { leaders: watcher.leaders, challenges: watcher.challenges, acts: watcher.acts, failure }
}

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Total {
    /// Seeds that were run.
    pub runs: u64,
    /// Of all of them.
    pub sums: Report,
    /// Seeds that failed, and how.
    pub failures: Vec<(u64, Failure)>,
}

/// Runs many seeds on so many threads, with a bug that is put back or without; with a bug up to the first that fails.
pub fn seeds(from: u64, count: u64, jobs: usize, mutant: Option<&'static str>) -> Total {
    let next = AtomicU64::new(from);
    let end = from.saturating_add(count);
    let total = Mutex::new(Total::default());
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                choose(mutant);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let report = run(seed, plan(seed));
                    if report.failure.is_some() && mutant.is_some() {
                        next.store(end, Ordering::Relaxed);
                    }
                    if let Ok(mut total) = total.lock() {
                        total.add(seed, report);
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_default();
    total.failures.sort_by_key(|(seed, _)| *seed);
    total
}

impl Total {
    fn add(&mut self, seed: u64, report: Report) {
        self.runs += 1;
        self.sums.leaders += report.leaders;
        self.sums.challenges += report.challenges;
        self.sums.acts += report.acts;
        self.failures.extend(report.failure.map(|failure| (seed, failure)));
    }
}

/// The faults without which the seed does not fail in the same way.
pub fn shrink(seed: u64, invariant: &str) -> Vec<Planned> {
    let mut kept = plan(seed);
    let mut place = 0;
    while place < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(place);
        let still = run(seed, fewer.clone()).failure.is_some_and(|failure| failure.invariant == invariant);
        if still { kept = fewer } else { place += 1 }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handful_of_seeds() {
        let mut challenges = 0;
        for seed in 1..=20 {
            let report = run(seed, plan(seed));
            challenges += report.challenges;
            if let Some(failure) = report.failure {
                panic!("seed {seed}: {failure}: {:#?}", shrink(seed, &failure.invariant));
            }
        }
        assert!(challenges > 0, "no leader was ever removed by a challenge");
    }

    #[test]
    fn the_same_seed_is_the_same_run() {
        let told = |seed| format!("{:?}", run(seed, plan(seed)));
        assert_eq!(told(7), told(7));
    }
}
