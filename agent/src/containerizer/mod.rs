//! Starts, watches and ends containers.
//!
//! [`Containerizer`] is the handle; an [`actor`](actor::Actor) behind it owns all state and never waits for one
//! container: launches are prepared (user looked up, URIs fetched) in tasks of their own, then handed to the
//! [`zygote`], which forks a supervisor for each. Supervisors tell of starts and ends over a socket; their pidfds,
//! watched in one epoll set, tell of the ends that got lost; the records on disk are the truth behind both.

mod actor;
mod calls;
mod edge;
mod keeping;
mod launching;
mod likeness;
mod limits;
mod pod;
mod recovery;
mod shown;
mod slots;
mod user;
mod watch;
mod zygote;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    sync::mpsc::RecvTimeoutError,
    time::Duration,
};

use mezzo_agent_core::{
    container::{ContainerEvent, Launch, Stop},
    isolation::Allotment,
    volumes::VolumeLink,
};
use mezzo_api::ids::ContainerId;
pub use mezzo_executor::frame::Rotation;
use mezzo_executor::record::{Processes, Records, RecordsError};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot};

use self::actor::{Actor, Listeners, Request, Wanted};
use self::shown::Change;
use crate::{fetcher, isolation::Chain};
pub use crate::{images::Images, network::Networks};

/// How long a start waits for an earlier agent's last supervisors to be on record.
const LOCK_PATIENCE: Duration = Duration::from_secs(15);
/// How long a task waits for its volumes to be shown.
const SHOW_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// Where the sockets of containers' inputs and outputs lie, in the runtime directory.
pub(crate) const IO_DIRECTORY: &str = "io";

/// What those who serve calls hear.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Of a container that was called for.
    Called(ContainerId, ContainerEvent),
    /// Another one has ended, with this raw status of wait(2).
    Ended(ContainerId, Option<i32>),
}

/// How containers are run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the records of containers are kept; private to this agent, made if missing. Best on a file system that
    /// does not survive a reboot, as containers do not.
    pub runtime_dir: PathBuf,
    /// The program that is zygote and supervisor, with the arguments that make it so: see [`find_executor`].
    pub executor: Vec<OsString>,
    /// Networks of containers' own; `None`: there are none.
    pub networks: Option<Networks>,
    /// Run tasks as the user that they name (needs root); else as the agent's own.
    pub switch_user: bool,
    /// How URIs are fetched.
    pub fetcher: fetcher::Config,
    /// How the files of a task's output are kept short.
    pub rotation: Option<Rotation>,
    /// How long tasks run on without an agent (`--recovery_timeout`).
    pub recovery_timeout: Duration,
    /// How containers are kept from one another; `None`: in nothing but their process trees.
    pub isolation: Option<Chain>,
    /// What containers are made of; `None`: of the host's files.
    pub images: Option<Images>,
}

/// The command line of `mezzo-executor`: in `launcher_dir`, beside the agent's own executable, or that executable itself
/// when it is the many-in-one `mezzo`.
pub fn find_executor(launcher_dir: Option<&Path>) -> Result<Vec<OsString>, StartError> {
    const NAME: &str = "mezzo-executor";
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.parent().map(Path::to_path_buf);
    let searched: Vec<PathBuf> = launcher_dir.map(Path::to_path_buf).into_iter().chain(beside).collect();
    if let Some(found) = searched.iter().map(|directory| directory.join(NAME)).find(|path| path.is_file()) {
        return Ok(vec![found.into()]);
    }
    if own.file_name().is_some_and(|name| name == "mezzo") {
        return Ok(vec![own.into(), "executor".into()]);
    }
    Err(StartError::NoExecutor { searched })
}

/// Why containers cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no `mezzo-executor`.
    #[error("mezzo-executor is neither in {}: install it there, or name its directory with --launcher_dir",
        searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" nor in "))]
    NoExecutor {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
    },
    /// The runtime directory cannot be made.
    #[error("cannot make the runtime directory '{}': {source}", path.display())]
    RuntimeDir {
        /// As configured.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The records cannot be used.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// Somebody else has them.
    #[error(
        "the container records in '{}' are in use by another agent; give this one a --runtime_dir of its own", path.display()
    )]
    InUse {
        /// The runtime directory.
        path: PathBuf,
    },
    /// The zygote does not start.
    #[error("cannot start '{}': {source}", program.display())]
    Zygote {
        /// What was to be started.
        program: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The handle; when the last one is dropped the zygote ends, and containers go on without the agent.
#[derive(Clone, Debug)]
pub struct Containerizer {
    requests: mpsc::UnboundedSender<Request>,
}

impl Containerizer {
    /// Starts the zygote and the actor (on the current tokio runtime, which needs I/O and time). `events` gets what
    /// becomes of containers, each launch ending in exactly one `Failed` or `Exited`; `calls` what becomes of those that
    /// a call was for, and of the ends of all others.
    ///
    /// Waits for what an earlier agent on the same runtime directory had begun. Call [`Self::recover`] next.
    pub async fn start(
        config: Config,
        events: mpsc::UnboundedSender<(ContainerId, ContainerEvent)>,
        calls: mpsc::UnboundedSender<Told>,
    ) -> Result<Self, StartError> {
        let runtime_dir = config.runtime_dir.clone();
        let made = std::fs::create_dir_all(&runtime_dir).and_then(|()| make_private(&runtime_dir.join(IO_DIRECTORY)));
        made.map_err(|source| StartError::RuntimeDir { path: runtime_dir.clone(), source })?;
        let path = runtime_dir.join("containers");
        let records = Records::open(&path)?;
        lock(&records, &runtime_dir).await?;
        let found = records.recover()?;
        // From now on shared, with the zygote and with supervisors that are not on record yet.
        flock(records.file(), FlockOperation::NonBlockingLockShared)
            .map_err(|_| StartError::InUse { path: runtime_dir })?;
        let (requests, receiver) = mpsc::unbounded_channel();
        let actor = Actor::new(config, path, records, found, Listeners { own: events, calls }, requests.downgrade())?;
        actor.watch_running();
        tokio::spawn(actor.run(receiver));
        Ok(Self { requests })
    }

    /// Takes over what an earlier agent left: for each of `containers` comes `Running` if it still runs, `Exited` if it
    /// ended meanwhile (status `None` when nobody knows it), `Failed` if it could not be started. What runs and is not
    /// named is killed. All events of containers that have ended are sent when this returns.
    /// `called` are those that a call was for.
    pub async fn recover(&self, own: Vec<ContainerId>, called: Vec<ContainerId>) {
        let (done, finished) = oneshot::channel();
        self.tell(Request::Recover(Wanted { own, called }, done));
        let _ = finished.await;
    }

    /// The processes of a container, while it runs.
    pub async fn processes(&self, container: ContainerId) -> Option<Processes> {
        let (answer, processes) = oneshot::channel();
        self.tell(Request::Processes(container, answer));
        processes.await.ok().flatten()
    }

    /// Sends a signal to a container's first process; `false` when there is no such container (any more).
    ///
    /// # Errors
    /// Why the signal cannot be sent.
    pub async fn signal(&self, container: ContainerId, signal: i32) -> Result<bool, String> {
        let (answer, sent) = oneshot::channel();
        self.tell(Request::Signal(container, signal, answer));
        sent.await.unwrap_or(Ok(false))
    }

    /// Starts a container.
    pub fn launch(&self, launch: Launch) {
        self.tell(Request::Launch(Box::new(launch)));
    }

    /// Ends a container, in whatever state it is; one that has ended or is not known is left alone.
    pub fn stop(&self, container: ContainerId, how: Stop) {
        self.tell(Request::Stop(container, how));
    }

    /// A container that runs may use this from now on.
    pub fn allot(&self, container: ContainerId, allotment: Allotment) {
        self.tell(Request::Allot(container, Box::new(allotment)));
    }

    /// Shows persistent volumes in the sandbox of a container that runs, or takes them away. Blocks until that is done, by
    /// other threads than those of the runtime on which this was started.
    ///
    /// # Errors
    /// Which one cannot be shown, and why.
    pub fn show(
        &self,
        container: ContainerId,
        sandbox: PathBuf,
        links: Vec<VolumeLink>,
        present: bool,
    ) -> Result<(), String> {
        let (done, finished) = std::sync::mpsc::sync_channel(1);
        self.tell(Request::Show(Box::new(Change { container, sandbox, links, present }), done));
        match finished.recv_timeout(SHOW_PATIENCE) {
            Ok(shown) => shown,
            Err(RecvTimeoutError::Disconnected) => Ok(()), // the container has ended
            Err(RecvTimeoutError::Timeout) => {
                Err("The disk of a persistent volume does not answer: its task goes on without".into())
            }
        }
    }

    /// The end of this container is known for good: its record goes.
    pub fn forget(&self, container: ContainerId) {
        self.tell(Request::Forget(container));
    }

    fn tell(&self, request: Request) {
        // The actor lives as long as a handle, unless the runtime is being shut down.
        let _ = self.requests.send(request);
    }
}

fn make_private(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

async fn lock(records: &Records, runtime_dir: &Path) -> Result<(), StartError> {
    let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
    while flock(records.file(), FlockOperation::NonBlockingLockExclusive).is_err() {
        if tokio::time::Instant::now() >= deadline {
            return Err(StartError::InUse { path: runtime_dir.to_path_buf() });
        }
        tokio::time::sleep(LOCK_RETRY).await;
    }
    Ok(())
}
