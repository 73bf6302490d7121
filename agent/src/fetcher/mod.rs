//! Fetches the URIs of a launch into its sandbox, with the rights of the task's user.
//!
//! What touches the file system runs on threads that have taken on the user's file-system rights ([`rights`]), so that
//! a URI reads no file that the user could not, and what is written is the user's; and it never leaves the sandbox,
//! whatever names and links an archive holds ([`tree`]).

mod cache;
mod extract;
mod figures;
mod http;
pub(crate) mod rights;
#[cfg(test)]
mod tests;
pub(crate) mod tree;
mod uri;

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mezzo_api::{ids::ContainerId, v1::command_info::Uri};
use mezzo_executor::frame::Credentials;
use rustix::fs::{Mode, OFlags};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use self::figures::FIGURES;
use self::{
    cache::{Cache, Cached},
    extract::{Archive, ExtractError},
    http::{HttpError, HttpFetcher},
    tree::Tree,
    uri::{Source, UriError},
};

/// Containers that fetch at the same time; the others wait for their turn.
const MAX_FETCHING: usize = 32;

const COPY_BYTES: usize = 128 * 1024;

/// How URIs are fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A download that brings nothing for this long has failed (`--fetcher_stall_timeout`).
    pub stall_timeout: Duration,
    /// Where relative paths begin (`--frameworks_home`).
    pub frameworks_home: Option<PathBuf>,
    /// Where what may be cached is kept; emptied at the start (`--fetcher_cache_dir`). None: nothing is.
    pub cache_dir: Option<PathBuf>,
    /// How much of it (`--fetcher_cache_size`), in bytes.
    pub cache_bytes: u64,
}

impl Default for Config {
    /// Mesos' defaults.
    fn default() -> Self {
        Self { stall_timeout: Duration::from_secs(60), frameworks_home: None, cache_dir: None, cache_bytes: 2 << 30 }
    }
}

/// Why a container's URIs could not be fetched.
#[derive(Debug, thiserror::Error)]
#[error("Failed to fetch all URIs for container '{container}': {failure}")]
pub struct FetchError {
    container: ContainerId,
    failure: Failure,
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{uri}: {source}")]
    Uri { uri: String, source: UriFailure },
    #[error("cannot open the sandbox: {0}")]
    Sandbox(std::io::Error),
    #[error("stopped")]
    Cancelled,
}

/// Why one URI could not be fetched.
#[derive(Debug, thiserror::Error)]
enum UriFailure {
    #[error(transparent)]
    Uri(#[from] UriError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
    #[error("cannot read '{}': {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write '{}' in the sandbox: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("cannot take on the user's rights: {0}")]
    Rights(std::io::Error),
    #[error("cannot use the cache: {0}")]
    Cache(std::io::Error),
    #[error("stopped")]
    Cancelled,
}

/// Fetches for all containers.
#[derive(Debug)]
pub struct Fetcher {
    config: Config,
    http: HttpFetcher,
    cache: Option<Cache>,
    turns: Semaphore,
}

impl Fetcher {
    /// A fetcher.
    pub fn new(config: Config) -> Self {
        let http = HttpFetcher::new(config.stall_timeout);
        let cache = config.cache_dir.as_ref().and_then(|directory| {
            let opened = Cache::open(directory, config.cache_bytes);
            let why = |error: &std::io::Error| {
                tracing::warn!(directory = %directory.display(), "downloads will not be cached: {error}");
            };
            opened.inspect_err(why).ok()
        });
        if cache.is_some() {
            FIGURES.cache_bytes.store(config.cache_bytes, std::sync::atomic::Ordering::Relaxed);
        }
        Self { config, http, cache, turns: Semaphore::new(MAX_FETCHING) }
    }

    /// Fetches all `uris` into `sandbox`, which exists and belongs to the user of `credentials` (`None`: the agent's).
    /// Ends soon after `cancel`, with an error.
    pub async fn fetch(
        &self,
        container: &ContainerId,
        uris: &[Uri],
        sandbox: &Path,
        credentials: Option<&Credentials>,
        cancel: &CancellationToken,
    ) -> Result<(), FetchError> {
        let result = self.fetch_all(container, uris, sandbox, credentials, cancel).await;
        if !uris.is_empty() {
            FIGURES.fetched(&result, self.cache.as_ref().map_or(0, Cache::used_bytes));
        }
        result
    }

    async fn fetch_all(
        &self,
        container: &ContainerId,
        uris: &[Uri],
        sandbox: &Path,
        credentials: Option<&Credentials>,
        cancel: &CancellationToken,
    ) -> Result<(), FetchError> {
        let failed = |failure| FetchError { container: container.clone(), failure };
        let turn = cancel.run_until_cancelled(self.turns.acquire()).await;
        let _turn = turn.ok_or(failed(Failure::Cancelled))?;
        let tree = Tree::open(sandbox).map_err(|error| failed(Failure::Sandbox(error)))?;
        let job = Job { fetcher: self, tree: &tree, credentials, cancel };
        crate::failpoint::pass("fetch");
        for uri in uris {
            job.fetch(uri).await.map_err(|source| failed(Failure::Uri { uri: uri.value.clone(), source }))?;
            crate::failpoint::pass("fetched");
        }
        Ok(())
    }
}

/// One container's fetching.
struct Job<'a> {
    fetcher: &'a Fetcher,
    tree: &'a Tree,
    credentials: Option<&'a Credentials>,
    cancel: &'a CancellationToken,
}

impl Job<'_> {
    async fn fetch(&self, uri: &Uri) -> Result<(), UriFailure> {
        let source = uri::source(&uri.value, self.fetcher.config.frameworks_home.as_deref())?;
        let name = PathBuf::from(match &uri.output_file {
            Some(path) => uri::output_file(path)?,
            None => uri::file_name(&uri.value)?,
        });
        let cached = match &self.fetcher.cache {
            Some(cache) if uri.cache.unwrap_or(false) => self.cached(cache, uri, &source).await?,
            _ => None,
        };
        let from_cache = cached.is_some();
        match (cached, source) {
            (Some(cached), _) => self.copy_open(cached, name.clone()).await?,
            (None, Source::Local(path)) => self.copy(path, name.clone()).await?,
            (None, Source::Http(address)) => self.download(address, &name).await?,
        }
        let executable = uri.executable.unwrap_or(false);
        let archive = uri.extract.unwrap_or(true).then(|| Archive::of(&name)).flatten();
        if executable {
            self.with_rights(move |tree, _| make_executable(tree, name)).await
        } else if let Some(archive) = archive {
            self.with_rights(move |tree, cancel| {
                archive.extract(tree, &name, cancel)?;
                // As in Mesos, an archive that comes from the cache is not in the sandbox beside its content.
                let removed = if from_cache { tree.remove(&name) } else { Ok(()) };
                removed.map_err(|source| UriFailure::Write { path: name, source })
            })
            .await
        } else {
            Ok(())
        }
    }

    async fn copy(&self, source: PathBuf, name: PathBuf) -> Result<(), UriFailure> {
        self.with_rights(move |tree, cancel| {
            let from =
                open_regular(&source).map_err(|error| UriFailure::Read { path: source.clone(), source: error })?;
            let to = create(tree, &name)?;
            copy_all(from, &source, to, &name, cancel).map(drop)
        })
        .await
    }

    /// Copies a file of the cache, which the agent itself opened.
    async fn copy_open(&self, cached: Arc<Cached>, name: PathBuf) -> Result<(), UriFailure> {
        self.with_rights(move |tree, cancel| {
            let from = cached.read().map_err(UriFailure::Cache)?;
            let to = create(tree, &name)?;
            copy_all(from, cached.path(), to, &name, cancel).map(drop)
        })
        .await
    }

    /// The file of the cache for this URI, made if it is not there; none if it does not fit or its size is not known.
    async fn cached(&self, cache: &Cache, uri: &Uri, source: &Source) -> Result<Option<Arc<Cached>>, UriFailure> {
        let user = self.credentials.map_or(0, |credentials| credentials.uid);
        let slot = cache.slot(&format!("{user}@{}", uri.value));
        // Whoever comes first fetches, the others wait for it.
        let turn = self.cancel.run_until_cancelled(slot.lock()).await;
        let mut turn = turn.ok_or(UriFailure::Cancelled)?;
        if let Some(cached) = turn.clone() {
            cache.used(&cached);
            return Ok(Some(cached));
        }
        let name = uri::file_name(&uri.value)?;
        let fetched = match source {
            Source::Local(path) => {
                let unreadable = |error| UriFailure::Read { path: path.clone(), source: error };
                let opened = path.clone();
                let from = self.with_rights(move |_, _| Ok(open_regular(&opened))).await?.map_err(unreadable)?;
                let length = from.metadata().map_err(unreadable)?.len();
                let Some(place) = cache.reserve(name, length).map_err(UriFailure::Cache)? else { return Ok(None) };
                let (to, shown, cancel) =
                    (place.write().map_err(UriFailure::Cache)?, path.clone(), self.cancel.clone());
                let copied =
                    tokio::task::spawn_blocking(move || copy_all(from, &shown, to, Path::new("the cache"), &cancel));
                let length = copied.await.map_err(|error| UriFailure::Cache(std::io::Error::other(error)))??;
                place.filled(length)
            }
            Source::Http(address) => {
                let response = self.fetcher.http.get(address.clone());
                let response = self.cancel.run_until_cancelled(response).await.ok_or(UriFailure::Cancelled)??;
                let Some(length) = response.length() else { return Ok(None) };
                let Some(place) = cache.reserve(name, length).map_err(UriFailure::Cache)? else { return Ok(None) };
                let to = place.write().map_err(UriFailure::Cache)?;
                let store = response.store(to, Path::new("the cache"));
                let length = self.cancel.run_until_cancelled(store).await.ok_or(UriFailure::Cancelled)??;
                place.filled(length)
            }
        };
        *turn = Some(fetched.clone());
        Ok(Some(fetched))
    }

    async fn download(&self, address: ::http::Uri, name: &Path) -> Result<(), UriFailure> {
        let response = self.fetcher.http.get(address);
        let response = self.cancel.run_until_cancelled(response).await.ok_or(UriFailure::Cancelled)??;
        let owned = name.to_path_buf();
        let file = self.with_rights(move |tree, _| create(tree, &owned)).await?;
        let store = response.store(file, name);
        self.cancel.run_until_cancelled(store).await.ok_or(UriFailure::Cancelled)??;
        Ok(())
    }

    /// Runs blocking work on a thread that has the user's rights to files.
    async fn with_rights<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree, &CancellationToken) -> Result<T, UriFailure> + Send + 'static,
    ) -> Result<T, UriFailure> {
        let (tree, cancel) = (self.tree.clone(), self.cancel.clone());
        rights::with(self.credentials.cloned(), move || work(&tree, &cancel)).await.map_err(UriFailure::Rights)?
    }
}

fn copy_all(
    mut from: File,
    source: &Path,
    mut to: File,
    name: &Path,
    cancel: &CancellationToken,
) -> Result<u64, UriFailure> {
    let mut buffer = vec![0; COPY_BYTES];
    let mut copied = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(UriFailure::Cancelled);
        }
        let count = from.read(&mut buffer).map_err(|error| UriFailure::Read { path: source.into(), source: error })?;
        if count == 0 {
            return Ok(copied);
        }
        let written = to.write_all(&buffer[..count]);
        written.map_err(|source| UriFailure::Write { path: name.into(), source })?;
        copied += count as u64;
    }
}

fn open_regular(path: &Path) -> std::io::Result<File> {
    // Not to hang on a FIFO.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !kind.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    Ok(file)
}

fn create(tree: &Tree, name: &Path) -> Result<File, UriFailure> {
    let made = match name.parent() {
        Some(parent) => tree.make_directories(parent),
        None => Ok(()),
    };
    made.and_then(|()| tree.create(name)).map_err(|source| UriFailure::Write { path: name.into(), source })
}

fn make_executable(tree: &Tree, name: PathBuf) -> Result<(), UriFailure> {
    tree.set_mode(&name, 0o755).map_err(|source| UriFailure::Write { path: name, source })
}
