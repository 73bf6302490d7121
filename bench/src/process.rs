//! What the kernel says of a process.

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

/// Memory of one process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident, shared pages counted whole.
    pub(crate) rss: u64,
    /// Resident, shared pages divided by those who share them.
    pub(crate) pss: u64,
}

/// Memory of a process.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("{path} cannot be read: has the process ended?"))?;
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok())
            .with_context(|| format!("{path} has no {name}"))
    };
    Ok(Memory { rss: field("Rss:")?, pss: field("Pss:")? })
}

/// The time that a process has had of the CPUs so far, in seconds.
pub(crate) fn cpu_secs(pid: u32) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = text.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks / per_second as f64)
}

/// The processes of this name, as the kernel keeps it (at most 15 characters).
pub(crate) fn named(name: &str) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let comm = fs::read_to_string(entry.path().join("comm")).ok()?;
            (comm.trim_end() == name).then_some(pid)
        })
        .collect()
}
