//! The allocator by itself: the workloads of Mesos' own benchmarks (src/tests/hierarchical_allocator_tests.cpp and
//! hierarchical_allocator_benchmarks.cpp) with the same parameters, beside the figures that Mesos published, where it did.

mod clock;
mod declines;
mod grid;
mod latency;
mod operations;
mod quota;
mod table;

use std::time::Duration;

use mezzo_api::resources::Resources;
use mezzo_master_core::{
    harness::{Harness, Made},
    input::{AllocatorConfig, Sorter},
};

use clock::Work;
use table::Table;

/// Prints every case.
pub(crate) fn measure(json: bool, quick: bool) {
    let mut table = Table::new(json);
    // First, while this process has no memory that was used before.
    let held = (grid::memory(&mut table, quick), declines::filter_memory(&mut table, quick));
    drop(held);
    grid::cycles(&mut table, quick);
    grid::randomly(&mut table);
    latency::freed(&mut table, quick);
    declines::declines(&mut table, quick);
    grid::suppressed(&mut table, quick);
    grid::backlog(&mut table, quick);
    grid::metrics(&mut table, quick);
    quota::large_and_small(&mut table, quick);
    quota::with_and_without(&mut table);
    operations::volumes(&mut table);
    operations::labels(&mut table);
    operations::conversions(&mut table);
    operations::three_mixes(&mut table);
    table.end();
}

/// A cluster and its time.
struct Cluster {
    harness: Harness,
    now: Duration,
    /// How long the last cycle took by the clock on the wall.
    wall: Duration,
}

impl Cluster {
    fn new(sorter: Sorter) -> Self {
        let sorters = AllocatorConfig { role_sorter: sorter, framework_sorter: sorter, ..AllocatorConfig::default() };
        Self { harness: Harness::new(sorters), now: Duration::from_secs(1), wall: Duration::ZERO }
    }

    fn agents(&mut self, count: usize, resources: &str) {
        let total = Resources::parse(resources, "*").unwrap_or_default();
        for _ in 0..count {
            self.harness.add_agent(self.now, total.clone());
        }
    }

    fn frameworks(&mut self, count: usize, role: &str) {
        for _ in 0..count {
            self.harness.add_framework(self.now, role, false);
        }
    }

    /// Slices until nothing is left to do; the answer is what was made, and how much work it was.
    fn cycle(&mut self) -> (Vec<Made>, Duration) {
        self.now += Duration::from_millis(10);
        let mut made = Vec::new();
        let begin = Work::begin();
        while self.harness.due().is_some_and(|due| due <= self.now) {
            made.extend(self.harness.run(self.now));
        }
        let took = begin.took();
        self.wall = took.wall;
        (made, took.work)
    }

    fn give_all_back(&mut self, made: &[Made], refused: Option<Duration>) {
        for one in made {
            self.harness.give_back(self.now, one, refused);
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// What this process has in memory, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}
