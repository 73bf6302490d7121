//! The queue of events.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use mezzo_api::v1::scheduler::Call;
use mezzo_sdk_core::scheduler::{Event, calls};
use tokio::sync::mpsc;

use super::Command;

/// So many acknowledgements are gathered before they are sent, if events come that fast.
const ACKNOWLEDGE_AT_ONCE: usize = 64;

/// What the framework is told, in order. Also a [`Stream`].
///
/// Unless acknowledging by hand was chosen, a status is acknowledged when the next event is asked for: a framework
/// that dies while it deals with a status is told it again.
#[derive(Debug)]
pub struct Events {
    incoming: mpsc::Receiver<Vec<Event>>,
    commands: mpsc::UnboundedSender<Command>,
    queue: VecDeque<Event>,
    automatic: bool,
    /// For the event that was given out last.
    current: Option<Call>,
    acknowledgements: Vec<Call>,
}

impl Events {
    pub(super) fn new(
        incoming: mpsc::Receiver<Vec<Event>>,
        commands: mpsc::UnboundedSender<Command>,
        automatic: bool,
    ) -> Self {
        let (queue, acknowledgements) = (VecDeque::new(), Vec::new());
        Self { incoming, commands, queue, automatic, current: None, acknowledgements }
    }

    /// The next event; `None` after [`Event::Ended`]. May be dropped and called again at any time.
    pub async fn recv(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next event if there is one already.
    pub fn try_recv(&mut self) -> Option<Event> {
        self.settle_current();
        if self.queue.is_empty()
            && let Ok(batch) = self.incoming.try_recv()
        {
            self.queue.extend(batch);
        }
        self.give_out()
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.settle_current();
        while self.queue.is_empty() {
            self.flush();
            match ready!(self.incoming.poll_recv(context)) {
                Some(batch) => self.queue.extend(batch),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(self.give_out())
    }

    fn give_out(&mut self) -> Option<Event> {
        if self.queue.is_empty() || self.acknowledgements.len() >= ACKNOWLEDGE_AT_ONCE {
            self.flush();
        }
        let event = self.queue.pop_front()?;
        if self.automatic {
            self.current = match &event {
                Event::Update(status) => calls::acknowledge(status),
                Event::OperationUpdate(status) => calls::acknowledge_operation(status),
                _ => None,
            };
        }
        Some(event)
    }

    fn settle_current(&mut self) {
        self.acknowledgements.extend(self.current.take());
    }

    fn flush(&mut self) {
        if !self.acknowledgements.is_empty() {
            let calls = std::mem::take(&mut self.acknowledgements);
            // when the driver has ended, there is nobody to tell
            let _ = self.commands.send(Command::Handled(calls));
        }
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(context)
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.flush();
    }
}
