//! Large clusters in one process: the master's core alone, fed with what thousands of agents and frameworks would say.
//! Figures are one JSON object a line: `bench`, `case`, `value`, `unit` and the parameters.

mod failover;
mod large;
mod launches;
mod master;
mod steady;

use std::time::Duration;

use serde_json::{Value, json};

/// A case: its name, and what measures it.
type Case = (&'static str, fn(&mut dyn FnMut(String)));

const CASES: [Case; 6] = [
    ("failover", failover::without_history),
    ("history", failover::with_history),
    ("memory", large::memory),
    ("offered", large::offered),
    ("launches", launches::launches),
    ("steady", steady::steady),
];

/// The name is none of the cases.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no case '{0}': there are failover, history, memory, offered, launches and steady")]
pub struct UnknownCase(String);

/// Measures the named cases, or all; each figure is one line of JSON.
///
/// # Errors
/// If a name is none of the cases.
pub fn run(cases: &[String], print: &mut dyn FnMut(String)) -> Result<(), UnknownCase> {
    if let Some(unknown) = cases.iter().find(|name| !CASES.iter().any(|(case, _)| case == name)) {
        return Err(UnknownCase(unknown.clone()));
    }
    for (name, measure) in CASES {
        if cases.is_empty() || cases.iter().any(|case| case == name) {
            measure(print);
        }
    }
    Ok(())
}

/// A figure as a line of JSON; `parameters` is an object.
fn figure(case: &str, value: f64, unit: &str, parameters: Value) -> String {
    let value = (value * 1000.0).round() / 1000.0;
    let mut line = json!({ "bench": "sim", "case": case, "value": value, "unit": unit });
    if let (Value::Object(line), Value::Object(parameters)) = (&mut line, parameters) {
        line.extend(parameters);
    }
    line.to_string()
}

/// How long this thread has computed: other programs on the machine count for nothing.
fn computed() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// What this process has in memory, in bytes (Linux; 0 elsewhere).
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}
