//! What must never be false of an election.

use std::{collections::BTreeMap, time::Duration};

use super::{
    ensemble::{Outcome, Write},
    fault::MASTERS,
    world::Master,
};

/// Whatever a living leader needs to hear of a challenge and to answer it, where nothing is wrong.
const NOTICE: Duration = Duration::from_millis(700);

/// Within this a program that does not stand still gets its turn.
const TURN: Duration = Duration::from_millis(40);

type Broken = (&'static str, String);

/// How a candidate's znode went, other than with its session.
#[derive(Clone, Copy, Debug)]
enum Removed {
    /// By hand, at this moment.
    ByHand(Duration),
    /// By a challenge that was made at this moment.
    ByChallenge(Duration),
}

/// How well a master has fared, and since when.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    /// It reaches ZooKeeper.
    reaches: Option<Duration>,
    /// It does not stand still.
    awake: Option<Duration>,
    /// Both.
    well: Option<Duration>,
}

/// Sees everything.
#[derive(Debug, Default)]
pub(super) struct Watcher {
    since: [Since; MASTERS],
    removed: BTreeMap<String, Removed>,
    challenged_at: Option<Duration>,
    /// The newest leader that has acted, and its term.
    newest: Option<(usize, u64)>,
    newest_writer: u64,
    /// When anybody last acted, and who did since then.
    pub(super) acted: BTreeMap<usize, Duration>,
    /// How often a leader began.
    pub(super) leaders: u64,
    /// How often a leader was removed by a challenge.
    pub(super) challenges: u64,
    /// How often somebody acted.
    pub(super) acts: u64,
}

impl Watcher {
    pub(super) fn reach(&mut self, now: Duration, master: usize, reaches: bool, frozen: bool) {
        let since = &mut self.since[master];
        since.reaches = since.reaches.filter(|_| reaches).or(reaches.then_some(now));
        since.awake = since.awake.filter(|_| !frozen).or((!frozen).then_some(now));
        let well = reaches && !frozen;
        since.well = since.well.filter(|_| well).or(well.then_some(now));
    }

    pub(super) fn removed_by_hand(&mut self, now: Duration, name: &str) {
        self.removed.insert(name.to_owned(), Removed::ByHand(now));
    }

    /// Whether the znode was removed by others.
    pub(super) fn was_taken(&self, name: &str) -> bool {
        self.removed.contains_key(name)
    }

    /// Whether it could not know that its znode was removed.
    fn could_not_know(&self, now: Duration, master: usize, name: &str) -> bool {
        let cut_off_since = |moment: Duration| self.since[master].reaches.is_none_or(|since| since > moment);
        match self.removed.get(name) {
            Some(Removed::ByHand(at)) => now < *at + NOTICE || cut_off_since(*at),
            Some(Removed::ByChallenge(made)) => cut_off_since(*made),
            None => false,
        }
    }

    /// One leads: nobody does anything for an older term once a newer leader has done something, unless its znode was taken
    /// from it while it was cut off from ZooKeeper; then fence and terms make what it does come to nothing.
    pub(super) fn acts(
        &mut self,
        now: Duration,
        master: usize,
        name: &str,
        term: u64,
        connected: bool,
    ) -> Result<(), Broken> {
        if !connected {
            return Err(("nothing in suspense", format!("master {master} acts without a connection to ZooKeeper")));
        }
        self.acts += 1;
        match self.newest {
            Some((other, newest)) if newest > term && !self.could_not_know(now, master, name) => Err((
                "one leads",
                format!("master {master} acts for term {term}; master {other} did for term {newest}"),
            )),
            Some((_, newest)) if newest > term => Ok(()),
            _ => {
                self.newest = Some((master, term));
                self.acted.insert(master, now);
                Ok(())
            }
        }
    }

    /// Whoever leads, leads alone: others have stepped down in time, or stand still, or could not know.
    pub(super) fn leads(
        &mut self,
        now: Duration,
        master: usize,
        term: u64,
        others: &[(usize, String)],
    ) -> Result<(), Broken> {
        self.leaders += 1;
        for (other, name) in others {
            let awake = self.since[*other].awake.is_some_and(|since| since + TURN <= now);
            if awake && !self.could_not_know(now, *other, name) {
                return Err((
                    "steps down in time",
                    format!("master {master} leads in term {term}, and master {other} still does"),
                ));
            }
        }
        Ok(())
    }

    /// A write took its place in the order.
    pub(super) fn wrote(
        &mut self,
        now: Duration,
        master: usize,
        write: &Write,
        outcome: &Outcome,
        masters: &[Master],
    ) -> Result<(), Broken> {
        match (write, outcome) {
            (Write::Challenge(_), Outcome::Done) => self.challenged_at = Some(now),
            (Write::Depose(_, leader), Outcome::Done) => {
                let made = self.challenged_at.unwrap_or(now);
                self.removed.insert(leader.clone(), Removed::ByChallenge(made));
                self.challenges += 1;
                let living = masters
                    .iter()
                    .position(|master| master.up && master.leading.as_ref().is_some_and(|(name, _)| name == leader));
                if let Some(living) = living
                    && self.since[living].well.is_some_and(|since| since + NOTICE / 2 < made)
                {
                    return Err((
                        "the living stay",
                        format!("master {master} removed the leader, {living}, which is well"),
                    ));
                }
            }
            (Write::Registry(_), Outcome::Done) => {
                let term = masters[master].leading.as_ref().map_or(0, |(_, term)| *term);
                if term > 0 && term < self.newest_writer {
                    return Err((
                        "fenced",
                        format!("master {master} wrote for term {term} after one of {}", self.newest_writer),
                    ));
                }
                self.newest_writer = self.newest_writer.max(term);
            }
            _ => {}
        }
        Ok(())
    }

    /// At the end, some time after everything is well again.
    pub(super) fn ended(&self, now: Duration, calm: Duration) -> Result<(), Broken> {
        let acting: Vec<_> = self.acted.iter().filter(|(_, at)| **at + calm > now).map(|(master, _)| *master).collect();
        match acting.as_slice() {
            [_] => Ok(()),
            others => Err(("somebody leads again", format!("{others:?} act at the end"))),
        }
    }
}
