//! The state machine's face: every input has its method.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use mezzo_api::{
    ids::{AgentId, FrameworkId},
    link,
    time::Now,
    v1::{quota::QuotaConfig, scheduler::Event},
};

use crate::{
    agents::{Agents, Removals},
    allocator::Allocator,
    checked::Checked,
    counters::{Counter, Counters},
    effect::{Answer, Change, Effect, Effects},
    explain::Inquiries,
    frameworks::{Frameworks, Requester},
    input::{Config, LinkId, LinkUp, OperatorCall, Principal, RequestId, SchedulerCall, StreamId, Subscribe, Ticket},
    inverse_offers::InverseOffers,
    keys::{AgentKey, FrameworkKey, TaskKey},
    maintenance::Machines,
    maps::IndexSet,
    offers::Offers,
    operations::Operations,
    registry::{Recovered, RegistryError},
    slots::Slots,
    tasks::Task,
    timers::{Timer, Timers},
    writes::Writes,
};

/// The master's decisions.
#[derive(Debug)]
pub struct Core {
    pub(crate) config: Config,
    pub(crate) frameworks: Frameworks,
    pub(crate) agents: Agents,
    pub(crate) tasks: Slots<TaskKey, Task>,
    pub(crate) offers: Offers,
    pub(crate) inverse_offers: InverseOffers,
    pub(crate) operations: Operations,
    pub(crate) quotas: BTreeMap<String, QuotaConfig>,
    pub(crate) weights: BTreeMap<String, f64>,
    pub(crate) machines: Machines,
    pub(crate) allocator: Allocator,
    pub(crate) removals: Removals,
    pub(crate) inquiries: Inquiries,
    pub(crate) writes: Writes,
    pub(crate) timers: Timers,
    pub(crate) counters: Counters,
    pub(crate) dirty: Dirty,
    pub(crate) deposed: bool,
    /// What the checks keep from step to step, where anybody checks.
    pub(crate) checked: Option<Box<Checked>>,
}

/// What readers have not been shown yet: several changes of a batch are shown once.
#[derive(Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) agents: IndexSet<AgentKey>,
    pub(crate) frameworks: IndexSet<FrameworkKey>,
    recovered: IndexSet<AgentId>,
    /// Agents that became unreachable or gone, or are so no more.
    pub(crate) marks: IndexSet<AgentId>,
    pub(crate) maintenance: bool,
    /// Nothing was shown yet.
    first: bool,
}

impl Dirty {
    fn is_empty(&self) -> bool {
        let Self { agents, frameworks, recovered, marks, maintenance, first } = self;
        let nothing = agents.is_empty() && frameworks.is_empty() && recovered.is_empty() && marks.is_empty();
        nothing && !maintenance && !first
    }

    /// What many changes at once took; usual batches find room again.
    fn give_up_room(&mut self) {
        let Self { agents, frameworks, recovered, marks, maintenance: _, first: _ } = self;
        let few = |capacity: usize| capacity <= 256;
        if ![agents.capacity(), frameworks.capacity(), recovered.capacity(), marks.capacity()].into_iter().all(few) {
            *self = Self::default();
        }
    }
}

impl Core {
    /// A leader that starts from what the registry holds. `seed` drives what Mesos does at random. The first
    /// [`Core::flush`] publishes what was recovered.
    pub fn new(config: Config, seed: u64, now: Now, recovered: Recovered) -> Self {
        let mut core = Self {
            allocator: Allocator::new(&config, seed),
            frameworks: Frameworks::default(),
            agents: Agents::default(),
            tasks: Slots::default(),
            offers: Offers::default(),
            inverse_offers: InverseOffers::default(),
            operations: Operations::new(seed),
            quotas: BTreeMap::new(),
            weights: BTreeMap::new(),
            machines: Machines::recover(recovered.machines),
            removals: Removals::new(&config.lifecycle),
            inquiries: Inquiries::default(),
            writes: Writes::default(),
            timers: Timers::default(),
            counters: Counters::default(),
            dirty: Dirty { maintenance: true, first: true, ..Dirty::default() },
            deposed: false,
            checked: None,
            config,
        };
        let (kinds, agents) = recovered.agents.into_parts();
        core.agents.kinds = kinds;
        for info in agents {
            if let Some(id) = info.id().cloned() {
                core.dirty.recovered.insert(id.clone());
                core.agents.recovered.insert(id, info);
            }
        }
        core.agents.recovered_count = core.agents.recovered.len();
        core.timers.set(now.mono + core.config.lifecycle.registry_gc_interval, Timer::RegistryGc);
        let settings = &core.config.allocator;
        let (factor, timeout) = (settings.agent_recovery_factor, settings.recovery_timeout);
        core.allocator.recover(now.mono, core.agents.recovered.len(), factor, timeout);
        core.agents.unreachable.extend(recovered.unreachable);
        core.agents.gone.extend(recovered.gone);
        core.dirty.marks.extend(core.agents.unreachable.keys().chain(core.agents.gone.keys()).cloned());
        core.agents.standings.extend(recovered.standings);
        for quota in recovered.quotas.into_iter().filter(|_| !mezzo_api::mutant!("quota-forgotten")) {
            core.enter_quota(now, &quota);
            core.quotas.insert(quota.role.clone(), quota);
        }
        for (role, weight) in recovered.weights {
            core.allocator.set_weight(now.mono, &role, weight);
            core.weights.insert(role, weight);
        }
        recovered.completed_frameworks.into_iter().for_each(|id: FrameworkId| core.frameworks.complete(id));
        if !core.agents.recovered.is_empty() {
            let pings = core.config.agent_ping_timeout * core.config.max_agent_ping_timeouts;
            let inherited = mezzo_api::mutant!("ping-timer-inherited");
            let patience = if inherited { pings } else { core.config.agent_reregister_timeout };
            core.timers.set(now.mono + patience, Timer::RecoveredAgents);
        }
        core
    }

    /// A framework subscribes on a stream that the door has opened.
    pub fn subscribe(&mut self, now: Now, subscribe: Subscribe, out: &mut Effects) {
        if !self.deposed {
            self.on_subscribe(now, subscribe, out);
        }
    }

    /// A stream ended. `cut`: the master ended it, because its reader was too slow; the framework then has at least
    /// a minute to come back.
    pub fn stream_closed(&mut self, now: Now, stream: StreamId, cut: bool, out: &mut Effects) {
        if !self.deposed {
            self.on_stream_closed(now, stream, cut, out);
        }
    }

    /// Any scheduler call but SUBSCRIBE.
    pub fn scheduler_call(&mut self, now: Now, call: SchedulerCall, out: &mut Effects) {
        if self.deposed {
            out.push(Effect::Reply(call.request, no_leader()));
        } else {
            self.on_scheduler_call(now, call, out);
        }
    }

    /// A call of an operator.
    pub fn operator_call(
        &mut self,
        now: Now,
        request: RequestId,
        principal: Principal,
        call: OperatorCall,
        out: &mut Effects,
    ) {
        if self.deposed {
            out.push(Effect::Reply(request, no_leader()));
            return;
        }
        match call {
            OperatorCall::MarkAgentGone { agent_id } => {
                self.on_mark_gone(now, request, &AgentId::from(&agent_id), out);
            }
            OperatorCall::Drain { agent_id, config } => self.on_drain(request, &agent_id.into(), config, out),
            OperatorCall::Deactivate { agent_id } => self.on_deactivate(request, &agent_id.into(), out),
            OperatorCall::Reactivate { agent_id } => self.on_reactivate(request, &agent_id.into(), out),
            OperatorCall::Teardown { framework_id } => match self.live_framework(&framework_id.value) {
                Some(key) => self.begin_removal(now, key, Some(Requester::Operator(request)), out),
                None => {
                    let answer = Answer::new(400, "No framework found with specified ID");
                    out.push(Effect::Reply(request, answer));
                }
            },
            OperatorCall::KillTask { framework_id, task_id } => {
                let answer = self.kill_for_operator(now, &framework_id, task_id, out);
                out.push(Effect::Reply(request, answer));
            }
            OperatorCall::Operation { agent_id, operation } => {
                let answer = self.on_operator_operation(now, &agent_id, principal.as_deref(), *operation, out);
                out.push(Effect::Reply(request, answer));
            }
            OperatorCall::UpdateQuota { configs, force } => self.update_quota(request, configs, force, out),
            OperatorCall::SetQuota(quota) => self.set_quota(request, &quota, out),
            OperatorCall::RemoveQuota { role, path } => self.remove_quota(request, &role, path.as_deref(), out),
            OperatorCall::UpdateWeights(weights) => self.update_weights(request, &weights, out),
            OperatorCall::UpdateSchedule(schedule) => self.update_schedule(request, &schedule, out),
            OperatorCall::StartMaintenance(machines) => self.start_maintenance(request, &machines, out),
            OperatorCall::StopMaintenance(machines) => self.stop_maintenance(request, &machines, out),
            OperatorCall::Explain(explain) => self.on_explain(request, &explain, out),
        }
    }

    /// An agent opened a link.
    pub fn link_up(&mut self, _now: Now, up: LinkUp, _out: &mut Effects) {
        if !self.deposed {
            self.on_link_up(&up);
        }
    }

    /// A link ended. Links that the core closed are reported too.
    pub fn link_down(&mut self, now: Now, link: LinkId, out: &mut Effects) {
        if !self.deposed {
            self.on_link_down(now, link, out);
        }
    }

    /// A message of an agent.
    pub fn agent(&mut self, now: Now, link: LinkId, message: link::FromAgent, out: &mut Effects) {
        if !self.deposed {
            self.on_agent_message(now, link, message, out);
        }
    }

    /// An agent's advertised address was tried (`Effect::Probe`); `failure` is why it was not found there.
    pub fn probed(&mut self, id: &AgentId, address: SocketAddr, failure: Option<&str>, out: &mut Effects) {
        if !self.deposed {
            self.on_probed(id, address, failure, out);
        }
    }

    /// Only agents of these host names are offered from now on; `None` is all. What is offered already stays so.
    pub fn set_whitelist(&mut self, now: Now, hostnames: Option<BTreeSet<String>>) {
        if !self.deposed {
            self.allocator.set_whitelist(now.mono, hostnames);
        }
    }

    /// A registry write ended.
    pub fn registry(&mut self, now: Now, ticket: Ticket, result: Result<(), RegistryError>, out: &mut Effects) {
        if !self.deposed {
            self.on_registry(now, ticket, result, out);
        }
    }

    /// When to call [`Core::tick`] at the latest, in the driver's monotonic time.
    pub fn deadline(&self) -> Option<Duration> {
        if self.deposed {
            return None;
        }
        let question = (!self.inquiries.is_empty()).then_some(Duration::ZERO);
        [self.timers.deadline(), self.allocator.due(), question].into_iter().flatten().min()
    }

    /// Time has passed. To be followed by [`Core::flush`], like every batch.
    pub fn tick(&mut self, now: Now, out: &mut Effects) {
        while !self.deposed {
            let Some((_, timer)) = self.timers.pop_due(now.mono) else { return };
            match timer {
                Timer::Heartbeat(framework, stream) => self.on_heartbeat(now, framework, stream, out),
                Timer::Failover(framework) => self.on_failover_timeout(now, framework, out),
                Timer::Ping(agent) => self.on_ping_timer(now, agent, out),
                Timer::Offer(offer) => self.on_offer_timeout(now, offer, out),
                Timer::InverseOffer(offer) => self.on_inverse_offer_timeout(now, offer, out),
                Timer::RecoveredAgents => self.on_recovered_timeout(now, out),
                Timer::Removal => self.on_removal_timer(now, out),
                Timer::RegistryGc => self.on_registry_gc(now, out),
                Timer::Retry(ticket) => self.on_retry(ticket, out),
            }
        }
    }

    /// The shell's batch of inputs is at its end: runs the allocator if it is due, and publishes what changed.
    pub fn flush(&mut self, now: Now, out: &mut Effects) {
        if self.deposed {
            return;
        }
        if self.allocator.due().is_some_and(|due| due <= now.mono) {
            self.send_offers(now, out);
        }
        self.go_on_explaining(now, out);
        self.tell_of_starvation(now);
        self.counters.set(Counter::OutstandingOffers, self.offers.len());
        self.publish(out);
    }

    fn publish(&mut self, out: &mut Effects) {
        if self.dirty.is_empty() {
            return;
        }
        if std::mem::take(&mut self.dirty.first) {
            let quotas = self.quotas.values().map(|quota| Change::Quota(Box::new(quota.clone())));
            let weights = self.weights.iter().map(|(role, weight)| Change::Weight(role.clone(), *weight));
            out.extend(quotas.chain(weights).map(Effect::Publish));
        }
        if std::mem::take(&mut self.dirty.maintenance) {
            out.push(Effect::Publish(Change::Maintenance(Arc::new(self.maintenance_view()))));
        }
        for id in self.dirty.recovered.drain(..) {
            let info = self.agents.recovered.get(&id).cloned();
            out.push(Effect::Publish(Change::RecoveredAgent(id, info)));
        }
        for key in self.dirty.agents.drain(..) {
            if let Some(agent) = self.agents.get(key) {
                out.push(Effect::Publish(Change::Agent(agent.view())));
            }
        }
        // After the agents: whoever hears that one is back still knows where it was.
        for id in self.dirty.marks.drain(..) {
            let mark = self.agents.mark(&id);
            out.push(Effect::Publish(Change::AgentMarked(id, mark)));
        }
        for key in self.dirty.frameworks.drain(..) {
            if let Some(framework) = self.frameworks.get(key) {
                out.push(Effect::Publish(Change::Framework(framework.view(framework.state(), 0.0))));
            }
        }
        self.dirty.give_up_room();
    }

    /// Plain numbers behind Mesos' metric names.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The allocator's gauges, under Mesos' names.
    pub fn allocator_metrics(&self, now: Now) -> Vec<(String, f64)> {
        let offered = self.offered_roles();
        self.allocator.metrics(now.mono, &|role: &str| offered.contains(role))
    }

    fn tell_of_starvation(&mut self, now: Now) {
        if self.allocator.looks_for_starvation(now.mono) {
            let offered: BTreeSet<String> = self.offered_roles().into_iter().map(str::to_owned).collect();
            self.allocator.tell_of_starvation(now.mono, &|role: &str| offered.contains(role));
        }
    }

    fn offered_roles(&self) -> BTreeSet<&str> {
        self.offers.iter().map(|(_, offer)| &*offer.view.role).collect()
    }

    /// The registry refused a write because this master leads no more: the core decides nothing from then on.
    pub fn deposed(&self) -> bool {
        self.deposed
    }

    /// The settings that the core decides by.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Every invariant that one core can see.
    ///
    /// # Panics
    /// If one is broken; only tests and the simulator call it.
    pub fn check(&self) {
        crate::check::check(self);
    }

    /// The invariants of what was touched since the last time: after each step as good as [`Core::check`], at a cost in
    /// proportion to what the step changed.
    ///
    /// # Panics
    /// If one is broken; only tests and the simulator call it.
    pub fn check_touched(&mut self) {
        crate::checked::check_touched(self);
    }

    /// Everything counted anew, beside what [`Core::check_touched`] has counted from step to step.
    ///
    /// # Panics
    /// If an invariant is broken, or the two counts differ; only tests and the simulator call it.
    pub fn cross_check(&mut self) {
        self.check_touched();
        self.check();
        self.checked.iter().for_each(|checked| checked.agrees(self));
        self.allocator.checked_agrees();
    }

    /// A framework that is neither completed nor on its way there.
    pub(crate) fn live_framework(&self, id: &str) -> Option<FrameworkKey> {
        let key = self.frameworks.find(id)?;
        self.frameworks.get(key).filter(|framework| framework.removing.is_none())?;
        Some(key)
    }

    /// Sends an event to the framework, if it is connected.
    pub(crate) fn send(&self, framework: FrameworkKey, event: Box<Event>, out: &mut Effects) -> bool {
        let Some(stream) = self.frameworks.get(framework).and_then(|framework| framework.stream) else { return false };
        out.push(Effect::ToFramework(stream, event));
        true
    }

    /// Sends a message to the agent, if it is connected.
    pub(crate) fn tell(&self, agent: AgentKey, message: link::to_agent::Message, out: &mut Effects) -> bool {
        let Some(link) = self.agents.get(agent).and_then(|agent| agent.link) else { return false };
        out.push(Effect::ToAgent(link, Box::new(message)));
        true
    }

    /// An agent of the registry has come back, or ceased to be waited for.
    pub(crate) fn forget_recovered(&mut self, id: &AgentId) -> bool {
        let known = self.agents.recovered.remove(id).is_some();
        if known {
            self.dirty.recovered.insert(id.clone());
        }
        known
    }
}

fn no_leader() -> Answer {
    Answer::new(503, "No leader elected")
}
