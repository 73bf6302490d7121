//! What each event of ZooKeeper does to masters, agents and frameworks: the table of `docs/high-availability.md`, each row
//! against real servers.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mezzo_api::codec::Encoding;
use mezzo_election::{Client, Detector, address_of, connect, source};
use mezzo_tests::framework::Framework;
use mezzo_tests::masters::{Masters, SESSION};
use mezzo_tests::stream::Arrival;
use mezzo_tests::{environment, operator, tasks, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Asks the group's ensemble something.
pub(super) fn ask<T, F: Future<Output = T>>(group: &Masters, question: impl FnOnce(Client) -> F) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let client = connect(&group.url().parse().unwrap(), Duration::from_secs(10)).await.unwrap();
        question(client).await
    })
}

/// Names of the masters' znodes in their order; data and ACL of the first.
pub(super) fn znodes(group: &Masters) -> (Vec<String>, Vec<u8>, Vec<(u64, String)>) {
    ask(group, |client| async move {
        let mut children = client.list_children("/mezzo").await.unwrap();
        children.sort();
        let first = format!("/mezzo/{}", children[0]);
        let (data, _) = client.get_data(&first).await.unwrap();
        let (acl, _) = client.get_acl(&first).await.unwrap();
        let acl = acl.iter().map(|entry| {
            (if entry.permission() == mezzo_election::Permission::ALL { 31 } else { 1 }, entry.scheme().to_owned())
        });
        (children, data, acl.collect())
    })
}

fn id(group: &Masters, master: usize) -> Option<String> {
    group.state(master)?["id"].as_str().map(str::to_owned)
}

/// A framework that notices when its stream ends.
fn watcher(group: &Masters, master: usize) -> Framework {
    let mut framework = Framework::subscribe(group.masters[master].address, tasks::framework_info("watcher", "*"));
    framework.run("t", "sleep 1000");
    framework.wait_status("t", "TASK_RUNNING");
    framework
}

/// Nothing has changed: the same leadership, all agents, the framework's stream.
fn nothing_happened(group: &Masters, before: &str, framework: &mut Framework) {
    assert_eq!(id(group, 0).as_deref(), Some(before));
    assert!(!group.leads(1));
    assert_eq!(group.active_agents(0), 2);
    framework.listen(Duration::from_millis(300));
    assert!(framework.closed.is_none(), "the stream ended");
    assert_eq!(framework.statuses("t").last().map(|status| status["state"].clone()), Some(Value::from("TASK_RUNNING")));
}

#[test]
fn a_lost_connection_goes_on_at_another_server() {
    let mut group = Masters::builder().servers(3).start();
    let mut framework = watcher(&group, 0);
    let before = id(&group, 0).unwrap();
    // Each server in turn: one of them was everybody's at some time, and one led the ensemble.
    for server in 0..3 {
        group.ensemble.servers[server].part.kill();
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            assert!(!group.leads(1), "the leadership moved when server {server} was killed");
            std::thread::sleep(Duration::from_millis(100));
        }
        group.ensemble.servers[server].part.start();
        group.ensemble.wait_until_serving();
    }
    wait::until("it leads, as before", || id(&group, 0).filter(|id| *id == before));
    nothing_happened(&group, &before, &mut framework);
    let log = group.masters.iter().map(|master| master.part.log()).collect::<String>();
    assert!(log.contains("the connection with ZooKeeper changed"), "no connection was lost:\n{log}");
}

#[test]
fn servers_that_do_not_answer_for_a_moment_change_nothing() {
    let group = Masters::builder().session(Duration::from_secs(10)).start();
    let mut framework = watcher(&group, 0);
    let before = id(&group, 0).unwrap();
    group.ensemble.servers[0].part.signal(Signal::SIGSTOP);
    std::thread::sleep(Duration::from_secs(2));
    group.ensemble.servers[0].part.signal(Signal::SIGCONT);
    wait::until("it leads, as before", || id(&group, 0).filter(|id| *id == before));
    nothing_happened(&group, &before, &mut framework);
}

#[test]
fn without_a_quorum_nobody_leads_and_with_one_somebody_does_again() {
    let mut group = Masters::builder().servers(3).start();
    let mut framework = watcher(&group, 0);
    let operators = operator::subscribe(group.masters[0].address, Encoding::Json).unwrap();
    let since = Instant::now();
    group.ensemble.servers[0].part.kill();
    group.ensemble.servers[1].part.kill();
    wait::until("the leader steps down", || (!group.leads(0)).then_some(()));
    let took = since.elapsed();
    assert!(took < SESSION + Duration::from_secs(1), "another one could have led before: {took:?}");
    wait::until("the framework is let go", || {
        framework.listen(Duration::from_millis(50));
        framework.closed.is_some().then_some(())
    });
    wait::until("the operator is let go", || match operators.next(Duration::from_millis(50))? {
        (_, Arrival::Closed(closing)) => Some(closing),
        _ => None,
    });
    assert!(group.masters.iter_mut().all(|master| master.part.is_running()), "a master exited");
    group.ensemble.servers[0].part.start();
    group.ensemble.servers[1].part.start();
    group.ensemble.wait_until_serving();
    let (leader, _) = group.takeover(Instant::now(), &[0, 1], 2);
    let mark = framework.mark();
    framework.follow(group.masters[leader].address).unwrap();
    framework.call("RECONCILE", serde_json::json!({"reconcile": {"tasks": []}}));
    framework.wait_since(mark, "the task runs", |event| event["update"]["status"]["state"] == "TASK_RUNNING");
}

#[test]
fn whoever_starts_before_zookeeper_waits_for_it() {
    let mut group = Masters::builder().masters(0).agents(0).start();
    group.ensemble.servers[0].part.kill();
    group.add_master(&[]);
    group.add_agent();
    let mut tool = Command::new(environment::binary("mezzo"));
    tool.args(["run", &format!("--master={}", group.url()), "--", "echo", "hello"]).stdout(Stdio::piped());
    let tool = tool.spawn().unwrap();
    wait::until_true("the master says that it tries on", || group.masters[0].part.log().contains("trying on"));
    group.ensemble.servers[0].part.start();
    group.ensemble.wait_until_serving();
    assert_eq!(group.wait_for_leader(&[0]), 0);
    group.wait_for_agents(0, 1);
    let output = tool.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout), (Some(0), b"hello\n".to_vec()));
}

#[test]
fn an_ensemble_that_forgot_everything_expires_sessions_and_is_filled_again() {
    let mut group = Masters::builder().start();
    let before = id(&group, 0).unwrap();
    let server = &mut group.ensemble.servers[0];
    server.part.kill();
    std::fs::remove_dir_all(group.ensemble.dir().join("zookeeper0/data/version-2")).unwrap();
    group.ensemble.servers[0].part.start();
    group.ensemble.wait_until_serving();
    let (leader, _) = group.takeover(Instant::now(), &[0, 1], 2);
    assert_ne!(id(&group, leader), Some(before), "a new session is a new candidacy");
    let log = group.masters.iter().map(|master| master.part.log()).collect::<String>();
    assert!(log.contains("leading no more"), "{log}");
}

#[test]
fn a_znode_that_is_removed_ends_the_leadership_and_a_standby_stands_again() {
    let group = Masters::builder().start();
    let (children, ..) = znodes(&group);
    // The standby's first: it makes another one, behind nobody's back.
    let standby = format!("/mezzo/{}", children[1]);
    ask(&group, |client| async move { client.delete(&standby, None).await.unwrap() });
    let again = wait::until("the standby stands again", || {
        let (now, ..) = znodes(&group);
        (now.len() == 2 && now[1] != children[1]).then_some(now)
    });
    assert_eq!(again[0], children[0]);
    assert!(group.leads(0));

    let leader = format!("/mezzo/{}", children[0]);
    ask(&group, |client| async move { client.delete(&leader, None).await.unwrap() });
    group.takeover(Instant::now(), &[1], 2);
    group.wait_for_standby(0, 1);
}

#[test]
fn whoever_is_refused_says_so_and_stands_by() {
    let mut group = Masters::builder().masters(1).agents(1).credentials("user:secret").start();
    let (number, wrong) = (group.masters.len(), group.ensemble.url_as("user:wrong", "/mezzo"));
    group.add_master(&[&format!("--zk={wrong}")]);
    wait::until("the refused master says so", || {
        let log = group.masters[number].part.log();
        log.contains("does not let this master create its znodes").then_some(())
    });
    assert!(group.masters[number].part.is_running());
    assert!(!group.leads(number) && group.redirect(number).is_none());
    assert!(!group.masters[number].part.log().contains("wrong"), "the password is in the log");
    // Detection needs no rights.
    group.add_agent_with(&wrong);
    group.wait_for_agents(0, 2);
}

#[test]
fn a_detector_keeps_the_last_leader_while_zookeeper_is_away() {
    let mut group = Masters::builder().agents(0).start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let mut detector = Detector::new(source(&group.url()).unwrap());
    let mut next =
        |patience: Duration| runtime.block_on(async { tokio::time::timeout(patience, detector.changed()).await.ok() });
    let port = |info: &mezzo_election::MasterInfo| address_of(info).1;
    let first = next(wait::PATIENCE).flatten().expect("a leader");
    assert_eq!(port(&first), group.masters[0].address.port());
    group.ensemble.servers[0].part.kill();
    // The masters step down; that is not known here, and the last leader is as good as any.
    wait::until("the leader steps down", || (!group.leads(0)).then_some(()));
    assert_eq!(next(Duration::from_millis(500)), None);
    group.ensemble.servers[0].part.start();
    group.ensemble.wait_until_serving();
    let leader = group.wait_for_leader(&[0, 1]);
    let told = wait::until("the new leader is told", || next(Duration::from_secs(1)).flatten());
    assert_eq!(port(&told), group.masters[leader].address.port());
}
