//! What is written into cgroups, in either version (src/slave/containerizer/mesos/isolators/cgroups/subsystems/).

use mezzo_agent_core::isolation::Allotment;

use mezzo_executor::jail::Version;

use super::CgroupSettings;

const MEGABYTE: f64 = 1_048_576.0;
/// The kernel's share of one CPU in version 1.
const SHARES_PER_CPU: f64 = 1024.0;
const MIN_SHARES: f64 = 2.0;
/// The share of one CPU in version 2: a container of one CPU weighs what others weigh that nobody gave a weight.
const WEIGHT_PER_CPU: f64 = 100.0;
const PERIOD_US: f64 = 100_000.0;
const MIN_QUOTA_US: f64 = 1_000.0;
/// Nothing starts with less.
const MIN_MEMORY: u64 = 32 << 20;

/// Files with their values, in order.
pub(super) type Files = Vec<(String, String)>;

/// Shares and quota.
pub(super) fn cpu(version: Version, settings: &CgroupSettings, allotment: &Allotment) -> Files {
    // What may burst is held to its limit, what may not to its request, if requests are limits here.
    let limit = allotment.cpu_limit.or(settings.enable_cfs.then_some(allotment.cpus));
    let quota = limit.map(|cpus| if cpus.is_finite() { Some((cpus * PERIOD_US).max(MIN_QUOTA_US)) } else { None });
    match version {
        Version::One => {
            let mut files =
                files([("cpu.shares", whole((allotment.cpus * SHARES_PER_CPU).max(MIN_SHARES)).to_string())]);
            if let Some(quota) = quota {
                let quota = quota.map_or_else(|| "-1".to_owned(), |quota| whole(quota).to_string());
                files.push(("cpu.cfs_period_us".into(), whole(PERIOD_US).to_string()));
                files.push(("cpu.cfs_quota_us".into(), quota));
            }
            files
        }
        Version::Two => {
            let weight = (allotment.cpus * WEIGHT_PER_CPU).clamp(1.0, 10_000.0);
            let mut files = files([("cpu.weight", whole(weight).to_string())]);
            if let Some(quota) = quota {
                let quota = quota.map_or_else(|| "max".to_owned(), |quota| whole(quota).to_string());
                files.push(("cpu.max".into(), format!("{quota} {}", whole(PERIOD_US))));
            }
            files
        }
    }
}

/// The hard limit of memory in bytes; `None` is none.
pub(super) fn memory_limit(allotment: &Allotment) -> Option<u64> {
    let limit = allotment.mem_limit_mb.unwrap_or(allotment.mem_mb);
    limit.is_finite().then(|| whole(limit * MEGABYTE).max(MIN_MEMORY))
}

/// Limits of memory.
pub(super) fn memory(version: Version, settings: &CgroupSettings, allotment: &Allotment) -> Files {
    let soft = whole(allotment.mem_mb * MEGABYTE).max(MIN_MEMORY).to_string();
    let none = match version {
        Version::One => "-1",
        Version::Two => "max",
    };
    let hard = memory_limit(allotment).map_or_else(|| none.to_owned(), |bytes| bytes.to_string());
    let mut all = Files::new();
    match version {
        Version::One => {
            all.extend(files([("memory.soft_limit_in_bytes", soft)]));
            if settings.limit_swap {
                // Never below the limit without swap, whether that rises or falls.
                all.extend(files([("memory.memsw.limit_in_bytes", "-1".to_owned())]));
            }
            all.extend(files([("memory.limit_in_bytes", hard.clone())]));
            if settings.limit_swap {
                all.extend(files([("memory.memsw.limit_in_bytes", hard)]));
            }
        }
        Version::Two => {
            all.extend(files([("memory.low", soft), ("memory.max", hard), ("memory.oom.group", "1".to_owned())]));
            if settings.limit_swap {
                all.extend(files([("memory.swap.max", "0".to_owned())]));
            }
        }
    }
    all
}

/// The limit of processes.
pub(super) fn pids(settings: &CgroupSettings) -> Files {
    files([("pids.max", settings.pids_max.to_string())])
}

fn files<const N: usize>(list: [(&str, String); N]) -> Files {
    list.map(|(name, value)| (name.to_owned(), value)).into()
}

fn whole(value: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // what is less than one is none
    let whole = value.round().max(0.0) as u64;
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CgroupSettings {
        CgroupSettings {
            hierarchy: "/sys/fs/cgroup".into(),
            root: "mesos".into(),
            enable_cfs: false,
            limit_swap: false,
            pids_max: 9,
        }
    }

    fn text(files: &Files) -> String {
        files.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn cpus_are_shares_and_with_cfs_or_a_limit_a_quota() {
        let half = Allotment { cpus: 0.5, ..Allotment::default() };
        let cfs = CgroupSettings { enable_cfs: true, ..settings() };
        let bursting = Allotment { cpu_limit: Some(2.0), ..half.clone() };
        let free = Allotment { cpu_limit: Some(f64::INFINITY), ..half.clone() };
        let one = |settings: &CgroupSettings, allotment: &Allotment| text(&cpu(Version::One, settings, allotment));
        let two = |settings: &CgroupSettings, allotment: &Allotment| text(&cpu(Version::Two, settings, allotment));
        assert_eq!(one(&settings(), &half), "cpu.shares=512");
        assert_eq!(one(&cfs, &half), "cpu.shares=512 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000");
        assert_eq!(one(&cfs, &bursting), "cpu.shares=512 cpu.cfs_period_us=100000 cpu.cfs_quota_us=200000");
        assert_eq!(one(&cfs, &free), "cpu.shares=512 cpu.cfs_period_us=100000 cpu.cfs_quota_us=-1");
        assert_eq!(one(&settings(), &Allotment::default()), "cpu.shares=2");
        assert_eq!(two(&settings(), &half), "cpu.weight=50");
        assert_eq!(two(&cfs, &half), "cpu.weight=50 cpu.max=50000 100000");
        assert_eq!(two(&settings(), &free), "cpu.weight=50 cpu.max=max 100000");
    }

    #[test]
    fn memory_has_a_soft_and_a_hard_limit() {
        let some = Allotment { mem_mb: 64.0, ..Allotment::default() };
        let bursting = Allotment { mem_limit_mb: Some(128.0), ..some.clone() };
        let free = Allotment { mem_limit_mb: Some(f64::INFINITY), ..some.clone() };
        let swap = CgroupSettings { limit_swap: true, ..settings() };
        assert_eq!(
            text(&memory(Version::One, &settings(), &bursting)),
            "memory.soft_limit_in_bytes=67108864 memory.limit_in_bytes=134217728"
        );
        assert_eq!(
            text(&memory(Version::One, &swap, &some)),
            "memory.soft_limit_in_bytes=67108864 memory.memsw.limit_in_bytes=-1 memory.limit_in_bytes=67108864 \
             memory.memsw.limit_in_bytes=67108864"
        );
        assert_eq!(
            text(&memory(Version::Two, &swap, &free)),
            "memory.low=67108864 memory.max=max memory.oom.group=1 memory.swap.max=0"
        );
        assert_eq!(memory_limit(&free), None);
        assert_eq!(memory_limit(&Allotment::default()), Some(MIN_MEMORY));
    }
}
