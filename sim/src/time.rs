//! Virtual time, and what the clocks of processes make of it.

use std::{
    fmt,
    ops::{Add, Sub},
    time::{Duration, UNIX_EPOCH},
};

use mezzo_api::time::Now;

/// A moment of the simulation, in nanoseconds since its begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// So long after the begin.
    pub fn after(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Since the begin.
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(Self::after(duration).0))
    }
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:5}.{:06}", self.0 / 1_000_000_000, self.0 / 1000 % 1_000_000)
    }
}

/// Wall time at the simulation's begin, in seconds since the epoch: some moment of 2023.
pub const BEGIN_SECS: u64 = 1_700_000_000;
const MILLION: i128 = 1_000_000;

/// A process' clock: monotonic time begins with the process and runs a little too fast or too slow, wall time is off.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// When the process began.
    pub begun: Moment,
    /// How much too fast, in millionths.
    pub drift_ppm: i32,
    /// Wall time is ahead by this.
    pub wall_ahead: Duration,
}

impl Clock {
    /// What the process reads at this moment.
    pub fn read(&self, moment: Moment) -> Now {
        let wall = UNIX_EPOCH + Duration::from_secs(BEGIN_SECS) + self.wall_ahead + moment.elapsed();
        Now { mono: self.mono(moment), wall }
    }

    fn mono(&self, moment: Moment) -> Duration {
        let passed = i128::from(moment.0.saturating_sub(self.begun.0));
        let nanos = passed * (MILLION + i128::from(self.drift_ppm)) / MILLION;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The first moment at which the process reads at least this monotonic time.
    pub fn moment_of(&self, mono: Duration) -> Moment {
        let mono = i128::try_from(mono.as_nanos()).unwrap_or(i128::MAX / MILLION);
        let rate = MILLION + i128::from(self.drift_ppm);
        let passed = (mono.saturating_mul(MILLION) + rate - 1) / rate;
        Moment(self.begun.0.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_reached_at_its_moment_and_not_before() {
        for drift_ppm in [-5000, -1, 0, 1, 333, 5000] {
            let clock = Clock { begun: Moment(12_345), drift_ppm, wall_ahead: Duration::ZERO };
            for mono in [0, 1, 7, 999_999_999, 123_456_789_012_345] {
                let mono = Duration::from_nanos(mono);
                let moment = clock.moment_of(mono);
                assert!(clock.read(moment).mono >= mono);
                assert!(moment == clock.begun || clock.read(Moment(moment.0 - 1)).mono < mono);
            }
        }
    }
}
