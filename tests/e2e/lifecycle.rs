//! Frameworks and agents that go and come back.

use std::time::{Duration, Instant};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{tasks, wait};
use serde_json::{Value, json};

fn framework(cluster: &Cluster, name: &str, failover_timeout: f64) -> Framework {
    let mut info = tasks::framework_info(name, "dev");
    info["failover_timeout"] = json!(failover_timeout);
    Framework::subscribe(cluster.master_address, info)
}

fn runs(cluster: &Cluster, command: &str) -> bool {
    cluster.children().iter().any(|process| process.command.contains(command))
}

/// A framework that stays away for too long is over, and its tasks with it.
#[test]
fn a_framework_that_stays_away_is_ended() {
    let cluster = Cluster::builder().start();
    let mut gone = framework(&cluster, "gone", 1.0);
    gone.run("task", "sleep 1234");
    gone.wait_status("task", "TASK_RUNNING");
    assert!(runs(&cluster, "sleep 1234"));
    let start = Instant::now();
    gone.hang_up();
    wait::until_true("the task ends", || !runs(&cluster, "sleep 1234"));
    assert!(
        start.elapsed() > Duration::from_millis(900),
        "the task ended after {:?}, before its framework's time",
        start.elapsed()
    );
    wait::until_true("the framework is completed", || cluster.state()["completed_frameworks"][0]["id"] == gone.id);
    let refused = gone.resubscribe().unwrap_err();
    assert!(refused.contains("Framework has been removed"), "{refused}");
}

/// An update comes again until it is acknowledged, in order, over restarts of either side.
#[test]
fn an_update_comes_until_it_is_acknowledged() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "deaf", 3600.0);
    framework.acknowledges = false;
    framework.run("task", "true");
    let first = framework.wait_status("task", "TASK_STARTING");
    let mark = framework.mark();
    cluster.restart_agent(0);
    let again = framework.wait_status_since(mark, "task", "TASK_STARTING");
    assert_eq!((&again["uuid"], &again["timestamp"]), (&first["uuid"], &first["timestamp"]));
    let mark = framework.mark();
    cluster.restart_master();
    wait::until("the framework is back", || framework.resubscribe().ok());
    assert_eq!(framework.wait_status_since(mark, "task", "TASK_STARTING")["uuid"], first["uuid"]);
    // With nothing else happening it comes again after ten seconds.
    framework.listen(Duration::from_secs(1));
    let (mark, start) = (framework.mark(), Instant::now());
    framework.wait_status_since(mark, "task", "TASK_STARTING");
    assert!(start.elapsed() > Duration::from_secs(4), "it came again after {:?} already", start.elapsed());
    assert!(framework.statuses("task").iter().all(|status| status["state"] == "TASK_STARTING"), "the next one waits");
    framework.acknowledges = true;
    assert!(framework.acknowledge(&first).unwrap());
    framework.wait_status("task", "TASK_FINISHED");
    let states: Vec<Value> = framework.statuses("task").iter().map(|status| status["state"].clone()).collect();
    assert_eq!(states[states.len() - 2..], ["TASK_RUNNING", "TASK_FINISHED"]);
    let mark = framework.mark();
    framework.call("RECONCILE", json!({"tasks": []}));
    framework.call("RECONCILE", json!({"tasks": [{"task_id": {"value": "barrier"}}]}));
    framework.wait_status_since(mark, "barrier", "TASK_UNKNOWN");
    assert_eq!(
        framework.events.len(),
        mark + 1,
        "the master still has a task that is over: {:?}",
        framework.events.last()
    );
}

/// Tasks and executors never notice that their agent or their master was away.
#[test]
fn tasks_outlive_restarts() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "steady", 3600.0);
    framework.run("task", "sleep 1235");
    framework.wait_status("task", "TASK_RUNNING");
    let sleeps = |processes: &[mezzo_tests::leftovers::Process]| -> Vec<i32> {
        processes.iter().filter(|process| process.command.contains("sleep 1235")).map(|process| process.pid).collect()
    };
    // What runs may not have become its command yet.
    let before = wait::until("the command runs", || {
        let children = cluster.children();
        children.iter().any(|process| process.command.trim() == "sleep 1235").then_some(children)
    });
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    cluster.restart_master();
    wait::until("the framework is back", || framework.resubscribe().ok());
    cluster.wait_until_registered(1);
    let mark = framework.mark();
    framework.call("RECONCILE", json!({"tasks": [{"task_id": {"value": "task"}}]}));
    framework.wait_status_since(mark, "task", "TASK_RUNNING");
    assert_eq!(sleeps(&before), sleeps(&cluster.children()), "the task's processes must be the same ones");
    // What ends while the agent is away is told when it is back, as it was.
    let pids = sleeps(&before);
    cluster.agents[0].part.kill();
    for pid in pids {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
    }
    wait::until_true("the task is gone", || !runs(&cluster, "sleep 1235"));
    cluster.agents[0].part.start();
    assert_eq!(framework.wait_status("task", "TASK_FAILED")["message"], "Command terminated with signal Terminated");
}

/// What one framework declines another is offered, and nothing is offered twice.
#[test]
fn offers_go_round() {
    let cluster = Cluster::builder().start();
    let mut first = framework(&cluster, "first", 0.0);
    let mut second = framework(&cluster, "second", 0.0);
    for _ in 0..3 {
        let offer = first.wait_any_offer();
        first.decline(&offer, 2.0);
        let offer = second.wait_any_offer();
        second.decline(&offer, 0.5);
        first.call("REVIVE", Value::Null);
    }
    // What one holds the other cannot have.
    let offer = first.wait_any_offer();
    second.listen(Duration::from_millis(500));
    assert!(second.offers.is_empty(), "the same resources were offered twice: {offer} and {:?}", second.offers);
    first.teardown();
    second.wait_any_offer();
}
