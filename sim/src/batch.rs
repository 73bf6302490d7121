//! Many runs at once: each on one thread, each alone.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use crate::{
    coverage::Coverage,
    plan::{Plan, Wishes},
    run::{Failure, Report, run},
};

/// What came of many seeds.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Seeds that were run.
    pub runs: u64,
    /// Events of all.
    pub steps: u64,
    /// Virtual time of all, in seconds.
    pub simulated_s: f64,
    /// Seeds that failed, and how, by seed.
    pub failures: Vec<(u64, Failure)>,
    /// What all of them reached.
    pub coverage: Coverage,
}

/// How to run many seeds.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// What each run is like.
    pub wishes: Wishes,
    /// Threads.
    pub jobs: usize,
    /// Stop at the first failure.
    pub stop_at_first: bool,
    /// A bug that is put back.
    pub mutant: Option<&'static str>,
}

impl Batch {
    /// Runs them; `progress` hears of every failure as it is found.
    pub fn run(&self, progress: &(dyn Fn(u64, &Failure) + Sync)) -> Outcome {
        let next = AtomicU64::new(self.from);
        let end = self.from.saturating_add(self.seeds);
        let outcome = Mutex::new(Outcome::default());
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    choose(self.mutant);
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= end {
                            return;
                        }
                        let report = run(&Plan::new(seed, self.wishes), None);
                        if let Err(failure) = &report.result {
                            progress(seed, failure);
                            if self.stop_at_first {
                                next.store(end, Ordering::Relaxed);
                            }
                        }
                        if let Ok(mut outcome) = outcome.lock() {
                            outcome.add(seed, report);
                        }
                    }
                });
            }
        });
        let mut outcome = outcome.into_inner().unwrap_or_default();
        outcome.failures.sort_by_key(|(seed, _)| *seed);
        outcome
    }
}

impl Outcome {
    fn add(&mut self, seed: u64, report: Report) {
        self.runs += 1;
        self.steps += report.steps;
        self.simulated_s += report.simulated.elapsed().as_secs_f64();
        self.coverage.add(&report.coverage);
        if let Err(failure) = report.result {
            self.failures.push((seed, failure));
        }
    }
}

/// Puts a bug back, on this thread.
pub fn choose(mutant: Option<&'static str>) {
    #[cfg(feature = "mutants")]
    mezzo_api::mutants::choose(mutant);
    #[cfg(not(feature = "mutants"))]
    let _ = mutant;
}
