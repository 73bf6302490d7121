//! When and as what this was built.

use std::sync::LazyLock;

/// Seconds since the epoch.
pub static TIME: LazyLock<f64> = LazyLock::new(|| env!("MEZZO_BUILD_TIME").parse().unwrap_or_default());

/// The same for people, in UTC.
pub static DATE: LazyLock<String> = LazyLock::new(|| date(env!("MEZZO_BUILD_TIME").parse().unwrap_or_default()));

/// Nobody in particular.
pub const USER: &str = "";

/// `YYYY-MM-DD HH:MM:SS UTC` of seconds since the epoch.
fn date(seconds: u64) -> String {
    let (mut days, time) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let leap = |year: u64| u64::from(year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)));
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02}:{:02} UTC", days + 1, time / 3600, time / 60 % 60, time % 60)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(1_606_232_317), "2020-11-24 15:38:37 UTC");
        assert_eq!(date(1_709_164_800), "2024-02-29 00:00:00 UTC");
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59:59 UTC");
    }
}
