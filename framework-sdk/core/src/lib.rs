//! The drivers' decisions as pure state machines: no clock, no I/O, no randomness of their own.
//!
//! - [`scheduler`]: finding the master, subscribing and staying subscribed, acknowledging, reconciling.
//! - [`supervisor`]: keeping desired tasks running, as a scheduler on top of that.
//! - [`executor`]: subscribing with the agent, keeping what is not acknowledged, ending in order.
//!
//! A shell (crate `mezzo-sdk`, or a simulator) calls a core with the moment and an input; the core appends effects,
//! which the shell carries out in order.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![warn(clippy::iter_over_hash_type)]

pub mod address;
pub mod answer;
pub mod backoff;
pub mod executor;
pub mod offers;
pub mod scheduler;
pub mod supervisor;
