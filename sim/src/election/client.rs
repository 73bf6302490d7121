//! A client's connection with the ensemble: the library's part of a master.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use mezzo_election_core::Joined;

use super::ensemble::{Outcome, SessionId, Write};

/// What is asked of a server.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Open the session, or go on with it.
    Connect,
    /// A sign of life.
    Ping,
    /// The session is over.
    Close(SessionId),
    /// Names of the candidates, and the challenge: what a watch would tell.
    Children,
    /// A candidate's data.
    Read(String),
    /// Whether the own znode is there, not behind any write.
    Confirm {
        /// The own znode.
        own: String,
        /// When it was asked.
        asked: Duration,
    },
    /// A write.
    Write(Write),
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// The server is alive.
    Pong,
    /// The connection broke, or could not be made.
    Lost,
    /// The session is over.
    Expired,
    /// It is open.
    Opened(SessionId),
    /// It goes on.
    Connected,
    /// Candidates, and whom an unanswered challenge is against, after so many changes.
    Children(Vec<String>, Option<String>, u64),
    /// A candidate's data.
    Read(String, Option<Rc<Vec<u8>>>),
    /// Whether the own znode is there.
    Confirmed {
        /// When it was asked.
        asked: Duration,
        /// It is.
        present: bool,
    },
    /// What a write came to.
    Wrote(Write, Outcome),
}

/// What is to be done next.
pub(super) enum Due {
    /// Nothing.
    Nothing,
    /// These are asked.
    Ask(Vec<Op>),
    /// Another server is tried.
    Reconnect,
    /// The server has been silent for too long.
    Lost,
    /// All have.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Connecting,
    Connected,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Client {
    state: State,
    /// Changes when everything before is forgotten.
    pub(super) epoch: u64,
    /// The session, once it is open.
    pub(super) session: Option<SessionId>,
    /// The server.
    pub(super) server: usize,
    /// The newest write that it has seen.
    pub(super) last_zxid: i64,
    /// When a server was last heard of.
    pub(super) last_received: Duration,
    /// The own candidate's znode.
    pub(super) own: Option<Joined>,
    /// Questions without an answer, sent or waiting for a connection.
    pub(super) asked: BTreeMap<u64, Op>,
    waiting: Vec<u64>,
    next: u64,
    tried_at: Duration,
    pinged_at: Duration,
    /// Answers and questions of one connection keep their order.
    out: Duration,
    into: Duration,
    watching: bool,
    /// The changes at its server of which it was told.
    noticed: Option<u64>,
    looked_at: Duration,
    looked_for: Option<u64>,
    children: Option<Vec<String>>,
    challenge: Option<String>,
}

impl Client {
    /// No session, and none wanted.
    pub(super) fn closed(epoch: u64) -> Self {
        Self {
            state: State::Closed,
            epoch,
            session: None,
            server: 0,
            last_zxid: 0,
            last_received: Duration::ZERO,
            own: None,
            asked: BTreeMap::new(),
            waiting: Vec::new(),
            next: 0,
            tried_at: Duration::ZERO,
            pinged_at: Duration::ZERO,
            out: Duration::ZERO,
            into: Duration::ZERO,
            watching: false,
            noticed: None,
            looked_at: Duration::ZERO,
            looked_for: None,
            children: None,
            challenge: None,
        }
    }

    /// A session that is to be opened.
    pub(super) fn opening(now: Duration, server: usize) -> Self {
        Self { state: State::Connecting, server, last_received: now, ..Self::closed(0) }
    }

    /// The master knows of a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// Children and challenges are wanted from now on.
    pub(super) fn watch(&mut self) {
        (self.watching, self.noticed, self.children) = (true, None, None);
    }

    /// A question, if it can be sent now.
    pub(super) fn ask(&mut self, op: Op) -> Option<u64> {
        if self.state == State::Closed {
            return None;
        }
        self.next += 1;
        self.asked.insert(self.next, op);
        if self.is_connected() {
            return Some(self.next);
        }
        self.waiting.push(self.next);
        None
    }

    /// When a question leaves that would leave at `at`.
    pub(super) fn outgoing(&mut self, at: Duration) -> Duration {
        self.out = self.out.max(at);
        self.out
    }

    /// When an answer comes that would come at `at`, from a server that has seen this.
    pub(super) fn incoming(&mut self, at: Duration, zxid: i64) -> Duration {
        self.last_zxid = self.last_zxid.max(zxid);
        self.into = self.into.max(at);
        self.into
    }

    /// The session is open.
    pub(super) fn opened(&mut self, session: SessionId) {
        (self.state, self.session) = (State::Connected, Some(session));
    }

    /// The session goes on: what waited is sent.
    pub(super) fn connected(&mut self) -> Vec<u64> {
        self.state = State::Connected;
        std::mem::take(&mut self.waiting)
    }

    /// What is new of children and challenge.
    pub(super) fn sees(
        &mut self,
        children: &[String],
        challenge: Option<String>,
        changes: u64,
    ) -> (bool, Option<String>) {
        self.noticed = Some(changes);
        let new = self.watching && self.children.as_deref() != Some(children);
        if new {
            self.children = Some(children.to_vec());
        }
        let against = challenge.clone().filter(|_| self.challenge != challenge);
        self.challenge = challenge;
        (new, against)
    }

    /// The connection broke: whether there was one, and what was sent and not answered.
    pub(super) fn disconnected(&mut self, now: Duration, servers: usize) -> (bool, Vec<Op>) {
        let was = self.is_connected();
        if self.state != State::Closed {
            self.state = State::Connecting;
        }
        self.server = (self.server + 1) % servers;
        (self.tried_at, self.noticed) = (now, None);
        let waiting: BTreeMap<u64, Op> =
            self.waiting.iter().filter_map(|number| Some((*number, self.asked.remove(number)?))).collect();
        let unanswered = std::mem::replace(&mut self.asked, waiting);
        (was, unanswered.into_values().collect())
    }

    /// Asks the next server.
    pub(super) fn reconnect(&mut self, now: Duration, servers: usize) -> u64 {
        self.tried_at = now;
        self.server = (self.server + 1) % servers;
        self.next += 1;
        self.asked.insert(self.next, Op::Connect);
        self.next
    }

    /// What the library does by itself, with a session of this timeout (its numbers are those of crate zookeeper-client), at a
    /// server that has seen so many changes.
    pub(super) fn due(&mut self, now: Duration, timeout: Duration, changes: u64) -> Due {
        let silent = now.saturating_sub(self.last_received);
        match self.state {
            State::Closed => Due::Nothing,
            State::Connecting if silent >= timeout * 7 / 5 => Due::Over,
            State::Connecting if now >= self.tried_at + timeout / 20 => Due::Reconnect,
            State::Connecting => Due::Nothing,
            State::Connected if silent >= timeout * 2 / 5 => Due::Lost,
            State::Connected => {
                let mut ops = Vec::new();
                if now >= self.pinged_at + timeout * 3 / 20 {
                    self.pinged_at = now;
                    ops.push(Op::Ping);
                }
                // What is lost on the way is sent again, as TCP would.
                let again = self.looked_for != Some(changes) || now >= self.looked_at + timeout / 20;
                if self.watching && self.noticed != Some(changes) && again {
                    (self.looked_at, self.looked_for) = (now, Some(changes));
                    ops.push(Op::Children);
                }
                Due::Ask(ops)
            }
        }
    }
}
