//! Pings and lost links: an agent that says nothing for long enough is unreachable.

use mezzo_api::{
    ids::AgentId,
    link::{self, to_agent},
    time::Now,
    v1::scheduler::event,
};

use super::remove::Cause;
use crate::{
    core::Core, counters::Counter, effect::Effects, events, input::LinkId, keys::AgentKey, registry::RegistryOp,
    timers::Timer, writes::Pending,
};

impl Core {
    pub(crate) fn on_link_down(&mut self, now: Now, id: LinkId, out: &mut Effects) {
        let Some(link) = self.agents.links.remove(&id) else { return };
        let Some(key) = link.agent else { return };
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.link == Some(id)) else { return };
        agent.link = None;
        // From now on silence counts, and nothing of what was before its last word.
        if agent.heard {
            agent.missed_pings = 0;
        }
        agent.heard = false;
        tracing::info!(agent = %agent.id, "agent disconnected");
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
        if agent.missed_pings >= limit {
            tracing::warn!(agent = %agent.id, missed = agent.missed_pings, "agent does not answer");
            self.counters.increment(Counter::SlaveUnreachableScheduled);
            self.begin_agent_removal(now, key, Cause::Unreachable(nanoseconds(now)), out);
            return;
        }
        agent.heard = false;
        agent.pings += 1;
        let sequence = agent.pings;
        self.set_ping_timer(now, key);
        self.tell(key, to_agent::Message::Ping(link::Ping { sequence }), out);
    }

    /// Agents of the registry that have not come back since this master leads are unreachable.
    pub(crate) fn on_recovered_timeout(&mut self, now: Now, out: &mut Effects) {
        let since = nanoseconds(now);
        let lost: Vec<AgentId> =
            self.agents.recovered.keys().filter(|id| !self.agents.writing.contains_key(*id)).cloned().collect();
        if lost.is_empty() {
            return;
        }
        tracing::warn!(agents = lost.len(), "agents have not come back since this master leads");
        for id in &lost {
            self.agents.writing.insert(id.clone(), None);
        }
        let ops = lost.iter().map(|id| RegistryOp::MarkUnreachable(id.clone(), since)).collect();
        self.write(ops, Pending::RecoveredUnreachable(lost, since), out);
    }

    /// They are written down as unreachable.
    pub(crate) fn give_up(&mut self, now: Now, agents: Vec<AgentId>, since: i64, out: &mut Effects) {
        for id in agents {
            self.counters.increment(Counter::RecoverySlaveRemovals);
            self.counters.increment(Counter::SlaveRemovals);
            self.forget_recovered(&id);
            self.agents.unreachable.insert(id.clone(), since);
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
fn nanoseconds(now: Now) -> i64 {
    let since = now.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
