//! What becomes of the containers of a machine, and what its agent hears of it.

use std::time::Duration;

use mezzo_agent_core::{
    container::{ContainerEvent, Outcome, Stop},
    isolation::Limitation,
};
use mezzo_api::{ids::ContainerId, resources::Resources, v1};

use super::{Event, Owner, World};
use crate::{
    cluster::containers::{KILLED, Phase},
    fact::Fact,
    ids::ProcessId,
    workload::Program,
};

impl World {
    /// The containerizer looks for what an earlier life of the agent left; what nobody knows is killed.
    pub(super) fn find_containers(&mut self, number: u16, process: ProcessId, wanted: &[ContainerId]) {
        for container in wanted {
            let delay = self.random.duration(Duration::from_micros(100), Duration::from_millis(300));
            self.queue.push(self.now + delay, Event::Found(process, container.clone()));
        }
        let machine = &mut self.agents[usize::from(number)];
        let orphans: Vec<ContainerId> =
            machine.containers.alive().map(|(id, _)| id.clone()).filter(|id| !wanted.contains(id)).collect();
        let ended: Vec<ContainerId> =
            machine.containers.iter().map(|(id, _)| id.clone()).filter(|id| !wanted.contains(id)).collect();
        ended.iter().for_each(|id| machine.containers.forget(id));
        for orphan in orphans {
            if let Some(at) = machine.containers.stop(self.now, &orphan, Stop::Kill) {
                self.queue.push(at, Event::Container(number, orphan));
            }
        }
    }

    pub(super) fn agent_finds(&mut self, process: ProcessId, container: &ContainerId) {
        let Some(Owner::Agent(number)) = self.owners.get(&process).copied() else { return };
        let machine = &mut self.agents[usize::from(number)];
        let Some(agent) = machine.agent.as_mut() else { return };
        agent.finding.remove(container);
        let event = match machine.containers.get_mut(container) {
            Some(found) => {
                found.heard_by = Some(process);
                match found.phase {
                    Phase::Ended(status) => ContainerEvent::Exited { status: Some(status) },
                    Phase::Failed => ContainerEvent::Exited { status: None },
                    Phase::Running | Phase::Starting => ContainerEvent::Running { pid: found.pid, address: None },
                }
            }
            None => ContainerEvent::Exited { status: None },
        };
        let container = container.clone();
        self.agent_step(number, |core, now, out| core.container(now, container, event, out));
    }

    /// The moment of a container has come.
    pub(super) fn container_advances(&mut self, number: u16, id: &ContainerId) {
        let machine = &mut self.agents[usize::from(number)];
        let Some(phase) = machine.containers.advance(self.now, id) else { return };
        match phase {
            Phase::Starting => {}
            Phase::Running => self.container_runs(number, id),
            Phase::Ended(status) => self.container_ended(number, id, status),
            Phase::Failed => {
                self.note(Fact::Unlaunched(number, id.clone()));
                let message = "Failed to fetch all URIs".to_owned();
                self.tell_agent_of(number, id, ContainerEvent::Failed { message });
                self.forget_orphan(number, id);
            }
        }
    }

    /// What a look at a task shows: it is well, mostly.
    pub(super) fn agent_probed(&mut self, process: ProcessId, probe: &ContainerId) {
        let Some(Owner::Agent(number)) = self.owners.get(&process).copied() else { return };
        let outcome = match self.random.within(0..=9) {
            0 => Outcome::Error("no answer".to_owned()),
            1 | 2 => Outcome::Tcp(false),
            _ => Outcome::Tcp(true),
        };
        self.agent_step(number, |core, now, out| core.probed(now, probe, &outcome, out));
    }

    fn container_runs(&mut self, number: u16, id: &ContainerId) {
        let machine = &self.agents[usize::from(number)];
        let Some(container) = machine.containers.get(id) else { return };
        let (program, next, pid) = (container.program, container.next, container.pid);
        let launch = container.launch.clone();
        self.queue.push(next, Event::Container(number, id.clone()));
        if program == Program::Executor {
            self.start_executor(number, &launch);
        }
        self.tell_agent_of(number, id, ContainerEvent::Running { pid, address: None });
    }

    /// A process ended, by itself or by force.
    pub(super) fn container_ended(&mut self, number: u16, id: &ContainerId, status: i32) {
        let Some(container) = self.agents[usize::from(number)].containers.get(id) else { return };
        let stopped = container.stopped;
        self.note(Fact::ContainerEnded(number, id.clone(), status, stopped));
        self.end_executor_in(id);
        self.tell_agent_of(number, id, ContainerEvent::Exited { status: Some(status) });
        self.forget_orphan(number, id);
    }

    /// A process was ended for what it took.
    pub(super) fn container_limited(&mut self, number: u16, id: &ContainerId) {
        let machine = &self.agents[usize::from(number)];
        let Some(container) = machine.containers.get(id) else { return };
        let told = container.heard_by.is_some() && machine.agent.is_some();
        let launch = container.launch.clone();
        self.note(Fact::ContainerEnded(number, id.clone(), KILLED, container.stopped));
        if told {
            self.facts.push(Fact::Limited(number, launch));
        }
        self.end_executor_in(id);
        let limitation = Limitation {
            reason: v1::task_status::Reason::ContainerLimitationMemory,
            message: "Memory limit exceeded".to_owned(),
            resources: Resources::parse("mem:32", "*").unwrap_or_default().to_protos(),
        };
        self.tell_agent_of(number, id, ContainerEvent::Limited { status: Some(KILLED), limitation });
        self.forget_orphan(number, id);
    }

    /// Nobody will ask for a container whose end its agent has not heard of, and will not.
    fn forget_orphan(&mut self, number: u16, id: &ContainerId) {
        let known = self.agents[usize::from(number)].containers.get(id).is_some_and(|ended| ended.heard_by.is_some());
        let away = self.agents[usize::from(number)].agent.is_none();
        if !known && !away && !self.agent_awaits(number, id) {
            self.agents[usize::from(number)].containers.forget(id);
        }
    }

    /// Whether the agent has yet to ask how a container is.
    fn agent_awaits(&self, number: u16, id: &ContainerId) -> bool {
        self.agents[usize::from(number)].agent.as_ref().is_some_and(|agent| agent.finding.contains(id))
    }

    fn tell_agent_of(&mut self, number: u16, id: &ContainerId, event: ContainerEvent) {
        let machine = &self.agents[usize::from(number)];
        let heard_by = machine.containers.get(id).and_then(|container| container.heard_by);
        if heard_by.is_none() || heard_by != machine.agent.as_ref().map(|agent| agent.process) {
            return;
        }
        let id = id.clone();
        self.agent_step(number, |core, now, out| core.container(now, id, event, out));
    }
}
