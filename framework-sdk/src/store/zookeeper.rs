//! A store in ZooKeeper, beside which the framework's program may run anywhere.
//!
//! Below the path are `entries`, with one znode for each key (`/` is written as `:`), and `owner`, an ephemeral znode of
//! the process that uses the store: every change checks that it is still there, so that a process whose session is over
//! changes nothing. One list of children has to fit into ZooKeeper's limit of 1 MB: some 10,000 keys.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use mezzo_election::{Acl, ConnectError, ZkUrl, connect};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{info, warn};
use zookeeper_client::{CheckWriteError, Client, CreateMode, Error};

use super::{Change, Store, StoreError, StoreFuture, check_key};

const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// A former owner that was killed is there until its session times out.
const OWNED_AT_MOST: Duration = Duration::from_secs(30);
/// A change that ZooKeeper does not take within this fails; so long it may be without a quorum.
const PATIENCE: Duration = Duration::from_secs(60);
const SILENT: &str = "no answer in time";
const RETRY: Duration = Duration::from_millis(500);
/// Changes of one transaction: below ZooKeeper's limit of 1 MB for a request.
const MAX_TRANSACTION_BYTES: usize = 512 * 1024;
/// What a change weighs beside its value.
const CHANGE_BYTES: usize = 512;

/// In ZooKeeper.
pub struct ZooKeeperStore {
    url: ZkUrl,
    client: Client,
    /// The znodes that are there.
    present: BTreeSet<String>,
    /// A change's outcome is not known: `present` is to be read again.
    doubtful: bool,
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::ZooKeeper(error.to_string())
}

impl ZooKeeperStore {
    /// Opens the store of `zk://[user:password@]host:port[,host:port…]/path`, and becomes its owner. If another process
    /// was that, and was killed, this waits until its session is over.
    ///
    /// # Errors
    /// If the URL is none, ZooKeeper cannot be reached, or the store has an owner that lives.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let url: ZkUrl = url.parse().map_err(failed)?;
        let client = connect(&url, SESSION_TIMEOUT).await.map_err(|error: ConnectError| failed(error))?;
        let store = Self { url, client, present: BTreeSet::new(), doubtful: true };
        timeout(PATIENCE, store.prepare()).await.map_err(|_| failed(SILENT))??;
        timeout(PATIENCE, store.own()).await.map_err(|_| failed(SILENT))??;
        Ok(store)
    }

    fn entries(&self) -> String {
        self.below("entries")
    }

    fn below(&self, name: &str) -> String {
        format!("{}/{name}", self.url.path().trim_end_matches('/'))
    }

    fn node(&self, key: &str) -> String {
        format!("{}/{}", self.entries(), key.replace('/', ":"))
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        let options = CreateMode::Persistent.with_acls(Acl::of(&self.url).acls());
        match self.client.mkdir(&self.entries(), &options).await {
            Ok(()) | Err(Error::NodeExists) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }

    async fn own(&self) -> Result<(), StoreError> {
        let options = CreateMode::Ephemeral.with_acls(Acl::of(&self.url).acls());
        let until = Instant::now() + OWNED_AT_MOST;
        let mut told = false;
        loop {
            match self.client.create(&self.below("owner"), &[], &options).await {
                Ok(_) => return Ok(()),
                Err(Error::NodeExists) if Instant::now() < until => {
                    if !std::mem::replace(&mut told, true) {
                        info!(store = %self.url, "another process owns the store: waiting for its session to end");
                    }
                    sleep(RETRY).await;
                }
                Err(Error::NodeExists) => return Err(StoreError::InUse { path: self.url.to_string().into() }),
                Err(error) => return Err(failed(error)),
            }
        }
    }

    async fn read_present(&mut self) -> Result<(), Error> {
        self.present = self.client.list_children(&self.entries()).await?.into_iter().collect();
        self.doubtful = false;
        Ok(())
    }

    async fn read_all(&mut self) -> Result<BTreeMap<String, Bytes>, Error> {
        self.read_present().await?;
        let mut entries = BTreeMap::new();
        for name in &self.present {
            let (data, _) = self.client.get_data(&format!("{}/{name}", self.entries())).await?;
            entries.insert(name.replace(':', "/"), data.into());
        }
        Ok(entries)
    }

    /// One transaction; checks that the store is still ours.
    async fn write(&mut self, changes: &[Change]) -> Result<(), CheckWriteError> {
        if self.doubtful {
            self.read_present().await.map_err(CheckWriteError::from)?;
        }
        let mut present = self.present.clone();
        let options = CreateMode::Persistent.with_acls(Acl::of(&self.url).acls());
        let mut writer = self.client.new_check_writer(&self.below("owner"), None)?;
        for change in changes {
            match change {
                Change::Put(key, value) => {
                    if present.insert(key.replace('/', ":")) {
                        writer.add_create(&self.node(key), value, &options)?;
                    } else {
                        writer.add_set_data(&self.node(key), value, None)?;
                    }
                }
                Change::Remove(key) => {
                    if present.remove(&key.replace('/', ":")) {
                        writer.add_delete(&self.node(key), None)?;
                    }
                }
            }
        }
        self.doubtful = true; // until the answer is there
        writer.commit().await?;
        self.present = present;
        self.doubtful = false;
        Ok(())
    }

    /// Repeats what ZooKeeper could not answer: the changes mean the same a second time.
    async fn write_patiently(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let until = Instant::now() + PATIENCE;
        loop {
            let result = match timeout_at(until, self.write(changes)).await {
                Ok(result) => result,
                Err(_) => return Err(failed(SILENT)),
            };
            match result {
                Ok(()) => return Ok(()),
                Err(CheckWriteError::CheckFailed { source }) if source != Error::ConnectionLoss => {
                    return Err(failed(format!("this process does not own the store any more ({source})")));
                }
                Err(error) => {
                    let error = failed(error);
                    if Instant::now() + RETRY >= until || self.client.state().is_terminated() {
                        return Err(error);
                    }
                    warn!(%error, "a change is tried again");
                    sleep(RETRY).await;
                }
            }
        }
    }
}

impl Store for ZooKeeperStore {
    fn load(&mut self) -> StoreFuture<'_, BTreeMap<String, Bytes>> {
        Box::pin(async { timeout(PATIENCE, self.read_all()).await.map_err(|_| failed(SILENT))?.map_err(failed) })
    }

    fn apply(&mut self, changes: Vec<Change>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            for change in &changes {
                if let Change::Put(key, _) = change {
                    check_key(key)?;
                }
            }
            for part in parts(&changes) {
                self.write_patiently(part).await?;
            }
            Ok(())
        })
    }
}

/// As many at a time as fit into a transaction.
fn parts(changes: &[Change]) -> Vec<&[Change]> {
    let weight = |change: &Change| match change {
        Change::Put(_, value) => value.len() + CHANGE_BYTES,
        Change::Remove(_) => CHANGE_BYTES,
    };
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (at, change) in changes.iter().enumerate() {
        if bytes + weight(change) > MAX_TRANSACTION_BYTES && at > begin {
            parts.push(&changes[begin..at]);
            (begin, bytes) = (at, 0);
        }
        bytes += weight(change);
    }
    if begin < changes.len() {
        parts.push(&changes[begin..]);
    }
    parts
}

impl std::fmt::Debug for ZooKeeperStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZooKeeperStore").field("url", &self.url.to_string()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_stay_below_the_limit() {
        let change = |bytes: usize| Change::Put("k".into(), vec![0; bytes].into());
        let changes = [change(300_000), change(300_000), change(10), change(600_000), change(1)];
        let lengths: Vec<usize> = parts(&changes).iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [1, 2, 1, 1]);
        assert!(parts(&[]).is_empty());
    }
}
