//! Finding again what an earlier agent left.

use std::collections::{BTreeSet, HashMap};

use mezzo_agent_core::container::{ContainerEvent, Stop};
use mezzo_api::ids::ContainerId;
use mezzo_executor::{record::Record, tree::Watched};
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, Phase, Wanted};
use crate::{failpoint, isolation};

impl Actor {
    /// Takes over what is on record and wanted, ends what is on record and not wanted, and reports what is wanted and
    /// not on record as ended with a status that nobody knows.
    pub(super) fn recover(&mut self, wanted: Wanted) {
        let records = std::mem::take(&mut self.found).into_iter();
        let mut found: HashMap<String, (u32, Record)> =
            records.map(|(slot, record)| (record.container.clone(), (slot, record))).collect();
        let Wanted { own, called } = wanted;
        let all: Vec<_> =
            own.into_iter().map(|id| (id, false)).chain(called.into_iter().map(|id| (id, true))).collect();
        let known: BTreeSet<&str> =
            all.iter().map(|(id, _)| id.as_str()).chain(found.keys().map(String::as_str)).collect();
        isolation::remove_roots(&self.config.runtime_dir, &known);
        if let Some(networks) = &self.config.networks {
            networks.keep_only(&known);
        }
        if let Some(images) = &self.config.images {
            images.release_others(&known.iter().copied().collect::<Vec<_>>());
        }
        let mut limits = self.limits.take(|container| known.contains(container));
        tracing::info!(wanted = all.len(), found = found.len(), "recovering containers");
        for (id, called) in all {
            if self.containers.contains_key(&id) {
                continue; // named twice
            }
            let known = found.remove(id.as_str());
            let slot = known.as_ref().map(|(slot, _)| *slot);
            let has_root = self.config.runtime_dir.join("roots").join(id.as_str()).exists();
            let container = self.add(id.clone(), slot, recovering());
            container.kept.has_root = has_root;
            container.called = called;
            failpoint::pass("taking-over");
            let limited = limits.remove(id.as_str());
            let ends = limited.is_some();
            if let Some(limitation) = limited {
                container.kept.limited(limitation);
            }
            match known {
                Some((_, record)) => self.take_over(&id, record, Watched::No),
                None => self.end(&id, ContainerEvent::Exited { status: None }),
            }
            if ends {
                self.stop(&id, Stop::Kill); // it may not have come to that
            }
        }
        for (container, (slot, record)) in found {
            let id = ContainerId::from(container);
            tracing::warn!(container = %id, "destroying a container that nobody knows");
            let container = self.add(id.clone(), Some(slot), recovering());
            container.silent = true;
            container.kept.has_root = true; // if it has none, none is removed
            container.forget = true;
            self.take_over(&id, record, Watched::No);
            self.stop(&id, Stop::Kill);
        }
    }
}

/// Before it is known which.
fn recovering() -> Phase {
    Phase::Preparing(CancellationToken::new())
}
