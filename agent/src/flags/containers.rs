//! Flags on how containers are kept from one another.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use mezzo_server::flags::{Bytes, boolean, bytes, positive_duration};

use crate::{
    isolation::{
        CapabilitySet, CgroupSettings, DiskSettings, Launcher, Names, NamespaceSettings, PortSettings, Ranges, Settings,
    },
    network::{self, BridgeName, Range},
};

/// What `mezzo-agent` is told of containers.
#[derive(Clone, Debug, Args)]
#[command(rename_all = "snake_case")]
pub struct Containers {
    /// What keeps containers from one another: names with commas between (docs/containers.md has them all)
    #[arg(long, help_heading = "Containers", default_value = "posix/cpu,posix/mem", value_name = "NAMES")]
    pub isolation: Names,
    /// What containers are: process trees (posix), or cgroups and namespaces (linux); linux if an isolator needs it
    #[arg(long, help_heading = "Containers", value_name = "LAUNCHER")]
    pub launcher: Option<Launcher>,
    /// Directory at or below which the hierarchies of cgroups are mounted
    #[arg(long, help_heading = "Containers", default_value = "/sys/fs/cgroup", value_name = "DIR")]
    pub cgroups_hierarchy: PathBuf,
    /// Cgroup below which those of the containers are made
    #[arg(long, help_heading = "Containers", default_value = "mesos", value_parser = relative, value_name = "NAME")]
    pub cgroups_root: String,
    /// CPUs are a limit, not only a share
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub cgroups_enable_cfs: bool,
    /// The limit of memory counts swapped memory too
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub cgroups_limit_swap: bool,
    /// How many processes and threads a container may have, with cgroups/pids
    #[arg(long, help_heading = "Containers", default_value_t = 4096, value_name = "N")]
    pub cgroups_pids_max: u64,
    /// How often disk/du looks at the disk that containers take
    #[arg(long, help_heading = "Containers", default_value = "15secs", value_parser = positive_duration,
          value_name = "DURATION")]
    pub container_disk_watch_interval: Duration,
    /// End containers that take more of the disk than they may, with disk/du
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub enforce_container_disk_quota: bool,
    /// How often network/ports looks at the ports on which containers listen
    #[arg(long, help_heading = "Containers", default_value = "30secs", value_parser = positive_duration,
          value_name = "DURATION")]
    pub container_ports_watch_interval: Duration,
    /// End containers that listen on other ports than theirs, with network/ports
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub enforce_container_ports: bool,
    /// Only ports that the agent offers count, with network/ports
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub check_agent_port_range_only: bool,
    /// Only these ports count, with network/ports, e.g. [31000-32000]
    #[arg(long, help_heading = "Containers", conflicts_with = "check_agent_port_range_only", value_name = "RANGES")]
    pub container_ports_isolated_range: Option<Ranges>,
    /// No container may share the agent's processes, with namespaces/pid
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub disallow_sharing_agent_pid_namespace: bool,
    /// No container may share the agent's memory, with namespaces/ipc
    #[arg(long, help_heading = "Containers", default_value = "false", value_parser = boolean, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set, value_name = "BOOL")]
    pub disallow_sharing_agent_ipc_namespace: bool,
    /// Size of /dev/shm of containers that say nothing of it, with namespaces/ipc
    #[arg(long, help_heading = "Containers", value_parser = bytes, value_name = "SIZE")]
    pub default_container_shm_size: Option<Bytes>,
    /// Directories, with colons between, below which missing host paths of volumes are made
    #[arg(long, help_heading = "Containers", value_delimiter = ':', value_name = "DIRS")]
    pub host_path_volume_force_creation: Vec<PathBuf>,
    /// Where containers with a root of their own see their sandbox
    #[arg(long, help_heading = "Containers", default_value = "/mnt/mesos/sandbox", value_name = "DIR")]
    pub sandbox_directory: PathBuf,
    /// Capabilities of tasks that say nothing of them, as a JSON CapabilityInfo, with linux/capabilities
    #[arg(long, help_heading = "Containers", alias = "allowed_capabilities", value_name = "JSON")]
    pub effective_capabilities: Option<CapabilitySet>,
    /// Capabilities that no task can get beyond, as a JSON CapabilityInfo, with linux/capabilities
    #[arg(long, help_heading = "Containers", value_name = "JSON")]
    pub bounding_capabilities: Option<CapabilitySet>,
    /// Bridge for containers with a network of their own, made when the first one comes
    #[arg(long, help_heading = "Containers", default_value = "mezzo0", value_name = "NAME")]
    pub bridge_name: BridgeName,
    /// Addresses of the bridge and of the containers on it
    #[arg(long, help_heading = "Containers", default_value = "10.213.0.0/16", value_name = "NETWORK")]
    pub bridge_network: Range,
    /// Directory of profiles in Docker's format, with linux/seccomp
    #[arg(long, help_heading = "Containers", value_name = "DIR")]
    pub seccomp_config_dir: Option<PathBuf>,
    /// Profile of tasks that name none, with linux/seccomp
    #[arg(long, help_heading = "Containers", value_name = "NAME")]
    pub seccomp_profile_name: Option<String>,
}

impl Containers {
    /// Networks of containers' own.
    pub(crate) fn network(&self) -> network::Settings {
        network::Settings { bridge: self.bridge_name.clone(), range: self.bridge_network }
    }

    /// What isolators need to know; `offered` are the agent's ports.
    pub(crate) fn settings(&self, offered: Vec<(u64, u64)>) -> Settings {
        Settings {
            names: self.isolation.clone(),
            launcher: self.launcher,
            cgroups: CgroupSettings {
                hierarchy: self.cgroups_hierarchy.clone(),
                root: self.cgroups_root.clone(),
                enable_cfs: self.cgroups_enable_cfs,
                limit_swap: self.cgroups_limit_swap,
                pids_max: self.cgroups_pids_max,
            },
            disk: DiskSettings {
                interval: self.container_disk_watch_interval,
                enforce: self.enforce_container_disk_quota,
            },
            ports: PortSettings {
                interval: self.container_ports_watch_interval,
                enforce: self.enforce_container_ports,
                offered_only: self.check_agent_port_range_only,
                isolated: self.container_ports_isolated_range.clone(),
            },
            namespaces: NamespaceSettings {
                private_pid: self.disallow_sharing_agent_pid_namespace,
                private_ipc: self.disallow_sharing_agent_ipc_namespace,
                shm_bytes: self.default_container_shm_size.and_then(|size| u64::try_from(size.0).ok()),
            },
            made_host_paths: self.host_path_volume_force_creation.clone(),
            effective_capabilities: self.effective_capabilities,
            bounding_capabilities: self.bounding_capabilities,
            seccomp_dir: self.seccomp_config_dir.clone(),
            seccomp_profile: self.seccomp_profile_name.clone(),
            sandbox_directory: self.sandbox_directory.clone(),
            offered_ports: offered,
        }
    }
}

/// A name below a hierarchy, which leads nowhere else.
fn relative(text: &str) -> Result<String, String> {
    let inside = |part| matches!(part, std::path::Component::Normal(_));
    if text.is_empty() || !std::path::Path::new(text).components().all(inside) {
        return Err(format!("'{text}' is no name of a cgroup below the root of its hierarchy, e.g. mesos"));
    }
    Ok(text.to_owned())
}
