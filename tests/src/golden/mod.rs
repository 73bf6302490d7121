//! Answers of a real Mesos, and how ours are compared with them.

pub mod deviations;
pub mod diff;
pub mod normalise;
pub mod shape;

use serde_json::Value;

use crate::environment;

/// The golden data `tests/golden/<name>.json`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn load(name: &str) -> Value {
    let path = environment::data("golden").join(format!("{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("no golden data {}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("golden data {} is no JSON: {error}", path.display()))
}
