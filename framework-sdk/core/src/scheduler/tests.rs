//! Scenarios: what the driver asks for, step by step, with nothing left over.

use std::time::{Duration, SystemTime};

use mezzo_api::v1::{
    TaskState,
    framework_info::{Capability, capability},
    scheduler::{Call, Event as MasterEvent, call, event},
    task_status::Reason,
};

use super::*;
use crate::answer::Answer;

struct Bench {
    core: Core,
    mono: Duration,
    out: Effects,
}

impl Bench {
    fn new(masters: &str, change: impl FnOnce(&mut Config)) -> Self {
        let framework = v1::FrameworkInfo {
            user: "u".into(),
            name: "f".into(),
            roles: vec!["dev".into(), "ops".into()],
            capabilities: [capability::Type::MultiRole, capability::Type::PartitionAware]
                .map(|kind| Capability { r#type: Some(kind as i32) })
                .to_vec(),
            ..Default::default()
        };
        let masters = match masters {
            "" => Masters::Detected,
            list => Masters::Listed(Address::parse_list(list).unwrap()),
        };
        let mut config = Config::new(framework, masters);
        change(&mut config);
        let mut bench = Self { core: Core::new(config, 7), mono: Duration::ZERO, out: Vec::new() };
        bench.step(|core, now, out| core.start(now, out));
        bench
    }

    /// One that is subscribed as `F`, with nothing left over.
    fn subscribed(change: impl FnOnce(&mut Config)) -> (Self, StreamId) {
        let mut bench = Self::new("m1:5050", change);
        let stream = bench.opened("m1:5050").0;
        bench.accept_subscription(stream);
        assert!(matches!(bench.delivered().as_slice(), [Event::Subscribed(_)]));
        (bench, stream)
    }

    fn step<R>(&mut self, act: impl FnOnce(&mut Core, Now, &mut Effects) -> R) -> R {
        let now = Now { mono: self.mono, wall: SystemTime::UNIX_EPOCH + self.mono };
        let result = act(&mut self.core, now, &mut self.out);
        self.core.check();
        result
    }

    /// Lets time pass to the core's own deadline.
    fn wait(&mut self) -> Duration {
        let deadline = self.core.deadline().expect("something to wait for");
        let waited = deadline.saturating_sub(self.mono);
        self.mono = self.mono.max(deadline);
        self.step(|core, now, out| core.tick(now, out));
        waited
    }

    fn take(&mut self) -> Effects {
        std::mem::take(&mut self.out)
    }

    fn delivered(&mut self) -> Vec<Event> {
        self.take()
            .into_iter()
            .map(|effect| match effect {
                Effect::Deliver(event) => event,
                other => panic!("not expected: {other:?}"),
            })
            .collect()
    }

    fn sent(&mut self) -> Vec<Outgoing> {
        self.take()
            .into_iter()
            .map(|effect| match effect {
                Effect::Send(_, outgoing) => outgoing,
                other => panic!("not expected: {other:?}"),
            })
            .collect()
    }

    /// The one effect is a dial of this master.
    fn opened(&mut self, expected: &str) -> (StreamId, Call) {
        let effects = self.take();
        match <[Effect; 1]>::try_from(effects) {
            Ok([Effect::Open { stream, master, call }]) if master.to_string() == expected => (stream, *call),
            other => panic!("not one dial of {expected}: {other:?}"),
        }
    }

    fn head(&mut self, stream: StreamId, answer: Answer) {
        self.step(|core, now, out| core.head(now, stream, &answer, out));
    }

    fn event(&mut self, stream: StreamId, event: MasterEvent) {
        self.step(|core, now, out| core.event(now, stream, event, out));
    }

    fn accept_subscription(&mut self, stream: StreamId) {
        self.head(stream, Answer { status: 200, mesos_stream_id: Some("s".into()), ..Answer::default() });
        self.event(stream, subscribed("F"));
    }

    fn call(&mut self, call: Call, ticket: Option<u64>) {
        self.step(|core, now, out| core.call(now, call, ticket.map(Ticket), out));
    }

    fn closed(&mut self, stream: StreamId) {
        self.step(|core, now, out| core.closed(now, stream, "broken".into(), out));
    }

    /// The stream is lost and another one is made, after the wait.
    fn reconnect(&mut self, stream: StreamId) -> (StreamId, Call) {
        self.closed(stream);
        let effects = self.take();
        assert!(
            matches!(effects.as_slice(), [Effect::Close(_), Effect::Deliver(Event::Disconnected { .. })]),
            "{effects:?}"
        );
        self.wait();
        self.opened("m1:5050")
    }
}

fn subscribed(id: &str) -> MasterEvent {
    MasterEvent {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(Box::new(event::Subscribed {
            framework_id: v1::FrameworkId { value: id.into() },
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        })),
        ..Default::default()
    }
}

fn error(message: &str) -> MasterEvent {
    MasterEvent {
        r#type: Some(event::Type::Error as i32),
        error: Some(event::Error { message: message.into() }),
        ..Default::default()
    }
}

fn heartbeat() -> MasterEvent {
    MasterEvent { r#type: Some(event::Type::Heartbeat as i32), ..Default::default() }
}

fn status(task: &str, state: TaskState) -> v1::TaskStatus {
    v1::TaskStatus {
        task_id: v1::TaskId { value: task.into() },
        state: state as i32,
        agent_id: Some(v1::AgentId { value: "S0".into() }),
        uuid: Some(vec![7; 16].into()),
        ..Default::default()
    }
}

fn update(task: &str, state: TaskState) -> MasterEvent {
    MasterEvent {
        r#type: Some(event::Type::Update as i32),
        update: Some(event::Update { status: status(task, state) }),
        ..Default::default()
    }
}

fn launch(tasks: &[&str]) -> Call {
    let tasks = tasks
        .iter()
        .map(|id| v1::TaskInfo {
            task_id: v1::TaskId { value: (*id).into() },
            agent_id: v1::AgentId { value: "S0".into() },
            ..Default::default()
        })
        .collect();
    calls::accept(vec![v1::OfferId { value: "O1".into() }], vec![calls::launch(tasks)], None)
}

fn kinds(sent: &[Outgoing]) -> Vec<call::Type> {
    sent.iter().map(Outgoing::kind).collect()
}

fn asked(call: &Outgoing) -> Vec<String> {
    call.call.reconcile.iter().flat_map(|ask| &ask.tasks).map(|task| task.task_id.value.clone()).collect()
}

#[test]
fn subscribes_at_once_without_an_id_and_again_with_it() {
    let mut bench = Bench::new("m1:5050", |config| config.suppressed_roles = vec!["ops".into()]);
    let (stream, call) = bench.opened("m1:5050");
    let subscribe = call.subscribe.unwrap();
    assert_eq!((call.framework_id, subscribe.framework_info.id), (None, None));
    assert_eq!(subscribe.suppressed_roles, ["ops"]);
    bench.accept_subscription(stream);
    match bench.delivered().as_slice() {
        [Event::Subscribed(event)] => assert_eq!((event.framework_id.value.as_str(), event.again), ("F", false)),
        other => panic!("{other:?}"),
    }

    let (stream, call) = bench.reconnect(stream);
    let id = Some(v1::FrameworkId { value: "F".into() });
    assert_eq!((&call.framework_id, &call.subscribe.unwrap().framework_info.id), (&id, &id));
    bench.accept_subscription(stream);
    let effects = bench.take();
    let [Effect::Deliver(Event::Subscribed(event)), Effect::Send(_, reconcile), Effect::Deliver(Event::Reconciled)] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    assert!(event.again);
    assert_eq!((reconcile.kind(), asked(reconcile).len()), (call::Type::Reconcile, 0));
}

#[test]
fn follows_redirects_but_not_in_a_circle() {
    let mut bench = Bench::new("m1:5050,m2:5050", |_| {});
    let mut stream = bench.opened("m1:5050").0;
    for hop in 0.. {
        let to = if hop % 2 == 0 { "m9:5059" } else { "m1:5050" };
        let answer =
            Answer { status: 307, location: Some(format!("//{to}/master/api/v1/scheduler")), ..Answer::default() };
        bench.head(stream, answer);
        let effects = bench.take();
        match effects.as_slice() {
            [Effect::Close(_), Effect::Open { stream: next, master, .. }] => {
                assert_eq!(master.to_string(), to);
                stream = *next;
            }
            [Effect::Close(_), Effect::Deliver(Event::Retrying { reason, .. }), Effect::Open { .. }] => {
                assert!(reason.contains("circle"), "{reason}");
                assert_eq!(hop, 5);
                return;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tries_each_listed_master_before_it_waits_and_then_longer_and_longer() {
    let mut bench = Bench::new("m1:1,m2:2,m3:3", |_| {});
    let mut waits = Vec::new();
    for attempt in 0..9 {
        let effects = bench.take();
        let Some(Effect::Open { stream, master, .. }) = effects.last() else { panic!("{effects:?}") };
        assert_eq!(master.port, attempt % 3 + 1);
        bench.closed(*stream);
        if !matches!(bench.out.last(), Some(Effect::Open { .. })) {
            waits.push(bench.wait());
        }
    }
    assert_eq!(waits.len(), 3);
    assert!(waits[0] < waits[1] && waits[1] < waits[2], "{waits:?}");
}

#[test]
fn a_master_that_does_not_lead_is_asked_again_and_one_that_refuses_is_not() {
    for status in [503, 404, 500, 200] {
        let mut bench = Bench::new("m1:5050", |_| {});
        let stream = bench.opened("m1:5050").0;
        bench.head(stream, Answer::new(status, "No leader elected"));
        assert!(matches!(bench.take().as_slice(), [Effect::Close(_), Effect::Deliver(Event::Retrying { .. })]));
        bench.wait();
        bench.opened("m1:5050");
    }
    for status in [400, 401, 403, 405, 415, 501] {
        let mut bench = Bench::new("m1:5050", |_| {});
        let stream = bench.opened("m1:5050").0;
        bench.head(stream, Answer::new(status, "no"));
        let effects = bench.take();
        assert!(
            matches!(effects.last(), Some(Effect::Deliver(Event::Ended(EndReason::Refused(text)))) if text.contains("no")),
            "{effects:?}"
        );
        assert!(bench.core.ended());
    }
}

#[test]
fn silence_of_five_heartbeats_is_a_dead_connection_and_anything_heard_is_life() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.mono += Duration::from_secs(60);
    bench.event(stream, heartbeat());
    assert_eq!(bench.core.deadline(), Some(Duration::from_secs(60 + 75)));
    bench.wait();
    match bench.take().as_slice() {
        [Effect::Close(closed), Effect::Deliver(Event::Disconnected { reason })] => {
            assert_eq!(*closed, stream);
            assert!(reason.contains("heartbeats"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    bench.wait();
    bench.opened("m1:5050");
    bench.event(stream, update("late", TaskState::TaskRunning)); // of the old stream
    assert_eq!(bench.take(), []);
}

#[test]
fn an_attempt_that_hangs_is_given_up() {
    let mut bench = Bench::new("m1:5050", |_| {});
    let stream = bench.opened("m1:5050").0;
    bench.head(stream, Answer { status: 200, mesos_stream_id: Some("s".into()), ..Answer::default() });
    assert_eq!(bench.wait(), Duration::from_secs(30));
    assert!(matches!(bench.take().as_slice(), [Effect::Close(_), Effect::Deliver(Event::Retrying { .. })]));
}

#[test]
fn an_error_event_ends_the_driver_and_says_why() {
    for (message, reason) in [
        ("Framework has been removed", EndReason::Removed),
        ("Framework failed over", EndReason::FailedOver),
        ("Role 'x' is invalid", EndReason::Refused("Role 'x' is invalid".into())),
    ] {
        let (mut bench, stream) = Bench::subscribed(|_| {});
        bench.event(stream, error(message));
        let effects = bench.take();
        assert_eq!(effects.first(), Some(&Effect::Close(stream)));
        assert_eq!(effects.last(), Some(&Effect::Deliver(Event::Ended(reason))));
        bench.call(calls::suppress(Vec::new()), Some(1));
        assert_eq!(bench.take(), [Effect::Settle(Ticket(1), Err(CallError::Ended))]);
    }
}

#[test]
fn a_removed_framework_may_start_anew() {
    let (mut bench, stream) = Bench::subscribed(|config| config.when_removed = WhenRemoved::StartAnew);
    bench.event(stream, update("t", TaskState::TaskRunning));
    bench.take();
    let (stream, _) = bench.reconnect(stream);
    bench.call(calls::kill(v1::TaskId { value: "t".into() }, None, None), Some(1));
    bench.head(stream, Answer { status: 200, mesos_stream_id: Some("s".into()), ..Answer::default() });
    bench.event(stream, error("Framework has been removed"));
    let effects = bench.take();
    let [Effect::Close(_), Effect::Settle(..), Effect::Open { stream, call, .. }] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!((&call.framework_id, bench.core.tasks.len()), (&None, 0));
    bench.accept_subscription(*stream);
    assert!(matches!(bench.delivered().as_slice(), [Event::Subscribed(event)] if !event.again));
}

#[test]
fn what_is_suppressed_stays_so_over_a_subscription() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(calls::suppress(Vec::new()), None);
    bench.call(calls::revive(vec!["dev".into()]), None);
    assert_eq!(kinds(&bench.sent()), [call::Type::Suppress, call::Type::Revive]);
    let (stream, call) = bench.reconnect(stream);
    assert_eq!(call.subscribe.unwrap().suppressed_roles, ["ops"]);
    bench.call(calls::revive(Vec::new()), Some(3));
    assert_eq!(bench.take(), [Effect::Settle(Ticket(3), Ok(()))]);
    bench.closed(stream);
    bench.take();
    bench.wait();
    assert_eq!(bench.opened("m1:5050").1.subscribe.unwrap().suppressed_roles, Vec::<String>::new());
}

#[test]
fn what_is_suppressed_or_revived_while_a_subscription_is_on_its_way_is_said_after_it() {
    let (mut bench, stream) = Bench::subscribed(|config| config.suppressed_roles = vec!["ops".into()]);
    let (stream, call) = bench.reconnect(stream);
    assert_eq!(call.subscribe.unwrap().suppressed_roles, ["ops"]);
    bench.call(calls::revive(Vec::new()), None);
    bench.call(calls::suppress(vec!["dev".into()]), None);
    bench.take();
    bench.accept_subscription(stream);
    let sent_among = |effects: Vec<Effect>| -> Vec<Outgoing> {
        let sent = |effect| if let Effect::Send(_, outgoing) = effect { Some(outgoing) } else { None };
        effects.into_iter().filter_map(sent).collect()
    };
    let sent = sent_among(bench.take());
    assert_eq!(kinds(&sent)[..2], [call::Type::Suppress, call::Type::Revive]);
    assert_eq!(sent[0].call.suppress.as_ref().unwrap().roles, ["dev"]);
    assert_eq!(sent[1].call.revive.as_ref().unwrap().roles, ["ops"]);
    let (stream, _) = bench.reconnect(stream);
    bench.accept_subscription(stream);
    assert!(
        !kinds(&sent_among(bench.take())).contains(&call::Type::Suppress),
        "what SUBSCRIBE has said is not said again"
    );
}

#[test]
fn acknowledgements_go_out_in_order_and_outlive_a_broken_connection() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    let acknowledgement = |task| calls::acknowledge(&status(task, TaskState::TaskRunning)).unwrap();
    let task = |call: &Call| call.acknowledge.as_ref().unwrap().task_id.value.clone();
    bench.step(|core, now, out| core.handled(now, vec![acknowledgement("a"), acknowledgement("b")], out));
    let sent = bench.sent();
    assert_eq!(sent.iter().map(|sent| task(&sent.call)).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(sent[0].call.framework_id, Some(v1::FrameworkId { value: "F".into() }));

    // the connection of the calls breaks: once more, on the same stream
    bench.step(|core, now, out| core.calls_lost(now, stream, sent, true, out));
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);

    // the stream breaks, too: they wait for the next one
    bench.closed(stream);
    bench.take();
    bench.step(|core, now, out| core.calls_lost(now, stream, sent, true, out));
    bench.step(|core, now, out| core.handled(now, vec![acknowledgement("c")], out));
    assert_eq!(bench.take(), []);
    bench.wait();
    let stream = bench.opened("m1:5050").0;
    bench.accept_subscription(stream);
    let acknowledged: Vec<_> = bench
        .take()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Send(_, sent) if sent.kind() == call::Type::Acknowledge => Some(task(&sent.call)),
            _ => None,
        })
        .collect();
    assert_eq!(acknowledged, ["a", "b", "c"]);
}

#[test]
fn statuses_of_the_master_are_not_acknowledged() {
    let of_the_master = v1::TaskStatus { uuid: None, ..status("t", TaskState::TaskLost) };
    assert_eq!(calls::acknowledge(&of_the_master), None);
}

#[test]
fn a_launch_without_a_subscription_is_answered_by_a_status() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.closed(stream);
    bench.take();
    bench.call(launch(&["a", "b"]), None);
    let events = bench.delivered();
    let reported: Vec<_> = events
        .iter()
        .map(|event| match event {
            Event::Update(status) => (status.task_id.value.as_str(), status.state(), status.reason()),
            other => panic!("{other:?}"),
        })
        .collect();
    let dropped = |task| (task, TaskState::TaskDropped, Reason::MasterDisconnected);
    assert_eq!(reported, [dropped("a"), dropped("b")]);
    assert_eq!(bench.core.tasks.len(), 0);
}

#[test]
fn a_refused_launch_is_an_error_of_the_task_and_a_refused_call_is_told() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(launch(&["a"]), None);
    bench.call(calls::decline(Vec::new(), None), None);
    bench.call(calls::decline(Vec::new(), None), Some(5));
    for sent in bench.sent() {
        bench.step(|core, now, out| core.answered(now, stream, sent, &Answer::new(400, "bad"), out));
    }
    let effects = bench.take();
    match effects.as_slice() {
        [
            Effect::Deliver(Event::Update(status)),
            Effect::Deliver(Event::Rejected { call: call::Type::Accept, .. }),
            Effect::Deliver(Event::Rejected { call: call::Type::Decline, .. }),
            Effect::Settle(Ticket(5), Err(CallError::Refused(text))),
        ] => {
            assert_eq!(status.state(), TaskState::TaskError);
            assert!(text.contains("bad"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_launch_with_an_unknown_outcome_is_not_repeated_but_asked_about() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(launch(&["a"]), Some(1));
    let sent = bench.sent();
    bench.step(|core, now, out| core.calls_lost(now, stream, sent, true, out));
    assert_eq!(bench.take(), [Effect::Settle(Ticket(1), Err(CallError::Unknown))]);
    assert_eq!(bench.wait(), Duration::from_secs(2));
    let sent = bench.sent();
    assert_eq!((sent.len(), asked(&sent[0])), (1, vec!["a".to_owned()]));
    bench.event(stream, update("a", TaskState::TaskGone));
    assert!(matches!(bench.delivered().as_slice(), [Event::Update(_)]));
    assert_eq!(bench.core.tasks.len(), 0);
}

#[test]
fn calls_that_never_get_through_mean_that_the_master_is_lost() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(calls::decline(Vec::new(), None), None);
    let mut sent = bench.sent();
    for _ in 0..2 {
        bench.step(|core, now, out| core.calls_lost(now, stream, sent, true, out));
        sent = bench.sent();
    }
    bench.step(|core, now, out| core.calls_lost(now, stream, sent, true, out));
    assert!(matches!(bench.take().as_slice(), [Effect::Close(_), Effect::Deliver(Event::Disconnected { .. })]));
}

#[test]
fn a_master_that_has_ceased_to_lead_is_left_for_the_one_it_names() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(calls::kill(v1::TaskId { value: "t".into() }, None, None), None);
    let sent = bench.sent().remove(0);
    let answer = Answer { status: 307, location: Some("//m2:5051/master/api/v1".into()), ..Answer::default() };
    bench.step(|core, now, out| core.answered(now, stream, sent, &answer, out));
    assert!(matches!(bench.take().as_slice(), [Effect::Close(_), Effect::Deliver(Event::Disconnected { .. })]));
    bench.wait();
    let stream = bench.opened("m2:5051").0;
    bench.accept_subscription(stream);
    let sent: Vec<_> = bench
        .take()
        .into_iter()
        .filter_map(|effect| if let Effect::Send(_, sent) = effect { Some(sent) } else { None })
        .collect();
    assert_eq!(kinds(&sent), [call::Type::Kill, call::Type::Reconcile]);
}

#[test]
fn reconciles_after_a_resubscription_until_every_task_is_answered() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(launch(&["a", "b", "c"]), None);
    bench.event(stream, update("a", TaskState::TaskFinished));
    bench.take();
    let (stream, _) = bench.reconnect(stream);
    bench.accept_subscription(stream);
    let effects = bench.take();
    let [Effect::Deliver(_), Effect::Send(_, implicit), Effect::Send(_, explicit)] = effects.as_slice() else {
        panic!("{effects:?}")
    };
    assert_eq!((asked(implicit).len(), asked(explicit)), (0, vec!["c".to_owned(), "b".to_owned()]));
    bench.event(stream, update("c", TaskState::TaskRunning));
    assert_eq!(bench.delivered().len(), 1);
    // no answer for b: its agent has not come back yet
    let waits: Vec<_> = (0..8)
        .map(|_| {
            let waited = bench.wait().as_secs();
            bench.event(stream, heartbeat());
            assert_eq!(asked(&bench.sent()[0]), ["b"]);
            waited
        })
        .collect();
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60, 60]);
    bench.event(stream, update("b", TaskState::TaskRunning));
    assert!(matches!(bench.delivered().as_slice(), [Event::Update(_), Event::Reconciled]));
    // and all of them again, much later
    let answered_at = bench.mono;
    while bench.out.is_empty() {
        bench.mono += Duration::from_secs(15);
        bench.event(stream, heartbeat());
        bench.step(|core, now, out| core.tick(now, out));
    }
    assert!(bench.mono - answered_at > Duration::from_secs(600));
    assert_eq!(asked(&bench.sent()[0]).len(), 2);
}

#[test]
fn a_failover_in_another_process_learns_its_tasks_from_the_master() {
    let mut bench = Bench::new("m1:5050", |config| config.framework.id = Some(v1::FrameworkId { value: "F".into() }));
    let (stream, call) = bench.opened("m1:5050");
    assert_eq!(call.framework_id, Some(v1::FrameworkId { value: "F".into() }));
    bench.accept_subscription(stream);
    assert_eq!(bench.take().len(), 3);
    bench.event(stream, update("old", TaskState::TaskRunning));
    bench.take();
    assert_eq!(bench.core.tasks.len(), 1);
}

#[test]
fn teardown_ends_the_driver_whichever_connection_tells_first() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(calls::teardown(), Some(1));
    let sent = bench.sent().remove(0);
    bench.closed(stream);
    assert_eq!(bench.take(), []);
    bench.step(|core, now, out| core.answered(now, stream, sent, &Answer::new(202, ""), out));
    let effects = bench.take();
    assert_eq!(
        effects,
        [Effect::Settle(Ticket(1), Ok(())), Effect::Close(stream), Effect::Deliver(Event::Ended(EndReason::TornDown))]
    );
    // before there is an id, there is nothing to tear down
    let mut bench = Bench::new("m1:5050", |_| {});
    bench.opened("m1:5050");
    bench.call(calls::teardown(), Some(1));
    assert_eq!(bench.take().last(), Some(&Effect::Deliver(Event::Ended(EndReason::TornDown))));
}

#[test]
fn an_update_of_the_framework_that_was_accepted_is_part_of_the_next_subscription() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    let info = v1::FrameworkInfo { name: "new".into(), ..bench.core.framework.clone() };
    bench.call(calls::update_framework(info, vec!["dev".into()], None), Some(1));
    let sent = bench.sent().remove(0);
    bench.step(|core, now, out| core.answered(now, stream, sent, &Answer::new(200, ""), out));
    assert_eq!(bench.take(), [Effect::Settle(Ticket(1), Ok(()))]);
    let subscribe = bench.reconnect(stream).1.subscribe.unwrap();
    assert_eq!((subscribe.framework_info.name.as_str(), subscribe.suppressed_roles), ("new", vec!["dev".to_owned()]));
}

#[test]
fn a_detector_moves_the_driver() {
    let mut bench = Bench::new("", |_| {});
    assert_eq!((bench.take(), bench.core.deadline()), (vec![], None));
    let m1: Address = "m1:5050".parse().unwrap();
    bench.step(|core, now, out| core.detected(now, Some(m1.clone()), out));
    let stream = bench.opened("m1:5050").0;
    bench.accept_subscription(stream);
    bench.take();
    bench.step(|core, now, out| core.detected(now, Some(m1), out)); // the same one again
    assert_eq!(bench.take(), []);
    bench.step(|core, now, out| core.detected(now, Some("m2:5050".parse().unwrap()), out));
    let effects = bench.take();
    let [Effect::Close(_), Effect::Deliver(Event::Disconnected { .. }), Effect::Open { stream, .. }] =
        effects.as_slice()
    else {
        panic!("{effects:?}")
    };
    bench.accept_subscription(*stream);
    bench.take();
    bench.step(|core, now, out| core.detected(now, None, out));
    assert!(matches!(bench.take().as_slice(), [Effect::Close(_), Effect::Deliver(Event::Disconnected { .. })]));
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn subscribe_is_not_for_frameworks() {
    let (mut bench, _) = Bench::subscribed(|_| {});
    let call = Call { r#type: Some(call::Type::Subscribe as i32), ..Call::default() };
    bench.call(call, Some(1));
    assert_eq!(bench.take(), [Effect::Settle(Ticket(1), Err(CallError::Reserved))]);
}

fn operation_update(id: &str, state: v1::OperationState) -> MasterEvent {
    let status = v1::OperationStatus {
        operation_id: Some(v1::OperationId { value: id.into() }),
        state: state as i32,
        ..Default::default()
    };
    MasterEvent {
        r#type: Some(event::Type::UpdateOperationStatus as i32),
        update_operation_status: Some(Box::new(event::UpdateOperationStatus { status })),
        ..Default::default()
    }
}

fn reserve(ids: &[&str]) -> Call {
    let operations = ids.iter().map(|id| calls::with_feedback(calls::reserve(Vec::new()), *id)).collect();
    calls::accept(vec![v1::OfferId { value: "O1".into() }], operations, None)
}

fn asked_operations(sent: &[Outgoing]) -> Vec<String> {
    let asks = sent.iter().filter_map(|call| call.call.reconcile_operations.as_ref());
    asks.flat_map(|ask| &ask.operations).map(|operation| operation.operation_id.value.clone()).collect()
}

#[test]
fn operations_are_asked_about_after_a_resubscription_until_they_are_answered() {
    let (mut bench, stream) = Bench::subscribed(|_| {});
    bench.call(reserve(&["a", "b", "c"]), None);
    bench.take();
    bench.event(stream, operation_update("a", v1::OperationState::OperationFinished));
    assert!(matches!(bench.delivered().as_slice(), [Event::OperationUpdate(_)]));
    let (stream, _) = bench.reconnect(stream);
    bench.accept_subscription(stream);
    let mut asked = Vec::new();
    for effect in bench.take() {
        if let Effect::Send(_, outgoing) = effect {
            asked.extend(asked_operations(&[outgoing]));
        }
    }
    assert_eq!(asked, ["b", "c"]);
    bench.event(stream, operation_update("b", v1::OperationState::OperationUnknown));
    bench.event(stream, operation_update("c", v1::OperationState::OperationRecovering));
    bench.take();
    bench.wait();
    assert_eq!(asked_operations(&bench.sent()), ["c"], "the master could not say yet");
    bench.event(stream, operation_update("c", v1::OperationState::OperationPending));
    bench.take();
    bench.mono += Duration::from_secs(60);
    bench.step(|core, now, out| core.tick(now, out));
    assert!(
        bench
            .take()
            .iter()
            .all(|effect| !matches!(effect, Effect::Send(_, call) if call.kind() == call::Type::ReconcileOperations))
    );
}

#[test]
fn an_operation_without_a_subscription_is_answered_by_a_status() {
    let mut bench = Bench::new("m1:5050", |_| {});
    bench.take();
    bench.call(reserve(&["a"]), None);
    match bench.delivered().as_slice() {
        [Event::OperationUpdate(status)] => assert_eq!(status.state(), v1::OperationState::OperationDropped),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tasks_of_an_earlier_run_are_asked_about_at_the_first_subscription() {
    let known = call::reconcile::Task { task_id: v1::TaskId { value: "old".into() }, agent_id: None };
    let mut bench = Bench::new("m1:5050", |config| {
        config.framework.id = Some(v1::FrameworkId { value: "F".into() });
        config.known_tasks = vec![known];
    });
    let stream = bench.opened("m1:5050").0;
    bench.accept_subscription(stream);
    let sent: Vec<Outgoing> = bench
        .take()
        .into_iter()
        .filter_map(|effect| match effect {
            Effect::Send(_, outgoing) => Some(outgoing),
            _ => None,
        })
        .collect();
    assert_eq!(sent.iter().flat_map(asked).collect::<Vec<_>>(), ["old"]);
    bench.event(stream, update("old", TaskState::TaskUnknown));
    assert!(matches!(bench.delivered().as_slice(), [Event::Update(_), Event::Reconciled]));
}
