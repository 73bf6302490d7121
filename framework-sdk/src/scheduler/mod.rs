//! A scheduler's driver: [`SchedulerDriver::builder`] gives a [`Scheduler`] to make calls with and [`Events`] to
//! follow.

mod builder;
mod events;
mod handle;
mod run;

pub use builder::{BuildError, Builder, SchedulerDriver};
pub use events::Events;
pub use handle::Scheduler;
pub use mezzo_sdk_core::scheduler::{
    CallError, EndReason, Event, ReconcilePolicy, Subscribed, WhenRemoved,
    calls::{self, launch},
};

use mezzo_api::v1::scheduler::Call;
use tokio::sync::oneshot;

/// What the handle and the event queue ask of the driver.
#[derive(Debug)]
enum Command {
    Call(Box<Call>, Option<oneshot::Sender<Result<(), CallError>>>),
    Handled(Vec<Call>),
}
