//! What a run is: everything follows from this.

use std::time::Duration;

use mezzo_master_core::input::{Lifecycle, RateLimit};

use crate::{
    fault::{self, Fault, Mix, Planned},
    time::Moment,
};

/// A framework's character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Character {
    /// Keeps a number of tasks running, by the SDK's driver.
    Keeper,
    /// Keeps a number of tasks running, by the SDK's supervisor.
    Supervised,
    /// Somebody else's program: see [`World::add_guest`](crate::world::World::add_guest).
    Guest,
    /// Does what a broken or evil client might do.
    Hostile,
}

/// How large a cluster, for how long, with which troubles.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is not said here.
    pub seed: u64,
    /// Agents.
    pub agents: u16,
    /// Frameworks that keep tasks running.
    pub keepers: u16,
    /// Frameworks that keep tasks running by the SDK's supervisor.
    pub supervised: u16,
    /// Hostile ones.
    pub hostile: u16,
    /// Tasks that each keeper wants running.
    pub tasks: usize,
    /// Until when there are faults.
    pub troubled: Duration,
    /// After the faults, the cluster has so long to come to rest.
    pub settling: Duration,
    /// What goes wrong.
    pub faults: Vec<Planned>,
    /// Clocks drift.
    pub drift: bool,
    /// An election decides who leads; else the schedule does.
    pub elected: bool,
    /// How masters deal with agents that are away.
    pub lifecycle: Lifecycle,
    /// Every task runs so long, alone in its container, and nobody kills it; drawn for each if not given.
    pub task_time: Option<Duration>,
}

/// What a caller may choose; the rest is drawn from the seed.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Agents; drawn if not given.
    pub agents: Option<u16>,
    /// Frameworks; drawn if not given.
    pub frameworks: Option<u16>,
    /// Kinds of faults.
    pub mix: Mix,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { agents: None, frameworks: None, mix: Mix::ALL }
    }
}

/// After the last fault: the longest of failover timeouts, agents that are waited for, connections that are dead
/// without anybody knowing, and update retries that had backed off; with a margin.
const SETTLING: Duration = Duration::from_secs(40 * 60);

/// Longer than anybody looks on.
const YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

impl Plan {
    /// The run of this seed.
    pub fn new(seed: u64, wishes: Wishes) -> Self {
        let mut random = crate::random::Random::new(seed, "plan");
        let draw = |random: &mut crate::random::Random, most: u64| u16::try_from(random.within(1..=most)).unwrap_or(1);
        let agents = wishes.agents.unwrap_or_else(|| draw(&mut random, 5));
        let keepers = wishes.frameworks.unwrap_or_else(|| draw(&mut random, 3)).max(1);
        let hostile = if wishes.frameworks.is_some() { 0 } else { u16::from(random.chance(400)) };
        let tasks = usize::try_from(random.within(1..=8)).unwrap_or(1);
        let troubled = random.duration(Duration::from_secs(60), Duration::from_secs(900));
        let supervised = if wishes.frameworks.is_some() { 0 } else { u16::from(random.chance(300)) };
        let frameworks = keepers + supervised + hostile;
        let lifecycle = lifecycle(seed);
        let from = Duration::from_secs(5);
        let mut faults = fault::schedule(seed, wishes.mix, agents, frameworks, from, troubled);
        if wishes.mix.operators {
            faults.extend(fault::errands(seed, agents, frameworks, from, troubled));
        }
        if wishes.mix.crashes {
            faults.extend(fault::containers(seed, agents, from, troubled));
        }
        if wishes.mix.network && lifecycle.removal_rate_limit.is_some() {
            faults.extend(blackout(seed, from, troubled));
        }
        let elected = wishes.mix.takeovers && crate::random::Random::new(seed, "elected").chance(200);
        if elected {
            faults.extend(fault::elections(seed, from, troubled));
        }
        faults.sort_by_key(|planned| planned.at);
        Self {
            seed,
            agents,
            keepers,
            supervised,
            hostile,
            tasks,
            troubled,
            settling: SETTLING,
            faults,
            drift: true,
            elected,
            lifecycle,
            task_time: None,
        }
    }

    /// All frameworks.
    pub fn frameworks(&self) -> u16 {
        self.keepers + self.supervised + self.hostile
    }

    /// A framework's character: keepers come first, guests last.
    pub fn character(&self, framework: u16) -> Character {
        if framework < self.keepers {
            Character::Keeper
        } else if framework < self.keepers + self.supervised {
            Character::Supervised
        } else if framework < self.frameworks() {
            Character::Hostile
        } else {
            Character::Guest
        }
    }

    /// A quiet cluster of this size for guests, without an end of its own.
    pub fn quiet(seed: u64, agents: u16) -> Self {
        let mut plan = Self::new(seed, Wishes { agents: Some(agents), frameworks: Some(1), mix: Mix::NONE });
        plan.keepers = 0;
        plan.troubled = YEARS;
        plan.settling = Duration::ZERO;
        plan
    }
}

/// Where silent agents are given up one by one, many are silent at once: and some speak while they wait for their turn.
fn blackout(seed: u64, from: Duration, until: Duration) -> Option<Planned> {
    let mut random = crate::random::Random::new(seed, "blackout");
    let at = Moment::after(random.duration(from, until));
    let time = random.duration(Duration::from_secs(80), Duration::from_secs(240));
    random.chance(700).then_some(Planned { at, fault: Fault::Blackout(time) })
}

/// Some masters give agents up at a pace, some forget lost ones early: drawn apart, so that it shifts nothing else.
fn lifecycle(seed: u64) -> Lifecycle {
    let mut random = crate::random::Random::new(seed, "lifecycle");
    let mut lifecycle = Lifecycle::default();
    if random.chance(300) {
        let duration = random.duration(Duration::from_secs(20), Duration::from_secs(120));
        lifecycle.removal_rate_limit = Some(RateLimit { permits: 1, duration });
    }
    if random.chance(300) {
        lifecycle.registry_gc_interval = Duration::from_secs(30);
        lifecycle.registry_max_agent_age = random.duration(Duration::from_secs(10), Duration::from_secs(300));
    }
    lifecycle
}
