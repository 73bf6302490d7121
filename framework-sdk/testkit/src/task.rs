//! Commands whose course is known: what a test's tasks run.

use std::time::Duration;

use mezzo_sim::workload::Program;

fn text(time: Duration, code: u8, stubborn: bool) -> String {
    let for_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Program::Run { for_ms, code, stubborn }.text()
}

/// Runs for so long, then finishes.
pub fn finishes_after(time: Duration) -> String {
    text(time, 0, false)
}

/// Runs for so long, then fails with this exit code.
pub fn fails_after(time: Duration, code: u8) -> String {
    text(time, code, false)
}

/// Runs for so long, then finishes; does not mind SIGTERM.
pub fn stubborn(time: Duration) -> String {
    text(time, 0, true)
}
