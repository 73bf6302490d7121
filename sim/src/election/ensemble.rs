//! A ZooKeeper ensemble as its clients can tell it: one order of writes, servers that apply them later, sessions that the
//! leading server ends, and no answers without a quorum.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub u64);

/// A candidate's znode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Znode {
    /// Whose session it is bound to.
    pub(super) session: SessionId,
    /// What its maker wrote.
    pub(super) data: Rc<Vec<u8>>,
    /// The write that made it.
    pub(super) czxid: i64,
}

/// Everything that the masters keep there, after one write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Writes so far.
    pub(super) zxid: i64,
    /// Candidates by name; names sort like their numbers.
    pub(super) candidates: BTreeMap<String, Znode>,
    next_sequence: u32,
    /// Writes that a watch would tell of.
    pub(super) changes: u64,
    /// Against whom, by which session, and whether it was answered.
    pub(super) challenge: Option<(String, SessionId, bool)>,
    /// When a leader was last removed by a challenge.
    pub(super) deposed_at: Option<Duration>,
    /// The last term.
    pub(super) term: u64,
}

/// A write.
#[derive(Clone, Debug)]
pub(super) enum Write {
    /// Make a candidate's znode.
    Join(Rc<Vec<u8>>),
    /// The next term, fenced on the candidate's znode.
    Begin(String),
    /// Remove a candidate.
    Remove(String),
    /// Challenge a candidate.
    Challenge(String),
    /// Answer the challenge.
    Answer,
    /// By a candidate: remove the challenged one.
    Depose(String, String),
    /// Something in the registry, fenced on the candidate's znode.
    Registry(String),
    /// Nothing: an answer that is not behind any write before it.
    Sync,
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A candidate's znode was made.
    Joined(String, i64),
    /// A term was begun.
    Begun(u64),
    /// It was done.
    Done,
    /// A condition did not hold.
    Refused,
}

/// After a leader was removed by a challenge, none is made for so long.
const COOLDOWN: Duration = Duration::from_secs(5);

impl Tree {
    fn apply(&mut self, now: Duration, session: SessionId, write: &Write) -> Outcome {
        self.zxid += 1;
        self.changes += u64::from(!matches!(write, Write::Sync | Write::Registry(_) | Write::Begin(_)));
        let there = |tree: &Self, name: &str| tree.candidates.contains_key(name);
        match write {
            Write::Join(data) => {
                let name = format!("json.info_{:010}", self.next_sequence);
                self.next_sequence += 1;
                let znode = Znode { session, data: Rc::clone(data), czxid: self.zxid };
                self.candidates.insert(name.clone(), znode);
                Outcome::Joined(name, self.zxid)
            }
            Write::Begin(own) if there(self, own) => {
                self.term += 1;
                Outcome::Begun(self.term)
            }
            Write::Registry(own) if there(self, own) => Outcome::Done,
            Write::Remove(name) => {
                self.candidates.remove(name);
                Outcome::Done
            }
            Write::Challenge(against) => {
                let cool = self.deposed_at.is_none_or(|at| now.saturating_sub(at) >= COOLDOWN);
                if self.challenge.is_some() || !cool {
                    self.challenge.take_if(|(_, by, _)| *by == session);
                    return Outcome::Refused;
                }
                self.challenge = Some((against.clone(), session, false));
                Outcome::Done
            }
            Write::Answer => match &mut self.challenge {
                Some((_, _, answered)) => {
                    *answered = true;
                    Outcome::Done
                }
                None => Outcome::Refused,
            },
            Write::Depose(own, leader) => {
                let unanswered = self.challenge.as_ref().is_some_and(|(_, by, answered)| *by == session && !answered);
                let done = unanswered && there(self, own) && there(self, leader);
                if done {
                    self.candidates.remove(leader);
                    self.deposed_at = Some(now);
                }
                self.challenge.take_if(|(_, by, _)| *by == session);
                if done { Outcome::Done } else { Outcome::Refused }
            }
            Write::Sync => Outcome::Done,
            Write::Begin(_) | Write::Registry(_) => Outcome::Refused,
        }
    }

    fn end(&mut self, session: SessionId) {
        (self.zxid, self.changes) = (self.zxid + 1, self.changes + 1);
        self.candidates.retain(|_, znode| znode.session != session);
        self.challenge.take_if(|(_, by, _)| *by == session);
    }
}

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Its process runs.
    pub(super) up: bool,
    /// It may answer clients: it is one of a majority that knows its leader.
    pub(super) serves: bool,
    /// What it has applied.
    pub(super) tree: Rc<Tree>,
}

/// All servers.
#[derive(Debug)]
pub(super) struct Ensemble {
    /// The servers.
    pub(super) servers: Vec<Server>,
    /// The order of writes so far: what the latest left.
    pub(super) latest: Rc<Tree>,
    /// When each session ends unless it is heard of.
    sessions: BTreeMap<SessionId, Duration>,
    next_session: u64,
    timeout: Duration,
}

impl Ensemble {
    /// So many servers that serve.
    pub(super) fn new(servers: usize, timeout: Duration) -> Self {
        let tree = Rc::new(Tree::default());
        let server = Server { up: true, serves: true, tree: Rc::clone(&tree) };
        Self { servers: vec![server; servers], latest: tree, sessions: BTreeMap::new(), next_session: 1, timeout }
    }

    /// A new session.
    pub(super) fn open(&mut self, now: Duration) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        self.sessions.insert(session, now + self.timeout);
        session
    }

    /// Whether the session is not over.
    pub(super) fn knows(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The leading server heard of the session.
    pub(super) fn touch(&mut self, now: Duration, session: SessionId) {
        if let Some(end) = self.sessions.get_mut(&session) {
            *end = now + self.timeout;
        }
    }

    /// A new leading server gives every session its whole time again.
    pub(super) fn renew(&mut self, now: Duration) {
        for end in self.sessions.values_mut() {
            *end = now + self.timeout;
        }
    }

    /// A client closed its session.
    pub(super) fn close(&mut self, session: SessionId) {
        if self.sessions.remove(&session).is_some() {
            Rc::make_mut(&mut self.latest).end(session);
        }
    }

    /// Ends the sessions that were not heard of.
    pub(super) fn expire(&mut self, now: Duration) {
        let over: Vec<_> = self.sessions.iter().filter(|(_, end)| **end <= now).map(|(session, _)| *session).collect();
        over.into_iter().for_each(|session| self.close(session));
    }

    /// The next write in the order.
    pub(super) fn write(&mut self, now: Duration, server: usize, session: SessionId, write: &Write) -> Outcome {
        let outcome = Rc::make_mut(&mut self.latest).apply(now, session, write);
        self.catch_up(server); // a server answers a write when it has applied it
        outcome
    }

    /// The server has applied everything.
    pub(super) fn catch_up(&mut self, server: usize) {
        self.servers[server].tree = Rc::clone(&self.latest);
    }
}
