//! The scheduler's driver.

use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use mezzo_api::{
    codec::{self, Encoding},
    v1::{
        self, TaskState,
        scheduler::{Call, Event as MasterEvent, call, event},
    },
};
use mezzo_sdk::{
    BackoffPolicy, Event, SchedulerDriver,
    scheduler::{Builder, CallError, EndReason, Events, Handle, WhenRemoved},
};

use super::server::{Received, Reply, Server, Subscription, record, soon};

const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

fn is_subscribe(request: &Received) -> bool {
    request.read::<Call>().r#type() == call::Type::Subscribe
}

pub(super) async fn master() -> Server {
    Server::start(is_subscribe).await
}

pub(super) fn builder(masters: impl Into<String>) -> Builder {
    let info = v1::FrameworkInfo { user: "u".into(), name: "f".into(), ..Default::default() };
    let quick = BackoffPolicy { base: Duration::from_millis(5), max: Duration::from_millis(50) };
    SchedulerDriver::builder(info).master(masters).backoff(quick)
}

pub(super) fn subscribed() -> MasterEvent {
    MasterEvent {
        r#type: Some(event::Type::Subscribed as i32),
        subscribed: Some(Box::new(event::Subscribed {
            framework_id: v1::FrameworkId { value: "F".into() },
            heartbeat_interval_seconds: Some(15.0),
            master_info: None,
        })),
        ..Default::default()
    }
}

fn heartbeat() -> MasterEvent {
    MasterEvent { r#type: Some(event::Type::Heartbeat as i32), ..Default::default() }
}

pub(super) fn update(task: &str, uuid: u8) -> MasterEvent {
    let status = v1::TaskStatus {
        task_id: v1::TaskId { value: task.into() },
        state: TaskState::TaskRunning as i32,
        agent_id: Some(v1::AgentId { value: "S0".into() }),
        uuid: Some(vec![uuid; 16].into()),
        ..Default::default()
    };
    MasterEvent {
        r#type: Some(event::Type::Update as i32),
        update: Some(event::Update { status }),
        ..Default::default()
    }
}

pub(super) async fn subscribe(master: &mut Server, builder: Builder) -> (Handle, Events, Subscription) {
    let (scheduler, mut events) = builder.build().unwrap();
    let subscription = master.subscription().await;
    subscription.accept("stream-1");
    subscription.send(&subscribed());
    assert!(matches!(next(&mut events).await, Event::Subscribed(_)));
    (scheduler, events, subscription)
}

async fn next(events: &mut Events) -> Event {
    soon(events.recv()).await.expect("one more event")
}

/// Events that come, without those about attempts.
pub(super) async fn next_but_retries(events: &mut Events) -> Event {
    loop {
        match next(events).await {
            Event::Retrying { .. } => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn speaks_as_mesos_asks_in_both_encodings() {
    for encoding in ENCODINGS {
        let mut master = master().await;
        let builder = builder(master.address.to_string()).encoding(encoding).credentials("p", "s");
        let (scheduler, _events, subscription) = subscribe(&mut master, builder).await;
        let request = &subscription.request;
        assert_eq!(request.path, "/api/v1/scheduler");
        assert_eq!(request.encoding(), encoding);
        assert_eq!(request.header("accept"), Some(encoding.media_type()));
        assert_eq!(request.header("mesos-stream-id"), None);
        assert_eq!(request.header("authorization"), Some("Basic cDpz"));
        assert_eq!(request.header("host"), Some(master.address.to_string().as_str()));

        scheduler.suppress(vec!["r".into()]);
        let call = master.call().await;
        assert_eq!(call.header("mesos-stream-id"), Some("stream-1"));
        assert_eq!(call.encoding(), encoding);
        assert_ne!(call.connection, request.connection);
        let call: Call = call.read();
        assert_eq!((call.framework_id.unwrap().value.as_str(), call.suppress.unwrap().roles), ("F", vec!["r".into()]));
    }
}

/// What a real Mesos sent on stream A, as events.
fn golden() -> Vec<serde_json::Value> {
    let text = include_str!("../../../tests/golden/scheduler_stream.json");
    let stream: serde_json::Value = serde_json::from_str(text).unwrap();
    let records = stream["records"].as_array().unwrap();
    records
        .iter()
        .filter(|record| record["stream"] == "A")
        .map(|record| record["event"].clone())
        .filter(|event| !event.is_null())
        .collect()
}

#[tokio::test]
async fn reads_the_stream_of_a_real_mesos_cut_anywhere() {
    let golden = golden();
    let until_error = golden.iter().take_while(|event| event["type"] != "ERROR").collect::<Vec<_>>();
    let expected = until_error.iter().filter(|event| event["type"] != "HEARTBEAT").count();
    assert!(expected > 50);
    for (encoding, piece) in [(Encoding::Json, 1), (Encoding::Json, 7), (Encoding::Json, 4093), (Encoding::Protobuf, 3)]
    {
        let mut master = master().await;
        let (_scheduler, mut events) = builder(master.address.to_string()).encoding(encoding).build().unwrap();
        let subscription = master.subscription().await;
        subscription.accept("s");
        let mut bytes = Vec::new();
        for event in &until_error {
            let text = serde_json::to_vec(event).unwrap();
            let event: MasterEvent = codec::decode(Encoding::Json, &text).unwrap();
            bytes.extend_from_slice(&record(encoding, &event));
        }
        // one-byte pieces for the beginning, which has all that is special
        let (cut, rest) = bytes.split_at(bytes.len().min(20_000));
        for piece in cut.chunks(piece) {
            subscription.send_bytes(Bytes::copy_from_slice(piece));
        }
        subscription.send_bytes(Bytes::copy_from_slice(rest));
        let (mut acknowledged, mut operations) = (0, 0);
        for _ in 0..expected {
            match next(&mut events).await {
                Event::Update(status) if status.uuid.is_some() => acknowledged += 1,
                Event::OperationUpdate(status) if status.uuid.is_some() => operations += 1,
                Event::Ended(reason) => panic!("{reason}"),
                _ => {}
            }
        }
        assert!(acknowledged > 10);
        assert!(events.try_recv().is_none());
        for _ in 0..acknowledged + operations {
            match master.call().await.read::<Call>().r#type() {
                call::Type::Acknowledge => acknowledged -= 1,
                call::Type::AcknowledgeOperationStatus => operations -= 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((acknowledged, operations), (0, 0));
    }
}

#[tokio::test]
async fn a_status_is_acknowledged_when_the_next_event_is_asked_for_and_not_before() {
    let mut master = master().await;
    let (scheduler, mut events, subscription) = {
        let builder = builder(master.address.to_string());
        subscribe(&mut master, builder).await
    };
    subscription.send(&update("a", 1));
    subscription.send(&update("b", 2));
    assert!(matches!(next(&mut events).await, Event::Update(_)));
    scheduler.revive(Vec::new());
    assert_eq!(master.call().await.read::<Call>().r#type(), call::Type::Revive);
    assert!(matches!(next(&mut events).await, Event::Update(_)));
    assert!(events.try_recv().is_none());
    for task in ["a", "b"] {
        let acknowledge = master.call().await.read::<Call>().acknowledge.unwrap();
        assert_eq!(acknowledge.task_id.value, task);
    }
}

#[tokio::test]
async fn by_hand_nothing_is_acknowledged_by_itself() {
    let mut master = master().await;
    let builder = builder(master.address.to_string()).acknowledge_by_hand();
    let (scheduler, mut events, subscription) = subscribe(&mut master, builder).await;
    subscription.send(&update("a", 1));
    let Event::Update(status) = next(&mut events).await else { panic!() };
    assert!(events.try_recv().is_none());
    scheduler.revive(Vec::new());
    scheduler.acknowledge(&status);
    let kinds = [master.call().await.read::<Call>().r#type(), master.call().await.read::<Call>().r#type()];
    assert_eq!(kinds, [call::Type::Revive, call::Type::Acknowledge]);
}

#[tokio::test]
async fn a_thousand_calls_arrive_in_order_on_one_connection() {
    let mut master = master().await;
    let builder = builder(master.address.to_string());
    let (scheduler, _events, _subscription) = subscribe(&mut master, builder).await;
    for number in 0..1000 {
        scheduler.suppress(vec![number.to_string()]);
    }
    let mut connections = std::collections::BTreeSet::new();
    for number in 0..1000 {
        let call = master.call().await;
        connections.insert(call.connection);
        assert_eq!(call.read::<Call>().suppress.unwrap().roles, [number.to_string()]);
    }
    assert_eq!(connections.len(), 1);
}

#[tokio::test]
async fn follows_redirects_and_outlasts_a_master_that_is_not_ready() {
    let (mut standby, mut leader) = (master().await, master().await);
    let (_scheduler, mut events) = builder(standby.address.to_string()).build().unwrap();
    let location = format!("//{}/master/api/v1/scheduler", leader.address);
    standby.subscription().await.refuse(503, vec![], "No leader elected");
    standby.subscription().await.refuse(307, vec![("location", location)], "");
    leader.subscription().await.refuse(503, vec![], "Master has not finished recovery");
    // the one that redirected is asked again
    let location = format!("//{}/master/api/v1/scheduler", leader.address);
    standby.subscription().await.refuse(307, vec![("location", location)], "");
    let subscription = leader.subscription().await;
    subscription.accept("s");
    subscription.send(&subscribed());
    let Event::Subscribed(event) = next_but_retries(&mut events).await else { panic!() };
    assert_eq!(event.address.to_string(), leader.address.to_string());
}

#[tokio::test]
async fn goes_on_to_the_next_listed_master_when_nobody_listens() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut master = master().await;
    let (_scheduler, mut events) = builder(format!("{gone},{}", master.address)).build().unwrap();
    let subscription = master.subscription().await;
    subscription.accept("s");
    subscription.send(&subscribed());
    match next(&mut events).await {
        Event::Retrying { master, reason, .. } => {
            assert_eq!(master.unwrap().to_string(), gone.to_string());
            assert!(reason.contains("cannot connect"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(next(&mut events).await, Event::Subscribed(_)));
}

#[tokio::test]
async fn comes_back_with_the_same_id_when_the_stream_breaks_in_the_middle_of_an_event() {
    for encoding in ENCODINGS {
        let mut master = master().await;
        let builder = builder(master.address.to_string()).encoding(encoding);
        let (_scheduler, mut events, subscription) = subscribe(&mut master, builder).await;
        let whole = record(encoding, &update("a", 1));
        subscription.send_bytes(whole.slice(..whole.len() / 2));
        subscription.break_off();
        assert!(matches!(next(&mut events).await, Event::Disconnected { .. }));
        let subscription = master.subscription().await;
        let call: Call = subscription.request.read();
        assert_eq!(call.framework_id.as_ref().unwrap().value, "F");
        assert_eq!(call.subscribe.unwrap().framework_info.id, call.framework_id);
        subscription.accept("stream-2");
        subscription.send(&subscribed());
        assert!(matches!(next_but_retries(&mut events).await, Event::Subscribed(event) if event.again));
        let reconcile = master.call().await;
        assert_eq!(reconcile.header("mesos-stream-id"), Some("stream-2"));
        assert!(reconcile.read::<Call>().reconcile.unwrap().tasks.is_empty());
    }
}

#[tokio::test]
async fn a_silent_master_is_left() {
    let mut master = master().await;
    let (_scheduler, mut events) = builder(master.address.to_string()).build().unwrap();
    let subscription = master.subscription().await;
    subscription.accept("s");
    let mut event = subscribed();
    event.subscribed.as_mut().unwrap().heartbeat_interval_seconds = Some(0.02);
    subscription.send(&event);
    subscription.send(&heartbeat());
    assert!(matches!(next(&mut events).await, Event::Subscribed(_)));
    assert!(matches!(next(&mut events).await, Event::Disconnected { reason } if reason.contains("heartbeats")));
    subscription.left().await;
    master.subscription().await;
}

#[tokio::test]
async fn acknowledgements_survive_the_loss_of_their_connection() {
    let mut master = master().await;
    let broken = std::sync::atomic::AtomicBool::new(false);
    master.answer_calls(move |_| {
        if broken.swap(true, std::sync::atomic::Ordering::SeqCst) { Reply::status(202) } else { Reply::Break }
    });
    let builder = builder(master.address.to_string());
    let (_scheduler, mut events, subscription) = subscribe(&mut master, builder).await;
    subscription.send(&update("a", 1));
    assert!(matches!(next(&mut events).await, Event::Update(_)));
    assert!(events.try_recv().is_none());
    let calls = [master.call().await, master.call().await];
    for call in &calls {
        assert_eq!(call.read::<Call>().acknowledge.unwrap().uuid, vec![1; 16]);
    }
    assert_ne!(calls[0].connection, calls[1].connection);
}

#[tokio::test]
async fn a_refused_call_is_told_to_who_waits_and_to_the_events_otherwise() {
    let mut master = master().await;
    master.answer_calls(|_| Reply::Status(400, vec![], "Failed to validate scheduler::Call: so".to_owned()));
    let builder = builder(master.address.to_string());
    let (scheduler, mut events, _subscription) = subscribe(&mut master, builder).await;
    let info = v1::FrameworkInfo::default();
    match soon(scheduler.update_framework(info, Vec::new(), None)).await {
        Err(CallError::Refused(text)) => assert!(text.contains("400: Failed to validate"), "{text}"),
        other => panic!("{other:?}"),
    }
    scheduler.revive(Vec::new());
    assert!(matches!(next(&mut events).await, Event::Rejected { call: call::Type::Revive, .. }));
}

#[tokio::test]
async fn a_removed_framework_is_told_so_or_starts_anew() {
    let error = MasterEvent {
        r#type: Some(event::Type::Error as i32),
        error: Some(event::Error { message: "Framework has been removed".into() }),
        ..Default::default()
    };
    let mut master = master().await;
    let old = builder(master.address.to_string()).framework_id("old");
    let (scheduler, mut events) = old.clone().build().unwrap();
    let subscription = master.subscription().await;
    subscription.accept("s");
    subscription.send(&error);
    assert_eq!(next(&mut events).await, Event::Ended(EndReason::Removed));
    assert_eq!(soon(events.recv()).await, None);
    assert_eq!(soon(scheduler.teardown()).await, Err(CallError::Ended));

    let (_scheduler, mut events) = old.when_removed(WhenRemoved::StartAnew).build().unwrap();
    let subscription = master.subscription().await;
    assert_eq!(subscription.request.read::<Call>().framework_id.unwrap().value, "old");
    subscription.accept("s");
    subscription.send(&error);
    let subscription = master.subscription().await;
    assert_eq!(subscription.request.read::<Call>().framework_id, None);
    subscription.accept("s");
    subscription.send(&subscribed());
    assert!(matches!(next(&mut events).await, Event::Subscribed(_)));
}

#[tokio::test]
async fn teardown_waits_for_the_master_and_ends_the_driver() {
    let mut master = master().await;
    let builder = builder(master.address.to_string());
    let (scheduler, mut events, _subscription) = subscribe(&mut master, builder).await;
    assert_eq!(soon(scheduler.teardown()).await, Ok(()));
    assert_eq!(master.call().await.read::<Call>().r#type(), call::Type::Teardown);
    assert_eq!(next(&mut events).await, Event::Ended(EndReason::TornDown));
    assert_eq!(soon(events.recv()).await, None);
}

#[tokio::test]
async fn leaves_when_nobody_is_interested_any_more() {
    let mut master = master().await;
    let builder = builder(master.address.to_string());
    let (scheduler, events, subscription) = subscribe(&mut master, builder).await;
    drop(events);
    subscription.send(&update("a", 1)); // nobody reads it
    scheduler.suppress(Vec::new());
    master.call().await;
    drop(scheduler);
    subscription.left().await;
}

#[tokio::test]
async fn a_framework_that_reads_slowly_loses_nothing() {
    const UPDATES: usize = 30_000;
    let mut master = master().await;
    let builder = builder(master.address.to_string());
    let (scheduler, mut events, subscription) = subscribe(&mut master, builder).await;
    let one = record(Encoding::Protobuf, &update("a", 1));
    for _ in 0..UPDATES / 100 {
        subscription.send_bytes(one.repeat(100).into());
    }
    scheduler.suppress(Vec::new()); // calls go out although events are stuck
    master.call().await;
    for _ in 0..UPDATES {
        assert!(matches!(next(&mut events).await, Event::Update(_)));
    }
    assert!(events.try_recv().is_none());
    for _ in 0..UPDATES {
        assert_eq!(master.call().await.read::<Call>().r#type(), call::Type::Acknowledge);
    }
}

#[tokio::test]
async fn masters_that_cannot_be_read_are_an_error_at_once() {
    for (master, text) in [
        ("", "host:port"),
        ("zk://a:2181", "no path"),
        ("file:///no/such", "/no/such"),
        ("https://m:1", "TLS"),
        ("m:x", "port"),
    ] {
        let error = builder(master).build().unwrap_err().to_string();
        assert!(error.contains(text), "{master}: {error}");
    }
    assert_eq!(base64::engine::general_purpose::STANDARD.encode("p:s"), "cDpz");
}
