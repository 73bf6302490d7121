//! The drivers against a small HTTP server in the same process that does what masters and agents do, at their worst:
//! streams cut anywhere, redirects, refusals, connections that break.

mod author;
mod calls;
mod executor;
mod scheduler;
mod server;
#[cfg(feature = "tls")]
mod tls;
