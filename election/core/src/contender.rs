//! One master's part in an election (src/master/contender/zookeeper.cpp, src/zookeeper/group.cpp).
//!
//! Each session with ZooKeeper is one candidacy: a fresh id, one ephemeral znode. The smallest znode leads. A leader acts
//! on a [lease](Effect::Lease) only, which ends before ZooKeeper could have given the leadership to somebody else; when it
//! has lost its leadership, it closes the session and stands again as a new candidate.

use std::time::Duration;

use mezzo_api::v1;

use crate::{
    candidate::Candidate,
    challenge::{self, Challenger},
    detection::{Detection, Next},
    effect::{Effect, Effects, Ended, Joined, Reason},
};

/// What of a session's timeout a leader acts after the last question that ZooKeeper answered: the rest is for what the
/// servers know later than the one that was asked.
const LEASE_NUMERATOR: u32 = 2;
const LEASE_DENOMINATOR: u32 = 3;
/// A leader asks ZooKeeper so many times in a session's timeout whether it still leads, but at least each
/// [`CONFIRM_MAX`].
const CONFIRMS: u32 = 10;
const CONFIRM_MAX: Duration = Duration::from_secs(1);
/// A leader looks at the clock so often …
const HEARTBEAT: Duration = Duration::from_millis(100);
/// … and if it did not for so long, it was frozen: it asks ZooKeeper before it does anything else. Shorter than a
/// challenge waits.
pub(crate) const FROZEN: Duration = Duration::from_millis(400);
/// After a session that could not be opened, or a candidacy that was refused.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// After a leader could not lead: the next in line has its turn.
const RETRY_UNFIT: Duration = Duration::from_secs(1);
/// Ids of earlier candidacies that are remembered: their sessions have ended long before there are so many.
const MAX_FORMER: usize = 64;

/// What a contender is told once.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Who stands; the id is another one for each candidacy.
    pub info: v1::MasterInfo,
    /// Ids of candidacies of this master's earlier lives, whose znodes it may remove: they are of nobody.
    pub former: Vec<String>,
    /// Whether dead leaders are challenged, rather than waited for until their sessions end.
    pub challenge: bool,
}

/// The state machine. Inputs are its methods; `now` is a clock that never stops, sleep of the machine included.
#[derive(Debug)]
pub struct Contender {
    config: Config,
    session: Option<Session>,
    retry_at: Option<Duration>,
    retry: Duration,
    /// When it was last told anything.
    seen: Duration,
    stopped: bool,
}

/// A session and its candidacy.
#[derive(Debug)]
struct Session {
    timeout: Duration,
    id: String,
    connected: bool,
    own: Option<Joined>,
    /// It is the first, and begins its term.
    beginning: bool,
    /// The znode is made, or the term begun, by then, or the candidacy is given up.
    answer_by: Option<Duration>,
    detection: Detection,
    leading: Option<Leading>,
    challenger: Challenger,
}

#[derive(Debug)]
struct Leading {
    /// The moment of the last question that ZooKeeper answered with "yes, your znode is there".
    confirmed: Duration,
    /// Nothing may be done until a question asked at this moment or later was answered.
    unsure_since: Option<Duration>,
    confirm_at: Duration,
    heartbeat_at: Duration,
}

impl Contender {
    /// A contender that opens its first session.
    pub fn new(config: Config, now: Duration, out: &mut Effects) -> Self {
        out.push(Effect::Open);
        Self { config, session: None, retry_at: None, retry: RETRY_MIN, seen: now, stopped: false }
    }

    /// A session is open. `id` is unique; the candidacy gets it.
    pub fn opened(&mut self, now: Duration, timeout: Duration, id: String, out: &mut Effects) {
        self.observe(now, out);
        if self.stopped {
            return out.push(Effect::Close);
        }
        let info = v1::MasterInfo { id: id.clone(), ..self.config.info.clone() };
        self.session = Some(Session {
            timeout,
            id,
            connected: true,
            own: None,
            beginning: false,
            answer_by: Some(now + timeout),
            detection: Detection::default(),
            leading: None,
            challenger: Challenger::default(),
        });
        out.push(Effect::Join(Box::new(info)));
    }

    /// The session is over, or could not be opened: the znode is gone, or will be soon.
    pub fn ended(&mut self, now: Duration, ended: Ended, out: &mut Effects) {
        self.observe(now, out);
        if self.session.is_some() {
            self.step_down(Reason::Session(ended), out);
        } else {
            self.retry_later(now);
        }
    }

    /// The session's connection broke (`false`), or it goes on at another server or the same (`true`).
    pub fn connection(&mut self, now: Duration, connected: bool, out: &mut Effects) {
        self.observe(now, out);
        let Some(session) = &mut self.session else { return };
        session.connected = connected;
        let Some(leading) = &mut session.leading else { return };
        leading.unsure_since.get_or_insert(now);
        if connected {
            leading.confirm_at = now;
            self.heartbeat(now, out);
        } else if !mezzo_api::mutant!("serves-while-suspended") {
            out.push(Effect::Lease { until: now });
        }
    }

    /// What became of [`Effect::Join`]; `None` if it is not known, or was refused.
    pub fn joined(&mut self, now: Duration, joined: Option<Joined>, out: &mut Effects) {
        self.observe(now, out);
        let Some(session) = &mut self.session else { return };
        match joined {
            Some(joined) => {
                self.retry = RETRY_MIN;
                session.answer_by = None;
                session.own = Some(joined);
                out.push(Effect::Watch);
            }
            None => {
                // It may have been made: with the session it goes.
                self.session = None;
                out.push(Effect::Close);
                self.retry_later(now);
            }
        }
    }

    /// The children of the masters' path, as they are after [`Effect::Watch`] and after each change.
    pub fn children(&mut self, now: Duration, children: &[String], out: &mut Effects) {
        self.observe(now, out);
        let Some(session) = &mut self.session else { return };
        let Some(own) = session.own.clone() else { return };
        let next = session.detection.children(children.iter().map(String::as_str));
        let candidates = session.detection.candidates();
        let Some(place) = candidates.iter().position(|candidate| candidate.name == own.name) else {
            if mezzo_api::mutant!("removed-unnoticed") {
                return;
            }
            return self.step_down(Reason::Removed, out);
        };
        if place == 0 {
            if session.leading.is_none() && !std::mem::replace(&mut session.beginning, true) {
                session.challenger.in_line(false, out);
                session.answer_by = Some(now + session.timeout);
                out.push(Effect::Begin);
            }
            return;
        }
        session.challenger.in_line(place == 1, out);
        match next {
            Next::Read(name) => out.push(Effect::Read(name)),
            Next::Wait => {}
        }
    }

    /// The term of this leadership; `None` if it could not be begun.
    pub fn begun(&mut self, now: Duration, term: Option<u64>, out: &mut Effects) {
        self.observe(now, out);
        match term {
            Some(term) => self.lead(now, term, out),
            None => self.resign(now, out),
        }
    }

    /// The data of another candidate's znode; `None` if it was gone.
    pub fn read(&mut self, now: Duration, name: &str, data: Option<&[u8]>, out: &mut Effects) {
        self.observe(now, out);
        let Some(session) = &mut self.session else { return };
        session.detection.read(name, data);
        if session.leading.is_some() {
            return;
        }
        let leader = session.detection.leader().cloned();
        if let Some(news) = session.detection.news() {
            out.push(Effect::Follow(news.map(Box::new)));
        }
        let Some(info) = leader else { return };
        if self.config.former.contains(&info.id) && info.pid == self.config.info.pid {
            return out.push(Effect::Remove(name.to_owned()));
        }
        if self.config.challenge {
            let Some(candidate) = session.detection.candidates().first().cloned() else { return };
            session.challenger.watch(candidate, info, out);
        }
    }

    /// ZooKeeper answered a question of [`Effect::Confirm`] that was asked at `asked`: whether the own znode is there.
    pub fn confirmed(&mut self, now: Duration, asked: Duration, present: bool, out: &mut Effects) {
        self.observe(now, out);
        let Some(session) = &mut self.session else { return };
        let Some(leading) = &mut session.leading else { return };
        if !present && !mezzo_api::mutant!("removed-unnoticed") {
            return self.step_down(Reason::Removed, out);
        }
        leading.confirmed = leading.confirmed.max(asked);
        if leading.unsure_since.is_some_and(|since| asked >= since) && session.connected {
            leading.unsure_since = None;
        }
        self.heartbeat(now, out);
    }

    /// What is at the leader's address.
    pub fn probed(&mut self, now: Duration, name: &str, verdict: challenge::Verdict, out: &mut Effects) {
        self.observe(now, out);
        if let Some(session) = self.standing() {
            session.challenger.probed(now, name, verdict, out);
        }
    }

    /// What became of [`Effect::Challenge`].
    pub fn challenged(&mut self, now: Duration, made: challenge::Made, out: &mut Effects) {
        self.observe(now, out);
        if let Some(session) = self.standing() {
            session.challenger.made(now, made);
        }
    }

    /// What became of [`Effect::Depose`].
    pub fn deposed(&mut self, now: Duration, deposed: challenge::Deposed, out: &mut Effects) {
        self.observe(now, out);
        if let Some(session) = self.standing() {
            session.challenger.deposed(now, deposed, out);
        }
    }

    /// A challenge stands, unanswered, against the candidate of this name.
    pub fn challenge_seen(&mut self, now: Duration, against: &str, out: &mut Effects) {
        self.observe(now, out);
        let Some(session) = &mut self.session else { return };
        if session.own.as_ref().is_some_and(|own| own.name == against) && !mezzo_api::mutant!("challenge-unanswered") {
            out.push(Effect::Answer);
        }
    }

    /// It cannot lead: another one is to. It stands again after a while.
    pub fn resign(&mut self, now: Duration, out: &mut Effects) {
        self.observe(now, out);
        if self.session.is_some() {
            self.step_down(Reason::Unfit, out);
            self.retry = self.retry.max(RETRY_UNFIT);
            self.retry_later(now);
        }
    }

    /// The process ends: hand over at once.
    pub fn stop(&mut self, now: Duration, out: &mut Effects) {
        self.observe(now, out);
        self.stopped = true;
        if self.session.is_some() {
            self.step_down(Reason::Stopped, out);
        }
        self.retry_at = None;
    }

    /// Whether this master leads, sure or not.
    pub fn leads(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.leading.is_some())
    }

    /// When to call [`Contender::tick`] at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        let Some(session) = &self.session else { return self.retry_at };
        match &session.leading {
            Some(leading) => {
                Some(leading.heartbeat_at.min(leading.confirm_at).min(leading.confirmed + session.lease()))
            }
            None => session.challenger.deadline().into_iter().chain(session.answer_by).min(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration, out: &mut Effects) {
        self.observe(now, out);
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            out.push(Effect::Open);
        }
        let Some(session) = &mut self.session else { return };
        if session.leading.is_some() {
            self.heartbeat(now, out);
        } else if session.answer_by.is_some_and(|by| by <= now) {
            self.resign(now, out);
        } else {
            session.challenger.tick(now, out);
        }
    }

    /// The session of a candidate that waits.
    fn standing(&mut self) -> Option<&mut Session> {
        self.session.as_mut().filter(|session| session.leading.is_none())
    }

    /// A leader that notices that it was frozen knows nothing any more.
    fn observe(&mut self, now: Duration, out: &mut Effects) {
        let frozen = now.saturating_sub(self.seen) >= FROZEN;
        self.seen = now;
        let Some(leading) = self.session.as_mut().and_then(|session| session.leading.as_mut()) else { return };
        if frozen && !mezzo_api::mutant!("thaws-as-leader") {
            leading.unsure_since = Some(now);
            leading.confirm_at = now;
            out.push(Effect::Lease { until: now });
        }
    }

    fn lead(&mut self, now: Duration, term: u64, out: &mut Effects) {
        let Some(session) = &mut self.session else { return };
        let (Some(own), true, None) = (&session.own, session.beginning, &session.leading) else { return };
        session.leading = Some(Leading { confirmed: now, unsure_since: Some(now), confirm_at: now, heartbeat_at: now });
        tracing::info!(znode = own.name, term, id = session.id, "elected");
        out.push(Effect::Lead { name: own.name.clone(), term, id: session.id.clone() });
        self.heartbeat(now, out);
    }

    /// Asks if it is time to, and gives the lease that follows from what is known.
    fn heartbeat(&mut self, now: Duration, out: &mut Effects) {
        let Some(session) = &mut self.session else { return };
        let lease = session.lease();
        let period = (session.timeout / CONFIRMS).min(CONFIRM_MAX);
        let Some(leading) = &mut session.leading else { return };
        let end = leading.confirmed + lease;
        if end <= now && !mezzo_api::mutant!("lease-never-ends") {
            return self.step_down(Reason::Silence(lease), out);
        }
        if leading.confirm_at <= now {
            leading.confirm_at = now + period;
            out.push(Effect::Confirm);
        }
        leading.heartbeat_at = now + HEARTBEAT;
        if leading.unsure_since.is_none() {
            let until = now + FROZEN;
            let bounded = if mezzo_api::mutant!("lease-never-ends") { until } else { until.min(end) };
            out.push(Effect::Lease { until: bounded });
        }
    }

    /// Gives up the candidacy, and begins another one.
    fn step_down(&mut self, reason: Reason, out: &mut Effects) {
        let Some(session) = self.session.take() else { return };
        self.config.former.push(session.id);
        let surplus = self.config.former.len().saturating_sub(MAX_FORMER);
        self.config.former.drain(..surplus);
        if session.leading.is_some() {
            out.push(Effect::StepDown(reason));
        } else {
            out.push(Effect::Follow(None));
        }
        out.push(Effect::Close);
        if !self.stopped {
            self.retry_at = Some(self.seen);
        }
    }

    fn retry_later(&mut self, now: Duration) {
        if !self.stopped {
            self.retry_at = Some(now + self.retry);
            self.retry = (self.retry * 2).min(RETRY_MAX);
        }
    }

    /// Panics if something holds that never may; for tests and the simulator.
    pub fn check(&self) {
        let Some(session) = &self.session else { return };
        let first: Option<&Candidate> = session.detection.candidates().first();
        if session.leading.is_some() {
            let own = session.own.as_ref().map(|own| own.name.as_str());
            assert_eq!(first.map(|first| first.name.as_str()), own, "a leader that is not the first");
        }
    }
}

impl Session {
    fn lease(&self) -> Duration {
        self.timeout * LEASE_NUMERATOR / LEASE_DENOMINATOR
    }
}

#[cfg(test)]
mod tests;
