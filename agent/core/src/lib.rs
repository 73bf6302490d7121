//! The agent's decisions as a pure state machine: registration, frameworks, executors, tasks, update streams.
//!
//! The shell calls the core with the moment and an input; the core appends [`effect::Effect`]s, which the shell
//! carries out in order. Nothing in here reads a clock, waits, or does I/O.
#![forbid(unsafe_code)]
#![warn(clippy::iter_over_hash_type)]

mod check;
mod checked;
mod checks;
mod command;
pub mod config;
pub mod container;
pub mod core;
pub mod counters;
mod docker;
mod drain;
pub mod effect;
mod entity;
mod environment;
mod executor_api;
mod executors;
mod generated;
pub mod image;
pub mod isolation;
mod launch;
pub mod network;
mod operations;
mod played;
mod pod;
mod record;
mod recover;
mod registration;
mod run;
mod shared;
mod snapshot;
mod status;
mod timers;
mod updates;
pub mod validate;
pub mod view;
pub mod volumes;
mod watched;

pub use crate::{
    core::Core,
    registration::capability_names,
    status::{is_terminal, staging},
};
