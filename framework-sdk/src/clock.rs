//! The time that the cores are given.

use std::time::{Duration, SystemTime};

use mezzo_api::time::Now;
use tokio::time::Instant;

/// Monotonic time since the driver's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        Now { mono: self.origin.elapsed(), wall: SystemTime::now() }
    }

    pub(crate) fn instant(self, mono: Duration) -> Instant {
        self.origin + mono
    }
}

/// A seed for the spread of waits. Not for secrets.
pub(crate) fn seed() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
