//! Places at which a test kills the agent: `MEZZO_FAILPOINT=<name>` or `<name>:<n>`, at the n-th time that it is passed.
//! Programs that are built for use (without debug assertions) have none of this.

/// Kills the process with SIGKILL if this is the place.
#[cfg(debug_assertions)]
pub(crate) fn pass(name: &str) {
    use std::sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    };
    static CHOSEN: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let read = || {
        let text = std::env::var("MEZZO_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().ok()?))
    };
    let Some((chosen, count)) = CHOSEN.get_or_init(read) else { return };
    if chosen == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub(crate) fn pass(_name: &str) {}

/// The variable that names a place in mezzo-executor.
#[cfg(debug_assertions)]
pub(crate) fn of_executor() -> Option<(&'static str, std::ffi::OsString)> {
    const NAME: &str = "MEZZO_EXECUTOR_FAILPOINT";
    std::env::var_os(NAME).map(|place| (NAME, place))
}

/// None.
#[cfg(not(debug_assertions))]
pub(crate) fn of_executor() -> Option<(&'static str, std::ffi::OsString)> {
    None
}
