//! Makes a failing schedule small: faults are left out, many at once, then one by one, while the same invariant fails.

use crate::{
    plan::Plan,
    run::{Failure, run},
};

/// At most so many runs are made.
const MOST_RUNS: u32 = 400;

/// The places of the faults that are needed for the failure, and how the run fails with those alone.
pub fn shrink(plan: &Plan, failure: &Failure) -> (Vec<usize>, Failure) {
    let mut kept: Vec<usize> = (0..plan.faults.len()).collect();
    let mut last = failure.clone();
    let mut runs = 0;
    let mut size = kept.len().div_ceil(2);
    while size > 0 {
        let mut begin = 0;
        while begin < kept.len() && runs < MOST_RUNS {
            let end = (begin + size).min(kept.len());
            let fewer: Vec<usize> = [&kept[..begin], &kept[end..]].concat();
            runs += 1;
            match run(&only(plan, &fewer), None).result {
                Err(still) if still.invariant == failure.invariant => {
                    kept = fewer;
                    last = still;
                }
                _ => begin = end,
            }
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    (kept, last)
}

/// The plan with these faults alone.
pub fn only(plan: &Plan, kept: &[usize]) -> Plan {
    let faults = kept.iter().filter_map(|place| plan.faults.get(*place).cloned()).collect();
    Plan { faults, ..plan.clone() }
}
