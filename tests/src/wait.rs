//! Waiting for conditions, never for time.

use std::time::{Duration, Instant};

/// How long a condition may take on a busy machine before the test is held to have failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Asks `condition` until it gives something.
///
/// # Panics
/// When it gives nothing within `patience`.
pub fn until_within<T>(patience: Duration, what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < patience, "waited {:.1} s in vain: {what}", start.elapsed().as_secs_f64());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// [`until_within`] the usual patience.
pub fn until<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, condition)
}

/// Waits until `condition` holds.
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}
