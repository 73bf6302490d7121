//! Quota: what a role has and is offered passes none of its limits by a new offer, and no offer takes what is kept free for
//! guarantees of others that are not met (docs/allocator.md; docs/quota.md of apache/mesos). What was there when the
//! quota was set may stay.

use std::collections::BTreeSet;

use mezzo_master_core::effect::Change;

use super::{Books, Invariant};
use crate::{fact::Fact, world::World};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Quotas;

impl Invariant for Quotas {
    fn name(&self) -> &'static str {
        "quotas"
    }

    fn see(&mut self, fact: &Fact, _books: &Books, world: &World) -> Result<(), String> {
        let Fact::Published(process, change) = fact else { return Ok(()) };
        let Change::Offer(offer) = &**change else { return Ok(()) };
        let Some(master) = world.masters.get(process) else { return Ok(()) };
        if !master.core.has_quotas() {
            return Ok(());
        }
        let plain = |resource: &&mezzo_api::resources::Resource| resource.is_unreserved() && !resource.is_revocable();
        let names: BTreeSet<&str> = offer.resources.iter().filter(plain).map(|resource| resource.name()).collect();
        for (name, taken, limit) in master.core.taken_of_limits(&offer.role) {
            if taken > limit && names.contains(name.as_str()) {
                return Err(format!("{} has and is offered {taken} of {name}, its limit is {limit}", offer.role));
            }
        }
        if master.core.is_promised(&offer.role) {
            return Ok(());
        }
        for (name, free, needed) in master.core.kept_for_guarantees() {
            if free < needed && names.contains(name.as_str()) {
                let to = &offer.role;
                return Err(format!("{to} is offered {name}: {free} is left, guarantees need {needed}"));
            }
        }
        Ok(())
    }
}
