//! Scenarios on a core with recorded effects: a step is an input and a flush, after which every invariant holds and
//! what readers see is what the core knows. A test that leaves an effect unread fails.

mod accept;
mod agents;
mod bad_resources;
mod build;
mod calls;
mod drain;
mod frameworks;
mod inverse_offers;
mod lifecycle;
mod maintenance;
mod offers;
mod operations;
mod operator;
mod quota;
mod refusals;
mod returns;
mod updates;
mod view;
mod walk;

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

pub(crate) use build::*;
use mezzo_api::{
    ids::AgentId,
    link::{self, from_agent, to_agent},
    time::Now,
    v1::{
        self, AgentInfo, FrameworkInfo, TaskInfo, TaskState, TaskStatus,
        framework_info::capability::Type as Capability,
        offer::Operation,
        scheduler::{Call, Event, call, event},
        task_status::Source,
    },
};
use view::View;

use crate::{
    Core,
    effect::{Answer, CloseReason, Effect, Effects},
    input::{Config, LinkId, LinkUp, OperatorCall, RequestId, SchedulerCall, StreamId, Subscribe, Ticket},
    registry::{Recovered, RegistryError, RegistryOp},
};

/// A core and everybody around it.
pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) mono: Duration,
    pub(crate) view: View,
    events: BTreeMap<StreamId, VecDeque<Event>>,
    messages: BTreeMap<LinkId, VecDeque<to_agent::Message>>,
    pub(crate) replies: BTreeMap<RequestId, Answer>,
    pub(crate) writes: VecDeque<(Ticket, Vec<RegistryOp>)>,
    pub(crate) closed_streams: Vec<StreamId>,
    pub(crate) closed_links: Vec<(LinkId, CloseReason)>,
    pub(crate) probes: Vec<(AgentId, std::net::SocketAddr)>,
    next: u64,
}

/// A framework's end of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scheduler {
    pub(crate) id: String,
    pub(crate) stream: StreamId,
}

/// An agent's end of the line.
#[derive(Clone, Debug)]
pub(crate) struct Slave {
    pub(crate) id: String,
    pub(crate) link: LinkId,
    pub(crate) info: AgentInfo,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(config(), Recovered::default())
    }

    pub(crate) fn with(config: Config, recovered: Recovered) -> Self {
        let mono = Duration::from_secs(1000);
        let core = Core::new(config, 7, at(mono), recovered);
        let mut world = Self {
            core,
            mono,
            view: View::default(),
            events: BTreeMap::new(),
            messages: BTreeMap::new(),
            replies: BTreeMap::new(),
            writes: VecDeque::new(),
            closed_streams: Vec::new(),
            closed_links: Vec::new(),
            probes: Vec::new(),
            next: 0,
        };
        world.step(|_, _, _| {});
        world
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// One batch of one input.
    pub(crate) fn step(&mut self, input: impl FnOnce(&mut Core, Now, &mut Effects)) {
        let mut out = Effects::new();
        let now = at(self.mono);
        input(&mut self.core, now, &mut out);
        self.core.flush(now, &mut out);
        if !self.core.deposed() {
            self.core.cross_check();
        }
        out.into_iter().for_each(|effect| self.record(effect));
        if !self.core.deposed() {
            self.view.check(&self.core);
        }
    }

    fn record(&mut self, effect: Effect) {
        match effect {
            Effect::Reply(request, answer) => {
                assert!(self.replies.insert(request, answer).is_none(), "{request:?} is answered twice");
            }
            Effect::ToFramework(stream, event) => {
                assert!(!self.closed_streams.contains(&stream), "an event on a closed stream: {event:?}");
                self.events.entry(stream).or_default().push_back(*event);
            }
            Effect::CloseStream(stream) => self.closed_streams.push(stream),
            Effect::ToAgent(link, message) => {
                let closed = self.closed_links.iter().any(|(closed, _)| *closed == link);
                assert!(!closed, "a message on a closed link: {message:?}");
                self.messages.entry(link).or_default().push_back(*message);
            }
            Effect::CloseLink(link, reason) => self.closed_links.push((link, reason)),
            Effect::Probe(agent, address) => self.probes.push((agent, address)),
            Effect::Write(ticket, ops) => self.writes.push_back((ticket, ops)),
            Effect::Publish(change) => self.view.apply(change),
        }
    }

    /// The registry makes the oldest write durable.
    pub(crate) fn write_done(&mut self) -> Vec<RegistryOp> {
        let (ticket, ops) = self.writes.pop_front().expect("a write");
        self.step(|core, now, out| core.registry(now, ticket, Ok(()), out));
        ops
    }

    /// The registry's answer to the oldest write is an error.
    pub(crate) fn write_failed(&mut self, error: RegistryError) {
        let (ticket, _) = self.writes.pop_front().expect("a write");
        self.step(|core, now, out| core.registry(now, ticket, Err(error), out));
    }

    /// Time passes; the core is called at each of its deadlines.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.mono + time;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.mono = deadline.max(self.mono);
            self.step(Core::tick);
            assert!(self.core.deadline().is_none_or(|next| next > self.mono), "a tick does what is due");
        }
        self.mono = end;
    }

    /// Long enough for freed resources to be offered.
    pub(crate) fn settle(&mut self) {
        self.pass(Duration::from_millis(10));
    }

    /// The events of a stream since the last call, heartbeats left out.
    pub(crate) fn events(&mut self, stream: StreamId) -> Vec<Event> {
        let events = self.events.remove(&stream).unwrap_or_default();
        events.into_iter().filter(|event| event.r#type() != event::Type::Heartbeat).collect()
    }

    pub(crate) fn all_events(&mut self, stream: StreamId) -> Vec<event::Type> {
        self.events.remove(&stream).unwrap_or_default().iter().map(Event::r#type).collect()
    }

    /// The messages of a link since the last call, pings left out.
    pub(crate) fn messages(&mut self, link: LinkId) -> Vec<to_agent::Message> {
        let messages = self.messages.remove(&link).unwrap_or_default();
        messages.into_iter().filter(|message| !matches!(message, to_agent::Message::Ping(_))).collect()
    }

    pub(crate) fn pings(&mut self, link: LinkId) -> usize {
        let messages = self.messages.remove(&link).unwrap_or_default();
        messages.iter().filter(|message| matches!(message, to_agent::Message::Ping(_))).count()
    }

    /// Nothing was said, asked or closed that the test has not read.
    #[track_caller]
    pub(crate) fn quiet(&mut self) {
        let events: Vec<_> =
            self.events.values().flatten().filter(|event| event.r#type() != event::Type::Heartbeat).collect();
        assert!(events.is_empty(), "unread events: {events:#?}");
        let messages: Vec<_> =
            self.messages.values().flatten().filter(|message| !matches!(message, to_agent::Message::Ping(_))).collect();
        assert!(messages.is_empty(), "unread messages: {messages:#?}");
        assert!(self.writes.is_empty(), "unread writes: {:?}", self.writes);
        assert!(self.replies.is_empty(), "unread replies: {:?}", self.replies);
        assert!(self.closed_links.is_empty(), "unread closed links: {:?}", self.closed_links);
    }

    /// Sends a SUBSCRIBE; nothing is read.
    pub(crate) fn try_subscribe(&mut self, subscribe: call::Subscribe) -> StreamId {
        let stream = StreamId(uuid::Uuid::from_u128(self.number().into()));
        self.step(|core, now, out| core.subscribe(now, Subscribe { stream, principal: None, subscribe }, out));
        stream
    }

    /// A framework subscribes; SUBSCRIBED and HEARTBEAT are read.
    #[track_caller]
    pub(crate) fn subscribe(&mut self, info: FrameworkInfo) -> Scheduler {
        let subscribe = call::Subscribe { framework_info: info, ..Default::default() };
        let stream = self.try_subscribe(subscribe);
        self.greeted(stream)
    }

    #[track_caller]
    pub(crate) fn greeted(&mut self, stream: StreamId) -> Scheduler {
        let queue = self.events.get_mut(&stream).expect("events");
        let subscribed = queue.pop_front().and_then(|event| event.subscribed).expect("SUBSCRIBED comes first");
        let heartbeat = queue.pop_front().map(|event| event.r#type());
        assert_eq!(heartbeat, Some(event::Type::Heartbeat), "a HEARTBEAT comes right after");
        Scheduler { id: subscribed.framework_id.value, stream }
    }

    /// Makes a call; the answer is read.
    #[track_caller]
    pub(crate) fn call(&mut self, scheduler: &Scheduler, call: Call) -> Answer {
        let request = self.post(scheduler, call);
        self.replies.remove(&request).expect("an answer")
    }

    /// Makes a call that must be accepted.
    #[track_caller]
    pub(crate) fn accepted(&mut self, scheduler: &Scheduler, call: Call) {
        assert_eq!(self.call(scheduler, call), Answer::accepted());
    }

    pub(crate) fn post(&mut self, scheduler: &Scheduler, mut call: Call) -> RequestId {
        call.framework_id = Some(v1::FrameworkId { value: scheduler.id.clone() });
        let stream_id = Some(scheduler.stream.0.to_string());
        let request = RequestId(self.number());
        crate::validate::scheduler_call(&call, None).expect("a well-formed call");
        let call = SchedulerCall { request, stream_id, principal: None, call };
        self.step(|core, now, out| core.scheduler_call(now, call, out));
        request
    }

    /// An operator asks; the answer may have to wait for the registry.
    pub(crate) fn ask(&mut self, call: OperatorCall) -> RequestId {
        let request = RequestId(self.number());
        self.step(|core, now, out| core.operator_call(now, request, None, call, out));
        request
    }

    /// An operator asks, and is answered at once.
    #[track_caller]
    pub(crate) fn answered(&mut self, call: OperatorCall) -> Answer {
        let request = self.ask(call);
        self.replies.remove(&request).expect("an answer")
    }

    /// An operator asks for what must be written down, which is done.
    #[track_caller]
    pub(crate) fn ordered(&mut self, call: OperatorCall) -> Vec<RegistryOp> {
        let request = self.ask(call);
        assert!(self.replies.is_empty(), "not before it is durable: {:?}", self.replies);
        let ops = self.write_done();
        assert_eq!(self.replies.remove(&request), Some(Answer::new(200, "")));
        ops
    }

    pub(crate) fn close(&mut self, stream: StreamId) {
        self.step(|core, now, out| core.stream_closed(now, stream, false, out));
    }

    pub(crate) fn link_up(&mut self) -> LinkId {
        let link = LinkId(self.number());
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        self.step(|core, now, out| core.link_up(now, LinkUp { link, peer }, out));
        link
    }

    pub(crate) fn link_down(&mut self, link: LinkId) {
        self.step(|core, now, out| core.link_down(now, link, out));
    }

    pub(crate) fn say(&mut self, link: LinkId, message: from_agent::Message) {
        let message = link::FromAgent { message: Some(message) };
        self.step(|core, now, out| core.agent(now, link, message, out));
    }

    /// An agent registers, and is written down.
    #[track_caller]
    pub(crate) fn agent(&mut self, resources: &str) -> Slave {
        let port = 5000 + i32::try_from(self.number()).unwrap();
        self.agent_with(AgentInfo { port: Some(port), ..agent_info(resources) })
    }

    #[track_caller]
    pub(crate) fn agent_with(&mut self, mut info: AgentInfo) -> Slave {
        let link = self.link_up();
        self.say(link, from_agent::Message::Register(register(&info)));
        assert!(self.messages.remove(&link).is_none(), "not before it is durable");
        assert!(matches!(&self.write_done()[..], [RegistryOp::PutAgent(_)]));
        let [to_agent::Message::Registered(registered)] = &self.messages(link)[..] else { panic!("not registered") };
        info.id = Some(registered.agent_id.clone());
        Slave { id: registered.agent_id.value.clone(), link, info }
    }

    /// The offers of the only OFFERS event that is there.
    #[track_caller]
    pub(crate) fn offers(&mut self, scheduler: &Scheduler) -> Vec<v1::Offer> {
        self.settle();
        let events = self.events(scheduler.stream);
        let [event] = &events[..] else { panic!("one OFFERS is expected: {events:#?}") };
        event.offers.clone().expect("OFFERS").offers
    }

    #[track_caller]
    pub(crate) fn offer(&mut self, scheduler: &Scheduler) -> v1::Offer {
        let offers = self.offers(scheduler);
        let [offer] = &offers[..] else { panic!("one offer is expected: {offers:#?}") };
        offer.clone()
    }

    /// The statuses of all events that are there; nothing else is but offers, which stay unread.
    #[track_caller]
    pub(crate) fn updates(&mut self, scheduler: &Scheduler) -> Vec<TaskStatus> {
        let (offers, updates): (Vec<Event>, Vec<Event>) =
            self.events(scheduler.stream).into_iter().partition(|event| event.offers.is_some());
        self.events.insert(scheduler.stream, offers.into());
        updates
            .into_iter()
            .map(|event| event.update.clone().unwrap_or_else(|| panic!("an UPDATE: {event:?}")).status)
            .collect()
    }

    /// Launches tasks on an offer; the rest is declined for `refuse` seconds.
    #[track_caller]
    pub(crate) fn launch(&mut self, scheduler: &Scheduler, offer: &v1::Offer, tasks: Vec<TaskInfo>, refuse: f64) {
        self.accepted(scheduler, accept(&[offer], vec![launch(tasks)], refuse));
    }

    /// The agent reports a state of a task, with a new uuid.
    pub(crate) fn update(&mut self, agent: &Slave, scheduler: &Scheduler, task: &str, state: TaskState) -> TaskStatus {
        let status = TaskStatus {
            task_id: v1::TaskId { value: task.into() },
            state: state.into(),
            source: Some(Source::Executor.into()),
            agent_id: Some(v1::AgentId { value: agent.id.clone() }),
            timestamp: Some(1.0),
            uuid: Some(uuid::Uuid::from_u128(u128::from(self.number()) | 0x4000 << 64).into_bytes().to_vec().into()),
            ..Default::default()
        };
        self.say(
            agent.link,
            from_agent::Message::StatusUpdate(link::StatusUpdate {
                framework_id: v1::FrameworkId { value: scheduler.id.clone() },
                status: status.clone(),
                latest_state: None,
            }),
        );
        status
    }

    #[track_caller]
    pub(crate) fn acknowledge(&mut self, scheduler: &Scheduler, status: &TaskStatus) {
        let acknowledge = call::Acknowledge {
            agent_id: status.agent_id.clone().unwrap(),
            task_id: status.task_id.clone(),
            uuid: status.uuid.clone().unwrap(),
        };
        self.accepted(
            scheduler,
            Call { r#type: Some(call::Type::Acknowledge.into()), acknowledge: Some(acknowledge), ..Default::default() },
        );
    }
}
