//! What every part of Mezzo speaks: the wire types, their two encodings (protobuf and Mesos' JSON), RecordIO,
//! ids, the resource algebra, and the time that cores are given.
#![forbid(unsafe_code)]

pub mod codec;
pub mod frame;
pub mod ids;
pub mod mutants;
pub mod recordio;
pub mod resources;
pub mod roles;
pub mod signals;
pub mod time;

pub use mezzo_types::{link, registry, v1};

/// The version of Apache Mesos whose protocol is spoken.
pub const MESOS_VERSION: &str = "1.11.0";

/// Mezzo's own version.
pub const MEZZO_VERSION: &str = env!("CARGO_PKG_VERSION");
