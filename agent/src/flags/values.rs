//! Texts of flags as values.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use mezzo_agent_core::config::{Reconfiguration, Recover};
use mezzo_server::flags::duration;

/// `--master`: where the leading master is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master(pub String);

impl FromStr for Master {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("zk://") {
            return Err(format!("'{text}': finding the master through ZooKeeper is not supported; write host:port"));
        }
        let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
        let error = || format!("'{text}' is no address of a master: write host:port, e.g. 10.0.0.1:5050");
        let (host, port) = address.rsplit_once(':').ok_or_else(error)?;
        if host.is_empty() || host.contains(['/', '@']) || port.parse::<u16>().is_err() {
            return Err(error());
        }
        Ok(Self(address.to_owned()))
    }
}

/// `--executor_environment_variables`: a JSON object of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables(pub BTreeMap<String, String>);

impl FromStr for Variables {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map(Self)
            .map_err(|error| format!("'{text}' is no JSON object of texts, e.g. {{\"PATH\": \"/bin\"}}: {error}"))
    }
}

/// src/slave/flags.cpp: at most 15 seconds, so that the master does not give the agent up meanwhile.
pub(super) fn reregistration_timeout(text: &str) -> Result<Duration, String> {
    let timeout = duration(text)?;
    if timeout > Duration::from_secs(15) {
        return Err(format!("'{text}' is more than 15secs"));
    }
    Ok(timeout)
}

pub(super) fn fraction(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value| (0.0..=1.0).contains(value))
        .ok_or_else(|| format!("'{text}' is no number from 0 to 1"))
}

pub(super) fn recover(text: &str) -> Result<Recover, String> {
    match text {
        "reconnect" => Ok(Recover::Reconnect),
        "cleanup" => Ok(Recover::Cleanup),
        _ => Err(format!("'{text}' is neither reconnect nor cleanup")),
    }
}

pub(super) fn reconfiguration(text: &str) -> Result<Reconfiguration, String> {
    match text {
        "equal" => Ok(Reconfiguration::Equal),
        "additive" => Ok(Reconfiguration::Additive),
        _ => Err(format!("'{text}' is neither equal nor additive")),
    }
}
