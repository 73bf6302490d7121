//! The supervisor in whole clusters, under faults.

use std::time::Duration;

use mezzo_sdk_core::supervisor::{Change, Config, Group, Order, Retry, Supervisor};
use mezzo_testkit::{Cluster, framework, task};

const MINUTE: Duration = Duration::from_secs(60);
/// The master gives an agent up after 75 s of silence, counted from a ping: up to 15 s later.
const AGENT_TIMEOUT: Duration = Duration::from_secs(75 + 15);

fn web(count: u32) -> Group {
    Group::new("web", "serve", "cpus:0.5;mem:64").unwrap().count(count).ports(1)
}

fn cluster(agents: u16, group: Group) -> Cluster<Supervisor> {
    let mut cluster = Cluster::new(agents, framework("web"), |seed| Supervisor::new(Config::default(), seed));
    cluster.visit(|supervisor, context| supervisor.set(context, group).unwrap());
    cluster
}

fn ready(count: usize) -> impl Fn(&Supervisor) -> bool {
    move |supervisor| {
        supervisor.summary("web").is_some_and(|it| it.ready == count && it.outdated == 0) && supervisor.leaving() == 0
    }
}

#[test]
fn a_machine_that_is_gone_is_replaced() {
    let mut cluster = cluster(3, web(4));
    cluster.run_until(MINUTE, ready(4));
    cluster.power_cut(1, 20 * MINUTE);
    cluster.run(AGENT_TIMEOUT);
    cluster.run_until(MINUTE, |supervisor| supervisor.summary("web").unwrap().ready == 4);
    assert_eq!(cluster.running().len(), 4);
    assert!(cluster.running().iter().all(|task| task.agent != 1));
}

#[test]
fn a_machine_that_was_cut_off_comes_back_and_nothing_runs_twice_in_the_end() {
    let mut cluster = cluster(3, web(4));
    cluster.run_until(MINUTE, ready(4));
    let there = cluster.running()[0].agent;
    cluster.cut_off_agent(there, 5 * MINUTE);
    cluster.run(AGENT_TIMEOUT);
    cluster.run_until(MINUTE, |supervisor| supervisor.summary("web").unwrap().ready == 4);
    assert!(cluster.running().len() > 4, "what a partition makes unavoidable");
    cluster.run(5 * MINUTE);
    cluster.run_until(5 * MINUTE, ready(4));
    assert_eq!(cluster.running().len(), 4);
}

#[test]
fn nothing_is_lost_when_program_and_master_are_killed() {
    for seed in 1..20 {
        let mut cluster =
            Cluster::with_seed(seed, 3, framework("web"), |seed| Supervisor::new(Config::default(), seed));
        cluster.visit(|supervisor, context| supervisor.set(context, web(5)).unwrap());
        cluster.run(Duration::from_millis(seed * 700)); // somewhere on the way up
        cluster.kill_framework(Duration::from_secs(2));
        cluster.run(Duration::from_millis(seed * 500));
        cluster.kill_master(Duration::from_secs(3));
        cluster.run(Duration::from_secs(30)); // if it was killed before it had stored anything, there is nothing to keep
        cluster.visit(|supervisor, context| supervisor.set(context, web(5)).unwrap());
        cluster.run_until(15 * MINUTE, ready(5));
        assert_eq!(cluster.running().len(), 5, "seed {seed}");
    }
}

#[test]
fn a_change_is_rolled_out_without_a_gap() {
    let change = Change { at_once: 1, order: Order::StartFirst };
    let mut cluster = cluster(2, web(3).change(change));
    cluster.run_until(MINUTE, ready(3));
    let before = cluster.running();
    let mut changed = web(3).change(change);
    changed.task.command.as_mut().unwrap().value = Some("serve better".into());
    cluster.visit(|supervisor, context| supervisor.set(context, changed).unwrap());
    while !cluster.scheduler().is_some_and(ready(3)) {
        cluster.run(Duration::from_secs(1));
        assert!(cluster.running().len() >= 3, "{:?}", cluster.running());
    }
    assert!(cluster.running().iter().all(|task| !before.contains(task)));
}

#[test]
fn what_crashes_is_tried_again_with_growing_waits() {
    let retry = Retry { first: Duration::from_secs(1), max: MINUTE, stable_after: MINUTE };
    let mut group = web(1).retry(retry);
    group.task.command.as_mut().unwrap().value = Some(task::fails_after(Duration::from_secs(1), 3));
    let mut cluster = cluster(1, group);
    cluster.run(10 * MINUTE);
    let launches = cluster.take_calls().iter().filter(|call| call.accept.is_some()).count();
    assert!((8..30).contains(&launches), "{launches} launches in ten minutes");
}

#[test]
fn jobs_run_once_each() {
    let mut group = web(20).job(3);
    group.task.command.as_mut().unwrap().value = Some(task::finishes_after(Duration::from_secs(30)));
    let mut cluster = cluster(2, group);
    cluster.run(Duration::from_secs(20));
    cluster.power_cut(0, MINUTE);
    cluster.run_until(20 * MINUTE, |supervisor| supervisor.summary("web").unwrap().succeeded == 20);
    let attempts = cluster.with(|supervisor, _| supervisor.take_outcomes().iter().map(|it| it.attempts).max());
    assert_eq!(attempts, Some(1), "what the power cut ended is no try");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut cluster = cluster(3, web(4));
        cluster.run(MINUTE);
        cluster.kill_a_task(0);
        cluster.run(MINUTE);
        cluster.running()
    };
    assert_eq!(run(), run());
}
