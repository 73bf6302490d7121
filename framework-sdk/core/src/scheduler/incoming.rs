//! Events of the master.

use mezzo_api::{
    time::Now,
    v1::scheduler::{self, event},
};
use tracing::{debug, warn};

use super::{Core, Effect, Effects, Event, State, StreamId};

impl Core {
    /// An event came on a stream.
    pub fn event(&mut self, now: Now, stream: StreamId, event: scheduler::Event, out: &mut Effects) {
        if self.stream() != Some(stream) {
            return;
        }
        self.heard(now);
        match event.r#type() {
            event::Type::Subscribed => {
                if let (State::Subscribing { .. }, Some(subscribed)) = (&self.state, event.subscribed) {
                    self.subscribed_as(now, *subscribed, out);
                }
            }
            event::Type::Error => {
                let message = event.error.map(|error| error.message).unwrap_or_default();
                self.refused(now, stream, message, out);
            }
            _ if self.subscribed().is_none() => debug!("an event before SUBSCRIBED is passed over"),
            event::Type::Update => {
                if let Some(update) = event.update {
                    self.update(update, out);
                }
            }
            event::Type::Heartbeat => {}
            event::Type::UpdateOperationStatus => {
                if let Some(update) = event.update_operation_status {
                    self.operations.updated(&update.status);
                    out.push(Effect::Deliver(Event::OperationUpdate(Box::new(update.status))));
                }
            }
            event::Type::Offers
            | event::Type::InverseOffers
            | event::Type::Rescind
            | event::Type::RescindInverseOffer
            | event::Type::Message
            | event::Type::Failure => match plain(event) {
                Some(event) => out.push(Effect::Deliver(event)),
                None => warn!("an event without its payload is passed over"),
            },
            event::Type::Unknown => debug!("an event of an unknown type is passed over"),
        }
    }

    /// Something came from the master, or the reader was held up and could not tell: the stream is not silent.
    pub fn heard(&mut self, now: Now) {
        if let State::Subscribed { interval, silent_at, .. } = &mut self.state {
            *silent_at = now.mono + *interval * self.config.missed_heartbeats;
        }
    }

    fn update(&mut self, update: event::Update, out: &mut Effects) {
        self.tasks.updated(&update.status);
        out.push(Effect::Deliver(Event::Update(Box::new(update.status))));
        if self.tasks.completed() {
            out.push(Effect::Deliver(Event::Reconciled));
        }
    }
}

/// Events that are told as they are.
fn plain(event: scheduler::Event) -> Option<Event> {
    Some(match event.r#type() {
        event::Type::Offers => Event::Offers(event.offers?.offers),
        event::Type::InverseOffers => Event::InverseOffers(event.inverse_offers?.inverse_offers),
        event::Type::Rescind => Event::Rescind(event.rescind?.offer_id),
        event::Type::RescindInverseOffer => Event::RescindInverseOffer(event.rescind_inverse_offer?.inverse_offer_id),
        event::Type::Message => {
            let message = event.message?;
            Event::Message { agent_id: message.agent_id, executor_id: message.executor_id, data: message.data }
        }
        event::Type::Failure => {
            let failure = event.failure?;
            Event::Failure { agent_id: failure.agent_id, executor_id: failure.executor_id, status: failure.status }
        }
        event::Type::Subscribed
        | event::Type::Update
        | event::Type::UpdateOperationStatus
        | event::Type::Error
        | event::Type::Heartbeat
        | event::Type::Unknown => return None,
    })
}
