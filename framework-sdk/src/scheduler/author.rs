//! Running a [`Scheduler`]: events in, acts out, stored before they are carried out.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mezzo_api::v1::scheduler::Call;
use mezzo_sdk_core::scheduler::{Act, Context, EndReason, Event, Scheduler, author::tell, calls};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{BuildError, Builder, Events, Handle};
use crate::{
    clock::Clock,
    store::{Change, Store, StoreError},
};

/// Under this key the framework's id is stored.
pub const FRAMEWORK_ID: &str = "framework-id";
/// Events that are told before what they led to is stored and carried out.
const EVENTS_AT_ONCE: usize = 256;
const FAR: Duration = Duration::from_secs(24 * 3600);

type Visit<S> = Box<dyn FnOnce(&mut S, &mut Context<'_>) + Send>;

/// Why a run could not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The driver cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// What must be durable cannot be stored.
    #[error("the store fails: {0}")]
    Store(#[from] StoreError),
    /// What is stored as the framework's id is none.
    #[error("the stored framework id is not text: is this store another program's?")]
    FrameworkId,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// The scheduler asked for it; the framework stays registered.
    Stopped,
    /// The driver ended.
    Driver(EndReason),
}

/// The scheduler is not run any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheduler has ended")]
pub struct Gone;

/// A scheduler that is about to be run.
#[must_use = "nothing happens until `run`"]
pub struct Run<S> {
    builder: Builder,
    scheduler: S,
    store: Box<dyn Store>,
    visits: mpsc::UnboundedReceiver<Visit<S>>,
    control: Control<S>,
    steps: watch::Sender<u64>,
}

/// Reaches a scheduler that is run: for doors of a framework's own (HTTP, signals). Cheap to clone.
pub struct Control<S> {
    visits: mpsc::UnboundedSender<Visit<S>>,
    steps: watch::Receiver<u64>,
}

impl<S> Clone for Control<S> {
    fn clone(&self) -> Self {
        Self { visits: self.visits.clone(), steps: self.steps.clone() }
    }
}

impl<S: 'static> Control<S> {
    /// Calls `visit` with the scheduler, between two events, and returns what it returns. What it asks for is carried
    /// out afterwards.
    ///
    /// # Errors
    /// If the scheduler is not run any more.
    pub async fn with<R: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut S, &mut Context<'_>) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, result) = oneshot::channel();
        let visit: Visit<S> = Box::new(move |scheduler, context| {
            let _ = answer.send(visit(scheduler, context)); // nobody waits any more
        });
        self.visits.send(visit).map_err(|_| Gone)?;
        result.await.map_err(|_| Gone)
    }

    /// Waits until the scheduler was told something since this was last asked (of this clone).
    ///
    /// # Errors
    /// If the scheduler is not run any more.
    pub async fn changed(&mut self) -> Result<(), Gone> {
        self.steps.changed().await.map_err(|_| Gone)
    }
}

impl Builder {
    /// This scheduler, on this driver. What it stores, and the framework's id, go to `store`: a later run with the same
    /// store fails over.
    pub fn scheduler<S: Scheduler>(self, scheduler: S, store: impl Store + 'static) -> Run<S> {
        let (sender, visits) = mpsc::unbounded_channel();
        let (steps, watched) = watch::channel(0);
        let control = Control { visits: sender, steps: watched };
        Run { builder: self, scheduler, store: Box::new(store), visits, control, steps }
    }
}

impl<S: Scheduler> Run<S> {
    /// Reaches the scheduler while it is run.
    pub fn control(&self) -> Control<S> {
        self.control.clone()
    }

    /// Runs the scheduler until it stops or the driver ends; gives it back.
    ///
    /// # Errors
    /// If the driver cannot be made, or the store fails: what must be durable before it happens does not happen then.
    pub async fn run(mut self) -> Result<(S, Ended), RunError> {
        let mut stored = self.store.load().await?;
        if let Some(id) = stored.remove(FRAMEWORK_ID) {
            let id = String::from_utf8(id.to_vec()).map_err(|_| RunError::FrameworkId)?;
            self.builder = self.builder.framework_id(id);
        }
        let clock = Clock::start();
        let acts = restore(&mut self.scheduler, &clock, &stored);
        let by_hand = !self.builder.acknowledges();
        let builder = self.builder.acknowledge_by_hand().known_tasks(self.scheduler.known_tasks());
        let (handle, events) = builder.build()?;
        let mut runner = Runner {
            scheduler: self.scheduler,
            store: self.store,
            visits: self.visits,
            steps: self.steps,
            _control: self.control,
            clock,
            handle,
            events,
            by_hand,
            acts,
        };
        let ended = runner.run().await?;
        Ok((runner.scheduler, ended))
    }
}

fn restore<S: Scheduler>(scheduler: &mut S, clock: &Clock, stored: &BTreeMap<String, Bytes>) -> Vec<Act> {
    let mut acts = Vec::new();
    scheduler.restored(&mut Context::new(clock.now(), &mut acts), stored);
    acts
}

struct Runner<S> {
    scheduler: S,
    store: Box<dyn Store>,
    visits: mpsc::UnboundedReceiver<Visit<S>>,
    steps: watch::Sender<u64>,
    /// So that `visits` stays open.
    _control: Control<S>,
    clock: Clock,
    handle: Handle,
    events: Events,
    by_hand: bool,
    acts: Vec<Act>,
}

impl<S: Scheduler> Runner<S> {
    async fn run(&mut self) -> Result<Ended, RunError> {
        let mut acknowledgements = Vec::new();
        let mut ended = None;
        loop {
            let stopped = self.carry_out().await?;
            self.handle.acknowledge_all(&mut acknowledgements);
            self.steps.send_modify(|steps| *steps += 1);
            if let Some(reason) = ended {
                return Ok(Ended::Driver(reason));
            }
            if stopped {
                return Ok(Ended::Stopped);
            }
            let deadline = self.scheduler.deadline().map_or_else(|| Instant::now() + FAR, |at| self.clock.instant(at));
            tokio::select! {
                event = self.events.recv() => {
                    let Some(event) = event else { return Ok(Ended::Stopped) };
                    ended = self.told(event, &mut acknowledgements);
                }
                Some(visit) = self.visits.recv() => {
                    visit(&mut self.scheduler, &mut Context::new(self.clock.now(), &mut self.acts));
                }
                () = sleep_until(deadline) => {
                    self.scheduler.due(&mut Context::new(self.clock.now(), &mut self.acts));
                }
            }
        }
    }

    /// This event, and those that are there already: what they lead to is stored in one go.
    fn told(&mut self, first: Event, acknowledgements: &mut Vec<Call>) -> Option<EndReason> {
        let mut next = Some(first);
        let mut count = 0;
        while let Some(event) = next {
            if !self.by_hand {
                acknowledgements.extend(match &event {
                    Event::Update(status) => calls::acknowledge(status),
                    Event::OperationUpdate(status) => calls::acknowledge_operation(status),
                    _ => None,
                });
            }
            if let Event::Subscribed(subscribed) = &event {
                let value = Bytes::copy_from_slice(subscribed.framework_id.value.as_bytes());
                self.acts.push(Act::Put { key: FRAMEWORK_ID.to_owned(), value });
            }
            let ended = match &event {
                Event::Ended(reason) => Some(reason.clone()),
                _ => None,
            };
            tell(&mut self.scheduler, &mut Context::new(self.clock.now(), &mut self.acts), event);
            if let Some(reason) = ended {
                self.forget_id(&reason);
                return Some(reason);
            }
            count += 1;
            next = if count < EVENTS_AT_ONCE { self.events.try_recv() } else { None };
        }
        None
    }

    /// An id that cannot be used again is not kept.
    fn forget_id(&mut self, reason: &EndReason) {
        if matches!(reason, EndReason::TornDown | EndReason::Removed) {
            self.acts.push(Act::Remove { key: FRAMEWORK_ID.to_owned() });
        }
    }

    /// Stores what is to be stored, then makes the calls, in order. Says whether the scheduler wants to stop.
    async fn carry_out(&mut self) -> Result<bool, RunError> {
        let (mut changes, mut made, mut stopped) = (Vec::new(), Vec::new(), false);
        for act in self.acts.drain(..) {
            match act {
                Act::Put { key, value } => changes.push(Change::Put(key, value)),
                Act::Remove { key } => changes.push(Change::Remove(key)),
                Act::Call(call) => made.push(call),
                Act::Stop => stopped = true,
                other => warn!(?other, "an act of an unknown kind is passed over"),
            }
        }
        if !changes.is_empty() {
            self.store.apply(changes).await?;
        }
        for call in made {
            self.handle.send_boxed(call);
        }
        Ok(stopped)
    }
}
