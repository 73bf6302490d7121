//! `--registry=in_memory`: nothing outlives the process.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mezzo_master_core::registry::{Recovered, RegistryOp};

use super::{Opened, Registry, RegistryFailure};

/// Forgets everything.
pub(crate) struct Memory;

impl Memory {
    /// An empty registry. Its term is the time in seconds, so that agents take a restarted master for a newer leader.
    pub(crate) fn open() -> Opened {
        let term = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
        Opened {
            registry: Box::new(Self),
            recovered: Recovered::default(),
            term,
            took: Duration::ZERO,
            damaged: Vec::new(),
        }
    }
}

impl Registry for Memory {
    fn apply(&mut self, _batches: &[Vec<RegistryOp>]) -> Result<(), RegistryFailure> {
        Ok(())
    }
}
