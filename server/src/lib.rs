//! What both servers share: flags as Mesos spells them, Mesos' HTTP manners, log lines that make nobody wait.
//!
//! Nothing here knows whether it serves a master or an agent: what differs between them is a parameter.
#![deny(unsafe_code)]

pub mod build;
pub mod files;
pub mod flags;
pub mod hostname;
pub mod http;
pub mod level;
pub mod logs;
pub mod notify;
pub mod operator;
pub mod prometheus;
pub mod threads;
pub mod timer;
