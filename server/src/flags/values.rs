//! Texts of flags as values.

use std::{str::FromStr, time::Duration};

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub usize);

/// `--logging_level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggingLevel {
    /// Everything.
    Debug,
    /// What an operator wants to know.
    Info,
    /// What an operator should look at.
    Warning,
    /// What failed.
    Error,
}

impl FromStr for LoggingLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "DEBUG" => Ok(Self::Debug),
            "INFO" => Ok(Self::Info),
            "WARNING" | "WARN" => Ok(Self::Warning),
            "ERROR" => Ok(Self::Error),
            _ => Err(format!("'{text}' is none of DEBUG, INFO, WARNING, ERROR")),
        }
    }
}

/// `true` or `false`, or a digit that stands for it.
///
/// # Errors
/// For other texts: an explanation.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("'{other}' is neither true nor false")),
    }
}

/// A length of time as Mesos writes it.
///
/// # Errors
/// For other texts: an explanation.
pub fn duration(text: &str) -> Result<Duration, String> {
    mezzo_api::time::parse_duration(text).map_err(|error| error.to_string())
}

/// A length of time that cannot be nothing.
///
/// # Errors
/// For other texts: an explanation.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err(format!("'{text}' must be more than nothing")) } else { Ok(duration) }
}

/// A number of bytes, more than none, with its unit.
///
/// # Errors
/// For other texts: an explanation.
pub fn bytes(text: &str) -> Result<Bytes, String> {
    let error = || format!("'{text}' is no size: write a number and one of B, KB, MB, GB, e.g. 8MB");
    let at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(error)?;
    let (amount, unit) = text.split_at(at);
    let factor: usize = match unit {
        "B" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return Err(error()),
    };
    let amount: usize = amount.parse().map_err(|_| error())?;
    amount.checked_mul(factor).filter(|bytes| *bytes > 0).map(Bytes).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("8MB"), Ok(Bytes(8 << 20)));
        assert_eq!(bytes("1B"), Ok(Bytes(1)));
        for text in ["", "8", "MB", "0B", "8mb", "-1MB", "99999999999999999GB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn some_lengths_of_time_cannot_be_nothing() {
        assert_eq!(duration("0secs"), Ok(Duration::ZERO));
        assert!(positive_duration("0secs").is_err());
        assert_eq!(positive_duration("1.5secs"), Ok(Duration::from_millis(1500)));
    }
}
