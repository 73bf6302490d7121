//! The settings that the core decides by. Names and defaults are those of Mesos' flags (src/slave/flags.cpp).

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use mezzo_api::v1;

/// Settings of an agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's description, without id: hostname, port, resources, attributes, domain.
    pub info: v1::AgentInfo,
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
    /// `--max_completed_executors_per_framework` (150).
    pub max_completed_executors_per_framework: usize,
    /// Completed frameworks that are kept for readers (50).
    pub max_completed_frameworks: usize,
}

impl Config {
    /// `ip:port` as executors dial it.
    pub(crate) fn endpoint(&self) -> String {
        SocketAddr::new(self.ip, self.port).to_string()
    }
}
