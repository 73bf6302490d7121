//! The master's decisions as a pure state machine.
//!
//! A door or the shell calls [`Core`] with the moment and an input; the core appends [`Effect`](effect::Effect)s,
//! which the shell carries out in order. Nothing in here reads a clock, waits, or does I/O.
#![forbid(unsafe_code)]
#![warn(clippy::iter_over_hash_type)]

mod accept;
mod agents;
mod allocator;
mod calls;
mod check;
mod checked;
mod core;
pub mod counters;
pub mod description;
pub mod effect;
mod events;
mod executors;
mod explain;
mod frameworks;
pub mod input;
mod inverse_offers;
mod keys;
mod maintenance;
mod maps;
pub mod model;
mod offers;
mod operations;
mod quota;
mod reconcile;
pub mod registry;
mod slots;
mod statuses;
mod tasks;
mod timers;
pub mod validate;
mod weights;
mod writes;

#[cfg(test)]
mod tests;

#[cfg(feature = "harness")]
pub use crate::allocator::harness;
pub use crate::{core::Core, explain::Explain, validate::constraints::ConstraintFilter};
