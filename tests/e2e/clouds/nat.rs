//! An agent behind two layers of NAT: nobody reaches it, and it does everything.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mezzo_tests::framework::Framework;
use mezzo_tests::hosts::{Host, Network, Quality, Router, Segment, Wire};
use mezzo_tests::{environment, http, tasks, wait};
use serde_json::{Value, json};

use super::site::{Site, metric};

/// A master and a desk outside, a router, a router behind it, and a host for the agent behind that.
struct Place {
    site: Site,
    master: SocketAddr,
    outer: Router,
    middle: Router,
    private: Host,
    inner: Segment,
    desk: Host,
    _wire: Option<Wire>,
    /// After all that runs in it.
    network: Network,
}

fn place(quality: Option<Quality>) -> Option<Place> {
    let mut network = Network::new()?;
    let (outside, between, inner) = (network.segment(), network.segment(), network.segment());
    let master_host = network.host("m1", &outside);
    let desk = network.host("desk", &outside);
    let outer = network.router("r1", &between, &outside);
    let middle = network.router("r2", &inner, &between);
    middle.host().route_by(&between);
    let (private, wire) = match quality {
        Some(quality) => {
            let (host, wire) = network.host_on_wire("a1", &inner, quality);
            (host, Some(wire))
        }
        None => (network.host("a1", &inner), None),
    };
    private.route_by(&inner);
    desk.enter();
    let mut site = Site::new();
    let master = site.master(&master_host, &[]);
    Some(Place { site, master, outer, middle, private, inner, desk, _wire: wire, network })
}

impl Place {
    fn framework(&self) -> Framework {
        Framework::subscribe(self.master, tasks::framework_info("nat", "dev"))
    }

    /// Runs a task, and reads what it wrote through the master.
    fn runs_a_task(&self, framework: &mut Framework, id: &str, lines: u32) {
        framework.run(id, &format!("seq 1 {lines}; sleep 1000"));
        let status = framework.wait_status(id, "TASK_RUNNING");
        let agent = status["agent_id"]["value"].as_str().expect("a running task has an agent");
        let executor = framework.id.clone();
        let path = format!("/frameworks/{executor}/executors/{id}/runs/latest/stdout");
        let expected: String = (1..=lines).map(|line| format!("{line}\n")).collect();
        let url = format!("/agent/{agent}/files/download?path={path}");
        wait::until("the sandbox is read through the master", || {
            let response = http::send(self.master, &http::Request::get(&url)).ok()?;
            (response.status() == 200 && response.text().ends_with(&expected)).then_some(())
        });
    }
}

impl Place {
    /// A session through the master, from a desk that does not reach the agent.
    fn runs_a_command_in_it(&self, task: &str) {
        let mut client = Command::new(environment::binary("mezzo"))
            .args(["task", "exec", "-i", &format!("--master={}", self.master), task, "sh", "-c", "cat; exit 10"])
            .env(mezzo_tests::part::MARK, self.site.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let all = vec![b'x'; 3_000_000];
        let (mut stdin, given) = (client.stdin.take().unwrap(), all.clone());
        let writing = std::thread::spawn(move || stdin.write_all(&given));
        let output = client.wait_with_output().unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!((output.status.code(), output.stdout == all), (Some(10), true), "{} bytes", output.stdout.len());
    }
}

fn offer_url(framework: &mut Framework) -> Value {
    framework.wait_any_offer()["url"]["address"].clone()
}

/// Nothing is advertised, nothing is forwarded.
#[test]
fn an_agent_that_nobody_reaches_does_everything() {
    let Some(mut place) = place(None) else { return };
    let number = place.site.agent(&place.private, &place.master.to_string(), &[]);
    place.site.wait_until_registered(place.master, number, wait::PATIENCE);
    let refused = http::send(place.site.agents[number].address, &http::Request::get("/health"));
    assert!(refused.is_err(), "nobody outside reaches the agent, or this test means nothing");
    let said = format!("advertised {}:5051 is not reachable from this master", place.private.address());
    wait::until_true("the master says that nobody reaches the agent", || {
        let shown = place.site.shown(place.master, number).unwrap_or_default();
        shown["warning"].as_str().is_some_and(|warning| warning.starts_with(&said))
    });
    place.site.wait_for_line(number, &format!("the master says: {said}"));
    wait::until_true("the master counts it", || metric(place.master, "master/slaves_address_unreachable") == 1.0);
    let mut framework = place.framework();
    place.runs_a_task(&mut framework, "hidden", 20_000);
    place.runs_a_command_in_it("hidden");
    framework.teardown();

    // A framework behind the same routers, with an executor of its own.
    place.private.enter();
    let mut inside = Framework::subscribe(place.master, tasks::framework_info("inside", "ops"));
    let offer = inside.wait_any_offer();
    let mut task = tasks::command("custom", tasks::agent_of(&offer), "");
    task.as_object_mut().expect("a task").remove("command");
    task["executor"] = json!({
        "executor_id": {"value": "custom"},
        "framework_id": {"value": inside.id},
        "command": {"value": format!("{} json", env!("CARGO_BIN_EXE_scripted-executor"))},
        "resources": tasks::small(),
    });
    inside.launch(&offer, &[task]);
    inside.wait_status("custom", "TASK_RUNNING");
    inside.teardown();
    place.desk.enter();
}

/// The same agent with a port that both routers forward.
#[test]
fn an_advertised_address_is_what_everybody_sees() {
    let Some(mut place) = place(None) else { return };
    place.outer.forward(15_051, place.middle.address(), 15_051);
    place.middle.forward(15_051, place.private.address(), 5051);
    let (ip, domain) = (place.outer.address().to_string(), "--region=home");
    let address = format!("--advertise_ip={ip}");
    let flags = [address.as_str(), "--advertise_port=15051"];
    let number = place.site.agent(&place.private, &place.master.to_string(), &flags);
    place.site.wait_until_registered(place.master, number, wait::PATIENCE);
    let seen = http::send(SocketAddr::new(ip.parse().unwrap(), 15_051), &http::Request::get("/health")).unwrap();
    assert_eq!(seen.status(), 200);
    let mut framework = place.framework();
    assert_eq!(offer_url(&mut framework), json!({"hostname": "agent0", "ip": ip, "port": 15_051}));
    let shown = place.site.shown(place.master, number).unwrap();
    assert_eq!(shown["pid"], format!("slave(1)@{ip}:15051"));
    place.runs_a_task(&mut framework, "forwarded", 10);
    assert_eq!(place.site.shown(place.master, number).unwrap()["warning"], Value::Null);

    // Another agent that claims the same address is told that another one answers there.
    let other = place.network.host("a2", &place.inner);
    other.route_by(&place.inner);
    let number = place.site.agent(&other, &place.master.to_string(), &flags);
    place.site.wait_until_registered(place.master, number, wait::PATIENCE);
    wait::until_true("the master finds the wrong agent", || {
        let shown = place.site.shown(place.master, number).unwrap_or_default();
        shown["warning"].as_str().is_some_and(|warning| warning.contains("another agent answers there"))
    });
    assert_eq!(metric(place.master, "master/slaves_address_unreachable"), 1.0);

    // A domain that the master cannot compare is refused, with a word on what to do.
    let third = place.network.host("a3", &place.inner);
    third.route_by(&place.inner);
    let number = place.site.agent(&third, &place.master.to_string(), &[domain, "--zone=z"]);
    place.site.wait_for_line(number, "give the masters theirs first");
    framework.teardown();
}

/// A slow and lossy line changes nothing but time.
#[test]
fn a_bad_line_is_enough() {
    let quality = Quality { delay: Duration::from_millis(200), loss: 0.05 };
    let Some(mut place) = place(Some(quality)) else { return };
    let number = place.site.agent(&place.private, &place.master.to_string(), &[]);
    place.site.wait_until_registered(place.master, number, Duration::from_secs(60));
    let mut framework = place.framework();
    let start = Instant::now();
    for task in 0..3 {
        place.runs_a_task(&mut framework, &format!("slow-{task}"), 20_000);
    }
    assert!(start.elapsed() > Duration::from_millis(800), "the wire has no delay: this test means nothing");
    assert_eq!(metric(place.master, "master/slave_removals"), 0.0);
    framework.teardown();
}
