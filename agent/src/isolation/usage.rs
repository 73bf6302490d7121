//! What containers use, as their cgroups count it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use mezzo_api::{ids::ContainerId, v1};

use super::Standing;

/// What `disk/du` found last.
fn disks() -> &'static Mutex<HashMap<ContainerId, u64>> {
    static DISKS: OnceLock<Mutex<HashMap<ContainerId, u64>>> = OnceLock::new();
    DISKS.get_or_init(Mutex::default)
}

pub(super) fn remember_disk(container: &ContainerId, bytes: u64) {
    disks().lock().unwrap_or_else(PoisonError::into_inner).insert(container.clone(), bytes);
}

pub(super) fn forget_disks_but(running: &[Standing]) {
    let mut disks = disks().lock().unwrap_or_else(PoisonError::into_inner);
    disks.retain(|id, _| running.iter().any(|container| container.id == *id));
}

/// What the sandbox of a container took of the disk when it was looked at last.
pub(crate) fn disk(container: &ContainerId) -> Option<u64> {
    disks().lock().unwrap_or_else(PoisonError::into_inner).get(container).copied()
}

/// Enters what the cgroups count in which a container's process is, as far as they are groups of its own.
pub(crate) fn of_cgroups(pid: i32, container: &ContainerId, out: &mut v1::ResourceStatistics) {
    let groups = Groups::of(pid, container);
    let tick = 1e9;
    if let Some(group) = groups.get("cpuacct") {
        let usage = |name: &str| number(&group.join(name));
        if let (Some(user), Some(system)) = (usage("cpuacct.usage_user"), usage("cpuacct.usage_sys")) {
            out.cpus_user_time_secs = Some(seconds(user, tick));
            out.cpus_system_time_secs = Some(seconds(system, tick));
        }
    }
    if let Some(group) = groups.get("cpu") {
        cpu(group, out);
    }
    if let Some(group) = groups.get("memory") {
        memory(group, out);
    }
    if let Some(group) = groups.get("pids")
        && let Some(count) = number(&group.join("pids.current"))
    {
        out.threads = u32::try_from(count).ok();
        let processes = fs::read_to_string(group.join("cgroup.procs")).map(|text| text.lines().count());
        out.processes = processes.ok().and_then(|count| u32::try_from(count).ok());
    }
}

fn cpu(group: &Path, out: &mut v1::ResourceStatistics) {
    let statistics = fields(&group.join("cpu.stat"));
    let count = |name: &str| statistics.get(name).copied();
    if let (Some(user), Some(system)) = (count("user_usec"), count("system_usec")) {
        out.cpus_user_time_secs = Some(seconds(user, 1e6));
        out.cpus_system_time_secs = Some(seconds(system, 1e6));
    }
    out.cpus_nr_periods = count("nr_periods").and_then(|count| u32::try_from(count).ok());
    out.cpus_nr_throttled = count("nr_throttled").and_then(|count| u32::try_from(count).ok());
    let throttled = count("throttled_usec").map(|time| seconds(time, 1e6));
    out.cpus_throttled_time_secs = throttled.or_else(|| count("throttled_time").map(|time| seconds(time, 1e9)));
    let quota = number(&group.join("cpu.cfs_quota_us")).zip(number(&group.join("cpu.cfs_period_us"))).or_else(|| {
        let text = fs::read_to_string(group.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        Some((quota.parse().ok()?, period.parse().ok()?))
    });
    if let Some((quota, period)) = quota.filter(|(_, period)| *period > 0) {
        out.cpus_limit = Some(seconds(quota, 1.0) / seconds(period, 1.0));
    }
}

fn memory(group: &Path, out: &mut v1::ResourceStatistics) {
    let first = |names: [&str; 2]| names.iter().find_map(|name| number(&group.join(name)));
    out.mem_total_bytes = first(["memory.usage_in_bytes", "memory.current"]);
    out.mem_total_memsw_bytes = number(&group.join("memory.memsw.usage_in_bytes"));
    out.mem_limit_bytes = first(["memory.limit_in_bytes", "memory.max"]).or(out.mem_limit_bytes);
    out.mem_soft_limit_bytes = first(["memory.soft_limit_in_bytes", "memory.low"]).or(out.mem_soft_limit_bytes);
    let statistics = fields(&group.join("memory.stat"));
    let either = |names: [&str; 2]| names.iter().find_map(|name| statistics.get(*name).copied());
    out.mem_rss_bytes = either(["total_rss", "anon"]).or(out.mem_rss_bytes);
    out.mem_anon_bytes = out.mem_rss_bytes;
    out.mem_cache_bytes = either(["total_cache", "file"]);
    out.mem_file_bytes = out.mem_cache_bytes;
    out.mem_mapped_file_bytes = either(["total_mapped_file", "file_mapped"]);
    out.mem_unevictable_bytes = either(["total_unevictable", "unevictable"]);
    out.mem_swap_bytes = either(["total_swap", "swap"]).or_else(|| number(&group.join("memory.swap.current")));
}

#[allow(clippy::cast_precision_loss)] // of nanoseconds
fn seconds(count: u64, per_second: f64) -> f64 {
    count as f64 / per_second
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn fields(path: &Path) -> HashMap<String, u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

/// The groups of a process, by controller.
struct Groups {
    by_controller: HashMap<String, PathBuf>,
    unified: Option<PathBuf>,
}

impl Groups {
    /// Those that carry the container's id in their path.
    fn of(pid: i32, container: &ContainerId) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let mounts = mounts();
        let mut groups = Self { by_controller: HashMap::new(), unified: None };
        for line in text.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if !path.split('/').any(|part| part == container.as_str()) {
                continue;
            }
            let below = path.trim_start_matches('/');
            if controllers.is_empty() {
                groups.unified = mounts.get("").map(|mount| mount.join(below));
            }
            for controller in controllers.split(',').filter(|controller| !controller.is_empty()) {
                if let Some(mount) = mounts.get(controller) {
                    groups.by_controller.insert(controller.to_owned(), mount.join(below));
                }
            }
        }
        groups
    }

    fn get(&self, controller: &str) -> Option<&PathBuf> {
        self.by_controller.get(controller).or(self.unified.as_ref())
    }
}

/// Where hierarchies are mounted: by controller, that of version 2 without a name.
fn mounts() -> HashMap<String, PathBuf> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mut found = HashMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, path, kind, options, ..] = fields[..] else { continue };
        match kind {
            "cgroup2" => drop(found.entry(String::new()).or_insert_with(|| PathBuf::from(path))),
            "cgroup" => options.split(',').for_each(|option| {
                found.entry(option.to_owned()).or_insert_with(|| PathBuf::from(path));
            }),
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("memory.current", "4096\n");
        write("memory.max", "max\n");
        write("memory.stat", "anon 1024\nfile 512\nfile_mapped 256\n");
        write(
            "cpu.stat",
            "usage_usec 30\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 7\nthrottled_usec 1000000\n",
        );
        write("cpu.max", "50000 100000\n");
        let mut out = v1::ResourceStatistics { mem_limit_bytes: Some(9), ..v1::ResourceStatistics::default() };
        memory(directory.path(), &mut out);
        cpu(directory.path(), &mut out);
        assert_eq!((out.mem_total_bytes, out.mem_rss_bytes, out.mem_limit_bytes), (Some(4096), Some(1024), Some(9)));
        assert_eq!((out.cpus_user_time_secs, out.cpus_throttled_time_secs), (Some(2.0), Some(1.0)));
        assert_eq!((out.cpus_limit, out.cpus_nr_periods), (Some(0.5), Some(7)));
    }
}
