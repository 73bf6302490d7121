//! Where an image comes from: a registry and its mirrors, or this machine.

use std::{fs::File, path::Path};

use crate::{
    ImageError,
    digest::Digest,
    local::{self, Archive, Layout, Piece},
    manifest::{self, Blob, Document, Manifest, ManifestError},
    name::Name,
    registry::{RegistryError, Repository},
};

/// What is asked for the pieces of one image.
pub(crate) enum Source {
    /// The mirrors first, the registry itself last.
    Registries(Vec<Repository>),
    Layout(Layout),
    Archive(Box<Archive>),
}

/// What an image consists of.
pub(crate) struct Resolved {
    /// What names the image for good, where there is such a thing.
    pub(crate) manifest: Option<Digest>,
    pub(crate) config: Vec<u8>,
    /// Lowest first; what each hashes to as it comes, if that is known.
    pub(crate) layers: Vec<Option<Blob>>,
}

impl Source {
    /// Reads manifest and configuration, checked against their digests.
    pub(crate) async fn resolve(&self, name: &Name) -> Result<Resolved, ImageError> {
        let (manifest, digest) = match self {
            Self::Archive(archive) => {
                let layers = vec![None; archive.layers()];
                return Ok(Resolved { manifest: None, config: archive.config.clone(), layers });
            }
            Self::Layout(layout) => (layout.document(layout.root)?, Some(layout.root.digest)),
            Self::Registries(all) => (manifest_of(all, &name.version()).await?, name.digest),
        };
        check(&manifest, digest, "manifest")?;
        let (manifest, digest) = match manifest::read(&manifest)? {
            Document::Manifest(read) => (read, Digest::of(&manifest)),
            Document::Index(blob) => (self.nested(blob).await?, blob.digest),
        };
        let config = self.document(manifest.config).await?;
        check(&config, Some(manifest.config.digest), "configuration")?;
        let layers = manifest.layers.into_iter().map(Some).collect();
        Ok(Resolved { manifest: Some(digest), config, layers })
    }

    /// The manifest that an index names.
    async fn nested(&self, blob: Blob) -> Result<Manifest, ImageError> {
        let bytes = match self {
            Self::Registries(all) => manifest_of(all, &blob.digest.to_string()).await?,
            Self::Layout(layout) => layout.document(blob)?,
            Self::Archive(_) => return Err(ManifestError::Nested.into()),
        };
        check(&bytes, Some(blob.digest), "manifest")?;
        match manifest::read(&bytes)? {
            Document::Manifest(manifest) => Ok(manifest),
            Document::Index(_) => Err(ManifestError::Nested.into()),
        }
    }

    async fn document(&self, blob: Blob) -> Result<Vec<u8>, ImageError> {
        match self {
            Self::Registries(all) => {
                let mut failed = None;
                for repository in all.iter().filter(|repository| repository.is_here()) {
                    match repository.document(blob).await {
                        Ok(bytes) => return Ok(bytes),
                        Err(error) => failed = Some(next(error)),
                    }
                }
                Err(failed.unwrap_or(ImageError::NoRegistry))
            }
            Self::Layout(layout) => Ok(layout.document(blob)?),
            Self::Archive(_) => Err(ManifestError::Nested.into()),
        }
    }

    /// A layer as it comes, at `path` if it has to be brought.
    pub(crate) async fn layer(&self, number: usize, blob: Option<Blob>, path: &Path) -> Result<Piece, ImageError> {
        match (self, blob) {
            (Self::Registries(all), Some(blob)) => {
                let mut failed = None;
                for repository in all.iter().filter(|repository| repository.is_here()) {
                    let file = match repository.blob(blob, path).await {
                        Ok(_) => File::open(path),
                        Err(error) => {
                            failed = Some(next(error));
                            let _ = std::fs::remove_file(path);
                            continue;
                        }
                    };
                    let piece = file.and_then(Piece::whole).map_err(RegistryError::Write);
                    return piece.map_err(ImageError::Registry);
                }
                Err(failed.unwrap_or(ImageError::NoRegistry))
            }
            (Self::Layout(layout), Some(blob)) => Ok(layout.layer(blob)?),
            (Self::Archive(archive), _) => Ok(archive.layer(number)?),
            (Self::Registries(_) | Self::Layout(_), None) => Err(ImageError::NoRegistry),
        }
    }
}

/// Of the first that has it.
async fn manifest_of(all: &[Repository], version: &str) -> Result<Vec<u8>, ImageError> {
    let mut failed = None;
    for repository in all.iter().filter(|repository| repository.is_here()) {
        match repository.manifest(version).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => failed = Some(next(error)),
        }
    }
    Err(failed.unwrap_or(ImageError::NoRegistry))
}

/// What the last one says is told; the others' words are in the log.
fn next(error: RegistryError) -> ImageError {
    tracing::debug!("{error}");
    ImageError::Registry(error)
}

fn check(bytes: &[u8], digest: Option<Digest>, what: &'static str) -> Result<(), ImageError> {
    match digest {
        Some(expected) if Digest::of(bytes) != expected => {
            Err(ImageError::Digest { what, expected, found: Digest::of(bytes) })
        }
        _ => Ok(()),
    }
}

/// Looks on this machine. Blocks.
pub(crate) fn on_this_machine(directory: &Path, name: &Name) -> Result<Source, ImageError> {
    Ok(match local::find(directory, name)? {
        local::Found::Layout(layout) => Source::Layout(layout),
        local::Found::Archive(archive) => Source::Archive(Box::new(archive)),
    })
}
