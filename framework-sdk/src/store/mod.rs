//! Where a framework keeps what must outlive its process: its id, and what its scheduler puts there.

mod file;
mod memory;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::{collections::BTreeMap, future::Future, path::PathBuf, pin::Pin};

use bytes::Bytes;

pub use file::FileStore;
pub use memory::MemoryStore;
#[cfg(feature = "zookeeper")]
pub use zookeeper::ZooKeeperStore;

/// One change of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This key has this value from now on.
    Put(String, Bytes),
    /// This key is no more.
    Remove(String),
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be used.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another process has the file open.
    #[error("{path} is in use: does another process of this framework run?")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// ZooKeeper does not do what is asked of it.
    #[error("ZooKeeper: {0}")]
    ZooKeeper(String),
    /// The key has characters, or a form, that a store cannot take.
    #[error("'{0}' is no key: letters, digits, '-', '_' and '.', with single '/' between")]
    Key(String),
}

/// What a store's methods return.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keys and values that outlive the process. One process uses it at a time.
pub trait Store: Send {
    /// Everything in it.
    fn load(&mut self) -> StoreFuture<'_, BTreeMap<String, Bytes>>;

    /// Makes changes, in order, all or none where the store can: durable when it returns.
    fn apply(&mut self, changes: Vec<Change>) -> StoreFuture<'_, ()>;
}

impl Store for Box<dyn Store> {
    fn load(&mut self) -> StoreFuture<'_, BTreeMap<String, Bytes>> {
        (**self).load()
    }

    fn apply(&mut self, changes: Vec<Change>) -> StoreFuture<'_, ()> {
        (**self).apply(changes)
    }
}

/// Whether every store can take the key.
///
/// # Errors
/// If not.
pub fn check_key(key: &str) -> Result<(), StoreError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain);
    if key.split('/').all(part) { Ok(()) } else { Err(StoreError::Key(key.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_paths_of_plain_parts() {
        for key in ["a", "framework-id", "slot/web/0", "a.b/c_d"] {
            assert!(check_key(key).is_ok(), "{key}");
        }
        for key in ["", "/", "/a", "a/", "a//b", "a/../b", ".", "a b", "ä"] {
            assert!(matches!(check_key(key), Err(StoreError::Key(_))), "{key}");
        }
    }
}
