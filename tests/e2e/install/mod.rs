//! Installation for real: packages of what is built here, fresh Debian machines with their own systemd and cloud-init behind
//! NAT, stand-ins for the metadata services of clouds; and what the documents promise.

mod clouds;
mod configuration;
mod documents;
mod machines;
mod packages;
mod readme;
mod three_masters;
mod versions;
