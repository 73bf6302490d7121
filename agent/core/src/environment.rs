//! The environment of executors and command tasks (src/slave/slave.cpp, executorEnvironment; the containerizer's and
//! the command executor's additions).

use std::{path::Path, time::Duration};

use mezzo_api::{
    ids::{AgentId, ExecutorId, FrameworkId},
    time::format_duration,
    v1::{self, environment::variable, secret},
};

use crate::config::{Config, Texts};

/// PATH of a container when nothing sets it.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables that the agent itself sets, at most.
const MOST_OF_OWN: usize = 16;

/// Names and values.
type Variables = Vec<(String, String)>;

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
pub(crate) fn environment(
    config: &Config,
    texts: &Texts,
    subject: &Subject<'_>,
) -> Result<Variables, EnvironmentError> {
    let variables = subject.command.and_then(|command| command.environment.as_ref());
    let variables = variables.map_or(&[][..], |environment| &environment.variables);
    let mut all = Variables::with_capacity(MOST_OF_OWN + config.executor_environment.len() + variables.len());
    let ip = if subject.own_network { Some("0.0.0.0") } else { texts.libprocess_ip.as_deref() };
    if let Some(ip) = ip {
        set(&mut all, "LIBPROCESS_IP", ip);
    }
    all.extend(config.executor_environment.iter().cloned());
    set_own(&mut all, texts, subject);
    if !config.executor_environment.iter().any(|(name, _)| name == "PATH") {
        set(&mut all, "PATH", DEFAULT_PATH);
    }
    for entry in variables {
        all.push((entry.name.clone(), value(entry)?));
    }
    if let Some(role) = subject.allocation_role {
        set(&mut all, "MESOS_ALLOCATION_ROLE", role);
    }
    Ok(last_of_each(all))
}

/// What the agent says of the executor, whatever others say. In order of the names, so that little is left to sort.
fn set_own(all: &mut Variables, texts: &Texts, subject: &Subject<'_>) {
    let directory = subject.directory.to_string_lossy();
    let grace = subject.shutdown_grace.map(format_duration);
    set(all, "LIBPROCESS_PORT", "0");
    set(all, "MESOS_AGENT_ENDPOINT", &texts.endpoint);
    set(all, "MESOS_CHECKPOINT", if subject.checkpoint { "1" } else { "0" });
    set(all, "MESOS_DIRECTORY", &directory);
    set(all, "MESOS_EXECUTOR_ID", subject.executor.as_str());
    let grace = grace.as_ref().unwrap_or(&texts.executor_shutdown_grace_period);
    set(all, "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", grace);
    set(all, "MESOS_FRAMEWORK_ID", subject.framework.as_str());
    set(all, "MESOS_HTTP_COMMAND_EXECUTOR", "0");
    if subject.checkpoint {
        set(all, "MESOS_RECOVERY_TIMEOUT", &texts.recovery_timeout);
    }
    set(all, "MESOS_SANDBOX", &directory);
    set(all, "MESOS_SLAVE_ID", subject.agent.as_str());
    set(all, "MESOS_SLAVE_PID", &texts.pid);
    if subject.checkpoint {
        set(all, "MESOS_SUBSCRIPTION_BACKOFF_MAX", &texts.executor_reregistration_timeout);
    }
}

fn set(all: &mut Variables, name: &str, value: &str) {
    all.push((name.to_owned(), value.to_owned()));
}

/// In order of the names; of those with the same name the last one.
fn last_of_each(mut all: Variables) -> Variables {
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    all.dedup_by(|(next, value), (name, before)| {
        let same = next == name;
        if same {
            std::mem::swap(value, before);
        }
        same
    });
    all
}

/// Of a task of a pod: its own variables, and little else (src/launcher/default_executor.cpp, launchGroup).
pub(crate) fn nested(
    config: &Config,
    sandbox: &Path,
    command: Option<&v1::CommandInfo>,
    role: Option<&str>,
) -> Result<Variables, EnvironmentError> {
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
pub(crate) fn with(mut all: Variables, more: Option<&v1::Environment>) -> Result<Variables, EnvironmentError> {
    for entry in more.into_iter().flat_map(|environment| &environment.variables) {
        all.push((entry.name.clone(), value(entry)?));
    }
    Ok(last_of_each(all))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_name_counts() {
        let mut all = Variables::new();
        for (name, value) in [("PATH", "/bin"), ("A", "1"), ("PATH", "/sbin"), ("B", "2"), ("PATH", ""), ("A", "1")] {
            set(&mut all, name, value);
        }
        let expected = [("A", "1"), ("B", "2"), ("PATH", "")];
        assert_eq!(last_of_each(all), expected.map(|(name, value)| (name.to_string(), value.to_string())));
    }
}
