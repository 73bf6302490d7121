//! Agents: the real core in a shell of the simulator's, on a machine with a disk and processes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use mezzo_agent_core::{
    Core,
    config::{Config, Reconfiguration, Recover},
    effect::{Effect, Effects, LinkId, RequestId, StreamId},
    image::Images,
    isolation::Abilities,
    validate,
    view::ExecutorState,
    volumes::VolumeAction,
};
use mezzo_api::{
    ids::ContainerId,
    link::{self, to_agent},
    resources::Resources,
    time::Now,
    v1,
};

use super::{Event, Owner, World};
use crate::{
    cluster::{containers::Containers, disk::Disk},
    fact::{End, Fact},
    ids::{Host, ProcessId, Service},
    nat::Nat,
    network::{ConnId, Opening, Packet, Side},
    random::Random,
    record::Written,
    time::{Clock, Moment},
};

/// A machine with an agent on it.
#[derive(Debug)]
pub struct AgentMachine {
    /// Its number.
    pub number: u16,
    /// What the agent has written down.
    pub disk: Disk,
    /// What runs.
    pub containers: Containers,
    /// The agent, while it runs.
    pub agent: Option<Box<Agent>>,
    /// What the machine has.
    pub resources: Resources,
    /// The directories of persistent volumes.
    pub volumes: BTreeSet<PathBuf>,
    /// What it is behind.
    pub nat: Nat,
    /// Its agent can hold a task to more memory than it asked for.
    limits: bool,
    boots: u32,
    rebooted: bool,
}

/// One run of an agent.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub process: ProcessId,
    /// The real thing.
    pub core: Core,
    pub(super) clock: Clock,
    pub(super) leader: Option<Host>,
    pub(super) link: Link,
    /// A second link, that is being dialled although the first one stands.
    pub(super) second: Option<ConnId>,
    pub(super) dial_after: Duration,
    pub(super) next_link: u64,
    next_stream: u64,
    next_request: u64,
    pub(super) streams: BTreeMap<StreamId, ConnId>,
    pub(super) conns: BTreeMap<ConnId, Option<StreamId>>,
    requests: BTreeMap<RequestId, ConnId>,
    pub(super) staged: VecDeque<Effect>,
    /// So many of the staged effects are being committed.
    committing: usize,
    planned: Option<Moment>,
    /// Containers that it has yet to hear of since it started.
    pub(super) finding: BTreeSet<ContainerId>,
}

/// An agent's link, as its shell has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Down,
    Dialling(ConnId),
    Up(ConnId, LinkId),
}

/// What each simulated machine has.
const RESOURCES: &str = "cpus:4;mem:4096;disk:10000;ports:[31000-31100]";

impl AgentMachine {
    /// A machine that is off.
    pub fn new(seed: u64, number: u16) -> Self {
        Self {
            number,
            disk: Disk::default(),
            containers: Containers::new(seed, number),
            agent: None,
            resources: Resources::parse(RESOURCES, "*").unwrap_or_default(),
            volumes: BTreeSet::new(),
            nat: Nat::of(seed, number),
            limits: Random::new(seed, &format!("isolation {number}")).chance(500),
            boots: 1,
            rebooted: false,
        }
    }

    /// Its disk is a new one.
    pub fn wipe(&mut self) {
        self.disk = Disk::default();
        self.volumes.clear();
    }

    fn config(&self) -> Config {
        Config {
            info: v1::AgentInfo {
                hostname: Host::Agent(self.number).to_string(),
                port: Some(5051),
                resources: self.resources.to_protos(),
                ..Default::default()
            },
            hostname_is_found: false,
            work_dir: PathBuf::from("/work"),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 5051,
            advertise_ip: None,
            libprocess_ip: None,
            boot_id: format!("boot-{}-{}", self.number, self.boots),
            switch_user: true,
            executor_environment: Vec::new(),
            executor_registration_timeout: Duration::from_secs(60),
            executor_reregistration_timeout: Duration::from_secs(2),
            executor_shutdown_grace_period: Duration::from_secs(5),
            recovery_timeout: Duration::from_secs(900),
            recover: Recover::Reconnect,
            strict: true,
            reconfiguration: Reconfiguration::Equal,
            // Short, so that it is cut often.
            max_completed_executors_per_framework: 12,
            max_completed_frameworks: 3,
            abilities: Abilities { memory_limits: self.limits, allots: true, ..Abilities::default() },
            images: Images::default(),
        }
    }
}

impl Agent {
    /// Whether the executor in this container, or the one that the container is in, was told to end.
    fn is_ending(&self, container: &ContainerId) -> bool {
        let view = self.core.view();
        let mut executors = view.frameworks.iter().flat_map(|framework| &framework.executors);
        executors.any(|executor| {
            let own = executor.container_id == *container || executor.nested.contains(container);
            own && executor.state == ExecutorState::Terminating
        })
    }
}

impl World {
    pub(super) fn start_agent(&mut self, number: u16) {
        let index = usize::from(number);
        if self.agents[index].agent.is_some() {
            return;
        }
        let process = self.new_process(Owner::Agent(number));
        let clock = self.new_clock();
        let seed = self.random.seed();
        let machine = &mut self.agents[index];
        // It begins with a log that it has written anew, durably.
        machine.disk.sync();
        let records = machine.disk.records();
        let rebooted = std::mem::take(&mut machine.rebooted);
        let (config, count, nat) = (machine.config(), records.len(), machine.nat);
        self.note(Fact::AgentStarted { agent: number, process, rebooted, records: count });
        self.network.host_up(&mut self.queue, self.now, Host::Agent(number));
        self.network.set_idle_limit(Host::Agent(number), nat.idle_limit());
        let mut effects = Effects::new();
        let recovered = Core::recover(config, seed, clock.read(self.now), records, &mut effects)
            .unwrap_or_else(|error| panic!("agent{number} cannot read its own checkpoint: {error}"));
        let agent = Agent {
            process,
            core: recovered.core,
            clock,
            leader: None,
            link: Link::Down,
            second: None,
            dial_after: Duration::ZERO,
            next_link: 1,
            next_stream: 1,
            next_request: 1,
            streams: BTreeMap::new(),
            conns: BTreeMap::new(),
            requests: BTreeMap::new(),
            staged: effects.into(),
            committing: 0,
            planned: None,
            finding: recovered.containers.iter().cloned().collect(),
        };
        self.agents[index].agent = Some(Box::new(agent));
        self.network.listen(Host::Agent(number), Service::Agent, process);
        self.find_containers(number, process, &recovered.containers);
        self.agent_step(number, |_, _, _| {});
        let delay = self.random.duration(Duration::from_millis(1), Duration::from_secs(2));
        self.queue.push(self.now + delay, Event::Detect(process, None));
    }

    /// The agent's process is gone.
    pub(super) fn end_agent(&mut self, number: u16, how: End) {
        let machine = &mut self.agents[usize::from(number)];
        let Some(agent) = machine.agent.take() else { return };
        // What was counted from step to step is counted anew.
        agent.core.check();
        let (unwritten, _) = records(agent.staged.iter().take(agent.committing));
        let kept = machine.disk.crash(unwritten.clone(), &mut self.random);
        for record in unwritten.into_iter().take(kept) {
            self.facts.push(Fact::Recorded(number, Rc::new(Written::new(record)), false));
        }
        let lost = match how {
            End::PowerCut => machine.disk.power_cut(&mut self.random),
            End::Killed | End::Exited(_) => 0,
        };
        let unstarted = machine.containers.agent_ended();
        for container in unstarted {
            self.facts.push(Fact::ContainerLost(number, container));
        }
        self.note(Fact::AgentEnded { agent: number, how, lost });
        self.end_process(agent.process);
    }

    /// The machine goes down and with it everything on it.
    pub(super) fn power_cut(&mut self, number: u16) {
        let host = Host::Agent(number);
        self.network.host_down(host);
        self.end_agent(number, End::PowerCut);
        let executors: Vec<ProcessId> =
            self.owners.iter().filter(|(_, owner)| **owner == Owner::Executor(number)).map(|(id, _)| *id).collect();
        for executor in executors {
            self.end_executor(executor);
        }
        let machine = &mut self.agents[usize::from(number)];
        machine.boots += 1;
        machine.rebooted = true;
        for container in machine.containers.reboot() {
            self.facts.push(Fact::ContainerLost(number, container));
        }
    }

    pub(super) fn wake_agent(&mut self, number: u16) {
        let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
        if agent.planned.is_none_or(|planned| planned > self.now) {
            return;
        }
        agent.planned = None;
        self.agent_step(number, |core, now, out| core.tick(now, out));
    }

    /// One input; gives how many effects changed anything.
    pub(super) fn agent_step(&mut self, number: u16, input: impl FnOnce(&mut Core, Now, &mut Effects)) -> usize {
        let Some(mut agent) = self.agents[usize::from(number)].agent.take() else { return 0 };
        let now = agent.clock.read(self.now);
        let mut effects = Effects::new();
        input(&mut agent.core, now, &mut effects);
        if agent.core.deadline().is_some_and(|deadline| deadline <= now.mono) {
            agent.core.tick(now, &mut effects);
        }
        agent.core.check_touched();
        let weight = effects.iter().filter(|effect| !matches!(effect, Effect::CloseLink(_))).count();
        agent.staged.extend(effects);
        let process = agent.process;
        let exit = self.agent_pump(number, &mut agent);
        let (clock, deadline, mut planned) = (agent.clock, agent.core.deadline(), agent.planned);
        self.wake_at(process, &clock, deadline, &mut planned);
        agent.planned = planned;
        self.agents[usize::from(number)].agent = Some(agent);
        if let Some(reason) = exit {
            self.end_agent(number, End::Exited(reason));
            self.queue.push(self.now + Duration::from_secs(5), Event::StartAgent(number));
        }
        weight
    }

    /// Carries out what need not wait for a record; begins a commit if something does.
    fn agent_pump(&mut self, number: u16, agent: &mut Agent) -> Option<String> {
        if agent.committing > 0 {
            return None;
        }
        while let Some(effect) = agent.staged.pop_front() {
            if matches!(effect, Effect::Record { .. }) {
                agent.staged.push_front(effect);
                agent.committing = agent.staged.len();
                let takes = self.random.spread(Duration::from_micros(50), Duration::from_millis(40));
                self.queue.push(self.now + takes, Event::Committed(agent.process));
                return None;
            }
            if let Some(reason) = self.agent_effect(number, agent, effect) {
                return Some(reason);
            }
        }
        None
    }

    pub(super) fn agent_committed(&mut self, process: ProcessId) {
        let Some(Owner::Agent(number)) = self.owners.get(&process).copied() else { return };
        let machine = &mut self.agents[usize::from(number)];
        let Some(mut agent) = machine.agent.take() else { return };
        let count = std::mem::take(&mut agent.committing);
        let batch: Vec<Effect> = agent.staged.drain(..count).collect();
        let (written, sync) = records(batch.iter());
        machine.disk.write(written, sync);
        let mut exit = None;
        for effect in batch {
            exit = exit.or_else(|| match effect {
                // In the order of the core's decisions: what it said before it took an acknowledgement is no repetition.
                Effect::Record { record, .. } => {
                    self.facts.push(Fact::Recorded(number, Rc::new(Written::new(record)), sync));
                    None
                }
                effect => self.agent_effect(number, &mut agent, effect),
            });
        }
        let exit = exit.or_else(|| self.agent_pump(number, &mut agent));
        self.agents[usize::from(number)].agent = Some(agent);
        if let Some(reason) = exit {
            self.end_agent(number, End::Exited(reason));
            self.queue.push(self.now + Duration::from_secs(5), Event::StartAgent(number));
        }
    }

    /// Carries out one effect; gives why the process ends, if it does.
    fn agent_effect(&mut self, number: u16, agent: &mut Agent, effect: Effect) -> Option<String> {
        let now = self.now;
        match effect {
            Effect::Record { .. } | Effect::OpenBulk(_) | Effect::Attach { .. } | Effect::Collect(_) => {}
            Effect::ShowVolumes { sandbox, links, present, .. } => {
                self.agents[usize::from(number)].containers.link_volumes(&sandbox, &links, present);
            }
            Effect::Allot(container, allotment) => {
                self.agents[usize::from(number)].containers.allot(container, *allotment);
            }
            Effect::Volume { action, settled } => {
                let machine = &mut self.agents[usize::from(number)];
                match action {
                    VolumeAction::Make(place) => drop(machine.volumes.insert(place.path().to_owned())),
                    VolumeAction::Remove(place) => {
                        machine.volumes.remove(place.path());
                        let user =
                            machine.containers.users_of(place.path()).find(|user| !agent.is_ending(user)).cloned();
                        self.facts.push(Fact::VolumeRemoved(number, place.path().into(), user));
                    }
                }
                machine.disk.write(vec![settled], true);
            }
            Effect::ToMaster(message) => {
                let message = Rc::new(*message);
                self.note(Fact::Said(number, message.clone()));
                if let Link::Up(conn, _) = agent.link {
                    let packet = Packet::FromAgent(message);
                    if self.network.send(&mut self.queue, now, conn, Side::Dialer, packet).is_err() {
                        self.network.abort(&mut self.queue, now, conn, Side::Dialer);
                        self.link_lost(agent);
                    }
                }
            }
            Effect::CloseLink(closed) => {
                if let Link::Up(conn, link) = agent.link
                    && link == closed
                {
                    self.network.close(&mut self.queue, now, conn, Side::Dialer);
                    self.link_lost(agent);
                }
            }
            Effect::Reply(request, answer) => {
                if let Some(conn) = agent.requests.remove(&request) {
                    let refused = answer.status != 202 && answer.status != 200;
                    let packet = Packet::ExecutorAnswer(answer.status, answer.body);
                    let _ = self.network.send(&mut self.queue, now, conn, Side::Listener, packet);
                    if refused && agent.conns.get(&conn).is_some_and(Option::is_some) {
                        self.network.close(&mut self.queue, now, conn, Side::Listener);
                    }
                }
            }
            Effect::ToExecutor(stream, event) => {
                if let Some(conn) = agent.streams.get(&stream) {
                    let packet = Packet::ExecutorEvent(Rc::new(*event));
                    let _ = self.network.send(&mut self.queue, now, *conn, Side::Listener, packet);
                }
            }
            Effect::CloseStream(stream) => {
                if let Some(conn) = agent.streams.remove(&stream) {
                    agent.conns.remove(&conn);
                    self.network.close(&mut self.queue, now, conn, Side::Listener);
                }
            }
            Effect::Launch(launch) => {
                let launch = Rc::new(*launch);
                self.note(Fact::Launched(number, launch.clone()));
                let container = launch.container_id.clone();
                let at = self.agents[usize::from(number)].containers.launch(now, launch, agent.process);
                self.queue.push(at, Event::Container(number, container));
            }
            Effect::Stop(container, stop) => {
                if let Some(at) = self.agents[usize::from(number)].containers.stop(now, &container, stop) {
                    self.queue.push(at, Event::Container(number, container));
                }
            }
            Effect::Probe { id, .. } => {
                let delay = self.random.spread(Duration::from_millis(1), Duration::from_secs(8));
                self.queue.push(now + delay, Event::Probed(agent.process, id));
            }
            // Its answer is one that nobody waits for.
            Effect::EndProbe(_) => {}
            Effect::Forget(container) => self.agents[usize::from(number)].containers.forget(&container),
            Effect::Exit(reason) => return Some(reason),
        }
        None
    }

    pub(super) fn agent_heard(&mut self, number: u16, link: LinkId, term: u64, message: &Rc<to_agent::Message>) {
        let input = link::ToAgent { term, message: Some((**message).clone()) };
        let place = self.facts.len();
        let effects = self.agent_step(number, |core, now, out| core.master(now, link, input, out));
        // What was heard comes before what followed.
        self.facts.insert(place, Fact::Heard { agent: number, term, message: message.clone(), effects });
    }

    pub(super) fn agent_opened(&mut self, number: u16, conn: ConnId, opening: Opening) {
        let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
        match opening {
            Opening::ExecutorSubscribe(call) => {
                let stream = StreamId(agent.next_stream);
                agent.next_stream += 1;
                let request = RequestId(agent.next_request);
                agent.next_request += 1;
                agent.streams.insert(stream, conn);
                agent.conns.insert(conn, Some(stream));
                agent.requests.insert(request, conn);
                let call = (*call).clone();
                self.agent_step(number, |core, now, out| core.executor_subscribe(now, request, stream, call, out));
            }
            Opening::ExecutorCalls => {
                agent.conns.insert(conn, None);
            }
            Opening::Link | Opening::Subscribe(_) | Opening::Calls => {}
        }
    }

    pub(super) fn agent_called(&mut self, number: u16, conn: ConnId, call: &Rc<v1::executor::Call>) {
        let Some(agent) = self.agents[usize::from(number)].agent.as_mut() else { return };
        let refused = match validate::executor_call(call) {
            Err(error) => Some((400, error)),
            Ok(()) if call.r#type() == v1::executor::call::Type::Heartbeat => Some((202, String::new())),
            Ok(()) => None,
        };
        if let Some((status, body)) = refused {
            let packet = Packet::ExecutorAnswer(status, body);
            let _ = self.network.send(&mut self.queue, self.now, conn, Side::Listener, packet);
            return;
        }
        let request = RequestId(agent.next_request);
        agent.next_request += 1;
        agent.requests.insert(request, conn);
        let call = (**call).clone();
        self.agent_step(number, |core, now, out| core.executor_call(now, request, call, out));
    }

    /// The agent replaces its log by a snapshot of its core, if nothing is on its way to the disk.
    pub(super) fn compact(&mut self, number: u16) {
        let machine = &mut self.agents[usize::from(number)];
        let Some(agent) = machine.agent.as_ref().filter(|agent| agent.staged.is_empty()) else { return };
        let snapshot = agent.core.snapshot();
        let records = snapshot.len();
        machine.disk.compact(snapshot);
        self.note(Fact::Compacted(number, records));
    }
}

/// The records among these effects, and whether one of them is to be synced.
fn records<'a>(effects: impl Iterator<Item = &'a Effect>) -> (Vec<bytes::Bytes>, bool) {
    let mut found = Vec::new();
    let mut synced = false;
    for effect in effects {
        if let Effect::Record { record, sync } = effect {
            found.push(record.clone());
            synced |= sync;
        }
    }
    (found, synced)
}
