//! What keeps containers from one another: a chain of isolators, chosen by `--isolation`.
//!
//! Each [`Isolator`] adds its part to the [`Jail`] of a container that is to be launched; the supervisor and the
//! container's first process (`mezzo-executor`) make it real. What has to be looked at again and again while a container
//! runs, its disk and its ports, is looked at here. [`Chain::new`] says what the host cannot do before anything runs.

mod blkio;
mod cgroups;
mod disk;
mod filesystem;
mod host;
mod names;
mod namespaces;
mod ports;
mod privileges;
mod seccomp;
mod usage;
mod values;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mezzo_agent_core::{
    container::Launch,
    isolation::{Abilities, Allotment, Isolation, Limitation},
};
use mezzo_api::ids::ContainerId;
use mezzo_executor::jail::Jail;

use self::{cgroups::Cgroups, host::Host};
pub use self::{
    host::HostError,
    names::{Launcher, Name, Names},
    ports::Ranges,
    privileges::CapabilitySet,
    seccomp::ProfileError,
};
pub(crate) use self::{ports::of as ports_of, usage::Accounts};

/// How containers are isolated, as the flags say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `--isolation`.
    pub names: Names,
    /// `--launcher`; `None`: whatever the isolators need.
    pub launcher: Option<Launcher>,
    /// Where the kernel's groups are.
    pub cgroups: CgroupSettings,
    /// `disk/du`.
    pub disk: DiskSettings,
    /// `network/ports`.
    pub ports: PortSettings,
    /// `namespaces/…`
    pub namespaces: NamespaceSettings,
    /// `filesystem/linux`: directories below which missing host paths of volumes are made.
    pub made_host_paths: Vec<PathBuf>,
    /// `linux/capabilities`: what tasks have that say nothing.
    pub effective_capabilities: Option<CapabilitySet>,
    /// `linux/capabilities`: what no task can get beyond.
    pub bounding_capabilities: Option<CapabilitySet>,
    /// `linux/seccomp`: the directory of profiles.
    pub seccomp_dir: Option<PathBuf>,
    /// `linux/seccomp`: the profile of tasks that name none.
    pub seccomp_profile: Option<String>,
    /// Where a container with a root of its own sees its sandbox.
    pub sandbox_directory: PathBuf,
    /// `network/ports` watches ports of these ranges only, with `--check_agent_port_range_only`.
    pub offered_ports: Vec<(u64, u64)>,
}

/// The flags of `cgroups/…`.
#[derive(Clone, Debug)]
pub struct CgroupSettings {
    /// Where hierarchies are mounted.
    pub hierarchy: PathBuf,
    /// The group below which all of this agent's are.
    pub root: String,
    /// CPUs are limits, not only shares.
    pub enable_cfs: bool,
    /// The limit of memory counts swap too.
    pub limit_swap: bool,
    /// Processes and threads that a container may have.
    pub pids_max: u64,
}

/// The flags of `disk/du`.
#[derive(Clone, Copy, Debug)]
pub struct DiskSettings {
    /// How often disks are looked at.
    pub interval: Duration,
    /// Containers that use more than they may are ended.
    pub enforce: bool,
}

/// The flags of `network/ports`.
#[derive(Clone, Debug)]
pub struct PortSettings {
    /// How often sockets are looked at.
    pub interval: Duration,
    /// Containers that listen where they may not are ended.
    pub enforce: bool,
    /// Only ports that the agent offers count.
    pub offered_only: bool,
    /// Only these ports count.
    pub isolated: Option<Ranges>,
}

/// The flags of `namespaces/…`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NamespaceSettings {
    /// No container may share the agent's processes.
    pub private_pid: bool,
    /// No container may share the agent's memory.
    pub private_ipc: bool,
    /// Size of /dev/shm of containers that say nothing of it, in bytes.
    pub shm_bytes: Option<u64>,
}

/// A container that is to be launched.
#[derive(Clone, Copy, Debug)]
struct Wanted<'a> {
    launch: &'a Launch,
    isolation: &'a Isolation,
}

/// A container that runs.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) id: ContainerId,
    /// Its first process.
    pub(crate) pid: i32,
    pub(crate) sandbox: PathBuf,
    pub(crate) allotment: Allotment,
    /// Its persistent volumes: where the data are.
    pub(crate) volumes: Vec<PathBuf>,
}

/// One concern of keeping containers apart.
trait Isolator: std::fmt::Debug + Send + Sync {
    /// Adds its part to the jail of a container, or says why there can be none.
    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String>;

    /// Whether its part belongs into this jail: those that enter another container have most of it there already.
    fn suits(&self, launch: &Launch, _jail: &Jail) -> bool {
        launch.enter.is_none()
    }

    /// A container that runs may use this from now on.
    fn allot(&self, _container: &ContainerId, _allotment: &Allotment) -> Result<(), String> {
        Ok(())
    }

    /// How often it wants to look at containers that run.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// Looks at them, as long as that takes; which of them took too much.
    fn look(&self, _running: &[Standing]) -> Vec<(ContainerId, Limitation)> {
        Vec::new()
    }
}

/// All isolators, in the order in which their parts depend on one another.
#[derive(Clone, Debug)]
pub struct Chain {
    isolators: Arc<[Box<dyn Isolator>]>,
    abilities: Abilities,
    launcher: Launcher,
    sandbox_directory: PathBuf,
    accounts: Arc<Accounts>,
}

impl Chain {
    /// The chain of these settings.
    ///
    /// # Errors
    /// When the host cannot do what an isolator needs: what is missing, and the way out.
    pub fn new(settings: &Settings) -> Result<Self, HostError> {
        let names = settings.names.all();
        let needing = names.iter().copied().find(|name| name.needs_linux());
        let launcher = settings.launcher.unwrap_or(if needing.is_some() { Launcher::Linux } else { Launcher::Posix });
        if let (Launcher::Posix, Some(name)) = (launcher, needing) {
            return Err(HostError::Launcher { name });
        }
        let host = Host::look(&settings.cgroups.hierarchy);
        if launcher == Launcher::Linux {
            host.check_linux(needing)?;
        }
        let accounts = Arc::new(Accounts::new(host.clone(), &settings.cgroups.root));
        let mut isolators: Vec<Box<dyn Isolator>> = Vec::new();
        let has = |name| names.contains(&name);
        if launcher == Launcher::Linux {
            isolators.push(Box::new(Cgroups::new(&host, &settings.cgroups, names)?));
        }
        if has(Name::NamespacesPid) {
            host.check_namespace(Name::NamespacesPid, "pid")?;
        }
        if has(Name::NamespacesIpc) {
            host.check_namespace(Name::NamespacesIpc, "ipc")?;
        }
        if has(Name::NamespacesPid) || has(Name::NamespacesIpc) {
            isolators.push(Box::new(namespaces::Namespaces::new(names, settings.namespaces)));
        }
        if has(Name::FilesystemLinux) {
            host.check_namespace(Name::FilesystemLinux, "mnt")?;
            isolators.push(Box::new(filesystem::Filesystem::new(&settings.made_host_paths)));
        }
        if has(Name::DiskDu) {
            isolators.push(Box::new(disk::Du::new(settings.disk, accounts.clone())));
        }
        if has(Name::NetworkPorts) {
            isolators.push(Box::new(ports::Ports::new(&settings.ports, &settings.offered_ports)));
        }
        if has(Name::PosixRlimits) {
            isolators.push(Box::new(privileges::Rlimits));
        }
        if has(Name::LinuxCapabilities) {
            let (effective, bounding) = (settings.effective_capabilities, settings.bounding_capabilities);
            isolators.push(Box::new(privileges::Capabilities::new(effective, bounding)?));
        }
        if has(Name::LinuxNnp) {
            isolators.push(Box::new(privileges::NoNewPrivileges));
        }
        if has(Name::LinuxSeccomp) {
            host.check_seccomp()?;
            let (directory, profile) = (settings.seccomp_dir.as_deref(), settings.seccomp_profile.as_deref());
            isolators.push(Box::new(seccomp::Seccomp::new(directory, profile)?));
        }
        let abilities = Abilities {
            cpu_limits: has(Name::CgroupsCpu),
            memory_limits: has(Name::CgroupsMem),
            mounts: has(Name::FilesystemLinux),
            allots: has(Name::CgroupsCpu) || has(Name::CgroupsMem) || has(Name::DiskDu) || has(Name::NetworkPorts),
        };
        let sandbox_directory = settings.sandbox_directory.clone();
        Ok(Self { isolators: isolators.into(), abilities, launcher, sandbox_directory, accounts })
    }

    /// What the core decides by.
    pub(crate) fn abilities(&self) -> Abilities {
        self.abilities
    }

    /// What is counted of containers that run.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        self.accounts.clone()
    }

    /// Where a container with a root of its own sees its sandbox.
    pub(crate) fn sandbox_directory(&self) -> &Path {
        &self.sandbox_directory
    }

    /// Who makes containers.
    pub(crate) fn launcher(&self) -> Launcher {
        self.launcher
    }

    /// What a container is kept in; `None`: in nothing. `root` is what the images have made for it.
    pub(crate) fn prepare(
        &self,
        launch: &Launch,
        root: Option<mezzo_executor::jail::Root>,
    ) -> Result<Option<Jail>, String> {
        let Some(isolation) = launch.isolation.as_deref() else { return Ok(None) };
        let sandbox = root.as_ref().map(|_| self.sandbox_directory.clone());
        let mut jail = Jail { root, sandbox, ..Jail::default() };
        for isolator in self.isolators.iter() {
            if isolator.suits(launch, &jail) {
                isolator.prepare(Wanted { launch, isolation }, &mut jail)?;
            }
        }
        Ok((jail != Jail::default()).then_some(jail))
    }

    /// A container that runs may use this from now on.
    pub(crate) fn allot(&self, container: &ContainerId, allotment: &Allotment) {
        for isolator in self.isolators.iter() {
            if let Err(error) = isolator.allot(container, allotment) {
                tracing::error!(%container, "cannot change what the container may use: {error}");
            }
        }
    }

    /// The places in the chain of those who look at running containers, and how often they do.
    pub(crate) fn watchers(&self) -> Vec<(usize, Duration)> {
        let intervals = self.isolators.iter().map(|isolator| isolator.interval());
        intervals.enumerate().filter_map(|(place, interval)| Some((place, interval?))).collect()
    }

    /// Lets one of them look. Blocks.
    pub(crate) fn look(&self, place: usize, running: &[Standing]) -> Vec<(ContainerId, Limitation)> {
        self.isolators.get(place).map(|isolator| isolator.look(running)).unwrap_or_default()
    }
}

/// Removes the roots of containers that are not among `known`: what a container wrote into its image's file system.
pub(crate) fn remove_roots(runtime_dir: &Path, known: &BTreeSet<&str>) {
    for entry in std::fs::read_dir(runtime_dir.join("roots")).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_none_or(|name| !known.contains(name)) {
            remove_root(&entry.path());
        }
    }
}

/// Removes one.
pub(crate) fn remove_root(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), "cannot remove the root of a container: {error}");
        }
        _ => {}
    }
}
