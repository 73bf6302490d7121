//! The environment of executors and command tasks (src/slave/slave.cpp, executorEnvironment; the containerizer's and
//! the command executor's additions).

use std::{collections::BTreeMap, path::Path, time::Duration};

use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId},
    time::format_duration,
    v1::{self, environment::variable, secret},
};

use crate::config::Config;

/// PATH of a container when nothing sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whose environment it is.
pub(crate) struct Subject<'a> {
    pub(crate) agent: &'a AgentId,
    pub(crate) framework: &'a FrameworkId,
    pub(crate) executor: &'a ExecutorId,
    /// The framework's setting.
    pub(crate) checkpoint: bool,
    pub(crate) directory: &'a Path,
    /// As the executor asks for it.
    pub(crate) shutdown_grace: Option<Duration>,
    /// Of the executor, or of the command task: has the last word.
    pub(crate) command: Option<&'a v1::CommandInfo>,
    /// The role of a command task's resources.
    pub(crate) allocation_role: Option<&'a str>,
    /// Its container has a network of its own, in which the agent's address is nobody's.
    pub(crate) own_network: bool,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum EnvironmentError {
    #[error("Environment variable '{0}' refers to a secret that this agent cannot resolve")]
    SecretReference(String),
    #[error("Environment variable '{0}' has a secret that is no text")]
    SecretText(String),
}

/// All variables, in order of their names.
pub(crate) fn environment(config: &Config, subject: &Subject<'_>) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    if subject.own_network {
        all.insert("LIBPROCESS_IP".into(), "0.0.0.0".into());
    } else if let Some(ip) = config.libprocess_ip {
        all.insert("LIBPROCESS_IP".into(), ip.to_string());
    }
    all.extend(config.executor_environment.iter().cloned());

    let endpoint = config.endpoint();
    let directory = subject.directory.to_string_lossy().into_owned();
    let grace = subject.shutdown_grace.unwrap_or(config.executor_shutdown_grace_period);
    let flag = |value: bool| if value { "1" } else { "0" }.to_string();
    for (name, value) in [
        ("LIBPROCESS_PORT", "0".to_string()),
        ("MESOS_FRAMEWORK_ID", subject.framework.to_string()),
        ("MESOS_EXECUTOR_ID", subject.executor.to_string()),
        ("MESOS_DIRECTORY", directory.clone()),
        ("MESOS_SLAVE_ID", subject.agent.to_string()),
        ("MESOS_SLAVE_PID", format!("slave(1)@{endpoint}")),
        ("MESOS_AGENT_ENDPOINT", endpoint),
        ("MESOS_CHECKPOINT", flag(subject.checkpoint)),
        ("MESOS_HTTP_COMMAND_EXECUTOR", flag(false)),
        ("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", format_duration(grace)),
        ("MESOS_SANDBOX", directory),
    ] {
        all.insert(name.into(), value);
    }
    if subject.checkpoint {
        all.insert("MESOS_RECOVERY_TIMEOUT".into(), format_duration(config.recovery_timeout));
        let backoff = format_duration(config.executor_reregistration_timeout);
        all.insert("MESOS_SUBSCRIPTION_BACKOFF_MAX".into(), backoff);
    }
    all.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());

    let variables = subject.command.and_then(|command| command.environment.as_ref());
    for entry in variables.into_iter().flat_map(|environment| &environment.variables) {
        all.insert(entry.name.clone(), value(entry)?);
    }
    if let Some(role) = subject.allocation_role {
        all.insert("MESOS_ALLOCATION_ROLE".into(), role.into());
    }
    Ok(all.into_iter().collect())
}

/// Of a task of a pod: its own variables, and little else (src/launcher/default_executor.cpp, launchGroup).
pub(crate) fn nested(
    config: &Config,
    sandbox: &Path,
    command: Option<&v1::CommandInfo>,
    role: Option<&str>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let all = vec![
        ("MESOS_SANDBOX".to_string(), sandbox.to_string_lossy().into_owned()),
        ("PATH".to_string(), DEFAULT_PATH.to_string()),
    ];
    let mut all = with(all, command.and_then(|command| command.environment.as_ref()))?;
    all.retain(|(name, _)| name != "MESOS_CONTAINER_IP" && name != "MESOS_ALLOCATION_ROLE");
    all.push(("MESOS_CONTAINER_IP".into(), config.ip.to_string()));
    all.extend(role.map(|role| ("MESOS_ALLOCATION_ROLE".to_string(), role.to_string())));
    all.sort_unstable();
    Ok(all)
}

/// The variables of `all`, those of `more` on top.
pub(crate) fn with(
    all: Vec<(String, String)>,
    more: Option<&v1::Environment>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut all: BTreeMap<String, String> = all.into_iter().collect();
    for entry in more.into_iter().flat_map(|environment| &environment.variables) {
        all.insert(entry.name.clone(), value(entry)?);
    }
    Ok(all.into_iter().collect())
}

fn value(entry: &v1::environment::Variable) -> Result<String, EnvironmentError> {
    if entry.r#type() != variable::Type::Secret {
        return Ok(entry.value.clone().unwrap_or_default());
    }
    let secret = entry.secret.clone().unwrap_or_default();
    match secret.value {
        Some(value) if secret.r#type == Some(secret::Type::Value as i32) => {
            String::from_utf8(value.data.to_vec()).map_err(|_| EnvironmentError::SecretText(entry.name.clone()))
        }
        _ => Err(EnvironmentError::SecretReference(entry.name.clone())),
    }
}
