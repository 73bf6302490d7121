//! Masters: the real core in a shell of the simulator's.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use mezzo_api::{MESOS_VERSION, ids::AgentId, link, v1};
use mezzo_master_core::{
    Core,
    effect::{Answer, Effect, Effects},
    input::{
        AllocatorConfig, Config, Lifecycle, LinkId, LinkUp, RequestId, SchedulerCall, StreamId, Subscribe, Ticket,
    },
    registry::RegistryError,
    validate,
};
use mezzo_sdk_core::answer;

use super::{Event, Owner, World, operator::OPERATOR};
use crate::{
    fact::{End, Fact},
    ids::{Host, ProcessId, Service},
    network::{ConnId, Incoming, Opening, Packet, Side},
    time::{Clock, Moment},
};

/// After each step of a master the invariants of what it touched are checked; after so many, and at its end, all is
/// counted anew beside that.
const CROSS_CHECK_EVERY: u64 = 256;

/// One run of a master.
#[derive(Debug)]
pub struct Master {
    /// Where it runs.
    pub host: Host,
    /// Its leadership.
    pub term: u64,
    /// The real thing.
    pub core: Core,
    /// Prefix of the ids that it gives out.
    pub uuid: String,
    clock: Clock,
    links: BTreeMap<LinkId, ConnId>,
    streams: BTreeMap<StreamId, ConnId>,
    conns: BTreeMap<ConnId, Use>,
    requests: BTreeMap<RequestId, (ConnId, u64)>,
    next_link: u64,
    next_request: u64,
    planned: Option<Moment>,
    steps: u64,
}

#[derive(Clone, Copy, Debug)]
enum Use {
    Link(LinkId),
    Stream(StreamId),
    Calls,
}

/// The settings of a simulated master: Mesos' defaults.
pub fn master_config(uuid: &str, term: u64, host: Host) -> Config {
    let hostname = host.to_string();
    Config {
        master_id: uuid.to_owned(),
        term,
        master_info: v1::MasterInfo {
            id: uuid.to_owned(),
            ip: 0,
            port: 5050,
            pid: Some(format!("master@{hostname}:5050")),
            hostname: Some(hostname.clone()),
            version: Some(MESOS_VERSION.to_owned()),
            address: Some(v1::Address { hostname: Some(hostname), ip: None, port: 5050 }),
            ..Default::default()
        },
        allocation_interval: Duration::from_secs(1),
        agent_ping_timeout: Duration::from_secs(15),
        max_agent_ping_timeouts: 5,
        agent_reregister_timeout: Duration::from_secs(600),
        lifecycle: Lifecycle::default(),
        offer_timeout: Some(Duration::from_secs(120)),
        heartbeat_interval: Duration::from_secs(15),
        max_completed_frameworks: 50,
        max_completed_tasks_per_framework: 1000,
        max_unreachable_tasks_per_framework: 1000,
        roles: None,
        root_submissions: true,
        filter_gpu_resources: true,
        min_allocatable_resources: vec![vec![("cpus".to_owned(), 0.01)], vec![("mem".to_owned(), 32.0)]],
        allocator: AllocatorConfig::default(),
    }
}

impl World {
    /// A master that was down is back; if another one leads by now, it stands by.
    pub(super) fn restart_master(&mut self, host: Host) {
        if self.leader.is_none() && self.elections.is_none() {
            self.start_master(host, None);
        }
    }

    /// A master leads, in a term of the election's or the next one.
    pub(super) fn start_master(&mut self, host: Host, term: Option<u64>) {
        let process = self.new_process(Owner::Master);
        let term = self.registry.lead(term);
        let recovered = self.registry.content.recovered();
        let uuid = self.random.uuid().to_string();
        let clock = self.new_clock();
        let now = clock.read(self.now);
        let config = Config { lifecycle: self.plan.lifecycle.clone(), ..master_config(&uuid, term, host) };
        let core = Core::new(config, self.random.seed(), now, recovered.clone());
        self.note(Fact::MasterStarted { master: process, host, term, recovered: Rc::new(recovered) });
        let master = Master {
            host,
            term,
            core,
            uuid,
            clock,
            links: BTreeMap::new(),
            streams: BTreeMap::new(),
            conns: BTreeMap::new(),
            requests: BTreeMap::new(),
            next_link: 1,
            next_request: 1,
            planned: None,
            steps: 0,
        };
        self.masters.insert(process, Box::new(master));
        self.leader = Some(process);
        self.network.listen(host, Service::Master, process);
        self.master_step(process, |_, _, _| {});
        if !self.unlisted.is_empty() {
            self.read_whitelist(process);
        }
        self.leader_host = host;
        self.announce_leader(Some(host), Duration::from_secs(4));
    }

    pub(super) fn kill_master(&mut self, process: ProcessId) {
        self.end_master(process, End::Killed);
    }

    pub(super) fn end_master(&mut self, process: ProcessId, how: End) {
        let Some(mut master) = self.masters.remove(&process) else { return };
        master.core.cross_check();
        if self.leader == Some(process) {
            self.leader = None;
        }
        let applied = self.registry.abandon(process);
        if !applied.is_empty() {
            self.note(Fact::Durable(process, Rc::new(applied)));
        }
        self.note(Fact::MasterEnded { master: process, how });
        self.end_process(process);
    }

    pub(super) fn wake_master(&mut self, process: ProcessId) {
        let Some(master) = self.masters.get_mut(&process) else { return };
        if master.planned.is_none_or(|planned| planned > self.now) {
            return;
        }
        master.planned = None;
        self.master_step(process, |_, _, _| {});
    }

    /// One batch of the shell: an input, what is due, the end of the batch, and the effects of all that.
    pub(super) fn master_step(
        &mut self,
        process: ProcessId,
        input: impl FnOnce(&mut Core, mezzo_api::time::Now, &mut Effects),
    ) {
        let Some(mut master) = self.masters.remove(&process) else { return };
        let now = master.clock.read(self.now);
        let mut effects = Effects::new();
        input(&mut master.core, now, &mut effects);
        if master.core.deadline().is_some_and(|deadline| deadline <= now.mono) {
            master.core.tick(now, &mut effects);
        }
        loop {
            master.core.flush(now, &mut effects);
            let mut cut = Vec::new();
            for effect in effects.drain(..) {
                self.master_effect(process, &mut master, effect, &mut cut);
            }
            if cut.is_empty() {
                break;
            }
            for stream in cut {
                self.note(Fact::StreamClosed(process, stream, true));
                master.core.stream_closed(now, stream, true, &mut effects);
            }
        }
        master.steps += 1;
        if master.steps.is_multiple_of(CROSS_CHECK_EVERY) {
            master.core.cross_check();
        } else {
            master.core.check_touched();
        }
        let deposed = master.core.deposed();
        let (clock, deadline, mut planned) = (master.clock, master.core.deadline(), master.planned);
        self.wake_at(process, &clock, deadline, &mut planned);
        master.planned = planned;
        self.masters.insert(process, master);
        if deposed {
            self.end_master(process, End::Exited("another master leads".to_owned()));
        }
    }

    fn master_effect(&mut self, process: ProcessId, master: &mut Master, effect: Effect, cut: &mut Vec<StreamId>) {
        let now = self.now;
        match effect {
            Effect::Reply(request, answer) if request.0 >= OPERATOR => self.operator_told(process, request, &answer),
            Effect::Reply(request, answer) => {
                self.note(Fact::Answered(process, request, answer.clone()));
                if let Some((conn, number)) = master.requests.remove(&request) {
                    self.answer_call(conn, number, answer);
                }
            }
            Effect::ToFramework(stream, event) => {
                let event = Rc::new(*event);
                self.note(Fact::Event(process, stream, event.clone()));
                let Some(conn) = master.streams.get(&stream).copied() else { return };
                let sent = self.network.send(&mut self.queue, now, conn, Side::Listener, Packet::Event(event));
                if sent.is_err() {
                    self.network.abort(&mut self.queue, now, conn, Side::Listener);
                    master.streams.remove(&stream);
                    master.conns.remove(&conn);
                    cut.push(stream);
                }
            }
            Effect::CloseStream(stream) => {
                if let Some(conn) = master.streams.remove(&stream) {
                    master.conns.remove(&conn);
                    self.network.close(&mut self.queue, now, conn, Side::Listener);
                    self.queue.push(now + Duration::from_micros(50), Event::StreamEnded(process, stream));
                }
            }
            Effect::ToAgent(link, message) => {
                let message = Rc::new(*message);
                self.note(Fact::ToAgent(process, link, message.clone()));
                let Some(conn) = master.links.get(&link).copied() else { return };
                let packet = Packet::ToAgent(master.term, message);
                if self.network.send(&mut self.queue, now, conn, Side::Listener, packet).is_err() {
                    self.network.abort(&mut self.queue, now, conn, Side::Listener);
                    self.queue.push(now + Duration::from_micros(50), Event::LinkEnded(process, link));
                }
            }
            Effect::CloseLink(link, _) => {
                if let Some(conn) = master.links.get(&link).copied() {
                    self.network.close(&mut self.queue, now, conn, Side::Listener);
                    self.queue.push(now + Duration::from_micros(50), Event::LinkEnded(process, link));
                }
            }
            Effect::Probe(agent, address) => {
                let found = self.is_reachable(&agent);
                let takes = self.random.spread(Duration::from_millis(1), Duration::from_secs(5));
                self.queue.push(now + takes, Event::AddressTried(process, agent, address, found));
            }
            Effect::Write(ticket, operations) => {
                self.note(Fact::Asked(process, Rc::new(operations.clone())));
                let (at, number) = self.registry.submit(now, process, master.term, ticket, operations);
                self.queue.push(at, Event::RegistryDone(number));
            }
            Effect::Publish(change) => self.note(Fact::Published(process, Rc::new(change))),
        }
    }

    /// Whether frameworks find the agent at its address.
    fn is_reachable(&self, agent: &AgentId) -> bool {
        let own = |machine: &&super::AgentMachine| {
            machine.agent.as_ref().is_some_and(|running| running.core.agent_id() == Some(agent))
        };
        self.agents.iter().find(own).is_some_and(|machine| !machine.nat.hides())
    }

    fn answer_call(&mut self, conn: ConnId, number: u64, answer: Answer) {
        let packet = Packet::Answer(number, answer);
        if self.network.send(&mut self.queue, self.now, conn, Side::Listener, packet).is_err() {
            self.network.abort(&mut self.queue, self.now, conn, Side::Listener);
        }
    }

    pub(super) fn registry_done(&mut self, number: u64) {
        let Some(written) = self.registry.finish(number) else { return };
        let process = written.process;
        if !written.applied.is_empty() {
            self.note(Fact::Durable(process, Rc::new(written.applied)));
        }
        match self.master_held_until(process) {
            Some(until) => self.queue.push(until, Event::WriteTold(process, written.ticket, written.result)),
            None => self.write_told(process, written.ticket, written.result),
        }
    }

    pub(super) fn write_told(&mut self, process: ProcessId, ticket: Ticket, result: Result<(), RegistryError>) {
        self.note(Fact::Written(process, result));
        self.master_step(process, |core, now, out| core.registry(now, ticket, result, out));
    }

    pub(super) fn master_link_down(&mut self, process: ProcessId, link: LinkId) {
        let Some(master) = self.masters.get_mut(&process) else { return };
        if let Some(conn) = master.links.remove(&link) {
            master.conns.remove(&conn);
            self.note(Fact::LinkDown(process, link));
            self.master_step(process, |core, now, out| core.link_down(now, link, out));
        }
    }

    pub(super) fn master_stream_closed(&mut self, process: ProcessId, stream: StreamId, cut: bool) {
        self.note(Fact::StreamClosed(process, stream, cut));
        self.master_step(process, |core, now, out| core.stream_closed(now, stream, cut, out));
    }

    pub(super) fn master_incoming(&mut self, process: ProcessId, conn: ConnId, what: Incoming) {
        match what {
            Incoming::Opened(opening) => self.master_opened(process, conn, opening),
            Incoming::Packet(packet) => self.master_packet(process, conn, packet),
            Incoming::Closed { .. } => {
                let Some(master) = self.masters.get_mut(&process) else { return };
                match master.conns.remove(&conn) {
                    Some(Use::Link(link)) => self.master_link_down(process, link),
                    Some(Use::Stream(stream)) => {
                        master.streams.remove(&stream);
                        self.master_stream_closed(process, stream, false);
                    }
                    Some(Use::Calls) | None => {}
                }
            }
        }
    }

    fn master_opened(&mut self, process: ProcessId, conn: ConnId, opening: Opening) {
        let stream = StreamId(self.random.uuid());
        let Some(master) = self.masters.get_mut(&process) else { return };
        match opening {
            Opening::Link => {
                let link = LinkId(master.next_link);
                master.next_link += 1;
                master.links.insert(link, conn);
                master.conns.insert(conn, Use::Link(link));
                let _ = self.network.send(&mut self.queue, self.now, conn, Side::Listener, Packet::Accepted);
                self.note(Fact::LinkUp(process, link));
                let up = LinkUp { link, peer: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)) };
                self.master_step(process, |core, now, out| core.link_up(now, up, out));
            }
            Opening::Calls => {
                master.conns.insert(conn, Use::Calls);
            }
            Opening::Subscribe(call) => self.master_subscribe(process, conn, stream, &call),
            Opening::ExecutorSubscribe(_) | Opening::ExecutorCalls => {}
        }
    }

    /// The door's part of a SUBSCRIBE.
    fn master_subscribe(
        &mut self,
        process: ProcessId,
        conn: ConnId,
        stream: StreamId,
        call: &Arc<v1::scheduler::Call>,
    ) {
        let head = |answer: answer::Answer| Packet::Head(Rc::new(answer));
        if let Err(error) = validate::scheduler_call(call, None) {
            let packet = head(answer::Answer::new(400, error.to_string()));
            let _ = self.network.send(&mut self.queue, self.now, conn, Side::Listener, packet);
            self.network.close(&mut self.queue, self.now, conn, Side::Listener);
            return;
        }
        let Some(subscribe) = call.subscribe.clone() else { return };
        let Some(master) = self.masters.get_mut(&process) else { return };
        master.streams.insert(stream, conn);
        master.conns.insert(conn, Use::Stream(stream));
        let packet = head(answer::Answer {
            status: 200,
            mesos_stream_id: Some(stream.0.to_string()),
            ..answer::Answer::default()
        });
        let _ = self.network.send(&mut self.queue, self.now, conn, Side::Listener, packet);
        self.note(Fact::StreamOpened(process, stream, call.clone()));
        let subscribe = Subscribe { stream, principal: None, subscribe: *subscribe };
        self.master_step(process, |core, now, out| core.subscribe(now, subscribe, out));
    }

    fn master_packet(&mut self, process: ProcessId, conn: ConnId, packet: Packet) {
        let Some(master) = self.masters.get_mut(&process) else { return };
        match packet {
            Packet::FromAgent(message) => {
                let Some(Use::Link(link)) = master.conns.get(&conn).copied() else { return };
                self.note(Fact::FromAgent(process, link, message.clone()));
                let message = link::FromAgent { message: Some((*message).clone()) };
                self.master_step(process, |core, now, out| core.agent(now, link, message, out));
            }
            Packet::Call(number, stream_id, call) => {
                if let Err(error) = validate::scheduler_call(&call, None) {
                    self.answer_call(conn, number, Answer::new(400, error.to_string()));
                    return;
                }
                let request = RequestId(master.next_request);
                master.next_request += 1;
                master.requests.insert(request, (conn, number));
                self.note(Fact::Called(process, request, stream_id.clone(), call.clone()));
                let call = SchedulerCall { request, stream_id, principal: None, call: (*call).clone() };
                self.master_step(process, |core, now, out| core.scheduler_call(now, call, out));
            }
            _ => {}
        }
    }
}
