//! A scheduler's driver, in two manners: [`Builder::build`] gives a [`Handle`] to make calls with and [`Events`] to
//! follow; [`Builder::scheduler`] runs a [`Scheduler`], which is told events, and stores what must outlive the process.

mod author;
mod builder;
mod events;
mod handle;
mod run;

pub use author::{Control, Ended, FRAMEWORK_ID, Gone, Run, RunError};
pub use builder::{BuildError, Builder, SchedulerDriver};
pub use events::Events;
pub use handle::Handle;
pub use mezzo_sdk_core::scheduler::{
    Act, CallError, Context, EndReason, Event, ReconcilePolicy, Scheduler, Subscribed, WhenRemoved,
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
