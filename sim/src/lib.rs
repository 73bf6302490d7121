//! A deterministic simulator of whole clusters.
//!
//! The *real* cores of master, agent, scheduler driver and executor driver run under virtual time over a simulated
//! network, registry, disks and processes. One seed decides everything: the same seed gives the same trace, byte for
//! byte. After each step every invariant of docs/architecture.md is checked; at the end all faults stop, and the
//! cluster must come to rest as the frameworks want it. `docs/simulation.md` is the guide.
#![forbid(unsafe_code)]

pub mod batch;
pub mod cluster;
pub mod coverage;
pub mod election;
pub mod fact;
pub mod fault;
pub mod ids;
pub mod invariants;
pub mod mutants;
pub mod nat;
pub mod network;
pub mod oracle;
pub mod packet;
pub mod plan;
pub mod queue;
pub mod random;
pub mod record;
pub mod run;
pub mod scale;
pub mod scheduler;
pub mod shrink;
pub mod time;
pub mod workload;
pub mod world;
