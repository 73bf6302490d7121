//! The pace at which agents that do not answer are given up (`--agent_removal_rate_limit`): a failing network must not cost
//! all agents at once. Who is heard meanwhile stays (src/master/master.cpp, SlaveObserver::markUnreachable).

use std::{collections::VecDeque, time::Duration};

use mezzo_api::{ids::AgentId, time::Now};

use super::{liveness::nanoseconds, remove::Cause};
use crate::{
    core::Core, counters::Counter, effect::Effects, input::Lifecycle, keys::AgentKey, registry::RegistryOp,
    timers::Timer, writes::Pending,
};

/// So many agents at most are written down at a time: a request to the registry has its limits.
pub(super) const BATCH: usize = 500;

/// Who is to be given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// A registered agent that missed its pings.
    Silent(AgentKey),
    /// An agent of the registry that has not come back since this master leads.
    Missing(AgentId),
}

/// Those who wait for their turn.
#[derive(Debug)]
pub(crate) struct Removals {
    /// One removal in each; none: as they come.
    interval: Option<Duration>,
    /// No removal before this.
    next: Duration,
    pub(crate) waiting: VecDeque<Candidate>,
}

impl Removals {
    pub(crate) fn new(lifecycle: &Lifecycle) -> Self {
        let interval = lifecycle.removal_rate_limit.map(|limit| limit.interval());
        Self { interval, next: Duration::ZERO, waiting: VecDeque::new() }
    }

    /// Whether removals are paced at all.
    pub(super) fn are_paced(&self) -> bool {
        self.interval.is_some()
    }
}

impl Core {
    /// Gives the agent up when it is its turn: at once, if removals are not paced.
    pub(super) fn give_up_in_turn(&mut self, now: Now, candidate: Candidate, out: &mut Effects) {
        let Some(interval) = self.removals.interval.filter(|_| !mezzo_api::mutant!("removals-not-paced")) else {
            self.give_up_now(now, &candidate, out);
            return;
        };
        if self.removals.waiting.is_empty() && self.removals.next <= now.mono {
            if self.give_up_now(now, &candidate, out) {
                self.removals.next = now.mono + interval;
            }
            return;
        }
        if self.removals.waiting.is_empty() {
            self.timers.set(self.removals.next, Timer::Removal);
        }
        self.removals.waiting.push_back(candidate);
    }

    /// The next one's turn. Who has spoken meanwhile takes nobody's.
    pub(crate) fn on_removal_timer(&mut self, now: Now, out: &mut Effects) {
        let interval = self.removals.interval.unwrap_or_default();
        while let Some(candidate) = self.removals.waiting.pop_front() {
            if self.give_up_now(now, &candidate, out) {
                self.removals.next = now.mono + interval;
                break;
            }
        }
        if !self.removals.waiting.is_empty() {
            self.timers.set(self.removals.next, Timer::Removal);
        }
    }

    /// Whether it is given up: not if it was heard meanwhile.
    fn give_up_now(&mut self, now: Now, candidate: &Candidate, out: &mut Effects) -> bool {
        match candidate {
            Candidate::Silent(key) => self.give_up_silent(now, *key, out),
            Candidate::Missing(id) => {
                let waits = self.agents.recovered.contains_key(id) && !self.agents.writing.contains_key(id);
                if waits {
                    self.write_missing(now, vec![id.clone()], out);
                }
                waits
            }
        }
    }

    fn give_up_silent(&mut self, now: Now, key: AgentKey, out: &mut Effects) -> bool {
        let limit = self.config.max_agent_ping_timeouts;
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.removal_waits) else { return false };
        agent.removal_waits = false;
        let heard = agent.heard && !mezzo_api::mutant!("late-word-ignored");
        if heard || agent.missed_pings < limit || agent.leaving {
            self.counters.increment(Counter::SlaveUnreachableCanceled);
            return false;
        }
        self.begin_agent_removal(now, key, Cause::Unreachable(nanoseconds(now)), out);
        true
    }

    /// It has spoken, or is back: it keeps its place.
    pub(super) fn keep_after_all(&mut self, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.removal_waits) else { return };
        agent.removal_waits = false;
        tracing::info!(agent = %agent.id, hostname = agent.info.hostname(), "agent answers again before it was given up");
        self.counters.increment(Counter::SlaveUnreachableCanceled);
        self.removals.waiting.retain(|candidate| *candidate != Candidate::Silent(key));
    }

    /// Agents that did not come back are written down as unreachable.
    pub(super) fn write_missing(&mut self, now: Now, agents: Vec<AgentId>, out: &mut Effects) {
        let since = nanoseconds(now);
        for id in &agents {
            self.agents.writing.insert(id.clone(), None);
        }
        let ops = agents.iter().map(|id| RegistryOp::MarkUnreachable(id.clone(), since)).collect();
        self.write(ops, Pending::RecoveredUnreachable(agents, since), out);
    }
}
