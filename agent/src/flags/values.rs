//! Texts of flags as values.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use mezzo_agent_core::config::{Reconfiguration, Recover};
use mezzo_election::{Source, SourceError};
use mezzo_server::flags::duration;

/// `--master`, read: where the leading master is found. Whoever has [`Flags`](super::Flags) finds it sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master(pub(super) Result<Source, SourceError>);

impl FromStr for Master {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()))
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
            .map_err(|error| format!("expected a JSON object of texts, e.g. {{\"PATH\": \"/bin\"}}: {error}"))
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
