//! The parts of a cluster that are not cores: where they write, and what runs on a machine.

pub mod containers;
pub mod disk;
pub mod registry;
