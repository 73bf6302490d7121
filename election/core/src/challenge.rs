//! How the next in line replaces a leader whose process is gone, without waiting for its session, and never a living one.
//!
//! When the leader's address resets connections, or somebody else answers there, the next in line makes a challenge znode.
//! A living leader answers it through ZooKeeper. If it has not after [`PATIENCE`], one `multi` that checks the challenge and
//! the cooldown removes the leader's znode. So a firewall between two healthy masters changes nothing.

use std::time::Duration;

use mezzo_api::v1;

use crate::{
    candidate::Candidate,
    contender::FROZEN,
    effect::{Effect, Effects},
};

/// How long a challenge waits for its answer. Longer than a leader that was frozen acts.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// After a leader was removed by a challenge, the next one waits for so long, measured by ZooKeeper's clock.
pub const COOLDOWN: Duration = Duration::from_secs(5);
/// After a challenge that was answered, or could not be made, the next one is made after this, doubling …
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// … up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

const _: () = assert!(FROZEN.as_millis() < PATIENCE.as_millis());

/// What is at a leader's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The leader.
    Alive,
    /// Nobody listens, or a master with another id: the leader's process is gone, or something between lies.
    Gone,
    /// It cannot be told: no answer.
    Unknown,
}

/// What became of a challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// It stands.
    Standing,
    /// Another one stands, the cooldown is not over, or it is not known.
    No,
}

/// What became of the leader's znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deposed {
    /// Removed.
    Yes,
    /// The leader has answered, or is gone already.
    No,
    /// It is not known: what follows on the masters' path tells.
    Unknown,
}

/// The next in line.
#[derive(Debug, Default)]
pub(crate) struct Challenger {
    next_in_line: bool,
    /// The leader, and whether its address is looked at.
    leader: Option<(Candidate, v1::MasterInfo)>,
    probing: bool,
    state: State,
    answered: u32,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Quiet,
    Making,
    /// Until the leader has had its time.
    Waiting(Duration),
    Deposing,
    /// No challenge before this moment.
    Backoff(Duration),
}

impl Challenger {
    /// Whether this candidate follows next.
    pub(crate) fn in_line(&mut self, next: bool, out: &mut Effects) {
        self.next_in_line = next;
        if !next {
            self.state = State::Quiet;
            self.stop_probing(out);
        } else {
            self.probe(out);
        }
    }

    /// This is the leader.
    pub(crate) fn watch(&mut self, candidate: Candidate, info: v1::MasterInfo, out: &mut Effects) {
        if self.leader.as_ref().is_some_and(|(known, _)| *known == candidate) {
            return;
        }
        self.stop_probing(out);
        (self.state, self.answered) = (State::Quiet, 0);
        self.leader = Some((candidate, info));
        self.probe(out);
    }

    fn probe(&mut self, out: &mut Effects) {
        if let (true, false, Some((candidate, info))) = (self.next_in_line, self.probing, &self.leader) {
            self.probing = true;
            out.push(Effect::Probe { name: candidate.name.clone(), info: Box::new(info.clone()) });
        }
    }

    fn stop_probing(&mut self, out: &mut Effects) {
        if std::mem::take(&mut self.probing) {
            out.push(Effect::StopProbing);
        }
    }

    pub(crate) fn probed(&mut self, now: Duration, name: &str, verdict: Verdict, out: &mut Effects) {
        if !self.probing || self.leader.as_ref().is_none_or(|(leader, _)| leader.name != name) {
            return;
        }
        match (verdict, &self.state) {
            (Verdict::Gone, State::Quiet) => self.challenge(name, out),
            (Verdict::Gone, State::Backoff(until)) if *until <= now => self.challenge(name, out),
            (Verdict::Alive, State::Backoff(_)) => (self.state, self.answered) = (State::Quiet, 0),
            _ => {}
        }
    }

    fn challenge(&mut self, name: &str, out: &mut Effects) {
        self.state = State::Making;
        out.push(Effect::Challenge(name.to_owned()));
    }

    pub(crate) fn made(&mut self, now: Duration, made: Made) {
        if matches!(self.state, State::Making) {
            self.state = match made {
                Made::Standing => State::Waiting(now + PATIENCE),
                Made::No => State::Backoff(now + PATIENCE),
            };
        }
    }

    pub(crate) fn deposed(&mut self, now: Duration, deposed: Deposed, _out: &mut Effects) {
        if !matches!(self.state, State::Deposing) {
            return;
        }
        let wait = match deposed {
            Deposed::Yes | Deposed::Unknown => BACKOFF_MIN,
            Deposed::No => {
                if let Some((_, info)) = self.leader.as_ref().filter(|_| self.answered == 0) {
                    tracing::warn!(
                        leader = info.pid(),
                        "the leading master cannot be reached from here but answers through ZooKeeper, and goes on leading: \
                         does a firewall stand between?"
                    );
                }
                self.answered = self.answered.saturating_add(1);
                (BACKOFF_MIN * 2_u32.saturating_pow(self.answered.min(8))).min(BACKOFF_MAX)
            }
        };
        self.state = State::Backoff(now + wait);
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Waiting(until) => Some(until),
            _ => None,
        }
    }

    pub(crate) fn tick(&mut self, now: Duration, out: &mut Effects) {
        if let (State::Waiting(until), Some((leader, _))) = (&self.state, &self.leader)
            && *until <= now
        {
            out.push(Effect::Depose(leader.name.clone()));
            self.state = State::Deposing;
        }
    }
}
