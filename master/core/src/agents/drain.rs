//! DRAIN_AGENT, DEACTIVATE_AGENT, REACTIVATE_AGENT: what an operator wants of an agent, in the registry before anything
//! follows (src/master/http.cpp, _drainAgent, _deactivateAgent, _reactivateAgent; src/master/master.cpp,
//! checkAndTransitionDrainingAgent).

use mezzo_api::{
    ids::AgentId,
    link::{self, to_agent},
    time::Now,
    v1::{self, DrainState, agent_info::capability},
};

use super::{Removal, remove::Cause};
use crate::{
    core::Core,
    effect::{Answer, Effect, Effects},
    input::RequestId,
    keys::AgentKey,
    registry::{RegistryOp, Standing},
    writes::Pending,
};

/// A change of what is wanted of an agent, on its way to the registry.
#[derive(Clone, Debug)]
pub(crate) struct Restanding {
    agent: AgentId,
    standing: Standing,
    step: Step,
    request: Option<RequestId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Drain,
    Deactivate,
    Reactivate,
    Drained,
}

impl Core {
    pub(crate) fn on_drain(&mut self, request: RequestId, id: &AgentId, config: v1::DrainConfig, out: &mut Effects) {
        if let Some(agent) = self.agents.find(id.as_str()).and_then(|key| self.agents.get(key))
            && !agent.capabilities.contains(&capability::Type::AgentDraining)
        {
            let text = format!("Agent {id} is not capable of draining");
            return out.push(Effect::Reply(request, Answer::new(400, text)));
        }
        if !self.is_standing(id) {
            return out.push(Effect::Reply(request, Answer::new(400, "Unknown agent")));
        }
        if self.is_going(id) {
            return out.push(Effect::Reply(request, Answer::new(409, "Agent is currently being marked gone")));
        }
        let drain = Some(v1::DrainInfo { state: DrainState::Draining as i32, config });
        self.restand(id, Standing { deactivated: true, drain }, Step::Drain, Some(request), out);
    }

    pub(crate) fn on_deactivate(&mut self, request: RequestId, id: &AgentId, out: &mut Effects) {
        if !self.is_standing(id) {
            return out.push(Effect::Reply(request, Answer::new(400, "Unknown agent")));
        }
        let before = self.agents.standings.get(id).cloned().unwrap_or_default();
        self.restand(id, Standing { deactivated: true, ..before }, Step::Deactivate, Some(request), out);
    }

    pub(crate) fn on_reactivate(&mut self, request: RequestId, id: &AgentId, out: &mut Effects) {
        let before = self.agents.standings.get(id);
        if !before.is_some_and(|standing| standing.deactivated) {
            return out.push(Effect::Reply(request, Answer::new(400, "Agent is not deactivated")));
        }
        if before.is_some_and(Standing::is_draining) {
            return out.push(Effect::Reply(request, Answer::new(400, "Agent is still in the DRAINING state")));
        }
        self.restand(id, Standing::default(), Step::Reactivate, Some(request), out);
    }

    /// Registered, expected back, or unreachable.
    fn is_standing(&self, id: &AgentId) -> bool {
        self.agents.find(id.as_str()).is_some()
            || self.agents.recovered.contains_key(id)
            || self.agents.unreachable.contains_key(id)
    }

    fn is_going(&self, id: &AgentId) -> bool {
        self.writes.pending().any(|pending| match pending {
            Pending::Remove(removal) => removal.id == *id && matches!(removal.cause, Cause::Gone(_)),
            Pending::Gone { agent, .. } => agent == id,
            _ => false,
        })
    }

    fn restand(&mut self, id: &AgentId, standing: Standing, step: Step, request: Option<RequestId>, out: &mut Effects) {
        let op = RegistryOp::PutStanding(id.clone(), standing.clone());
        let change = Restanding { agent: id.clone(), standing, step, request };
        self.write(vec![op], Pending::Standing(Box::new(change)), out);
    }

    /// It is written down.
    pub(crate) fn restood(&mut self, now: Now, change: Restanding, out: &mut Effects) {
        let Restanding { agent: id, standing, step, request } = change;
        let reply = |answer: Answer, out: &mut Effects| {
            if let Some(request) = request {
                out.push(Effect::Reply(request, answer));
            }
        };
        if !self.is_standing(&id) {
            // It was removed meanwhile.
            self.write(vec![RegistryOp::PutStanding(id, Standing::default())], Pending::Forget, out);
            return reply(Answer::new(409, "Agent removed while processing the call"), out);
        }
        let begins = step == Step::Drain;
        let before = self.agents.standings.remove(&id).unwrap_or_default();
        if standing != Standing::default() {
            self.agents.standings.insert(id.clone(), standing.clone());
        }
        let key = self.agents.find(id.as_str());
        if let Some(key) = key {
            self.apply_standing(now, key, &standing, begins, out);
        }
        tracing::info!(agent = %id, ?before, now = ?standing, "what is wanted of an agent changed");
        let missing = step == Step::Reactivate && key.is_none();
        let answer = if missing { (409, "Agent removed while processing the call") } else { (200, "") };
        reply(Answer::new(answer.0, answer.1), out);
        if let Some(key) = key.filter(|_| begins) {
            self.end_drain_if_empty(now, key, out);
        }
    }

    fn apply_standing(&mut self, now: Now, key: AgentKey, standing: &Standing, begins: bool, out: &mut Effects) {
        let Some(agent) = self.agents.get_mut(key) else { return };
        agent.standing = standing.clone();
        if begins {
            agent.drain_began = Some(now.timestamp());
        } else if standing.drain.is_none() {
            agent.drain_began = None;
        }
        let active = agent.active() || mezzo_api::mutant!("drained-agent-offered");
        self.dirty.agents.insert(key);
        self.allocator.set_agent_active(now.mono, key, active);
        if !active {
            self.rescind_offers_of_agent(now, key, out);
        }
        if let Some(drain) = standing.drain.as_ref().filter(|_| begins) {
            let message = link::DrainAgent { config: drain.config };
            self.tell(key, to_agent::Message::DrainAgent(message), out);
        }
    }

    /// An agent is back: it hears whether it is to be empty, also if it was so already.
    pub(crate) fn repeat_drain(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let Some(drain) = self.agents.get(key).and_then(|agent| agent.standing.drain) else { return };
        self.tell(key, to_agent::Message::DrainAgent(link::DrainAgent { config: drain.config }), out);
        self.end_drain_if_empty(now, key, out);
    }

    /// A draining agent without tasks is drained, or gone.
    pub(crate) fn end_drain_if_empty(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let Some(agent) = self.agents.get(key).filter(|agent| !agent.leaving && agent.standing.is_draining()) else {
            return;
        };
        if !agent.tasks.is_empty() && !mezzo_api::mutant!("drained-with-tasks") {
            return;
        }
        let Some(drain) = agent.standing.drain else { return };
        let id = agent.id.clone();
        let ends = self.writes.pending().any(|pending| match pending {
            Pending::Standing(change) => change.agent == id && change.step == Step::Drained,
            _ => false,
        });
        if ends || drain.config.mark_gone() && self.agents.writing.contains_key(&id) {
            return;
        }
        if drain.config.mark_gone() {
            tracing::info!(agent = %id, "drained, and to be gone");
            let since = super::liveness::nanoseconds(now);
            self.begin_leaving(now, key, out);
            let mut ops = vec![RegistryOp::MarkGone(id.clone(), since)];
            self.drop_standing(&id, &mut ops);
            let removal = Removal { agent: key, id, cause: Cause::Gone(since), request: None };
            return self.write(ops, Pending::Remove(removal), out);
        }
        tracing::info!(agent = %id, "drained");
        let drain = Some(v1::DrainInfo { state: DrainState::Drained as i32, ..drain });
        self.restand(&id, Standing { deactivated: true, drain }, Step::Drained, None, out);
    }

    /// With the record of an agent goes what was wanted of it.
    pub(super) fn drop_standing(&self, id: &AgentId, ops: &mut Vec<RegistryOp>) {
        if self.agents.standings.contains_key(id) {
            ops.push(RegistryOp::PutStanding(id.clone(), Standing::default()));
        }
    }

    /// Nothing is wanted any more of an agent that is no more.
    pub(crate) fn forget_standing(&mut self, id: &AgentId) {
        self.agents.standings.remove(id);
    }

    /// This master leads no more: who waits for a change hears so.
    pub(crate) fn refuse_restandings(&mut self, out: &mut Effects) {
        let waiting: Vec<RequestId> = self
            .writes
            .pending()
            .filter_map(|pending| match pending {
                Pending::Standing(change) => change.request,
                _ => None,
            })
            .collect();
        out.extend(waiting.into_iter().map(|request| Effect::Reply(request, Answer::new(503, "No leader elected"))));
    }
}
