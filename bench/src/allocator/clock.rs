//! What this thread worked, which is not what passed: other processes' work is not of interest.

use std::time::Duration;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeValLike,
};

/// A moment in the work of this thread.
pub(super) struct Work(Duration);

impl Work {
    /// Now.
    pub(super) fn begin() -> Self {
        Self(worked())
    }

    /// What was worked since.
    pub(super) fn elapsed(&self) -> Duration {
        worked().saturating_sub(self.0)
    }
}

fn worked() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else { return Duration::ZERO };
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(microseconds.unsigned_abs())
}
