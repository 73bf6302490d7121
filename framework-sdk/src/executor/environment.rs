//! What the agent tells an executor through its environment (`executorEnvironment` in src/slave/slave.cpp).

use std::{path::PathBuf, time::Duration};

use mezzo_api::{
    time::{DurationError, parse_duration},
    v1,
};
use mezzo_sdk_core::{
    address::{Address, AddressError},
    executor::Config,
};

use crate::wire::Peer;

/// Of agents; for endpoints that name none.
const AGENT_PORT: u16 = 5051;
const DEFAULT_GRACE: Duration = Duration::from_secs(5);
const DEFAULT_RECOVERY_TIMEOUT: Duration = Duration::from_secs(15 * 60);
const DEFAULT_BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Why the environment is not that of an executor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// A variable that is needed is not set.
    #[error("{0} is not set: an executor is started by an agent")]
    Missing(&'static str),
    /// The agent's address cannot be read.
    #[error("{variable}: {source}")]
    Address {
        /// Where it was read.
        variable: &'static str,
        /// What is wrong.
        source: AddressError,
    },
    /// A duration cannot be read.
    #[error("{variable}: {source}")]
    Duration {
        /// Where it was read.
        variable: &'static str,
        /// What is wrong.
        source: DurationError,
    },
}

/// The environment, understood.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    pub(super) config: Config,
    pub(super) peer: Peer,
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) grace: Duration,
}

impl Environment {
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let needed = |name| variable(name).filter(|value| !value.is_empty()).ok_or(EnvironmentError::Missing(name));
        let duration = |name: &'static str, default| match variable(name) {
            None => Ok(default),
            Some(text) => parse_duration(&text).map_err(|source| EnvironmentError::Duration { variable: name, source }),
        };
        let (actor, endpoint) = endpoint(&variable)?;
        let peer = match variable("MESOS_DOMAIN_SOCKET") {
            Some(path) => Peer::Unix(PathBuf::from(path)),
            None => Peer::Tcp(endpoint),
        };
        Ok(Self {
            config: Config {
                framework_id: v1::FrameworkId { value: needed("MESOS_FRAMEWORK_ID")? },
                executor_id: v1::ExecutorId { value: needed("MESOS_EXECUTOR_ID")? },
                checkpoint: variable("MESOS_CHECKPOINT").as_deref() == Some("1"),
                recovery_timeout: duration("MESOS_RECOVERY_TIMEOUT", DEFAULT_RECOVERY_TIMEOUT)?,
                backoff_max: duration("MESOS_SUBSCRIPTION_BACKOFF_MAX", DEFAULT_BACKOFF_MAX)?,
            },
            peer,
            path: format!("/{actor}/api/v1/executor"),
            authorization: variable("MESOS_EXECUTOR_AUTHENTICATION_TOKEN").map(|token| format!("Bearer {token}")),
            grace: duration("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", DEFAULT_GRACE)?,
        })
    }
}

/// The agent's actor and address: both are in MESOS_SLAVE_PID (`slave(1)@ip:port`); MESOS_AGENT_ENDPOINT has the
/// address alone.
fn endpoint(variable: &impl Fn(&str) -> Option<String>) -> Result<(String, Address), EnvironmentError> {
    let read = |name: &'static str, text: &str| {
        Address::parse(text, AGENT_PORT).map_err(|source| EnvironmentError::Address { variable: name, source })
    };
    match (variable("MESOS_SLAVE_PID"), variable("MESOS_AGENT_ENDPOINT")) {
        (Some(pid), _) => {
            let actor = pid.split_once('@').map_or("slave(1)", |(actor, _)| actor).to_owned();
            Ok((actor, read("MESOS_SLAVE_PID", &pid)?))
        }
        (None, Some(endpoint)) => Ok(("slave(1)".to_owned(), read("MESOS_AGENT_ENDPOINT", &endpoint)?)),
        (None, None) => Err(EnvironmentError::Missing("MESOS_AGENT_ENDPOINT")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, String> {
        let find = |name: &str| variables.iter().find(|(has, _)| *has == name).map(|(_, value)| (*value).to_owned());
        Environment::read(find).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_what_an_agent_sets() {
        let environment = read(&[
            ("MESOS_SLAVE_PID", "slave(2)@127.0.0.1:5061"),
            ("MESOS_AGENT_ENDPOINT", "127.0.0.1:5061"),
            ("MESOS_FRAMEWORK_ID", "F"),
            ("MESOS_EXECUTOR_ID", "E"),
            ("MESOS_CHECKPOINT", "1"),
            ("MESOS_RECOVERY_TIMEOUT", "1mins"),
            ("MESOS_SUBSCRIPTION_BACKOFF_MAX", "500ms"),
            ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "7secs"),
            ("MESOS_EXECUTOR_AUTHENTICATION_TOKEN", "t"),
        ])
        .unwrap();
        assert_eq!(environment.path, "/slave(2)/api/v1/executor");
        assert_eq!(environment.peer.to_string(), "127.0.0.1:5061");
        assert!(environment.config.checkpoint);
        assert_eq!(environment.config.recovery_timeout, Duration::from_secs(60));
        assert_eq!(environment.config.backoff_max, Duration::from_millis(500));
        assert_eq!(environment.grace, Duration::from_secs(7));
        assert_eq!(environment.authorization.as_deref(), Some("Bearer t"));
    }

    #[test]
    fn names_what_is_missing_or_wrong() {
        let error = |variables: &[(&str, &str)]| read(variables).map(|_| ()).unwrap_err();
        assert!(error(&[]).contains("MESOS_AGENT_ENDPOINT"));
        let endpoint = ("MESOS_AGENT_ENDPOINT", "127.0.0.1:5051");
        assert!(error(&[endpoint]).contains("MESOS_FRAMEWORK_ID"));
        assert!(error(&[endpoint, ("MESOS_FRAMEWORK_ID", "F")]).contains("MESOS_EXECUTOR_ID"));
        let ids = [endpoint, ("MESOS_FRAMEWORK_ID", "F"), ("MESOS_EXECUTOR_ID", "E")];
        assert!(read(&ids).is_ok());
        let wrong = [ids.as_slice(), &[("MESOS_RECOVERY_TIMEOUT", "soon")]].concat();
        assert!(error(&wrong).contains("MESOS_RECOVERY_TIMEOUT"));
        assert!(error(&[("MESOS_AGENT_ENDPOINT", "host:0")]).contains("MESOS_AGENT_ENDPOINT"));
    }
}
