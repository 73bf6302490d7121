//! Faults of the schedule, carried out; and the end of all of them.

use std::time::Duration;

use mezzo_api::{
    ids::{AgentId, ContainerId},
    v1,
};
use mezzo_master_core::input::OperatorCall;

use super::{Event, Mend, World};
use crate::{
    cluster::{
        containers::{KILLED, Phase},
        registry,
    },
    election,
    fact::{End, Fact},
    fault::Fault,
    ids::{Host, ProcessId},
    plan::Character,
    workload::Program,
};

/// How often, and how many times, an operator asks for a drained agent.
const TAKE_BACK_EVERY: Duration = Duration::from_secs(10);
const TAKE_BACK_TIMES: u32 = 300;

impl World {
    pub(super) fn fault(&mut self, number: usize) {
        self.inject(self.plan.faults[number].fault.clone());
    }

    /// This goes wrong now.
    pub fn inject(&mut self, fault: Fault) {
        self.note(Fact::Fault(fault.to_string()));
        let now = self.now;
        match fault {
            Fault::MasterCrash(down) if self.elections.is_some() => {
                if let Some(leader) = self.elected() {
                    self.trouble_election(election::Fault::Kill(leader), down);
                }
            }
            Fault::MasterTakeover(life) if self.elections.is_some() => {
                self.trouble_election(election::Fault::RemoveLeader, life);
            }
            Fault::Election(fault, time) => self.trouble_election(fault, time),
            Fault::MasterCrash(down) => {
                if let Some(leader) = self.leader {
                    let host = self.leader_host;
                    self.end_master(leader, End::Killed);
                    self.queue.push(now + down, Event::StartMaster(host));
                }
            }
            Fault::MasterTakeover(life) => self.take_over(life),
            Fault::AgentCrash(agent, down) => {
                self.end_agent(agent, End::Killed);
                self.queue.push(now + down, Event::StartAgent(agent));
            }
            Fault::AgentReboot(agent, down) => {
                self.power_cut(agent);
                self.queue.push(now + down, Event::StartAgent(agent));
            }
            Fault::SchedulerCrash(framework, down) => {
                self.end_scheduler(framework, End::Killed);
                self.queue.push(now + down, Event::StartScheduler(framework));
            }
            Fault::Cut(from, to, time) => self.cut(from, to, time),
            Fault::Partition(one, other, time) => {
                self.cut(one, other, time);
                self.cut(other, one, time);
            }
            Fault::Reset(one, other) => {
                self.network.break_connections(&mut self.queue, now, [one, other], false);
            }
            Fault::Vanish(one, other) => {
                self.network.break_connections(&mut self.queue, now, [one, other], true);
            }
            Fault::Lag(host, lag, time) => {
                self.network.set_lag(host, Some(lag));
                self.queue.push(now + time, Event::Mend(Mend::Lag(host)));
            }
            Fault::SlowReader(host, pace, time) => {
                self.network.set_slow(&mut self.queue, now, host, Some(pace));
                self.queue.push(now + time, Event::Mend(Mend::SlowReader(host)));
            }
            Fault::Freeze(Host::Master(master), time) if self.elections.is_some() => {
                self.trouble_election(election::Fault::Freeze(master.into()), time);
            }
            Fault::Freeze(host, time) => {
                let until = self.frozen.get(&host).map_or(now + time, |until| (*until).max(now + time));
                self.frozen.insert(host, until);
            }
            Fault::SlowRegistry(latency, time) => {
                self.registry.latency = latency;
                self.queue.push(now + time, Event::Mend(Mend::Registry));
            }
            Fault::UnknownOutcomes(per_mille, time) => {
                self.registry.unknown_per_mille = per_mille;
                self.queue.push(now + time, Event::Mend(Mend::Registry));
            }
            Fault::SecondLink(agent) => self.agent_second_link(agent),
            Fault::Compaction(agent) => self.compact(agent),
            Fault::Unregister(agent) => {
                self.agent_step(agent, |core, now, out| core.unregister(now, out));
            }
            Fault::Drain(agent, grace) => self.drain(agent, grace),
            Fault::Blackout(time) => {
                for agent in 0..self.plan.agents {
                    for master in [Host::Master(0), Host::Master(1), Host::Master(2)] {
                        self.cut(Host::Agent(agent), master, time);
                    }
                }
            }
            Fault::Errand(errand) => self.run_errand(&errand),
            Fault::ContainerDies(agent) => {
                if let Some(victim) = self.some_container(agent) {
                    self.agents[usize::from(agent)].containers.end(&victim, 11);
                    self.container_ended(agent, &victim, 11);
                }
            }
            Fault::Overuse(agent) => {
                if let Some(victim) = self.some_container(agent) {
                    self.agents[usize::from(agent)].containers.end(&victim, KILLED);
                    self.container_limited(agent, &victim);
                }
            }
            Fault::Unlaunchable(agent) => self.agents[usize::from(agent)].containers.next_fails = true,
            Fault::StaleDetection(host, time) => self.stale_detection(host, time),
        }
    }

    fn cut(&mut self, from: Host, to: Host, time: Duration) {
        self.network.cut(from, to);
        self.queue.push(self.now + time, Event::Mend(Mend::Path(from, to)));
    }

    pub(super) fn mend(&mut self, mend: &Mend) {
        let now = self.now;
        match mend {
            Mend::Path(from, to) => self.network.mend(&mut self.queue, now, *from, *to),
            Mend::Lag(host) => self.network.set_lag(*host, None),
            Mend::SlowReader(host) => self.network.set_slow(&mut self.queue, now, *host, None),
            Mend::Registry => {
                self.registry.latency = registry::LATENCY;
                self.registry.unknown_per_mille = 0;
            }
        }
    }

    /// The other machine's master takes over; the old one does not know.
    fn take_over(&mut self, life: Duration) {
        let host = if self.leader_host == Host::Master(0) { Host::Master(1) } else { Host::Master(0) };
        if self.masters.values().any(|master| master.host == host) {
            return;
        }
        if let Some(old) = self.leader {
            self.queue.push(self.now + life, Event::KillMaster(old));
        }
        self.start_master(host, None);
    }

    /// One client is told of the machine that does not lead, for a while.
    fn stale_detection(&mut self, host: Host, time: Duration) {
        let other = if self.leader_host == Host::Master(0) { Host::Master(1) } else { Host::Master(0) };
        let process = match host {
            Host::Agent(number) => self.agents[usize::from(number)].agent.as_ref().map(|agent| agent.process),
            Host::Framework(number) => {
                let machine = &self.frameworks[usize::from(number)];
                let scheduler = machine.scheduler.as_ref().map(|scheduler| scheduler.process);
                scheduler.or(machine.hostile.as_ref().map(|hostile| hostile.process))
            }
            Host::Master(_) => None,
        };
        if let Some(process) = process {
            self.queue.push(self.now, Event::Detect(process, Some(other)));
            self.queue.push(self.now + time, Event::Detect(process, None));
        }
    }

    /// Some process of the machine that runs, if one was chosen.
    fn some_container(&mut self, agent: u16) -> Option<ContainerId> {
        let machine = &mut self.agents[usize::from(agent)];
        let alive: Vec<_> = machine
            .containers
            .alive()
            .filter(|(_, container)| container.pid > 0 && container.program != Program::read(""))
            .map(|(id, _)| id.clone())
            .collect();
        if alive.is_empty() {
            return None;
        }
        let victim = alive[self.random.index(alive.len())].clone();
        let running = machine.containers.get(&victim).is_some_and(|container| container.phase == Phase::Running);
        running.then_some(victim)
    }

    /// The operator's call, to whoever leads; a hostile framework would never let it come to its end.
    fn drain(&mut self, agent: u16, grace: Duration) {
        let Some(id) = self.agents[usize::from(agent)].agent.as_ref().and_then(|agent| agent.core.agent_id().cloned())
        else {
            return;
        };
        if self.plan.hostile > 0 {
            return;
        }
        let nanoseconds = i64::try_from(grace.as_nanos()).unwrap_or(i64::MAX);
        let config =
            v1::DrainConfig { max_grace_period: Some(v1::DurationInfo { nanoseconds }), mark_gone: Some(false) };
        self.operator(OperatorCall::Drain { agent_id: id.proto(), config });
        self.queue.push(self.now + TAKE_BACK_EVERY, Event::TakeBack(id, TAKE_BACK_TIMES));
    }

    /// The operator wants a drained agent back, again and again until it is.
    pub(super) fn take_back(&mut self, id: AgentId, times: u32) {
        self.operator(OperatorCall::Reactivate { agent_id: id.proto() });
        if times > 0 {
            self.queue.push(self.now + TAKE_BACK_EVERY, Event::TakeBack(id, times - 1));
        }
    }

    /// All faults are over: what is down comes back, what is cut is mended, the hostile fall silent.
    pub(super) fn heal(&mut self) {
        self.note(Fact::Fault("all faults are over".to_owned()));
        self.healed = true;
        let now = self.now;
        self.registry.latency = registry::LATENCY;
        self.registry.unknown_per_mille = 0;
        self.network.heal(&mut self.queue, now);
        self.end_errands();
        self.list_all();
        // Who is frozen wakes in his own time: what waits for him must not come after what is newer.
        if let Some(elections) = &mut self.elections {
            elections.heal();
        } else if self.leader.is_none() {
            let host = self.leader_host;
            self.queue.push(now, Event::StartMaster(host));
        }
        for agent in 0..self.plan.agents {
            self.queue.push(now + Duration::from_secs(1), Event::StartAgent(agent));
        }
        for framework in 0..self.plan.frameworks() {
            if self.plan.character(framework) == Character::Hostile {
                self.hush(framework);
                self.end_scheduler(framework, End::Killed);
            } else {
                self.queue.push(now + Duration::from_secs(1), Event::StartScheduler(framework));
            }
        }
        let replaced = |process: &&ProcessId| self.elections.is_none() && self.leader != Some(**process);
        let old: Vec<_> = self.masters.keys().filter(replaced).copied().collect();
        for process in old {
            self.end_master(process, End::Killed);
        }
        // Clients that were told of another machine hear of the leader once more.
        self.announce_leader(None, Duration::from_secs(4));
    }
}
