//! What the host can do.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use mezzo_executor::jail::Version;

use super::names::Name;

/// CAP_SYS_ADMIN of capabilities(7).
const SYS_ADMIN: u32 = 21;

/// Why isolators cannot work here, with the way out.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The launcher that was asked for makes no such containers.
    #[error("--isolation names '{name}', which needs --launcher=linux: leave --launcher out, or '{name}'")]
    Launcher {
        /// The isolator.
        name: Name,
    },
    /// Only root can.
    #[error(
        "{what} needs an agent that runs as root: run it so, or use --isolation=posix/cpu,posix/mem --launcher=posix"
    )]
    NotRoot {
        /// An isolator, or the launcher.
        what: String,
    },
    /// Root without rights.
    #[error(
        "{what} needs the capability CAP_SYS_ADMIN, which this agent has not (it runs in a container without it): start \
         the agent with it, or use --isolation=posix/cpu,posix/mem --launcher=posix"
    )]
    NotAdmin {
        /// An isolator, or the launcher.
        what: String,
    },
    /// The kernel was built without.
    #[error("{name} needs namespaces of kind '{kind}', which this kernel has not: leave {name} out of --isolation")]
    NoNamespace {
        /// The isolator.
        name: Name,
        /// The kind.
        kind: &'static str,
    },
    /// The kernel was built without.
    #[error("linux/seccomp needs a kernel with CONFIG_SECCOMP_FILTER: leave it out of --isolation")]
    NoSeccomp,
    /// There is no such controller.
    #[error(
        "{name} needs the cgroup controller '{controller}', which is neither mounted below {} nor part of a cgroup2 \
         there: mount it (mount -t cgroup -o {controller} none {}/{controller}), name another --cgroups_hierarchy, or \
         leave {name} out of --isolation", hierarchy.display(), hierarchy.display()
    )]
    NoController {
        /// The isolator.
        name: Name,
        /// As the kernel names it.
        controller: &'static str,
        /// Where it was looked for.
        hierarchy: PathBuf,
    },
    /// Version 2 asks a program of the kernel's instead, which this agent has not.
    #[error(
        "cgroups/devices needs the cgroup controller 'devices' of version 1, which cgroup2 has not: leave it out of \
         --isolation; linux/capabilities without MKNOD keeps tasks from making devices"
    )]
    NoDevices,
    /// A container could not be ended as a whole.
    #[error(
        "--launcher=linux needs a cgroup2 or the controller 'freezer' below {}: mount one of them, name another \
         --cgroups_hierarchy, or use --launcher=posix", hierarchy.display()
    )]
    NoFreezer {
        /// Where it was looked for.
        hierarchy: PathBuf,
    },
    /// It is there, but cannot be used.
    #[error("cannot {action} '{}' (--cgroups_hierarchy, --cgroups_root): {source}{}", path.display(), hint(source))]
    Cgroup {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A profile of system calls cannot be used.
    #[error(transparent)]
    Profile(#[from] super::seccomp::ProfileError),
    /// The flags contradict each other.
    #[error(
        "--effective_capabilities has {0}, which --bounding_capabilities has not: take it away there, or add it here"
    )]
    Capabilities(String),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(nix::libc::EROFS) => "; the agent runs in a container: give it the host's cgroups to write to",
        Some(nix::libc::EBUSY) => "; a process is in the group itself: move it to a group below, as cgroup2 wants it",
        Some(nix::libc::EACCES | nix::libc::EPERM) => "; the agent has not the right to: run it as root",
        _ => "",
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) hierarchy: PathBuf,
    /// Controllers of version 1, and where each is mounted.
    pub(crate) version_1: BTreeMap<String, PathBuf>,
    /// Where version 2 is mounted, and its controllers.
    pub(crate) version_2: Option<(PathBuf, Vec<String>)>,
}

impl Host {
    /// Looks at the hierarchies at or below `hierarchy`.
    pub(crate) fn look(hierarchy: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let mut host = Self::parse(hierarchy, &mounts);
        if let Some((path, controllers)) = &mut host.version_2 {
            let text = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
            controllers.extend(text.split_whitespace().map(ToOwned::to_owned));
        }
        host
    }

    fn parse(hierarchy: &Path, mounts: &str) -> Self {
        let mut host = Self { hierarchy: hierarchy.to_path_buf(), version_1: BTreeMap::new(), version_2: None };
        for line in mounts.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [_, path, kind, options, ..] = fields[..] else { continue };
            let path = PathBuf::from(path);
            if !path.starts_with(hierarchy) {
                continue;
            }
            match kind {
                "cgroup2" if host.version_2.is_none() => host.version_2 = Some((path, Vec::new())),
                "cgroup" => {
                    for option in options.split(',') {
                        host.version_1.entry(option.to_owned()).or_insert_with(|| path.clone());
                    }
                }
                _ => {}
            }
        }
        host
    }

    /// What every container of the linux launcher needs.
    pub(crate) fn check_linux(&self, needing: Option<Name>) -> Result<(), HostError> {
        let what = || needing.map_or_else(|| "--launcher=linux".to_owned(), |name| name.to_string());
        if !nix::unistd::geteuid().is_root() {
            return Err(HostError::NotRoot { what: what() });
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let effective =
            status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
        if effective.is_some_and(|bits| bits >> SYS_ADMIN & 1 == 0) {
            return Err(HostError::NotAdmin { what: what() });
        }
        if self.version_2.is_none() && !self.version_1.contains_key("freezer") {
            return Err(HostError::NoFreezer { hierarchy: self.hierarchy.clone() });
        }
        Ok(())
    }

    pub(crate) fn check_namespace(&self, name: Name, kind: &'static str) -> Result<(), HostError> {
        if Path::new("/proc/self/ns").join(kind).exists() { Ok(()) } else { Err(HostError::NoNamespace { name, kind }) }
    }

    pub(crate) fn check_seccomp(&self) -> Result<(), HostError> {
        if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() { Ok(()) } else { Err(HostError::NoSeccomp) }
    }

    /// Where a controller is.
    pub(crate) fn controller(&self, controller: &str) -> Option<Place> {
        if let Some(path) = self.version_1.get(controller) {
            return Some(Place { version: Version::One, path: path.clone() });
        }
        let (path, controllers) = self.version_2.as_ref()?;
        controllers.iter().any(|one| one == controller).then(|| Place { version: Version::Two, path: path.clone() })
    }
}

/// Where a controller is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) version: Version,
    /// The hierarchy's root.
    pub(crate) path: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "tmpfs /sys/fs/cgroup tmpfs rw,mode=755 0 0
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
cgroup /elsewhere/pids cgroup rw,pids 0 0
";

    #[test]
    fn hosts_of_either_version_and_of_both_are_understood() {
        let base = Path::new("/sys/fs/cgroup");
        let mut hybrid = Host::parse(base, HYBRID);
        let cpu = Place { version: Version::One, path: base.join("cpu,cpuacct") };
        assert_eq!(hybrid.controller("cpuacct"), Some(cpu));
        assert_eq!(hybrid.controller("pids"), None);
        hybrid.version_2.as_mut().unwrap().1.extend(["pids".to_owned(), "memory".to_owned()]);
        let pids = Place { version: Version::Two, path: base.join("unified") };
        assert_eq!(hybrid.controller("pids"), Some(pids));
        assert_eq!(hybrid.controller("memory").unwrap().version, Version::One);
        let pure = Host::parse(base, "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n");
        assert_eq!(pure.version_2, Some((base.to_path_buf(), Vec::new())));
    }
}
