//! The names of isolators (docs/mesos-containerizer.md and src/slave/containerizer/mesos/containerizer.cpp).

use std::{fmt, str::FromStr};

/// `--launcher`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launcher {
    /// Containers are process trees.
    Posix,
    /// Containers are cgroups and namespaces.
    Linux,
}

impl FromStr for Launcher {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "posix" => Ok(Self::Posix),
            "linux" => Ok(Self::Linux),
            _ => Err(format!("'{text}' is neither posix nor linux")),
        }
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Posix => "posix",
            Self::Linux => "linux",
        })
    }
}

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// An isolator.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)] // the texts say it
        pub enum Name {
            $($(#[$doc])* $variant,)*
        }

        impl Name {
            const ALL: &'static [(Name, &'static str)] = &[$((Name::$variant, $text),)*];
        }
    };
}

names! {
    PosixCpu = "posix/cpu",
    PosixMem = "posix/mem",
    PosixRlimits = "posix/rlimits",
    DiskDu = "disk/du",
    FilesystemPosix = "filesystem/posix",
    FilesystemLinux = "filesystem/linux",
    VolumeHostPath = "volume/host_path",
    VolumeSandboxPath = "volume/sandbox_path",
    CgroupsCpu = "cgroups/cpu",
    CgroupsMem = "cgroups/mem",
    CgroupsPids = "cgroups/pids",
    CgroupsCpuset = "cgroups/cpuset",
    CgroupsBlkio = "cgroups/blkio",
    CgroupsDevices = "cgroups/devices",
    CgroupsAll = "cgroups/all",
    NamespacesPid = "namespaces/pid",
    NamespacesIpc = "namespaces/ipc",
    NetworkPorts = "network/ports",
    LinuxCapabilities = "linux/capabilities",
    LinuxSeccomp = "linux/seccomp",
    LinuxNnp = "linux/nnp",
    DockerRuntime = "docker/runtime",
}

/// What Mesos has and this agent has not, with what to do.
const ELSEWHERE: [(&str, &str); 16] = [
    ("appc/runtime", "use images of type DOCKER"),
    ("cgroups/hugetlb", "leave it out"),
    ("cgroups/net_cls", "leave it out"),
    ("cgroups/net_prio", "leave it out"),
    ("cgroups/perf_event", "leave it out"),
    ("disk/xfs", "use disk/du"),
    ("docker/volume", "use volumes of type HOST_PATH"),
    ("environment_secret", "leave it out: secrets of type VALUE in variables are resolved without it"),
    ("filesystem/shared", "use filesystem/linux"),
    ("gpu/nvidia", "leave it out"),
    ("linux/devices", "leave it out"),
    ("network/cni", "leave it out: tasks share the host's network"),
    ("network/port_mapping", "use network/ports"),
    ("volume/csi", "leave it out"),
    ("volume/image", "leave it out"),
    ("volume/secret", "leave it out"),
];

impl Name {
    /// Whether it needs the linux launcher.
    pub(crate) fn needs_linux(self) -> bool {
        matches!(
            self,
            Self::FilesystemLinux
                | Self::CgroupsCpu
                | Self::CgroupsMem
                | Self::CgroupsPids
                | Self::CgroupsCpuset
                | Self::CgroupsBlkio
                | Self::CgroupsDevices
                | Self::CgroupsAll
                | Self::NamespacesPid
                | Self::NamespacesIpc
                | Self::LinuxCapabilities
                | Self::LinuxSeccomp
                | Self::VolumeHostPath
        )
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::ALL.iter().find(|(name, _)| name == self).map_or("", |(_, text)| text);
        out.write_str(known)
    }
}

/// `--isolation`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(Vec<Name>);

impl Names {
    /// One more, unless it is there.
    pub(crate) fn add(&mut self, name: Name) {
        if !self.0.contains(&name) {
            self.0.push(name);
        }
    }

    /// All that are named, or come with what is named.
    pub(crate) fn all(&self) -> &[Name] {
        &self.0
    }
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut names = Vec::new();
        for text in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match text {
                // Deprecated shorthands.
                "process" => names.extend([Name::PosixCpu, Name::PosixMem]),
                "cgroups" => names.extend([Name::CgroupsCpu, Name::CgroupsMem]),
                "posix/disk" => names.push(Name::DiskDu),
                text => names.push(named(text)?),
            }
        }
        if names.contains(&Name::FilesystemLinux) && names.contains(&Name::FilesystemPosix) {
            return Err("filesystem/posix and filesystem/linux exclude each other: name one of them".into());
        }
        for (one, other) in [(Name::PosixCpu, Name::CgroupsCpu), (Name::PosixMem, Name::CgroupsMem)] {
            if names.contains(&one) && names.contains(&other) {
                return Err(format!("{one} and {other} exclude each other: name one of them"));
            }
        }
        for needing in [Name::NamespacesPid, Name::NamespacesIpc, Name::VolumeHostPath, Name::DockerRuntime] {
            if names.contains(&needing) && !names.contains(&Name::FilesystemLinux) {
                return Err(format!("{needing} needs filesystem/linux: name it too"));
            }
        }
        names.sort_unstable();
        names.dedup();
        Ok(Self(names))
    }
}

fn named(text: &str) -> Result<Name, String> {
    if let Some((name, _)) = Name::ALL.iter().find(|(_, known)| *known == text) {
        return Ok(*name);
    }
    if let Some((_, way_out)) = ELSEWHERE.iter().find(|(known, _)| *known == text) {
        return Err(format!("this agent has no isolator '{text}': {way_out}"));
    }
    let known: Vec<&str> = Name::ALL.iter().map(|(_, text)| *text).collect();
    Err(format!("there is no isolator '{text}'; there are {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_with_their_shorthands_and_refused_with_a_way_out() {
        let read = |text: &str| text.parse::<Names>();
        assert_eq!(read("posix/mem, process").unwrap().0, [Name::PosixCpu, Name::PosixMem]);
        assert_eq!(read("cgroups,disk/du").unwrap().0, [Name::DiskDu, Name::CgroupsCpu, Name::CgroupsMem]);
        assert_eq!(read("").unwrap().0, []);
        for (text, word) in [
            ("network/cni", "leave it out"),
            ("disk/xfs", "disk/du"),
            ("cgroup/cpu", "there are posix/cpu"),
            ("posix/cpu,cgroups/cpu", "exclude"),
            ("filesystem/linux,filesystem/posix", "exclude"),
            ("namespaces/pid", "filesystem/linux"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert_eq!(Name::CgroupsMem.to_string(), "cgroups/mem");
    }
}
