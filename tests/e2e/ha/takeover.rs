//! A leader goes: another one leads with all agents, and tasks never notice.

use std::time::{Duration, Instant};

use mezzo_tests::framework::Framework;
use mezzo_tests::masters::Masters;
use mezzo_tests::{leftovers, tasks, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// Busy machines are given more than the promised time, which `docs/performance.md` measures.
const SLACK: Duration = Duration::from_secs(3);

/// A framework with a task that runs, which each way of going must leave alone.
struct Bystander {
    framework: Framework,
    pids: Vec<i32>,
}

/// One process, however the shell does it.
const TASK: &str = "exec sleep 1000";

impl Bystander {
    fn start(group: &Masters, leader: usize) -> Self {
        let mut info = tasks::framework_info("bystander", "*");
        info["failover_timeout"] = json!(3600.0);
        let mut framework = Framework::subscribe(group.masters[leader].address, info);
        framework.run("t", TASK);
        framework.wait_status("t", "TASK_RUNNING");
        let pids = Self::pids(group);
        assert!(!pids.is_empty(), "the task has no process");
        Self { framework, pids }
    }

    fn pids(group: &Masters) -> Vec<i32> {
        let all = leftovers::of(&group.dir());
        all.into_iter().filter(|process| process.command.contains("sleep 1000")).map(|process| process.pid).collect()
    }

    /// It resubscribes with the new leader: the same task runs, in the same process, and it is offered something.
    fn finds_everything(&mut self, group: &Masters, leader: usize) {
        let mark = self.framework.mark();
        wait::until("the framework is subscribed again", || self.framework.follow(group.masters[leader].address).ok());
        self.framework.call("RECONCILE", json!({"reconcile": {"tasks": []}}));
        let told = self.framework.wait_since(mark, "the task runs", |event| {
            event["type"] == "UPDATE" && event["update"]["status"]["task_id"]["value"] == "t"
        });
        assert_eq!(told["update"]["status"]["state"], "TASK_RUNNING", "{told}");
        self.framework.wait_any_offer();
        assert_eq!(Self::pids(group), self.pids, "the task was restarted");
    }
}

fn group() -> Masters {
    Masters::builder().start()
}

/// The old leader goes by `go`, and master 1 leads within `promised`.
fn hands_over(group: &mut Masters, promised: Duration, go: impl FnOnce(&mut Masters)) {
    let mut bystander = Bystander::start(group, 0);
    let since = Instant::now();
    go(group);
    let (leader, took) = group.takeover(since, &[1], 2);
    eprintln!("the next leader has all agents after {:.2} s", took.as_secs_f64());
    assert!(took < promised + SLACK, "{took:?}");
    bystander.finds_everything(group, leader);
    eprintln!("its first offer was there after {:.2} s at the latest", since.elapsed().as_secs_f64());
}

/// The old one is started again: it stands by.
fn rejoins(group: &mut Masters) {
    group.masters[0].part.start();
    group.wait_for_standby(0, 1);
    assert!(group.leads(1));
}

#[test]
fn a_planned_stop_hands_over_at_once() {
    let mut group = group();
    hands_over(&mut group, Duration::from_secs(1), |group| {
        group.masters[0].part.signal(Signal::SIGTERM);
    });
    let ended = group.masters[0].part.wait(Duration::from_secs(10));
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    rejoins(&mut group);
}

#[test]
fn a_killed_leader_is_replaced_long_before_its_session_ends() {
    let mut group = Masters::builder().session(Duration::from_secs(10)).start();
    hands_over(&mut group, Duration::from_millis(1500), |group| group.masters[0].part.kill());
    rejoins(&mut group);
    // The former leader leads again when the present one is killed; the cooldown of challenges is over by then, or not.
    group.masters[1].part.kill();
    let (leader, _) = group.takeover(Instant::now(), &[0], 2);
    assert_eq!(leader, 0);
}

#[test]
fn a_master_that_is_restarted_at_once_does_not_wait_for_its_own_znode() {
    let mut group = Masters::builder().masters(1).session(Duration::from_secs(20)).start();
    let id = |state: Value| state["id"].as_str().map(str::to_owned);
    let before = group.state(0).and_then(id);
    let since = Instant::now();
    group.masters[0].part.kill();
    group.masters[0].part.start();
    let (_, took) = group.takeover(since, &[0], 2);
    eprintln!("the restarted master has all agents after {:.2} s", took.as_secs_f64());
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_ne!(group.state(0).and_then(id), before, "a new candidacy has a new id");
    assert!(group.masters[0].part.log().contains("removed the znode of this master's earlier life"));
}

#[test]
fn the_cli_and_listed_masters_follow_the_leader() {
    let mut group = Masters::builder().agents(0).start();
    let list = format!("{},{}", group.masters[0].address, group.masters[1].address);
    group.add_agent_with(&list);
    let file = group.dir().join("masters");
    std::fs::write(&file, format!("{}\n", group.url())).unwrap();
    group.add_agent_with(&format!("file://{}", file.display()));
    group.wait_for_agents(0, 2);
    let run = |master: &str| {
        let output = std::process::Command::new(mezzo_tests::environment::binary("mezzo"))
            .args(["run", &format!("--master={master}"), "--", "echo", "hello"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n");
    };
    run(&group.url());
    group.masters[0].part.kill();
    group.takeover(Instant::now(), &[1], 2);
    run(&group.url());
    run(&format!("file://{}", file.display()));
    run(&list);
}
