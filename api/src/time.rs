//! The time that a core is given. Cores never read a clock: whoever drives them does, once per step.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The moment of one step of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an origin of the driver's choice; all deadlines are in it.
    pub mono: Duration,
    /// Wall time, only to stamp what people and frameworks read.
    pub wall: SystemTime,
}

impl Now {
    /// Wall time as Mesos' statuses carry it: seconds since the epoch.
    pub fn timestamp(&self) -> f64 {
        self.wall.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no duration: write a number and one of ns, us, ms, secs, mins, hrs, days, weeks, e.g. 15secs")]
pub struct DurationError {
    text: String,
}

const UNITS: [(&str, u64); 8] = [
    ("weeks", 604_800_000_000_000),
    ("days", 86_400_000_000_000),
    ("hrs", 3_600_000_000_000),
    ("mins", 60_000_000_000),
    ("secs", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Reads Mesos' text form of a duration, e.g. `15secs` or `1.5hrs` (3rdparty/stout/include/stout/duration.hpp).
///
/// # Errors
/// If the text is not a non-negative number with a unit, or is too large.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError { text: text.to_owned() };
    let trimmed = text.trim();
    let at = trimmed.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(error)?;
    let (amount, unit) = trimmed.split_at(at);
    let nanos = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1;
    if let Ok(whole) = amount.parse::<u64>() {
        return whole.checked_mul(nanos).map(Duration::from_nanos).ok_or_else(error);
    }
    let amount: f64 = amount.parse().map_err(|_| error())?;
    #[allow(clippy::cast_precision_loss)] // units are exact as doubles
    Duration::try_from_secs_f64(amount * nanos as f64 / 1e9).map_err(|_| error())
}

/// Mesos' text form of a duration: in the largest unit that gives a whole number, e.g. `10days`, `90secs`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (unit, size) = match nanos {
        0 => ("ns", 1),
        _ => *UNITS.iter().find(|(_, size)| nanos.is_multiple_of(*size)).unwrap_or(&("ns", 1)),
    };
    format!("{}{unit}", nanos / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_durations_as_mesos_does() {
        for (text, nanos) in
            [("15secs", 15_000_000_000), ("500ms", 500_000_000), ("2weeks", 1_209_600_000_000_000), ("0ns", 0)]
        {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(parse_duration(text), Ok(duration));
            assert_eq!(format_duration(duration), text);
        }
        assert_eq!(parse_duration("1.5hrs"), Ok(Duration::from_secs(5400)));
        assert_eq!(format_duration(Duration::from_secs(90)), "90secs");
    }

    #[test]
    fn refuses_what_is_no_duration() {
        for text in ["", "15", "secs", "1.5", "-1secs", "15 secs x", "1e99weeks", "infsecs", "99999999999999weeks"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
