//! What is on the disk, and who uses it.
//!
//! `layers/<n>` is the content of a layer, `layers/<n>.json` its name; `images/<hash>.json` an image; `pins/<container>`
//! what a container uses; `staging` what is being made. A thing is there when its JSON is: that comes last, by a rename,
//! and goes first, so that a process that is killed at any step leaves nothing but staging, which the next one empties.

mod disk;
mod prune;
mod pull;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mezzo_web::{Client, Verify};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use prune::{Keep, Pruned};

use crate::{
    ImageError,
    auth::DockerConfig,
    digest::Digest,
    manifest::RunConfig,
    name::{Endpoint, EndpointError, Name},
};

/// Layers that are unpacked at the same time: it takes a core and the disk.
const MAX_UNPACKING: usize = 2;

/// Where images that name no registry come from: `--docker_registry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A registry.
    Registry(Endpoint),
    /// A directory of this machine, with OCI layouts or archives of `docker save`.
    Directory(PathBuf),
}

/// A text that is no [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither a registry nor a directory (file:///images): {0}")]
pub struct OriginError(#[from] EndpointError);

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.strip_prefix("file://").unwrap_or(text);
        if path.starts_with('/') { Ok(Self::Directory(path.into())) } else { Ok(Self::Registry(text.parse()?)) }
    }
}

/// How images are got and kept.
#[derive(Clone, Debug)]
pub struct Config {
    /// Of one agent alone; made if it is not there.
    pub directory: PathBuf,
    /// Where images come from that name no registry.
    pub origin: Origin,
    /// Registries (as images name them; the default one's host too) and who is asked before them, in order.
    pub mirrors: BTreeMap<String, Vec<Endpoint>>,
    /// Who we are to registries.
    pub credentials: DockerConfig,
    /// A transfer that brings nothing for this long has failed.
    pub stall: Duration,
    /// Called by its name at each step of a pull: where a test ends the process.
    pub passed: fn(&str),
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk.
    #[error("cannot {action} '{}': {source}", path.display())]
    Disk {
        /// What was to be done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Two would take each other's layers away.
    #[error("the image store '{}' is in use by another agent; give this one a --docker_store_dir of its own", .0.display())]
    InUse(PathBuf),
    /// Layers have owners and whiteouts, which only root can make.
    #[error("images need root: run the agent as root, or without --image_providers")]
    NotRoot,
    /// A container's id that is no name of a file.
    #[error("'{0}' cannot be the name of a file")]
    Container(String),
}

/// Which image, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As a task names it.
    pub name: String,
    /// Take the one that is there, if there is one, without asking whether the registry has a newer one.
    pub cached: bool,
    /// Who we are for this one image: the text of a Docker configuration.
    pub credentials: Option<String>,
}

/// An image that a container can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Directories for overlayfs, the lowest first; whiteouts are those of overlayfs.
    pub layers: Vec<PathBuf>,
    /// How it wants to be run.
    pub config: Arc<RunConfig>,
}

/// What was done, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Images that were pulled.
    pub pulled: AtomicU64,
    /// Pulls that failed.
    pub failed: AtomicU64,
    /// How long the latest pulls took, the oldest first.
    pulls: Mutex<VecDeque<Duration>>,
    /// Images that were taken from the store.
    pub hits: AtomicU64,
    /// What the layers take on the disk, in bytes.
    pub bytes: AtomicU64,
    /// How many images there are.
    pub images: AtomicU64,
}

impl Figures {
    /// As many of the latest pulls are remembered.
    const PULLS: usize = 1000;

    fn pull_took(&self, took: Duration) {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if pulls.len() >= Self::PULLS {
            pulls.pop_front();
        }
        pulls.push_back(took);
    }

    /// How long the latest pulls took, the oldest first.
    #[must_use]
    pub fn pulls(&self) -> Vec<Duration> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

/// A layer that is there.
#[derive(Debug)]
struct Layer {
    number: u64,
    bytes: u64,
    /// Containers and pulls that need it.
    holds: u32,
}

/// An image that is there.
#[derive(Clone, Debug)]
struct Known {
    layers: Arc<[Digest]>,
    config: Arc<RunConfig>,
    used: SystemTime,
}

/// What a container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pin {
    image: String,
    layers: Arc<[Digest]>,
}

#[derive(Debug, Default)]
struct State {
    images: HashMap<String, Known>,
    layers: HashMap<Digest, Layer>,
    containers: HashMap<String, Pin>,
    /// Never given twice while this process lives.
    next: u64,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    state: Mutex<State>,
    /// Who pulls what: the others wait.
    turns: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    client: Client,
    unpacking: Semaphore,
    figures: Arc<Figures>,
    _lock: std::fs::File,
}

/// The store; clones are one and the same.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

impl Store {
    /// Opens a store, and removes what an earlier process began and did not finish. Blocks.
    ///
    /// # Errors
    /// If it is in use, or cannot be.
    pub fn open(config: Config) -> Result<Self, StoreError> {
        if !rustix::process::geteuid().is_root() {
            return Err(StoreError::NotRoot);
        }
        let lock = disk::prepare(&config.directory)?;
        let state = disk::read(&config.directory)?;
        let store = Self(Arc::new(Inner {
            state: Mutex::new(state),
            turns: Mutex::new(HashMap::new()),
            client: Client::new(Verify::System),
            unpacking: Semaphore::new(MAX_UNPACKING),
            figures: Arc::default(),
            _lock: lock,
            config,
        }));
        let orphans = store.0.orphans(&mut store.0.state());
        store.0.delete_now(orphans);
        Ok(store)
    }

    /// Gets an image for a container, and keeps its layers until [`Self::release`].
    ///
    /// # Errors
    /// When it cannot be got, or `cancel` ends it.
    pub async fn get(&self, wanted: &Wanted, container: &str, cancel: &CancellationToken) -> Result<Image, ImageError> {
        let name: Name = wanted.name.parse()?;
        disk::check_container(container)?;
        let key = name.to_string();
        if wanted.cached
            && let Some(image) = self.0.take(&key, container)?
        {
            return Ok(image);
        }
        let turn = self.0.turn(&format!("image {key}"));
        let _turn = cancel.run_until_cancelled(turn.lock()).await.ok_or(ImageError::Cancelled)?;
        if wanted.cached
            && let Some(image) = self.0.take(&key, container)?
        {
            return Ok(image);
        }
        let begun = std::time::Instant::now();
        let pulled = cancel.run_until_cancelled(self.0.pull(&name, wanted, cancel)).await;
        let figures = &self.0.figures;
        match pulled.unwrap_or(Err(ImageError::Cancelled)) {
            Ok(_held) => {
                let took = begun.elapsed();
                figures.pulled.fetch_add(1, Ordering::Relaxed);
                figures.pull_took(took);
                tracing::info!(image = %key, ?took, "pulled");
                self.0.take(&key, container)?.ok_or(ImageError::NoRegistry)
            }
            Err(error) => {
                figures.failed.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// The container needs its image no more.
    pub fn release(&self, container: &str) {
        self.0.release(container);
    }

    /// Only these containers still need their images: what an earlier process kept for others may go.
    pub fn release_others(&self, containers: &[&str]) {
        let known: Vec<String> = self.0.state().containers.keys().cloned().collect();
        for container in known.iter().filter(|known| !containers.contains(&known.as_str())) {
            self.0.release(container);
        }
    }

    /// What was done.
    pub fn figures(&self) -> Arc<Figures> {
        let state = self.0.state();
        self.0.figures.bytes.store(state.layers.values().map(|layer| layer.bytes).sum(), Ordering::Relaxed);
        self.0.figures.images.store(state.images.len() as u64, Ordering::Relaxed);
        self.0.figures.clone()
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mutex for what is so called, shared by all who ask at the same time.
    fn turn(&self, what: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(what).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        turns.insert(what.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// The image as it is there, pinned for the container; none if it is not there.
    fn take(&self, key: &str, container: &str) -> Result<Option<Image>, StoreError> {
        let now = SystemTime::now();
        let (image, pin, stale) = {
            let mut guard = self.state();
            let state = &mut *guard;
            let Some(known) = state.images.get_mut(key) else { return Ok(None) };
            let stale = now.duration_since(known.used).is_ok_and(|since| since > disk::USED_INTERVAL);
            known.used = now;
            let mut layers = Vec::with_capacity(known.layers.len());
            for digest in known.layers.iter() {
                let Some(layer) = state.layers.get(digest) else { return Ok(None) };
                layers.push(disk::layer(&self.config.directory, layer.number));
            }
            let pin = Pin { image: key.to_owned(), layers: known.layers.clone() };
            let image = Image { layers, config: known.config.clone() };
            state.pin(container, pin.clone());
            (image, pin, stale)
        };
        self.figures.hits.fetch_add(1, Ordering::Relaxed);
        if stale {
            disk::touch(&self.config.directory, key);
        }
        if let Err(error) = disk::write_pin(&self.config.directory, container, &pin) {
            self.release(container);
            return Err(error);
        }
        Ok(Some(image))
    }

    fn release(&self, container: &str) {
        let orphans = {
            let mut state = self.state();
            let Some(pin) = state.containers.remove(container) else { return };
            state.let_go(&pin.layers);
            let same = state.images.get(&pin.image).is_some_and(|known| known.layers == pin.layers);
            if same { Vec::new() } else { self.orphans(&mut state) }
        };
        disk::remove_pin(&self.config.directory, container);
        self.delete(orphans);
    }
}

impl State {
    fn pin(&mut self, container: &str, pin: Pin) {
        self.hold(&pin.layers);
        if let Some(before) = self.containers.insert(container.to_owned(), pin) {
            self.let_go(&before.layers);
        }
    }

    fn hold(&mut self, layers: &[Digest]) {
        for digest in layers {
            if let Some(layer) = self.layers.get_mut(digest) {
                layer.holds += 1;
            }
        }
    }

    fn let_go(&mut self, layers: &[Digest]) {
        for digest in layers {
            if let Some(layer) = self.layers.get_mut(digest) {
                layer.holds = layer.holds.saturating_sub(1);
            }
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |source| StoreError::Disk { action, path: path.to_path_buf(), source }
}
