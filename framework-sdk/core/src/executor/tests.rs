//! Scenarios: what the driver asks for, step by step, with nothing left over.

use std::time::SystemTime;

use mezzo_api::v1::TaskState;

use super::*;

struct Bench {
    core: Core,
    mono: Duration,
    out: Effects,
}

impl Bench {
    fn subscribed(checkpoint: bool) -> (Self, StreamId) {
        let config = Config {
            framework_id: v1::FrameworkId { value: "F".into() },
            executor_id: v1::ExecutorId { value: "E".into() },
            checkpoint,
            recovery_timeout: Duration::from_secs(900),
            backoff_max: Duration::from_secs(2),
        };
        let mut bench = Self { core: Core::new(config, 3), mono: Duration::ZERO, out: Vec::new() };
        let now = bench.now();
        bench.core.start(now, &mut bench.out);
        let (stream, _) = bench.opened();
        bench.accept(stream);
        assert!(matches!(bench.take().as_slice(), [Effect::Deliver(Event::Subscribed(_))]));
        (bench, stream)
    }

    fn now(&self) -> Now {
        Now { mono: self.mono, wall: SystemTime::UNIX_EPOCH + self.mono }
    }

    fn take(&mut self) -> Effects {
        std::mem::take(&mut self.out)
    }

    fn opened(&mut self) -> (StreamId, call::Subscribe) {
        match <[Effect; 1]>::try_from(self.take()) {
            Ok([Effect::Open { stream, call }]) => (stream, call.subscribe.unwrap()),
            other => panic!("not one dial: {other:?}"),
        }
    }

    fn accept(&mut self, stream: StreamId) {
        let now = self.now();
        self.core.head(now, stream, &Answer::new(200, ""), &mut self.out);
        let subscribed = event::Subscribed { ..Default::default() };
        self.event(
            stream,
            api::Event {
                r#type: Some(event::Type::Subscribed as i32),
                subscribed: Some(Box::new(subscribed)),
                ..Default::default()
            },
        );
    }

    fn event(&mut self, stream: StreamId, event: api::Event) {
        let now = self.now();
        self.core.event(now, stream, event, &mut self.out);
    }

    fn launch(&mut self, stream: StreamId, task: &str) {
        let task = TaskInfo { task_id: v1::TaskId { value: task.into() }, ..Default::default() };
        let launch = Some(Box::new(event::Launch { task }));
        self.event(stream, api::Event { r#type: Some(event::Type::Launch as i32), launch, ..Default::default() });
    }

    fn update(&mut self, task: &str, state: TaskState) -> Bytes {
        let status =
            TaskStatus { task_id: v1::TaskId { value: task.into() }, state: state as i32, ..Default::default() };
        let now = self.now();
        self.core.update(now, status, &mut self.out)
    }

    fn acknowledge(&mut self, stream: StreamId, task: &str, uuid: Bytes) {
        let acknowledged = Some(event::Acknowledged { task_id: v1::TaskId { value: task.into() }, uuid });
        let kind = event::Type::Acknowledged as i32;
        self.event(stream, api::Event { r#type: Some(kind), acknowledged, ..Default::default() });
    }

    fn closed(&mut self, stream: StreamId) {
        let now = self.now();
        self.core.closed(now, stream, "broken".into(), &mut self.out);
    }

    fn wait(&mut self) {
        self.mono = self.mono.max(self.core.deadline().expect("something to wait for"));
        let now = self.now();
        self.core.tick(now, &mut self.out);
    }

    fn sent(&mut self) -> Vec<Call> {
        self.take()
            .into_iter()
            .map(|effect| match effect {
                Effect::Send(_, call) => *call,
                other => panic!("not expected: {other:?}"),
            })
            .collect()
    }
}

#[test]
fn an_update_has_what_the_agent_demands() {
    let (mut bench, _) = Bench::subscribed(true);
    let uuid = bench.update("t", TaskState::TaskRunning);
    let sent = bench.sent();
    let status = &sent[0].update.as_ref().unwrap().status;
    assert_eq!(status.uuid.as_ref(), Some(&uuid));
    assert_eq!((uuid.len(), uuid[6] >> 4), (16, 4));
    assert_eq!(status.source(), v1::task_status::Source::Executor);
    assert_eq!(status.executor_id, Some(v1::ExecutorId { value: "E".into() }));
    assert!(status.timestamp.is_some());
    assert_ne!(bench.update("t", TaskState::TaskRunning), uuid);
}

#[test]
fn comes_back_with_what_was_not_acknowledged() {
    let (mut bench, stream) = Bench::subscribed(true);
    bench.launch(stream, "known");
    bench.launch(stream, "new");
    let first = bench.update("known", TaskState::TaskStarting);
    bench.update("known", TaskState::TaskRunning);
    bench.take();
    bench.acknowledge(stream, "known", first);
    bench.take();
    bench.closed(stream);
    assert!(matches!(bench.take().as_slice(), [Effect::Deliver(Event::Disconnected { .. })]));
    bench.update("known", TaskState::TaskFinished); // while away
    assert_eq!(bench.take(), []);
    bench.wait();
    let (stream, subscribe) = bench.opened();
    assert_eq!(subscribe.unacknowledged_tasks.len(), 1);
    assert_eq!(subscribe.unacknowledged_tasks[0].task_id.value, "new");
    let states: Vec<_> = subscribe.unacknowledged_updates.iter().map(|update| update.status.state()).collect();
    assert_eq!(states, [TaskState::TaskRunning, TaskState::TaskFinished]);
    bench.update("new", TaskState::TaskStarting); // while the SUBSCRIBE is on its way
    bench.accept(stream);
    match bench.take().as_slice() {
        [Effect::Deliver(Event::Subscribed(_)), Effect::Send(_, call)] => {
            assert_eq!(call.update.as_ref().unwrap().status.task_id.value, "new");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.core.unacknowledged(), 3);
}

#[test]
fn without_checkpointing_a_lost_agent_is_the_end() {
    let (mut bench, stream) = Bench::subscribed(false);
    bench.closed(stream);
    let effects = bench.take();
    assert!(
        matches!(effects.as_slice(), [Effect::Close(_), Effect::Deliver(Event::Shutdown(EndReason::Disconnected(_)))]),
        "{effects:?}"
    );
    assert!(bench.core.ended());
}

#[test]
fn with_checkpointing_it_waits_for_the_agent_as_long_as_it_was_told_to() {
    let (mut bench, mut stream) = Bench::subscribed(true);
    let begin = bench.mono;
    loop {
        bench.closed(stream);
        let effects = bench.take();
        if bench.core.ended() {
            assert!(matches!(effects.as_slice(), [Effect::Deliver(Event::Shutdown(EndReason::Disconnected(_)))]));
            break;
        }
        let before = bench.mono;
        bench.wait();
        assert!(bench.mono - before <= Duration::from_secs(2));
        if bench.core.ended() {
            bench.take();
            break;
        }
        stream = bench.opened().0;
    }
    assert!(bench.mono - begin >= Duration::from_secs(900));
}

#[test]
fn an_agent_that_recovers_is_asked_again_and_one_that_gave_up_is_not() {
    for (status, text, ends) in [
        (503, "Agent has not finished recovery", false),
        (404, "", false),
        (400, "Executor cannot be found", true),
        (401, "", true),
    ] {
        let (mut bench, stream) = Bench::subscribed(true);
        bench.closed(stream);
        bench.wait();
        bench.out.drain(..1);
        let (stream, _) = bench.opened();
        let now = bench.now();
        bench.core.head(now, stream, &Answer::new(status, text), &mut bench.out);
        assert_eq!(bench.core.ended(), ends, "{status}");
    }
}

#[test]
fn lost_calls_are_sent_again_unless_acknowledged_meanwhile() {
    let (mut bench, stream) = Bench::subscribed(true);
    let first = bench.update("t", TaskState::TaskStarting);
    bench.update("t", TaskState::TaskRunning);
    let lost = bench.sent();
    bench.acknowledge(stream, "t", first);
    bench.take();
    let now = bench.now();
    bench.core.calls_lost(now, stream, lost, true, &mut bench.out);
    let sent = bench.sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].update.as_ref().unwrap().status.state(), TaskState::TaskRunning);
}

#[test]
fn after_shutdown_the_last_updates_still_go_out() {
    let (mut bench, stream) = Bench::subscribed(true);
    bench.event(stream, api::Event { r#type: Some(event::Type::Shutdown as i32), ..Default::default() });
    assert_eq!(bench.take(), [Effect::Deliver(Event::Shutdown(EndReason::Asked))]);
    bench.update("t", TaskState::TaskKilled);
    assert_eq!(bench.sent().len(), 1);
    bench.closed(stream);
    assert_eq!((bench.take(), bench.core.ended()), (vec![], true));
}

#[test]
fn says_that_it_is_there_each_half_hour() {
    let (mut bench, _) = Bench::subscribed(true);
    bench.wait();
    assert_eq!(bench.mono, Duration::from_secs(1800));
    assert_eq!(bench.sent()[0].r#type(), call::Type::Heartbeat);
}

#[test]
fn an_agent_that_takes_connections_and_says_nothing_is_tried_again() {
    let (mut bench, stream) = Bench::subscribed(true);
    let now = bench.now();
    bench.core.closed(now, stream, "broken".into(), &mut bench.out);
    bench.take();
    bench.mono = bench.core.deadline().unwrap();
    let now = bench.now();
    bench.core.tick(now, &mut bench.out);
    let (hangs, _) = bench.opened();
    bench.mono = bench.core.deadline().unwrap();
    let now = bench.now();
    bench.core.tick(now, &mut bench.out);
    assert_eq!(bench.take(), [Effect::Close(hangs)]);
    bench.mono = bench.core.deadline().unwrap();
    let now = bench.now();
    bench.core.tick(now, &mut bench.out);
    bench.opened();
}
