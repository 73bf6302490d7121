//! The resource algebra (src/common/resources.cpp and values.cpp of apache/mesos): amounts to three decimals,
//! ranges, sets; reservations and their refinements; disks, persistent volumes, shared and revocable resources.
//!
//! A [`Resources`] holds valid, non-empty resources only; two that can be added are one.

mod conversion;
mod display;
mod parse;
mod proto;
mod ranges;
mod resource;
#[allow(clippy::module_inception)]
mod resources;
mod scalar;
mod select;
mod summary;
mod validate;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use conversion::{Conversion, ConversionError, conversions};
pub use display::display_proto;
pub use parse::ParseError;
pub use ranges::{Range, Ranges};
pub use resource::{DiskType, Resource, Value};
pub use resources::Resources;
pub use scalar::Scalar;
pub use validate::{InvalidResource, validate};

/// Why something is no resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// One of the resources is not valid.
    #[error("Resource '{resource}' is invalid: {reason}")]
    Invalid {
        /// Which, as text.
        resource: String,
        /// Why.
        reason: InvalidResource,
    },
    /// The text is no list of resources.
    #[error(transparent)]
    Parse(#[from] ParseError),
}
