//! Randomness: independent streams drawn from one seed, so that one part's draws do not shift another's.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};

/// One stream.
#[derive(Debug)]
pub struct Random {
    stream: StdRng,
    /// The steps of [`Random::spread`] between two bounds, which are few.
    ladders: BTreeMap<(u64, u64), Vec<u64>>,
}

impl Random {
    /// The stream of this seed with this name.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a: stable on every machine, which the standard hasher does not promise.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes().chain(seed.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self { stream: StdRng::seed_from_u64(hash), ladders: BTreeMap::new() }
    }

    /// A number of the range.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.stream.random_range(range)
    }

    /// An index below `length`, which must not be 0.
    pub fn index(&mut self, length: usize) -> usize {
        self.stream.random_range(0..length)
    }

    /// True in so many of a thousand cases.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.stream.random_range(0..1000) < per_mille
    }

    /// A duration between these, the short ones as likely as the long ones.
    pub fn duration(&mut self, from: Duration, to: Duration) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.within(nanos(from)..=nanos(to).max(nanos(from))))
    }

    /// A duration between these, each order of magnitude as likely as the next.
    pub fn spread(&mut self, from: Duration, to: Duration) -> Duration {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1000);
        let (low, high) = (nanos(from), nanos(to));
        // Whole steps of integers: logarithms may differ in their last bit from machine to machine.
        let ladder = self.ladders.entry((low, high)).or_insert_with(|| {
            let next = |last: &u64| Some(last + last.div_ceil(20)).filter(|step| *step <= high);
            std::iter::successors(Some(low), next).collect()
        });
        Duration::from_nanos(ladder[self.stream.random_range(0..ladder.len())])
    }

    /// A seed for somebody else.
    pub fn seed(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A UUID of version 4.
    pub fn uuid(&mut self) -> uuid::Uuid {
        let mut bytes = [0; 16];
        self.stream.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    /// Another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.stream.random_range(0..=last));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_independent() {
        let draw = |seed, name| Random::new(seed, name).seed();
        assert_eq!(draw(1, "network"), draw(1, "network"));
        assert_ne!(draw(1, "network"), draw(2, "network"));
        assert_ne!(draw(1, "network"), draw(1, "disk"));
    }

    #[test]
    fn spread_durations_stay_near_their_bounds() {
        let mut random = Random::new(7, "test");
        let (from, to) = (Duration::from_millis(10), Duration::from_secs(100));
        for _ in 0..1000 {
            let duration = random.spread(from, to);
            assert!(duration >= from && duration <= to, "{duration:?}");
        }
    }
}
