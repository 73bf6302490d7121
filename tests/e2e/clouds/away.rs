//! Agents that are away: for less than the master's patience, for more, and those that come back as another boot.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mezzo_tests::hosts::{Host, Network};
use mezzo_tests::{http, wait};
use serde_json::json;

use super::checker::{at_any_moment, processes, settle};
use super::keeper::Keeper;
use super::site::{Site, metric};

/// How long all may take to come to rest.
const REST: Duration = Duration::from_secs(60);

/// A master, two agents and a desk on one segment.
struct Place {
    site: Site,
    master: SocketAddr,
    hosts: Vec<Host>,
    _network: Network,
}

fn place(flags: &[&str]) -> Option<Place> {
    let mut network = Network::new()?;
    let segment = network.segment();
    let master_host = network.host("m1", &segment);
    let hosts: Vec<Host> = ["a0", "a1"].iter().map(|name| network.host(name, &segment)).collect();
    network.host("desk", &segment).enter();
    let mut site = Site::new();
    let master = site.master(&master_host, flags);
    for host in &hosts {
        let number = site.agent(host, &master.to_string(), &[]);
        site.wait_until_registered(master, number, wait::PATIENCE);
    }
    Some(Place { site, master, hosts, _network: network })
}

/// Patience of four seconds instead of 75.
const SHORT: [&str; 2] = ["--agent_ping_timeout=1secs", "--max_agent_ping_timeouts=4"];

impl Place {
    fn keeper(&self, name: &str, checkpoint: bool, wanted: usize) -> Keeper {
        let mut keeper = Keeper::start(&[self.master], name, checkpoint, wanted);
        keeper.work_until(REST, "its tasks run", |keeper| keeper.is_content());
        keeper
    }

    fn settle(&self, keeper: &mut Keeper) {
        settle(keeper, self.master, self.site.dir(), REST);
    }

    /// Works on, looking on at every moment.
    fn work(&self, keeper: &mut Keeper, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            keeper.work(Duration::from_millis(20));
            at_any_moment(keeper, self.site.dir()).unwrap_or_else(|violation| panic!("{violation}"));
        }
    }
}

/// Less than the master's patience: nobody notices, whether its framework checkpoints or not.
#[test]
fn a_short_absence_is_nothing() {
    let Some(place) = place(&SHORT) else { return };
    for checkpoint in [true, false] {
        let mut keeper = place.keeper(&format!("checkpoint-{checkpoint}"), checkpoint, 4);
        let (mark, before) = (keeper.told.len(), processes(place.site.dir()));
        place.hosts[0].set_link(false);
        place.work(&mut keeper, Duration::from_millis(2500));
        place.hosts[0].set_link(true);
        place.work(&mut keeper, Duration::from_secs(6));
        assert_eq!(keeper.told_since(mark), [] as [String; 0]);
        place.settle(&mut keeper);
        assert_eq!(processes(place.site.dir()), before, "the same processes");
        assert_eq!(metric(place.master, "master/slave_removals"), 0.0);
        keeper.end();
        wait::until_true("its tasks end", || processes(place.site.dir()).is_empty());
    }
}

/// More than the master's patience: its tasks run elsewhere; when it comes back it hears so, and what is too much ends.
#[test]
fn a_long_absence_costs_the_tasks_their_place() {
    let Some(mut place) = place(&SHORT) else { return };
    let mut keeper = place.keeper("long", true, 4);
    place.settle(&mut keeper);
    let first = place.site.wait_until_registered(place.master, 0, wait::PATIENCE);
    let theirs = processes(place.site.dir()).into_iter().filter(|process| process.agent == first).count();
    assert!(theirs > 0, "a task runs where the cable will be cut");
    place.hosts[0].set_link(false);
    keeper.work_until(REST, "its tasks are told to be unreachable", |keeper| {
        keeper.told.iter().filter(|(_, state)| state == "TASK_UNREACHABLE").count() == theirs
    });
    keeper.work_until(REST, "they run elsewhere", |keeper| keeper.running().len() == 4);
    assert_eq!(processes(place.site.dir()).len(), 4 + theirs, "what cannot hear runs on");
    assert_eq!(metric(place.master, "master/slave_removals/reason_unhealthy"), 1.0);
    place.hosts[0].set_link(true);
    assert_eq!(place.site.wait_until_registered(place.master, 0, REST), first, "under its own id");
    place.settle(&mut keeper);
    place.site.wait_for_line(0, "the master says: this agent did not answer and was unreachable to the master for");

    // The machine loses its power: a new boot, the same agent, its tasks are gone.
    place.site.reboot(0);
    place.site.wait_until_registered(place.master, 0, REST);
    place.settle(&mut keeper);
    keeper.end();
}

/// The operator gives an agent up: it ends, and is never taken again under its id.
#[test]
fn a_gone_agent_that_returns_is_sent_away() {
    let Some(mut place) = place(&SHORT) else { return };
    let mut keeper = place.keeper("gone", true, 4);
    place.settle(&mut keeper);
    let id = place.site.wait_until_registered(place.master, 0, wait::PATIENCE);
    place.hosts[0].set_link(false);
    keeper.work_until(REST, "the agent is unreachable", |keeper| {
        keeper.told.iter().any(|(_, state)| state == "TASK_UNREACHABLE")
    });
    let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": id}}}).to_string();
    let post = || http::send(place.master, &http::Request::post("/api/v1", "application/json", call.clone())).unwrap();
    assert_eq!(post().status(), 200);
    keeper.work_until(REST, "its tasks are told to be gone", |keeper| {
        keeper.told.iter().any(|(_, state)| state == "TASK_GONE_BY_OPERATOR")
    });
    assert_eq!(post().status(), 200, "it is what was asked for");
    place.hosts[0].set_link(true);
    wait::until_within(REST, "the agent is told to end, and its tasks with it", || {
        (!place.site.agents[0].part.is_running()).then_some(())
    });
    assert!(place.site.agents[0].part.log().contains("Agent has been marked gone"));
    place.settle(&mut keeper);
    keeper.end();
}

/// With Mesos' own 15 s and 5 pings: a minute is nothing, 75 s are not yet the end of everything but of the tasks' place.
#[test]
fn the_true_patience_is_75_seconds() {
    let Some(place) = place(&[]) else { return };
    let mut keeper = place.keeper("patient", true, 4);
    place.settle(&mut keeper);
    let mark = keeper.told.len();
    place.hosts[0].set_link(false);
    let cut = Instant::now();
    place.work(&mut keeper, Duration::from_secs(60));
    assert_eq!(keeper.told_since(mark), [] as [String; 0], "after a minute");
    keeper.work_until(Duration::from_secs(60), "the tasks are told to be unreachable", |keeper| {
        keeper.told[mark..].iter().any(|(_, state)| state == "TASK_UNREACHABLE")
    });
    let silence = cut.elapsed().as_secs_f64();
    // Silence counts from the last pong, which came up to one interval before the cut.
    assert!((60.0..100.0).contains(&silence), "told after {silence:.1} s");
    keeper.work_until(REST, "they run elsewhere", |keeper| keeper.running().len() == 4);
    place.hosts[0].set_link(true);
    place.settle(&mut keeper);
    keeper.end();
}
