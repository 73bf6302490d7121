//! How long a leader may act, for those who act.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

/// A clock that never stops, sleep of the machine included: what a lease is measured by.
pub(crate) fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[derive(Clone, Copy, Debug)]
enum State {
    Until(Duration),
    Ended,
}

/// A leader's permission to act. Whoever acts for the leader looks at it first, timers included: a process that was frozen
/// does not know that another one leads by now.
#[derive(Clone, Debug)]
pub struct Lease {
    state: watch::Receiver<State>,
    /// A standing lease keeps its own sender.
    _standing: Option<Arc<watch::Sender<State>>>,
}

/// The leadership is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this master leads no more")]
pub struct LeaseEnded;

/// The election's end of a lease.
#[derive(Debug)]
pub(crate) struct LeaseGiver(watch::Sender<State>);

impl Lease {
    /// The lease of a master that stands alone: it never ends.
    pub fn standing() -> Self {
        let (sender, state) = watch::channel(State::Until(Duration::MAX));
        Self { state, _standing: Some(Arc::new(sender)) }
    }

    /// Whether to act now.
    pub fn is_valid(&self) -> bool {
        matches!(*self.state.borrow(), State::Until(until) if now() < until)
    }

    /// Waits until it is valid, which it is at once as a rule.
    ///
    /// # Errors
    /// If it never will be again.
    pub async fn valid(&mut self) -> Result<(), LeaseEnded> {
        loop {
            match *self.state.borrow_and_update() {
                State::Until(until) if now() < until => return Ok(()),
                State::Until(_) => {}
                State::Ended => return Err(LeaseEnded),
            }
            self.state.changed().await.map_err(|_| LeaseEnded)?;
        }
    }

    /// Returns when it has ended for good.
    pub async fn ended(&mut self) {
        // The giver's end is an end too.
        let _ = self.state.wait_for(|state| matches!(state, State::Ended)).await;
    }
}

impl LeaseGiver {
    /// A lease that is not valid yet.
    pub(crate) fn new() -> (Self, Lease) {
        let (sender, state) = watch::channel(State::Until(Duration::ZERO));
        (Self(sender), Lease { state, _standing: None })
    }

    pub(crate) fn extend(&self, until: Duration) {
        self.0.send_replace(State::Until(until));
    }

    pub(crate) fn end(&self) {
        self.0.send_replace(State::Ended);
    }
}

impl Drop for LeaseGiver {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_valid_while_it_is_given() {
        assert!(Lease::standing().is_valid());
        let (giver, mut lease) = LeaseGiver::new();
        assert!(!lease.is_valid());
        giver.extend(now() + Duration::from_secs(60));
        assert!(lease.is_valid());
        assert_eq!(lease.valid().await, Ok(()));
        giver.extend(now());
        assert!(!lease.is_valid());
        let mut waiting = lease.clone();
        let waiting = tokio::spawn(async move { waiting.valid().await });
        drop(giver);
        assert_eq!(waiting.await.unwrap(), Err(LeaseEnded));
        lease.ended().await;
    }
}
