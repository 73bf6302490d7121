//! Durations as libprocess' metrics tell them: the latest, and statistics over the latest ones
//! (3rdparty/libprocess/include/process/{timer,statistics}.hpp).

use std::{collections::VecDeque, time::Duration};

/// As many are remembered.
const SAMPLES: usize = 1000;

/// Durations of one kind.
#[derive(Clone, Debug)]
pub struct Timer {
    name: &'static str,
    /// In milliseconds, the oldest first.
    samples: VecDeque<f64>,
    statistics: bool,
}

impl Timer {
    /// A timer that tells its latest duration only.
    #[must_use]
    pub fn latest(name: &'static str) -> Self {
        Self { name, samples: VecDeque::new(), statistics: false }
    }

    /// A timer with statistics.
    #[must_use]
    pub fn with_statistics(name: &'static str) -> Self {
        Self { statistics: true, ..Self::latest(name) }
    }

    /// Something took this long.
    pub fn record(&mut self, duration: Duration) {
        if self.samples.len() >= if self.statistics { SAMPLES } else { 1 } {
            self.samples.pop_front();
        }
        self.samples.push_back(duration.as_secs_f64() * 1000.0);
    }

    /// Names and values; nothing before the first duration, statistics from the second on.
    pub fn metrics(&self, out: &mut Vec<(String, f64)>) {
        let Some(latest) = self.samples.back() else { return };
        out.push((self.name.to_owned(), *latest));
        let mut sorted: Vec<f64> = self.samples.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let (Some(min), Some(max), true) = (sorted.first(), sorted.last(), sorted.len() > 1) else { return };
        #[allow(clippy::cast_precision_loss)] // at most a thousand
        let count = sorted.len() as f64;
        let mut push = |name: &str, value| out.push((format!("{}/{name}", self.name), value));
        push("count", count);
        push("max", *max);
        push("min", *min);
        for (name, share) in
            [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999), ("p9999", 0.9999)]
        {
            push(name, percentile(&sorted, share));
        }
    }
}

/// Linear between the two nearest.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // at most a thousand
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn told(timer: &Timer) -> BTreeMap<String, f64> {
        let mut out = Vec::new();
        timer.metrics(&mut out);
        out.into_iter().collect()
    }

    #[test]
    fn statistics_are_those_of_the_latest_durations() {
        let mut timer = Timer::with_statistics("t_ms");
        assert!(told(&timer).is_empty());
        timer.record(Duration::from_millis(10));
        assert_eq!(told(&timer), BTreeMap::from([("t_ms".into(), 10.0)]));
        timer.record(Duration::from_millis(20));
        let told_of_two = told(&timer);
        assert_eq!((told_of_two["t_ms"], told_of_two["t_ms/count"]), (20.0, 2.0));
        assert_eq!((told_of_two["t_ms/min"], told_of_two["t_ms/max"]), (10.0, 20.0));
        assert!((told_of_two["t_ms/p50"] - 15.0).abs() < 1e-9 && (told_of_two["t_ms/p90"] - 19.0).abs() < 1e-9);
        for _ in 0..SAMPLES {
            timer.record(Duration::from_millis(5));
        }
        let later = told(&timer);
        assert_eq!((later["t_ms/count"], later["t_ms/max"]), (1000.0, 5.0));
    }

    #[test]
    fn a_plain_timer_tells_the_latest() {
        let mut timer = Timer::latest("t_ms");
        timer.record(Duration::from_millis(10));
        timer.record(Duration::from_millis(20));
        assert_eq!(told(&timer), BTreeMap::from([("t_ms".into(), 20.0)]));
    }
}
