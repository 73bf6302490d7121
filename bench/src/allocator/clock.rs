//! What this thread worked, which is not what passed: other processes' work is not of interest.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A moment in the work of this thread.
pub(super) struct Work {
    worked: Duration,
    at: Instant,
}

/// What was worked, and what passed meanwhile.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    /// Processor time of this thread.
    pub(super) work: Duration,
    /// Time.
    pub(super) wall: Duration,
}

impl Work {
    /// Now.
    pub(super) fn begin() -> Self {
        Self { worked: worked(), at: Instant::now() }
    }

    /// What was worked since.
    pub(super) fn elapsed(&self) -> Duration {
        self.took().work
    }

    /// What was worked and what passed since.
    pub(super) fn took(&self) -> Took {
        Took { work: worked().saturating_sub(self.worked), wall: self.at.elapsed() }
    }
}

fn worked() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
