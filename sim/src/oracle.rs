//! The allocator alone, step by step beside its oracle (`master/core/src/allocator/oracle`): millions of steps, on all
//! processors.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use mezzo_master_core::harness;

use crate::batch::choose;

/// Steps of one walk; each has a seed of its own.
pub const WALK: usize = 120;

/// Walks so many steps, from this seed on; the answer is the first seed that failed, and how.
///
/// # Errors
/// If the allocator did something else than the oracle, or an invariant broke.
pub fn run(from: u64, steps: u64, jobs: usize, mutant: Option<&'static str>) -> Result<(), (u64, String)> {
    let end = from.saturating_add(steps.div_ceil(WALK as u64));
    let next = AtomicU64::new(from);
    let failed: Mutex<Option<(u64, String)>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                choose(mutant);
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| harness::walk(seed, WALK)));
                    if let Err(panic) = outcome {
                        next.store(end, Ordering::Relaxed);
                        if let Ok(mut failed) = failed.lock() {
                            failed.get_or_insert((seed, message(panic.as_ref())));
                        }
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_default().map_or(Ok(()), Err)
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}
