//! How long to wait before the next attempt.

use std::time::Duration;

use rand::{Rng, rngs::SmallRng};

/// Bounds of the waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// Ceiling of the first wait; each further one is twice as high.
    pub base: Duration,
    /// No ceiling is higher than this.
    pub max: Duration,
}

/// Waits that grow and are spread: many clients that lost the same master do not come back at the same moment.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: BackoffPolicy,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(policy: BackoffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// The next wait: between half of the ceiling and the ceiling.
    pub(crate) fn next(&mut self, rng: &mut SmallRng) -> Duration {
        let wait = after(self.policy, self.failures, rng);
        self.failures = self.failures.saturating_add(1);
        wait
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The wait after so many failures before the last one: between half of the ceiling and the ceiling.
pub(crate) fn after(policy: BackoffPolicy, failures: u32, rng: &mut SmallRng) -> Duration {
    let factor = 1u32.checked_shl(failures.min(30)).unwrap_or(u32::MAX);
    let ceiling = policy.base.saturating_mul(factor).min(policy.max);
    ceiling.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn grows_to_its_bound_and_is_spread() {
        let mut backoff = Backoff::new(BackoffPolicy { base: Duration::from_millis(100), max: Duration::from_secs(2) });
        let mut rng = SmallRng::seed_from_u64(1);
        for ceiling_ms in [100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.next(&mut rng);
            let ceiling = Duration::from_millis(ceiling_ms);
            assert!(wait <= ceiling && wait >= ceiling / 2, "{wait:?} of {ceiling:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next(&mut rng) <= Duration::from_secs(2));
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(100));
    }
}
