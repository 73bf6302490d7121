//! A framework whose program is a [`Scheduler`] of the SDK: somebody else's (the test kit runs those), or the
//! supervisor.

use std::{any::Any, collections::BTreeMap, fmt, rc::Rc, time::Duration};

use bytes::Bytes;
use mezzo_api::{time::Now, v1::scheduler::Call};
use mezzo_sdk_core::{
    scheduler::{Act, Context, Event, Scheduler, author, calls},
    supervisor::{Config, Group, Supervisor},
};

use crate::workload::Program;

/// A scheduler that can be asked for what it is.
pub trait Guest: Scheduler + Any {}

impl<T: Scheduler + Any> Guest for T {}

/// Makes one run of the program, from a seed of its own.
pub type Make = Rc<dyn Fn(u64) -> Box<dyn Guest>>;

/// One run of a scheduler's program.
pub struct Run {
    scheduler: Box<dyn Guest>,
}

impl Run {
    /// A run that starts with what an earlier one has stored.
    pub fn new(make: &Make, seed: u64, now: Now, store: &mut BTreeMap<String, Bytes>) -> (Self, Vec<Call>) {
        let mut run = Self { scheduler: make(seed) };
        let stored = store.clone();
        let calls = run.step(now, store, |scheduler, context| scheduler.restored(context, &stored));
        (run, calls)
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &dyn Guest {
        &*self.scheduler
    }

    /// The scheduler as what it is.
    pub fn as_mut<S: 'static>(&mut self) -> Option<&mut S> {
        (&mut *self.scheduler as &mut dyn Any).downcast_mut()
    }

    /// The scheduler as what it is.
    pub fn as_ref<S: 'static>(&self) -> Option<&S> {
        (&*self.scheduler as &dyn Any).downcast_ref()
    }

    /// Tells an event; gives the calls that follow, the acknowledgement last.
    pub fn told(&mut self, now: Now, store: &mut BTreeMap<String, Bytes>, event: &Event) -> Vec<Call> {
        let acknowledgement = match event {
            Event::Update(status) => calls::acknowledge(status),
            Event::OperationUpdate(status) => calls::acknowledge_operation(status),
            _ => None,
        };
        let event = event.clone();
        let mut made = self.step(now, store, |scheduler, context| author::tell(scheduler, context, event));
        made.extend(acknowledgement);
        made
    }

    /// Does something with the scheduler; stores what is to be stored, and gives the calls that follow.
    pub fn step(
        &mut self,
        now: Now,
        store: &mut BTreeMap<String, Bytes>,
        act: impl FnOnce(&mut dyn Guest, &mut Context<'_>),
    ) -> Vec<Call> {
        let mut acts = Vec::new();
        act(&mut *self.scheduler, &mut Context::new(now, &mut acts));
        let mut made = Vec::new();
        for act in acts {
            match act {
                Act::Put { key, value } => drop(store.insert(key, value)),
                Act::Remove { key } => drop(store.remove(&key)),
                Act::Call(call) => made.push(*call),
                _ => {}
            }
        }
        made
    }

    /// When it is to be woken at the latest.
    pub fn deadline(&self) -> Option<Duration> {
        self.scheduler.deadline()
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").finish_non_exhaustive()
    }
}

/// The group that supervised frameworks have.
pub const GROUP: &str = "tasks";

/// A supervisor's program.
pub fn supervisor() -> Make {
    Rc::new(|seed| Box::new(Supervisor::new(Config::default(), seed)))
}

/// What a supervised framework wants: tasks that end soon, or, in the end, for good.
pub fn wanted(count: usize, for_good: bool) -> Group {
    let program = Program::Run { for_ms: if for_good { 1_000_000_000 } else { 40_000 }, code: 0, stubborn: false };
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    match Group::new(GROUP, program.text(), "cpus:0.1;mem:32") {
        Ok(group) => group.count(count),
        Err(error) => panic!("the simulator's own group: {error}"),
    }
}
