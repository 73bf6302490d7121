//! The master: doors, links, registry and the published view around the core.
//!
//! Begin with `server.rs`, the shell that drives the core on a thread of its own; `http/` and `link/` are the doors, `view/` is
//! what readers are served from, `registry/` what must not be forgotten.
#![forbid(unsafe_code)]

mod activity;
pub mod check;
pub mod flags;
mod http;
mod identity;
mod life;
mod link;
mod outbox;
mod prober;
pub mod registry;
mod run;
mod server;
#[doc(hidden)]
pub mod stand_in;
mod view;
mod whitelist;

pub use run::{Master, StartError, main, run};
