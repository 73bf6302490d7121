//! A leader that is frozen, and wakes up when another one leads.

use std::time::{Duration, Instant};

use mezzo_tests::framework::Framework;
use mezzo_tests::masters::{Masters, SESSION};
use mezzo_tests::{tasks, wait};
use nix::sys::signal::Signal;
use serde_json::json;

/// Agents are given up after 3 s of silence, so that timers of the frozen leader are due when it wakes up.
#[test]
fn a_frozen_leader_is_replaced_and_does_nothing_when_it_wakes_up() {
    let group =
        Masters::builder().master_flag("--agent_ping_timeout=3secs").master_flag("--max_agent_ping_timeouts=1").start();
    let mut framework = Framework::subscribe(group.masters[0].address, tasks::framework_info("f", "*"));
    framework.run("t", "sleep 1000");
    framework.wait_status("t", "TASK_RUNNING");
    let since = Instant::now();
    group.masters[0].part.signal(Signal::SIGSTOP);
    let (leader, took) = group.takeover(since, &[1], 2);
    eprintln!("a frozen leader with a session of {} s: replaced after {:.2} s", SESSION.as_secs(), took.as_secs_f64());
    assert!(took < SESSION + Duration::from_secs(5), "{took:?}");

    let mark = framework.mark();
    group.masters[0].part.signal(Signal::SIGCONT);
    group.wait_for_standby(0, leader);
    // It told nobody anything: no agent is unreachable, no task lost; whoever was subscribed was let go.
    framework.listen(Duration::from_millis(500));
    let told: Vec<_> = framework.events[mark..]
        .iter()
        .filter(|event| event["type"] == "UPDATE" || event["type"] == "FAILURE")
        .collect();
    assert!(told.is_empty(), "{told:?}");
    assert!(framework.closed.is_some(), "a deposed leader keeps no streams");
    let log = group.masters[0].part.log();
    assert!(log.contains("leading no more"), "{log}");
    assert!(!log.contains("agent does not answer") && !log.contains("agent removed"), "{log}");
    assert_eq!(group.active_agents(leader), 2);
    framework.follow(group.masters[leader].address).unwrap();
    framework.call("RECONCILE", json!({"reconcile": {"tasks": []}}));
    framework.wait_since(mark, "the task runs", |event| event["update"]["status"]["state"] == "TASK_RUNNING");
}

/// The same with a session that outlives the freeze: nothing happens at all.
#[test]
fn a_leader_that_is_frozen_for_a_moment_goes_on() {
    let group = Masters::builder().session(Duration::from_secs(20)).start();
    let id = |group: &Masters| group.state(0).map(|state| state["id"].clone());
    let before = id(&group);
    group.masters[0].part.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    group.masters[0].part.signal(Signal::SIGCONT);
    wait::until("it answers", || id(&group));
    assert_eq!(id(&group), before);
    assert_eq!(group.active_agents(0), 2);
    assert!(!group.leads(1));
}
