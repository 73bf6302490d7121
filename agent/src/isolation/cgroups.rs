//! `cgroups/…`, and what the linux launcher has of cgroups: a group of each container's own, to end it as a whole.
//!
//! Of the host's hierarchies nothing is changed but that below `--cgroups_root` groups are made, and that cgroup2's
//! controllers are enabled for them.
//! ```text
//! <hierarchy>/<root>/<container>                 of an executor or a command task
//! <hierarchy>/<root>/<executor>                  of a pod: the limits of all its tasks together
//! <hierarchy>/<root>/<executor>/mesos/<task>     of a task of a pod, as Mesos names it
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use mezzo_agent_core::isolation::{Allotment, Isolation};
use mezzo_api::ids::ContainerId;
use mezzo_executor::jail::{self, Cgroup, Jail, MemoryLimit, Part, Version};

use super::{
    CgroupSettings, HostError, Isolator, Wanted,
    host::{Host, Place},
    names::Name,
    values::{self, Files},
};

/// Between a pod's group and those of its tasks.
const NESTED: &str = "mesos";

/// A controller that is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Cpu,
    /// Only counts.
    Cpuacct,
    Memory,
    Pids,
    Cpuset,
    /// Only counts.
    Blkio,
    Devices,
}

impl Controller {
    fn name(self, version: Version) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpuset => "cpuset",
            Self::Blkio if version == Version::Two => "io",
            Self::Blkio => "blkio",
            Self::Devices => "devices",
        }
    }
}

/// A hierarchy with the controllers of it that are used.
#[derive(Clone, Debug)]
struct Hierarchy {
    version: Version,
    /// Of this agent's root group.
    root: PathBuf,
    controllers: Vec<Controller>,
    /// Containers have a group of their own in it, to be ended by.
    ends: bool,
}

/// The isolator.
#[derive(Debug)]
pub(super) struct Cgroups {
    settings: CgroupSettings,
    hierarchies: Vec<Hierarchy>,
    /// CPUs and memory nodes of the root group of `cpuset` in version 1, where a new group has none.
    cpuset: Files,
}

impl Cgroups {
    pub(super) fn new(host: &Host, settings: &CgroupSettings, names: &[Name]) -> Result<Self, HostError> {
        let mut by_path: BTreeMap<PathBuf, Hierarchy> = BTreeMap::new();
        for (name, controller) in wanted(names, host) {
            match place(host, controller) {
                Some(place) => hierarchy(&mut by_path, &place, settings).controllers.push(controller),
                // Version 2 counts without being asked.
                None if controller == Controller::Cpuacct => {}
                None if controller == Controller::Devices && host.version_2.is_some() => {
                    return Err(HostError::NoDevices);
                }
                None => {
                    let (controller, hierarchy) = (controller.name(Version::One), host.hierarchy.clone());
                    return Err(HostError::NoController { name, controller, hierarchy });
                }
            }
        }
        let ending = match (&host.version_2, host.version_1.get("freezer")) {
            (Some((path, _)), _) => Place { version: Version::Two, path: path.clone() },
            (None, Some(path)) => Place { version: Version::One, path: path.clone() },
            (None, None) => return Err(HostError::NoFreezer { hierarchy: host.hierarchy.clone() }),
        };
        hierarchy(&mut by_path, &ending, settings).ends = true;
        let mut made = Self { settings: settings.clone(), hierarchies: Vec::new(), cpuset: Files::new() };
        for (path, hierarchy) in by_path {
            made.set_up(&path, &hierarchy)?;
            made.hierarchies.push(hierarchy);
        }
        Ok(made)
    }

    /// Makes the root group, and sees that groups can be made in it.
    fn set_up(&mut self, base: &Path, hierarchy: &Hierarchy) -> Result<(), HostError> {
        let failed = |action, path: &Path| {
            let path = path.to_path_buf();
            move |source: io::Error| HostError::Cgroup { action, path, source }
        };
        let root = &hierarchy.root;
        fs::create_dir_all(root).map_err(failed("make the cgroup", root))?;
        if hierarchy.version == Version::Two {
            for group in [base, root] {
                self.enable(group, &hierarchy.controllers)
                    .map_err(failed("enable controllers in the cgroup", group))?;
            }
        }
        if hierarchy.version == Version::One && hierarchy.controllers.contains(&Controller::Devices) {
            allow_devices(root).map_err(failed("say which devices may be used in the cgroup", root))?;
        }
        if hierarchy.version == Version::One && hierarchy.controllers.contains(&Controller::Cpuset) {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let path = base.join(file);
                let value = fs::read_to_string(&path).map_err(failed("read", &path))?.trim().to_owned();
                let path = root.join(file);
                fs::write(&path, &value).map_err(failed("write", &path))?;
                self.cpuset.push((file.to_owned(), value));
            }
        }
        let probe = root.join(format!("mezzo-probe-{}", std::process::id()));
        fs::create_dir(&probe).map_err(failed("make a cgroup like", &probe))?;
        fs::remove_dir(&probe).map_err(failed("remove the cgroup", &probe))
    }

    fn enable(&self, group: &Path, controllers: &[Controller]) -> io::Result<()> {
        let path = group.join("cgroup.subtree_control");
        let enabled = fs::read_to_string(&path)?;
        let names = controllers.iter().map(|one| one.name(Version::Two));
        for name in names.filter(|name| !enabled.split_whitespace().any(|enabled| enabled == *name)) {
            fs::write(&path, format!("+{name}"))?;
        }
        Ok(())
    }

    /// What is written for a container.
    fn files(&self, hierarchy: &Hierarchy, allotment: &Allotment) -> Files {
        let mut files = Files::new();
        for controller in &hierarchy.controllers {
            match controller {
                Controller::Cpu => files.extend(values::cpu(hierarchy.version, &self.settings, allotment)),
                Controller::Memory => files.extend(values::memory(hierarchy.version, &self.settings, allotment)),
                Controller::Pids => files.extend(values::pids(&self.settings)),
                Controller::Cpuset => files.extend(self.cpuset.iter().cloned()),
                Controller::Cpuacct | Controller::Blkio | Controller::Devices => {}
            }
        }
        files
    }

    /// The groups of a container in a hierarchy.
    fn groups(&self, hierarchy: &Hierarchy, id: &ContainerId, isolation: &Isolation) -> Vec<Cgroup> {
        let own = self.files(hierarchy, &isolation.allotment);
        let group = |path, files, part| Cgroup { version: hierarchy.version, path, files, part };
        let Some(pod) = &isolation.pod else {
            return vec![group(hierarchy.root.join(id.as_str()), own, Part::Own)];
        };
        let limits = self.files(hierarchy, &pod.allotment);
        let above = hierarchy.root.join(pod.container_id.as_str());
        let (between, leaf) = (above.join(NESTED), above.join(NESTED).join(id.as_str()));
        let shares = shares(isolation);
        if shares && !hierarchy.ends {
            return vec![group(above, limits, Part::Shared)];
        }
        let (mut at_pod, mut at_between) = (limits, Files::new());
        if !shares && hierarchy.version == Version::Two {
            let enabled: Files = hierarchy
                .controllers
                .iter()
                .map(|controller| ("cgroup.subtree_control".to_owned(), format!("+{}", controller.name(Version::Two))))
                .collect();
            at_pod.extend(enabled.iter().cloned());
            at_between = enabled;
        } else if hierarchy.version == Version::One && hierarchy.controllers.contains(&Controller::Cpuset) {
            at_between = self.cpuset.clone();
        }
        vec![
            group(above, at_pod, Part::Above),
            group(between, at_between, Part::Above),
            group(leaf, if shares { Files::new() } else { own }, Part::Own),
        ]
    }
}

/// Where a controller is.
fn place(host: &Host, controller: Controller) -> Option<Place> {
    host.controller(controller.name(Version::One)).or_else(|| host.controller(controller.name(Version::Two)))
}

/// What every container may do with devices: make any, use those that do no harm
/// (src/slave/containerizer/mesos/isolators/cgroups/subsystems/devices.cpp). Groups inherit it from the agent's.
const DEVICES: [&str; 14] = [
    "c *:* m",
    "b *:* m",
    "c 5:1 rwm",
    "c 4:0 rwm",
    "c 4:1 rwm",
    "c 136:* rwm",
    "c 5:2 rwm",
    "c 10:200 rwm",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 5:0 rwm",
    "c 1:9 rwm",
    "c 1:8 rwm",
];

fn allow_devices(group: &Path) -> io::Result<()> {
    // Under containers that run already it has been said, and cannot be said again.
    if fs::read_to_string(group.join("devices.list"))?.trim() != "a *:* rwm" {
        return Ok(());
    }
    fs::write(group.join("devices.deny"), "a")?;
    DEVICES.iter().try_for_each(|device| fs::write(group.join("devices.allow"), device))
}

fn shares(isolation: &Isolation) -> bool {
    let linux = isolation.info.as_ref().and_then(|info| info.linux_info.as_ref());
    linux.and_then(|linux| linux.share_cgroups).unwrap_or(true)
}

fn hierarchy<'a>(
    by_path: &'a mut BTreeMap<PathBuf, Hierarchy>,
    place: &Place,
    settings: &CgroupSettings,
) -> &'a mut Hierarchy {
    by_path.entry(place.path.clone()).or_insert_with(|| Hierarchy {
        version: place.version,
        root: place.path.join(&settings.root),
        controllers: Vec::new(),
        ends: false,
    })
}

/// The controllers behind names. All of them are those that the host has.
fn wanted(names: &[Name], host: &Host) -> Vec<(Name, Controller)> {
    let of = [
        (Name::CgroupsCpu, Controller::Cpu),
        (Name::CgroupsCpu, Controller::Cpuacct),
        (Name::CgroupsMem, Controller::Memory),
        (Name::CgroupsPids, Controller::Pids),
        (Name::CgroupsCpuset, Controller::Cpuset),
        (Name::CgroupsBlkio, Controller::Blkio),
        (Name::CgroupsDevices, Controller::Devices),
    ];
    let all = names.contains(&Name::CgroupsAll);
    let has = |controller: Controller| place(host, controller).is_some();
    of.into_iter().filter(|(name, controller)| names.contains(name) || all && has(*controller)).collect()
}

impl Isolator for Cgroups {
    fn prepare(&self, wanted: Wanted<'_>, jail: &mut Jail) -> Result<(), String> {
        let (id, isolation) = (&wanted.launch.container_id, wanted.isolation);
        for hierarchy in &self.hierarchies {
            let groups = self.groups(hierarchy, id, isolation);
            if hierarchy.controllers.contains(&Controller::Memory) {
                let own = isolation.pod.is_none() || !shares(isolation);
                // In a pod whose tasks share their limits, the limit is the pod's.
                let limit = match &isolation.pod {
                    Some(pod) if !own => &pod.allotment,
                    _ => &isolation.allotment,
                };
                let limited = if own { groups.last() } else { groups.first() };
                jail.memory = values::memory_limit(limit)
                    .zip(limited)
                    .map(|(bytes, group)| MemoryLimit { path: group.path.clone(), bytes });
                jail.oom_score = oom_score(&isolation.allotment);
            }
            jail.cgroups.extend(groups);
        }
        Ok(())
    }

    fn allot(&self, container: &ContainerId, allotment: &Allotment) -> Result<(), String> {
        for hierarchy in self.hierarchies.iter().filter(|hierarchy| !hierarchy.controllers.is_empty()) {
            let path = hierarchy.root.join(container.as_str());
            if !path.exists() {
                continue; // a task of a pod, or a container that is still being made: it is made with what it may use
            }
            for (file, value) in self.files(hierarchy, allotment) {
                // What is in use already cannot be taken away: a lower limit would only kill (subsystems/memory.cpp).
                if is_hard_limit(&file) && is_lower(&path.join(&file), &value) {
                    continue;
                }
                match jail::cgroup::set(&path, &file, &value) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(format!("{}: {error}", path.display())),
                    Ok(()) => {}
                }
            }
        }
        Ok(())
    }
}

fn is_hard_limit(file: &str) -> bool {
    matches!(file, "memory.limit_in_bytes" | "memory.memsw.limit_in_bytes" | "memory.max")
}

fn is_lower(path: &Path, value: &str) -> bool {
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or(u64::MAX); // -1 and max
    fs::read_to_string(path).is_ok_and(|now| number(value) < number(&now))
}

/// Who uses more than was requested is a victim before those who do not
/// (src/slave/containerizer/mesos/isolators/cgroups/subsystems/memory.cpp, calculateOOMScoreAdj).
fn oom_score(allotment: &Allotment) -> Option<i32> {
    allotment.mem_limit_mb.filter(|limit| *limit > allotment.mem_mb)?;
    let total = fs::read_to_string("/proc/meminfo").ok()?;
    let total = total
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok())?;
    #[allow(clippy::cast_possible_truncation)] // clamped
    let score = (1000.0 - 1000.0 * allotment.mem_mb * 1024.0 / total).clamp(3.0, 999.0) as i32;
    Some(score)
}

#[cfg(test)]
mod tests {
    use mezzo_agent_core::isolation::Pod;
    use mezzo_api::v1;

    use super::*;

    fn made(base: &Path, version: Version, controllers: Vec<Controller>, ends: bool) -> Cgroups {
        let settings = CgroupSettings {
            hierarchy: base.into(),
            root: "mesos".into(),
            enable_cfs: false,
            limit_swap: false,
            pids_max: 9,
        };
        let hierarchies = vec![Hierarchy { version, root: base.join("mesos"), controllers, ends }];
        Cgroups { settings, hierarchies, cpuset: Files::new() }
    }

    fn shown(cgroups: &Cgroups, isolation: &Isolation) -> Vec<String> {
        let groups = cgroups.groups(&cgroups.hierarchies[0], &"t".into(), isolation);
        groups
            .iter()
            .map(|group| {
                let files: Vec<String> = group.files.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} {:?} {}", group.path.display(), group.part, files.join(" ")).trim().to_owned()
            })
            .collect()
    }

    fn in_pod(share: Option<bool>) -> Isolation {
        let linux = v1::LinuxInfo { share_cgroups: share, ..v1::LinuxInfo::default() };
        Isolation {
            info: Some(v1::ContainerInfo { linux_info: Some(linux), ..v1::ContainerInfo::default() }),
            allotment: Allotment { cpus: 1.0, ..Allotment::default() },
            pod: Some(Pod {
                container_id: "p".into(),
                info: None,
                allotment: Allotment { cpus: 2.0, ..Allotment::default() },
            }),
        }
    }

    #[test]
    fn tasks_of_a_pod_share_its_limits_or_have_their_own() {
        let one = made(Path::new("/g"), Version::One, vec![Controller::Cpu], false);
        assert_eq!(shown(&one, &in_pod(None)), ["/g/mesos/p Shared cpu.shares=2048"]);
        assert_eq!(
            shown(&one, &in_pod(Some(false))),
            ["/g/mesos/p Above cpu.shares=2048", "/g/mesos/p/mesos Above", "/g/mesos/p/mesos/t Own cpu.shares=1024"]
        );
        let two = made(Path::new("/g"), Version::Two, vec![Controller::Cpu], true);
        assert_eq!(
            shown(&two, &in_pod(None)),
            ["/g/mesos/p Above cpu.weight=200", "/g/mesos/p/mesos Above", "/g/mesos/p/mesos/t Own"]
        );
        assert_eq!(
            shown(&two, &in_pod(Some(false))),
            [
                "/g/mesos/p Above cpu.weight=200 cgroup.subtree_control=+cpu",
                "/g/mesos/p/mesos Above cgroup.subtree_control=+cpu",
                "/g/mesos/p/mesos/t Own cpu.weight=100"
            ]
        );
        let alone = Isolation { pod: None, ..in_pod(None) };
        assert_eq!(shown(&two, &alone), ["/g/mesos/t Own cpu.weight=100"]);
    }

    #[test]
    fn limits_of_running_containers_rise_and_never_fall() {
        let base = tempfile::tempdir().unwrap();
        let cgroups = made(base.path(), Version::Two, vec![Controller::Memory], true);
        let path = base.path().join("mesos/t");
        fs::create_dir_all(&path).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        let of = |mem_mb: f64| Allotment { mem_mb, ..Allotment::default() };
        for (mem_mb, low, max) in [(64.0, 64, 64), (128.0, 128, 128), (48.0, 48, 128)] {
            cgroups.allot(&"t".into(), &of(mem_mb)).unwrap();
            assert_eq!((read("memory.low"), read("memory.max")), ((low << 20).to_string(), (max << 20).to_string()));
        }
        cgroups.allot(&"unknown".into(), &of(1.0)).unwrap();
    }

    #[test]
    fn who_may_burst_is_a_victim_sooner() {
        let bursting = Allotment { mem_mb: 32.0, mem_limit_mb: Some(64.0), ..Allotment::default() };
        assert!(oom_score(&bursting).unwrap() > 900);
        assert_eq!(oom_score(&Allotment { mem_mb: 32.0, ..Allotment::default() }), None);
    }
}
