//! The masters' registry: durable on success, sometimes slow, sometimes with an unknown outcome, fenced by term.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use mezzo_api::{
    ids::{AgentId, FrameworkId},
    v1,
};
use mezzo_master_core::{
    input::Ticket,
    registry::{Machine, Recovered, RegistryError, RegistryOp, Standing},
};

use crate::{ids::ProcessId, random::Random, time::Moment};

/// What is written down.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// Admitted agents.
    pub agents: BTreeMap<AgentId, v1::AgentInfo>,
    /// Unreachable ones, and since when in nanoseconds since the epoch.
    pub unreachable: BTreeMap<AgentId, i64>,
    /// Gone ones.
    pub gone: BTreeMap<AgentId, i64>,
    /// What operators want of agents.
    pub standings: BTreeMap<AgentId, Standing>,
    /// Torn-down frameworks.
    pub completed: BTreeSet<FrameworkId>,
    /// Quota by role.
    pub quotas: BTreeMap<String, v1::quota::QuotaConfig>,
    /// Weights by role.
    pub weights: BTreeMap<String, f64>,
    /// The maintenance schedule.
    pub machines: BTreeMap<String, Machine>,
    order: Vec<FrameworkId>,
}

impl Content {
    fn apply(&mut self, op: &RegistryOp) {
        match op {
            RegistryOp::PutAgent(info) => {
                let Some(id) = info.id.as_ref().map(AgentId::from) else { return };
                self.unreachable.remove(&id);
                self.agents.insert(id, (**info).clone());
            }
            RegistryOp::RemoveAgent(id) => {
                self.agents.remove(id);
                self.unreachable.remove(id);
                self.standings.remove(id);
            }
            RegistryOp::MarkUnreachable(id, since) => {
                self.agents.remove(id);
                self.unreachable.insert(id.clone(), *since);
            }
            RegistryOp::MarkGone(id, since) => {
                self.agents.remove(id);
                self.unreachable.remove(id);
                self.gone.insert(id.clone(), *since);
                self.standings.remove(id);
            }
            RegistryOp::PutStanding(id, standing) => {
                self.standings.insert(id.clone(), standing.clone());
                self.standings.retain(|_, standing| *standing != Standing::default());
            }
            RegistryOp::PruneAgent(id) => {
                self.unreachable.remove(id);
                self.gone.remove(id);
            }
            RegistryOp::CompleteFramework(id) => {
                if self.completed.insert(id.clone()) {
                    self.order.push(id.clone());
                }
            }
            RegistryOp::PutQuota(quota) => drop(self.quotas.insert(quota.role.clone(), (**quota).clone())),
            RegistryOp::RemoveQuota(role) => drop(self.quotas.remove(role)),
            RegistryOp::PutWeight(role, weight) => drop(self.weights.insert(role.clone(), *weight)),
            RegistryOp::PutMachine(machine) => {
                self.machines.insert(Machine::key(&machine.info.id), (**machine).clone());
            }
            RegistryOp::RemoveMachine(id) => drop(self.machines.remove(&Machine::key(id))),
        }
    }

    /// What a new leader starts from.
    pub fn recovered(&self) -> Recovered {
        let pairs = |map: &BTreeMap<AgentId, i64>| map.iter().map(|(id, since)| (id.clone(), *since)).collect();
        Recovered {
            agents: self.agents.values().cloned().collect(),
            unreachable: pairs(&self.unreachable),
            gone: pairs(&self.gone),
            standings: self.standings.iter().map(|(id, standing)| (id.clone(), standing.clone())).collect(),
            completed_frameworks: self.order.clone(),
            quotas: self.quotas.values().cloned().collect(),
            weights: self.weights.clone().into_iter().collect(),
            machines: self.machines.values().cloned().collect(),
        }
    }
}

#[derive(Debug)]
struct Write {
    process: ProcessId,
    term: u64,
    ticket: Ticket,
    operations: Vec<RegistryOp>,
    number: u64,
}

/// The end of a write.
#[derive(Debug)]
pub struct Written {
    /// Whose.
    pub process: ProcessId,
    /// Which.
    pub ticket: Ticket,
    /// What the writer is told.
    pub result: Result<(), RegistryError>,
    /// What became durable.
    pub applied: Vec<RegistryOp>,
}

/// The store.
#[derive(Debug)]
pub struct Registry {
    random: Random,
    /// What is durable.
    pub content: Content,
    term: u64,
    waiting: VecDeque<Write>,
    next: u64,
    busy_until: Moment,
    /// Every write takes up to this long.
    pub latency: Duration,
    /// So many of a thousand writes end without the writer learning how.
    pub unknown_per_mille: u32,
}

/// How long a write takes when all is well.
pub const LATENCY: Duration = Duration::from_millis(4);

impl Registry {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed, "registry"),
            content: Content::default(),
            term: 0,
            waiting: VecDeque::new(),
            next: 0,
            busy_until: Moment::default(),
            latency: LATENCY,
            unknown_per_mille: 0,
        }
    }

    /// A new leader, of this term or of the next: from now on writes of older terms are refused.
    pub fn lead(&mut self, term: Option<u64>) -> u64 {
        self.term = term.unwrap_or(self.term + 1).max(self.term);
        self.term
    }

    /// Takes a write; it ends at the moment that is returned, under the number that is returned.
    pub fn submit(
        &mut self,
        now: Moment,
        process: ProcessId,
        term: u64,
        ticket: Ticket,
        operations: Vec<RegistryOp>,
    ) -> (Moment, u64) {
        let number = self.next;
        self.next += 1;
        let begin = now.max(self.busy_until);
        self.busy_until = begin + self.random.duration(self.latency / 10, self.latency);
        self.waiting.push_back(Write { process, term, ticket, operations, number });
        (self.busy_until, number)
    }

    /// The write's time has come.
    pub fn finish(&mut self, number: u64) -> Option<Written> {
        let place = self.waiting.iter().position(|write| write.number == number)?;
        let write = self.waiting.remove(place)?;
        let mut written = Written { process: write.process, ticket: write.ticket, result: Ok(()), applied: Vec::new() };
        let unknown = self.random.chance(self.unknown_per_mille);
        if write.term < self.term && !mezzo_api::mutant!("fence-skipped") {
            written.result = if unknown { Err(RegistryError::Unknown) } else { Err(RegistryError::Fenced) };
            return Some(written);
        }
        if unknown {
            written.result = Err(RegistryError::Unknown);
        }
        if !unknown || self.random.chance(500) {
            for operation in &write.operations {
                self.content.apply(operation);
            }
            written.applied = write.operations;
        }
        Some(written)
    }

    /// The writer is gone: of what it had asked for, a first part becomes durable all the same.
    pub fn abandon(&mut self, process: ProcessId) -> Vec<RegistryOp> {
        let (own, others): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|write| write.process == process);
        self.waiting = others;
        let kept = self.random.index(own.len() + 1);
        let mut applied = Vec::new();
        for write in own.into_iter().take(kept).filter(|write| write.term == self.term) {
            for operation in write.operations {
                self.content.apply(&operation);
                applied.push(operation);
            }
        }
        applied
    }
}
