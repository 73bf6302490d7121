//! Finding again what an earlier agent left.

use std::collections::HashMap;

use mezzo_agent_core::container::{ContainerEvent, Stop};
use mezzo_api::ids::ContainerId;
use mezzo_executor::{
    record::{Record, Stage},
    tree::Watched,
};
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, Phase};

impl Actor {
    /// Takes over what is on record and wanted, ends what is on record and not wanted, and reports what is wanted and
    /// not on record as ended with a status that nobody knows.
    pub(super) fn recover(&mut self, wanted: Vec<ContainerId>) {
        let records = std::mem::take(&mut self.found).into_iter();
        let mut found: HashMap<String, (u32, Stage)> =
            records.map(|(slot, Record { container, stage })| (container, (slot, stage))).collect();
        tracing::info!(wanted = wanted.len(), found = found.len(), "recovering containers");
        for id in wanted {
            if self.containers.contains_key(&id) {
                continue; // named twice
            }
            let known = found.remove(id.as_str());
            let slot = known.as_ref().map(|(slot, _)| *slot);
            self.add(id.clone(), slot, recovering());
            match known {
                Some((_, stage)) => self.take_over(&id, stage, Watched::No),
                None => self.end(&id, ContainerEvent::Exited { status: None }),
            }
        }
        for (container, (slot, stage)) in found {
            let id = ContainerId::from(container);
            tracing::warn!(container = %id, "destroying a container that nobody knows");
            let container = self.add(id.clone(), Some(slot), recovering());
            container.silent = true;
            container.forget = true;
            self.take_over(&id, stage, Watched::No);
            self.stop(&id, Stop::Kill);
        }
    }
}

/// Before it is known which.
fn recovering() -> Phase {
    Phase::Preparing(CancellationToken::new())
}
