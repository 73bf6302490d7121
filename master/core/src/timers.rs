//! All of the core's timers in one queue by deadline.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    input::{StreamId, Ticket},
    keys::{AgentKey, FrameworkKey, OfferNumber},
};

/// What happens when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The next HEARTBEAT of a stream.
    Heartbeat(FrameworkKey, StreamId),
    /// A disconnected framework has not come back.
    Failover(FrameworkKey),
    /// An agent's ping interval is over.
    Ping(AgentKey),
    /// Nobody answered the offer.
    Offer(OfferNumber),
    /// Nobody answered the inverse offer.
    InverseOffer(OfferNumber),
    /// Agents that the registry knew have not come back since this master leads.
    RecoveredAgents,
    /// The next agent that does not answer may be given up.
    Removal,
    /// Old entries of the registry are looked for.
    RegistryGc,
    /// A registry write with an unknown outcome is made again.
    Retry(Ticket),
}

/// Names a timer that can be cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerId(Duration, u64);

/// The queue. Timers with the same deadline go off in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<TimerId, Timer>,
    next: u64,
}

impl Timers {
    /// Sets a timer.
    pub(crate) fn set(&mut self, at: Duration, timer: Timer) -> TimerId {
        let id = TimerId(at, self.next);
        self.next += 1;
        self.queue.insert(id, timer);
        id
    }

    /// Takes a timer away; one that has gone off already is no error.
    pub(crate) fn cancel(&mut self, id: TimerId) {
        self.queue.remove(&id);
    }

    /// When the first one goes off.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.queue.first_key_value().map(|(id, _)| id.0)
    }

    /// The next one whose time has come.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<(TimerId, Timer)> {
        let entry = self.queue.first_entry()?;
        if entry.key().0 > now {
            return None;
        }
        Some(entry.remove_entry())
    }

    /// Whether the timer is still to go off.
    pub(crate) fn is_set(&self, id: TimerId) -> bool {
        self.queue.contains_key(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_go_off_in_order_and_can_be_cancelled() {
        let mut timers = Timers::default();
        let second = Duration::from_secs(1);
        let late = timers.set(second * 2, Timer::RecoveredAgents);
        let first = timers.set(second, Timer::Retry(Ticket(1)));
        let cancelled = timers.set(second, Timer::Retry(Ticket(2)));
        timers.cancel(cancelled);
        assert_eq!(timers.deadline(), Some(second));
        assert_eq!(timers.pop_due(second / 2), None);
        assert_eq!(timers.pop_due(second), Some((first, Timer::Retry(Ticket(1)))));
        assert_eq!(timers.pop_due(second), None);
        assert!(timers.is_set(late) && !timers.is_set(first));
    }
}
