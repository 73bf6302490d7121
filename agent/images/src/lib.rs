//! Container images without a daemon: pulled from registries or local layouts, checked, unpacked, kept and shared.
//!
//! [`Store`] is the whole of it: [`Store::get`] gives the layers of an image, unpacked, for overlayfs to put above each
//! other, and [`RunConfig`], how the image wants to be run. What is unpacked is named by the hash of its content, so
//! that images share their layers; it stays until [`Store::prune`] or [`Store::trim`] takes it away. [`run`] and
//! [`users`] say what a launch makes of a configuration.
#![forbid(unsafe_code)]

mod auth;
mod digest;
mod local;
mod manifest;
mod name;
mod registry;
pub mod run;
mod source;
mod store;
mod unpack;
pub mod users;

pub use auth::{ConfigError, DockerConfig};
pub use digest::{Digest, DigestError};
pub use local::LocalError;
pub use manifest::{ManifestError, RunConfig};
pub use name::{Endpoint, EndpointError, Name, NameError};
pub use registry::RegistryError;
pub use store::{Config, Figures, Image, Keep, Origin, OriginError, Pruned, Store, StoreError, Wanted};
pub use unpack::UnpackError;

/// Why there is no image for a container.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Its name makes no sense.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It is not on this machine.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Manifest or configuration are of no use.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A layer is of no use.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what its name says.
    #[error("the {what} hashes to {found}, not to {expected}: it was changed, or damaged on its way")]
    Digest {
        /// Which part.
        what: &'static str,
        /// What names it.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Credentials that came with the image.
    #[error("the image's config: {0}")]
    Config(#[from] ConfigError),
    /// Nobody to ask.
    #[error("there is no registry to ask")]
    NoRegistry,
    /// The container is not wanted any more.
    #[error("stopped")]
    Cancelled,
}
