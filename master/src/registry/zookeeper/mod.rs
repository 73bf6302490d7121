//! `--registry=zookeeper`: one small znode for each entity, at `<path>_registry` beside the election (whose detectors expect
//! nothing but candidates below `<path>`). Each write is a `multi` that also checks the leader's own election znode, so that
//! a deposed leader's write has no effect.

#[cfg(test)]
pub(super) mod formats;
mod layout;
mod read;
mod record;
mod torn_down;
mod write;

#[cfg(test)]
mod tests;

use std::{collections::HashSet, time::Instant};

use mezzo_election::{Acl, Leadership, ZkUrl};
use mezzo_master_core::registry::{Recovered, RegistryOp};
use zookeeper_client::{Acls, CheckWriteError, Client, CreateMode, CreateOptions, Error};

use super::{Opened, Registry, RegistryFailure};
use layout::{Kind, Place};
use torn_down::TornDown;

/// The znode at the registry's root says so; a greater number is of a newer master.
const FORMAT: u64 = 1;

/// What a write depends on: the znode that stands for the leadership.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    /// The leader's own election znode, whose data are never changed; `None` when no master may lead anyway.
    pub(super) znode: Option<String>,
    /// The leadership term.
    pub(super) term: u64,
}

/// A registry in ZooKeeper.
pub struct ZooKeeper {
    client: Client,
    /// The path of its root.
    root: String,
    fence: Fence,
    acls: Acls<'static>,
    runtime: tokio::runtime::Handle,
    /// Records that are there.
    present: HashSet<Place>,
    /// Records whose write had an unknown outcome: to be looked at before the next write.
    uncertain: HashSet<Place>,
    torn_down: TornDown,
}

impl std::fmt::Debug for ZooKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZooKeeper")
            .field("root", &self.root)
            .field("records", &self.present.len())
            .finish_non_exhaustive()
    }
}

impl ZooKeeper {
    /// The registry of the masters at `url`, for the one that leads. To be called on a runtime that outlives it.
    ///
    /// # Errors
    /// As [`ZooKeeper::open`].
    pub async fn lead(leadership: &Leadership, url: &ZkUrl) -> Result<Opened, RegistryFailure> {
        let fence = Fence { znode: Some(leadership.znode.clone()), term: leadership.term };
        Self::open(leadership.client.clone(), url.path(), fence, Acl::of(url).acls()).await
    }

    /// Reads the registry beside the election path `path`, or begins a new one. Waits for ZooKeeper; to be called on a
    /// runtime that outlives the registry.
    ///
    /// # Errors
    /// If ZooKeeper does not answer or refuses, the leadership is over, or the registry is of a newer version.
    pub(super) async fn open(
        client: Client,
        path: &str,
        fence: Fence,
        acls: Acls<'static>,
    ) -> Result<Opened, RegistryFailure> {
        let start = Instant::now();
        let term = fence.term;
        let mut registry = Self::new(client, path, fence, acls);
        registry.prepare().await?;
        let found = read::read(&registry.client, &registry.root).await?;
        let damaged = found.damaged;
        let (recovered, torn_down) = found.findings.recovered();
        registry.present = found.present;
        registry.torn_down = TornDown::new(torn_down);
        Ok(Opened { registry: Box::new(registry), recovered, term, took: start.elapsed(), damaged })
    }

    /// The content and the paths of damaged records, for who only reads; `None` if there is no registry.
    ///
    /// # Errors
    /// As [`ZooKeeper::lead`].
    pub(super) async fn look(client: &Client, path: &str) -> Result<Option<(Recovered, Vec<String>)>, RegistryFailure> {
        let root = root_of(path);
        match client.get_data(&root).await {
            Ok((data, _)) => check_format(&root, &data)?,
            Err(Error::NoNode) => return Ok(None),
            Err(error) => return Err(failure(&root, error)),
        }
        let found = read::read(client, &root).await?;
        Ok(Some((found.findings.recovered().0, found.damaged)))
    }

    /// Writes into an empty registry while nobody leads.
    ///
    /// # Errors
    /// As [`ZooKeeper::lead`].
    pub(super) async fn restore(
        client: Client,
        path: &str,
        acls: Acls<'static>,
        batches: &[Vec<RegistryOp>],
    ) -> Result<(), RegistryFailure> {
        let mut registry = Self::new(client, path, Fence { znode: None, term: 0 }, acls);
        registry.prepare().await?;
        registry.write(batches).await
    }

    fn new(client: Client, path: &str, fence: Fence, acls: Acls<'static>) -> Self {
        Self {
            client,
            root: root_of(path),
            fence,
            acls,
            runtime: tokio::runtime::Handle::current(),
            present: HashSet::new(),
            uncertain: HashSet::new(),
            torn_down: TornDown::default(),
        }
    }

    /// Claims the registry for this leader, and makes what is not there yet.
    async fn prepare(&self) -> Result<(), RegistryFailure> {
        let failed = |error| failure(&self.root, error);
        // What the leader before us wrote is what this server shows from here on.
        self.client.sync("/").await.map_err(failed)?;
        let data = match self.client.get_data(&self.root).await {
            Ok((data, _)) => Some(data),
            Err(Error::NoNode) => None,
            Err(error) => return Err(failed(error)),
        };
        if let Some(data) = &data {
            check_format(&self.root, data)?;
        } else if let Some((parent, _)) = self.root.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            self.client.mkdir(parent, &self.persistent()).await.map_err(failed)?;
        }
        let header = serde_json::json!({"format": FORMAT, "term": self.fence.term}).to_string();
        let mut multi = self.multi()?;
        match data {
            Some(_) => multi.add_set_data(&self.root, header.as_bytes(), None).map_err(failed)?,
            None => multi.add_create(&self.root, header.as_bytes(), &self.persistent()).map_err(failed)?,
        }
        for path in self.missing_directories().await? {
            multi.add_create(&path, b"", &self.persistent()).map_err(failed)?;
        }
        multi.commit().await.map_err(|error| check_failure(&self.root, error)).map(|_| ())
    }

    /// Directories and buckets that are not there yet, parents first.
    async fn missing_directories(&self) -> Result<Vec<String>, RegistryFailure> {
        let mut missing = Vec::new();
        for kind in Kind::ALL {
            let directory = format!("{}/{}", self.root, kind.directory());
            let found = match self.client.list_children(&directory).await {
                Ok(children) => children,
                Err(Error::NoNode) => {
                    missing.push(directory.clone());
                    Vec::new()
                }
                Err(error) => return Err(failure(&directory, error)),
            };
            let buckets = kind.parents().into_iter().filter_map(|parent| {
                let (_, bucket) = parent.split_once('/')?;
                (!found.iter().any(|child| child == bucket)).then(|| format!("{}/{parent}", self.root))
            });
            missing.extend(buckets);
        }
        Ok(missing)
    }

    fn persistent(&self) -> CreateOptions<'static> {
        CreateMode::Persistent.with_acls(self.acls)
    }
}

impl Registry for ZooKeeper {
    fn apply(&mut self, batches: &[Vec<RegistryOp>]) -> Result<(), RegistryFailure> {
        let runtime = self.runtime.clone();
        runtime.block_on(self.write(batches))
    }
}

/// The registry of masters that are elected at `path`.
pub(super) fn root_of(path: &str) -> String {
    format!("{}_registry", path.trim_end_matches('/'))
}

fn check_format(root: &str, data: &[u8]) -> Result<(), RegistryFailure> {
    let header: Option<serde_json::Value> = serde_json::from_slice(data).ok();
    match header.as_ref().and_then(|header| header["format"].as_u64()) {
        Some(found) if found > FORMAT => {
            Err(RegistryFailure::NewerZnode { znode: root.to_owned(), detail: format!("format {found}") })
        }
        Some(_) => Ok(()),
        None => Err(RegistryFailure::ForeignZnode { znode: root.to_owned() }),
    }
}

/// What an error on a znode means.
fn failure(znode: &str, error: Error) -> RegistryFailure {
    match error {
        Error::SessionExpired | Error::ClientClosed => RegistryFailure::Fenced,
        Error::NoAuth | Error::AuthFailed | Error::InvalidAcl => RegistryFailure::Denied { znode: znode.to_owned() },
        Error::ConnectionLoss | Error::Timeout | Error::SessionMoved | Error::Throttled | Error::Custom(_) => {
            RegistryFailure::Unknown { detail: error.to_string() }
        }
        error => RegistryFailure::ZooKeeper { znode: znode.to_owned(), detail: error.to_string() },
    }
}

fn check_failure(znode: &str, error: CheckWriteError) -> RegistryFailure {
    match error {
        CheckWriteError::CheckFailed { source: Error::NoNode | Error::BadVersion } => RegistryFailure::Fenced,
        CheckWriteError::RequestFailed { source }
        | CheckWriteError::CheckFailed { source }
        | CheckWriteError::OperationFailed { source, .. } => failure(znode, source),
    }
}
