//! Scheduler calls: who may call, and what each call does (src/master/http.cpp, scheduler; src/master/master.cpp).

use mezzo_api::{
    link,
    time::Now,
    v1::{
        self,
        allocator::inverse_offer_status::Status as InverseAnswer,
        scheduler::{Call, call},
    },
};
use uuid::Uuid;

use crate::{
    allocator::refusal,
    core::Core,
    counters::Counter,
    effect::{Answer, Effect, Effects},
    events::is_terminal,
    frameworks::Requester,
    input::{RequestId, SchedulerCall},
    keys::FrameworkKey,
    validate::scheduler_call,
};

/// Whether the text is the id, as it was told.
fn is_spelt(id: Uuid, text: &str) -> bool {
    text == &*id.hyphenated().encode_lower(&mut Uuid::encode_buffer())
}

impl Core {
    pub(crate) fn on_scheduler_call(&mut self, now: Now, call: SchedulerCall, out: &mut Effects) {
        let request = call.request;
        // The door has checked this already; a call is answered whatever it is.
        if let Err(error) = scheduler_call(&call.call, call.principal.as_deref()) {
            out.push(Effect::Reply(request, Answer::new(400, error.to_string())));
            return;
        }
        match self.admit_call(&call) {
            Err(answer) => out.push(Effect::Reply(request, answer)),
            Ok(framework) => {
                if let Some(answer) = self.carry_out(now, framework, request, call.call, out) {
                    out.push(Effect::Reply(request, answer));
                }
            }
        }
    }

    /// The decisions between the door's and the call's own, in their order.
    fn admit_call(&self, call: &SchedulerCall) -> Result<FrameworkKey, Answer> {
        let id = call.call.framework_id.as_ref().map_or("", |id| id.value.as_str());
        let key = self.live_framework(id).ok_or_else(|| Answer::new(400, "Framework cannot be found"))?;
        let framework = self.frameworks.get(key).ok_or_else(|| Answer::new(400, "Framework cannot be found"))?;
        if let Some(authenticated) = &call.principal
            && framework.info.principal() != authenticated
        {
            let text = format!(
                "Authenticated principal '{authenticated}' does not match principal '{}' set in `FrameworkInfo`",
                framework.info.principal()
            );
            return Err(Answer::new(400, text));
        }
        let Some(stream) = framework.stream else { return Err(Answer::new(403, "Framework is not subscribed")) };
        match &call.stream_id {
            None => Err(Answer::new(400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")),
            Some(given) if !is_spelt(stream.0, given) && !mezzo_api::mutant!("stream-id-unchecked") => {
                Err(Answer::new(
                    400,
                    format!(
                        "The stream ID '{given}' included in this request didn't match the stream ID currently associated with framework ID {id}"
                    ),
                ))
            }
            Some(_) => Ok(key),
        }
    }

    /// What a call does. A missing payload cannot come here: the call has been checked.
    fn carry_out(
        &mut self,
        now: Now,
        key: FrameworkKey,
        request: RequestId,
        call: Call,
        out: &mut Effects,
    ) -> Option<Answer> {
        match call.r#type() {
            call::Type::Unknown | call::Type::Subscribe => return Some(Answer::new(501, "")),
            call::Type::UpdateFramework => {
                return Some(self.on_update_framework(now, key, *call.update_framework?, out));
            }
            call::Type::Teardown => {
                self.counters.increment(Counter::MessagesUnregisterFramework);
                self.begin_removal(now, key, Some(Requester::Scheduler(request)), out);
                return None;
            }
            call::Type::Accept => self.on_accept(now, key, call.accept?, out),
            call::Type::Decline => self.on_decline(now, key, &call.decline?, out),
            call::Type::Revive => self.on_revive(now, key, &call.revive.unwrap_or_default().roles),
            call::Type::Suppress => self.on_suppress(now, key, &call.suppress.unwrap_or_default().roles),
            call::Type::Kill => self.on_kill(now, key, call.kill?, out),
            call::Type::Shutdown => self.on_shutdown(key, call.shutdown?, out),
            call::Type::Acknowledge => self.on_acknowledge(now, key, call.acknowledge?, out),
            call::Type::Reconcile => self.on_reconcile(now, key, &call.reconcile?.tasks, out),
            call::Type::ReconcileOperations => self.on_reconcile_operations(key, call.reconcile_operations?, out),
            call::Type::AcknowledgeOperationStatus => {
                self.on_acknowledge_operation(key, &call.acknowledge_operation_status?, out);
            }
            call::Type::Message => self.on_message(key, call.message?, out),
            call::Type::Request => self.counters.increment(Counter::MessagesResourceRequest),
            call::Type::AcceptInverseOffers => {
                let accept = call.accept_inverse_offers?;
                let answer = InverseAnswer::Accept;
                self.on_inverse_answer(now, key, answer, &accept.inverse_offer_ids, accept.filters.as_ref(), out);
            }
            call::Type::DeclineInverseOffers => {
                let decline = call.decline_inverse_offers?;
                let answer = InverseAnswer::Decline;
                self.on_inverse_answer(now, key, answer, &decline.inverse_offer_ids, decline.filters.as_ref(), out);
            }
        }
        Some(Answer::accepted())
    }

    fn on_decline(&mut self, now: Now, key: FrameworkKey, decline: &call::Decline, out: &mut Effects) {
        self.counters.increment(Counter::MessagesDeclineOffers);
        // Without a filter the same would be offered again at once, over and over: an allocation interval is the least.
        let filter = refusal(decline.filters.as_ref()).unwrap_or(self.config.allocation_interval);
        for id in &decline.offer_ids {
            match self.find_offer(&id.value) {
                Some((number, offer)) if offer.framework == key => self.discard_offer(now, number, Some(filter), out),
                _ => tracing::debug!(offer = id.value, "ignoring the decline of an offer that is no longer valid"),
            }
        }
    }

    fn on_kill(&mut self, now: Now, key: FrameworkKey, kill: call::Kill, out: &mut Effects) {
        self.counters.increment(Counter::MessagesKillTask);
        let id = kill.task_id.value.as_str();
        let task = self.frameworks.get(key).and_then(|framework| framework.tasks.get(id).copied());
        let Some(task) = task.and_then(|task| self.tasks.get(task)) else {
            let question = call::reconcile::Task { task_id: kill.task_id, agent_id: kill.agent_id };
            self.reconcile_explicitly(now, key, &[question], out);
            return;
        };
        if kill.agent_id.is_some_and(|agent| agent.value != task.view.agent_id.as_str()) {
            tracing::info!(task = id, "ignoring a kill that names another agent than the task's");
            return;
        }
        let (agent, id) = (task.agent, task.view.id.clone());
        let message = link::KillTask {
            framework_id: task.view.framework_id.proto(),
            task_id: kill.task_id,
            kill_policy: kill.kill_policy,
        };
        if let Some(agent) = self.agents.get_mut(agent) {
            agent.killed.insert((key, id));
        }
        self.tell(agent, link::to_agent::Message::KillTask(message), out);
    }

    /// An operator's kill of a task that has not ended.
    pub(crate) fn kill_for_operator(
        &mut self,
        now: Now,
        framework: &v1::FrameworkId,
        task_id: v1::TaskId,
        out: &mut Effects,
    ) -> Answer {
        let Some(key) = self.live_framework(&framework.value) else {
            return Answer::new(404, "No framework found with specified ID");
        };
        let known = self.frameworks.get(key).is_some_and(|framework| framework.tasks.contains_key(&*task_id.value));
        if !known {
            return Answer::new(404, format!("The framework has no active task '{}'", task_id.value));
        }
        tracing::info!(framework = framework.value, task = task_id.value, "an operator kills a task");
        self.on_kill(now, key, call::Kill { task_id, ..Default::default() }, out);
        Answer::accepted()
    }

    fn on_shutdown(&mut self, key: FrameworkKey, shutdown: call::Shutdown, out: &mut Effects) {
        let Some(framework_id) = self.frameworks.get(key).map(|framework| framework.id.proto()) else { return };
        if let Some(agent) = self.agents.find(&shutdown.agent_id.value) {
            let message = link::ShutdownExecutor { framework_id, executor_id: shutdown.executor_id };
            self.tell(agent, link::to_agent::Message::ShutdownExecutor(message), out);
        }
    }

    fn on_message(&mut self, key: FrameworkKey, message: call::Message, out: &mut Effects) {
        self.counters.increment(Counter::MessagesFrameworkToExecutor);
        let Some(framework_id) = self.frameworks.get(key).map(|framework| framework.id.proto()) else { return };
        let sent = self.agents.find(&message.agent_id.value).is_some_and(|agent| {
            let message = link::FrameworkMessage { framework_id, executor_id: message.executor_id, data: message.data };
            self.tell(agent, link::to_agent::Message::FrameworkMessage(message), out)
        });
        self.counters.increment(if sent {
            Counter::ValidFrameworkToExecutorMessages
        } else {
            Counter::InvalidFrameworkToExecutorMessages
        });
    }

    /// Dropped when the agent is away: it sends the update again (src/master/master.cpp, acknowledge).
    fn on_acknowledge(&mut self, now: Now, key: FrameworkKey, acknowledge: call::Acknowledge, out: &mut Effects) {
        self.counters.increment(Counter::MessagesStatusUpdateAcknowledgement);
        let sent = self.pass_acknowledgement(now, key, acknowledge, out).is_some();
        self.counters.increment(if sent {
            Counter::ValidStatusUpdateAcknowledgements
        } else {
            Counter::InvalidStatusUpdateAcknowledgements
        });
    }

    fn pass_acknowledgement(
        &mut self,
        now: Now,
        key: FrameworkKey,
        acknowledge: call::Acknowledge,
        out: &mut Effects,
    ) -> Option<()> {
        let call::Acknowledge { agent_id, task_id, uuid } = acknowledge;
        let agent = self.agents.find(&agent_id.value)?;
        self.agents.get(agent)?.link?;
        let framework = self.frameworks.get(key)?;
        let framework_id = framework.id.proto();
        let task_key = framework.tasks.get(task_id.value.as_str()).copied();
        if let Some((task_key, task)) = task_key.and_then(|key| Some((key, self.tasks.get(key)?)))
            && task.agent == agent
        {
            // Not sent by this master: the agent sends it again, to be acknowledged then.
            let (state, sent) = task.view.status_update.as_ref()?;
            if is_terminal(*state) && *sent == uuid {
                self.retire_task(now, task_key, out);
            }
        }
        let message = link::Acknowledge { framework_id, task_id, uuid };
        self.tell(agent, link::to_agent::Message::Acknowledge(message), out);
        Some(())
    }
}
