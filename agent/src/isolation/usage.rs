//! What containers use, as their cgroups count it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use mezzo_api::{ids::ContainerId, v1};

use super::{Standing, blkio, host::Host};

/// What is counted of containers that run.
#[derive(Debug)]
pub(crate) struct Accounts {
    host: Host,
    /// `--cgroups_root`
    root: String,
    disks: Mutex<HashMap<ContainerId, Disk>>,
}

/// What was found of the disk of a container when it was looked at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) used_bytes: u64,
    pub(super) limit_bytes: u64,
}

impl Accounts {
    pub(super) fn new(host: Host, root: &str) -> Self {
        Self { host, root: root.to_owned(), disks: Mutex::default() }
    }

    pub(super) fn enter_disk(&self, container: &ContainerId, disk: Disk) {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).insert(container.clone(), disk);
    }

    pub(super) fn forget_disks_but(&self, running: &[Standing]) {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|id, _| running.iter().any(|container| container.id == *id));
    }

    /// Enters what is counted of a container, as far as it is.
    pub(crate) fn tell(&self, container: &ContainerId, out: &mut v1::ResourceStatistics) {
        if let Some(disk) = self.disks.lock().unwrap_or_else(PoisonError::into_inner).get(container) {
            out.disk_used_bytes = Some(disk.used_bytes);
            out.disk_limit_bytes = Some(disk.limit_bytes);
        }
        if let Some(group) = self.group("cpuacct", container) {
            let usage = |name: &str| number(&group.join(name));
            if let (Some(user), Some(system)) = (usage("cpuacct.usage_user"), usage("cpuacct.usage_sys")) {
                out.cpus_user_time_secs = Some(seconds(user, 1e9));
                out.cpus_system_time_secs = Some(seconds(system, 1e9));
            }
        }
        if let Some(group) = self.group("cpu", container) {
            cpu(&group, out);
        }
        if let Some(group) = self.group("memory", container) {
            memory(&group, out);
        }
        let disks = self.group("blkio", container).or_else(|| self.group("io", container));
        if let Some(statistics) = disks.and_then(|group| blkio::of(&group)) {
            out.blkio_statistics = Some(statistics);
        }
        if let Some(group) = self.group("pids", container)
            && let Some(count) = number(&group.join("pids.current"))
        {
            out.threads = u32::try_from(count).ok();
            out.processes = u32::try_from(processes(&group)).ok();
        }
    }

    /// A container's group in the hierarchy of a controller.
    fn group(&self, controller: &str, container: &ContainerId) -> Option<PathBuf> {
        let place = self.host.controller(controller)?;
        Some(place.path.join(&self.root).join(container.as_str())).filter(|path| path.is_dir())
    }
}

/// In a group and below.
fn processes(group: &Path) -> usize {
    let own = fs::read_to_string(group.join("cgroup.procs")).map_or(0, |text| text.lines().count());
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    own + below.map(|entry| processes(&entry.path())).sum::<usize>()
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
