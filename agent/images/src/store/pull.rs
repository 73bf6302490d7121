//! Getting an image that is not there.

use std::{fs, io::BufReader, path::PathBuf, sync::Arc, time::SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Known, Layer, Origin, Wanted,
    disk::{self, ImageRecord, LayerRecord},
    failed,
};
use crate::{
    ImageError,
    auth::DockerConfig,
    digest::{Digest, Hashing},
    local::Piece,
    manifest::{self, Blob, ManifestError},
    name::{Endpoint, Name},
    registry::Repository,
    source::{self, Resolved, Source},
    unpack::{UnpackError, unpack},
};

const READ_BYTES: usize = 256 * 1024;
/// Layers of one image that are brought at the same time.
const MAX_TRANSFERS: usize = 4;

/// Layers that must stay, as an image that is being made will need them.
pub(super) struct Held {
    store: Arc<Inner>,
    layers: Vec<Digest>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.store.state().let_go(&self.layers);
    }
}

/// A directory of staging; it goes with what is still in it.
struct Staged {
    path: PathBuf,
    number: u64,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Err(error) = disk::remove(&self.path) {
            tracing::warn!(path = %self.path.display(), "cannot remove: {error}");
        }
    }
}

impl Inner {
    /// Brings an image in. Its layers are held by what is returned.
    pub(super) async fn pull(
        self: &Arc<Self>,
        name: &Name,
        wanted: &Wanted,
        cancel: &CancellationToken,
    ) -> Result<Vec<Held>, ImageError> {
        let source = self.source(name, wanted).await?;
        let Resolved { manifest, config, layers } = source.resolve(name).await?;
        (self.config.passed)("image-resolved");
        let (run, diff_ids) = manifest::configuration(&config)?;
        if layers.len() != diff_ids.len() {
            return Err(ManifestError::Count { layers: layers.len(), diff_ids: diff_ids.len() }.into());
        }
        let pieces: Vec<_> = layers.into_iter().zip(diff_ids.iter().copied()).enumerate().collect();
        let held: Vec<Held> = stream::iter(pieces)
            .map(|(number, (blob, diff_id))| self.layer(&source, number, blob, diff_id, cancel))
            .buffered(MAX_TRANSFERS)
            .try_collect()
            .await?;
        (self.config.passed)("image-unpacked");
        let key = name.to_string();
        let record = ImageRecord {
            name: key.clone(),
            manifest: manifest.map(|digest| digest.to_string()),
            layers: diff_ids.iter().map(ToString::to_string).collect(),
            config: String::from_utf8_lossy(&config).into_owned(),
        };
        disk::write_image(&self.config.directory, &record)?;
        (self.config.passed)("image-recorded");
        let orphans = {
            let mut state = self.state();
            let known = Known { layers: diff_ids.into(), config: Arc::new(run), used: SystemTime::now() };
            state.images.insert(key, known);
            self.orphans(&mut state) // of the same name, before
        };
        self.delete(orphans);
        Ok(held)
    }

    async fn source(self: &Arc<Self>, name: &Name, wanted: &Wanted) -> Result<Source, ImageError> {
        let own: Option<DockerConfig> = wanted.credentials.as_deref().map(str::parse).transpose()?;
        let endpoint = match (&name.registry, &self.config.origin) {
            (Some(host), _) => Endpoint::of_host(host),
            (None, Origin::Registry(endpoint)) => endpoint.clone(),
            (None, Origin::Directory(directory)) => {
                let (directory, name) = (directory.clone(), name.clone());
                let found = tokio::task::spawn_blocking(move || source::on_this_machine(&directory, &name)).await;
                return found.unwrap_or(Err(ImageError::Cancelled));
            }
        };
        let mirrors = self.config.mirrors.iter();
        let of_this = mirrors.filter(|(host, _)| Endpoint::of_host(host).authority == endpoint.authority);
        let all = of_this.flat_map(|(_, mirrors)| mirrors).chain([&endpoint]);
        Ok(Source::Registries(
            all.map(|place| {
                let credentials = own.as_ref().and_then(|own| own.of(place));
                let credentials = credentials.or_else(|| self.config.credentials.of(place)).cloned();
                // A mirror has the image under the name that it has at the registry.
                let repository = endpoint.repository(&name.repository);
                let mirror = *place != endpoint;
                Repository::new(self.client.clone(), place.clone(), &repository, credentials, self.config.stall, mirror)
            })
            .collect(),
        ))
    }

    /// A layer, brought and unpacked if it is not there.
    async fn layer(
        self: &Arc<Self>,
        source: &Source,
        number: usize,
        blob: Option<Blob>,
        diff_id: Digest,
        cancel: &CancellationToken,
    ) -> Result<Held, ImageError> {
        let turn = self.turn(&format!("layer {diff_id}"));
        let _turn = turn.lock().await;
        if let Some(held) = self.held(diff_id) {
            return Ok(held);
        }
        let staged = self.stage()?;
        if let Some(blob) = blob {
            disk::check_room(&staged.path, blob.bytes)?;
        }
        (self.config.passed)("layer-staged");
        let piece = source.layer(number, blob, &staged.path.join("blob")).await?;
        (self.config.passed)("layer-fetched");
        // Only what is here waits for its turn: who brings nothing, slowly, keeps nobody else from unpacking.
        let _turn_to_unpack = self.unpacking.acquire().await;
        let (store, cancel) = (self.clone(), cancel.clone());
        let installed = tokio::task::spawn_blocking(move || store.install(staged, &piece, blob, diff_id, &cancel));
        installed.await.unwrap_or(Err(ImageError::Cancelled))
    }

    fn held(self: &Arc<Self>, digest: Digest) -> Option<Held> {
        let mut state = self.state();
        state.layers.get_mut(&digest)?.holds += 1;
        Some(Held { store: self.clone(), layers: vec![digest] })
    }

    fn stage(&self) -> Result<Staged, ImageError> {
        let number = {
            let mut state = self.state();
            state.next += 1;
            state.next - 1
        };
        let path = disk::staging(&self.config.directory, number);
        fs::create_dir(&path).map_err(failed("make", &path))?;
        Ok(Staged { path, number })
    }

    /// Checks and unpacks. Blocks.
    fn install(
        self: &Arc<Self>,
        staged: Staged,
        piece: &Piece,
        blob: Option<Blob>,
        diff_id: Digest,
        cancel: &CancellationToken,
    ) -> Result<Held, ImageError> {
        let read = |error| ImageError::Unpack(UnpackError::Read(error));
        if let Some(blob) = blob {
            let found = piece.read().and_then(|all| Hashing::new(BufReader::new(all)).finish()).map_err(read)?;
            if found != blob.digest {
                return Err(ImageError::Digest { what: "layer", expected: blob.digest, found });
            }
        }
        (self.config.passed)("layer-checked");
        let tree = staged.path.join("tree");
        let made = fs::create_dir(&tree)
            .and_then(|()| fs::set_permissions(&tree, std::os::unix::fs::PermissionsExt::from_mode(0o755)));
        made.map_err(failed("make", &tree))?;
        let layer = BufReader::with_capacity(READ_BYTES, piece.read().map_err(read)?);
        let unpacked = unpack(layer, &tree, cancel)?;
        if unpacked.diff_id != diff_id {
            return Err(ImageError::Digest { what: "unpacked layer", expected: diff_id, found: unpacked.diff_id });
        }
        (self.config.passed)("layer-unpacked");
        if let Some(held) = self.held(diff_id) {
            return Ok(held); // by one who had been stopped, and yet came to its end
        }
        let record = LayerRecord { digest: diff_id.to_string(), bytes: unpacked.bytes };
        disk::install(&self.config.directory, &tree, staged.number, &record)?;
        (self.config.passed)("layer-installed");
        let layer = Layer { number: staged.number, bytes: unpacked.bytes, holds: 1 };
        self.state().layers.insert(diff_id, layer);
        Ok(Held { store: self.clone(), layers: vec![diff_id] })
    }
}
