//! End-to-end tests: real binaries, real clients.
//!
//! This library is the harness: [`cluster`] starts and ends the binaries, [`http`] and [`stream`] speak to them with
//! full control over every byte, [`framework`] is a plain v1 framework in either encoding, and [`golden`] compares
//! what they say with what a real Mesos said.

pub mod browser;
pub mod cluster;
pub mod environment;
pub mod framework;
pub mod golden;
pub mod hold;
pub mod hosts;
pub mod http;
pub mod https;
pub mod images;
pub mod leftovers;
pub mod machine;
pub mod masters;
pub mod metadata;
pub mod operator;
pub mod part;
pub mod ports;
pub mod registry;
pub mod stream;
pub mod tasks;
pub mod terminal;
pub mod versions;
pub mod wait;
pub mod web;
pub mod zookeeper;
