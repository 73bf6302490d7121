//! Whom to dial next.

use crate::address::Address;

use super::config::Masters;

/// The masters that are known, and who of them leads as far as known.
#[derive(Debug)]
pub(super) struct Candidates {
    listed: Vec<Address>,
    at: usize,
    /// Named by a detector or by a redirect.
    leader: Option<Address>,
    /// Attempts that failed since the last wait.
    tried: usize,
    redirects: usize,
}

/// More redirects in a row than this are a loop of masters that do not agree.
const MAX_REDIRECTS: usize = 5;

impl Candidates {
    pub(super) fn new(masters: &Masters) -> Self {
        let listed = match masters {
            Masters::Listed(list) => list.clone(),
            Masters::Detected => Vec::new(),
        };
        Self { listed, at: 0, leader: None, tried: 0, redirects: 0 }
    }

    /// Rather than named by a detector.
    pub(super) fn are_listed(&self) -> bool {
        !self.listed.is_empty()
    }

    pub(super) fn current(&self) -> Option<&Address> {
        self.leader.as_ref().or_else(|| self.listed.get(self.at))
    }

    pub(super) fn detected(&mut self, leader: Option<Address>) {
        self.leader = leader;
        self.tried = 0;
        self.redirects = 0;
    }

    /// Whether to follow at once. A leader that a detector named and that redirects has not heard of its election yet: whom
    /// it takes for the leader may be dead.
    pub(super) fn redirected(&mut self, to: Address) -> bool {
        if !self.are_listed() {
            return false;
        }
        self.redirects += 1;
        if self.redirects > MAX_REDIRECTS {
            self.redirects = 0;
            return false;
        }
        self.leader = Some(to);
        true
    }

    /// Turns to the next one; says whether it may be tried at once because not all were since the last wait.
    pub(super) fn failed(&mut self) -> bool {
        if self.listed.is_empty() {
            return false; // the detector knows: the same one again, after a wait
        }
        if self.leader.take().is_none() {
            self.at = (self.at + 1) % self.listed.len();
        }
        self.tried += 1;
        if self.tried < self.listed.len() {
            return true;
        }
        self.tried = 0;
        false
    }

    pub(super) fn succeeded(&mut self) {
        self.tried = 0;
        self.redirects = 0;
    }
}
