//! Becoming subscribed, and losing a subscription.

use std::{collections::BTreeSet, time::Duration};

use mezzo_api::{time::Now, v1};
use tracing::{info, warn};

use crate::{address::Address, answer::Answer};

use super::{Core, Effect, Effects, EndReason, Event, State, StreamId, Subscribed, Teardown, WhenRemoved, calls};

/// What Mesos' ERROR event says when the id is that of a removed framework (src/master/master.cpp).
const REMOVED: &str = "Framework has been removed";
/// … and when another subscription took this one's place.
const FAILED_OVER: &str = "Framework failed over";
/// So long after the stream's end an answer to TEARDOWN is waited for.
const TEARDOWN_ANSWER: Duration = Duration::from_secs(1);

impl Core {
    /// The master answered a SUBSCRIBE: with a stream (status 200), or with why not.
    pub fn head(&mut self, now: Now, stream: StreamId, answer: &Answer, out: &mut Effects) {
        let State::Subscribing { stream: current, .. } = self.state else { return };
        if current != stream {
            return;
        }
        if answer.status == 200 && answer.mesos_stream_id.is_some() {
            return; // SUBSCRIBED or ERROR follows on the stream
        }
        out.push(Effect::Close(stream));
        match answer.redirect() {
            Some(Ok(leader)) => return self.follow(now, leader, out),
            Some(Err(error)) => return self.attempt_failed(now, format!("a redirect leads nowhere: {error}"), out),
            None => {}
        }
        match answer.status {
            200 => self.attempt_failed(now, "the answer has no Mesos-Stream-Id: is this a master?".to_owned(), out),
            // not leading, recovering, or not there (yet): the same question may be answered otherwise later
            404 | 408 | 429 | 500..=599 if answer.status != 501 => self.attempt_failed(now, answer.text(), out),
            _ => self.end(EndReason::Refused(answer.text()), out),
        }
    }

    /// The connection of this attempt or stream could not be made, broke or ended.
    pub fn closed(&mut self, now: Now, stream: StreamId, reason: String, out: &mut Effects) {
        match self.state {
            State::Subscribing { stream: current, .. } if current == stream => self.attempt_failed(now, reason, out),
            State::Subscribed { stream: current, .. } if current == stream => {
                if self.teardown == Teardown::Asked {
                    // the stream ends because of it: its answer is on the way, on another connection
                    self.state =
                        State::Subscribed { stream, interval: TEARDOWN_ANSWER, silent_at: now.mono + TEARDOWN_ANSWER };
                    return;
                }
                self.lose(now, stream, reason, out);
            }
            _ => {}
        }
    }

    /// Dials the master that is to be tried now, if there is one.
    pub(super) fn dial(&mut self, now: Now, out: &mut Effects) {
        let Some(master) = self.masters.current().cloned() else {
            self.state = State::Detecting;
            return;
        };
        self.last_stream += 1;
        let stream = StreamId(self.last_stream);
        let call = Box::new(calls::subscribe(
            self.framework.clone(),
            self.suppressed.iter().cloned().collect(),
            self.config.offer_constraints.clone(),
        ));
        let until = now.mono + self.config.subscribe_timeout;
        let suppressed = self.suppressed.clone();
        self.state = State::Subscribing { stream, master: master.clone(), until, suppressed };
        out.push(Effect::Open { stream, master, call });
    }

    fn follow(&mut self, now: Now, leader: Address, out: &mut Effects) {
        info!(%leader, "redirected to the leading master");
        if self.masters.redirected(leader) {
            self.dial(now, out);
        } else {
            let reason = match self.masters.are_listed() {
                true => "the masters redirect in a circle",
                false => "the leading master does not know yet that it leads",
            };
            self.attempt_failed(now, reason.to_owned(), out);
        }
    }

    pub(super) fn attempt_failed(&mut self, now: Now, reason: String, out: &mut Effects) {
        let master = self.masters.current().cloned();
        let at_once = self.masters.failed();
        let delay = if at_once { Duration::ZERO } else { self.backoff.next(&mut self.rng) };
        warn!(master = master.as_ref().map(tracing::field::display), %reason, ?delay, "could not subscribe");
        out.push(Effect::Deliver(Event::Retrying { master, reason, delay }));
        if at_once {
            self.dial(now, out);
        } else {
            self.state = State::BackingOff { until: now.mono + delay };
        }
    }

    /// SUBSCRIBED.
    pub(super) fn subscribed_as(&mut self, now: Now, subscribed: v1::scheduler::event::Subscribed, out: &mut Effects) {
        let State::Subscribing { stream, ref master, ref mut suppressed, .. } = self.state else { return };
        let (address, suppressed) = (master.clone(), std::mem::take(suppressed));
        let interval = subscribed
            .heartbeat_interval_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .filter(|interval| !interval.is_zero())
            .unwrap_or(Duration::from_secs(15));
        let silent_at = now.mono + interval * self.config.missed_heartbeats;
        let again = self.framework.id.is_some();
        self.framework.id = Some(subscribed.framework_id.clone());
        self.state = State::Subscribed { stream, interval, silent_at };
        self.masters.succeeded();
        self.backoff.reset();
        self.calls_lost_in_a_row = 0;
        info!(framework = %subscribed.framework_id.value, master = %address, again, "subscribed");
        out.push(Effect::Deliver(Event::Subscribed(Box::new(Subscribed {
            framework_id: subscribed.framework_id,
            master: subscribed.master_info,
            address,
            again,
        }))));
        self.amend(stream, &suppressed, out);
        while let Some(held) = self.held.pop_front() {
            self.send(stream, held, out);
        }
        if again && self.teardown == Teardown::No {
            self.tasks.begin(now.mono);
            self.operations.begin(now.mono);
            if self.config.reconcile.enabled {
                self.send_own(stream, calls::reconcile(Vec::new()), out);
            }
            self.reconcile(now, stream, out);
        }
    }

    /// What the framework has come to want since its SUBSCRIBE was sent, which named these roles.
    fn amend(&mut self, stream: StreamId, said: &BTreeSet<String>, out: &mut Effects) {
        let unsaid: Vec<String> = self.suppressed.difference(said).cloned().collect();
        let taken_back: Vec<String> = said.difference(&self.suppressed).cloned().collect();
        if !unsaid.is_empty() {
            self.send_own(stream, calls::suppress(unsaid), out);
        }
        if !taken_back.is_empty() {
            self.send_own(stream, calls::revive(taken_back), out);
        }
    }

    /// An ERROR event: the master ends the subscription for good.
    pub(super) fn refused(&mut self, now: Now, stream: StreamId, message: String, out: &mut Effects) {
        out.push(Effect::Close(stream));
        if message != REMOVED {
            let reason = if message == FAILED_OVER { EndReason::FailedOver } else { EndReason::Refused(message) };
            return self.end(reason, out);
        }
        if self.teardown != Teardown::No {
            return self.end(EndReason::TornDown, out);
        }
        match self.config.when_removed {
            WhenRemoved::End => self.end(EndReason::Removed, out),
            WhenRemoved::StartAnew => {
                if self.subscribed().is_some() {
                    self.disconnected(message, out);
                }
                let old = self.framework.id.take();
                warn!(framework = old.as_ref().map(|id| id.value.as_str()), "removed by the master: starting anew");
                self.tasks.forget_all();
                self.operations.forget_all();
                self.drop_held(out);
                self.dial(now, out);
            }
        }
    }

    /// The subscription is lost; another one is tried after a short, spread wait.
    pub(super) fn lose(&mut self, now: Now, stream: StreamId, reason: String, out: &mut Effects) {
        out.push(Effect::Close(stream));
        self.disconnected(reason, out);
        self.state = State::BackingOff { until: now.mono + self.backoff.next(&mut self.rng) };
    }

    /// As [`lose`](Self::lose), whatever the state, for a dial that follows at once.
    pub(super) fn drop_stream(&mut self, reason: String, out: &mut Effects) {
        if let Some(stream) = self.stream() {
            out.push(Effect::Close(stream));
        }
        if self.subscribed().is_some() {
            self.disconnected(reason, out);
        }
        self.state = State::Detecting;
    }

    fn disconnected(&mut self, reason: String, out: &mut Effects) {
        warn!(%reason, "disconnected from the master");
        self.tasks.stop();
        self.operations.stop();
        out.push(Effect::Deliver(Event::Disconnected { reason }));
    }

    /// Nothing more will be done.
    pub(super) fn end(&mut self, reason: EndReason, out: &mut Effects) {
        if let Some(stream) = self.stream() {
            out.push(Effect::Close(stream));
        }
        info!(%reason, "ended");
        self.state = State::Ended;
        self.drop_held(out);
        self.tasks.forget_all();
        self.operations.forget_all();
        out.push(Effect::Deliver(Event::Ended(reason)));
    }
}
