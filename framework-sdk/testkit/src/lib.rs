//! A whole cluster in a test: the real cores of master, agents and drivers under virtual time, in one thread.
//!
//! A [`Cluster`] runs a [`Scheduler`] against them, hours in milliseconds, with faults that the test asks for. The same
//! seed gives the same run. All the while the simulator's invariants are held against the cluster and the framework's
//! doings.
//!
//! ```
//! use std::time::Duration;
//!
//! use mezzo_sdk_core::supervisor::{Config, Group, Supervisor};
//! use mezzo_testkit::{Cluster, framework};
//!
//! // three agents; each run of the program is made by this
//! let mut cluster = Cluster::new(3, framework("web"), |seed| Supervisor::new(Config::default(), seed));
//! cluster.visit(|web, context| {
//!     let group = Group::new("web", "serve", "cpus:1;mem:64").unwrap().count(3);
//!     web.set(context, group).unwrap();
//! });
//! let ready = |web: &Supervisor| web.summary("web").is_some_and(|summary| summary.ready == 3);
//! cluster.run_until(Duration::from_secs(60), ready);
//!
//! cluster.power_cut(0, Duration::from_secs(600)); // an agent's machine is off for ten minutes
//! cluster.run(Duration::from_secs(120));          // 75 s until the master gives it up
//! cluster.run_until(Duration::from_secs(60), ready);
//! assert_eq!(cluster.running().len(), 3);
//! ```
//!
//! Commands run until they are killed, unless they are written with [`task`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod cluster;
pub mod task;

pub use cluster::{Cluster, RunningTask};
pub use mezzo_sdk_core::scheduler::{Context, Scheduler};
pub use mezzo_sim::{fault::Fault, ids::Host};

use mezzo_api::v1::{
    self,
    framework_info::{Capability, capability::Type},
};

/// A framework that is aware of partitions and is kept for a week while it is away.
pub fn framework(name: &str) -> v1::FrameworkInfo {
    let capability = |kind: Type| Capability { r#type: Some(kind as i32) };
    v1::FrameworkInfo {
        user: "test".to_owned(),
        name: name.to_owned(),
        roles: vec!["*".to_owned()],
        checkpoint: Some(true),
        failover_timeout: Some(604_800.0),
        capabilities: [Type::MultiRole, Type::PartitionAware].map(capability).to_vec(),
        ..Default::default()
    }
}

/// The guide and the tutorial, whose snippets are tests.
#[cfg(doctest)]
mod docs {
    #[doc = include_str!("../../../docs/frameworks.md")]
    struct Guide;
    #[doc = include_str!("../../../docs/tutorial.md")]
    struct Tutorial;
}
