//! Calls that are no launches: who may call, KILL, MESSAGE, SHUTDOWN, RECONCILE and those without an effect.

use mezzo_api::{
    link::to_agent,
    v1::{
        self, TaskState,
        scheduler::{Call, call},
        task_status::Reason,
    },
};

use super::*;
use crate::input::OperatorCall;

/// A framework with one running task, its offers put aside.
pub(crate) fn running(world: &mut World, info: FrameworkInfo) -> (Slave, Scheduler) {
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(info);
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 3600.0);
    world.update(&agent, &scheduler, "t", TaskState::TaskRunning);
    let running = world.updates(&scheduler).remove(0);
    world.acknowledge(&scheduler, &running);
    world.messages(agent.link);
    (agent, scheduler)
}

#[test]
fn only_the_subscribed_stream_may_call() {
    let mut world = World::new();
    let scheduler = world.subscribe(FrameworkInfo { principal: Some("p".into()), ..modern("dev") });
    let mut call = |id: &str, stream_id: Option<String>, principal: Option<&str>| {
        let request = RequestId(world.number());
        let call = Call { framework_id: Some(v1::FrameworkId { value: id.into() }), ..bare(call::Type::Revive) };
        let call = SchedulerCall { request, stream_id, principal: principal.map(Into::into), call };
        world.step(|core, now, out| core.scheduler_call(now, call, out));
        world.replies.remove(&request).unwrap()
    };
    let right = scheduler.stream.0.to_string();
    assert_eq!(call("nope", Some(right.clone()), None), Answer::new(400, "Framework cannot be found"));
    assert_eq!(call("", Some(right.clone()), None), Answer::new(400, "Framework cannot be found"));
    let text = "All non-subscribe calls should include the 'Mesos-Stream-Id' header";
    assert_eq!(call(&scheduler.id, None, None), Answer::new(400, text));
    let text = "The stream ID 'abc' included in this request didn't match the stream ID currently associated with framework ID m-0000";
    assert_eq!(call(&scheduler.id, Some("abc".into()), None), Answer::new(400, text));
    let text = "Authenticated principal 'q' does not match principal 'p' set in `FrameworkInfo`";
    assert_eq!(call(&scheduler.id, Some(right.clone()), Some("q")), Answer::new(400, text));
    assert_eq!(call(&scheduler.id, Some(right), Some("p")), Answer::accepted());
}

#[test]
fn calls_without_an_effect() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let agent_id = Some(v1::AgentId { value: "m-S0".into() });
    world.accepted(&scheduler, Call { request: Some(Default::default()), ..bare(call::Type::Request) });
    let inverse = Call { accept_inverse_offers: Some(Default::default()), ..bare(call::Type::AcceptInverseOffers) };
    world.accepted(&scheduler, inverse);
    let inverse = Call { decline_inverse_offers: Some(Default::default()), ..bare(call::Type::DeclineInverseOffers) };
    world.accepted(&scheduler, inverse);
    let acknowledge = call::AcknowledgeOperationStatus {
        agent_id,
        uuid: uuid::Uuid::from_u128(0x4000 << 64).into_bytes().to_vec().into(),
        ..Default::default()
    };
    world.accepted(
        &scheduler,
        Call { acknowledge_operation_status: Some(acknowledge), ..bare(call::Type::AcknowledgeOperationStatus) },
    );
    assert_eq!(world.call(&scheduler, bare(call::Type::Unknown)).status, 501, "a real Mesos aborts");
    world.quiet();
}

#[test]
fn kill_reaches_the_agent_and_is_repeated_when_it_comes_back() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.accepted(&scheduler, kill("t", Some("other")));
    world.quiet();
    let mut with_policy = kill("t", Some(&agent.id));
    let policy = v1::KillPolicy { grace_period: Some(v1::DurationInfo { nanoseconds: 7 }) };
    with_policy.kill.as_mut().unwrap().kill_policy = Some(policy);
    world.accepted(&scheduler, with_policy);
    let messages = world.messages(agent.link);
    let [to_agent::Message::KillTask(message)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((message.task_id.value.as_str(), message.kill_policy), ("t", Some(policy)));
    world.link_down(agent.link);
    world.accepted(&scheduler, kill("t", None));
    let agent = world.come_back(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    let messages = world.messages(agent.link);
    let kills = messages.iter().filter(|message| matches!(message, to_agent::Message::KillTask(_))).count();
    assert_eq!(kills, 1);
    world.update(&agent, &scheduler, "t", TaskState::TaskKilled);
    world.updates(&scheduler);
}

#[test]
fn an_operator_kills_a_task_as_its_framework_would() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let mut answer_to = |framework: &str, task: &str| {
        let (framework_id, task_id) = (v1::FrameworkId { value: framework.into() }, v1::TaskId { value: task.into() });
        let call = OperatorCall::KillTask { framework_id, task_id };
        world.step(|core, now, out| core.operator_call(now, RequestId(900), None, call, out));
        world.replies.remove(&RequestId(900)).unwrap().status
    };
    assert_eq!(answer_to("nobody", "t"), 404);
    assert_eq!(answer_to(&scheduler.id, "never"), 404);
    assert_eq!(answer_to(&scheduler.id, "t"), 202);
    let messages = world.messages(agent.link);
    let [to_agent::Message::KillTask(message)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(message.task_id.value, "t");
    world.update(&agent, &scheduler, "t", TaskState::TaskKilled);
    world.updates(&scheduler);
}

#[test]
fn kill_of_an_unknown_task_is_a_reconciliation() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    world.offer(&scheduler);
    world.accepted(&scheduler, kill("never", None));
    world.accepted(&scheduler, kill("never", Some(&agent.id)));
    let updates = world.updates(&scheduler);
    assert_eq!((updates[0].state(), updates[0].message()), (TaskState::TaskUnknown, "Reconciliation: Task is unknown"));
    assert_eq!(updates[0].agent_id, None);
    let gone = (TaskState::TaskGone, "Reconciliation: Task is unknown to the agent");
    assert_eq!((updates[1].state(), updates[1].message()), gone);
}

#[test]
fn messages_and_shutdowns_go_to_agents_that_are_there() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let executor_id = v1::ExecutorId { value: "e".into() };
    let agent_id = |id: &str| v1::AgentId { value: id.into() };
    let message = |id: &str| Call {
        message: Some(call::Message { agent_id: agent_id(id), executor_id: executor_id.clone(), data: "hi".into() }),
        ..bare(call::Type::Message)
    };
    let shutdown = |id: &str| Call {
        shutdown: Some(call::Shutdown { agent_id: agent_id(id), executor_id: executor_id.clone() }),
        ..bare(call::Type::Shutdown)
    };
    for call in [message("nope"), shutdown("nope"), message(&agent.id), shutdown(&agent.id)] {
        world.accepted(&scheduler, call);
    }
    let messages = world.messages(agent.link);
    assert!(matches!(
        &messages[..],
        [to_agent::Message::FrameworkMessage(message), to_agent::Message::ShutdownExecutor(_)] if message.data == "hi"
    ));
    let back = link::ExecutorMessage {
        framework_id: v1::FrameworkId { value: scheduler.id.clone() },
        executor_id: executor_id.clone(),
        data: "ho".into(),
    };
    world.say(agent.link, from_agent::Message::ExecutorMessage(back));
    let event = world.events(scheduler.stream).remove(0).message.unwrap();
    assert_eq!((event.data, event.executor_id, event.agent_id.value), ("ho".into(), executor_id, agent.id));
    world.quiet();
}

#[test]
fn reconciliation_follows_the_table() {
    let recovered =
        Recovered { unreachable: vec![("lost".into(), 77)], gone: vec![("gone".into(), 78)], ..Default::default() };
    for (info, aware) in [(modern("dev"), true), (plain("dev"), false)] {
        let mut world = World::with(config(), recovered.clone());
        let (agent, scheduler) = running(&mut world, info);
        let questions = [
            ("t", None),
            ("x", Some(agent.id.as_str())),
            ("x", Some("lost")),
            ("x", Some("gone")),
            ("x", Some("?")),
            ("x", None),
        ];
        world.accepted(&scheduler, reconcile(&questions));
        let told: Vec<_> = world
            .updates(&scheduler)
            .iter()
            .map(|status| {
                assert_eq!(
                    (status.reason(), status.source(), status.uuid.is_some()),
                    (Reason::Reconciliation, Source::Master, false)
                );
                (status.state(), status.message().to_owned(), status.unreachable_time.map(|time| time.nanoseconds))
            })
            .collect();
        let expected = [
            (TaskState::TaskRunning, "Reconciliation: Latest task state", None),
            (TaskState::TaskGone, "Reconciliation: Task is unknown to the agent", None),
            (TaskState::TaskUnreachable, "Reconciliation: Task is unreachable", Some(77)),
            (TaskState::TaskGoneByOperator, "Reconciliation: Task is gone", None),
            (TaskState::TaskUnknown, "Reconciliation: Task is unknown", None),
            (TaskState::TaskUnknown, "Reconciliation: Task is unknown", None),
        ];
        let expected = expected.map(|(state, message, time)| {
            let state = if aware || state == TaskState::TaskRunning { state } else { TaskState::TaskLost };
            (state, message.to_owned(), time)
        });
        assert_eq!(told, expected);
        world.accepted(&scheduler, reconcile(&[]));
        assert_eq!(world.updates(&scheduler).len(), 1, "implicit: all that it has");
    }
}

#[test]
fn nobody_is_told_of_tasks_on_agents_that_may_come_back() {
    let mut info = agent_info(AGENT_RESOURCES);
    info.id = Some(v1::AgentId { value: "old-S0".into() });
    let mut world = World::with(config(), Recovered { agents: vec![info].into(), ..Default::default() });
    let scheduler = world.subscribe(modern("dev"));
    world.accepted(&scheduler, reconcile(&[("x", Some("old-S0")), ("x", None), ("x", Some("other"))]));
    let updates = world.updates(&scheduler);
    assert_eq!(updates.len(), 1, "only of the agent that nobody waits for");
    assert_eq!(updates[0].agent_id.as_ref().unwrap().value, "other");
}

#[test]
fn operations_are_unknown() {
    let recovered = Recovered { unreachable: vec![("lost".into(), 1)], ..Default::default() };
    let mut world = World::with(config(), recovered);
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    world.offer(&scheduler);
    let question = |agent: Option<&str>| call::reconcile_operations::Operation {
        operation_id: v1::OperationId { value: "o".into() },
        agent_id: agent.map(|id| v1::AgentId { value: id.into() }),
        resource_provider_id: None,
    };
    let operations = [None, Some(agent.id.as_str()), Some("lost"), Some("nope")].map(question).to_vec();
    let call = call::ReconcileOperations { operations };
    world.accepted(&scheduler, Call { reconcile_operations: Some(call), ..bare(call::Type::ReconcileOperations) });
    let told: Vec<_> = world
        .events(scheduler.stream)
        .into_iter()
        .map(|event| event.update_operation_status.unwrap().status)
        .map(|status| (status.state(), status.message().to_owned(), status.uuid.is_some()))
        .collect();
    let unknown = v1::OperationState::OperationUnknown;
    let expected = [
        (unknown, "Reconciliation: Operation is unknown and no 'agent_id' was provided"),
        (unknown, "Reconciliation: Operation is unknown"),
        (v1::OperationState::OperationUnreachable, "Reconciliation: Agent is unreachable"),
        (unknown, "Reconciliation: Both operation and agent are unknown"),
    ];
    assert_eq!(told, expected.map(|(state, message)| (state, message.to_owned(), false)));
}

#[test]
fn a_call_that_slipped_past_the_door_is_answered_all_the_same() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let request = RequestId(world.number());
    let call = Call { framework_id: Some(v1::FrameworkId { value: scheduler.id.clone() }), ..bare(call::Type::Accept) };
    let call = SchedulerCall { request, stream_id: Some(scheduler.stream.0.to_string()), principal: None, call };
    world.step(|core, now, out| core.scheduler_call(now, call, out));
    let text = "Failed to validate scheduler::Call: Expecting 'accept' to be present";
    assert_eq!(world.replies.remove(&request), Some(Answer::new(400, text)));
}
