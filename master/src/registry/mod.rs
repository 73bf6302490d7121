//! What the master must not forget, made durable on a thread of its own.

mod copy;
mod document;
mod embedded;
#[cfg(test)]
mod formats;
mod memory;
mod zookeeper;

use std::{path::PathBuf, sync::mpsc, thread, time::Duration};

use mezzo_master_core::{
    input::Ticket,
    registry::{Recovered, RegistryError, RegistryOp},
};

pub use copy::{CopyError, Source, dump, restore};
pub use document::DocumentError;
pub(crate) use embedded::Embedded;
pub(crate) use memory::Memory;
pub use zookeeper::ZooKeeper;

/// As many torn-down frameworks are remembered, so that their ids are refused.
const MAX_COMPLETED: usize = 10_000;

/// A store of registry operations.
pub trait Registry: Send {
    /// Makes the operations of all batches durable before it returns: each batch whole, in order.
    ///
    /// # Errors
    /// When they are not made, or when that is not known.
    fn apply(&mut self, batches: &[Vec<RegistryOp>]) -> Result<(), RegistryFailure>;
}

/// What a leader starts from.
pub struct Opened {
    /// Where to write.
    pub registry: Box<dyn Registry>,
    /// What was written before.
    pub recovered: Recovered,
    /// The leadership term: greater than any before it.
    pub term: u64,
    /// How long reading took.
    pub took: Duration,
    /// Records that could not be read and were left out.
    pub damaged: Vec<String>,
}

/// Why the registry is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RegistryFailure {
    /// Another process has the file.
    #[error("{path} is in use by another master: give each master a --work_dir of its own")]
    InUse {
        /// The registry's file.
        path: PathBuf,
    },
    /// Written by a version that knows more.
    #[error(
        "{path} has format {found}, and this version of Mezzo knows formats up to {known}: run the newer version, or move \
         the file away to start with an empty registry (agents register again, frameworks resubscribe)"
    )]
    NewerFormat {
        /// The registry's file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format that is known here.
        known: u64,
    },
    /// It is no registry, or was damaged.
    #[error(
        "{path} cannot be read as a registry ({detail}): restore it from a copy, or move it away to start with an empty \
         registry (agents register again, frameworks resubscribe)"
    )]
    Corrupt {
        /// The registry's file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The operating system refused.
    #[error("{path}: {detail}")]
    Io {
        /// The registry's file or its directory.
        path: PathBuf,
        /// What it said.
        detail: String,
    },
    /// ZooKeeper holds what a newer master wrote.
    #[error(
        "ZooKeeper's {znode} is of a newer version of Mezzo ({detail}): run that version, or remove the znode and what is below \
         it to start without (agents register again, frameworks resubscribe)"
    )]
    NewerZnode {
        /// The path.
        znode: String,
        /// What is newer.
        detail: String,
    },
    /// Something else stands where the registry should be.
    #[error(
        "ZooKeeper's {znode} is no registry of Mezzo: give --zk another path, or remove that znode if nobody needs it"
    )]
    ForeignZnode {
        /// The path.
        znode: String,
    },
    /// The user may not.
    #[error("ZooKeeper refuses access to {znode}: check user and password of --zk, and who made that znode (getAcl)")]
    Denied {
        /// The path.
        znode: String,
    },
    /// One request cannot hold it.
    #[error("{bytes} bytes for ZooKeeper's {znode} are more than one request may have")]
    TooLarge {
        /// The first path of the write.
        znode: String,
        /// How many.
        bytes: usize,
    },
    /// ZooKeeper says no for another reason.
    #[error("ZooKeeper's {znode}: {detail}")]
    ZooKeeper {
        /// The path.
        znode: String,
        /// What it said.
        detail: String,
    },
    /// The write may have been made.
    #[error("the outcome of a write to ZooKeeper is not known: {detail}")]
    Unknown {
        /// What happened.
        detail: String,
    },
    /// The leadership under which this was to be written is over.
    #[error("this master leads no more: its election znode is gone")]
    Fenced,
}

impl RegistryFailure {
    /// What the core is told; `None` when nothing can be done but to stop.
    pub(crate) fn for_core(&self) -> Option<RegistryError> {
        match self {
            Self::Unknown { .. } => Some(RegistryError::Unknown),
            Self::Fenced => Some(RegistryError::Fenced),
            _ => None,
        }
    }
}

/// One write that the core asked for.
pub(crate) type Write = (Ticket, Vec<RegistryOp>);

/// Writes on a thread of its own, as many batches with one commit as wait.
pub(crate) struct Writer {
    queue: mpsc::Sender<Write>,
}

impl Writer {
    /// Starts the thread; `done` hears of each batch's end, in order.
    pub(crate) fn start(
        mut registry: Box<dyn Registry>,
        done: impl Fn(Ticket, Result<(), RegistryFailure>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (queue, writes) = mpsc::channel::<Write>();
        thread::Builder::new().name("registry".into()).stack_size(256 * 1024).spawn(move || {
            while let Ok(first) = writes.recv() {
                let (tickets, batches): (Vec<_>, Vec<_>) = std::iter::once(first).chain(writes.try_iter()).unzip();
                match registry.apply(&batches) {
                    Ok(()) => tickets.into_iter().for_each(|ticket| done(ticket, Ok(()))),
                    Err(RegistryFailure::Unknown { detail }) => {
                        tracing::warn!(detail, writes = tickets.len(), "registry writes have an unknown outcome");
                        let unknown = |ticket| done(ticket, Err(RegistryFailure::Unknown { detail: detail.clone() }));
                        tickets.into_iter().for_each(unknown);
                    }
                    Err(failure) => {
                        // After a failed write the file's state is not known: nothing more is written.
                        if let Some(ticket) = tickets.first() {
                            done(*ticket, Err(failure));
                        }
                        return;
                    }
                }
            }
        })?;
        Ok(Self { queue })
    }

    /// Asks for a write.
    pub(crate) fn write(&self, ticket: Ticket, operations: Vec<RegistryOp>) {
        // The thread ends only after it has reported a failure, upon which the server stops.
        let _ = self.queue.send((ticket, operations));
    }
}
