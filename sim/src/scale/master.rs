//! A master's core with a shell that answers every write at once and counts what is sent.

use std::time::{Duration, UNIX_EPOCH};

use mezzo_agent_core::capability_names;
use mezzo_api::{
    MESOS_VERSION,
    link::{self, from_agent},
    resources::Resources,
    time::Now,
    v1::{self, TaskState, scheduler::call},
};
use mezzo_master_core::{
    Core,
    effect::{Effect, Effects},
    input::{LinkId, LinkUp, RequestId, SchedulerCall, StreamId, Subscribe},
    registry::Recovered,
};

use super::computed;
use crate::{ids::Host, world::master_config};

/// The core, its time, and what it sent.
pub(super) struct Driver {
    pub(super) core: Core,
    /// Virtual time since the begin.
    pub(super) now: Duration,
    /// How long the core computed.
    pub(super) took: Duration,
    /// Offers that wait for an answer.
    pub(super) offers: Vec<(StreamId, v1::Offer)>,
    /// Messages to agents, by number.
    pub(super) to_agents: u64,
    /// Tasks that were given to agents.
    pub(super) launched: u64,
    effects: Effects,
    request: u64,
}

/// What each agent has.
const AGENT: &str = "cpus:64;mem:488000;disk:1000000;ports:[31000-32000]";

impl Driver {
    pub(super) fn new(recovered: Recovered) -> Self {
        let begin = computed();
        let core = Core::new(
            master_config("11111111-1111-4111-8111-111111111111", 2, Host::Master(0)),
            1,
            at(Duration::ZERO),
            recovered,
        );
        Self {
            core,
            now: Duration::ZERO,
            took: (computed() - begin),
            offers: Vec::new(),
            to_agents: 0,
            launched: 0,
            effects: Effects::new(),
            request: 0,
        }
    }

    /// Some inputs, then the end of the batch; the core's share is timed.
    pub(super) fn batch(&mut self, inputs: impl FnOnce(&mut Core, Now, &mut Effects)) {
        let now = at(self.now);
        let mut begin = computed();
        inputs(&mut self.core, now, &mut self.effects);
        loop {
            if self.core.deadline().is_some_and(|deadline| deadline <= now.mono) {
                self.core.tick(now, &mut self.effects);
            }
            self.core.flush(now, &mut self.effects);
            let tickets: Vec<_> = self
                .effects
                .iter()
                .filter_map(|effect| if let Effect::Write(ticket, _) = effect { Some(*ticket) } else { None })
                .collect();
            self.took += computed() - begin;
            self.drain();
            begin = computed();
            for ticket in &tickets {
                self.core.registry(now, *ticket, Ok(()), &mut self.effects);
            }
            // The allocator goes on in slices.
            let goes_on = self.core.deadline().is_some_and(|deadline| deadline <= now.mono);
            if tickets.is_empty() && !goes_on {
                return;
            }
            self.took += computed() - begin;
            begin = computed();
        }
    }

    fn drain(&mut self) {
        for effect in self.effects.drain(..) {
            match effect {
                Effect::ToFramework(stream, event) => {
                    if let Some(offers) = event.offers {
                        self.offers.extend(offers.offers.into_iter().map(|offer| (stream, offer)));
                    }
                }
                Effect::ToAgent(_, message) => {
                    self.to_agents += 1;
                    self.launched += u64::from(matches!(*message, link::to_agent::Message::RunTask(_)));
                }
                _ => {}
            }
        }
    }

    /// An agent dials and says this.
    pub(super) fn agent_says(&mut self, number: u32, message: from_agent::Message) {
        self.says_on(link_of(number), message);
    }

    /// … over this link.
    pub(super) fn says_on(&mut self, link: LinkId, message: from_agent::Message) {
        self.batch(|core, now, out| {
            core.link_up(now, LinkUp { link, peer: [10, 0, 0, 1].into() }, out);
            core.agent(now, link, link::FromAgent { message: Some(message) }, out);
        });
    }

    pub(super) fn subscribe(&mut self, number: u32) -> StreamId {
        let stream = StreamId(uuid::Uuid::from_u128(u128::from(number) + 1));
        let subscribe = call::Subscribe { framework_info: framework(number), ..Default::default() };
        self.batch(|core, now, out| core.subscribe(now, Subscribe { stream, principal: None, subscribe }, out));
        stream
    }

    pub(super) fn call(&mut self, stream: StreamId, call: v1::scheduler::Call) {
        self.request += 1;
        let request = RequestId(self.request);
        let stream_id = Some(stream.0.to_string());
        let call = SchedulerCall { request, stream_id, principal: None, call };
        self.batch(|core, now, out| core.scheduler_call(now, call, out));
    }
}

/// The link of an agent.
pub(super) fn link_of(number: u32) -> LinkId {
    LinkId(number.into())
}

fn at(mono: Duration) -> Now {
    Now { mono, wall: UNIX_EPOCH + Duration::from_secs(1_700_000_000) + mono }
}

pub(super) fn framework_id(number: u32) -> v1::FrameworkId {
    v1::FrameworkId { value: format!("22222222-2222-4222-8222-222222222222-{number:04}") }
}

pub(super) fn agent_id(number: u32) -> v1::AgentId {
    v1::AgentId { value: format!("22222222-2222-4222-8222-222222222222-S{number}") }
}

pub(super) fn framework(number: u32) -> v1::FrameworkInfo {
    let capability = v1::framework_info::capability::Type::PartitionAware;
    v1::FrameworkInfo {
        id: Some(framework_id(number)),
        user: "sim".to_owned(),
        name: format!("framework{number}"),
        failover_timeout: Some(604_800.0),
        checkpoint: Some(true),
        capabilities: vec![v1::framework_info::Capability { r#type: Some(capability as i32) }],
        ..Default::default()
    }
}

/// An agent as it describes itself, with its id if it has one.
pub(super) fn agent_info(number: u32, known: bool) -> v1::AgentInfo {
    v1::AgentInfo {
        hostname: format!("agent{number}"),
        port: Some(5051),
        resources: Resources::parse(AGENT, "*").unwrap_or_default().to_protos(),
        id: known.then(|| agent_id(number)),
        ..Default::default()
    }
}

pub(super) fn register(number: u32, known: bool) -> link::Register {
    let capability = |name: &str| v1::agent_info::Capability {
        r#type: v1::agent_info::capability::Type::from_str_name(name).map(|kind| kind as i32),
    };
    link::Register {
        resource_version: None,
        agent: agent_info(number, known),
        version: MESOS_VERSION.to_owned(),
        mezzo_version: None,
        capabilities: capability_names().map(capability).collect(),
        checkpointed_resources: Vec::new(),
        advertised_ip: None,
    }
}

/// A task as an agent reports it: with ten labels, as in Mesos' own benchmark (src/tests/master_benchmarks.cpp).
pub(super) fn task(agent: u32, number: u32, framework: u32, state: TaskState) -> v1::Task {
    let label = |number: u32| v1::Label { key: format!("key{number}"), value: Some(format!("value{number}")) };
    let allocation = Some(v1::resource::AllocationInfo { role: Some("*".to_owned()) });
    let scalar = |name: &str, value: f64| v1::Resource {
        name: name.to_owned(),
        r#type: v1::value::Type::Scalar as i32,
        scalar: Some(v1::value::Scalar { value }),
        allocation_info: allocation.clone(),
        ..Default::default()
    };
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: format!("t{agent}-{number}") },
        state: state as i32,
        timestamp: Some(1_700_000_000.0),
        ..Default::default()
    };
    v1::Task {
        name: "task".to_owned(),
        task_id: status.task_id.clone(),
        framework_id: framework_id(framework),
        agent_id: agent_id(agent),
        state: state as i32,
        resources: vec![scalar("cpus", 0.1), scalar("mem", 32.0)],
        statuses: vec![status],
        labels: Some(v1::Labels { labels: (0..10).map(label).collect() }),
        ..Default::default()
    }
}
