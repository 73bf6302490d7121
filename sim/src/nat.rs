//! What stands between an agent and the rest: agents dial out, so that a cluster spans them all.

use std::time::Duration;

use crate::random::Random;

/// A kind of network address translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// None: its address is its own.
    Open,
    /// Its port is forwarded: it is found, and keeps its connections.
    Forwarding,
    /// Nobody gets in.
    Hiding,
    /// Nobody gets in, and a connection that is idle for so long is forgotten without a word to either end.
    Forgetful(Duration),
}

impl Nat {
    /// What this machine is behind.
    pub fn of(seed: u64, number: u16) -> Self {
        let mut random = Random::new(seed, &format!("nat {number}"));
        match random.within(0..=9) {
            0..=5 => Self::Open,
            6 => Self::Forwarding,
            7 => Self::Hiding,
            // Shorter ones than the pings' 15 s are not met with.
            _ => Self::Forgetful(random.duration(Duration::from_secs(20), Duration::from_secs(60))),
        }
    }

    /// Whether frameworks cannot reach the agent.
    pub fn hides(self) -> bool {
        matches!(self, Self::Hiding | Self::Forgetful(_))
    }

    /// How long a connection may be idle.
    pub fn idle_limit(self) -> Option<Duration> {
        match self {
            Self::Forgetful(limit) => Some(limit),
            Self::Open | Self::Forwarding | Self::Hiding => None,
        }
    }
}
