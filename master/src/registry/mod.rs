//! What the master must not forget, made durable on a thread of its own.

mod embedded;
mod memory;

use std::{path::PathBuf, sync::mpsc, thread, time::Duration};

use mezzo_master_core::{
    input::Ticket,
    registry::{Recovered, RegistryOp},
};

pub(crate) use embedded::Embedded;
pub(crate) use memory::Memory;

/// A store of registry operations.
pub(crate) trait Registry: Send {
    /// Makes the operations of all batches durable, all or none, before it returns.
    fn apply(&mut self, batches: &[Vec<RegistryOp>]) -> Result<(), RegistryFailure>;
}

/// What a leader starts from.
pub(crate) struct Opened {
    /// Where to write.
    pub(crate) registry: Box<dyn Registry>,
    /// What was written before.
    pub(crate) recovered: Recovered,
    /// The leadership term: greater than any before it.
    pub(crate) term: u64,
    /// How long reading took.
    pub(crate) took: Duration,
}

/// Why the registry is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryFailure {
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
