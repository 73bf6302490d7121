//! The cluster: every process, every wire, one queue of events, one clock.

mod agents;
mod containers;
mod elections;
mod executors;
mod faults;
mod frameworks;
mod hostile;
mod links;
mod masters;
mod operator;

use std::{any::Any, collections::BTreeMap, net::SocketAddr, time::Duration};

use mezzo_api::{
    ids::{AgentId, ContainerId},
    v1,
};
use mezzo_master_core::{
    input::{LinkId, StreamId, Ticket},
    registry::RegistryError,
};
use mezzo_sdk_core::scheduler::Context;

pub use self::{
    agents::{Agent, AgentMachine},
    frameworks::{Author, FrameworkMachine, Scheduler},
    hostile::Hostile,
    masters::{Master, master_config},
};
use crate::{
    cluster::registry::Registry,
    election::Embedded,
    fact::Fact,
    ids::{Host, ProcessId},
    network::{ConnId, Delivery, Network, Side},
    plan::Plan,
    queue::Queue,
    random::Random,
    scheduler::guest,
    time::{Clock, Moment},
};

/// Something that is to happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A packet may be at its goal.
    Arrive(ConnId, Side),
    /// A sender's kernel has tried for long enough.
    GiveUp(ConnId, Side, u64),
    /// A dialer has waited for long enough.
    DialTimeout(ConnId),
    /// A core's deadline.
    Wake(ProcessId),
    /// A write of the registry ends.
    RegistryDone(u64),
    /// A master hears of the end of its write.
    WriteTold(ProcessId, Ticket, Result<(), RegistryError>),
    /// Contenders and ZooKeeper's servers go on.
    Election,
    /// The master's shell notices that a link that the core closed has ended.
    LinkEnded(ProcessId, LinkId),
    /// … or a stream.
    StreamEnded(ProcessId, StreamId),
    /// An agent's records are written.
    Committed(ProcessId),
    /// An agent's shell dials.
    Dial(ProcessId),
    /// Something happens to a container.
    Container(u16, ContainerId),
    /// The agent's containerizer says how it found a container.
    Found(ProcessId, ContainerId),
    /// A look at a task is over.
    Probed(ProcessId, ContainerId),
    /// A task of a custom executor is over.
    TaskOver(ProcessId, String, bool),
    /// A custom executor that has nothing to do ends.
    Idle(ProcessId),
    /// A scheduler looks around.
    Look(ProcessId),
    /// A client is told that this host leads, or who does in truth.
    Detect(ProcessId, Option<Host>),
    /// The operator asks for a drained agent.
    TakeBack(AgentId, u32),
    /// An operator has something to ask for.
    Operate(u64),
    /// An agent's host is on the whitelist again.
    Relist(u16),
    /// A master looks at the whitelist.
    ReadWhitelist(ProcessId),
    /// Whether an agent is found where it says it is.
    AddressTried(ProcessId, AgentId, SocketAddr, bool),
    /// A fault of the schedule begins.
    Fault(usize),
    /// … and ends.
    Mend(Mend),
    /// A master starts.
    StartMaster(Host),
    /// An agent starts.
    StartAgent(u16),
    /// A framework starts.
    StartScheduler(u16),
    /// An old leader is killed.
    KillMaster(ProcessId),
    /// All faults are over.
    Heal,
    /// Frameworks want what they want for good.
    Settle,
}

/// The end of a fault.
#[derive(Clone, Debug)]
pub enum Mend {
    /// The way is free.
    Path(Host, Host),
    /// The host is as near as before.
    Lag(Host),
    /// The host reads.
    SlowReader(Host),
    /// The registry is well.
    Registry,
}

/// Whose process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A master's.
    Master,
    /// An agent's.
    Agent(u16),
    /// A framework's.
    Framework(u16),
    /// A custom executor's, on this machine.
    Executor(u16),
}

/// Everything.
#[derive(Debug)]
pub struct World {
    /// The run's plan.
    pub plan: Plan,
    /// The present.
    pub now: Moment,
    /// What the masters have written down.
    pub registry: Registry,
    /// Masters that live: the leader, and perhaps old ones that do not know.
    pub masters: BTreeMap<ProcessId, Box<Master>>,
    /// Who leads, if anybody does.
    pub leader: Option<ProcessId>,
    /// Where the leader is, or was.
    pub leader_host: Host,
    /// Machines with agents.
    pub agents: Vec<AgentMachine>,
    /// Machines with frameworks.
    pub frameworks: Vec<FrameworkMachine>,
    /// All faults are over.
    pub healed: bool,
    /// Frameworks want what they want for good.
    pub settled: bool,
    /// What decides who leads, if it is not the plan.
    elections: Option<Box<Embedded>>,
    operator_calls: u64,
    errands: BTreeMap<u64, operator::Errand>,
    next_errand: u64,
    /// Agents that the whitelist leaves out, and how often; if there are none, there is no whitelist.
    unlisted: BTreeMap<u16, u32>,
    executors: BTreeMap<ProcessId, Box<executors::Executor>>,
    owners: BTreeMap<ProcessId, Owner>,
    frozen: BTreeMap<Host, Moment>,
    network: Network,
    queue: Queue<Event>,
    random: Random,
    next_process: u32,
    facts: Vec<Fact>,
}

impl World {
    /// A cluster that is about to start.
    pub fn new(plan: Plan) -> Self {
        let seed = plan.seed;
        let mut world = Self {
            now: Moment::default(),
            registry: Registry::new(seed),
            masters: BTreeMap::new(),
            leader: None,
            leader_host: Host::Master(0),
            agents: (0..plan.agents).map(|number| AgentMachine::new(seed, number)).collect(),
            frameworks: (0..plan.frameworks()).map(|number| FrameworkMachine::new(&plan, number)).collect(),
            healed: false,
            settled: false,
            elections: plan.elected.then(|| Box::new(Embedded::new(seed))),
            operator_calls: 0,
            errands: BTreeMap::new(),
            next_errand: 0,
            unlisted: BTreeMap::new(),
            executors: BTreeMap::new(),
            owners: BTreeMap::new(),
            frozen: BTreeMap::new(),
            network: Network::new(seed),
            queue: Queue::default(),
            random: Random::new(seed, "world"),
            next_process: 1,
            facts: Vec::new(),
            plan,
        };
        world.set_up();
        world
    }

    /// A framework with a program of somebody else's; gives its number. It starts at once.
    pub fn add_guest(&mut self, info: v1::FrameworkInfo, make: guest::Make) -> u16 {
        let number = u16::try_from(self.frameworks.len()).unwrap_or(u16::MAX);
        self.frameworks.push(FrameworkMachine::of_guest(&self.plan, number, info, make));
        self.queue.push(self.now, Event::StartScheduler(number));
        number
    }

    /// Does something with a guest's program, if that runs as what it is taken for; the calls that follow are made.
    pub fn visit<S: 'static>(&mut self, number: u16, act: impl FnOnce(&mut S, &mut Context<'_>)) {
        self.with_guest(number, |now, run, store| {
            run.step(now, store, |scheduler, context| {
                if let Some(scheduler) = (scheduler as &mut dyn Any).downcast_mut() {
                    act(scheduler, context);
                }
            })
        });
    }

    /// Custom executors that run: their container, the tasks that they have, and how many updates wait for their agent.
    pub fn executors(&self) -> impl Iterator<Item = (&ContainerId, Vec<&str>, usize)> {
        self.executors.values().map(|executor| executor.told())
    }

    /// Whether the master's leadership, as it believes in it, ends with its lease: nobody else has taken it away.
    pub fn leads_by_lease(&self, master: ProcessId) -> bool {
        let (Some(elections), Some(master)) = (&self.elections, self.masters.get(&master)) else { return false };
        let Host::Master(number) = master.host else { return false };
        let standing = elections.standing(usize::from(number));
        standing.leading == Some(master.term) && !standing.taken
    }

    /// Commands that the simulator does not know run until they are killed.
    pub fn run_unknown_commands(&mut self) {
        for machine in &mut self.agents {
            machine.containers.run_unknown_commands();
        }
    }

    /// The books of every core that lives are counted anew.
    pub fn cross_check(&mut self) {
        self.masters.values_mut().for_each(|master| master.core.cross_check());
        self.agents.iter().filter_map(|machine| machine.agent.as_ref()).for_each(|agent| agent.core.check());
    }

    /// When something happens next.
    pub fn next_at(&self) -> Option<Moment> {
        self.queue.next_at()
    }

    fn set_up(&mut self) {
        let first = if self.plan.elected { Event::Election } else { Event::StartMaster(Host::Master(0)) };
        self.queue.push(Moment::default(), first);
        for agent in 0..self.plan.agents {
            let at = Moment::after(self.random.duration(Duration::ZERO, Duration::from_secs(3)));
            self.queue.push(at, Event::StartAgent(agent));
        }
        for framework in 0..self.plan.frameworks() {
            let at = Moment::after(self.random.duration(Duration::ZERO, Duration::from_secs(5)));
            self.queue.push(at, Event::StartScheduler(framework));
        }
        for (number, planned) in self.plan.faults.iter().enumerate() {
            self.queue.push(planned.at, Event::Fault(number));
        }
        let healed = Moment::after(self.plan.troubled);
        self.queue.push(healed, Event::Heal);
        self.queue.push(healed + self.plan.settling / 2, Event::Settle);
    }

    /// When the run is over.
    pub fn end(&self) -> Moment {
        Moment::after(self.plan.troubled) + self.plan.settling
    }

    /// One event; `false` when the run is over.
    pub fn step(&mut self) -> bool {
        let end = self.end();
        let Some((at, event)) = self.queue.pop() else { return false };
        if at > end {
            return false;
        }
        assert!(at >= self.now, "time runs backwards");
        self.now = at;
        self.happen(event);
        true
    }

    /// What happened in the last step.
    pub fn take_facts(&mut self, into: &mut Vec<Fact>) {
        into.clear();
        into.append(&mut self.facts);
    }

    fn happen(&mut self, event: Event) {
        if let Some(until) = self.host_of(&event).and_then(|host| self.held_until(host)) {
            self.queue.push(until, event);
            return;
        }
        match event {
            Event::Arrive(conn, side) => {
                let delivery = self.network.arrive(&mut self.queue, self.now, conn, side);
                self.deliver(delivery);
            }
            Event::GiveUp(conn, side, epoch) => {
                let delivery = self.network.give_up(conn, side, epoch);
                self.deliver(delivery);
            }
            Event::DialTimeout(conn) => {
                let delivery = self.network.dial_timeout(conn);
                self.deliver(delivery);
            }
            Event::Wake(process) => self.wake(process),
            Event::RegistryDone(number) => self.registry_done(number),
            Event::WriteTold(process, ticket, result) => self.write_told(process, ticket, result),
            Event::Election => self.hold_election(),
            Event::LinkEnded(process, link) => self.master_link_down(process, link),
            Event::StreamEnded(process, stream) => self.master_stream_closed(process, stream, false),
            Event::Committed(process) => self.agent_committed(process),
            Event::Dial(process) => self.agent_dials(process),
            Event::Container(agent, container) => self.container_advances(agent, &container),
            Event::Found(process, container) => self.agent_finds(process, &container),
            Event::Probed(process, probe) => self.agent_probed(process, &probe),
            Event::TaskOver(process, task, killed) => self.executor_task_over(process, &task, killed),
            Event::Idle(process) => self.executor_idle(process),
            Event::Look(process) => self.scheduler_looks(process),
            Event::Detect(process, host) => self.detect(process, host.unwrap_or(self.leader_host)),
            Event::TakeBack(agent, times) => self.take_back(agent, times),
            Event::Operate(number) => self.operate(number),
            Event::Relist(agent) => self.relist(agent),
            Event::ReadWhitelist(master) => self.read_whitelist(master),
            Event::AddressTried(process, agent, address, found) => {
                let failure = (!found).then_some("no route to host");
                self.master_step(process, |core, _, out| core.probed(&agent, address, failure, out));
            }
            Event::Fault(number) => self.fault(number),
            Event::Mend(mend) => self.mend(&mend),
            Event::StartMaster(host) => self.restart_master(host),
            Event::StartAgent(agent) => self.start_agent(agent),
            Event::StartScheduler(framework) => self.start_scheduler(framework),
            Event::KillMaster(process) => self.kill_master(process),
            Event::Heal => self.heal(),
            Event::Settle => self.settled = true,
        }
    }

    /// On which machine the event would be noticed by a program.
    fn host_of(&self, event: &Event) -> Option<Host> {
        if self.frozen.is_empty() && self.elections.is_none() {
            return None;
        }
        let process = match event {
            Event::Arrive(conn, side) | Event::GiveUp(conn, side, _) => return self.network.host_of(*conn, *side),
            Event::DialTimeout(conn) => return self.network.host_of(*conn, Side::Dialer),
            Event::Wake(process)
            | Event::LinkEnded(process, _)
            | Event::StreamEnded(process, _)
            | Event::Committed(process)
            | Event::Dial(process)
            | Event::Found(process, _)
            | Event::Probed(process, _)
            | Event::TaskOver(process, ..)
            | Event::Idle(process)
            | Event::Look(process)
            | Event::Detect(process, _)
            | Event::AddressTried(process, ..)
            | Event::ReadWhitelist(process)
            | Event::WriteTold(process, ..) => process,
            Event::Container(agent, _) => return Some(Host::Agent(*agent)),
            Event::RegistryDone(_)
            | Event::Election
            | Event::TakeBack(..)
            | Event::Operate(_)
            | Event::Relist(_)
            | Event::Fault(_)
            | Event::Mend(_)
            | Event::StartMaster(_)
            | Event::StartAgent(_)
            | Event::StartScheduler(_)
            | Event::KillMaster(_)
            | Event::Heal
            | Event::Settle => return None,
        };
        match self.owners.get(process)? {
            Owner::Master => self.masters.get(process).map(|master| master.host),
            Owner::Agent(number) | Owner::Executor(number) => Some(Host::Agent(*number)),
            Owner::Framework(number) => Some(Host::Framework(*number)),
        }
    }

    fn deliver(&mut self, delivery: Option<Delivery>) {
        let Some(Delivery { process, conn, side, what }) = delivery else { return };
        match self.owners.get(&process).copied() {
            Some(Owner::Master) => self.master_incoming(process, conn, what),
            Some(Owner::Agent(number)) => self.agent_incoming(number, conn, side, what),
            Some(Owner::Framework(number)) => self.framework_incoming(number, conn, what),
            Some(Owner::Executor(_)) => self.executor_incoming(process, conn, what),
            None => {}
        }
    }

    fn wake(&mut self, process: ProcessId) {
        match self.owners.get(&process).copied() {
            Some(Owner::Master) => self.wake_master(process),
            Some(Owner::Agent(number)) => self.wake_agent(number),
            Some(Owner::Framework(number)) => self.wake_scheduler(number),
            Some(Owner::Executor(_)) => self.wake_executor(process),
            None => {}
        }
    }

    fn detect(&mut self, process: ProcessId, host: Host) {
        match self.owners.get(&process).copied() {
            Some(Owner::Agent(number)) => self.agent_detects(number, host),
            Some(Owner::Framework(number)) => self.scheduler_detects(number, host),
            Some(Owner::Master | Owner::Executor(_)) | None => {}
        }
    }

    /// Everybody learns, some sooner, some later, that this host leads, or who does by then.
    fn announce_leader(&mut self, host: Option<Host>, within: Duration) {
        let processes: Vec<ProcessId> = self.owners.keys().copied().collect();
        for process in processes {
            let delay = self.random.duration(Duration::from_millis(1), within);
            self.queue.push(self.now + delay, Event::Detect(process, host));
        }
    }

    fn new_process(&mut self, owner: Owner) -> ProcessId {
        let process = ProcessId(self.next_process);
        self.next_process += 1;
        self.owners.insert(process, owner);
        process
    }

    fn end_process(&mut self, process: ProcessId) {
        self.owners.remove(&process);
        self.network.process_ended(&mut self.queue, self.now, process);
    }

    fn new_clock(&mut self) -> Clock {
        let drift_ppm = if self.plan.drift { self.random.within(0..=1000) } else { 500 };
        let wall_ahead = if self.plan.drift { self.random.within(0..=2000) } else { 0 };
        Clock {
            begun: self.now,
            drift_ppm: i32::try_from(drift_ppm).unwrap_or_default() - 500,
            wall_ahead: Duration::from_millis(wall_ahead),
        }
    }

    /// Plans a core's next tick, unless an earlier one is planned.
    fn wake_at(&mut self, process: ProcessId, clock: &Clock, deadline: Option<Duration>, planned: &mut Option<Moment>) {
        let Some(deadline) = deadline else { return };
        let at = clock.moment_of(deadline).max(self.now);
        if planned.is_none_or(|planned| planned > at) {
            // A program is woken a little late.
            let late = Duration::from_micros(self.random.within(1..=200));
            *planned = Some(at + late);
            self.queue.push(at + late, Event::Wake(process));
        }
    }

    fn note(&mut self, fact: Fact) {
        self.facts.push(fact);
    }
}
