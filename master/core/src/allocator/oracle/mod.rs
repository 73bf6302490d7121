//! The allocator beside an oracle: the algorithm written straight down, slow and obvious. For tests, and (under the
//! feature `harness`) for the simulator's program, which runs millions of steps and shows that bugs are found.

mod model;
mod reference;
mod walk;

use walk::Walk;

/// Random steps of a random cluster; the allocator must do what the oracle does, and every invariant must hold after
/// each step.
///
/// # Panics
/// If something is not so.
pub fn walk(seed: u64, steps: usize) {
    let mut walk = Walk::new(seed);
    (0..steps).for_each(|_| walk.step());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walks, and steps of each: some seconds. `cargo xtask sim --oracle` runs more.
    const WALKS: u64 = 40;
    const STEPS: usize = 120;

    #[test]
    fn the_oracle_agrees() {
        for seed in 1..=WALKS {
            let outcome = std::panic::catch_unwind(|| walk(seed, STEPS));
            if let Err(panic) = outcome {
                eprintln!("repeat with `cargo xtask sim --oracle {STEPS} --from {seed}`");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
