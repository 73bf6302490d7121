//! What the core is told.

use std::{net::IpAddr, time::Duration};

use mezzo_api::v1;

/// A request that waits for an [`Answer`](crate::effect::Answer); numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One event stream of a framework: the UUID that Mesos-Stream-Id carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub uuid::Uuid);

/// One link of an agent; numbered by the shell, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A batch of registry operations that the core asked to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Who speaks: the authenticated principal, if any.
pub type Principal = Option<String>;

/// A new link: what the shell knows before the agent has said a word.
#[derive(Clone, Debug)]
pub struct LinkUp {
    /// The link's number.
    pub link: LinkId,
    /// Where the connection comes from; behind NAT this is the router.
    pub peer: IpAddr,
}

/// A SUBSCRIBE that passed call-level validation. The door has already answered 200 and opened the stream;
/// whatever is wrong from here on is an ERROR event on it (scheduler-http-api: never a 4xx).
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The stream that the door opened.
    pub stream: StreamId,
    /// Who speaks.
    pub principal: Principal,
    /// The call's payload.
    pub subscribe: v1::scheduler::call::Subscribe,
}

/// Any other scheduler call, after call-level validation ([`crate::validate`]).
#[derive(Clone, Debug)]
pub struct SchedulerCall {
    /// To be answered by `Effect::Reply`.
    pub request: RequestId,
    /// The header Mesos-Stream-Id as it came, if it came.
    pub stream_id: Option<String>,
    /// Who speaks.
    pub principal: Principal,
    /// The call.
    pub call: v1::scheduler::Call,
}

/// What an operator asks for. Grows with the operator API.
#[derive(Clone, Debug)]
pub enum OperatorCall {
    /// End a framework and all its tasks (`POST /teardown`, `TEARDOWN`).
    Teardown {
        /// Which.
        framework_id: v1::FrameworkId,
    },
    /// An agent will never come back (`MARK_AGENT_GONE`).
    MarkAgentGone {
        /// Which.
        agent_id: v1::AgentId,
    },
    /// Tell why a framework is not offered what it waits for (`GET /explain`, `EXPLAIN`).
    Explain(crate::Explain),
}

/// The settings that the core decides by. Names and defaults are those of Mesos' flags (src/master/flags.cpp).
#[derive(Clone, Debug)]
pub struct Config {
    /// The master's UUID: prefix of every id that it gives out.
    pub master_id: String,
    /// The leadership term; on every message to agents.
    pub term: u64,
    /// What SUBSCRIBED and `/state` say of this master.
    pub master_info: v1::MasterInfo,
    /// `--allocation_interval` (1 s).
    pub allocation_interval: Duration,
    /// `--agent_ping_timeout` (15 s).
    pub agent_ping_timeout: Duration,
    /// `--max_agent_ping_timeouts` (5).
    pub max_agent_ping_timeouts: u32,
    /// `--agent_reregister_timeout` (10 min).
    pub agent_reregister_timeout: Duration,
    /// How agents that are away are dealt with.
    pub lifecycle: Lifecycle,
    /// `--offer_timeout`; `None` is never. Mezzo's default is 2 minutes.
    pub offer_timeout: Option<Duration>,
    /// Interval of HEARTBEAT events (15 s).
    pub heartbeat_interval: Duration,
    /// `--max_completed_frameworks` (50).
    pub max_completed_frameworks: usize,
    /// `--max_completed_tasks_per_framework` (1000).
    pub max_completed_tasks_per_framework: usize,
    /// `--max_unreachable_tasks_per_framework` (1000).
    pub max_unreachable_tasks_per_framework: usize,
    /// `--roles`: the whitelist, if there is one.
    pub roles: Option<Vec<String>>,
    /// `--root_submissions` (true).
    pub root_submissions: bool,
    /// `--filter_gpu_resources` (true).
    pub filter_gpu_resources: bool,
    /// `--min_allocatable_resources` (`cpus:0.01|mem:32`): alternatives; each a list of name and amount.
    pub min_allocatable_resources: Vec<Vec<(String, f64)>>,
    /// The allocator's own.
    pub allocator: AllocatorConfig,
}

/// How the allocator decides.
#[derive(Clone, Debug)]
pub struct AllocatorConfig {
    /// `--role_sorter` (drf).
    pub role_sorter: Sorter,
    /// `--framework_sorter` (drf).
    pub framework_sorter: Sorter,
    /// `--fair_sharing_excluded_resource_names`: names that shares are not made of.
    pub fair_sharing_excluded: Vec<String>,
    /// `--allocator_agent_recovery_factor` (0.8): the part of the registry's agents that must be back before anything is
    /// offered, if there are quotas.
    pub agent_recovery_factor: f64,
    /// `--allocator_recovery_timeout` (10 min): no longer than this.
    pub recovery_timeout: Duration,
}

impl Default for AllocatorConfig {
    fn default() -> Self {
        Self {
            role_sorter: Sorter::Drf,
            framework_sorter: Sorter::Drf,
            fair_sharing_excluded: Vec::new(),
            agent_recovery_factor: 0.8,
            recovery_timeout: Duration::from_secs(600),
        }
    }
}

/// In which order roles, or the frameworks of a role, are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sorter {
    /// By dominant share, the smallest first.
    Drf,
    /// By chance, in proportion to weights.
    Random,
}

/// How agents that are away are dealt with: the defaults are those of Mesos.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifecycle {
    /// `--agent_removal_rate_limit`; none: as they come.
    pub removal_rate_limit: Option<RateLimit>,
    /// `--recovery_agent_removal_limit` as a part of 1: when more agents than that have not come back after a change of
    /// masters, none is given up (Mesos' master exits).
    pub recovery_removal_limit: f64,
    /// `--registry_gc_interval` (15 min).
    pub registry_gc_interval: Duration,
    /// `--registry_max_agent_age` (2 weeks).
    pub registry_max_agent_age: Duration,
    /// `--registry_max_agent_count` (102,400), of unreachable and of gone agents each.
    pub registry_max_agent_count: usize,
    /// `--require_agent_domain` (false).
    pub require_agent_domain: bool,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            removal_rate_limit: None,
            recovery_removal_limit: 1.0,
            registry_gc_interval: Duration::from_secs(15 * 60),
            registry_max_agent_age: Duration::from_secs(14 * 24 * 3600),
            registry_max_agent_count: 102_400,
            require_agent_domain: false,
        }
    }
}

/// So many in so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// At least 1.
    pub permits: u32,
    /// In this time.
    pub duration: Duration,
}

impl RateLimit {
    /// One in each.
    pub fn interval(self) -> Duration {
        self.duration / self.permits.max(1)
    }
}
