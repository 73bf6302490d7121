//! The machine's own numbers (3rdparty/libprocess/include/process/system.hpp).

use std::fs;

use serde_json::{Value, json};

/// What `/system/stats.json` and `system/*` tell.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Machine {
    /// Load averages over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// Processors that are online.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of memory that nobody uses.
    pub free: u64,
}

impl Machine {
    /// Reads them; what cannot be read is 0.
    pub fn read() -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            load: load_averages(&load),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory: kilobytes(&memory, "MemTotal:") * 1024,
            free: kilobytes(&memory, "MemFree:") * 1024,
        }
    }

    /// The same as metrics: names and values, in the order of the names.
    #[allow(clippy::cast_precision_loss)] // sizes are shown as doubles
    pub fn metrics(&self) -> [(&'static str, f64); 6] {
        [
            ("system/cpus_total", self.cpus as f64),
            ("system/load_15min", self.load[2]),
            ("system/load_1min", self.load[0]),
            ("system/load_5min", self.load[1]),
            ("system/mem_free_bytes", self.free as f64),
            ("system/mem_total_bytes", self.memory as f64),
        ]
    }
}

/// `/system/stats.json`
pub fn stats() -> Value {
    let machine = Machine::read();
    json!({
        "avg_load_15min": machine.load[2],
        "avg_load_1min": machine.load[0],
        "avg_load_5min": machine.load[1],
        "cpus_total": machine.cpus,
        "mem_free_bytes": machine.free,
        "mem_total_bytes": machine.memory,
    })
}

fn load_averages(text: &str) -> [f64; 3] {
    let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or_default());
    [(); 3].map(|()| numbers.next().unwrap_or_default())
}

fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_machine() {
        assert_eq!(load_averages("0.50 1.25 2.00 1/300 4711\n"), [0.5, 1.25, 2.0]);
        assert_eq!(kilobytes("MemTotal:  100 kB\nMemFree: 7 kB\n", "MemFree:"), 7);
        let machine = Machine::read();
        assert!(machine.cpus > 0 && machine.memory > machine.free && machine.free > 0);
    }
}
