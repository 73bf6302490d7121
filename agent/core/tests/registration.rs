//! The link with the master.

mod support;

use std::time::Duration;

use mezzo_agent_core::{
    Core,
    core::RecoverError,
    effect::{Effect, LinkId},
};
use mezzo_api::{
    link::{self, from_agent, to_agent},
    time::Now,
    v1::{self, TaskState, task_status::Reason},
};
use support::*;

fn closed(agent: &mut Agent) -> Vec<u64> {
    agent.take(|effect| match effect {
        Effect::CloseLink(link) => Some(link.0),
        _ => None,
    })
}

fn exits(agent: &mut Agent) -> Vec<String> {
    agent.take(|effect| match effect {
        Effect::Exit(reason) => Some(reason.clone()),
        _ => None,
    })
}

#[test]
fn a_new_agent_asks_for_an_id_and_keeps_it() {
    let mut agent = Agent::new();
    agent.link_up();
    let messages = agent.take_messages();
    let [from_agent::Message::Register(register)] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!((register.version.as_str(), register.agent.id.clone()), ("1.11.0", None));
    assert_eq!(register.capabilities.len(), 8);
    agent.say(to_agent::Message::Registered(link::Registered {
        agent_id: v1::AgentId { value: AGENT.into() },
        total_ping_timeout_ms: 75_000,
    }));
    assert!(agent.effects.iter().any(|effect| matches!(effect, Effect::Record { sync: true, .. })));
    let attached = agent.effects.iter().filter(|effect| matches!(effect, Effect::Attach { .. })).count();
    assert_eq!(attached, 2);

    let mut agent = agent.restarted(2);
    agent.link_up();
    let messages = agent.take_messages();
    let [from_agent::Message::Reregister(report)] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(report.register.agent.id, Some(v1::AgentId { value: AGENT.into() }));
    assert!(report.last);
}

#[test]
fn a_registration_that_is_not_answered_is_repeated() {
    let mut agent = Agent::new();
    agent.link_up();
    assert_eq!(agent.take_messages().len(), 1);
    agent.pass(Duration::from_secs(15));
    assert_eq!(agent.take_messages().len(), 2, "after 5 and 10 seconds more");
}

#[test]
fn pings_are_answered_and_their_absence_ends_the_link() {
    let mut agent = Agent::registered();
    for sequence in 1..4 {
        agent.pass(Duration::from_secs(15));
        agent.say(to_agent::Message::Ping(link::Ping { sequence }));
        let messages = agent.take_messages();
        assert!(matches!(&messages[..], [from_agent::Message::Pong(pong)] if pong.sequence == sequence));
    }
    agent.pass(Duration::from_secs(74));
    assert_eq!(closed(&mut agent), [0; 0]);
    agent.pass(Duration::from_secs(1));
    assert_eq!(closed(&mut agent), [1]);
}

#[test]
fn a_master_of_an_older_term_is_refused() {
    let mut agent = Agent::registered();
    agent.say_as(5, to_agent::Message::Ping(link::Ping { sequence: 1 }));
    agent.effects.clear();
    agent.say_as(4, run_task(&plain(), &command_task("t", "x"), true));
    assert_eq!(closed(&mut agent), [1]);
    agent.assert_quiet();
    let mut agent = agent.restarted(2);
    agent.link_up();
    agent.say_as(4, reregistered());
    assert_eq!(closed(&mut agent), [1], "also after a restart");
}

#[test]
fn what_comes_over_another_link_is_not_heeded() {
    let mut agent = Agent::registered();
    let message = link::ToAgent { term: 1, message: Some(run_task(&plain(), &command_task("t", "x"), true)) };
    agent.step(|core, now, out| core.master(now, LinkId(99), message, out));
    agent.assert_quiet();
    agent.link_up();
    assert_eq!(closed(&mut agent), [1], "a new link replaces the old one");
}

#[test]
fn another_id_ends_the_agent() {
    let mut agent = Agent::registered();
    agent.link_up();
    agent.say(to_agent::Message::Registered(link::Registered {
        agent_id: v1::AgentId { value: "m-S7".into() },
        total_ping_timeout_ms: 75_000,
    }));
    assert!(exits(&mut agent)[0].contains("wrong id: m-S7"));
}

#[test]
fn a_report_tells_everything_and_updates_resume() {
    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("done", "x"), &modern());
    agent.run_command(&command_task("runs", "x"), &modern());
    agent.say(run_task(&modern(), &command_task("queued", "x"), true));
    agent.link_down();
    agent.exited(&id, 0);
    agent.effects.clear();
    agent.pass(Duration::from_secs(100));
    assert_eq!(agent.take_updates(), [], "nothing is sent without a master");
    agent.link_up();
    let messages = agent.take_messages();
    let [from_agent::Message::Reregister(report)] = messages.as_slice() else { panic!("{messages:?}") };
    assert_eq!(report.frameworks, [modern()]);
    let mut executors: Vec<&str> = report.executors.iter().map(|info| info.executor_id.value.as_str()).collect();
    executors.sort_unstable();
    assert_eq!(executors, ["queued", "runs"], "terminated ones are not reported");
    let mut tasks: Vec<_> = report.tasks.iter().map(|task| (task.task_id.value.as_str(), task.state())).collect();
    tasks.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(
        tasks,
        [("done", TaskState::TaskFinished), ("queued", TaskState::TaskStaging), ("runs", TaskState::TaskRunning)]
    );
    agent.say(reregistered());
    assert_eq!(agent.take_states(), [TaskState::TaskFinished]);
}

#[test]
fn a_large_report_comes_in_parts() {
    let mut agent = Agent::registered();
    let labels = v1::Labels { labels: vec![v1::Label { key: "k".into(), value: Some("v".repeat(300_000)) }] };
    for number in 0..20 {
        let task = v1::TaskInfo {
            labels: Some(labels.clone()),
            resources: resources("cpus:0.01;mem:1"),
            ..command_task(&format!("t{number}"), "x")
        };
        agent.say(run_task(&modern(), &task, true));
    }
    agent.link_down();
    agent.effects.clear();
    agent.link_up();
    let parts: Vec<link::Reregister> = agent
        .take_messages()
        .into_iter()
        .map(|message| match message {
            from_agent::Message::Reregister(part) => part,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(parts.len() > 5);
    assert!(parts.iter().all(|part| part.report == 1 && prost::Message::encoded_len(part) < 4 << 20));
    let last: Vec<bool> = parts.iter().map(|part| part.last).collect();
    assert!(last[..last.len() - 1].iter().all(|last| !last) && last[last.len() - 1]);
    assert_eq!(parts.iter().map(|part| part.tasks.len()).sum::<usize>(), 20);
}

#[test]
fn tasks_that_only_the_master_knows_are_answered_for() {
    let mut agent = Agent::registered();
    agent.run_command(&command_task("known", "x"), &modern());
    agent.link_up();
    agent.effects.clear();
    let ask = |framework: &str, task: &str, partition_aware| link::ReconcileTask {
        framework_id: v1::FrameworkId { value: framework.into() },
        task_id: v1::TaskId { value: task.into() },
        partition_aware,
    };
    agent.say(to_agent::Message::Reregistered(link::Reregistered {
        agent_id: v1::AgentId { value: AGENT.into() },
        total_ping_timeout_ms: 75_000,
        reconcile_operations: Vec::new(),
        reconcile: vec![ask(FRAMEWORK, "known", true), ask(FRAMEWORK, "a", true), ask("other", "b", false)],
    }));
    let updates = agent.take_updates();
    let states: Vec<_> = updates.iter().map(|update| (update.task_id.value.as_str(), update.state())).collect();
    assert_eq!(states, [("a", TaskState::TaskDropped), ("b", TaskState::TaskLost)]);
    assert_eq!(updates[0].reason, Some(Reason::Reconciliation as i32));
    assert_eq!(updates[0].message.as_deref(), Some("Reconciliation: task unknown to the agent"));
    agent.pass(Duration::from_secs(10));
    assert_eq!(agent.take_updates().len(), 2, "they are repeated as all others");
}

#[test]
fn a_new_scheduler_gets_the_updates_at_once() {
    let mut agent = Agent::registered();
    agent.say(run_task(&modern(), &command_task("t", "x"), true));
    let id = agent.take_launch().container_id;
    agent.running(&id);
    let first = agent.take_updates();
    let info = v1::FrameworkInfo { name: "another".into(), ..modern() };
    agent.say(to_agent::Message::UpdateFramework(link::UpdateFramework { framework: info.clone() }));
    assert_eq!(agent.take_updates(), first);
    assert_eq!(*agent.core.view().frameworks[0].info, info);
    assert_eq!(*agent.restarted(2).core.view().frameworks[0].info, info);
}

#[test]
fn an_agent_that_is_told_to_shut_down_ends_when_all_is_gone() {
    let mut agent = Agent::registered();
    agent.say(to_agent::Message::Shutdown(link::Shutdown { reason: "bye".into() }));
    assert_eq!(exits(&mut agent), ["bye"]);

    let mut agent = Agent::registered();
    let id = agent.run_command(&command_task("t", "x"), &modern());
    agent.step(Core::unregister);
    let messages = agent.take_messages();
    assert!(matches!(&messages[..], [from_agent::Message::Unregister(_)]), "{messages:?}");
    assert_eq!(agent.take_stops().len(), 1);
    assert_eq!(exits(&mut agent), [""; 0]);
    agent.exited(&id, 9);
    assert_eq!(exits(&mut agent), ["Unregistering and shutting down"]);
}

#[test]
fn another_description_is_refused_unless_the_machine_was_started_anew() {
    let agent = Agent::registered();
    let mut other = config();
    other.info.hostname = "elsewhere".into();
    let recover = |config: mezzo_agent_core::config::Config| {
        let now = Now { mono: Duration::ZERO, wall: std::time::SystemTime::UNIX_EPOCH };
        Core::recover(config, 1, now, agent.records.clone(), &mut Vec::new())
    };
    assert!(matches!(recover(other.clone()), Err(RecoverError::Incompatible { what: "hostname", .. })));
    // Name servers come and go: what was only looked up stays as it was registered.
    other.hostname_is_found = true;
    let recovered = recover(other.clone()).unwrap();
    assert_eq!(recovered.core.agent_id(), agent.core.agent_id());
    assert_eq!(recovered.core.view().info.hostname, "host");
    other.hostname_is_found = false;
    other.boot_id = "boot-2".into();
    let recovered = recover(other).unwrap();
    assert_eq!(recovered.core.agent_id(), None, "it registers as a new agent");
    let mut moved = config();
    moved.port = 1;
    moved.info.port = Some(1);
    let recovered = recover(moved).unwrap();
    assert_eq!(recovered.core.view().info.port, Some(1), "the port may change");
}
