//! Pings and lost links: an agent that says nothing for long enough is unreachable.

use mezzo_api::{
    ids::AgentId,
    link::{self, to_agent},
    time::Now,
    v1::scheduler::event,
};

use super::removals::{BATCH, Candidate};
use crate::{
    core::Core, counters::Counter, effect::Effects, events, input::LinkId, keys::AgentKey, model::Mark, timers::Timer,
};

impl Core {
    pub(crate) fn on_link_down(&mut self, now: Now, id: LinkId, out: &mut Effects) {
        let Some(link) = self.agents.links.remove(&id) else { return };
        let Some(key) = link.agent else { return };
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.link == Some(id)) else { return };
        agent.link = None;
        agent.away_since = Some(now.mono);
        // From now on silence counts, and nothing of what was before its last word.
        if agent.heard {
            agent.missed_pings = 0;
        }
        agent.heard = false;
        let patience = self.config.agent_ping_timeout * self.config.max_agent_ping_timeouts;
        tracing::info!(
            agent = %agent.id,
            hostname = agent.info.hostname(),
            tasks = agent.tasks.len(),
            "agent disconnected: nothing of it is offered until it is back; its tasks are given up after {} s of silence",
            patience.as_secs_f64()
        );
        self.set_ping_timer(now, key);
        self.dirty.agents.insert(key);
        self.allocator.set_agent_active(now.mono, key, false);
        self.rescind_offers_of_agent(now, key, out);
        self.rescind_inverse_offers_of_agent(now, key, out);
    }

    /// The interval begins anew; not for an agent that is being given up.
    pub(super) fn set_ping_timer(&mut self, now: Now, key: AgentKey) {
        let Some(agent) = self.agents.get_mut(key).filter(|agent| !agent.leaving) else { return };
        if let Some(timer) = agent.ping_timer.take() {
            self.timers.cancel(timer);
        }
        let deadline = now.mono + self.config.agent_ping_timeout;
        agent.ping_timer = Some(self.timers.set(deadline, Timer::Ping(key)));
    }

    /// An interval is over: was anything heard in it?
    pub(crate) fn on_ping_timer(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let limit = self.config.max_agent_ping_timeouts;
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.ping_timer = None;
        if agent.leaving {
            return;
        }
        agent.missed_pings =
            if agent.heard || mezzo_api::mutant!("silence-forgiven") { 0 } else { agent.missed_pings + 1 };
        agent.missed_pings = agent.missed_pings.min(limit);
        let (silent, waits) = (agent.missed_pings >= limit, agent.removal_waits);
        if silent && !waits {
            tracing::warn!(
                agent = %agent.id, hostname = agent.info.hostname(), missed = agent.missed_pings, tasks = agent.tasks.len(),
                "agent does not answer its pings"
            );
            agent.removal_waits = true;
            agent.heard = false;
            self.counters.increment(Counter::SlaveUnreachableScheduled);
            self.give_up_in_turn(now, Candidate::Silent(key), out);
        } else if !silent {
            self.keep_after_all(key);
        }
        let Some(agent) = self.agents.get_mut(key).filter(|agent| !agent.leaving && agent.ping_timer.is_none()) else {
            return;
        };
        agent.heard = false;
        agent.pings += 1;
        let sequence = agent.pings;
        self.set_ping_timer(now, key);
        self.tell(key, to_agent::Message::Ping(link::Ping { sequence }), out);
    }

    /// Agents of the registry that have not come back since this master leads are unreachable.
    pub(crate) fn on_recovered_timeout(&mut self, now: Now, out: &mut Effects) {
        let lost: Vec<AgentId> =
            self.agents.recovered.keys().filter(|id| !self.agents.writing.contains_key(*id)).cloned().collect();
        if lost.is_empty() {
            return;
        }
        if self.is_too_much(lost.len()) {
            self.timers.set(now.mono + self.config.agent_reregister_timeout, Timer::RecoveredAgents);
            return;
        }
        tracing::warn!(
            agents = lost.len(),
            "agents have not come back within {} s since this master leads: they are unreachable",
            self.config.agent_reregister_timeout.as_secs_f64()
        );
        if self.removals.are_paced() {
            lost.into_iter().for_each(|id| self.give_up_in_turn(now, Candidate::Missing(id), out));
        } else {
            lost.chunks(BATCH).for_each(|part| self.write_missing(now, part.to_vec(), out));
        }
    }

    /// More agents are missing than may be given up (`--recovery_agent_removal_limit`): something else is wrong.
    fn is_too_much(&self, lost: usize) -> bool {
        let (limit, all) = (self.config.lifecycle.recovery_removal_limit, self.agents.recovered_count);
        #[allow(clippy::cast_precision_loss)] // far fewer
        let part = lost as f64 / all.max(1) as f64;
        if part > limit {
            tracing::error!(
                missing = lost,
                known = all,
                "more agents than --recovery_agent_removal_limit={}% allows have not come back: none is given up, and they \
                 are waited for again; look at the network, or raise the limit",
                limit * 100.0
            );
        }
        part > limit
    }

    /// They are written down as unreachable.
    pub(crate) fn give_up(&mut self, now: Now, agents: Vec<AgentId>, since: i64, out: &mut Effects) {
        for id in agents {
            self.counters.increment(Counter::RecoverySlaveRemovals);
            self.counters.increment(Counter::SlaveRemovals);
            self.forget_recovered(&id);
            self.mark(&id, Some(Mark::Unreachable(since)));
            self.tell_all_of_loss(&id, out);
            self.end_write_of(now, &id, out);
        }
    }

    /// FAILURE with the agent alone, to every framework.
    pub(super) fn tell_all_of_loss(&self, id: &AgentId, out: &mut Effects) {
        for framework in self.frameworks.slots.keys() {
            let failure = event::Failure { agent_id: Some(id.proto()), ..Default::default() };
            self.send(framework, events::failure(failure), out);
        }
    }
}

/// Wall time as the registry keeps it.
pub(super) fn nanoseconds(now: Now) -> i64 {
    let since = now.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
