//! ACCEPT: operations in their order on what the offers hold together (src/master/master.cpp, accept, _accept).

mod group;
mod launch;
mod operate;
mod prepare;

use std::collections::BTreeSet;

use mezzo_api::{
    resources::Resources,
    time::Now,
    v1::{
        Filters, OfferId, OperationState, TaskInfo, TaskState,
        offer::{Operation, operation},
        scheduler::call,
        task_status::Reason,
    },
};

pub(crate) use prepare::validate_form;

use prepare::Step;

use crate::{
    allocator::refusal,
    core::Core,
    counters::Counter,
    effect::Effects,
    events::{self, Statement},
    keys::{AgentKey, FrameworkKey, OfferNumber},
    validate::Invalid,
};

/// What an ACCEPT works on.
struct Ground {
    framework: FrameworkKey,
    agent: AgentKey,
    /// Left of the offers, and what came of it.
    remaining: Resources,
    /// What of it is shared, launches left aside: any number of tasks may have it.
    shareable: Resources,
    /// Volumes of another size than they were offered with.
    resized: Resources,
    /// Something was launched or changed.
    progressed: bool,
}

impl Core {
    pub(crate) fn on_accept(&mut self, now: Now, key: FrameworkKey, accept: call::Accept, out: &mut Effects) {
        for operation in accept.operations.iter().filter(|operation| operation.r#type() == operation::Type::Launch) {
            let empty = operation.launch.as_ref().is_none_or(|launch| launch.task_infos.is_empty());
            self.counters.increment(if empty { Counter::MessagesDeclineOffers } else { Counter::MessagesLaunchTasks });
        }
        match self.validate_offers(key, &accept.offer_ids) {
            Ok(offers) => self.use_offers(now, key, &offers, accept.operations, accept.filters.as_ref(), out),
            Err(invalid) => self.refuse_accept(now, key, &accept, &invalid, out),
        }
    }

    /// The rules of the list of offers, in their order (src/master/validation.cpp, namespace offer).
    fn validate_offers(&self, key: FrameworkKey, ids: &[OfferId]) -> Result<Vec<OfferNumber>, Invalid> {
        if ids.is_empty() {
            return Err(Invalid::new("No offers specified"));
        }
        let mut seen = BTreeSet::new();
        if let Some(id) = ids.iter().find(|id| !seen.insert(id.value.as_str())) {
            return Err(Invalid(format!("Duplicate offer {} in offer list", id.value)));
        }
        let mut offers = Vec::with_capacity(ids.len());
        for OfferId { value: id } in ids {
            let offer = self.find_offer(id).ok_or_else(|| Invalid(format!("Offer {id} is no longer valid")))?;
            offers.push((id, offer));
        }
        let framework_id = |key| self.frameworks.get(key).map_or("", |framework| framework.id.as_str());
        if let Some((id, (_, offer))) =
            offers.iter().find(|(_, (_, offer))| offer.framework != key && !mezzo_api::mutant!("offer-of-another"))
        {
            return Err(Invalid(format!(
                "Offer {id} has invalid framework {} while framework {} is expected",
                framework_id(offer.framework),
                framework_id(key)
            )));
        }
        let first = offers[0].1.1;
        if let Some((id, (_, offer))) = offers.iter().find(|(_, (_, offer))| offer.view.role != first.view.role) {
            // The quotation marks are Mesos'.
            return Err(Invalid(format!(
                "Aggregated offers must be allocated to the same role. Offer {id} uses role '{} but another is using role '{}",
                offer.view.role, first.view.role
            )));
        }
        let agent_id = |key| self.agents.get(key).map_or("", |agent| agent.id.as_str());
        if let Some((id, (_, offer))) = offers.iter().find(|(_, (_, offer))| offer.agent != first.agent) {
            return Err(Invalid(format!(
                "Aggregated offers must belong to one single agent. Offer {id} uses agent {} and agent {}",
                agent_id(offer.agent),
                agent_id(first.agent)
            )));
        }
        Ok(offers.into_iter().map(|(_, (number, _))| number).collect())
    }

    /// The caller's own offers are used up; its tasks are dropped.
    fn refuse_accept(
        &mut self,
        now: Now,
        key: FrameworkKey,
        accept: &call::Accept,
        invalid: &Invalid,
        out: &mut Effects,
    ) {
        tracing::info!(error = %invalid, "ACCEPT used invalid offers");
        let offers: BTreeSet<OfferNumber> = accept
            .offer_ids
            .iter()
            .filter_map(|id| self.find_offer(&id.value))
            .filter(|(_, offer)| offer.framework == key)
            .map(|(number, _)| number)
            .collect();
        offers.into_iter().for_each(|offer| self.discard_offer(now, offer, None, out));
        let message = format!("Task launched with invalid offers: {invalid}");
        for operation in &accept.operations {
            match launched_tasks(operation) {
                Some(tasks) => self.drop_tasks(now, key, tasks, Reason::InvalidOffers, &message, out),
                None => {
                    let message = format!("Operation attempted with invalid offers: {invalid}");
                    self.refuse_operation(key, operation, message, out);
                }
            }
        }
    }

    fn use_offers(
        &mut self,
        now: Now,
        key: FrameworkKey,
        offers: &[OfferNumber],
        operations: Vec<Operation>,
        filters: Option<&Filters>,
        out: &mut Effects,
    ) {
        let Some(first) = offers.first().and_then(|number| self.offers.get(*number)) else { return };
        let (agent, role) = (first.agent, first.view.role.clone());
        // What is wrong with the form of an operation is told before anything is carried out.
        let steps: Vec<Step> =
            operations.into_iter().filter_map(|operation| self.prepare(now, key, &role, operation, out)).collect();
        let mut ground = Ground {
            framework: key,
            agent,
            remaining: Resources::new(),
            shareable: Resources::new(),
            resized: Resources::new(),
            progressed: false,
        };
        for number in offers {
            if let Some(offer) = self.take_offer(*number, out) {
                ground.remaining += &offer.view.resources;
            }
        }
        let offered = ground.remaining.clone();
        ground.shareable = offered.shared();
        for step in steps {
            match step {
                Step::Launch(tasks) => {
                    tasks.into_iter().for_each(|task| self.launch(now, &mut ground, task, out));
                }
                Step::LaunchGroup(group) => self.launch_group(now, &mut ground, *group, out),
                Step::Operation(operation) => {
                    self.operate(now, &mut ground, *operation, out);
                    ground.shareable = ground.remaining.shared();
                }
            }
        }
        // Who makes progress is offered the rest at once if it asks for no filter; who does not, after a while.
        let pause = (!ground.progressed).then_some(self.config.allocation_interval);
        let filter = refusal(filters).or(pause);
        // What was made of the offers was not refused: it is offered at once.
        let made = &ground.remaining - &offered;
        let left = &ground.remaining - &made;
        self.allocator.give_back(now.mono, key, agent, &(made + &ground.resized), None);
        self.allocator.give_back(now.mono, key, agent, &left, filter);
        self.mark_dirty(key, agent);
    }

    /// Takes further shares of what is shared, if more tasks want it than were offered it (src/master/master.cpp, _accept).
    fn share(&mut self, now: Now, ground: &mut Ground, wanted: &Resources) {
        let missing = wanted - &ground.remaining;
        let additional =
            missing.filter(|one| one.is_shared() && ground.shareable.iter().any(|known| one.contains(known)));
        if !additional.is_empty() {
            self.allocator.take(now.mono, ground.framework, ground.agent, &additional);
            ground.remaining += &additional;
        }
    }

    /// Tasks that never reach an agent for reasons that are not their own.
    fn drop_tasks(
        &mut self,
        now: Now,
        key: FrameworkKey,
        tasks: &[TaskInfo],
        reason: Reason,
        message: &str,
        out: &mut Effects,
    ) {
        let aware = self.frameworks.get(key).is_some_and(|framework| framework.capabilities.partition_aware);
        let state = if aware { TaskState::TaskDropped } else { TaskState::TaskLost };
        tasks.iter().for_each(|task| self.refuse_task(now, key, &statement(task, state, reason, message), out));
    }

    /// Tasks whose description is wrong.
    fn err_tasks<'a>(
        &mut self,
        now: Now,
        key: FrameworkKey,
        tasks: impl IntoIterator<Item = &'a TaskInfo>,
        reason: Reason,
        message: &str,
        out: &mut Effects,
    ) {
        for task in tasks {
            self.refuse_task(now, key, &statement(task, TaskState::TaskError, reason, message), out);
        }
    }

    /// An operation with an id gets an answer; others are dropped silently.
    fn refuse_operation(&self, key: FrameworkKey, operation: &Operation, message: String, out: &mut Effects) {
        if operation.r#type.is_none() || operation.r#type() == operation::Type::Unknown {
            return;
        }
        if let Some(id) = &operation.id {
            let status = events::operation(Some(id.clone()), OperationState::OperationError, message);
            self.send(key, events::operation_status(status), out);
        }
    }
}

fn statement<'a>(task: &'a TaskInfo, state: TaskState, reason: Reason, message: &'a str) -> Statement<'a> {
    Statement {
        task_id: &task.task_id.value,
        agent_id: Some(&task.agent_id.value),
        executor_id: None,
        state,
        reason,
        message,
    }
}

/// The tasks of a LAUNCH or LAUNCH_GROUP.
fn launched_tasks(operation: &Operation) -> Option<&[TaskInfo]> {
    match operation.r#type() {
        operation::Type::Launch => Some(operation.launch.as_ref().map_or(&[], |launch| &launch.task_infos)),
        operation::Type::LaunchGroup => {
            Some(operation.launch_group.as_ref().map_or(&[], |group| &group.task_group.tasks))
        }
        _ => None,
    }
}
