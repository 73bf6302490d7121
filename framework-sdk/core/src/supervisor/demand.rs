//! Asking for offers when something waits, and for none when nothing does.

use std::time::Duration;

use tracing::debug;

use super::Supervisor;
use crate::{offers::refuse_for, scheduler::Context};

/// What is known of the wish for offers.
#[derive(Debug, Default)]
pub(super) struct Demand {
    suppressed: bool,
    /// Offers were refused since they were last asked for: they may suit what waits now.
    refused: bool,
    /// Places that waited when offers were last asked for.
    waiting: usize,
    revived_at: Option<Duration>,
    /// When offers are asked for again.
    revive_at: Option<Duration>,
    /// The last moment that was worked at: what is due before it was seen.
    worked_at: Duration,
}

/// Offers are not asked for more often.
const REVIVE_AGAIN: Duration = Duration::from_secs(1);
/// Without anything that waits, offers are not wanted; this only bounds what a lost SUPPRESS would cost.
const REFUSE_ALL: Duration = Duration::from_secs(3600);

impl Demand {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.revive_at
    }

    /// Whether something at this moment was not seen yet.
    pub(super) fn is_ahead(&self, at: Duration) -> bool {
        at > self.worked_at
    }

    pub(super) fn worked(&mut self, now: Duration) {
        self.worked_at = now;
    }

    pub(super) fn refused(&mut self) {
        self.refused = true;
    }
}

impl Supervisor {
    /// Places for which a task is to be launched now.
    pub(super) fn waiting(&self, now: Duration) -> usize {
        let slots = self.groups.values().flat_map(|state| state.slots.values());
        slots.filter(|slot| slot.wants() && slot.launch_at <= now).count()
    }

    /// Whether a place is to be filled before this moment.
    fn waits_until(&self, moment: Duration) -> bool {
        let mut slots = self.groups.values().flat_map(|state| state.slots.values());
        slots.any(|slot| slot.wants() && slot.launch_at <= moment)
    }

    /// Declines what is not needed, or was kept for long enough.
    pub(super) fn give_back(&mut self, context: &mut Context<'_>) {
        let now = context.now().mono;
        let soon = self.waits_until(now + self.config.keep_offers);
        let offers = if soon { self.offers.expired(now) } else { self.offers.take_all() };
        if offers.is_empty() {
            return;
        }
        let time = if self.waiting(now) > 0 {
            self.config.refuse_unfit
        } else {
            self.next_wait(now).map_or(REFUSE_ALL, |wait| wait.min(REFUSE_ALL))
        };
        self.demand.refused();
        context.decline(offers.into_iter().map(|offer| offer.id), refuse_for(time));
    }

    /// Until the next place is to be filled.
    fn next_wait(&self, now: Duration) -> Option<Duration> {
        let slots = self.groups.values().flat_map(|state| state.slots.values());
        slots.filter(|slot| slot.wants()).map(|slot| slot.launch_at.saturating_sub(now)).min()
    }

    /// Suppresses or revives, as what waits demands.
    pub(super) fn ask(&mut self, context: &mut Context<'_>) {
        let now = context.now().mono;
        let waiting = self.waiting(now);
        if waiting == 0 {
            self.demand.waiting = 0;
            self.demand.revive_at = None;
            if !self.demand.suppressed {
                self.demand.suppressed = true;
                debug!("nothing waits: no offers are wanted");
                context.suppress();
            }
            return;
        }
        let more = std::mem::replace(&mut self.demand.waiting, waiting) < waiting;
        let wanted = self.demand.suppressed || more && self.demand.refused || self.demand.revive_at.is_some();
        if !wanted || !self.offers.is_empty() {
            return;
        }
        let at = self.demand.revived_at.map_or(now, |last| last + REVIVE_AGAIN);
        if at > now {
            self.demand.revive_at = Some(at);
            return;
        }
        debug!(waiting, "asking for offers");
        context.revive();
        self.demand.suppressed = false;
        self.demand.refused = false;
        self.demand.revived_at = Some(now);
        self.demand.revive_at = None;
    }

    /// How long what is left of an accepted offer is not wanted.
    pub(super) fn refuse_rest(&self, now: Duration) -> Duration {
        if self.waiting(now) > 0 { Duration::ZERO } else { self.next_wait(now).map_or(REFUSE_ALL, |wait| wait) }
    }
}
