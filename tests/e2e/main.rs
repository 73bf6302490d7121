//! End-to-end tests: real binaries, real clients, the answers of a real Mesos.

mod agent;
mod allocator;
mod bad_input;
mod clients;
mod clouds;
mod commands;
mod compatibility;
mod containers;
mod faults;
mod flags;
mod fuzz;
mod golden;
mod gzip;
mod ha;
mod install;
mod lifecycle;
mod local;
mod metrics;
mod operate;
mod operator;
mod page;
mod reads;
mod service;
mod smoke;
mod storage;
mod volumes;
