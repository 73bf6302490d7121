//! The cluster and its one framework.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use mezzo_api::v1::{self, scheduler::Call};
use mezzo_sdk_core::scheduler::{Context, Scheduler};
use mezzo_sim::{
    coverage::Coverage,
    fact::Fact,
    fault::Fault,
    ids::Host,
    invariants::Watchers,
    plan::Plan,
    time::Moment,
    world::{Author, World},
};

/// What runs on an agent's machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunningTask {
    /// The agent's number.
    pub agent: u16,
    /// The task's id.
    pub task_id: String,
}

/// A master, agents, and one framework that runs `S`.
///
/// What a test expects and does not get ends it with a panic, which tells the last lines of what happened.
pub struct Cluster<S> {
    world: World,
    watchers: Watchers,
    coverage: Coverage,
    facts: Vec<Fact>,
    framework: u16,
    calls: Vec<v1::scheduler::Call>,
    trace: Vec<String>,
    /// What is done as soon as the program runs.
    waiting: Vec<Visit<S>>,
}

type Visit<S> = Box<dyn FnOnce(&mut S, &mut Context<'_>)>;

/// Lines of the trace that are kept for a failure.
const TRACE: usize = 200;

impl<S: Scheduler + 'static> Cluster<S> {
    /// A cluster with so many agents (each has `cpus:4;mem:4096;disk:10000;ports:[31000-31100]`), whose framework is
    /// this one. `make` makes each run of its program, from a seed of the run's own.
    pub fn new(agents: u16, info: v1::FrameworkInfo, make: impl Fn(u64) -> S + 'static) -> Self {
        Self::with_seed(1, agents, info, make)
    }

    /// As [`new`](Self::new), with another seed: other delays, another order of things.
    pub fn with_seed(seed: u64, agents: u16, info: v1::FrameworkInfo, make: impl Fn(u64) -> S + 'static) -> Self {
        let plan = Plan::quiet(seed, agents);
        let watchers = Watchers::new(&plan);
        let mut world = World::new(plan);
        world.run_unknown_commands();
        let framework = world.add_guest(info, Rc::new(move |seed| Box::new(make(seed))));
        Self {
            world,
            watchers,
            coverage: Coverage::default(),
            facts: Vec::new(),
            framework,
            calls: Vec::new(),
            trace: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Virtual time since the cluster began.
    pub fn elapsed(&self) -> Duration {
        self.world.now.elapsed()
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        self.run_while(self.world.now + time, |_| true);
    }

    /// Lets time pass until the scheduler is as `wanted`.
    ///
    /// # Panics
    /// When it is not within `limit`.
    pub fn run_until(&mut self, limit: Duration, wanted: impl Fn(&S) -> bool) {
        let until = self.world.now + limit;
        self.run_while(until, |cluster| !cluster.scheduler().is_some_and(&wanted));
        if !self.scheduler().is_some_and(&wanted) {
            self.fail(&format!("it did not come to what was wanted within {limit:?}"));
        }
    }

    fn run_while(&mut self, until: Moment, go_on: impl Fn(&Self) -> bool) {
        while go_on(self) && self.world.next_at().is_some_and(|at| at <= until) {
            self.world.step();
            self.look();
            if !self.waiting.is_empty() && self.scheduler().is_some() {
                for visit in std::mem::take(&mut self.waiting) {
                    self.world.visit(self.framework, visit);
                    self.look();
                }
            }
        }
        if go_on(self) {
            self.world.now = until;
        }
    }

    /// Holds the invariants against what has happened.
    fn look(&mut self) {
        let mut facts = std::mem::take(&mut self.facts);
        self.world.take_facts(&mut facts);
        for fact in &facts {
            if self.trace.len() >= 2 * TRACE {
                self.trace.drain(..TRACE);
            }
            self.trace.push(format!("{} {fact}", self.world.now));
            if let Fact::Sent(framework, call) = fact
                && *framework == self.framework
            {
                self.calls.push((**call).clone());
            }
        }
        let broken = self.watchers.see(&facts, &self.world, &mut self.coverage);
        self.facts = facts;
        if let Err((invariant, detail)) = broken {
            self.fail(&format!("{invariant} is broken: {detail}"));
        }
    }

    fn fail(&self, what: &str) -> ! {
        let from = self.trace.len().saturating_sub(TRACE);
        panic!("{what}\nat {} s; the last that happened:\n{}", self.world.now, self.trace[from..].join("\n"));
    }

    /// The scheduler, while its program runs.
    pub fn scheduler(&self) -> Option<&S> {
        match &self.world.frameworks[usize::from(self.framework)].scheduler.as_ref()?.author {
            Author::Guest(run) => run.as_ref(),
            Author::Keeper(_) => None,
        }
    }

    /// Does something with the scheduler: now, or as soon as its program runs.
    pub fn visit(&mut self, act: impl FnOnce(&mut S, &mut Context<'_>) + 'static) {
        if self.scheduler().is_none() {
            self.waiting.push(Box::new(act));
            return;
        }
        self.world.visit(self.framework, act);
        self.look();
    }

    /// Does something with the scheduler and gives what comes of it.
    ///
    /// # Panics
    /// When its program does not run.
    pub fn with<R: 'static>(&mut self, act: impl FnOnce(&mut S, &mut Context<'_>) -> R + 'static) -> R {
        if self.scheduler().is_none() {
            self.fail("the program does not run");
        }
        let result = Rc::new(RefCell::new(None));
        let out = result.clone();
        self.world.visit(self.framework, move |scheduler: &mut S, context| {
            *out.borrow_mut() = Some(act(scheduler, context));
        });
        self.look();
        match result.take() {
            Some(result) => result,
            None => self.fail("the program does not run"),
        }
    }

    /// The calls that the framework has made since this was last asked, SUBSCRIBE included.
    pub fn take_calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// What the framework has stored.
    pub fn store(&self) -> &BTreeMap<String, Bytes> {
        &self.world.frameworks[usize::from(self.framework)].store
    }

    /// The framework's id, once it was given one.
    pub fn framework_id(&self) -> Option<&str> {
        self.world.frameworks[usize::from(self.framework)].ids.last().map(String::as_str)
    }

    /// The tasks that in truth run, whatever anybody believes.
    pub fn running(&self) -> Vec<RunningTask> {
        let mut found = Vec::new();
        for machine in &self.world.agents {
            let Some(agent) = &machine.agent else { continue };
            for executor in agent.core.view().frameworks.iter().flat_map(|framework| &framework.executors) {
                let tasks = executor.tasks.iter().filter(|task| task.state() == v1::TaskState::TaskRunning);
                found.extend(
                    tasks.map(|task| RunningTask { agent: machine.number, task_id: task.task_id.value.clone() }),
                );
            }
        }
        found.sort();
        found
    }

    /// This goes wrong now.
    pub fn inject(&mut self, fault: Fault) {
        self.world.inject(fault);
        self.look();
    }

    /// The agent's process is killed and comes back; its tasks live on.
    pub fn kill_agent(&mut self, agent: u16, back_after: Duration) {
        self.inject(Fault::AgentCrash(agent, back_after));
    }

    /// The agent's machine loses its power and comes back: its tasks are gone.
    pub fn power_cut(&mut self, agent: u16, back_after: Duration) {
        self.inject(Fault::AgentReboot(agent, back_after));
    }

    /// Nothing gets to or from the agent for so long; its tasks run on.
    pub fn cut_off_agent(&mut self, agent: u16, time: Duration) {
        for master in 0..=1 {
            self.inject(Fault::Partition(Host::Master(master), Host::Agent(agent), time));
        }
    }

    /// The master is killed, and another one starts from the registry.
    pub fn kill_master(&mut self, back_after: Duration) {
        self.inject(Fault::MasterCrash(back_after));
    }

    /// The framework's program is killed and started again with what it had stored.
    pub fn kill_framework(&mut self, back_after: Duration) {
        self.inject(Fault::SchedulerCrash(self.framework, back_after));
    }

    /// A task's process on this agent, any of them, dies of a signal.
    pub fn kill_a_task(&mut self, agent: u16) {
        self.inject(Fault::ContainerDies(agent));
    }
}

impl<S> std::fmt::Debug for Cluster<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("now", &self.world.now).finish_non_exhaustive()
    }
}
