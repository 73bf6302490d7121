//! Events for frameworks, and the statuses that the master itself makes.

use mezzo_api::{
    time::Now,
    v1::{
        self, OperationState, TaskState, TaskStatus,
        scheduler::{Event, event},
        task_status::{Reason, Source},
    },
};

/// Whether a task in this state has come to its end (src/common/protobuf_utils.cpp, isTerminalState).
pub(crate) fn is_terminal(state: TaskState) -> bool {
    match state {
        TaskState::TaskFinished
        | TaskState::TaskFailed
        | TaskState::TaskKilled
        | TaskState::TaskLost
        | TaskState::TaskError
        | TaskState::TaskDropped
        | TaskState::TaskGone
        | TaskState::TaskGoneByOperator => true,
        TaskState::TaskStaging
        | TaskState::TaskStarting
        | TaskState::TaskRunning
        | TaskState::TaskKilling
        | TaskState::TaskUnreachable
        | TaskState::TaskUnknown => false,
    }
}

/// What is peculiar to a status that the master makes.
pub(crate) struct Statement<'a> {
    pub(crate) task_id: &'a str,
    pub(crate) agent_id: Option<&'a str>,
    pub(crate) executor_id: Option<&'a str>,
    pub(crate) state: TaskState,
    pub(crate) reason: Reason,
    pub(crate) message: &'a str,
}

impl Statement<'_> {
    /// The status: of source master, without uuid (nobody acknowledges it).
    pub(crate) fn status(&self, now: Now) -> TaskStatus {
        TaskStatus {
            task_id: v1::TaskId { value: self.task_id.to_owned() },
            agent_id: self.agent_id.map(|id| v1::AgentId { value: id.to_owned() }),
            executor_id: self.executor_id.map(|id| v1::ExecutorId { value: id.to_owned() }),
            state: self.state.into(),
            source: Some(Source::Master.into()),
            reason: Some(self.reason.into()),
            message: Some(self.message.to_owned()),
            timestamp: Some(now.timestamp()),
            ..TaskStatus::default()
        }
    }
}

/// Filled in where it lies: an event is large.
fn event(kind: event::Type, fill: impl FnOnce(&mut Event)) -> Box<Event> {
    let mut event = Box::<Event>::default();
    event.r#type = Some(kind.into());
    fill(&mut event);
    event
}

pub(crate) fn subscribed(subscribed: event::Subscribed) -> Box<Event> {
    event(event::Type::Subscribed, |event| event.subscribed = Some(Box::new(subscribed)))
}

pub(crate) fn heartbeat() -> Box<Event> {
    event(event::Type::Heartbeat, |_| {})
}

pub(crate) fn error(message: impl Into<String>) -> Box<Event> {
    event(event::Type::Error, |event| event.error = Some(event::Error { message: message.into() }))
}

pub(crate) fn offers(offers: Vec<v1::Offer>) -> Box<Event> {
    event(event::Type::Offers, |event| event.offers = Some(event::Offers { offers }))
}

pub(crate) fn rescind(offer_id: v1::OfferId) -> Box<Event> {
    event(event::Type::Rescind, |event| event.rescind = Some(event::Rescind { offer_id }))
}

pub(crate) fn inverse_offers(inverse_offers: Vec<v1::InverseOffer>) -> Box<Event> {
    let inverse_offers = Some(event::InverseOffers { inverse_offers });
    event(event::Type::InverseOffers, |event| event.inverse_offers = inverse_offers)
}

pub(crate) fn rescind_inverse(inverse_offer_id: v1::OfferId) -> Box<Event> {
    let rescind = Some(event::RescindInverseOffer { inverse_offer_id });
    event(event::Type::RescindInverseOffer, |event| event.rescind_inverse_offer = rescind)
}

pub(crate) fn update(status: TaskStatus) -> Box<Event> {
    event(event::Type::Update, |event| event.update = Some(event::Update { status }))
}

pub(crate) fn message(message: event::Message) -> Box<Event> {
    event(event::Type::Message, |event| event.message = Some(message))
}

pub(crate) fn failure(failure: event::Failure) -> Box<Event> {
    event(event::Type::Failure, |event| event.failure = Some(failure))
}

pub(crate) fn operation_status(status: v1::OperationStatus) -> Box<Event> {
    let update = Some(Box::new(event::UpdateOperationStatus { status }));
    event(event::Type::UpdateOperationStatus, |event| event.update_operation_status = update)
}

/// An operation's state that the master knows by itself.
pub(crate) fn operation(id: Option<v1::OperationId>, state: OperationState, message: String) -> v1::OperationStatus {
    v1::OperationStatus { operation_id: id, state: state.into(), message: Some(message), ..Default::default() }
}
