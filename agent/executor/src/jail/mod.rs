//! What a container is kept in: namespaces, a root and mounts of its own, cgroups, limits of its processes.
//!
//! ```text
//! supervisor ── clone3 (namespaces, cgroup) ──▶ init ── mounts, pivot_root, then clone + exec ──▶ the task
//! ```
//!
//! The agent says what is to be; nothing of it is decided here. The **supervisor** makes the cgroups ([`cgroup`]) and
//! removes them. The **init** ([`init`]) is the first process of the container's PID namespace: it joins the cgroups,
//! mounts ([`mounts`]), starts the task, reaps what becomes an orphan, and ends with the task, by which the kernel ends
//! whatever is left in the namespace. All mounts are made in the container's own mount namespace, so that none can be left
//! on the host, whoever dies when.

pub mod cgroup;
mod edge;
pub mod init;
pub mod late;
mod mounts;
mod network;
mod wire;

use std::{net::Ipv4Addr, path::PathBuf};

pub(crate) use edge::{Confined, Moment};

/// All of it; the empty one keeps a container in nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Jail {
    /// Namespaces of its own.
    pub namespaces: Vec<Namespace>,
    /// The root of its file system, if it is not the host's. Needs [`Namespace::Mount`].
    pub root: Option<Root>,
    /// The name of its host. Needs [`Namespace::Uts`].
    pub hostname: Option<String>,
    /// How it is plugged into the host's network. Needs [`Namespace::Net`], without which it has the host's; with that
    /// alone it is for itself.
    pub network: Option<Plug>,
    /// What is mounted in it, in this order. Needs [`Namespace::Mount`].
    pub mounts: Vec<Mount>,
    /// Where it sees its sandbox, if it has a root of its own.
    pub sandbox: Option<PathBuf>,
    /// Where its first process starts, as it sees it; else in the sandbox.
    pub directory: Option<PathBuf>,
    /// Its cgroups: parents come before what is in them.
    pub cgroups: Vec<Cgroup>,
    /// The cgroup that ends it when it takes more memory than it may.
    pub memory: Option<MemoryLimit>,
    /// How soon the kernel takes it for a victim when the host has no memory left (-1000 to 1000).
    pub oom_score: Option<i32>,
    /// Limits of its processes.
    pub rlimits: Vec<Rlimit>,
    /// What its processes may do beyond their files; `None`: as the agent.
    pub capabilities: Option<Capabilities>,
    /// No process of it gets more rights by the program that it executes.
    pub no_new_privileges: bool,
    /// Filters of system calls: programs of `struct sock_filter`, in this order.
    pub filters: Vec<Vec<u8>>,
}

impl Jail {
    /// Whether more is to be done than to limit the task's process itself.
    pub(crate) fn needs_init(&self) -> bool {
        !self.namespaces.is_empty() || !self.cgroups.is_empty() || self.oom_score.is_some()
    }
}

/// A kind of namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Mounts.
    Mount,
    /// Processes.
    Pid,
    /// Shared memory and message queues.
    Ipc,
    /// Network.
    Net,
    /// The host's name.
    Uts,
}

/// A cable from a container's network to a bridge of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plug {
    /// The bridge's number.
    pub bridge: u32,
    /// The host's end: its name, of at most 15 bytes. It goes with the container's last process.
    pub link: String,
    /// The container's address.
    pub address: Ipv4Addr,
    /// Bits of the network's part of it.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv4Addr,
}

/// A root that is made of layers by overlayfs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Directories that it is made of and that are never written, the lowest first.
    pub lower: Vec<PathBuf>,
    /// What is written goes here; made if it is not there.
    pub upper: PathBuf,
    /// What overlayfs needs beside it, on the same file system; made if it is not there.
    pub work: PathBuf,
    /// Nothing of it can be written.
    pub read_only: bool,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What.
    pub source: Source,
    /// Where.
    pub target: Target,
    /// It cannot be written.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file or directory of the host, with what is mounted below it.
    Bind {
        /// A path that can be trusted.
        base: PathBuf,
        /// Below it, through no link that leads out; empty for the base itself. Made as a directory if it is not there.
        below: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// How much it holds.
        bytes: u64,
    },
}

/// Where something is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An absolute path as the container sees it. Made in a root of its own; on the host's it must be there.
    Root(PathBuf),
    /// A path in the sandbox, made if it is not there.
    Sandbox(PathBuf),
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// Of its hierarchy.
    pub version: Version,
    /// Its directory; made if it is not there.
    pub path: PathBuf,
    /// What is written into it, in this order.
    pub files: Vec<(String, String)>,
    /// What it is to the container.
    pub part: Part,
}

/// Of a hierarchy of cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// One of several, each with controllers of its own.
    One,
    /// The unified one.
    Two,
}

/// What a cgroup is to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The container runs in it, alone: whatever is in it ends with the container.
    Own,
    /// The container runs in it, maybe with others.
    Shared,
    /// The container runs in a cgroup below it.
    Above,
}

/// Whom to watch for lack of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The cgroup with the limit.
    pub path: PathBuf,
    /// The limit, to be told.
    pub bytes: u64,
}

/// A limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_…`.
    pub resource: u32,
    /// `u64::MAX` is none.
    pub soft: u64,
    /// `u64::MAX` is none.
    pub hard: u64,
}

/// Sets of capabilities(7), as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What its processes have: permitted, effective, inheritable and ambient.
    pub effective: u64,
    /// What they can ever get.
    pub bounding: u64,
}
