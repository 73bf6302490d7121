//! The processes of one machine: they run for a time, survive their agent, obey signals or do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use mezzo_agent_core::{
    container::{Command, Launch, Stop},
    isolation::Allotment,
    volumes::VolumeLink,
};
use mezzo_api::ids::ContainerId;

use crate::{random::Random, time::Moment, workload::Program};

/// Raw wait status of a process that was killed by SIGKILL.
pub const KILLED: i32 = 9;
/// … by SIGTERM.
pub const TERMINATED: i32 = 15;

const FOR_GOOD_MS: u64 = 1_000_000_000_000;

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What it needs is fetched.
    Starting,
    /// Its process runs.
    Running,
    /// Its process ended with this status, which is kept until the agent lets it go.
    Ended(i32),
    /// It could not be started.
    Failed,
}

impl Phase {
    fn is_over(self) -> bool {
        matches!(self, Self::Ended(_) | Self::Failed)
    }
}

/// A process tree.
#[derive(Debug)]
pub struct Container {
    /// How it was asked for.
    pub launch: Rc<Launch>,
    /// What it does.
    pub program: Program,
    /// How far it is.
    pub phase: Phase,
    /// Its process' number.
    pub pid: i32,
    /// It was told to end, by whomever.
    pub stopped: bool,
    /// When it is to be ended by force.
    kill_at: Option<Moment>,
    /// When it ends if nobody ends it.
    natural_end: Option<Moment>,
    /// When something is to happen to it next; an event of another moment is void.
    pub next: Moment,
    /// It was started by this life of the agent, which waits to hear of it.
    pub heard_by: Option<crate::ids::ProcessId>,
    /// The persistent volumes that it sees.
    pub volumes: BTreeSet<PathBuf>,
    /// It cannot be started.
    broken: bool,
}

/// All of a machine.
#[derive(Debug)]
pub struct Containers {
    random: Random,
    list: BTreeMap<ContainerId, Container>,
    /// What each may use, pods without a process of their own among them.
    allotments: BTreeMap<ContainerId, Allotment>,
    /// The next one cannot be started.
    pub next_fails: bool,
    next_pid: i32,
    /// What stands for a command that is none of the simulator's.
    unknown: Option<Program>,
}

impl Containers {
    /// None.
    pub fn new(seed: u64, machine: u16) -> Self {
        Self {
            random: Random::new(seed, &format!("containers {machine}")),
            list: BTreeMap::new(),
            allotments: BTreeMap::new(),
            next_fails: false,
            next_pid: 1000,
            unknown: None,
        }
    }

    /// Commands that are none of the simulator's run until they are killed, from now on.
    pub fn run_unknown_commands(&mut self) {
        self.unknown = Some(Program::Run { for_ms: FOR_GOOD_MS, code: 0, stubborn: false });
    }

    /// The container.
    pub fn get(&self, id: &ContainerId) -> Option<&Container> {
        self.list.get(id)
    }

    /// The container.
    pub fn get_mut(&mut self, id: &ContainerId) -> Option<&mut Container> {
        self.list.get_mut(id)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&ContainerId, &Container)> {
        self.list.iter()
    }

    /// Those whose process has not ended.
    pub fn alive(&self) -> impl Iterator<Item = (&ContainerId, &Container)> {
        self.list.iter().filter(|(_, container)| !container.phase.is_over())
    }

    /// What a container may use, as far as anybody said.
    pub fn allotment(&self, id: &ContainerId) -> Option<&Allotment> {
        self.allotments.get(id)
    }

    /// A container may use this from now on.
    pub fn allot(&mut self, id: ContainerId, allotment: Allotment) {
        self.allotments.insert(id, allotment);
    }

    /// Volumes are shown in a sandbox, or no more.
    pub fn link_volumes(&mut self, sandbox: &Path, links: &[VolumeLink], present: bool) {
        for container in self.list.values_mut().filter(|container| container.launch.sandbox == sandbox) {
            for link in links {
                if present {
                    container.volumes.insert(link.source.clone());
                } else {
                    container.volumes.remove(&link.source);
                }
            }
        }
    }

    /// Containers whose process runs, was not told to end, and sees this volume.
    pub fn users_of(&self, volume: &Path) -> impl Iterator<Item = &ContainerId> {
        let uses = move |(_, container): &(&ContainerId, &Container)| {
            container.phase == Phase::Running && !container.stopped && container.volumes.contains(volume)
        };
        self.alive().filter(uses).map(|(id, _)| id)
    }

    /// Begins to start one; gives when its process runs.
    pub fn launch(&mut self, now: Moment, launch: Rc<Launch>, agent: crate::ids::ProcessId) -> Moment {
        let text = match &launch.command {
            Command::Shell(text) => text.as_str(),
            Command::Exec { file, .. } => file.as_str(),
            Command::Image(arguments) => arguments.first().map_or("", String::as_str),
        };
        let program = Program::parse(text).or(self.unknown).unwrap_or_else(|| Program::read(text));
        let next = now + self.random.spread(Duration::from_millis(1), Duration::from_secs(5));
        self.next_pid += 1;
        let container = Container {
            program,
            phase: Phase::Starting,
            pid: self.next_pid,
            stopped: false,
            kill_at: None,
            natural_end: None,
            next,
            heard_by: Some(agent),
            volumes: launch.volumes.iter().map(|link| link.source.clone()).collect(),
            broken: std::mem::take(&mut self.next_fails),
            launch: launch.clone(),
        };
        if let Some(isolation) = &launch.isolation {
            if let Some(pod) = &isolation.pod {
                self.allotments.insert(pod.container_id.clone(), pod.allotment.clone());
            }
            self.allotments.insert(launch.container_id.clone(), isolation.allotment.clone());
        }
        self.list.insert(launch.container_id.clone(), container);
        next
    }

    /// Sends a signal; gives when the process will have ended.
    pub fn stop(&mut self, now: Moment, id: &ContainerId, stop: Stop) -> Option<Moment> {
        let container = self.list.get_mut(id)?;
        if container.phase.is_over() {
            return None;
        }
        container.stopped = true;
        let forced = match stop {
            Stop::Kill => now + self.random.duration(Duration::from_micros(100), Duration::from_millis(20)),
            Stop::Graceful(grace) => now + grace,
        };
        container.kill_at = Some(container.kill_at.map_or(forced, |before| before.min(forced)));
        let mut end = container.kill_at?;
        if container.phase == Phase::Running && !container.program.stubborn() && matches!(stop, Stop::Graceful(_)) {
            end = end.min(now + self.random.duration(Duration::from_millis(1), Duration::from_millis(500)));
        }
        if container.phase == Phase::Starting || end < container.next {
            container.next = end;
            return Some(end);
        }
        None
    }

    /// The moment of the container has come: it runs, or it ends with a status.
    pub fn advance(&mut self, now: Moment, id: &ContainerId) -> Option<Phase> {
        let container = self.list.get_mut(id)?;
        if container.next > now {
            return None;
        }
        container.phase = match container.phase {
            Phase::Ended(_) | Phase::Failed => return None,
            Phase::Starting if container.broken => Phase::Failed,
            Phase::Starting if container.stopped => Phase::Ended(KILLED),
            Phase::Starting => {
                container.next = now + container.program.duration();
                container.natural_end = Some(container.next);
                Phase::Running
            }
            Phase::Running if container.stopped && container.natural_end.is_none_or(|end| end > now) => {
                let forced = container.kill_at.is_some_and(|at| at <= now);
                Phase::Ended(if forced { KILLED } else { TERMINATED })
            }
            Phase::Running => Phase::Ended(container.program.wait_status()),
        };
        Some(container.phase)
    }

    /// The process ends by itself with this status, whatever was planned.
    pub fn end(&mut self, id: &ContainerId, status: i32) {
        if let Some(container) = self.list.get_mut(id) {
            container.phase = Phase::Ended(status);
        }
    }

    /// The exit status is no longer needed.
    pub fn forget(&mut self, id: &ContainerId) {
        if self.list.get(id).is_some_and(|container| container.phase.is_over()) {
            self.list.remove(id);
        }
        if !self.list.contains_key(id) {
            self.allotments.remove(id);
        }
    }

    /// The machine was started anew.
    pub fn reboot(&mut self) -> Vec<ContainerId> {
        let lost = self.alive().map(|(id, _)| id.clone()).collect();
        self.list.clear();
        self.allotments.clear();
        lost
    }

    /// The agent is gone: it hears of nothing, and what was being fetched is not started.
    pub fn agent_ended(&mut self) -> Vec<ContainerId> {
        let mut lost = Vec::new();
        for (id, container) in &mut self.list {
            container.heard_by = None;
            if container.phase == Phase::Starting {
                lost.push(id.clone());
            }
        }
        for id in &lost {
            self.list.remove(id);
        }
        lost
    }
}
