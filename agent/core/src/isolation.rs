//! What a container may use and how it asks to be kept, for those who isolate it.

use std::collections::BTreeMap;

use mezzo_api::{
    ids::ContainerId,
    v1::{self, container_info, task_status::Reason},
};

use crate::{entity::Executor, launch::Unlaunchable};

/// What the agent's isolators can do, as far as the core decides by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// CPU limits beside requests: `cgroups/cpu`.
    pub cpu_limits: bool,
    /// Memory limits beside requests: `cgroups/mem`.
    pub memory_limits: bool,
    /// Mounts of a container's own: `filesystem/linux`.
    pub mounts: bool,
    /// Somebody wants to hear what a container may use that runs already.
    pub allots: bool,
}

/// How a container is to be kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Isolation {
    /// As the framework describes it.
    pub info: Option<v1::ContainerInfo>,
    /// What it may use.
    pub allotment: Allotment,
    /// The executor's container that it is in.
    pub pod: Option<Pod>,
}

/// The container of an executor whose tasks have containers of their own.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// Its id.
    pub container_id: ContainerId,
    /// As the framework describes it.
    pub info: Option<v1::ContainerInfo>,
    /// What it may use, with all its tasks.
    pub allotment: Allotment,
}

/// What a container may use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allotment {
    /// Requested CPUs.
    pub cpus: f64,
    /// Requested memory in megabytes.
    pub mem_mb: f64,
    /// Disk of the sandbox in megabytes; `None` when nothing is said of it.
    pub disk_mb: Option<f64>,
    /// At most so many CPUs, may be infinite; `None`: as requested.
    pub cpu_limit: Option<f64>,
    /// At most so much memory in megabytes, may be infinite; `None`: as requested.
    pub mem_limit_mb: Option<f64>,
    /// Ports, first and last of each range.
    pub ports: Vec<(u64, u64)>,
}

/// A container was ended for what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Limitation {
    /// `REASON_CONTAINER_LIMITATION…`.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it took too much of.
    pub resources: Vec<v1::Resource>,
}

impl Allotment {
    /// Of these resources.
    pub fn of(resources: &[v1::Resource], limits: &BTreeMap<String, v1::value::Scalar>) -> Self {
        let mut all = Self::default();
        for resource in resources {
            let amount = resource.scalar.as_ref().map_or(0.0, |scalar| scalar.value);
            let persistent = resource.disk.as_ref().is_some_and(|disk| disk.persistence.is_some());
            match resource.name.as_str() {
                "cpus" => all.cpus += amount,
                "mem" => all.mem_mb += amount,
                "disk" if !persistent => *all.disk_mb.get_or_insert_default() += amount,
                "ports" => {
                    let ranges = resource.ranges.iter().flat_map(|ranges| &ranges.range);
                    all.ports.extend(ranges.map(|range| (range.begin, range.end)));
                }
                _ => {}
            }
        }
        all.cpu_limit = limits.get("cpus").map(|scalar| scalar.value);
        all.mem_limit_mb = limits.get("mem").map(|scalar| scalar.value);
        all
    }

    /// Both together; a limit of the one alone counts beside the request of the other.
    fn with(self, other: Self) -> Self {
        let limit = |own: Option<f64>, request: f64, others: Option<f64>, other_request: f64| match (own, others) {
            (None, None) => None,
            _ => Some(own.unwrap_or(request) + others.unwrap_or(other_request)),
        };
        let disk = [self.disk_mb, other.disk_mb].into_iter().flatten().reduce(|one, two| one + two);
        Self {
            cpu_limit: limit(self.cpu_limit, self.cpus, other.cpu_limit, other.cpus),
            mem_limit_mb: limit(self.mem_limit_mb, self.mem_mb, other.mem_limit_mb, other.mem_mb),
            cpus: self.cpus + other.cpus,
            mem_mb: self.mem_mb + other.mem_mb,
            disk_mb: disk,
            ports: [self.ports, other.ports].concat(),
        }
    }
}

/// Of a task alone.
pub(crate) fn of_task(task: &v1::TaskInfo) -> Allotment {
    Allotment::of(&task.resources, &task.limits)
}

/// Of an executor with its tasks that are not over. One that the agent made up for a command task has no process, and
/// needs nothing.
pub(crate) fn of_executor(executor: &Executor) -> Allotment {
    let own = if executor.generated() {
        Allotment::default()
    } else {
        Allotment::of(&executor.info.resources, &BTreeMap::new())
    };
    let launched = executor.launched.values().map(|task| Allotment::of(&task.resources, &task.limits));
    let queued = executor.queued.values().map(|queued| of_task(&queued.info));
    launched.chain(queued).fold(own, Allotment::with)
}

/// The container that a task of a pod is in.
pub(crate) fn pod(executor: &Executor) -> Pod {
    Pod {
        container_id: executor.container_id.clone(),
        info: executor.info.container.as_deref().cloned(),
        allotment: of_executor(executor),
    }
}

/// Limits need isolators; the reason for their refusal is Mesos' (src/slave/slave.cpp, validateResourceLimitsAndIsolators).
pub(crate) fn unsupported_limit(abilities: Abilities, task: &v1::TaskInfo) -> Option<&'static str> {
    let docker = |info: &v1::ContainerInfo| info.r#type() == container_info::Type::Docker;
    if task.container.as_deref().is_some_and(docker) {
        return None;
    }
    if task.limits.contains_key("cpus") && !abilities.cpu_limits {
        return Some(
            "CPU limits can only be set on tasks launched in Mesos containers when the agent has loaded the \
             'cgroups/cpu' isolator",
        );
    }
    (task.limits.contains_key("mem") && !abilities.memory_limits).then_some(
        "Memory limits can only be set on tasks launched in Mesos containers when the agent has loaded the \
         'cgroups/mem' isolator",
    )
}

/// What a container with mounts may name as its volumes; the isolator makes them.
pub(crate) fn check_volumes(info: Option<&v1::ContainerInfo>, nested: bool) -> Result<(), Unlaunchable> {
    use v1::volume::source::{Type, sandbox_path};
    for volume in info.map_or(&[][..], |info| &info.volumes) {
        let refuse = |text: String| Err(Unlaunchable::Container(text));
        let Some(source) = &volume.source else {
            if volume.host_path.is_none() {
                return refuse(format!("Volume '{}' has neither source nor host_path", volume.container_path));
            }
            continue;
        };
        match source.r#type() {
            Type::HostPath => {}
            Type::SandboxPath => {
                let path = source.sandbox_path.as_ref();
                let parent = path.is_some_and(|path| path.r#type() == sandbox_path::Type::Parent);
                if parent && !nested {
                    return refuse("SANDBOX_PATH volume PARENT type only works for nested container".into());
                }
            }
            other => {
                return refuse(format!(
                    "Volume '{}' has a source of type {}, which is not supported",
                    volume.container_path,
                    other.as_str_name()
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use mezzo_api::resources::Resources;

    use super::*;

    fn limits(text: &[(&str, f64)]) -> BTreeMap<String, v1::value::Scalar> {
        text.iter().map(|(name, value)| ((*name).to_owned(), v1::value::Scalar { value: *value })).collect()
    }

    #[test]
    fn resources_and_limits_add_up() {
        let resources = |text| Resources::parse(text, "*").unwrap().to_protos();
        let one = Allotment::of(&resources("cpus:1;mem:64;disk:5;ports:[1-2]"), &limits(&[("mem", f64::INFINITY)]));
        let two = Allotment::of(&resources("cpus:0.5;mem:32;ports:[7-7]"), &limits(&[("cpus", 2.0)]));
        let both = one.with(two);
        assert_eq!((both.cpus, both.mem_mb, both.disk_mb), (1.5, 96.0, Some(5.0)));
        assert_eq!((both.cpu_limit, both.mem_limit_mb), (Some(3.0), Some(f64::INFINITY)));
        assert_eq!(both.ports, [(1, 2), (7, 7)]);
        let none = Allotment::of(&resources("cpus:1"), &limits(&[]));
        assert_eq!((none.cpu_limit, none.mem_limit_mb, none.disk_mb), (None, None, None));
    }
}
