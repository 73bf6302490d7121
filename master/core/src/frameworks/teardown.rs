//! The end of a framework: by TEARDOWN, by an operator, or because it did not come back in time. It is written down
//! first, then acted on.

use std::sync::Arc;

use mezzo_api::{
    link,
    time::Now,
    v1::{TaskState, task_status::Reason},
};

use super::Framework;
use crate::{
    core::Core,
    effect::{Answer, Change, Effect, Effects},
    events::Statement,
    input::RequestId,
    keys::FrameworkKey,
    model,
    registry::RegistryOp,
    writes::Pending,
};

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requester {
    /// The framework itself: 202.
    Scheduler(RequestId),
    /// An operator: 200.
    Operator(RequestId),
}

impl Core {
    /// Writes the end down; from here on nobody can call or subscribe under its id.
    pub(crate) fn begin_removal(
        &mut self,
        now: Now,
        key: FrameworkKey,
        requester: Option<Requester>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        if let Some(waiting) = &mut framework.removing {
            waiting.extend(requester);
            return;
        }
        framework.removing = Some(requester.into_iter().collect());
        if let Some(timer) = framework.failover.take() {
            self.timers.cancel(timer);
        }
        let id = framework.id.clone();
        tracing::info!(framework = %id, "removing framework");
        self.allocator.set_framework_active(now.mono, key, false);
        self.discard_offers_of_framework(now, key, out);
        self.write(vec![RegistryOp::CompleteFramework(id)], Pending::Complete(key), out);
    }

    /// The end is durable.
    pub(crate) fn complete_framework(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(key) else { return };
        let shutdown = link::ShutdownFramework { framework_id: framework.id.proto() };
        for agent in framework.agents.keys() {
            self.tell(*agent, link::to_agent::Message::ShutdownFramework(shutdown.clone()), out);
        }
        self.end_tasks(now, key, out);
        self.end_executors(now, key, out);
        self.release_operations_of_framework(key, out);
        self.allocator.remove_framework(now.mono, key);
        if let Some(framework) = self.frameworks.remove(key) {
            self.bury(now, framework, out);
        }
    }

    /// All its tasks count as killed; nobody is told (src/master/master.cpp, removeFramework).
    fn end_tasks(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        let message = format!("Framework {} removed", framework.id);
        let unreachable = std::mem::take(&mut framework.unreachable);
        let tasks: Vec<_> = framework.tasks.values().copied().collect();
        for task in tasks {
            let Some(view) = self.tasks.get(task).map(|task| task.view.clone()) else { continue };
            let mut status = removed(&view, &message).status(now);
            self.update_task(now, task, &mut status, out);
            self.retire_task(now, task, out);
        }
        for (id, mut view) in unreachable {
            let status = removed(&view, &message).status(now);
            self.forget_unreachable(&view);
            let task = Arc::make_mut(&mut view);
            task.state = TaskState::TaskKilled;
            task.list = model::TaskList::Completed;
            task.statuses.push(&status);
            out.push(Effect::Publish(Change::Task(view)));
            self.add_history(key, id, out);
        }
    }

    fn end_executors(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(key) else { return };
        let agents: Vec<_> = framework.agents.keys().copied().collect();
        for agent in agents {
            let Some(held) = self.agents.get(agent) else { continue };
            let executors: Vec<_> = held.executors.keys().filter(|(owner, _)| *owner == key).cloned().collect();
            for (_, executor) in executors {
                self.remove_executor(now, agent, key, &executor, out);
            }
        }
    }

    /// It becomes history; who waits is answered.
    fn bury(&mut self, now: Now, mut framework: Framework, out: &mut Effects) {
        let timers = [framework.heartbeat.take(), framework.failover.take()];
        timers.into_iter().flatten().for_each(|timer| self.timers.cancel(timer));
        if let Some(stream) = framework.stream.take() {
            out.push(Effect::CloseStream(stream));
        }
        tracing::info!(framework = %framework.id, "framework removed");
        out.push(Effect::Publish(Change::Framework(framework.view(model::FrameworkState::Completed, now.timestamp()))));
        self.frameworks.complete(framework.id.clone());
        let requesters = framework.removing.take().unwrap_or_default();
        self.frameworks.history.push_back((framework.id, framework.history.into_ids()));
        self.bound_history(out);
        for requester in requesters {
            out.push(match requester {
                Requester::Scheduler(request) => Effect::Reply(request, Answer::accepted()),
                Requester::Operator(request) => Effect::Reply(request, Answer::new(200, "")),
            });
        }
    }

    fn bound_history(&mut self, out: &mut Effects) {
        while self.frameworks.history.len() > self.config.max_completed_frameworks {
            let Some((framework, tasks)) = self.frameworks.history.pop_front() else { return };
            for task in tasks {
                out.push(Effect::Publish(Change::TaskForgotten(framework.clone(), task)));
            }
            out.push(Effect::Publish(Change::FrameworkForgotten(framework)));
        }
    }

    /// This master leads no more: who waits for the end of a framework hears so.
    pub(crate) fn refuse_removals(&mut self, out: &mut Effects) {
        for framework in self.frameworks.slots.values_mut() {
            for requester in framework.removing.iter_mut().flat_map(std::mem::take) {
                let (Requester::Scheduler(request) | Requester::Operator(request)) = requester;
                out.push(Effect::Reply(request, Answer::new(503, "No leader elected")));
            }
        }
    }
}

fn removed<'a>(task: &'a model::Task, message: &'a str) -> Statement<'a> {
    Statement {
        task_id: task.id.as_str(),
        agent_id: Some(task.agent_id.as_str()),
        executor_id: None,
        state: TaskState::TaskKilled,
        reason: Reason::FrameworkRemoved,
        message,
    }
}
