//! Agents that come back: known, after a change of masters, unreachable, unknown, gone.

use std::time::Duration;

use mezzo_api::{
    link::to_agent,
    v1::{self, Task, TaskState, task_status::Reason},
};
use prost::Message;

use super::{calls::running, *};
use crate::model::{FrameworkState, TaskList};

impl World {
    /// The agent reports these tasks of the framework over a new link.
    pub(crate) fn report(&mut self, agent: &Slave, scheduler: &Scheduler, tasks: &[(&str, TaskState)]) -> Slave {
        let link = self.link_up();
        let report = report(agent, &scheduler.id, tasks);
        self.say(link, from_agent::Message::Reregister(report));
        Slave { link, ..agent.clone() }
    }

    /// … and nothing has to be written down for it.
    pub(crate) fn come_back(&mut self, agent: &Slave, scheduler: &Scheduler, tasks: &[(&str, TaskState)]) -> Slave {
        let back = self.report(agent, scheduler, tasks);
        assert!(self.writes.is_empty());
        back
    }
}

pub(crate) fn report(agent: &Slave, framework: &str, tasks: &[(&str, TaskState)]) -> link::Reregister {
    let info = FrameworkInfo { id: Some(v1::FrameworkId { value: framework.into() }), ..modern("dev") };
    link::Reregister {
        register: register(&agent.info),
        report: 1,
        last: true,
        frameworks: vec![info],
        tasks: tasks.iter().map(|(id, state)| reported(agent, framework, id, *state)).collect(),
        ..Default::default()
    }
}

fn reported(agent: &Slave, framework: &str, id: &str, state: TaskState) -> Task {
    let mut resources = resources("cpus:0.1;mem:32");
    for resource in &mut resources {
        resource.allocation_info = Some(v1::resource::AllocationInfo { role: Some("dev".into()) });
    }
    Task {
        name: id.into(),
        task_id: v1::TaskId { value: id.into() },
        framework_id: v1::FrameworkId { value: framework.into() },
        agent_id: v1::AgentId { value: agent.id.clone() },
        state: state.into(),
        resources,
        ..Default::default()
    }
}

fn reregistered(messages: &[to_agent::Message]) -> &link::Reregistered {
    match messages {
        [to_agent::Message::Reregistered(reregistered), ..] => reregistered,
        _ => panic!("REREGISTERED comes first: {messages:?}"),
    }
}

#[test]
fn a_known_agent_comes_back_and_nothing_happens_to_tasks() {
    for info in [modern("dev"), plain("dev")] {
        let mut world = World::new();
        let (agent, scheduler) = running(&mut world, info);
        world.link_down(agent.link);
        world.pass(Duration::from_secs(60));
        let back = world.come_back(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
        let messages = world.messages(back.link);
        assert!(reregistered(&messages).reconcile.is_empty());
        assert!(matches!(messages[1..], [to_agent::Message::UpdateFramework(_)]));
        assert!(world.updates(&scheduler).is_empty());
        let seen = &world.view.agents[agent.id.as_str()];
        assert!(seen.active && seen.reregistered_time.is_some());
        assert_eq!(seen.used.cpus().as_f64(), 0.1);
        world.pass(Duration::from_secs(60));
        assert!(world.writes.is_empty());
    }
}

#[test]
fn a_new_link_replaces_the_old_one() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let back = world.come_back(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    assert_eq!(world.closed_links, [(agent.link, CloseReason::Replaced)]);
    world.closed_links.clear();
    world.messages(back.link);
    world.link_down(agent.link);
    assert!(world.view.agents[agent.id.as_str()].active);
    world.update(&back, &scheduler, "t", TaskState::TaskFinished);
    assert_eq!(world.updates(&scheduler).len(), 1);
}

#[test]
fn launches_that_never_arrived_are_reconciled_with_the_agent() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.link_down(agent.link);
    let back = world.come_back(&agent, &scheduler, &[]);
    let messages = world.messages(back.link);
    let [missing] = &reregistered(&messages).reconcile[..] else { panic!("{messages:?}") };
    assert_eq!((missing.task_id.value.as_str(), missing.partition_aware), ("t", true));
    world.update(&back, &scheduler, "t", TaskState::TaskDropped);
    assert_eq!(world.updates(&scheduler)[0].state(), TaskState::TaskDropped);
    assert!(world.view.agents[agent.id.as_str()].used.is_empty());
}

#[test]
fn executors_that_ended_meanwhile_are_forgotten_and_generated_ones_never_count() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    let with_executor = TaskInfo { command: None, executor: Some(Box::new(custom_executor("e"))), ..task("a", &offer) };
    world.launch(&scheduler, &offer, vec![with_executor, task("b", &offer)], 3600.0);
    world.messages(agent.link);
    let command = |id: &str, name: &str| v1::ExecutorInfo {
        name: Some(name.into()),
        framework_id: Some(v1::FrameworkId { value: scheduler.id.clone() }),
        ..custom_executor(id)
    };
    let mut report = report(&agent, &scheduler.id, &[("a", TaskState::TaskRunning), ("b", TaskState::TaskRunning)]);
    report.executors = vec![command("b", ""), command("ended", "Command Executor (Task: ended) (Command: x)")];
    let link = world.link_up();
    world.say(link, from_agent::Message::Reregister(report));
    assert!(world.view.executors.is_empty());
    assert_eq!(
        world.view.agents[agent.id.as_str()].used.to_string(),
        "cpus(allocated: dev):0.2; mem(allocated: dev):64"
    );
}

#[test]
fn a_report_in_chunks_counts_when_it_is_whole() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.link_down(agent.link);
    let link = world.link_up();
    let whole = report(&agent, &scheduler.id, &[("t", TaskState::TaskRunning)]);
    let abandoned =
        link::Reregister { report: 1, last: false, ..report(&agent, &scheduler.id, &[("x", TaskState::TaskRunning)]) };
    world.say(link, from_agent::Message::Reregister(abandoned));
    let first = link::Reregister { report: 2, last: false, tasks: Vec::new(), ..whole.clone() };
    world.say(link, from_agent::Message::Reregister(first));
    assert!(world.messages(link).is_empty());
    let last = link::Reregister { report: 2, frameworks: Vec::new(), ..whole };
    world.say(link, from_agent::Message::Reregister(last));
    assert!(reregistered(&world.messages(link)).reconcile.is_empty());
    assert_eq!(world.view.tasks.len(), 1);
}

#[test]
fn a_changed_description_is_written_down_first() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    let changed =
        Slave { info: AgentInfo { resources: resources("cpus:8;mem:8192"), ..agent.info.clone() }, ..agent.clone() };
    world.link_down(agent.link);
    let back = world.report(&changed, &scheduler, &[("t", TaskState::TaskRunning)]);
    assert!(world.messages(back.link).is_empty());
    assert!(
        matches!(&world.write_done()[..], [RegistryOp::PutAgent(info)] if info.resources == changed.info.resources)
    );
    assert_eq!(world.messages(back.link).len(), 2);
    assert_eq!(world.view.agents[agent.id.as_str()].total.to_string(), "cpus:8; mem:8192");
    let offer = world.offer(&scheduler);
    assert!(text(&offer.resources).contains("cpus(allocated: dev):7.9"));
    world.link_down(back.link);
    world.events(scheduler.stream);
    // Less than is used of it: nothing of that is offered.
    let shrunk =
        Slave { info: AgentInfo { resources: resources("cpus:0.05;mem:8192"), ..agent.info.clone() }, ..agent };
    world.report(&shrunk, &scheduler, &[("t", TaskState::TaskRunning)]);
    world.write_done();
    assert_eq!(text(&world.offer(&scheduler).resources), "mem(allocated: dev):8160");
}

#[test]
fn an_unreachable_agent_comes_back_with_its_tasks() {
    let mut world = World::new();
    let agent = world.agent(AGENT_RESOURCES);
    let scheduler = world.subscribe(modern("dev"));
    let offer = world.offer(&scheduler);
    world.launch(&scheduler, &offer, vec![task("kept", &offer), task("never-arrived", &offer)], 3600.0);
    world.messages(agent.link);
    world.link_down(agent.link);
    world.pass(Duration::from_secs(80));
    world.write_done();
    assert_eq!(world.events(scheduler.stream).len(), 3);
    let back = world.report(&agent, &scheduler, &[("kept", TaskState::TaskRunning)]);
    assert!(matches!(&world.write_done()[..], [RegistryOp::PutAgent(_)]), "reachable in the registry first");
    let updates = world.updates(&scheduler);
    let told: Vec<_> =
        updates.iter().map(|status| (status.task_id.value.as_str(), status.state(), status.reason())).collect();
    assert_eq!(
        told,
        [
            ("kept", TaskState::TaskRunning, Reason::AgentReregistered),
            ("never-arrived", TaskState::TaskGone, Reason::Reconciliation),
        ]
    );
    assert_eq!(updates[0].message(), "Unreachable agent re-reregistered");
    let messages = world.messages(back.link);
    assert_eq!(messages.len(), 3);
    let Some(to_agent::Message::Notice(notice)) = messages.last() else { panic!("{messages:?}") };
    assert!(notice.text.contains("2 of its tasks were reported unreachable or lost"), "{}", notice.text);
    let list = |id: &str| world.view.tasks[&(scheduler.id.as_str().into(), id.into())].list;
    assert_eq!((list("kept"), list("never-arrived")), (TaskList::Active, TaskList::Completed));
}

#[test]
fn an_agent_that_comes_back_while_it_is_being_given_up_waits() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.link_down(agent.link);
    world.pass(Duration::from_secs(80));
    let back = world.report(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    assert!(world.messages(back.link).is_empty());
    assert!(matches!(&world.write_done()[..], [RegistryOp::MarkUnreachable(..)]));
    assert!(matches!(&world.write_done()[..], [RegistryOp::PutAgent(_)]), "then it is heard");
    let states: Vec<_> = world
        .events(scheduler.stream)
        .into_iter()
        .filter_map(|event| event.update)
        .map(|update| update.status.state())
        .collect();
    assert_eq!(states, [TaskState::TaskUnreachable, TaskState::TaskRunning]);
    assert_eq!(world.messages(back.link).len(), 3);
}

#[test]
fn a_new_leader_learns_everything_from_agents() {
    let mut info = agent_info(AGENT_RESOURCES);
    info.id = Some(v1::AgentId { value: "old-S0".into() });
    let agent = Slave { id: "old-S0".into(), link: LinkId(0), info: info.clone() };
    let mut world = World::with(config(), Recovered { agents: vec![info].into(), ..Default::default() });
    assert_eq!(world.view.recovered.len(), 1);
    let scheduler = Scheduler { id: "old-0000".into(), stream: StreamId(uuid::Uuid::nil()) };
    let mut report = report(&agent, &scheduler.id, &[("t", TaskState::TaskRunning), ("done", TaskState::TaskFinished)]);
    report.tasks[1].status_update_state = Some(TaskState::TaskFinished.into());
    let uuid = uuid::Uuid::from_u128(0x4000 << 64).into_bytes().to_vec();
    report.tasks[1].status_update_uuid = Some(uuid.clone().into());
    report.executors = vec![v1::ExecutorInfo { framework_id: Some(scheduler_id(&scheduler)), ..custom_executor("e") }];
    let ended = reported(&agent, &scheduler.id, "history", TaskState::TaskFailed);
    let tasks = ended.encode_length_delimited_to_vec().into();
    report.completed_tasks = vec![link::History { framework_id: scheduler_id(&scheduler), tasks }];
    let link = world.link_up();
    world.say(link, from_agent::Message::Reregister(report));
    let messages = world.messages(link);
    assert!(reregistered(&messages).reconcile.is_empty());
    assert_eq!(messages.len(), 1, "the framework's own word is awaited before its description is told");
    assert_eq!(world.view.frameworks["old-0000"].state, FrameworkState::Recovered);
    assert_eq!(world.view.agents["old-S0"].used.to_string(), "cpus(allocated: dev):0.6; mem(allocated: dev):96");
    assert!(world.view.recovered.is_empty());
    assert_eq!(world.view.tasks.len(), 3);
    let call = world.call(&scheduler, bare(mezzo_api::v1::scheduler::call::Type::Revive));
    assert_eq!(call, Answer::new(403, "Framework is not subscribed"));
    // The framework comes, under its id.
    let info = FrameworkInfo { id: Some(scheduler_id(&scheduler)), ..modern("dev") };
    let scheduler = world.subscribe(info);
    assert_eq!(world.messages(link).len(), 1);
    let offer = world.offer(&scheduler);
    assert!(text(&offer.resources).contains("cpus(allocated: dev):3.4"));
    assert_eq!(offer.executor_ids[0].value, "e");
    world.accepted(&scheduler, reconcile(&[("t", None), ("done", None)]));
    let states: Vec<_> = world.updates(&scheduler).iter().map(TaskStatus::state).collect();
    assert_eq!(states, [TaskState::TaskRunning, TaskState::TaskFinished]);
    let done = TaskStatus {
        task_id: v1::TaskId { value: "done".into() },
        agent_id: Some(v1::AgentId { value: agent.id }),
        uuid: Some(uuid.into()),
        ..Default::default()
    };
    world.acknowledge(&scheduler, &done);
    assert_eq!(world.view.tasks[&("old-0000".into(), "done".into())].list, TaskList::Completed);
}

fn scheduler_id(scheduler: &Scheduler) -> v1::FrameworkId {
    v1::FrameworkId { value: scheduler.id.clone() }
}

#[test]
fn agents_that_do_not_come_to_a_new_leader_are_unreachable() {
    let mut info = agent_info(AGENT_RESOURCES);
    info.id = Some(v1::AgentId { value: "old-S0".into() });
    let agent = Slave { id: "old-S0".into(), link: LinkId(0), info: info.clone() };
    let mut world = World::with(config(), Recovered { agents: vec![info].into(), ..Default::default() });
    let scheduler = world.subscribe(modern("dev"));
    world.pass(Duration::from_secs(601));
    assert!(matches!(&world.write_done()[..], [RegistryOp::MarkUnreachable(id, _)] if id.as_str() == "old-S0"));
    let events = world.events(scheduler.stream);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].failure.clone().unwrap().agent_id.unwrap().value, "old-S0");
    assert!(world.view.recovered.is_empty());
    world.accepted(&scheduler, reconcile(&[("x", Some("old-S0"))]));
    assert_eq!(world.updates(&scheduler)[0].state(), TaskState::TaskUnreachable);
    let back = world.report(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    world.write_done();
    assert_eq!(world.updates(&scheduler)[0].message(), "Unreachable agent re-reregistered");
    world.messages(back.link);
}

#[test]
fn an_agent_that_nobody_knows_is_taken_in() {
    let mut world = World::new();
    let scheduler = world.subscribe(modern("dev"));
    let info = AgentInfo { id: Some(v1::AgentId { value: "x-S5".into() }), ..agent_info(AGENT_RESOURCES) };
    let agent = Slave { id: "x-S5".into(), link: LinkId(0), info };
    let back = world.report(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    world.write_done();
    assert_eq!(world.updates(&scheduler)[0].message(), "Unknown agent reregistered");
    world.messages(back.link);
    assert!(world.view.agents.contains_key("x-S5"));
}

#[test]
fn gone_agents_are_shut_down_and_so_are_impostors() {
    let recovered = Recovered { gone: vec![("gone".into(), 1)], ..Default::default() };
    let mut world = World::with(config(), recovered);
    let (known, scheduler) = running(&mut world, modern("dev"));
    let info = AgentInfo { id: Some(v1::AgentId { value: "gone".into() }), ..agent_info(AGENT_RESOURCES) };
    let gone = Slave { id: "gone".into(), link: LinkId(0), info };
    let impostor = Slave { info: AgentInfo { hostname: "elsewhere".into(), ..known.info.clone() }, ..known.clone() };
    for (agent, reason) in
        [(gone, "Agent has been marked gone"), (impostor, "Agent attempted to reregister with different hostname")]
    {
        let back = world.report(&agent, &scheduler, &[]);
        let messages = world.messages(back.link);
        let [to_agent::Message::Shutdown(shutdown)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(shutdown.reason, reason);
        assert_eq!(world.closed_links.pop(), Some((back.link, CloseReason::Shutdown)));
    }
    assert!(world.view.agents[known.id.as_str()].active);
    world.quiet();
}

#[test]
fn completed_frameworks_are_shut_down_on_agents_that_missed_it() {
    let mut world = World::new();
    let (agent, scheduler) = running(&mut world, modern("dev"));
    world.link_down(agent.link);
    let request = world.post(&scheduler, bare(mezzo_api::v1::scheduler::call::Type::Teardown));
    world.write_done();
    world.replies.remove(&request);
    let back = world.come_back(&agent, &scheduler, &[("t", TaskState::TaskRunning)]);
    let messages = world.messages(back.link);
    reregistered(&messages);
    assert!(matches!(&messages[1..], [to_agent::Message::ShutdownFramework(_)]));
    assert!(world.view.agents[agent.id.as_str()].used.is_empty());
}
