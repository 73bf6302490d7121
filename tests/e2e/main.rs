//! End-to-end tests: real binaries, real clients, the answers of a real Mesos.

mod agent;
mod allocator;
mod bad_input;
mod clients;
mod clouds;
mod commands;
mod faults;
mod golden;
mod gzip;
mod ha;
mod lifecycle;
mod local;
mod operator;
mod page;
mod smoke;
