//! An executor's driver: [`ExecutorDriver::from_environment`] gives an [`Executor`] to report with and [`Events`] to
//! follow.
//!
//! ```no_run
//! use mezzo_sdk::{ExecutorDriver, executor::Event, v1::{TaskState, TaskStatus}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (executor, mut events) = ExecutorDriver::from_environment()?.start();
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Launch(task) => {
//!             let state = TaskState::TaskFinished as i32;
//!             executor.update(TaskStatus { task_id: task.task_id, state, ..Default::default() });
//!         }
//!         Event::Shutdown(_) => break,
//!         _ => {}
//!     }
//! }
//! executor.drained().await;
//! # Ok(())
//! # }
//! ```

mod environment;
mod run;

use bytes::Bytes;
use environment::Environment;
pub use environment::EnvironmentError;
use mezzo_api::{codec::Encoding, v1};
pub use mezzo_sdk_core::executor::{EndReason, Event};
use tokio::sync::{mpsc, oneshot, watch};

/// An executor's driver to be.
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `start`"]
pub struct ExecutorDriver {
    environment: Environment,
    encoding: Encoding,
    kill_after_grace: bool,
}

impl ExecutorDriver {
    /// Reads the environment that the agent gave (`MESOS_AGENT_ENDPOINT`, `MESOS_FRAMEWORK_ID`, …).
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_environment() -> Result<Self, EnvironmentError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// As [`from_environment`](Self::from_environment), from other variables.
    ///
    /// # Errors
    /// Names the variable that is missing or wrong.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let environment = Environment::read(variable)?;
        Ok(Self { environment, encoding: Encoding::Protobuf, kill_after_grace: true })
    }

    /// Protobuf unless said otherwise.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Do not kill the executor's own process group (SIGKILL) when the shutdown's grace period is over, as Mesos'
    /// library does and the agent will.
    pub fn without_watchdog(mut self) -> Self {
        self.kill_after_grace = false;
        self
    }

    /// Starts the driver; it dials the agent at once.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> (Executor, Events) {
        let (commands, from_executor) = mpsc::unbounded_channel();
        let (to_executor, events) = mpsc::unbounded_channel();
        let (unacknowledged, watched) = watch::channel(0);
        tokio::spawn(run::Driver::new(self, from_executor, to_executor, unacknowledged).run());
        (Executor { commands, unacknowledged: watched }, Events { incoming: events })
    }
}

/// What the handle asks of the driver.
#[derive(Debug)]
enum Command {
    Update(Box<v1::TaskStatus>),
    Message(Bytes),
    /// Answered when all before it is handled.
    Barrier(oneshot::Sender<()>),
}

/// Reports to the agent; cheap to clone.
#[derive(Clone, Debug)]
pub struct Executor {
    commands: mpsc::UnboundedSender<Command>,
    unacknowledged: watch::Receiver<usize>,
}

impl Executor {
    /// Reports a task's state. uuid, source, executor id and time are filled in; it is sent until it is acknowledged.
    pub fn update(&self, status: v1::TaskStatus) {
        let _ = self.commands.send(Command::Update(Box::new(status))); // after the driver's end nobody listens
    }

    /// Sends data to the framework; best effort.
    pub fn message(&self, data: impl Into<Bytes>) {
        let _ = self.commands.send(Command::Message(data.into()));
    }

    /// Waits until the agent has acknowledged every update that was reported before, or the driver has ended.
    pub async fn drained(&self) {
        let (reported, seen) = oneshot::channel();
        let _ = self.commands.send(Command::Barrier(reported));
        let _ = seen.await; // all that was reported before is counted; or the driver has ended
        let mut unacknowledged = self.unacknowledged.clone();
        let _ = unacknowledged.wait_for(|count| *count == 0).await;
    }
}

/// What the executor is told, in order.
#[derive(Debug)]
pub struct Events {
    incoming: mpsc::UnboundedReceiver<Event>,
}

impl Events {
    /// The next event; `None` when the driver has ended. May be dropped and called again at any time.
    pub async fn recv(&mut self) -> Option<Event> {
        self.incoming.recv().await
    }
}
