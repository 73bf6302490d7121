//! What a framework's author writes: a [`Scheduler`], which is told events and answers with calls.
//!
//! A scheduler reads no clock and does no I/O: it is given a [`Context`] with the moment, and says what is to be done.
//! So the same scheduler runs in the shell (`mezzo_sdk::run`) and, in milliseconds, in the test kit.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mezzo_api::{
    time::Now,
    v1::{
        self,
        scheduler::{Call, call},
    },
};

use super::{CallError, EndReason, Event, Subscribed, calls};

/// A framework's policy. Every method has a default that is right for those who do not care.
///
/// A status is acknowledged after [`updated`](Self::updated) has returned and what it stored is durable, unless
/// acknowledging by hand was chosen.
#[allow(unused_variables)]
pub trait Scheduler {
    /// Before everything else: what an earlier run of the program has stored.
    fn restored(&mut self, context: &mut Context<'_>, stored: &BTreeMap<String, Bytes>) {}

    /// After [`restored`](Self::restored): the tasks of an earlier run, of which the driver is to ask what became.
    fn known_tasks(&self) -> Vec<call::reconcile::Task> {
        Vec::new()
    }

    /// The framework is subscribed, for the first time or again. Offers from before are void.
    fn subscribed(&mut self, context: &mut Context<'_>, subscribed: &Subscribed) {}

    /// The connection is lost, and with it every offer. The driver reconnects by itself.
    fn disconnected(&mut self, context: &mut Context<'_>, reason: &str) {}

    /// Resources to take or to decline; declined for Mesos' usual 5 s unless said otherwise.
    fn offered(&mut self, context: &mut Context<'_>, offers: Vec<v1::Offer>) {
        context.decline(offers.into_iter().map(|offer| offer.id), None);
    }

    /// This offer is void.
    fn rescinded(&mut self, context: &mut Context<'_>, offer: &v1::OfferId) {}

    /// The master asks for resources back, for maintenance; that suits unless said otherwise.
    fn inverse_offered(&mut self, context: &mut Context<'_>, offers: Vec<v1::InverseOffer>) {
        let ids = offers.into_iter().map(|offer| offer.id).collect();
        context.call(calls::accept_inverse_offers(ids, None));
    }

    /// This inverse offer is void.
    fn inverse_offer_rescinded(&mut self, context: &mut Context<'_>, offer: &v1::OfferId) {}

    /// A task's status.
    fn updated(&mut self, context: &mut Context<'_>, status: &v1::TaskStatus) {}

    /// The status of an operation that was given an id.
    fn operation_updated(&mut self, context: &mut Context<'_>, status: &v1::OperationStatus) {}

    /// Data of an executor.
    fn message(&mut self, context: &mut Context<'_>, agent: &v1::AgentId, executor: &v1::ExecutorId, data: &Bytes) {}

    /// An agent is gone, or (with an executor) an executor ended with this raw wait status.
    fn failed(
        &mut self,
        context: &mut Context<'_>,
        agent: Option<&v1::AgentId>,
        executor: Option<&v1::ExecutorId>,
        status: Option<i32>,
    ) {
    }

    /// After a (re)subscription: the master has answered for every task that the driver knew.
    fn reconciled(&mut self, context: &mut Context<'_>) {}

    /// The master refused a call.
    fn rejected(&mut self, context: &mut Context<'_>, call: call::Type, error: &CallError) {}

    /// The driver has ended; nothing more will be told.
    fn ended(&mut self, context: &mut Context<'_>, reason: &EndReason) {}

    /// When [`due`](Self::due) is to be called at the latest, in monotonic time.
    fn deadline(&self) -> Option<Duration> {
        None
    }

    /// The deadline has come.
    fn due(&mut self, context: &mut Context<'_>) {}
}

/// One thing that a scheduler wants done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Act {
    /// Store a value under a key. Durable before any act that follows is carried out.
    Put {
        /// Of letters, digits, `-`, `_`, `.` and `/`.
        key: String,
        /// What to store.
        value: Bytes,
    },
    /// Remove a key from the store. Durable before any act that follows is carried out.
    Remove {
        /// Which.
        key: String,
    },
    /// Make a call.
    Call(Box<Call>),
    /// End the run. The framework stays registered for its failover timeout, unless a TEARDOWN went before.
    Stop,
}

/// The moment, and what is to be done.
#[derive(Debug)]
pub struct Context<'a> {
    now: Now,
    acts: &'a mut Vec<Act>,
}

impl<'a> Context<'a> {
    /// A context whose acts go to `acts`, for who drives a scheduler.
    pub fn new(now: Now, acts: &'a mut Vec<Act>) -> Self {
        Self { now, acts }
    }

    /// The moment.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Makes any call; the framework id is filled in.
    pub fn call(&mut self, call: Call) {
        self.acts.push(Act::Call(Box::new(call)));
    }

    /// Takes offers (all of one agent and one role) and uses them; what is left over is declined with `filters`.
    pub fn accept(
        &mut self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        operations: Vec<v1::offer::Operation>,
        filters: Option<v1::Filters>,
    ) {
        self.call(calls::accept(offers.into_iter().collect(), operations, filters));
    }

    /// [`accept`](Self::accept) with one operation that launches these tasks.
    pub fn launch(
        &mut self,
        offers: impl IntoIterator<Item = v1::OfferId>,
        tasks: Vec<v1::TaskInfo>,
        filters: Option<v1::Filters>,
    ) {
        self.accept(offers, vec![calls::launch(tasks)], filters);
    }

    /// Gives offers back; the same resources are not offered again for `filters.refuse_seconds` (5 s when unset).
    pub fn decline(&mut self, offers: impl IntoIterator<Item = v1::OfferId>, filters: Option<v1::Filters>) {
        let offers: Vec<v1::OfferId> = offers.into_iter().collect();
        if !offers.is_empty() {
            self.call(calls::decline(offers, filters));
        }
    }

    /// Kills a task; may be repeated with a shorter grace.
    pub fn kill(&mut self, task: v1::TaskId, agent: Option<v1::AgentId>, policy: Option<v1::KillPolicy>) {
        self.call(calls::kill(task, agent, policy));
    }

    /// Asks for offers for all roles, and for what was declined before.
    pub fn revive(&mut self) {
        self.call(calls::revive(Vec::new()));
    }

    /// Asks for no offers until [`revive`](Self::revive).
    pub fn suppress(&mut self) {
        self.call(calls::suppress(Vec::new()));
    }

    /// Acknowledges a status by hand; one that asks for no acknowledgement is passed over.
    pub fn acknowledge(&mut self, status: &v1::TaskStatus) {
        if let Some(call) = calls::acknowledge(status) {
            self.call(call);
        }
    }

    /// Acknowledges an operation's status by hand.
    pub fn acknowledge_operation(&mut self, status: &v1::OperationStatus) {
        if let Some(call) = calls::acknowledge_operation(status) {
            self.call(call);
        }
    }

    /// Sends data to an executor; best effort.
    pub fn message(&mut self, agent: v1::AgentId, executor: v1::ExecutorId, data: impl Into<Bytes>) {
        self.call(calls::message(agent, executor, data.into()));
    }

    /// Stores a value under a key: durable before anything that is asked for after it happens.
    pub fn put(&mut self, key: impl Into<String>, value: impl Into<Bytes>) {
        self.acts.push(Act::Put { key: key.into(), value: value.into() });
    }

    /// Removes a key from the store.
    pub fn remove(&mut self, key: impl Into<String>) {
        self.acts.push(Act::Remove { key: key.into() });
    }

    /// Removes the framework and ends the run: all its tasks are killed.
    pub fn tear_down(&mut self) {
        self.call(calls::teardown());
    }

    /// Ends the run; the framework stays registered for its failover timeout.
    pub fn stop(&mut self) {
        self.acts.push(Act::Stop);
    }
}

/// Tells a scheduler an event.
pub fn tell(scheduler: &mut dyn Scheduler, context: &mut Context<'_>, event: Event) {
    match event {
        Event::Subscribed(subscribed) => scheduler.subscribed(context, &subscribed),
        Event::Disconnected { reason } => scheduler.disconnected(context, &reason),
        Event::Retrying { .. } => {}
        Event::Offers(offers) => scheduler.offered(context, offers),
        Event::InverseOffers(offers) => scheduler.inverse_offered(context, offers),
        Event::Rescind(offer) => scheduler.rescinded(context, &offer),
        Event::RescindInverseOffer(offer) => scheduler.inverse_offer_rescinded(context, &offer),
        Event::Update(status) => scheduler.updated(context, &status),
        Event::OperationUpdate(status) => scheduler.operation_updated(context, &status),
        Event::Message { agent_id, executor_id, data } => scheduler.message(context, &agent_id, &executor_id, &data),
        Event::Failure { agent_id, executor_id, status } => {
            scheduler.failed(context, agent_id.as_ref(), executor_id.as_ref(), status);
        }
        Event::Reconciled => scheduler.reconciled(context),
        Event::Rejected { call, error } => scheduler.rejected(context, call, &error),
        Event::Ended(reason) => scheduler.ended(context, &reason),
    }
}
