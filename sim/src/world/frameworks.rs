//! Frameworks: the real driver core in a shell of the simulator's, with a scripted author; or a hostile client.

use std::{
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use mezzo_api::{time::Now, v1, v1::scheduler::Call};
use mezzo_sdk_core::{
    address::Address,
    scheduler::{Config, Context, Core, Effect, Effects, Event as Told, Masters, Outgoing, StreamId, WhenRemoved},
    supervisor::{Group, Supervisor},
};

use super::{Event, Hostile, Owner, World};
use crate::{
    fact::{End, Fact},
    ids::{Host, ProcessId, Service},
    network::{ConnId, Incoming, Opening, Packet, Side},
    plan::{Character, Plan},
    random::Random,
    scheduler::{
        guest,
        keeper::{Keeper, Style},
    },
    time::{Clock, Moment},
};

/// A machine with a framework on it.
pub struct FrameworkMachine {
    /// Its number.
    pub number: u16,
    /// What kind it is.
    pub character: Character,
    /// How it describes itself.
    pub info: v1::FrameworkInfo,
    /// The ids that it was ever given, the last one stored for its next run.
    pub ids: Vec<String>,
    /// Its program, while it runs.
    pub scheduler: Option<Box<Scheduler>>,
    /// Its program, if it is a hostile one.
    pub hostile: Option<Hostile>,
    /// What its program has stored.
    pub store: BTreeMap<String, Bytes>,
    /// Makes its program, if that is a scheduler of the SDK.
    make: Option<guest::Make>,
    style: Style,
    /// The tasks of a supervised one never end by themselves.
    lasting: bool,
    /// How many tasks it wants, if it keeps some.
    pub wanted: usize,
    runs: u32,
}

/// Who decides what a framework does.
#[derive(Debug)]
pub enum Author {
    /// The simulator's own.
    Keeper(Box<Keeper>),
    /// A scheduler of the SDK.
    Guest(guest::Run),
}

/// One run of a framework's program.
#[derive(Debug)]
pub struct Scheduler {
    /// Its process.
    pub process: ProcessId,
    /// The real thing.
    pub core: Core,
    /// Its author.
    pub author: Author,
    clock: Clock,
    stream: Option<Stream>,
    planned: Option<Moment>,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    conn: ConnId,
    host: Host,
    mesos_stream_id: Option<String>,
    calls: Option<ConnId>,
    next_number: u64,
    unanswered: VecDeque<(u64, Outgoing)>,
}

impl FrameworkMachine {
    /// A machine that is off.
    pub fn new(plan: &Plan, number: u16) -> Self {
        let mut random = Random::new(plan.seed, &format!("framework {number}"));
        let (character, plain) = (plan.character(number), plan.task_time.is_some());
        let style = Style {
            executors: random.chance(500) && !plain,
            kills: random.chance(500) && !plain,
            task_time: plan.task_time,
            suppresses: random.chance(300),
            long_filters: random.chance(300),
            patient: random.chance(500),
            reserves: random.chance(500) && !plain,
            bursts: !plain && !plan.faults.is_empty(),
        };
        Self {
            number,
            character,
            info: info(&mut random, number, character),
            ids: Vec::new(),
            scheduler: None,
            hostile: None,
            store: BTreeMap::new(),
            make: (character == Character::Supervised).then(guest::supervisor),
            style,
            lasting: random.chance(500),
            wanted: plan.tasks,
            runs: 0,
        }
    }

    /// A machine that is off, with a program of somebody else's.
    pub fn of_guest(plan: &Plan, number: u16, info: v1::FrameworkInfo, make: guest::Make) -> Self {
        Self { info, make: Some(make), character: Character::Guest, ..Self::new(plan, number) }
    }

    /// Its failover timeout.
    pub fn failover_timeout(&self) -> Duration {
        Duration::from_secs_f64(self.info.failover_timeout())
    }
}

impl FrameworkMachine {
    /// The next run's author, and what it asks for before anything else.
    fn new_author(&mut self, seed: u64, now: Now) -> (Author, Vec<Call>) {
        if let Some(make) = &self.make {
            let (run, calls) = guest::Run::new(make, seed, now, &mut self.store);
            return (Author::Guest(run), calls);
        }
        let prefix = format!("f{}r{}", self.number, self.runs);
        let mut keeper = Keeper::new(self.wanted, prefix, self.style, Random::new(seed, "keeper"));
        keeper.framework_id = self.ids.last().cloned();
        (Author::Keeper(Box::new(keeper)), Vec::new())
    }
}

impl std::fmt::Debug for FrameworkMachine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameworkMachine").field("number", &self.number).field("ids", &self.ids).finish_non_exhaustive()
    }
}

/// A supervised framework wants this, if it does not yet.
fn set_wanted(scheduler: &mut dyn guest::Guest, context: &mut Context<'_>, wanted: Group) {
    let Some(supervisor) = (scheduler as &mut dyn std::any::Any).downcast_mut::<Supervisor>() else { return };
    if supervisor.group(guest::GROUP) != Some(&wanted)
        && let Err(error) = supervisor.set(context, wanted)
    {
        panic!("the simulator's own group: {error}");
    }
}

#[allow(deprecated)] // `role` is what frameworks without MULTI_ROLE have
fn info(random: &mut Random, number: u16, character: Character) -> v1::FrameworkInfo {
    use v1::framework_info::capability::Type;
    let timeouts: &[f64] = match character {
        Character::Keeper | Character::Supervised | Character::Guest => &[0.0, 10.0, 60.0, 600.0, 604_800.0],
        Character::Hostile => &[0.0, 10.0, 60.0],
    };
    let timeout = timeouts[random.index(timeouts.len())];
    let mut capabilities = Vec::new();
    for capability in [Type::PartitionAware, Type::TaskKillingState, Type::ReservationRefinement] {
        if random.chance(600) {
            capabilities.push(capability);
        }
    }
    let multi_role = random.chance(500);
    if multi_role {
        capabilities.push(Type::MultiRole);
    }
    let capability = |kind: Type| v1::framework_info::Capability { r#type: Some(kind as i32) };
    v1::FrameworkInfo {
        user: "sim".to_owned(),
        name: format!("framework{number}"),
        failover_timeout: Some(timeout),
        checkpoint: Some(random.chance(800)),
        role: (!multi_role && random.chance(500)).then(|| format!("role{number}")),
        roles: if multi_role { vec![format!("role{number}")] } else { Vec::new() },
        capabilities: capabilities.into_iter().map(capability).collect(),
        ..Default::default()
    }
}

fn address(host: Host) -> Address {
    Address { host: host.to_string(), port: 5050 }
}

/// The machine that an address names.
fn host(address: &Address) -> Host {
    let number = address.host.strip_prefix("master").and_then(|number| number.parse().ok());
    Host::Master(number.unwrap_or_default())
}

impl World {
    pub(super) fn start_scheduler(&mut self, number: u16) {
        let index = usize::from(number);
        if self.frameworks[index].scheduler.is_some() || self.frameworks[index].hostile.is_some() {
            return;
        }
        if self.healed && self.frameworks[index].character == Character::Hostile {
            return;
        }
        let process = self.new_process(Owner::Framework(number));
        let clock = self.new_clock();
        let seed = self.random.seed();
        let mut first = Vec::new();
        let machine = &mut self.frameworks[index];
        machine.runs += 1;
        if machine.character == Character::Hostile {
            machine.hostile = Some(Hostile::new(process, Random::new(seed, "hostile")));
        } else {
            let mut info = machine.info.clone();
            info.id = machine.ids.last().map(|id| v1::FrameworkId { value: id.clone() });
            let (author, calls) = machine.new_author(seed, clock.read(self.now));
            let mut config = Config { when_removed: WhenRemoved::StartAnew, ..Config::new(info, Masters::Detected) };
            if let Author::Guest(run) = &author {
                config.known_tasks = run.scheduler().known_tasks();
            }
            let core = Core::new(config, seed);
            machine.scheduler = Some(Box::new(Scheduler { process, core, author, clock, stream: None, planned: None }));
            first = calls;
        }
        self.note(Fact::SchedulerStarted(number, process));
        self.scheduler_step(number, |core, now, out| core.start(now, out));
        self.scheduler_calls(number, first);
        let delay = self.random.duration(Duration::from_millis(1), Duration::from_secs(1));
        self.queue.push(self.now + delay, Event::Detect(process, None));
        self.queue.push(self.now + Duration::from_secs(5), Event::Look(process));
    }

    pub(super) fn end_scheduler(&mut self, number: u16, how: End) {
        let machine = &mut self.frameworks[usize::from(number)];
        let scheduler = machine.scheduler.take().map(|scheduler| scheduler.process);
        let hostile = machine.hostile.take().map(|hostile| hostile.process);
        if let Some(process) = scheduler.or(hostile) {
            self.note(Fact::SchedulerEnded(number, how));
            self.end_process(process);
        }
    }

    pub(super) fn scheduler_detects(&mut self, number: u16, leader: Host) {
        if let Some(hostile) = self.frameworks[usize::from(number)].hostile.as_mut() {
            hostile.leader = Some(leader);
            return;
        }
        self.scheduler_step(number, |core, now, out| core.detected(now, Some(address(leader)), out));
    }

    pub(super) fn wake_scheduler(&mut self, number: u16) {
        let Some(scheduler) = self.frameworks[usize::from(number)].scheduler.as_mut() else { return };
        if scheduler.planned.is_none_or(|planned| planned > self.now) {
            return;
        }
        scheduler.planned = None;
        self.scheduler_step(number, |core, now, out| core.tick(now, out));
        self.with_guest(number, |now, run, store| {
            let due = run.deadline().is_some_and(|at| at <= now.mono);
            if due { run.step(now, store, |scheduler, context| scheduler.due(context)) } else { Vec::new() }
        });
    }

    /// Does something with a guest, and makes the calls that follow.
    pub(super) fn with_guest(
        &mut self,
        number: u16,
        act: impl FnOnce(Now, &mut guest::Run, &mut BTreeMap<String, Bytes>) -> Vec<Call>,
    ) {
        let machine = &mut self.frameworks[usize::from(number)];
        let Some(scheduler) = machine.scheduler.as_mut() else { return };
        let now = scheduler.clock.read(self.now);
        let Author::Guest(run) = &mut scheduler.author else { return };
        let calls = act(now, run, &mut machine.store);
        self.scheduler_calls(number, calls);
    }

    fn scheduler_calls(&mut self, number: u16, calls: Vec<Call>) {
        self.scheduler_step(number, |core, now, out| {
            for call in calls {
                core.call(now, call, None, out);
            }
        });
    }

    pub(super) fn scheduler_looks(&mut self, process: ProcessId) {
        let Some(Owner::Framework(number)) = self.owners.get(&process).copied() else { return };
        if self.frameworks[usize::from(number)].hostile.is_some() {
            self.hostile_looks(number);
            return;
        }
        let (moment, settled) = (self.now, self.settled);
        let machine = &mut self.frameworks[usize::from(number)];
        let Some(scheduler) = machine.scheduler.as_mut() else { return };
        match &mut scheduler.author {
            Author::Keeper(keeper) => {
                let calls = keeper.look(moment, settled);
                self.scheduler_calls(number, calls);
            }
            Author::Guest(_) if machine.character == Character::Supervised => {
                let wanted = guest::wanted(machine.wanted, settled || machine.lasting);
                self.with_guest(number, |now, run, store| {
                    run.step(now, store, |scheduler, context| set_wanted(scheduler, context, wanted))
                });
            }
            Author::Guest(_) => return,
        }
        let pause = self.random.duration(Duration::from_secs(4), Duration::from_secs(6));
        self.queue.push(self.now + pause, Event::Look(process));
    }

    fn scheduler_step(&mut self, number: u16, input: impl FnOnce(&mut Core, Now, &mut Effects)) {
        let Some(mut scheduler) = self.frameworks[usize::from(number)].scheduler.take() else { return };
        let now = scheduler.clock.read(self.now);
        let mut effects = Effects::new();
        input(&mut scheduler.core, now, &mut effects);
        let mut waiting: VecDeque<Effect> = effects.into();
        while let Some(effect) = waiting.pop_front() {
            let mut more = Effects::new();
            self.scheduler_effect(number, &mut scheduler, now, effect, &mut more);
            waiting.extend(more);
        }
        let (process, clock, mut planned) = (scheduler.process, scheduler.clock, scheduler.planned);
        let guests = match &scheduler.author {
            Author::Guest(run) => run.deadline(),
            Author::Keeper(_) => None,
        };
        let deadline = scheduler.core.deadline().into_iter().chain(guests).min();
        self.wake_at(process, &clock, deadline, &mut planned);
        scheduler.planned = planned;
        let ended = scheduler.core.ended();
        self.frameworks[usize::from(number)].scheduler = Some(scheduler);
        if ended {
            self.end_scheduler(number, End::Exited("the driver has ended".to_owned()));
            self.queue.push(self.now + Duration::from_secs(3), Event::StartScheduler(number));
        }
    }

    fn scheduler_effect(
        &mut self,
        number: u16,
        scheduler: &mut Scheduler,
        now: Now,
        effect: Effect,
        more: &mut Effects,
    ) {
        let from = (Host::Framework(number), scheduler.process);
        match effect {
            Effect::Open { stream, master, call } => {
                let call = Arc::new(*call);
                self.note(Fact::Sent(number, call.clone()));
                let host = host(&master);
                let opening = Opening::Subscribe(call);
                let conn = self.network.dial(&mut self.queue, self.now, from, (host, Service::Master), opening);
                scheduler.stream = Some(Stream {
                    id: stream,
                    conn,
                    host,
                    mesos_stream_id: None,
                    calls: None,
                    next_number: 1,
                    unanswered: VecDeque::new(),
                });
            }
            Effect::Close(stream) => {
                let Some(closed) = scheduler.stream.take_if(|current| current.id == stream) else { return };
                for conn in [Some(closed.conn), closed.calls].into_iter().flatten() {
                    self.network.close(&mut self.queue, self.now, conn, Side::Dialer);
                }
                let lost: Vec<Outgoing> = closed.unanswered.into_iter().map(|(_, outgoing)| outgoing).collect();
                if !lost.is_empty() {
                    scheduler.core.calls_lost(now, stream, lost, true, more);
                }
            }
            Effect::Send(stream, outgoing) => self.scheduler_sends(number, scheduler, now, stream, outgoing, more),
            Effect::Deliver(event) => self.scheduler_told(number, scheduler, now, event, more),
            Effect::Settle(..) => {}
        }
    }

    fn scheduler_sends(
        &mut self,
        number: u16,
        scheduler: &mut Scheduler,
        now: Now,
        id: StreamId,
        outgoing: Outgoing,
        more: &mut Effects,
    ) {
        let from = (Host::Framework(number), scheduler.process);
        let Some(stream) = scheduler.stream.as_mut().filter(|stream| stream.id == id) else {
            // The stream is gone since; so is the call.
            scheduler.core.calls_lost(now, id, vec![outgoing], true, more);
            return;
        };
        let conn = match stream.calls {
            Some(conn) => conn,
            None => {
                let to = (stream.host, Service::Master);
                let conn = self.network.dial(&mut self.queue, self.now, from, to, Opening::Calls);
                stream.calls = Some(conn);
                conn
            }
        };
        let call = outgoing.call.clone();
        let (call_number, stream_id) = (stream.next_number, stream.mesos_stream_id.clone());
        stream.next_number += 1;
        stream.unanswered.push_back((call_number, outgoing));
        self.note(Fact::Sent(number, call.clone()));
        let packet = Packet::Call(call_number, stream_id, call);
        if self.network.send(&mut self.queue, self.now, conn, Side::Dialer, packet).is_err() {
            self.network.abort(&mut self.queue, self.now, conn, Side::Dialer);
            self.scheduler_lost_calls(scheduler, now, true, more);
        }
    }

    fn scheduler_lost_calls(&mut self, scheduler: &mut Scheduler, now: Now, reachable: bool, more: &mut Effects) {
        let Some(stream) = scheduler.stream.as_mut() else { return };
        stream.calls = None;
        let id = stream.id;
        let lost: Vec<Outgoing> = stream.unanswered.drain(..).map(|(_, outgoing)| outgoing).collect();
        if !lost.is_empty() || !reachable {
            scheduler.core.calls_lost(now, id, lost, reachable, more);
        }
    }

    fn scheduler_told(&mut self, number: u16, scheduler: &mut Scheduler, now: Now, event: Told, more: &mut Effects) {
        let event = Rc::new(event);
        self.note(Fact::Told(number, event.clone()));
        if let Told::Subscribed(subscribed) = &*event {
            let id = &subscribed.framework_id.value;
            let machine = &mut self.frameworks[usize::from(number)];
            if machine.ids.last() != Some(id) {
                machine.ids.push(id.clone());
            }
        }
        let calls = match &mut scheduler.author {
            Author::Keeper(keeper) => keeper.told(self.now, &event, self.settled),
            Author::Guest(run) => run.told(now, &mut self.frameworks[usize::from(number)].store, &event),
        };
        for call in calls {
            scheduler.core.call(now, call, None, more);
        }
    }

    pub(super) fn framework_incoming(&mut self, number: u16, conn: ConnId, what: Incoming) {
        if self.frameworks[usize::from(number)].hostile.is_some() {
            self.hostile_incoming(number, conn, what);
            return;
        }
        let Some(scheduler) = self.frameworks[usize::from(number)].scheduler.as_mut() else { return };
        let Some(stream) = scheduler.stream.as_mut() else { return };
        let id = stream.id;
        if stream.calls == Some(conn) {
            self.calls_incoming(number, what);
            return;
        }
        if stream.conn != conn {
            return;
        }
        match what {
            Incoming::Packet(Packet::Head(answer)) => {
                stream.mesos_stream_id.clone_from(&answer.mesos_stream_id);
                self.scheduler_step(number, |core, now, out| core.head(now, id, &answer, out));
            }
            Incoming::Packet(Packet::Event(event)) => {
                let framework = scheduler.core.framework_id().map(|id| id.value.clone());
                let of_leader = self.network.peer(conn, Side::Dialer) == self.leader;
                self.note(Fact::Delivered { framework: number, id: framework, event: event.clone(), of_leader });
                let event = (*event).clone();
                self.scheduler_step(number, |core, now, out| core.event(now, id, event, out));
            }
            Incoming::Closed { .. } => {
                self.scheduler_step(number, |core, now, out| core.closed(now, id, "it was closed".to_owned(), out));
            }
            Incoming::Opened(_) | Incoming::Packet(_) => {}
        }
    }

    fn calls_incoming(&mut self, number: u16, what: Incoming) {
        let Some(mut scheduler) = self.frameworks[usize::from(number)].scheduler.take() else { return };
        let now = scheduler.clock.read(self.now);
        let mut effects = Effects::new();
        match what {
            Incoming::Packet(Packet::Answer(answered, answer)) => {
                if let Some(stream) = scheduler.stream.as_mut()
                    && let Some(place) = stream.unanswered.iter().position(|(number, _)| *number == answered)
                    && let Some((_, outgoing)) = stream.unanswered.remove(place)
                {
                    let answer = mezzo_sdk_core::answer::Answer::new(answer.status, answer.body);
                    scheduler.core.answered(now, stream.id, outgoing, &answer, &mut effects);
                }
            }
            Incoming::Closed { stood } => self.scheduler_lost_calls(&mut scheduler, now, stood, &mut effects),
            Incoming::Opened(_) | Incoming::Packet(_) => {}
        }
        self.frameworks[usize::from(number)].scheduler = Some(scheduler);
        self.scheduler_step(number, |_, _, out| out.append(&mut effects));
    }
}
