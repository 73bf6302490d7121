//! What a framework author links: a scheduler's and an executor's driver for the Mesos v1 HTTP API. They speak plain
//! Mesos v1, to Mezzo and to Apache Mesos alike.
//!
//! A scheduler is an event loop over [`scheduler::Events`], with a cloneable [`scheduler::Handle`] to make calls:
//!
//! ```no_run
//! use mezzo_sdk::{Event, SchedulerDriver, v1};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let info = v1::FrameworkInfo { user: "nobody".into(), name: "declines".into(), ..Default::default() };
//! let (scheduler, mut events) = SchedulerDriver::builder(info).master("127.0.0.1:5050").build()?;
//! while let Some(event) = events.recv().await {
//!     if let Event::Offers(offers) = event {
//!         scheduler.decline(offers.into_iter().map(|offer| offer.id), None);
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Or it is a [`Scheduler`], which is told events and answers with calls; it can be tried in the test kit, under virtual
//! time. [`supervisor::Supervisor`] is one that keeps desired tasks running:
//!
//! ```no_run
//! use mezzo_sdk::{SchedulerDriver, store::FileStore, supervisor::{self, Group, Supervisor}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let run = SchedulerDriver::builder(supervisor::framework_info("sleepers"))
//!     .master("127.0.0.1:5050")
//!     .scheduler(Supervisor::new(Default::default(), supervisor::seed()), FileStore::open("state")?);
//! let control = run.control();
//! tokio::spawn(async move {
//!     let group = Group::new("sleep", "sleep 60", "cpus:0.1;mem:32")?.count(3);
//!     control.with(|supervisor, context| supervisor.set(context, group)).await??;
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
//! });
//! run.run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The drivers find the leading master, subscribe, notice dead connections, come back with the same id, acknowledge
//! and reconcile; the decisions are those of crate `mezzo-sdk-core`, here is the I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod clock;
pub mod executor;
pub mod scheduler;
pub mod store;
pub mod supervisor;
#[cfg(feature = "tls")]
pub mod tls;
mod wire;

pub use executor::ExecutorDriver;
pub use mezzo_api::{codec::Encoding, resources, v1};
pub use mezzo_sdk_core::offers;
pub use mezzo_sdk_core::{
    address::{Address, AddressError},
    backoff::BackoffPolicy,
};
pub use scheduler::{Context, Event, Scheduler, SchedulerDriver};
