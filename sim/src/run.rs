//! One run from its plan to its end: steps, invariants after each, a trace, and what came of it.

use std::{
    cell::RefCell,
    fmt,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use crate::{coverage::Coverage, fact::Fact, invariants::Watchers, plan::Plan, time::Moment, world::World};

/// What must never be false was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which invariant, or `panic` for one of a core's own.
    pub invariant: String,
    /// What was seen.
    pub detail: String,
    /// When.
    pub at: Moment,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken at {} s: {}", self.invariant, self.at.to_string().trim(), self.detail)
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct Report {
    /// Events.
    pub steps: u64,
    /// How far virtual time came.
    pub simulated: Moment,
    /// Whether all was well.
    pub result: Result<(), Failure>,
    /// What was reached.
    pub coverage: Coverage,
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic of a core is a finding, not the end of the simulator: its text is kept for the report.
pub fn keep_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            PANIC.with(|text| *text.borrow_mut() = Some(info.to_string().replace('\n', " ")))
        }));
    });
}

/// What the latest panic on this thread said.
pub(crate) fn kept_panic() -> String {
    PANIC.with(|text| text.borrow_mut().take()).unwrap_or_default()
}

/// Runs a plan; every line of the trace is given to `trace`.
pub fn run(plan: &Plan, trace: Option<&mut dyn FnMut(String)>) -> Report {
    keep_panics();
    let mut coverage = Coverage::default();
    let mut steps = 0;
    let mut now = Moment::default();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| steps_of(plan, trace, &mut steps, &mut now, &mut coverage)));
    let result = outcome.unwrap_or_else(|_| {
        let detail = PANIC.with(|text| text.borrow_mut().take()).unwrap_or_default();
        Err(Failure { invariant: "panic".to_owned(), detail, at: now })
    });
    Report { steps, simulated: now, result, coverage }
}

/// More than this within one simulated second is no work any more: something goes in circles.
const MOST_STEPS: u32 = 200_000;

fn steps_of(
    plan: &Plan,
    mut trace: Option<&mut dyn FnMut(String)>,
    steps: &mut u64,
    now: &mut Moment,
    coverage: &mut Coverage,
) -> Result<(), Failure> {
    let mut world = World::new(plan.clone());
    let mut watchers = Watchers::new(plan);
    let mut facts: Vec<Fact> = Vec::new();
    let (mut second, mut in_second) = (0, 0);
    while world.step() {
        *steps += 1;
        *now = world.now;
        if world.now.elapsed().as_secs() != second {
            (second, in_second) = (world.now.elapsed().as_secs(), 0);
        }
        in_second += 1;
        if in_second > MOST_STEPS {
            let detail = format!("more than {MOST_STEPS} steps within one second");
            return Err(Failure { invariant: "livelock".to_owned(), detail, at: world.now });
        }
        world.take_facts(&mut facts);
        if let Some(trace) = &mut trace {
            facts.iter().for_each(|fact| trace(format!("{} {fact}", world.now)));
        }
        watchers.see(&facts, &world, coverage).map_err(|(invariant, detail)| Failure {
            invariant,
            detail,
            at: world.now,
        })?;
    }
    world.cross_check();
    watchers.finish(&world).map_err(|(invariant, detail)| Failure { invariant, detail, at: world.now })
}
