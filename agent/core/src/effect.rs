//! What the core asks for: the one exhaustive list. The shell carries the effects of a batch out in order.

use std::path::PathBuf;

use mezzo_api::{ids::ContainerId, link, v1};

use crate::{
    container::{Launch, Probe, Stop},
    isolation::Allotment,
    volumes::{VolumeAction, VolumeLink},
};

/// A request of an executor that waits for an [`Answer`]; numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One event stream of an executor; numbered by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// One control stream with a master; numbered by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Append a record to the checkpoint. Effects that come later in the order are carried out only when the record
    /// is written; with `sync`, only when it would survive a power cut. The shell commits a batch at once.
    Record {
        /// An encoded, versioned record of the core's own; given back at recovery, in order.
        record: bytes::Bytes,
        /// Whether a power cut must not lose it.
        sync: bool,
    },
    /// Say this to the master over the current link.
    ToMaster(Box<link::from_agent::Message>),
    /// End the link; the shell dials again.
    CloseLink(LinkId),
    /// Dial a second connection to the master for downloads and attach, with this token.
    OpenBulk(String),
    /// Answer an executor's call. Each is answered exactly once.
    Reply(RequestId, Answer),
    /// Send an event on an executor's stream.
    ToExecutor(StreamId, Box<v1::executor::Event>),
    /// End an executor's stream after what was sent before.
    CloseStream(StreamId),
    /// Start a container.
    Launch(Box<Launch>),
    /// A container that runs may use this from now on.
    Allot(ContainerId, Box<Allotment>),
    /// End a container.
    Stop(ContainerId, Stop),
    /// The end of this container is recorded: the containerizer may forget its exit status.
    Forget(ContainerId),
    /// Look at a task; what is seen goes to [`Core::probed`](crate::Core::probed).
    Probe {
        /// For the answer.
        id: ContainerId,
        /// How.
        probe: Probe,
        /// From within the network of this container; `None`: the task has the host's.
        inside: Option<ContainerId>,
    },
    /// Nobody waits for the answer any more.
    EndProbe(ContainerId),
    /// Make a directory with all below it reachable under a virtual path of `/files`: the sandboxes.
    Attach {
        /// `/frameworks` for `/frameworks/<fid>/executors/<eid>/runs/latest`, and the real directory's own path.
        virtual_path: String,
        /// The real directory.
        path: PathBuf,
    },
    /// Delete this sandbox once it is older than the retention time.
    Collect(PathBuf),
    /// Make or remove the directory of a persistent volume, then append the record `settled` and sync it. If the first
    /// fails, the second is left out: the next start of the agent tries again. Those that come with recovery are
    /// carried out before a snapshot takes the place of the records.
    Volume {
        /// What to do, and where.
        action: VolumeAction,
        /// A record of the core's own, as in [`Effect::Record`].
        settled: bytes::Bytes,
    },
    /// Show volumes in the sandbox of a container that runs, or take what is shown no more away.
    ShowVolumes {
        /// The container.
        container: ContainerId,
        /// The sandbox.
        sandbox: PathBuf,
        /// The volumes.
        links: Vec<VolumeLink>,
        /// They are to be shown.
        present: bool,
    },
    /// End the agent's process: it was told to, and nothing runs any more.
    Exit(String),
}

/// The answer to an executor's call; 200 to SUBSCRIBE comes before the first event on its stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as plain text; empty for 202.
    pub body: String,
}

impl Answer {
    /// 202 with an empty body: the call was taken.
    pub fn accepted() -> Self {
        Self { status: 202, body: String::new() }
    }

    /// Any other answer.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, body: body.into() }
    }
}

/// The effects of a batch, in order.
pub type Effects = Vec<Effect>;
