//! What the core and the containerizer say to each other.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use mezzo_api::{ids::ContainerId, v1};

use crate::{
    image::{Image, Images, Rule},
    isolation::{Isolation, Limitation},
    network::Network,
    volumes::VolumeLink,
};

/// A process tree to start in a sandbox: a command task, or an executor.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The run's id.
    pub container_id: ContainerId,
    /// The run's sandbox on the host; made by the containerizer (mode 0750, owned by `user`).
    pub sandbox: PathBuf,
    /// Run as this user; `None` is the agent's own.
    pub user: Option<String>,
    /// What to run.
    pub command: Command,
    /// The whole environment, in order; nothing of the agent's own is added.
    pub environment: Vec<(String, String)>,
    /// To be fetched into the sandbox before the start.
    pub uris: Vec<v1::command_info::Uri>,
    /// Persistent volumes to be shown in the sandbox.
    pub volumes: Vec<VolumeLink>,
    /// It is a task of a pod, within the sandbox of its executor.
    pub nested: Option<Box<Nested>>,
    /// How it is to be kept; `None`: in nothing.
    pub isolation: Option<Box<Isolation>>,
    /// What its file system is made of; `None`: the host's.
    pub image: Option<Box<Image>>,
    /// A network of its own; `None`: the host's.
    pub network: Option<Network>,
    /// Its input and output are held for those who attach; `None`: it has no input, and writes to its files.
    pub io: Option<Io>,
    /// Another container, into whose surroundings it is put.
    pub enter: Option<Box<Enter>>,
    /// A call on the agent itself asked for it, and no framework.
    pub called: Option<Box<Called>>,
}

/// How a container's input and output are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// In a terminal of these rows and columns (0: not known), and not in pipes.
    pub terminal: Option<(u16, u16)>,
    /// It is a session: without files and a sandbox of its own, output waits for its reader.
    pub session: bool,
}

/// What a container has of those around it that a call was for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// The sandbox in which its own lies; `None`: it stands alone, or has none.
    pub root: Option<PathBuf>,
}

/// A container whose surroundings are entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enter {
    /// It runs.
    pub container: ContainerId,
    /// How far.
    pub scope: Scope,
}

/// How far another container is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// As its neighbour: network, host name, IPC and cgroups.
    Beside,
    /// Wholly, with this working directory as seen inside.
    Inside(PathBuf),
    /// Wholly, as what runs there: with its directory, its environment and these variables on top, and, if the launch
    /// names no user, as its user.
    AsItself(Vec<(String, String)>),
}

impl Io {
    /// What a task's `ContainerInfo` asks for: a terminal, or nothing (src/slave/containerizer/mesos/io/switchboard.cpp,
    /// requiresServer).
    pub fn of_task(info: Option<&v1::ContainerInfo>) -> Option<Self> {
        let terminal = Self::terminal(info?.tty_info.as_ref()?);
        Some(Self { terminal: Some(terminal), session: false })
    }

    /// Rows and columns; 0 by 0 if nothing is said.
    pub fn terminal(info: &v1::TtyInfo) -> (u16, u16) {
        let bounded = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        info.window_size.as_ref().map_or((0, 0), |size| (bounded(size.rows), bounded(size.columns)))
    }
}

/// What the container of a task of a pod has of the executor's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nested {
    /// The executor's sandbox; made with the first task.
    pub parent: PathBuf,
    /// Its owner; `None` is the agent's own user.
    pub parent_user: Option<String>,
    /// The task's id: the name of the link `tasks/<id>` to its sandbox.
    pub task: String,
    /// What it shares with the executor's sandbox.
    pub volumes: Vec<SandboxVolume>,
}

/// A directory of the executor's sandbox that is reached from a task's (src/slave/containerizer/mesos/isolators/volume/sandbox_path.cpp).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxVolume {
    /// Relative to the executor's sandbox; made if it is not there.
    pub source: PathBuf,
    /// Relative to the task's: a link to the source.
    pub target: PathBuf,
}

/// A look at a task over the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// GET, redirects followed, certificates not looked at.
    Http {
        /// E.g. `http://127.0.0.1:8080/health`.
        url: String,
    },
    /// Connect.
    Tcp {
        /// Where to.
        address: SocketAddr,
    },
}

/// What was seen of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A command ended by itself, with this code.
    Exited(i32),
    /// HTTP answered with this status.
    Http(u16),
    /// Whether a connection came about.
    Tcp(bool),
    /// Nothing could be learnt, and why.
    Error(String),
}

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `sh -c <text>`, argv exactly that.
    Shell(String),
    /// execvp of `file` with argv exactly `arguments` (the first is argv[0]).
    Exec {
        /// Looked up in PATH of the container's environment when it has no slash.
        file: String,
        /// argv, whole.
        arguments: Vec<String>,
    },
    /// The image's own program, with these arguments in the place of the image's.
    Image(Vec<String>),
}

impl Command {
    /// What a `CommandInfo` runs in a container of this image; `None` if it names nothing to run.
    pub fn of(command: &v1::CommandInfo, image: Option<&Image>) -> Option<Self> {
        let value = command.value.clone();
        if command.shell.unwrap_or(true) {
            return value.map(Self::Shell);
        }
        match (value, image.map(|image| image.rule)) {
            (value, Some(Rule::Docker)) => {
                Some(Self::Image(value.into_iter().chain(command.arguments.iter().cloned()).collect()))
            }
            (None, Some(Rule::Mesos)) => Some(Self::Image(command.arguments.clone())),
            (value, _) => Some(Self::Exec { file: value?, arguments: command.arguments.clone() }),
        }
    }
}

/// The variables of `all` with those of `more` on top, by name.
///
/// # Errors
/// A variable whose value the agent cannot know.
pub fn environment(
    all: Vec<(String, String)>,
    more: Option<&v1::Environment>,
) -> Result<Vec<(String, String)>, String> {
    crate::environment::with(all, more).map_err(|error| error.to_string())
}

/// What the `ContainerInfo` and the command of a call ask for: how it is to be kept, its image, what it runs.
///
/// # Errors
/// What the agent has not, as the launch is answered.
pub fn called(
    images: Images,
    info: Option<&v1::ContainerInfo>,
    command: &v1::CommandInfo,
) -> Result<(Option<v1::ContainerInfo>, Option<Image>, Command), String> {
    let text = crate::launch::Unlaunchable::text;
    let described = crate::image::describe(images, info, Some(command)).map_err(text)?;
    if described.network.is_some() {
        return Err("Container networks are not supported for containers that a call asks for: launch a task".into());
    }
    let program = Command::of(command, described.image.as_ref()).ok_or("Container has no command to run")?;
    Ok((described.info, described.image, program))
}

/// What becomes of a container. Each launch ends in exactly one `Failed`, `Exited` or `Limited`.
#[derive(Clone, Debug, PartialEq)]
pub enum ContainerEvent {
    /// All was fetched and the process forked.
    Running {
        /// Of the container's first process.
        pid: i32,
        /// On the agent's bridge, if it has a network of its own.
        address: Option<Ipv4Addr>,
    },
    /// It never ran: the fetcher, the sandbox or the fork failed. The text names what and why.
    Failed {
        /// E.g. `Failed to fetch all URIs for container '…': …`.
        message: String,
    },
    /// The first process ended and the rest of its process tree was killed.
    Exited {
        /// Raw status of wait(2); `None` when nobody could learn it.
        status: Option<i32>,
    },
    /// It took more than it may, and was ended for it.
    Limited {
        /// Raw status of wait(2); `None` when nobody could learn it.
        status: Option<i32>,
        /// What it took too much of.
        limitation: Limitation,
    },
}

/// How to end a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM to the whole process tree (process groups and sessions), SIGKILL to it after the grace. Repeated with
    /// a shorter grace it shortens what is left; never lengthens it. Kept by the supervisor, so that it happens even
    /// when the agent is away.
    Graceful(Duration),
    /// SIGKILL to the whole process tree.
    Kill,
}
