//! A client that does everything that a client should not: it takes offers twice, never acknowledges, comes and goes in
//! storms, speaks with wrong stream ids, and sends calls that make no sense.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use mezzo_api::v1::{
    self,
    scheduler::{Call, Event as SchedulerEvent, call, event},
};
use mezzo_sdk_core::scheduler::calls;

use super::{Event, World};
use crate::{
    fact::Fact,
    ids::{Host, ProcessId, Service},
    network::{ConnId, Incoming, Opening, Packet, Side},
    random::Random,
    scheduler::keeper,
    workload::Program,
};

/// One run of it.
#[derive(Debug)]
pub struct Hostile {
    /// Its process.
    pub process: ProcessId,
    /// Who leads, as it was told.
    pub leader: Option<Host>,
    random: Random,
    streams: Vec<ConnId>,
    calls: Option<ConnId>,
    stream_id: Option<String>,
    framework_id: Option<v1::FrameworkId>,
    /// Whose events come on which stream.
    subscribed: BTreeMap<ConnId, String>,
    offers: Vec<v1::Offer>,
    statuses: Vec<v1::TaskStatus>,
    next: u64,
    quiet: bool,
}

impl Hostile {
    /// It has not begun.
    pub fn new(process: ProcessId, random: Random) -> Self {
        Self {
            process,
            leader: None,
            random,
            streams: Vec::new(),
            calls: None,
            stream_id: None,
            framework_id: None,
            subscribed: BTreeMap::new(),
            offers: Vec::new(),
            statuses: Vec::new(),
            next: 0,
            quiet: false,
        }
    }

    fn any_offer(&mut self) -> Option<v1::Offer> {
        if self.offers.is_empty() {
            return None;
        }
        let place = self.random.index(self.offers.len());
        Some(self.offers[place].clone())
    }

    /// The next thing that it should not do; `None` is a new subscription.
    fn next_call(&mut self) -> Option<Call> {
        let id = |value: &str| v1::OfferId { value: value.to_owned() };
        let mut call = match self.random.within(0..=14) {
            0 => return None,
            1 | 2 => {
                let offer = self.any_offer()?;
                self.accept(&offer) // the offer stays in its list: it will be taken again
            }
            3 => {
                let offer = self.any_offer()?;
                calls::decline(vec![offer.id], Some(v1::Filters { refuse_seconds: Some(1e300) }))
            }
            4 => calls::decline(vec![id("nonsense-O1"), id("")], Some(v1::Filters { refuse_seconds: Some(-1.0) })),
            5 => {
                let offer = self.any_offer()?;
                let mut accept = self.accept(&offer);
                for task in accept.accept.iter_mut().flat_map(|accept| &mut accept.operations).flat_map(tasks) {
                    for resource in &mut task.resources {
                        let value = *[f64::NAN, -1.0, 1e18, 0.0].get(self.random.index(4)).unwrap_or(&0.0);
                        resource.scalar = Some(v1::value::Scalar { value });
                    }
                }
                accept
            }
            14 => {
                // Somebody else's, perhaps: the numbers of offers are easily guessed.
                let mut offer = self.any_offer()?;
                let (prefix, number) = offer.id.value.rsplit_once("-O")?;
                let number = number.parse::<u64>().ok()?;
                let guessed = number.saturating_sub(1) + 2 * self.random.within(0..=1);
                offer.id.value = format!("{prefix}-O{guessed}");
                self.accept(&offer)
            }
            6 => {
                let offer = self.any_offer()?;
                let twice = vec![offer.id.clone(), offer.id];
                calls::accept(twice, Vec::new(), None)
            }
            7 => calls::kill(v1::TaskId { value: "no such task".to_owned() }, None, None),
            8 => calls::reconcile(vec![call::reconcile::Task {
                task_id: v1::TaskId { value: "no such task".to_owned() },
                agent_id: Some(v1::AgentId { value: "no such agent".to_owned() }),
            }]),
            9 => {
                let place = self.random.index(self.statuses.len().max(1));
                let mut status = self.statuses.get(place)?.clone();
                if self.random.chance(500) {
                    status.uuid = Some(Bytes::copy_from_slice(self.random.uuid().as_bytes()));
                }
                calls::acknowledge(&status)?
            }
            10 => calls::revive(vec!["a role that it does not have".to_owned()]),
            11 => calls::suppress(Vec::new()),
            12 => calls::revive(Vec::new()),
            _ => Call { r#type: Some(i32::try_from(self.random.within(0..=20)).unwrap_or(0)), ..Call::default() },
        };
        call.framework_id.clone_from(&self.framework_id);
        Some(call)
    }

    fn accept(&mut self, offer: &v1::Offer) -> Call {
        self.next += 1;
        // Sometimes the same id again.
        let number = if self.random.chance(200) { 1 } else { self.next };
        let task = v1::TaskInfo {
            name: "hostile".to_owned(),
            task_id: v1::TaskId { value: format!("h{}-{number}", self.process.0) },
            agent_id: offer.agent_id.clone(),
            resources: vec![keeper::scalar(offer, "cpus", 0.1), keeper::scalar(offer, "mem", 32.0)],
            command: Some(keeper::command(Program::Run { for_ms: 30_000, code: 1, stubborn: true })),
            ..Default::default()
        };
        calls::accept(vec![offer.id.clone()], vec![calls::launch(vec![task])], None)
    }
}

fn tasks(operation: &mut v1::offer::Operation) -> impl Iterator<Item = &mut v1::TaskInfo> {
    operation.launch.iter_mut().flat_map(|launch| &mut launch.task_infos)
}

impl World {
    /// It is told to be silent from now on.
    pub(super) fn hush(&mut self, number: u16) {
        if let Some(hostile) = self.frameworks[usize::from(number)].hostile.as_mut() {
            hostile.quiet = true;
        }
    }

    pub(super) fn hostile_looks(&mut self, number: u16) {
        let Some(mut hostile) = self.frameworks[usize::from(number)].hostile.take() else { return };
        let process = hostile.process;
        if !hostile.quiet {
            if hostile.streams.is_empty() {
                self.hostile_subscribes(number, &mut hostile);
            } else {
                match hostile.next_call() {
                    Some(call) => self.hostile_calls(number, &mut hostile, call),
                    None => self.hostile_subscribes(number, &mut hostile),
                }
            }
            let pause = hostile.random.spread(Duration::from_millis(5), Duration::from_secs(20));
            self.queue.push(self.now + pause, Event::Look(process));
        }
        self.frameworks[usize::from(number)].hostile = Some(hostile);
    }

    fn hostile_subscribes(&mut self, number: u16, hostile: &mut Hostile) {
        let Some(leader) = hostile.leader else { return };
        let mut info = self.frameworks[usize::from(number)].info.clone();
        info.id = match hostile.random.within(0..=3) {
            0 => None,
            1 => Some(v1::FrameworkId { value: "a name of its own".to_owned() }),
            _ => hostile.framework_id.clone(),
        };
        if hostile.random.chance(50) {
            info.failover_timeout = Some(f64::NAN);
        }
        let call = Call {
            r#type: Some(call::Type::Subscribe as i32),
            framework_id: info.id.clone(),
            subscribe: Some(Box::new(call::Subscribe { framework_info: info, ..Default::default() })),
            ..Default::default()
        };
        let call = Arc::new(call);
        self.note(Fact::Sent(number, call.clone()));
        let from = (Host::Framework(number), hostile.process);
        let to = (leader, Service::Master);
        let conn = self.network.dial(&mut self.queue, self.now, from, to, Opening::Subscribe(call));
        hostile.streams.push(conn);
    }

    fn hostile_calls(&mut self, number: u16, hostile: &mut Hostile, call: Call) {
        let Some(leader) = hostile.leader else { return };
        let from = (Host::Framework(number), hostile.process);
        let conn = match hostile.calls {
            Some(conn) => conn,
            None => {
                let to = (leader, Service::Master);
                self.network.dial(&mut self.queue, self.now, from, to, Opening::Calls)
            }
        };
        hostile.calls = Some(conn);
        let stream_id = match hostile.random.within(0..=19) {
            0 => None,
            1 => Some("not a stream".to_owned()),
            _ => hostile.stream_id.clone(),
        };
        hostile.next += 1;
        let call = Arc::new(call);
        self.note(Fact::Sent(number, call.clone()));
        let packet = Packet::Call(hostile.next, stream_id, call);
        if self.network.send(&mut self.queue, self.now, conn, Side::Dialer, packet).is_err() {
            self.network.abort(&mut self.queue, self.now, conn, Side::Dialer);
            hostile.calls = None;
        }
    }

    pub(super) fn hostile_incoming(&mut self, number: u16, conn: ConnId, what: Incoming) {
        let Some(hostile) = self.frameworks[usize::from(number)].hostile.as_mut() else { return };
        match what {
            Incoming::Packet(Packet::Head(answer)) => hostile.stream_id.clone_from(&answer.mesos_stream_id),
            Incoming::Packet(Packet::Event(event)) => {
                hostile.take(&event);
                if let Some(subscribed) = &event.subscribed {
                    hostile.subscribed.insert(conn, subscribed.framework_id.value.clone());
                }
                let framework = hostile.subscribed.get(&conn).cloned();
                let ids = &mut self.frameworks[usize::from(number)].ids;
                if let Some(id) = framework.as_ref().filter(|id| !ids.contains(id)) {
                    ids.push(id.clone());
                }
                self.note(Fact::Delivered { framework: number, id: framework, event, of_leader: false });
            }
            Incoming::Closed { .. } => {
                hostile.streams.retain(|stream| *stream != conn);
                if hostile.calls == Some(conn) {
                    hostile.calls = None;
                }
            }
            Incoming::Opened(_) | Incoming::Packet(_) => {}
        }
    }
}

impl Hostile {
    fn take(&mut self, event: &SchedulerEvent) {
        match event.r#type() {
            event::Type::Subscribed => {
                self.framework_id = event.subscribed.as_ref().map(|subscribed| subscribed.framework_id.clone());
            }
            event::Type::Error => self.framework_id = None,
            event::Type::Offers => {
                self.offers.extend(event.offers.iter().flat_map(|offers| offers.offers.clone()));
                let surplus = self.offers.len().saturating_sub(50);
                self.offers.drain(..surplus);
            }
            event::Type::Update => {
                self.statuses.extend(event.update.as_ref().map(|update| update.status.clone()));
                let surplus = self.statuses.len().saturating_sub(50);
                self.statuses.drain(..surplus);
            }
            _ => {}
        }
    }
}
