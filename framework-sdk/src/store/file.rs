//! A store in one file: transactional, synced before it answers, safe against `kill -9` and power cuts.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Change, Store, StoreError, StoreFuture, check_key};

const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");
const CACHE_BYTES: usize = 256 * 1024;

/// In a file (redb's format), which one process has open at a time.
#[derive(Clone)]
pub struct FileStore {
    database: Arc<Database>,
    path: PathBuf,
}

impl FileStore {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// If it cannot be opened, is of another kind, or is in use.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref().to_owned();
        // A file of another kind makes redb's own checks panic in rare cases: that is a bad file too.
        let opened = std::panic::catch_unwind(|| Database::builder().set_cache_size(CACHE_BYTES).create(&path));
        match opened {
            Ok(Ok(database)) => Ok(Self { database: Arc::new(database), path }),
            Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(StoreError::InUse { path }),
            Ok(Err(error)) => Err(StoreError::File { path, problem: error.to_string() }),
            Err(_) => Err(StoreError::File { path, problem: "it is damaged, or no store".to_owned() }),
        }
    }

    /// Off the runtime's threads: a sync may take its time.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let database = self.database.clone();
        let problem = |problem: String| StoreError::File { path: self.path.clone(), problem };
        let result = tokio::task::spawn_blocking(move || work(&database)).await;
        result.map_err(|error| problem(error.to_string()))?.map_err(|error| problem(error.to_string()))
    }
}

fn read(database: &Database) -> Result<BTreeMap<String, Bytes>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(ENTRIES) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        table => table?,
    };
    let mut entries = BTreeMap::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        entries.insert(key.value().to_owned(), Bytes::copy_from_slice(value.value()));
    }
    Ok(entries)
}

fn write(database: &Database, changes: Vec<Change>) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(ENTRIES)?;
        for change in changes {
            match change {
                Change::Put(key, value) => drop(table.insert(key.as_str(), &*value)?),
                Change::Remove(key) => drop(table.remove(key.as_str())?),
            }
        }
    }
    Ok(transaction.commit()?)
}

impl Store for FileStore {
    fn load(&mut self) -> StoreFuture<'_, BTreeMap<String, Bytes>> {
        Box::pin(self.blocking(read))
    }

    fn apply(&mut self, changes: Vec<Change>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            for change in &changes {
                if let Change::Put(key, _) = change {
                    check_key(key)?;
                }
            }
            self.blocking(move |database| write(database, changes)).await
        })
    }
}

impl std::fmt::Debug for FileStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileStore").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, value: &'static str) -> Change {
        Change::Put(key.to_owned(), Bytes::from_static(value.as_bytes()))
    }

    #[tokio::test]
    async fn what_was_stored_is_there_for_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut store = FileStore::open(&path).unwrap();
        assert!(store.load().await.unwrap().is_empty());
        store.apply(vec![put("a", "1"), put("b/c", "2"), put("a", "3")]).await.unwrap();
        store.apply(vec![Change::Remove("b/c".into()), Change::Remove("never".into())]).await.unwrap();
        assert!(matches!(store.apply(vec![put("d", "4"), put("../x", "5")]).await, Err(StoreError::Key(_))));
        assert!(matches!(FileStore::open(&path), Err(StoreError::InUse { .. })));
        drop(store);
        let entries = FileStore::open(&path).unwrap().load().await.unwrap();
        assert_eq!(entries, [("a".to_owned(), Bytes::from_static(b"3"))].into());
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "no store").unwrap();
        assert!(matches!(FileStore::open(&path), Err(StoreError::File { .. })));
        assert!(matches!(FileStore::open(dir.path().join("no/such/dir")), Err(StoreError::File { .. })));
    }
}
