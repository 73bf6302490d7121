//! A store that lives as long as what holds it: for tests, and for frameworks that need not fail over.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

use super::{Change, Store, StoreFuture, check_key};

/// In memory; clones share what is in it.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    entries: Arc<Mutex<BTreeMap<String, Bytes>>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is in it now.
    pub fn entries(&self) -> BTreeMap<String, Bytes> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store for MemoryStore {
    fn load(&mut self) -> StoreFuture<'_, BTreeMap<String, Bytes>> {
        Box::pin(async { Ok(self.entries()) })
    }

    fn apply(&mut self, changes: Vec<Change>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            for change in changes {
                match change {
                    Change::Put(key, value) => {
                        check_key(&key)?;
                        entries.insert(key, value);
                    }
                    Change::Remove(key) => {
                        entries.remove(&key);
                    }
                }
            }
            Ok(())
        })
    }
}
