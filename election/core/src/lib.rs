//! Election and detection as pure state machines: no clock, no I/O, no randomness of their own.
//!
//! Begin with [`Contender`], one master's part in an election; [`Detection`] is what everybody else needs to follow it.
//! [`Lease`] says how long a leader may act on what it knows. The crate `mezzo-election` runs them on ZooKeeper.
#![forbid(unsafe_code)]

mod candidate;
mod detection;
mod source;
mod url;

pub use candidate::{Candidate, InfoError, address_of, candidates, decode, encode, fixed};
pub use detection::{Detection, Next};
pub use source::{Source, SourceError};
pub use url::{Credentials, ZkUrl, ZkUrlError};
