//! Texts of flags as values.

use std::str::FromStr;

use mezzo_election::{ZkUrl, ZkUrlError};
use mezzo_master_core::input::{RateLimit, Sorter};
use mezzo_server::flags::positive_duration;

use super::{Minimums, OfferTimeout};

/// `--registry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    /// In the work directory.
    Embedded,
    /// In the ensemble that elects the leader.
    ZooKeeper,
    /// Nowhere.
    InMemory,
}

impl FromStr for Registry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            // Mesos' durable registry of a single master, under both of its names.
            "embedded" | "replicated_log" | "log_storage" => Ok(Self::Embedded),
            "zookeeper" => Ok(Self::ZooKeeper),
            "in_memory" => Ok(Self::InMemory),
            other => Err(format!("'{other}' is none of embedded, zookeeper and in_memory")),
        }
    }
}

impl Registry {
    /// As the flag has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::ZooKeeper => "zookeeper",
            Self::InMemory => "in_memory",
        }
    }
}

/// `--zk`, read; whoever has [`Flags`](super::Flags) finds it sound.
#[derive(Clone, Debug)]
pub struct Zk(pub(super) Result<ZkUrl, ZkUrlError>);

#[allow(clippy::unnecessary_wraps)] // clap wants a result
pub(super) fn zk(text: &str) -> Result<Zk, std::convert::Infallible> {
    Ok(Zk(text.parse()))
}

/// `--agent_removal_rate_limit`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovalRate(pub RateLimit);

impl FromStr for RemovalRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("'{text}' is no rate: write a number and a time, e.g. 1/10mins");
        let (permits, duration) = text.split_once('/').ok_or_else(error)?;
        let permits: u32 = permits.trim().parse().map_err(|_| error())?;
        if permits == 0 {
            return Err(error());
        }
        let duration = positive_duration(duration.trim())?;
        Ok(Self(RateLimit { permits, duration }))
    }
}

/// `50%` as 0.5.
pub(super) fn percentage(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    let part = number.map(|number| number / 100.0).filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| format!("'{text}' is no percentage from 0% to 100%"))
}

pub(super) fn offer_timeout(text: &str) -> Result<OfferTimeout, String> {
    if text == "never" {
        Ok(OfferTimeout(None))
    } else {
        positive_duration(text).map(|timeout| OfferTimeout(Some(timeout)))
    }
}

pub(super) fn sorter(text: &str) -> Result<Sorter, String> {
    match text {
        "drf" => Ok(Sorter::Drf),
        "random" => Ok(Sorter::Random),
        other => Err(format!("'{other}' is neither drf nor random")),
    }
}

pub(super) fn fraction(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(part) if (0.0..=1.0).contains(&part) => Ok(part),
        _ => Err(format!("'{text}' is no number between 0 and 1")),
    }
}

pub(super) fn resource_minimums(text: &str) -> Result<Minimums, String> {
    let alternatives = text.split('|').filter(|alternative| !alternative.trim().is_empty());
    alternatives.map(minimum).collect::<Result<_, _>>().map(Minimums)
}

fn minimum(text: &str) -> Result<Vec<(String, f64)>, String> {
    let one = |part: &str| {
        let error = || format!("'{part}' is no amount of a resource: write e.g. cpus:0.01;mem:32|disk:64");
        let (name, amount) = part.split_once(':').ok_or_else(error)?;
        let amount: f64 = amount.trim().parse().map_err(|_| error())?;
        if name.trim().is_empty() || !amount.is_finite() || amount < 0.0 {
            return Err(error());
        }
        Ok((name.trim().to_owned(), amount))
    };
    text.split(';').filter(|part| !part.trim().is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minimums() {
        let Minimums(alternatives) = resource_minimums("cpus:0.01;disk:5|mem:32").unwrap();
        assert_eq!(alternatives, [vec![("cpus".into(), 0.01), ("disk".into(), 5.0)], vec![("mem".into(), 32.0)]]);
        assert_eq!(resource_minimums("").unwrap(), Minimums(vec![]));
        assert!(resource_minimums("cpus").is_err());
        assert!(resource_minimums("cpus:-1").is_err());
    }

    #[test]
    fn rates_and_parts() {
        let RemovalRate(rate) = "2/10mins".parse().unwrap();
        assert_eq!(rate.interval().as_secs(), 300);
        for bad in ["", "1", "0/1mins", "1/0secs", "x/1mins", "1/10"] {
            assert!(bad.parse::<RemovalRate>().is_err(), "{bad}");
        }
        assert_eq!(percentage("12.5%"), Ok(0.125));
        for bad in ["", "50", "-1%", "101%", "%"] {
            assert!(percentage(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn timeouts() {
        assert_eq!(offer_timeout("never"), Ok(OfferTimeout(None)));
        assert!(offer_timeout("0secs").is_err());
    }
}
