//! Executors that frameworks defined: they hold resources of their own, and their end is told.

use std::sync::Arc;

use mezzo_api::{
    ids::ExecutorId,
    link,
    resources::Resources,
    time::Now,
    v1::{ExecutorInfo, scheduler::event},
};

use crate::{
    agents::Executor,
    core::Core,
    counters::Counter,
    effect::{Change, Effect, Effects},
    events,
    keys::{AgentKey, FrameworkKey},
    model,
};

impl Core {
    /// An executor is there: started just now, or reported by its agent. Its resources are already taken from the
    /// allocator.
    pub(crate) fn insert_executor(
        &mut self,
        framework_key: FrameworkKey,
        agent_key: AgentKey,
        info: ExecutorInfo,
        resources: Resources,
        out: &mut Effects,
    ) {
        let (Some(framework), Some(agent)) = (self.frameworks.get_mut(framework_key), self.agents.get_mut(agent_key))
        else {
            return;
        };
        framework.used += &resources;
        framework.attach(agent_key);
        agent.used += &resources;
        let id = ExecutorId::from(&info.executor_id);
        let view = Arc::new(model::Executor {
            agent_id: agent.id.clone(),
            framework_id: framework.id.clone(),
            info: Arc::new(info),
        });
        agent.executors.insert((framework_key, id), Executor { view: view.clone(), resources });
        self.mark_dirty(framework_key, agent_key);
        out.push(Effect::Publish(Change::Executor(view)));
    }

    /// It is no more; what it had is free. The answer is whether it was known.
    pub(crate) fn remove_executor(
        &mut self,
        now: Now,
        agent_key: AgentKey,
        framework_key: FrameworkKey,
        id: &ExecutorId,
        out: &mut Effects,
    ) -> bool {
        let Some(agent) = self.agents.get_mut(agent_key) else { return false };
        let Some(executor) = agent.executors.remove(&(framework_key, id.clone())) else { return false };
        agent.used -= &executor.resources;
        if let Some(framework) = self.frameworks.get_mut(framework_key) {
            framework.used -= &executor.resources;
            framework.detach(agent_key);
        }
        self.allocator.give_back(now.mono, framework_key, agent_key, &executor.resources, None);
        self.mark_dirty(framework_key, agent_key);
        let model::Executor { agent_id, framework_id, .. } = &*executor.view;
        let gone = Change::ExecutorRemoved(agent_id.clone(), framework_id.clone(), id.clone());
        out.push(Effect::Publish(gone));
        true
    }

    pub(crate) fn on_exited_executor(
        &mut self,
        now: Now,
        agent_key: AgentKey,
        exited: link::ExitedExecutor,
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesExitedExecutor);
        let Some(framework) = self.frameworks.find(&exited.framework_id.value) else { return };
        let Some(agent_id) = self.agents.get(agent_key).map(|agent| agent.id.proto()) else { return };
        if self.remove_executor(now, agent_key, framework, &ExecutorId::from(&exited.executor_id), out) {
            let failure = event::Failure {
                agent_id: Some(agent_id),
                executor_id: Some(exited.executor_id),
                status: Some(exited.status),
            };
            self.send(framework, events::failure(failure), out);
        }
    }

    pub(crate) fn on_executor_message(
        &mut self,
        agent_key: AgentKey,
        message: link::ExecutorMessage,
        out: &mut Effects,
    ) {
        self.counters.increment(Counter::MessagesExecutorToFramework);
        let Some(agent_id) = self.agents.get(agent_key).map(|agent| agent.id.proto()) else { return };
        let sent = self.frameworks.find(&message.framework_id.value).is_some_and(|framework| {
            let event = event::Message { agent_id, executor_id: message.executor_id, data: message.data };
            self.send(framework, events::message(event), out)
        });
        self.counters.increment(if sent {
            Counter::ValidExecutorToFrameworkMessages
        } else {
            Counter::InvalidExecutorToFrameworkMessages
        });
    }
}
