//! Keeping desired tasks running: a [`Supervisor`] is a [`Scheduler`](crate::Scheduler) to run on the driver.

use mezzo_api::v1::{
    self,
    framework_info::{Capability, capability::Type},
};
pub use mezzo_sdk_core::supervisor::{
    Change, Config, Constraint, ConstraintError, Field, Group, GroupError, Instance, Lifetime, Order, Outcome, Place,
    Retry, Summary, Supervisor,
};

/// So long the master keeps the tasks of a supervisor that is away.
const FAILOVER_TIMEOUT_SECS: f64 = 7.0 * 24.0 * 3600.0;

/// How a supervisor describes itself to the master: aware of partitions, checkpointing, and kept for a week while it is
/// away. To be refined with a role, a principal, a page of its own.
pub fn framework_info(name: &str) -> v1::FrameworkInfo {
    let capability = |kind: Type| Capability { r#type: Some(kind as i32) };
    v1::FrameworkInfo {
        user: std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
        name: name.to_owned(),
        roles: vec!["*".to_owned()],
        checkpoint: Some(true),
        failover_timeout: Some(FAILOVER_TIMEOUT_SECS),
        capabilities: [Type::MultiRole, Type::PartitionAware, Type::TaskKillingState, Type::ReservationRefinement]
            .map(capability)
            .to_vec(),
        ..Default::default()
    }
}

/// A seed that no other run has.
pub fn seed() -> u64 {
    crate::clock::seed()
}
