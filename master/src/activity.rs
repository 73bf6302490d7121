//! What the shell sees pass by and counts: calls and events of each framework (src/master/framework.cpp, metrics), and how
//! long offers, launches and writes take.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    time::{Duration, Instant},
};

use mezzo_api::{
    ids::{FrameworkId, OfferId, TaskId},
    v1::{
        TaskState,
        offer::operation,
        scheduler::{Call, Event, call, event},
    },
};
use mezzo_master_core::{
    effect::Change,
    input::StreamId,
    model::{FrameworkState, Task},
};
use mezzo_server::prometheus::Histogram;

use crate::view::{View, roles_of};

/// Launches that are waited for; of more, some are not measured.
const MAX_LAUNCHES: usize = 100_000;

/// Counts and durations.
#[derive(Debug)]
pub(crate) struct Activity {
    frameworks: Frameworks,
    streams: HashMap<StreamId, FrameworkId>,
    offers: HashMap<OfferId, Instant>,
    launches: HashMap<(FrameworkId, TaskId), Instant>,
    /// An offer, until it is used, declined or taken back.
    offer: Histogram,
    /// A task, from its launch to TASK_RUNNING.
    launch: Histogram,
    /// A write of the registry.
    pub(crate) registry: Histogram,
    /// A run of the allocator.
    pub(crate) allocation: Histogram,
    /// How late a run of the allocator began.
    pub(crate) allocation_delay: Histogram,
    /// One step of the core: a batch of inputs, with all that follows.
    pub(crate) step: Histogram,
}

/// What was counted of each framework.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frameworks(HashMap<FrameworkId, Framework>);

#[derive(Clone, Debug, Default)]
struct Framework {
    calls: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    operations: BTreeMap<&'static str, u64>,
    terminal: BTreeMap<&'static str, u64>,
    sent: u64,
    accepted: u64,
    declined: u64,
    rescinded: u64,
    /// Its latest offer, or its subscription.
    served: Option<Instant>,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            frameworks: Frameworks::default(),
            streams: HashMap::new(),
            offers: HashMap::new(),
            launches: HashMap::new(),
            offer: Histogram::new(
                "mezzo_master_offer_seconds",
                "How long an offer was outstanding: until it was used, declined or taken back.",
            ),
            launch: Histogram::new(
                "mezzo_master_launch_seconds",
                "From the launch of a task to its TASK_RUNNING, as the master sees both.",
            ),
            registry: Histogram::new("mezzo_master_registry_write_seconds", "A write of the registry."),
            allocation: Histogram::new("mezzo_master_allocation_run_seconds", "A run of the allocator."),
            allocation_delay: Histogram::new(
                "mezzo_master_allocation_delay_seconds",
                "How late a run of the allocator began.",
            ),
            step: Histogram::new(
                "mezzo_master_core_step_seconds",
                "One step of the core: a batch of inputs and all that follows from it.",
            ),
        }
    }
}

impl Activity {
    /// A scheduler call came.
    pub(crate) fn call(&mut self, call: &Call) {
        let Some(id) = &call.framework_id else { return };
        // Ids that a client made up are not remembered.
        let Some(framework) = self.frameworks.0.get_mut(id.value.as_str()) else { return };
        *framework.calls.entry(call.r#type().as_str_name()).or_default() += 1;
        match call.r#type() {
            call::Type::Accept => {
                let Some(accept) = &call.accept else { return };
                framework.accepted += accept.offer_ids.len() as u64;
                for operation in &accept.operations {
                    *framework.operations.entry(operation.r#type().as_str_name()).or_default() += 1;
                }
            }
            call::Type::Decline => {
                framework.declined += call.decline.as_ref().map_or(0, |decline| decline.offer_ids.len() as u64);
            }
            _ => {}
        }
    }

    /// An event is sent.
    pub(crate) fn event(&mut self, stream: StreamId, event: &Event) {
        if let Some(subscribed) = &event.subscribed {
            let id = FrameworkId::from(&subscribed.framework_id);
            let framework = self.frameworks.0.entry(id.clone()).or_default();
            *framework.calls.entry(call::Type::Subscribe.as_str_name()).or_default() += 1;
            framework.served = Some(Instant::now());
            self.streams.insert(stream, id);
        }
        let Some(framework) = self.streams.get(&stream).and_then(|id| self.frameworks.0.get_mut(id)) else { return };
        *framework.events.entry(event.r#type().as_str_name()).or_default() += 1;
        match event.r#type() {
            event::Type::Offers => {
                framework.sent += event.offers.as_ref().map_or(0, |offers| offers.offers.len() as u64);
                framework.served = Some(Instant::now());
            }
            event::Type::Rescind => framework.rescinded += 1,
            _ => {}
        }
    }

    /// A stream ended.
    pub(crate) fn closed(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// A change, before it is made.
    pub(crate) fn change(&mut self, change: &Change) {
        match change {
            Change::Offer(offer) => {
                self.offers.insert(offer.id.clone(), Instant::now());
            }
            Change::OfferRemoved(id) => {
                if let Some(made) = self.offers.remove(id) {
                    self.offer.record(made.elapsed());
                }
            }
            Change::Task(task) => self.task(task),
            Change::FrameworkForgotten(id) => {
                self.frameworks.0.remove(id);
            }
            _ => {}
        }
    }

    /// The state may have gone further than the statuses that were told so far.
    fn task(&mut self, task: &Task) {
        let key = || (task.framework_id.clone(), task.id.clone());
        if task.state == TaskState::TaskStaging && task.statuses.is_empty() {
            if self.launches.len() < MAX_LAUNCHES {
                self.launches.insert(key(), Instant::now());
            }
            return;
        }
        let told = |state: TaskState| task.statuses.states().any(|known| known == state);
        if task.state == TaskState::TaskRunning || told(TaskState::TaskRunning) {
            if let Some(launched) = self.launches.remove(&key()) {
                self.launch.record(launched.elapsed());
            }
        } else if TERMINAL.into_iter().any(told) {
            self.launches.remove(&key());
        }
    }

    /// A task of the framework reached a state that is none to leave.
    pub(crate) fn ended(&mut self, framework: &FrameworkId, state: TaskState) {
        if let Some(framework) = self.frameworks.0.get_mut(framework) {
            *framework.terminal.entry(state.as_str_name()).or_default() += 1;
        }
    }

    /// All histograms.
    pub(crate) fn histograms(&self) -> Vec<Histogram> {
        let all = [&self.offer, &self.launch, &self.registry, &self.allocation, &self.allocation_delay, &self.step];
        all.into_iter().cloned().collect()
    }

    /// What was counted of each framework so far.
    pub(crate) fn frameworks(&self) -> Frameworks {
        self.frameworks.clone()
    }
}

impl Frameworks {
    /// `master/frameworks/<name>/<id>/…` and `frameworks/<principal>/…` for all that `view` knows.
    #[allow(clippy::cast_precision_loss)] // counts are shown as doubles
    pub(crate) fn metrics(&self, view: &View, out: &mut BTreeMap<String, f64>) {
        let none = Framework::default();
        for shown in view.frameworks.values() {
            let counted = self.0.get(&shown.id).unwrap_or(&none);
            let prefix = format!("master/frameworks/{}/{}", escaped(&shown.info.name), shown.id.as_str());
            let mut put = |name: &str, value: u64| {
                out.insert(format!("{prefix}/{name}"), value as f64);
            };
            put("subscribed", u64::from(shown.state == FrameworkState::Active));
            counts(&mut put, "calls", CALLS, &counted.calls);
            counts(&mut put, "events", EVENTS, &counted.events);
            counts(&mut put, "operations", OPERATIONS, &counted.operations);
            put("offers/sent", counted.sent);
            put("offers/accepted", counted.accepted);
            put("offers/declined", counted.declined);
            put("offers/rescinded", counted.rescinded);
            for state in TERMINAL {
                let value = counted.terminal.get(state.as_str_name()).copied().unwrap_or_default();
                put(&format!("tasks/terminal/{}", state.as_str_name().to_ascii_lowercase()), value);
            }
            let mut active = [0_u64; ACTIVE.len()];
            for task in view.tasks.get(&shown.id).into_iter().flat_map(imbl::HashMap::values) {
                if let Some(at) = ACTIVE.iter().position(|state| *state == task.state) {
                    active[at] += 1;
                }
            }
            for (state, count) in ACTIVE.iter().zip(active) {
                put(&format!("tasks/active/{}", state.as_str_name().to_ascii_lowercase()), count);
            }
            for role in roles_of(&shown.info) {
                put(&format!("roles/{role}/suppressed"), u64::from(shown.suppressed_roles.contains(&role)));
            }
            if let Some(principal) = &shown.info.principal {
                let calls = counted.calls.values().sum::<u64>() as f64;
                for what in ["messages_received", "messages_processed"] {
                    *out.entry(format!("frameworks/{principal}/{what}")).or_default() += calls;
                }
            }
        }
    }

    /// The longest time that a framework which wants offers has been without one.
    pub(crate) fn longest_wait(&self, view: &View) -> Duration {
        let active = view.present_frameworks().filter(|shown| shown.state == FrameworkState::Active);
        let hungry =
            active.filter(|shown| roles_of(&shown.info).iter().any(|role| !shown.suppressed_roles.contains(role)));
        let waits = hungry.filter_map(|shown| Some(self.0.get(&shown.id)?.served?.elapsed()));
        waits.max().unwrap_or_default()
    }
}

const ACTIVE: [TaskState; 6] = [
    TaskState::TaskStaging,
    TaskState::TaskStarting,
    TaskState::TaskRunning,
    TaskState::TaskKilling,
    TaskState::TaskUnreachable,
    TaskState::TaskUnknown,
];
/// States that end a task.
pub(crate) const TERMINAL: [TaskState; 8] = [
    TaskState::TaskFinished,
    TaskState::TaskFailed,
    TaskState::TaskKilled,
    TaskState::TaskError,
    TaskState::TaskLost,
    TaskState::TaskDropped,
    TaskState::TaskGone,
    TaskState::TaskGoneByOperator,
];
const CALLS: fn(i32) -> Option<&'static str> = |number| Some(call::Type::try_from(number).ok()?.as_str_name());
const EVENTS: fn(i32) -> Option<&'static str> = |number| Some(event::Type::try_from(number).ok()?.as_str_name());
const OPERATIONS: fn(i32) -> Option<&'static str> =
    |number| Some(operation::Type::try_from(number).ok()?.as_str_name());
/// No enumeration of the protocol has a number above.
const LAST_NUMBER: i32 = 63;

fn counts(
    put: &mut impl FnMut(&str, u64),
    what: &str,
    name_of: fn(i32) -> Option<&'static str>,
    counted: &BTreeMap<&'static str, u64>,
) {
    put(what, counted.values().sum());
    for name in (1..=LAST_NUMBER).filter_map(name_of) {
        put(&format!("{what}/{}", name.to_ascii_lowercase()), counted.get(name).copied().unwrap_or_default());
    }
}

/// As libprocess escapes a name in a metric's (3rdparty/libprocess/src/http.cpp, encode).
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}"); // a String takes everything
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use mezzo_api::v1::{self, scheduler};

    use super::*;

    #[test]
    fn counts_what_a_framework_says_and_hears() {
        let mut activity = Activity::default();
        let id = v1::FrameworkId { value: "f".into() };
        let stream = StreamId(uuid::Uuid::nil());
        let subscribed = event::Subscribed { framework_id: id.clone(), ..Default::default() };
        activity.event(
            stream,
            &Event {
                r#type: Some(event::Type::Subscribed as i32),
                subscribed: Some(Box::new(subscribed)),
                ..Event::default()
            },
        );
        let decline = call::Decline { offer_ids: vec![Default::default(); 2], filters: None };
        activity.call(&Call {
            framework_id: Some(id),
            r#type: Some(call::Type::Decline as i32),
            decline: Some(decline),
            ..scheduler::Call::default()
        });
        activity.call(&Call { framework_id: Some(v1::FrameworkId { value: "made up".into() }), ..Call::default() });
        let framework = &activity.frameworks.0["f"];
        assert_eq!((framework.declined, framework.calls["DECLINE"], framework.calls["SUBSCRIBE"]), (2, 1, 1));
        assert_eq!(activity.frameworks.0.len(), 1);
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("my one/x"), "my%20one%2Fx");
    }
}
