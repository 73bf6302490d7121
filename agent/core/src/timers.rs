//! Deadlines in the core's own time, in order.

use std::{collections::BTreeMap, time::Duration};

use mezzo_api::ids::{ContainerId, FrameworkId, TaskId};

use crate::checks::Kind;

/// What is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// An unacknowledged update is to be sent again.
    Retry(FrameworkId, TaskId),
    /// A custom executor should have subscribed.
    Registration(ContainerId),
    /// An executor that was told to shut down should be gone.
    ShutdownGrace(ContainerId),
    /// The `max_completion_time` of the task in this container is up.
    Completion(ContainerId),
    /// The task in this container is to be looked at.
    Check(ContainerId, Kind),
    /// A look at it takes too long.
    CheckTimeout(ContainerId, Kind),
    /// A pod without tasks has waited long enough for acknowledgements.
    PodEnd(ContainerId),
    /// A subscribed executor is to be sent a HEARTBEAT.
    Heartbeat(ContainerId),
    /// Executors that survived a restart of the agent should have subscribed again.
    RecoveryEnd,
    /// The master should have said something.
    Ping,
    /// The (re-)registration should have been answered.
    RegistrationRetry,
}

/// A timer that was set: for [`Timers::cancel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(Duration, u64);

/// All timers that are set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    queue: BTreeMap<(Duration, u64), Timer>,
    next: u64,
}

impl Timers {
    /// Sets a timer for the moment `at` of monotonic time.
    pub(crate) fn set(&mut self, at: Duration, timer: Timer) -> Handle {
        self.next += 1;
        self.queue.insert((at, self.next), timer);
        Handle(at, self.next)
    }

    /// Takes a timer back; one that has fired is no more.
    pub(crate) fn cancel(&mut self, handle: Option<Handle>) {
        if let Some(Handle(at, number)) = handle {
            self.queue.remove(&(at, number));
        }
    }

    /// The earliest deadline.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    /// The next timer that is due at `now`.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Timer> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_and_forgets_what_was_cancelled() {
        let mut timers = Timers::default();
        let late = timers.set(Duration::from_secs(3), Timer::Ping);
        timers.set(Duration::from_secs(1), Timer::RecoveryEnd);
        timers.set(Duration::from_secs(2), Timer::RegistrationRetry);
        assert_eq!(timers.deadline(), Some(Duration::from_secs(1)));
        assert_eq!(timers.due(Duration::from_millis(999)), None);
        assert_eq!(timers.due(Duration::from_secs(2)), Some(Timer::RecoveryEnd));
        assert_eq!(timers.due(Duration::from_secs(2)), Some(Timer::RegistrationRetry));
        timers.cancel(Some(late));
        assert_eq!(timers.due(Duration::from_secs(9)), None);
        assert_eq!(timers.deadline(), None);
    }
}
