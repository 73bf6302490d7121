//! What the metrics tell of fetching (src/slave/containerizer/fetcher.cpp, FetcherProcess::Metrics). There is one fetcher in a
//! process.

use std::sync::atomic::{AtomicU64, Ordering};

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    /// Containers whose URIs are all there.
    pub(crate) succeeded: AtomicU64,
    /// Containers with a URI that cannot be fetched.
    pub(crate) failed: AtomicU64,
    /// Bytes of the cache.
    pub(crate) cache_bytes: AtomicU64,
    /// Of these, bytes of files and of what is being fetched.
    pub(crate) cache_used_bytes: AtomicU64,
}

/// Those of this process.
pub(crate) static FIGURES: Figures = Figures {
    succeeded: AtomicU64::new(0),
    failed: AtomicU64::new(0),
    cache_bytes: AtomicU64::new(0),
    cache_used_bytes: AtomicU64::new(0),
};

impl Figures {
    /// The fetching for a container has ended.
    pub(super) fn fetched<T, E>(&self, result: &Result<T, E>, cache_used_bytes: u64) {
        let counter = if result.is_ok() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        self.cache_used_bytes.store(cache_used_bytes, Ordering::Relaxed);
    }
}
