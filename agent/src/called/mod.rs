//! Containers that calls on the agent itself are for, and no framework: nested ones, sessions in a task, such as stand
//! alone. They lie outside of the core, which has none of their resources and tells nobody of them.
//!
//! [`Calls`] is the handle, an [`actor`] behind it owns what is known, [`store`] keeps it through a restart.

mod actor;
mod path;
mod store;

use std::path::PathBuf;

use mezzo_agent_core::{container::Launch, isolation::Limitation};
use mezzo_api::ids::ContainerId;
use tokio::sync::{mpsc, oneshot};

pub(crate) use actor::{Actor, sandbox_within};
pub(crate) use path::ContainerPath;
pub(crate) use store::Store;

/// What kind of container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Within another one, with a sandbox of its own.
    Nested,
    /// A command run in another one, for as long as somebody listens.
    Session,
    /// It has no parent.
    Standalone,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Session => "session",
            Self::Standalone => "standalone",
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Nested, Self::Session, Self::Standalone].into_iter().find(|kind| kind.name() == name)
    }
}

/// What stays the same of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Its id.
    pub(crate) path: ContainerPath,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its sandbox; a session's would be there.
    pub(crate) sandbox: PathBuf,
    /// Whom it runs as; `None` is the agent's own user.
    pub(crate) user: Option<String>,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Termination {
    /// Raw status of wait(2), if anybody knows it.
    pub(crate) status: Option<i32>,
    /// It took too much.
    pub(crate) limitation: Option<Limitation>,
}

/// How a launch went.
#[derive(Debug)]
pub(crate) enum Launched {
    /// It runs; a session for as long as this is kept.
    New(Option<Owner>),
    /// One of this id is there already.
    Already,
}

/// What is known of a container.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) meta: Meta,
    /// It has ended.
    pub(crate) ended: bool,
}

/// Whom WAIT is for.
#[derive(Debug)]
pub(crate) enum Subject {
    /// One that a call was for.
    Called(ContainerPath),
    /// One of the core's, that runs.
    Own(ContainerId),
}

/// What the actor is asked.
#[derive(Debug)]
pub(crate) enum Request {
    Launch(Box<(Meta, Launch)>, oneshot::Sender<Result<Launched, String>>),
    Wait(Subject, oneshot::Sender<Termination>),
    Find(ContainerPath, oneshot::Sender<Option<Found>>),
    List(oneshot::Sender<Vec<Found>>),
    Destroy(ContainerPath),
    Remove(ContainerPath, oneshot::Sender<Result<Option<Meta>, &'static str>>),
    /// Somebody reads a session's output from now on, or (`false`) does not any more.
    Reader(ContainerPath, bool),
}

/// The way to the actor.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    requests: mpsc::UnboundedSender<Request>,
}

impl Calls {
    /// A way to an actor that does not run yet, and the requests for it.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests }, receiver)
    }

    fn tell(&self, request: Request) {
        let _ = self.requests.send(request);
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Option<T> {
        let (answer, received) = oneshot::channel();
        self.tell(request(answer));
        received.await.ok()
    }

    /// Starts a container; answered when it runs.
    ///
    /// # Errors
    /// Why it does not.
    pub(crate) async fn launch(&self, meta: Meta, launch: Launch) -> Result<Launched, String> {
        let asked = self.ask(|answer| Request::Launch(Box::new((meta, launch)), answer)).await;
        asked.unwrap_or_else(|| Err("The agent is ending".to_owned()))
    }

    /// Waits for the end of a container; `None`: there is none.
    pub(crate) async fn wait(&self, subject: Subject) -> Option<Termination> {
        self.ask(|answer| Request::Wait(subject, answer)).await
    }

    /// What is known of a container.
    pub(crate) async fn find(&self, path: &ContainerPath) -> Option<Found> {
        self.ask(|answer| Request::Find(path.clone(), answer)).await.flatten()
    }

    /// All that run.
    pub(crate) async fn list(&self) -> Vec<Found> {
        self.ask(Request::List).await.unwrap_or_default()
    }

    /// Forgets a container that has ended: what was known of it.
    ///
    /// # Errors
    /// When it runs.
    pub(crate) async fn remove(&self, path: &ContainerPath) -> Result<Option<Meta>, &'static str> {
        self.ask(|answer| Request::Remove(path.clone(), answer)).await.unwrap_or(Ok(None))
    }

    /// A session is read until this is dropped.
    pub(crate) fn read(&self, path: ContainerPath) -> Reader {
        self.tell(Request::Reader(path.clone(), true));
        Reader { calls: self.clone(), path }
    }
}

/// The connection that a session was launched on: with it ends the session.
#[derive(Debug)]
pub(crate) struct Owner {
    requests: mpsc::WeakUnboundedSender<Request>,
    path: ContainerPath,
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(requests) = self.requests.upgrade() {
            let _ = requests.send(Request::Destroy(self.path.clone()));
        }
    }
}

/// A connection that reads a session's output.
#[derive(Debug)]
pub(crate) struct Reader {
    calls: Calls,
    path: ContainerPath,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.calls.tell(Request::Reader(self.path.clone(), false));
    }
}
