//! What keeps a deposed leader that does not know it from doing harm, each guard alone; and for each of them that its test
//! fails without it: the servers of these tests are built with their guards to be taken out (`mezzo_api::mutants`).

use std::process::Command;
use std::time::{Duration, Instant};

use mezzo_tests::framework::Framework;
use mezzo_tests::hold::Hold;
use mezzo_tests::http::{self, Request};
use mezzo_tests::masters::Masters;
use mezzo_tests::{environment, http::Response, tasks, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::events::{ask, znodes};

/// Long enough that no session ends while a leader's wire is held.
const SESSION: Duration = Duration::from_secs(20);
/// More than a leader may sleep without asking whether it leads still (0.4 s).
const SLEEP: Duration = Duration::from_secs(1);

/// Two masters, the first of which reaches ZooKeeper by a wire that can be held.
struct Scene {
    group: Masters,
    hold: Hold,
}

impl Scene {
    /// `broken`: the first master is without these guards whatever the test is run with.
    fn start(flags: &[&str], broken: Option<&str>) -> Self {
        let builder = Masters::builder().masters(0).agents(0).session(SESSION);
        let builder = flags.iter().fold(builder, |builder, flag| builder.master_flag(flag));
        let mut group = builder.start();
        let hold = Hold::before(group.ensemble.servers[0].address);
        group.add_master(&[&format!("--zk=zk://{}/mezzo", hold.address())]);
        if let Some(guards) = broken {
            let first = &mut group.masters[0].part;
            first.kill();
            first.set_variable("MEZZO_MUTANTS", guards);
            first.start();
        }
        assert_eq!(group.wait_for_leader(&[0]), 0);
        group.add_master(&[]);
        group.wait_for_standby(1, 0);
        group.add_agent();
        group.wait_for_agents(0, 1);
        Self { group, hold }
    }

    /// The leader is frozen, somebody removes its znode, and it wakes up: nobody has told it yet that the other one leads.
    fn depose_in_its_sleep(&self) {
        let first = &self.group.masters[0].part;
        first.signal(Signal::SIGSTOP);
        let asleep = Instant::now();
        self.hold.hold();
        self.remove_znode();
        self.group.takeover(asleep, &[1], 1);
        std::thread::sleep(SLEEP.saturating_sub(asleep.elapsed()));
        first.signal(Signal::SIGCONT);
    }

    fn remove_znode(&self) {
        let (children, ..) = znodes(&self.group);
        let leader = format!("/mezzo/{}", children[0]);
        ask(&self.group, |client| async move { client.delete(&leader, None).await.unwrap() });
    }

    /// The first master hears what happened, and stands by.
    fn tell(&self) {
        self.hold.let_go();
        self.group.wait_for_standby(0, 1);
    }
}

/// The lease. Agents are given up after 3 s of silence: a timer is due when the deposed leader wakes up.
#[test]
fn a_leader_that_wakes_up_deposed_does_nothing_before_it_has_asked() {
    let scene = Scene::start(&["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=3"], None);
    let first = &scene.group.masters[0];
    let mut framework = Framework::subscribe(first.address, tasks::framework_info("f", "*"));
    framework.run("t", "sleep 1000");
    framework.wait_status("t", "TASK_RUNNING");
    framework.wait_any_offer();
    let before = first.part.log();
    let mark = framework.mark();
    scene.depose_in_its_sleep();
    // Asked at once, it answers only after it has waited in vain to be sure: time enough for every timer.
    let answer = http::send(first.address, &Request::get("/slaves")).unwrap();
    assert_ne!(answer.status(), 200, "the deposed leader answers as a leader");
    framework.listen(Duration::from_millis(100));
    assert_eq!(framework.events[mark..], [] as [Value; 0], "the deposed leader speaks to its frameworks");
    let log = first.part.log();
    let since = &log[before.len()..];
    assert!(!since.contains("agent"), "the deposed leader does something with its agents: {since}");
    scene.tell();
    assert_eq!(scene.group.active_agents(1), 1);
}

/// The fence. A write was under way when the leader was deposed, and arrives late.
#[test]
fn a_late_write_of_a_deposed_leader_has_no_effect() {
    let scene = Scene::start(&[], None);
    let first = scene.group.masters[0].address;
    scene.hold.hold();
    let asked = std::thread::spawn(move || put_weight(first, "late"));
    wait::until_true("the write is under way", || {
        http::get_json(first, "/metrics/snapshot")["registrar/queued_operations"].as_f64() > Some(0.0)
    });
    scene.remove_znode();
    scene.group.takeover(Instant::now(), &[1], 1);
    let second = scene.group.masters[1].address;
    assert_eq!(put_weight(second, "timely").unwrap().status(), 200);
    scene.tell();
    let answer = asked.join().unwrap();
    let registry = dump(&scene.group.url());
    assert!(registry.contains("timely"), "{registry}");
    assert!(!registry.contains("late"), "a deposed leader wrote into the registry: {registry}");
    assert!(answer.is_err() || answer.as_ref().is_ok_and(|answer| answer.status() != 200), "{answer:?}");
}

fn put_weight(master: std::net::SocketAddr, role: &str) -> std::io::Result<Response> {
    let mut request = Request::new("PUT", "/weights");
    request.body = format!(r#"[{{"role": "{role}", "weight": 2.0}}]"#).into_bytes();
    http::send(master, &request)
}

fn dump(url: &str) -> String {
    let mut command = Command::new(environment::binary("mezzo"));
    let output = command.args(["registry", "dump", &format!("--zk={url}")]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The term. A leader that lost all other guards acts on; an agent that was told of the next one does nothing for it, even
/// when it is sent to it and has forgotten everything that it has not written down.
#[test]
fn an_agent_refuses_a_leader_of_an_older_term() {
    let mut scene = Scene::start(&[], Some("doors-without-lease,core-without-lease"));
    scene.depose_in_its_sleep();
    let stale = scene.group.masters[0].address;
    assert!(scene.group.leads(0), "the broken leader acts on, or this test means nothing");
    let agent = &mut scene.group.agents[0].part;
    let before = agent.log().len();
    agent.kill();
    agent.set_flag(&format!("--master={stale}"));
    agent.start();
    let agent = &scene.group.agents[0].part;
    let said = wait::until("the agent heard of the stale leader", || {
        let log = agent.log()[before..].to_owned();
        (log.contains("refused a master of an older term") || log.contains("registered")).then_some(log)
    });
    assert!(said.contains("refused a master of an older term"), "the agent obeys a deposed leader: {said}");
    assert_eq!(scene.group.active_agents(0), 0, "the agent obeys a deposed leader");
    scene.tell();
    scene.group.wait_for_agents(1, 1);
}

/// Runs a test of this program with guards taken out: it must fail, and say this.
fn needed(guard: &str, test: &str, because: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("ha::guards::{test}"), "--nocapture"]).env("MEZZO_MUTANTS", guard);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("running 1 test"), "{said}");
    assert!(
        !output.status.success(),
        "{test} passes without {guard}: it would not find that the guard is gone\n{said}"
    );
    assert!(said.contains(because), "{test} fails without {guard}, but says something else:\n{said}");
}

#[test]
fn without_the_lease_at_the_doors_the_first_fails() {
    let test = "a_leader_that_wakes_up_deposed_does_nothing_before_it_has_asked";
    needed("doors-without-lease", test, "the deposed leader answers as a leader");
}

#[test]
fn without_the_lease_in_the_core_the_first_fails() {
    let test = "a_leader_that_wakes_up_deposed_does_nothing_before_it_has_asked";
    needed("core-without-lease", test, "the deposed leader speaks to its frameworks");
}

#[test]
fn without_the_fence_the_second_fails() {
    let test = "a_late_write_of_a_deposed_leader_has_no_effect";
    needed("registry-unfenced", test, "a deposed leader wrote into the registry");
}

#[test]
fn without_the_term_the_third_fails() {
    needed("older-term-obeyed", "an_agent_refuses_a_leader_of_an_older_term", "the agent obeys a deposed leader");
}
