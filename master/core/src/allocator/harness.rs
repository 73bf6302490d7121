//! The allocator by itself, for `bench/`: agents and frameworks are numbers, and time is the caller's.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use mezzo_api::{
    resources::{Resources, Scalar},
    v1::AgentInfo,
};
use slotmap::SlotMap;

pub use super::oracle::walk;
use super::{Allocator, FrameworkOptions, Limits, Quantities, config};
use crate::{
    description::Description,
    frameworks::Capabilities,
    input::AllocatorConfig,
    keys::{AgentKey, FrameworkKey},
};

/// An allocator, and the names of those that it knows.
#[derive(Debug)]
pub struct Harness {
    allocator: Allocator,
    agent_keys: SlotMap<AgentKey, usize>,
    framework_keys: SlotMap<FrameworkKey, usize>,
    agents: Vec<AgentKey>,
    frameworks: Vec<(FrameworkKey, String)>,
}

/// Something that was handed out.
#[derive(Clone, Debug)]
pub struct Made {
    /// The framework's number.
    pub framework: usize,
    /// The agent's.
    pub agent: usize,
    /// Allocated to the framework's role.
    pub resources: Resources,
}

impl Harness {
    /// Nobody is there yet.
    pub fn new(sorters: AllocatorConfig) -> Self {
        Self {
            allocator: Allocator::new(&config(sorters), 1),
            agent_keys: SlotMap::with_key(),
            framework_keys: SlotMap::with_key(),
            agents: Vec::new(),
            frameworks: Vec::new(),
        }
    }

    /// One more agent, nothing of it being taken.
    pub fn add_agent(&mut self, now: Duration, total: Resources) -> usize {
        let number = self.agents.len();
        let key = self.agent_keys.insert(number);
        let info = AgentInfo { hostname: format!("agent{number}"), ..AgentInfo::default() };
        self.allocator.add_agent(now, key, Description::new(&info), Arc::new(total), true);
        self.agents.push(key);
        number
    }

    /// One more framework, that wants offers for one role. `shared`: it can use shared resources.
    pub fn add_framework(&mut self, now: Duration, role: &str, shared: bool) -> usize {
        let number = self.frameworks.len();
        let key = self.framework_keys.insert(number);
        let options = FrameworkOptions {
            id: format!("framework{number:05}").into(),
            roles: [role.to_owned()].into(),
            suppressed: Default::default(),
            capabilities: Capabilities {
                partition_aware: true,
                multi_role: true,
                reservation_refinement: true,
                gpu_resources: false,
                revocable_resources: false,
                shared_resources: shared,
                region_aware: false,
            },
            min_allocatable: BTreeMap::new(),
            constraints: None,
        };
        self.allocator.put_framework(now, key, true, options);
        self.frameworks.push((key, role.to_owned()));
        number
    }

    /// Part of an agent is used by a framework.
    pub fn take(&mut self, now: Duration, framework: usize, agent: usize, resources: &Resources) {
        let (key, role) = &self.frameworks[framework];
        let mut allocated = resources.clone();
        allocated.allocate(role);
        self.allocator.take(now, *key, self.agents[agent], &allocated);
    }

    /// One slice; the answer is what it handed out.
    pub fn run(&mut self, now: Duration) -> Vec<Made> {
        let made = self.allocator.run(now);
        let number = |key| self.framework_keys.get(key).copied().unwrap_or_default();
        made.into_iter()
            .map(|allocation| Made {
                framework: number(allocation.framework),
                agent: self.agent_keys.get(allocation.agent).copied().unwrap_or_default(),
                resources: allocation.resources,
            })
            .collect()
    }

    /// When there is something to do, if there is.
    pub fn due(&self) -> Option<Duration> {
        self.allocator.due()
    }

    /// All agents are to be looked at: a full cycle begins.
    pub fn begin_cycle(&mut self) {
        self.allocator.everything_soon();
    }

    /// What was handed out is free again, and refused for so long.
    pub fn give_back(&mut self, now: Duration, made: &Made, refused: Option<Duration>) {
        let (framework, _) = self.frameworks[made.framework];
        self.allocator.give_back(now, framework, self.agents[made.agent], &made.resources, refused);
    }

    /// A framework refuses all that is free of an agent; nothing else changes.
    pub fn refuse(&mut self, now: Duration, framework: usize, agent: usize, refused: Duration) {
        let (key, role) = &self.frameworks[framework];
        let Some(available) = self.allocator.available(self.agents[agent]) else { return };
        let mut allocated = available.clone();
        allocated.allocate(role);
        self.allocator.refuse(now, *key, self.agents[agent], &allocated, refused);
    }

    /// `consumed` of what was handed out becomes `converted`; both without allocation.
    pub fn convert(&mut self, now: Duration, made: &mut Made, consumed: &Resources, converted: &Resources) {
        let (framework, role) = &self.frameworks[made.framework];
        let (mut consumed, mut converted) = (consumed.clone(), converted.clone());
        consumed.allocate(role);
        converted.allocate(role);
        made.resources -= &consumed;
        made.resources += &converted;
        self.allocator.convert(now, *framework, self.agents[made.agent], &consumed, &converted);
    }

    /// A framework wants no offers, or wants some again.
    pub fn suppress(&mut self, now: Duration, framework: usize, suppressed: bool) {
        let (key, role) = &self.frameworks[framework];
        let roles = [role.clone()].into();
        if suppressed {
            self.allocator.suppress(now, *key, &roles);
        } else {
            self.allocator.revive(now, *key, &roles);
        }
    }

    /// A role's guarantee, which is its limit too.
    pub fn set_quota(&mut self, now: Duration, role: &str, amounts: &[(&str, f64)]) {
        let amounts: Vec<(String, Scalar)> =
            amounts.iter().map(|(name, amount)| ((*name).to_owned(), Scalar::from_f64(*amount))).collect();
        let guarantees: Quantities = amounts.iter().cloned().collect();
        let limits: Limits = amounts.into_iter().collect();
        self.allocator.set_quota(now, role, guarantees, limits);
    }

    /// How many gauges there are.
    pub fn metrics(&self, now: Duration) -> usize {
        self.allocator.metrics(now, &|_| false).len()
    }
}
