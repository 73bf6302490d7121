//! Quota: what a role has and is offered passes none of its limits by a new offer, and no offer takes what is kept free for
//! guarantees of others that are not met (docs/allocator.md; docs/quota.md of apache/mesos). What was there when the
//! quota was set may stay.

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::v1::quota::QuotaConfig;
use mezzo_master_core::{effect::Change, model};

use super::{Books, Invariant};
use crate::{
    fact::Fact,
    ids::ProcessId,
    world::{Master, World},
};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// What each master read from the registry, or has said to be in force, by role.
    known: BTreeMap<ProcessId, BTreeMap<String, QuotaConfig>>,
}

impl Invariant for Quotas {
    fn name(&self) -> &'static str {
        "quotas"
    }

    #[inline]
    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        match fact {
            Fact::MasterStarted { master, recovered, .. } => {
                let quotas = recovered.quotas.iter().map(|quota| (quota.role.clone(), quota.clone()));
                self.known.insert(*master, quotas.collect());
            }
            Fact::MasterEnded { master, .. } => drop(self.known.remove(master)),
            Fact::Published(process, change) => {
                let Some(known) = self.known.get_mut(process) else { return Ok(()) };
                match &**change {
                    Change::Quota(quota) => drop(known.insert(quota.role.clone(), (**quota).clone())),
                    Change::QuotaRemoved(role) => drop(known.remove(role)),
                    Change::Offer(offer) if !known.is_empty() => {
                        return world.masters.get(process).map_or(Ok(()), |master| fits(offer, known, master));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn fits(offer: &model::Offer, quotas: &BTreeMap<String, QuotaConfig>, master: &Master) -> Result<(), String> {
    let plain = |resource: &&mezzo_api::resources::Resource| resource.is_unreserved() && !resource.is_revocable();
    let names: BTreeSet<&str> = offer.resources.iter().filter(plain).map(|resource| resource.name()).collect();
    for quota in std::iter::once(&*offer.role).chain(mezzo_api::roles::ancestors(&offer.role)) {
        for (name, taken, limit) in quotas.get(quota).map_or(Vec::new(), |quota| master.core.taken_of_limits(quota)) {
            if taken > limit && names.contains(name.as_str()) {
                return Err(format!("{quota} has and is offered {taken} of {name}, its limit is {limit}"));
            }
        }
    }
    if quotas.get(&*offer.role).is_some_and(|quota| !quota.guarantees.is_empty()) {
        return Ok(());
    }
    for (name, free, needed) in master.core.kept_for_guarantees(quotas.values()) {
        if free < needed && names.contains(name.as_str()) {
            let to = &offer.role;
            return Err(format!("{to} is offered {name}: {free} is left, guarantees need {needed}"));
        }
    }
    Ok(())
}
