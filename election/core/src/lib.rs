//! Election and detection as pure state machines: no clock, no I/O, no randomness of their own.
//!
//! Begin with [`Contender`], one master's part in an election; [`Detection`] is what everybody else needs to follow it.
//! [`Effect::Lease`] says how long a leader may act on what it knows. The crate `mezzo-election` runs them on ZooKeeper.
#![forbid(unsafe_code)]

mod candidate;
pub mod challenge;
mod contender;
mod detection;
mod effect;
mod source;
mod url;

pub use candidate::{Candidate, InfoError, address_of, candidates, decode, encode, fixed, listening_at};
pub use contender::{Config, Contender};
pub use detection::{Detection, Next};
pub use effect::{Effect, Effects, Ended, Joined, Reason};
pub use source::{Source, SourceError};
pub use url::{Credentials, ZkUrl, ZkUrlError};
