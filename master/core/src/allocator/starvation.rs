//! Roles that want offers, have less than their part, and get none.

use std::time::Duration;

use super::{Allocator, tree::RoleKey};

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(10);

/// From when on it is told in the log.
const TELL: Duration = Duration::from_secs(60);

/// A role that waits.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Starving {
    /// Which.
    pub(crate) role: String,
    /// Since its last offer, or since it wants some.
    pub(crate) time: Duration,
    /// Its dominant share.
    pub(crate) share: f64,
    /// The part of the cluster that would be its own if all roles beside it and beside those above it took theirs.
    pub(crate) fair: f64,
}

impl Allocator {
    /// Roles whose frameworks want offers, that have less than their part of the cluster, and have been offered nothing
    /// for some time; `offered` tells roles that hold offers just now.
    pub(crate) fn starving(&self, now: Duration, offered: &impl Fn(&str) -> bool) -> Vec<Starving> {
        let mut found = Vec::new();
        self.tree.weighted(&mut |key: RoleKey, fair: f64| {
            let role = self.tree.get(key);
            let share = self.totals.share(&role.held.taken, 1.0);
            let Some(since) = role.wanting_since.max(role.last_offer) else { return };
            let time = now.saturating_sub(since);
            if share < fair && !time.is_zero() && !offered(&role.name) {
                found.push(Starving { role: role.name.to_string(), time, share, fair });
            }
        });
        found.sort_by(|a, b| a.role.cmp(&b.role));
        found
    }

    /// Whether it is time to look for it.
    pub(crate) fn looks_for_starvation(&mut self, now: Duration) -> bool {
        let due = now >= self.starvation_at;
        if due {
            self.starvation_at = now + LOOK;
        }
        due
    }

    /// Tells the log of roles that wait: at one minute, two, four and so on.
    pub(crate) fn tell_of_starvation(&mut self, now: Duration, offered: &impl Fn(&str) -> bool) {
        for starving in self.starving(now, offered) {
            let times = (starving.time.as_secs() / TELL.as_secs()).checked_ilog2();
            let Some(role) = self.tree.find(&starving.role).map(|key| self.tree.get_mut(key)) else { continue };
            if times > role.told {
                role.told = times;
                tracing::warn!(
                    role = starving.role,
                    seconds = starving.time.as_secs(),
                    share = starving.share,
                    fair_share = starving.fair,
                    "a role that wants offers has had none; `mezzo explain` tells why"
                );
            }
        }
    }
}
