//! What goes wrong: a schedule drawn from the seed before the run, so that any part of it can be left out.

use std::{fmt, time::Duration};

use crate::{election, ids::Host, random::Random, time::Moment};

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The master's process is killed; another one starts on its machine after a while.
    MasterCrash(Duration),
    /// Another master takes over while the old one is alive and does not know; it lives so long at most.
    MasterTakeover(Duration),
    /// The agent's process is killed; what it started lives on.
    AgentCrash(u16, Duration),
    /// The agent's machine loses its power: everything on it is gone, and what was not synced.
    AgentReboot(u16, Duration),
    /// The framework's process is killed; it comes back with its id, if it had learned it.
    SchedulerCrash(u16, Duration),
    /// Nothing gets from the one to the other.
    Cut(Host, Host, Duration),
    /// Nothing gets to or from.
    Partition(Host, Host, Duration),
    /// The connections between two hosts are reset; each end is told when the reset gets there.
    Reset(Host, Host),
    /// The connections between two hosts vanish without a word.
    Vanish(Host, Host),
    /// Everything to and from the host takes up to this much longer.
    Lag(Host, Duration, Duration),
    /// The host's processes read one packet in this time.
    SlowReader(Host, Duration, Duration),
    /// The host's processes stand still: their clocks go on.
    Freeze(Host, Duration),
    /// Writes of the registry take up to this long.
    SlowRegistry(Duration, Duration),
    /// So many of a thousand writes of the registry end without the master learning how.
    UnknownOutcomes(u32, Duration),
    /// The agent's shell dials again although its link stands.
    SecondLink(u16),
    /// The agent replaces its log by a snapshot.
    Compaction(u16),
    /// A process of the agent's machine dies of itself.
    ContainerDies(u16),
    /// A process of the agent's machine takes more memory than it may, and is ended for it.
    Overuse(u16),
    /// What the agent's containerizer starts next it cannot start.
    Unlaunchable(u16),
    /// The operator takes the agent out of the cluster (SIGUSR1); its machine brings it back.
    Unregister(u16),
    /// The operator empties the agent, its tasks have so long to end, and takes it back when it is empty.
    Drain(u16, Duration),
    /// Nothing of any agent gets to the masters.
    Blackout(Duration),
    /// An operator wants something.
    Errand(Errand),
    /// Something goes wrong in the masters' election.
    Election(election::Fault, Duration),
    /// Agent or framework is told of a master that does not lead (any more).
    StaleDetection(Host, Duration),
}

/// What operators want, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// The framework's role has at most so many tenths of a CPU.
    Limit(u16, u32, Duration),
    /// The framework's role is promised so many tenths of a CPU.
    Guarantee(u16, u32, Duration),
    /// The framework's role counts so much.
    Weight(u16, u32),
    /// The agent's machine will be away, after the first time and for the second; then it is not.
    Plan(u16, Duration, Duration),
    /// The agent's machine is taken down, and up again.
    TakeDown(u16, Duration),
    /// Nothing of the agent is offered.
    Deactivate(u16, Duration),
    /// The agent is gone; its machine is set up anew after this.
    MarkGone(u16, Duration),
    /// The framework is ended.
    Teardown(u16),
    /// One of the framework's tasks is killed.
    KillTask(u16),
    /// Disk of the agent is reserved for the framework's role, and given back.
    Reserve(u16, u16, Duration),
    /// A volume is made on the agent for the framework's role, and destroyed.
    Volume(u16, u16, Duration),
    /// The agent is left out of the whitelist.
    Unlist(u16, Duration),
}

/// Which kinds of faults a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// Processes die.
    pub crashes: bool,
    /// Paths are cut, connections break, readers are slow.
    pub network: bool,
    /// The registry is slow or its outcomes are not known.
    pub registry: bool,
    /// Masters take over from each other.
    pub takeovers: bool,
    /// Operators meddle.
    pub operators: bool,
}

impl Mix {
    /// Everything.
    pub const ALL: Self = Self { crashes: true, network: true, registry: true, takeovers: true, operators: true };
    /// Nothing.
    pub const NONE: Self = Self { crashes: false, network: false, registry: false, takeovers: false, operators: false };

    /// Reads a list of kinds: `all`, `none`, or some of `crashes,network,registry,takeovers,operators`.
    ///
    /// # Errors
    /// If a word is none of these.
    pub fn parse(text: &str) -> Result<Self, UnknownKind> {
        let mut mix = Self::NONE;
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "all" => mix = Self::ALL,
                "none" => mix = Self::NONE,
                "crashes" => mix.crashes = true,
                "network" => mix.network = true,
                "registry" => mix.registry = true,
                "takeovers" => mix.takeovers = true,
                "operators" => mix.operators = true,
                _ => return Err(UnknownKind(word.to_owned())),
            }
        }
        Ok(mix)
    }
}

/// The word names no kind of fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no kind of fault: give all, none, or some of crashes,network,registry,takeovers,operators")]
pub struct UnknownKind(String);

/// A fault and its moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// When.
    pub at: Moment,
    /// What.
    pub fault: Fault,
}

/// Draws a schedule.
pub fn schedule(seed: u64, mix: Mix, agents: u16, frameworks: u16, from: Duration, until: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed, "faults");
    if mix == Mix::NONE {
        return Vec::new();
    }
    let count = random.within(1..=30);
    let mut planned = Vec::new();
    while planned.len() < usize::try_from(count).unwrap_or(usize::MAX) {
        let at = Moment::after(random.duration(from, until));
        let Some(fault) = draw(&mut random, mix, agents, frameworks) else { continue };
        if let Fault::MasterTakeover(life) = fault
            && random.chance(500)
        {
            // Detectors lag: somebody still hears of the old master while it lives.
            let agent = u16::try_from(random.within(0..=u64::from(agents) - 1)).unwrap_or_default();
            let fault = Fault::StaleDetection(
                Host::Agent(agent),
                random.spread(Duration::from_secs(1), Duration::from_secs(30)),
            );
            planned.push(Planned { at: at + random.duration(Duration::ZERO, life), fault });
        }
        planned.push(Planned { at, fault });
    }
    planned.sort_by_key(|planned| planned.at);
    planned
}

fn draw(random: &mut Random, mix: Mix, agents: u16, frameworks: u16) -> Option<Fault> {
    let secs = Duration::from_secs;
    let millis = Duration::from_millis;
    let agent = u16::try_from(random.within(0..=u64::from(agents) - 1)).unwrap_or_default();
    let framework = u16::try_from(random.within(0..=u64::from(frameworks) - 1)).unwrap_or_default();
    let master = Host::Master(u8::try_from(random.within(0..=1)).unwrap_or_default());
    let client = if random.chance(600) { Host::Agent(agent) } else { Host::Framework(framework) };
    let (from, to) = if random.chance(500) { (master, client) } else { (client, master) };
    let any = if random.chance(300) { master } else { client };
    let kind = random.within(0..=25);
    let fault = match kind {
        0 | 1 => Fault::MasterCrash(random.spread(millis(100), secs(90))),
        2 => Fault::MasterTakeover(random.spread(secs(1), secs(120))),
        3 | 4 => Fault::AgentCrash(agent, random.spread(millis(50), secs(200))),
        5 => Fault::AgentReboot(agent, random.spread(secs(5), secs(300))),
        6 => Fault::SchedulerCrash(framework, random.spread(millis(100), secs(60))),
        7 | 8 => Fault::Cut(from, to, random.spread(millis(500), secs(200))),
        9 | 10 => Fault::Partition(from, to, random.spread(millis(500), secs(300))),
        11 | 12 => Fault::Reset(from, to),
        13 | 14 => Fault::Vanish(from, to),
        15 => Fault::Lag(any, random.spread(millis(10), secs(8)), random.spread(secs(1), secs(120))),
        16 => Fault::SlowReader(client, random.spread(millis(50), secs(5)), random.spread(secs(5), secs(120))),
        17 => Fault::Freeze(any, random.spread(millis(100), secs(120))),
        18 => Fault::SlowRegistry(random.spread(millis(50), secs(5)), random.spread(secs(5), secs(120))),
        19 => Fault::UnknownOutcomes(
            u32::try_from(random.within(50..=900)).unwrap_or(500),
            random.spread(secs(5), secs(120)),
        ),
        20 => Fault::SecondLink(agent),
        21 => Fault::Compaction(agent),
        22 => Fault::ContainerDies(agent),
        23 => Fault::Unregister(agent),
        24 => Fault::Drain(agent, random.spread(millis(1), secs(20))),
        _ => Fault::StaleDetection(client, random.spread(secs(1), secs(30))),
    };
    let wanted = match &fault {
        Fault::MasterCrash(_)
        | Fault::AgentCrash(..)
        | Fault::AgentReboot(..)
        | Fault::SchedulerCrash(..)
        | Fault::Compaction(_)
        | Fault::ContainerDies(_)
        | Fault::Overuse(_)
        | Fault::Unlaunchable(_)
        | Fault::Unregister(_)
        | Fault::Drain(..) => mix.crashes,
        Fault::MasterTakeover(_) | Fault::StaleDetection(..) | Fault::Election(..) => mix.takeovers,
        Fault::SlowRegistry(..) | Fault::UnknownOutcomes(..) => mix.registry,
        Fault::Cut(..)
        | Fault::Partition(..)
        | Fault::Reset(..)
        | Fault::Vanish(..)
        | Fault::Lag(..)
        | Fault::SlowReader(..)
        | Fault::Freeze(..)
        | Fault::Blackout(_)
        | Fault::SecondLink(_) => mix.network,
        Fault::Errand(_) => mix.operators,
    };
    wanted.then_some(fault)
}

/// Draws what goes wrong in elections.
pub fn elections(seed: u64, from: Duration, until: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed, "elections");
    let count = random.within(1..=10);
    let mut planned = Vec::new();
    for _ in 0..count {
        let at = Moment::after(random.duration(from, until));
        let time = random.spread(Duration::from_millis(100), Duration::from_secs(40));
        let fault = election::draw(&mut random);
        planned.push(Planned { at, fault: Fault::Election(fault, time) });
    }
    planned
}

/// Draws what goes wrong with containers beside their own ends.
pub fn containers(seed: u64, agents: u16, from: Duration, until: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed, "containers' faults");
    let count = random.within(0..=6);
    let mut planned = Vec::new();
    for _ in 0..count {
        let at = Moment::after(random.duration(from, until));
        let agent = u16::try_from(random.within(0..=u64::from(agents) - 1)).unwrap_or_default();
        let fault = if random.chance(700) { Fault::Overuse(agent) } else { Fault::Unlaunchable(agent) };
        planned.push(Planned { at, fault });
    }
    planned
}

/// Draws what operators want.
pub fn errands(seed: u64, agents: u16, frameworks: u16, from: Duration, until: Duration) -> Vec<Planned> {
    let mut random = Random::new(seed, "operators");
    let count = random.within(0..=8).saturating_sub(2);
    let secs = Duration::from_secs;
    let mut planned = Vec::new();
    for _ in 0..count {
        let at = Moment::after(random.duration(from, until));
        let agent = u16::try_from(random.within(0..=u64::from(agents) - 1)).unwrap_or_default();
        let framework = u16::try_from(random.within(0..=u64::from(frameworks) - 1)).unwrap_or_default();
        let tenths = u32::try_from(random.within(1..=40)).unwrap_or(1);
        let time = random.spread(secs(2), secs(200));
        let errand = match random.within(0..=18) {
            0 | 1 => Errand::Limit(framework, tenths.div_ceil(3), time),
            2 | 3 => Errand::Guarantee(framework, tenths, time),
            4 => Errand::Weight(framework, tenths),
            5 => Errand::Plan(agent, random.spread(secs(1), secs(60)), time),
            6 => Errand::TakeDown(agent, time),
            7 | 8 => Errand::Deactivate(agent, time),
            9 => Errand::MarkGone(agent, time),
            10 => Errand::Teardown(framework),
            11 => Errand::KillTask(framework),
            12 | 13 => Errand::Reserve(agent, framework, time),
            14..=16 => Errand::Volume(agent, framework, time),
            _ => Errand::Unlist(agent, time),
        };
        planned.push(Planned { at, fault: Fault::Errand(errand) });
    }
    planned
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MasterCrash(down) => write!(f, "the master is killed, back after {down:?}"),
            Self::MasterTakeover(life) => write!(f, "another master takes over, the old one lives on for {life:?}"),
            Self::AgentCrash(agent, down) => write!(f, "agent{agent} is killed, back after {down:?}"),
            Self::AgentReboot(agent, down) => write!(f, "agent{agent} loses its power, back after {down:?}"),
            Self::SchedulerCrash(framework, down) => write!(f, "framework{framework} is killed, back after {down:?}"),
            Self::Cut(from, to, time) => write!(f, "nothing gets from {from} to {to} for {time:?}"),
            Self::Partition(one, other, time) => write!(f, "nothing gets between {one} and {other} for {time:?}"),
            Self::Reset(one, other) => write!(f, "connections between {one} and {other} are reset"),
            Self::Vanish(one, other) => write!(f, "connections between {one} and {other} vanish"),
            Self::Lag(host, lag, time) => write!(f, "{host} is {lag:?} away for {time:?}"),
            Self::SlowReader(host, pace, time) => write!(f, "{host} reads one packet in {pace:?} for {time:?}"),
            Self::Freeze(host, time) => write!(f, "{host} stands still for {time:?}"),
            Self::SlowRegistry(latency, time) => write!(f, "registry writes take {latency:?} for {time:?}"),
            Self::UnknownOutcomes(per_mille, time) => {
                write!(f, "{per_mille} of 1000 registry writes have unknown outcomes for {time:?}")
            }
            Self::SecondLink(agent) => write!(f, "agent{agent} dials although its link stands"),
            Self::Compaction(agent) => write!(f, "agent{agent} compacts its log"),
            Self::ContainerDies(agent) => write!(f, "a process of agent{agent} dies"),
            Self::Overuse(agent) => write!(f, "a process of agent{agent} takes too much memory"),
            Self::Unlaunchable(agent) => write!(f, "agent{agent} cannot start its next container"),
            Self::Drain(agent, grace) => write!(f, "agent{agent} is drained within {grace:?}"),
            Self::Unregister(agent) => write!(f, "agent{agent} is taken out of the cluster"),
            Self::Blackout(time) => write!(f, "nothing of any agent gets to the masters for {time:?}"),
            Self::Election(fault, time) => write!(f, "in the election: {fault:?} for {time:?}"),
            Self::Errand(errand) => write!(f, "an operator: {errand:?}"),
            Self::StaleDetection(host, time) => write!(f, "{host} is told of another master for {time:?}"),
        }
    }
}
