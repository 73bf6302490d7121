//! MARK_AGENT_GONE: the operator says that an agent will never come back (src/master/http.cpp, _markAgentGone;
//! src/master/master.cpp, markGone).

use mezzo_api::{
    ids::AgentId,
    time::Now,
    v1::{TaskState, task_status::Reason},
};

use super::{liveness::nanoseconds, remove::Cause, reregister::End};
use crate::{
    agents::Removal,
    core::Core,
    effect::{Answer, Effect, Effects},
    input::RequestId,
    model::Mark,
    registry::RegistryOp,
    writes::Pending,
};

const GONE: End = End {
    state: TaskState::TaskGoneByOperator,
    reason: Reason::AgentRemovedByOperator,
    message: "Agent has been marked gone",
};

impl Core {
    pub(crate) fn on_mark_gone(&mut self, now: Now, request: RequestId, id: &AgentId, out: &mut Effects) {
        if self.agents.gone.contains_key(id) {
            // It is what was asked for (src/master/http.cpp, Master::Http::markAgentGone).
            out.push(Effect::Reply(request, Answer::new(200, "")));
            return;
        }
        if self.agents.writing.contains_key(id) {
            let text = format!("Agent {id} is in transition: try again");
            out.push(Effect::Reply(request, Answer::new(503, text)));
            return;
        }
        let since = nanoseconds(now);
        let mut ops = vec![RegistryOp::MarkGone(id.clone(), since)];
        self.drop_standing(id, &mut ops);
        if let Some(key) = self.agents.find(id.as_str()) {
            self.begin_leaving(now, key, out);
            let removal = Removal { agent: key, id: id.clone(), cause: Cause::Gone(since), request: Some(request) };
            self.write(ops, Pending::Remove(removal), out);
            return;
        }
        if !self.agents.recovered.contains_key(id) && !self.agents.unreachable.contains_key(id) {
            out.push(Effect::Reply(request, Answer::new(404, format!("Agent '{id}' not found"))));
            return;
        }
        self.agents.writing.insert(id.clone(), None);
        self.write(ops, Pending::Gone { agent: id.clone(), since, request }, out);
    }

    /// An agent that was not there is written down as gone. Tasks of a recovered one are not known; frameworks that were told
    /// that a task is unreachable hear that it is gone (Mesos leaves them waiting: MESOS-9739).
    pub(crate) fn finish_gone(&mut self, now: Now, id: &AgentId, since: i64, request: RequestId, out: &mut Effects) {
        tracing::info!(agent = %id, "agent marked gone");
        self.forget_recovered(id);
        self.mark(id, Some(Mark::Gone(since)));
        self.forget_standing(id);
        self.end_unreachable_tasks(now, id, GONE, out);
        out.push(Effect::Reply(request, Answer::new(200, "")));
        self.end_write_of(now, id, out);
    }

    /// Whoever waits for an agent's end hears that another master decides now.
    pub(crate) fn refuse_ends_of_agents(&mut self, out: &mut Effects) {
        let waiting = self.writes.pending().filter_map(|pending| match pending {
            Pending::Remove(removal) => removal.request,
            Pending::Gone { request, .. } => Some(*request),
            _ => None,
        });
        out.extend(waiting.map(|request| Effect::Reply(request, Answer::new(503, "No leader elected"))));
    }
}
