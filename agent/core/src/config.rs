//! The settings that the core decides by. Names and defaults are those of Mesos' flags (src/slave/flags.cpp).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use mezzo_api::{time::format_duration, v1};

use crate::{image::Images, isolation::Abilities};

/// Settings of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's description, without id: hostname, port, resources, attributes, domain.
    pub info: v1::AgentInfo,
    /// Nobody has told the host name, it was looked up: name servers come and go, so the recorded one stays.
    pub hostname_is_found: bool,
    /// `--work_dir`.
    pub work_dir: PathBuf,
    /// The address in `MESOS_SLAVE_PID`, `MESOS_AGENT_ENDPOINT` and the tasks' network infos.
    pub ip: IpAddr,
    /// The port that executors dial.
    pub port: u16,
    /// The address published to frameworks and users (`--advertise_ip`), if it is another one.
    pub advertise_ip: Option<IpAddr>,
    /// What executors get as LIBPROCESS_IP: `--ip`, if it was given.
    pub libprocess_ip: Option<IpAddr>,
    /// The kernel's boot id: when it differs from the recorded one, all containers are gone.
    pub boot_id: String,
    /// `--switch_user` (true): run as the command's or framework's user.
    pub switch_user: bool,
    /// `--executor_environment_variables`.
    pub executor_environment: Vec<(String, String)>,
    /// `--executor_registration_timeout` (1 min).
    pub executor_registration_timeout: Duration,
    /// `--executor_reregistration_timeout` (2 s).
    pub executor_reregistration_timeout: Duration,
    /// `--executor_shutdown_grace_period` (5 s).
    pub executor_shutdown_grace_period: Duration,
    /// `--recovery_timeout` (15 min): how long executors wait for an agent that is away.
    pub recovery_timeout: Duration,
    /// `--recover` (reconnect): what becomes of what an earlier life of the agent left.
    pub recover: Recover,
    /// `--strict` (true): a record that cannot be read ends the agent; else it is left out with a warning.
    pub strict: bool,
    /// `--reconfiguration_policy` (equal): which descriptions the agent may have under its recorded id.
    pub reconfiguration: Reconfiguration,
    /// `--max_completed_executors_per_framework` (150).
    pub max_completed_executors_per_framework: usize,
    /// What the isolators of `--isolation` can do.
    pub abilities: Abilities,
    /// Which containers can be made of images.
    pub images: Images,
    /// Completed frameworks that are kept for readers (50).
    pub max_completed_frameworks: usize,
}

/// What becomes of executors and tasks that an earlier life of the agent left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recover {
    /// They go on.
    Reconnect,
    /// They are ended, and then the agent ends.
    Cleanup,
}

/// Which changes of its description an agent keeps its id with (src/slave/compatibility.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconfiguration {
    /// None.
    Equal,
    /// It may have more than before: resources, attributes, a domain.
    Additive,
}

/// Settings as every task is told them.
#[derive(Debug)]
pub(crate) struct Texts {
    pub(crate) ip: String,
    pub(crate) libprocess_ip: Option<String>,
    pub(crate) endpoint: String,
    /// As libprocess would name it.
    pub(crate) pid: String,
    pub(crate) executor_shutdown_grace_period: String,
    pub(crate) executor_reregistration_timeout: String,
    pub(crate) recovery_timeout: String,
}

impl Texts {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            ip: config.ip.to_string(),
            libprocess_ip: config.libprocess_ip.map(|ip| ip.to_string()),
            pid: format!("slave(1)@{}", config.endpoint()),
            endpoint: config.endpoint(),
            executor_shutdown_grace_period: format_duration(config.executor_shutdown_grace_period),
            executor_reregistration_timeout: format_duration(config.executor_reregistration_timeout),
            recovery_timeout: format_duration(config.recovery_timeout),
        }
    }
}

impl Config {
    /// `ip:port` as executors dial it.
    pub(crate) fn endpoint(&self) -> String {
        SocketAddr::new(self.ip, self.port).to_string()
    }
}
