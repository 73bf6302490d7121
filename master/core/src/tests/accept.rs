//! ACCEPT: launches, groups, leftovers, and offers that cannot be used.

use mezzo_api::{
    link::to_agent,
    v1::{
        self, TaskState,
        offer::{Operation, operation},
        task_status::Reason,
    },
};

use super::*;

pub(crate) fn group(executor: v1::ExecutorInfo, tasks: Vec<TaskInfo>) -> Operation {
    Operation {
        r#type: Some(operation::Type::LaunchGroup.into()),
        launch_group: Some(Box::new(operation::LaunchGroup { executor, task_group: v1::TaskGroupInfo { tasks } })),
        ..Default::default()
    }
}

pub(crate) fn group_executor(id: &str, framework: &str) -> v1::ExecutorInfo {
    v1::ExecutorInfo {
        r#type: Some(v1::executor_info::Type::Custom.into()),
        framework_id: Some(v1::FrameworkId { value: framework.into() }),
        resources: resources("cpus:0.5;mem:64;disk:10"),
        ..custom_executor(id)
    }
}

#[test]
fn a_command_task_goes_to_the_agent_and_into_the_books() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let mut info = task("t", &offer);
    info.command.as_mut().unwrap().user = Some("nobody".into());
    info.labels = Some(v1::Labels { labels: vec![v1::Label { key: "a".into(), value: Some("b".into()) }] });
    world.launch(&scheduler, &offer, vec![info, task("u", &offer)], 0.0);
    let messages = world.messages(agent.link);
    let [to_agent::Message::RunTask(first), to_agent::Message::RunTask(second)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert!(first.launch_executor);
    assert_eq!(first.framework.id.as_ref().unwrap().value, scheduler.id);
    assert_eq!((first.task.task_id.value.as_str(), second.task.task_id.value.as_str()), ("t", "u"));
    assert_eq!(
        text(&first.task.resources),
        "cpus(allocated: dev):0.1; mem(allocated: dev):32",
        "the role is filled in"
    );
    let seen = &world.view.tasks[&(scheduler.id.as_str().into(), "t".into())];
    assert_eq!(seen.state, TaskState::TaskStaging);
    let fixed: v1::Task = prost::Message::decode(seen.fixed.clone()).unwrap();
    assert_eq!((fixed.user(), fixed.labels.is_some(), fixed.executor_id.is_none()), ("nobody", true, true));
    assert_eq!(fixed.resources, first.task.resources);
    let seen = &world.view.agents[agent.id.as_str()];
    assert_eq!(seen.used.to_string(), "cpus(allocated: dev):0.2; mem(allocated: dev):64");
    let offer = world.offer(&scheduler);
    assert!(text(&offer.resources).contains("cpus(allocated: dev):3.8"));
    assert!(offer.executor_ids.is_empty(), "command executors are not shown");
    world.quiet();
}

#[test]
fn offers_of_one_agent_are_added_up() {
    let mut world = World::new();
    let agent = world.agent("cpus:1;mem:128");
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let half = |id: &str, offer: &v1::Offer| TaskInfo { resources: resources("cpus:0.5;mem:64"), ..task(id, offer) };
    world.launch(&scheduler, &offer, vec![half("a", &offer)], 0.0);
    let first = world.offer(&scheduler);
    world.update(&agent, &scheduler, "a", TaskState::TaskFinished);
    world.settle();
    let second = world.events(scheduler.stream).remove(1).offers.unwrap().offers.remove(0);
    let whole = TaskInfo { resources: resources("cpus:1;mem:128"), ..task("b", &first) };
    world.messages(agent.link);
    world.accepted(&scheduler, super::accept(&[&first, &second], vec![launch(vec![whole])], 0.0));
    assert!(matches!(world.messages(agent.link)[..], [to_agent::Message::RunTask(_)]));
    world.quiet();
}

#[test]
fn a_custom_executor_holds_resources_and_runs_several_tasks() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let with = |id: &str, offer: &v1::Offer| TaskInfo {
        command: None,
        executor: Some(Box::new(custom_executor("e"))),
        ..task(id, offer)
    };
    world.launch(&scheduler, &offer, vec![with("a", &offer), with("b", &offer)], 0.0);
    let messages = world.messages(agent.link);
    let [to_agent::Message::RunTask(first), to_agent::Message::RunTask(second)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!((first.launch_executor, second.launch_executor), (true, false));
    assert_eq!(first.task.executor.as_ref().unwrap().framework_id.as_ref().unwrap().value, scheduler.id);
    assert_eq!(
        world.view.agents[agent.id.as_str()].used.to_string(),
        "cpus(allocated: dev):0.7; mem(allocated: dev):128"
    );
    let offer = world.offer(&scheduler);
    assert_eq!(offer.executor_ids[0].value, "e");
    // Another description under the same id is refused.
    let mut different = with("c", &offer);
    different.executor.as_mut().unwrap().name = Some("other".into());
    world.launch(&scheduler, &offer, vec![different], 3600.0);
    let updates = world.updates(&scheduler);
    assert!(
        updates[0]
            .message()
            .starts_with("ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.\n")
    );
    // Its end is told, and frees what it had; the tasks end by their own updates.
    world.update(&agent, &scheduler, "a", TaskState::TaskFinished);
    world.update(&agent, &scheduler, "b", TaskState::TaskFailed);
    world.updates(&scheduler);
    let exited = link::ExitedExecutor {
        framework_id: v1::FrameworkId { value: scheduler.id.clone() },
        executor_id: v1::ExecutorId { value: "e".into() },
        status: 256,
    };
    world.say(agent.link, from_agent::Message::ExitedExecutor(exited.clone()));
    world.say(agent.link, from_agent::Message::ExitedExecutor(exited));
    let events = world.events(scheduler.stream);
    let [failure] = &events[..] else { panic!("once: {events:?}") };
    let failure = failure.failure.clone().unwrap();
    assert_eq!((failure.status, failure.executor_id.unwrap().value.as_str()), (Some(256), "e"));
    assert_eq!(failure.agent_id.unwrap().value, agent.id);
    assert!(world.view.agents[agent.id.as_str()].used.is_empty());
}

#[test]
fn a_group_runs_wholly_or_not_at_all() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let bare_task = |id: &str| TaskInfo { command: None, ..task(id, &offer) };
    let executor = group_executor("g", &scheduler.id);
    let good = group(executor.clone(), vec![bare_task("a"), bare_task("b")]);
    let mut big = bare_task("d");
    big.resources = resources("cpus:100;mem:1");
    let bad = group(executor, vec![bare_task("c"), big]);
    world.accepted(&scheduler, super::accept(&[&offer], vec![bad, good], 3600.0));
    let updates = world.updates(&scheduler);
    assert_eq!(updates.len(), 2);
    for update in &updates {
        assert_eq!((update.state(), update.reason()), (TaskState::TaskError, Reason::TaskGroupInvalid));
        assert!(update.message().contains("required by task group and its executor are more than available"));
    }
    let messages = world.messages(agent.link);
    let [to_agent::Message::RunTaskGroup(run)] = &messages[..] else { panic!("{messages:?}") };
    assert!(run.launch_executor);
    assert_eq!(run.task_group.tasks.len(), 2);
    assert_eq!(run.task_group.tasks[0].executor.as_deref(), Some(&run.executor), "each task carries it");
    assert_eq!(
        world.view.agents[agent.id.as_str()].used.to_string(),
        "cpus(allocated: dev):0.7; mem(allocated: dev):128; disk(allocated: dev):10"
    );
    world.quiet();
}

#[test]
fn what_would_make_mesos_leak_or_crash_is_refused() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let executor = group_executor("g", &scheduler.id);
    let empty = group(executor.clone(), Vec::new());
    let twice = group(
        executor,
        vec![TaskInfo { command: None, ..task("a", &offer) }, TaskInfo { command: None, ..task("a", &offer) }],
    );
    let mut textual = task("t", &offer);
    textual.resources[0].r#type = v1::value::Type::Text.into();
    world.accepted(&scheduler, super::accept(&[&offer], vec![empty, twice, launch(vec![textual])], 0.0));
    let updates = world.updates(&scheduler);
    assert_eq!(updates.len(), 3);
    assert!(updates.iter().all(|update| update.state() == TaskState::TaskError), "{updates:?}");
    assert!(world.view.agents[agent.id.as_str()].used.is_empty(), "nothing is held");
    assert!(world.view.executors.is_empty());
    world.quiet();
}

#[test]
fn operations_that_are_refused_say_so_if_they_can() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let reserve = |id: Option<&str>| Operation {
        r#type: Some(operation::Type::Reserve.into()),
        id: id.map(|id| v1::OperationId { value: id.into() }),
        reserve: Some(operation::Reserve { resources: resources("cpus:1"), source: Vec::new() }),
        ..Default::default()
    };
    let missing = Operation { reserve: None, ..reserve(Some("no-payload")) };
    let operations = vec![reserve(None), reserve(Some("r")), missing];
    world.accepted(&scheduler, super::accept(&[&offer], operations, 3600.0));
    let told: Vec<(String, String)> = world
        .events(scheduler.stream)
        .into_iter()
        .map(|event| event.update_operation_status.unwrap().status)
        .map(|status| {
            assert_eq!(status.state(), v1::OperationState::OperationError);
            (status.operation_id.clone().unwrap().value, status.message().to_owned())
        })
        .collect();
    let expected = [
        (
            "no-payload",
            "Operation attempted with invalid resources: A RESERVE offer operation must have the Offer.Operation.reserve field set.",
        ),
        (
            "r",
            "Resource cpus(allocated: dev):1 is not dynamically reserved; on agent m-S0 at slave(1)@127.0.0.1:5001 (host)",
        ),
    ];
    assert_eq!(told, expected.map(|(id, message)| (id.to_owned(), message.to_owned())));
    world.quiet();
}

#[test]
fn unusable_offers_drop_the_tasks_and_are_used_up() {
    let mut world = World::new();
    let agents = [world.agent(AGENT_RESOURCES), world.agent(AGENT_RESOURCES)];
    let scheduler = world.subscribe(modern("dev"));
    let [first, second] = &world.offers(&scheduler)[..] else { panic!() };
    let other = world.subscribe(modern("ops"));
    let with_id = |operation: Operation| Operation { id: Some(v1::OperationId { value: "o".into() }), ..operation };
    let reserve = Operation { r#type: Some(operation::Type::Reserve.into()), ..Default::default() };
    let operations = vec![launch(vec![task("t", first)]), with_id(reserve)];
    let mut attempt = |offers: &[&v1::Offer], detail: &str| {
        world.accepted(&scheduler, super::accept(offers, operations.clone(), 0.0));
        let events = world.events(scheduler.stream);
        let [update, operation] = &events[..] else { panic!("{events:?}") };
        let status = update.update.clone().unwrap().status;
        assert_eq!((status.state(), status.reason()), (TaskState::TaskDropped, Reason::InvalidOffers));
        assert_eq!(status.message(), format!("Task launched with invalid offers: {detail}"));
        assert_eq!((status.agent_id.unwrap(), status.uuid), (first.agent_id.clone(), None));
        let status = operation.update_operation_status.clone().unwrap().status;
        assert_eq!(status.message(), format!("Operation attempted with invalid offers: {detail}"));
    };
    attempt(&[], "No offers specified");
    attempt(
        &[first, second],
        &format!(
            "Aggregated offers must belong to one single agent. Offer {} uses agent {} and agent {}",
            second.id.value, second.agent_id.value, first.agent_id.value
        ),
    );
    attempt(&[first], &format!("Offer {} is no longer valid", first.id.value));
    world.settle();
    // Who was served less gets them now; others cannot use them.
    let foreign = world.events(other.stream).remove(0).offers.unwrap().offers.remove(0);
    let (owner, thief) = (&other, &scheduler);
    world.events(thief.stream);
    world.accepted(thief, super::accept(&[&foreign], vec![launch(vec![task("t", &foreign)])], 0.0));
    let updates = world.updates(thief);
    assert_eq!(
        updates[0].message(),
        format!(
            "Task launched with invalid offers: Offer {} has invalid framework {} while framework {} is expected",
            foreign.id.value, owner.id, thief.id
        )
    );
    assert!(world.view.offers.contains_key(foreign.id.value.as_str()), "its owner keeps it");
    world.accepted(owner, super::accept(&[&foreign, &foreign], vec![launch(vec![task("t", &foreign)])], 0.0));
    let updates = world.updates(owner);
    assert_eq!(
        updates[0].message(),
        format!("Task launched with invalid offers: Duplicate offer {} in offer list", foreign.id.value)
    );
    for agent in agents {
        assert!(world.messages(agent.link).is_empty());
    }
}

#[test]
fn plain_frameworks_lose_what_others_drop() {
    let mut world = World::new();
    world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(plain("dev"));
    let offer = world.offer(&scheduler);
    world.accepted(&scheduler, decline(&[&offer], Some(100.0)));
    world.launch(&scheduler, &offer, vec![task("t", &offer)], 0.0);
    assert_eq!(world.updates(&scheduler)[0].state(), TaskState::TaskLost);
}

#[test]
fn offers_of_two_roles_do_not_mix() {
    let mut world = World::new();
    world.agent("cpus(dev):1;mem(dev):64;cpus(ops):1;mem(ops):64");
    let scheduler = world.subscribe(framework(&["dev", "ops"], &[]));
    let [first, second] = &world.offers(&scheduler)[..] else { panic!() };
    world.accepted(&scheduler, super::accept(&[first, second], vec![launch(vec![task("t", first)])], 0.0));
    let role = |offer: &v1::Offer| offer.allocation_info.clone().unwrap().role().to_owned();
    assert_eq!(
        world.updates(&scheduler)[0].message(),
        format!(
            "Task launched with invalid offers: Aggregated offers must be allocated to the same role. Offer {} uses role '{} but another is using role '{}",
            second.id.value,
            role(second),
            role(first)
        )
    );
}

#[test]
fn any_number_of_tasks_have_a_shared_volume() {
    use super::operations::{create, reserve, reserved, volume};
    let mut world = World::new();
    let shares = [Capability::PartitionAware, Capability::ReservationRefinement, Capability::SharedResources];
    let scheduler = world.subscribe(framework(&["dev"], &shares));
    let agent = world.agent(AGENT_RESOURCES);
    let offer = world.offer(&scheduler);
    let mut shared = volume("v", 64, "dev");
    shared.shared = Some(v1::resource::SharedInfo {});
    let on_it = |id: &str, offer: &v1::Offer| {
        let mut task = task(id, offer);
        task.resources.push(shared.clone());
        task
    };
    let two = launch(vec![on_it("a", &offer), on_it("b", &offer)]);
    let operations = vec![reserve("", reserved("disk:64", "dev")), create("", vec![shared.clone()]), two];
    world.accepted(&scheduler, accept(&[&offer], operations, 0.0));
    assert_eq!(world.messages(agent.link).len(), 4, "two operations, two tasks");
    // It is offered all the same, once, and takes two more.
    let offer = world.offer(&scheduler);
    let used = |world: &World| world.view.agents[agent.id.as_str()].used.shared().to_string();
    assert!(text(&offer.resources).contains("<SHARED>:64<1>"), "{}", text(&offer.resources));
    world.launch(&scheduler, &offer, vec![on_it("c", &offer), on_it("d", &offer)], 60.0);
    assert_eq!(world.messages(agent.link).len(), 2);
    assert!(used(&world).ends_with("<4>"), "{}", used(&world));
    for id in ["a", "b", "c", "d"] {
        world.update(&agent, &scheduler, id, TaskState::TaskFinished);
    }
    assert_eq!(world.updates(&scheduler).len(), 4);
    assert_eq!(used(&world), "{}", "nothing");
}
