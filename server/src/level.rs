//! How much is logged, which an operator may raise for a while (3rdparty/libprocess/src/logging.cpp).
//!
//! Levels count as glog's verbosity does: 0 is what `--logging_level` says, 1 and above add `DEBUG`. There is one log for
//! a process, so there is one level.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tracing::level_filters::LevelFilter;

static VERBOSITY: AtomicU32 = AtomicU32::new(0);
/// How often the verbosity was set: what an earlier setting wanted afterwards does not count any more.
static SETTINGS: AtomicU64 = AtomicU64::new(0);
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    first: LevelFilter,
    set: Box<dyn Fn(LevelFilter) + Send + Sync>,
}

/// Names the log whose level is raised; the first one stays.
pub(crate) fn of_log(first: LevelFilter, set: impl Fn(LevelFilter) + Send + Sync + 'static) {
    let _ = LOG.set(Log { first, set: Box::new(set) });
}

/// The present verbosity; 0 is that of the start.
pub fn verbosity() -> u32 {
    VERBOSITY.load(Ordering::Relaxed)
}

/// Sets the verbosity for so long; then it is 0 again. To be called within a runtime.
pub fn raise(level: u32, duration: Duration) {
    let setting = SETTINGS.fetch_add(1, Ordering::Relaxed) + 1;
    apply(level);
    tracing::info!(level, duration_secs = duration.as_secs_f64(), "the logging level was set");
    tokio::spawn(async move {
        tokio::time::sleep(duration).await;
        if SETTINGS.load(Ordering::Relaxed) == setting {
            apply(0);
            tracing::info!("the logging level is again that of the start");
        }
    });
}

fn apply(level: u32) {
    VERBOSITY.store(level, Ordering::Relaxed);
    if let Some(log) = LOG.get() {
        (log.set)(if level == 0 { log.first } else { log.first.max(LevelFilter::DEBUG) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn goes_back_after_its_time_and_the_latest_setting_counts() {
        raise(2, Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(verbosity(), 2);
        raise(1, Duration::from_secs(10));
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(verbosity(), 1, "the end of the first setting came too early");
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(verbosity(), 0);
    }
}
