//! Rolling restarts of an agent under load: no task notices. Ten in CI, 200 by `cargo xtask soak`.
//!
//! In turn as an operator stops it, as an upgrade replaces it, and as a crash ends it: at a random moment, which may be in the
//! middle of its recovery.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use mezzo_tests::{cluster::Cluster, environment, framework::Framework, tasks, wait};
use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::number;

/// Command tasks that run all the time, beside a pod of two and a task whose health is looked at.
const STEADY: usize = 20;
const SLEEPERS: usize = STEADY + 3;
/// Short tasks that are launched on one offer.
const SHORT: usize = 4;

#[test]
fn soak_rolling_restarts() {
    let restarts = number("MEZZO_ROLLING_RESTARTS", 10);
    let seed = number("MEZZO_SOAK_SEED", u64::from(std::process::id()));
    eprintln!("{restarts} restarts with seed {seed}");
    let mut rolling = Rolling::start(seed);
    for restart in 0..restarts {
        rolling.restart(restart);
    }
    let short = rolling.settle();
    eprintln!("{restarts} restarts: {SLEEPERS} tasks ran on, of {} short ones {short:?}", rolling.short.len());
    rolling.end();
}

struct Rolling {
    cluster: Cluster,
    framework: Framework,
    agent: String,
    random: StdRng,
    steady: Vec<String>,
    /// Their processes.
    before: BTreeMap<i32, String>,
    short: Vec<String>,
    /// The same programs in two places: an upgrade goes from one to the other.
    programs: [PathBuf; 2],
}

impl Rolling {
    fn start(seed: u64) -> Self {
        let cluster = Cluster::builder().resources("cpus:16;mem:16384;disk:10000;ports:[31000-31009]").start();
        let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("rolling", "dev"));
        let programs = ["one", "other"].map(|name| install(&cluster.dir().join(name)));
        let agent = tasks::agent_of(&framework.wait_any_offer()).to_owned();
        let steady = launch_steady(&mut framework, &agent);
        // A task runs from its fork on; its shell has yet to become what it is to be.
        wait::until_true("all sleep", || sleepers(&cluster).len() == SLEEPERS);
        let before = sleepers(&cluster);
        let random = StdRng::seed_from_u64(seed);
        Self { cluster, framework, agent, random, steady, before, short: Vec::new(), programs }
    }

    fn restart(&mut self, number: u64) {
        match number % 3 {
            0 => self.stop(),
            1 => {
                self.stop();
                let program = self.programs[usize::from(number.is_multiple_of(2))].clone();
                self.cluster.agents[0].part.set_program(program);
            }
            _ => {
                let calm = self.random.random_range(0..300);
                self.load(Duration::from_millis(calm));
                self.cluster.restart_agent(0);
                // While it recovers, or a little later.
                let calm = self.random.random_range(0..150);
                self.load(Duration::from_millis(calm));
                self.cluster.agents[0].part.kill();
            }
        }
        // What is launched now is on its way to an agent that is away.
        self.load(Duration::from_millis(20));
        self.cluster.agents[0].part.start();
        wait::until_true("the agent is back", || {
            self.framework.listen(Duration::from_millis(20));
            self.cluster.agent_ids().len() == 1
        });
        self.load(Duration::from_millis(100));
        assert_eq!(sleepers(&self.cluster), self.before, "after {number} restarts");
    }

    fn stop(&mut self) {
        self.load(Duration::from_millis(50));
        let part = &mut self.cluster.agents[0].part;
        part.signal(Signal::SIGTERM);
        assert!(part.wait(Duration::from_secs(20)).is_some_and(|status| status.success()), "the agent ends when asked");
        part.kill();
    }

    /// Launches short tasks on whatever is offered for so long.
    fn load(&mut self, duration: Duration) {
        let end = std::time::Instant::now() + duration;
        loop {
            if let Some(offer) = self.framework.offers.values().next().cloned() {
                let room = tasks::amount(&offer, "cpus") / 0.1 - 0.5;
                let numbers = (0..SHORT).take_while(|n| (*n as f64) < room);
                let names: Vec<String> = numbers.map(|n| format!("short-{}", self.short.len() + n)).collect();
                let list: Vec<Value> =
                    names.iter().map(|name| tasks::command(name, &self.agent, "sleep 0.05")).collect();
                self.framework.launch(&offer, &list);
                self.short.extend(names);
            }
            self.framework.listen(Duration::from_millis(10));
            if std::time::Instant::now() >= end {
                return;
            }
        }
    }

    /// Waits for the ends of all short tasks, and holds that nothing was ever said of those that run on but that they do.
    fn settle(&mut self) -> BTreeMap<String, usize> {
        wait::until_within(Duration::from_secs(120), "all short tasks end", || {
            self.framework.listen(Duration::from_millis(100));
            (self.ends().len() == self.short.len()).then_some(())
        });
        let mut ends: BTreeMap<String, usize> = BTreeMap::new();
        for (name, last) in self.ends() {
            // One whose launch was on its way to an agent that was away is dropped, and nothing worse.
            assert!(last["state"] == "TASK_FINISHED" || last["state"] == "TASK_DROPPED", "{name}: {last}");
            *ends.entry(last["state"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        for name in &self.steady {
            let mut seen = BTreeSet::new();
            for status in self.framework.statuses(name) {
                let fine = status["state"] == "TASK_STARTING" || status["state"] == "TASK_RUNNING";
                assert!(fine && status["healthy"] != false, "{name}: {status}");
                seen.insert(status["state"].as_str().unwrap().to_owned());
            }
            assert_eq!(seen.len(), 2, "{name}: {seen:?}");
        }
        ends
    }

    /// The last words of each short task.
    fn ends(&self) -> BTreeMap<&str, &Value> {
        let statuses = self.framework.events.iter().map(|event| &event["update"]["status"]);
        let short = statuses.filter_map(|status| {
            let id = status["task_id"]["value"].as_str().filter(|id| id.starts_with("short-"))?;
            is_end(status).then_some((id, status))
        });
        short.collect()
    }

    /// They are still the agent's to end.
    fn end(mut self) {
        for name in &self.steady {
            self.framework.call("KILL", json!({"task_id": {"value": name}}));
        }
        for name in &self.steady.clone() {
            self.framework.wait_status(name, "TASK_KILLED");
        }
        wait::until_true("no task is left", || sleepers(&self.cluster).is_empty());
    }
}

fn is_end(status: &Value) -> bool {
    tasks::is_terminal(status["state"].as_str().unwrap_or_default())
}

fn launch_steady(framework: &mut Framework, agent: &str) -> Vec<String> {
    let sleeps = |name: &str| tasks::command(name, agent, "exec sleep 7777");
    let mut names: Vec<String> = (0..STEADY).map(|number| format!("steady-{number}")).collect();
    let mut list: Vec<Value> = names.iter().map(|name| sleeps(name)).collect();
    let mut healthy = sleeps("healthy");
    healthy["health_check"] = json!({
        "type": "COMMAND", "command": {"value": "test -e stdout"}, "consecutive_failures": 1,
        "delay_seconds": 0.0, "grace_period_seconds": 0.0, "interval_seconds": 0.1, "timeout_seconds": 30.0,
    });
    list.push(healthy);
    let executor = json!({
        "type": "DEFAULT", "executor_id": {"value": "pod"}, "framework_id": {"value": framework.id},
        "resources": [tasks::scalar("cpus", 0.1), tasks::scalar("mem", 32.0), tasks::scalar("disk", 1.0)],
    });
    let group = json!({"tasks": [sleeps("pod-a"), sleeps("pod-b")]});
    let offer = framework.wait_any_offer();
    framework.accept(
        &offer,
        json!([
            {"type": "LAUNCH", "launch": {"task_infos": list}},
            {"type": "LAUNCH_GROUP", "launch_group": {"executor": executor, "task_group": group}},
        ]),
    );
    names.extend(["healthy", "pod-a", "pod-b"].map(str::to_owned));
    for name in &names {
        framework.wait_status(name, "TASK_RUNNING");
    }
    names
}

fn sleepers(cluster: &Cluster) -> BTreeMap<i32, String> {
    let children = cluster.children().into_iter().filter(|process| process.command == "sleep 7777");
    children.map(|process| (process.pid, process.command)).collect()
}

/// The agent and its executor, as a package puts them side by side.
fn install(directory: &Path) -> PathBuf {
    std::fs::create_dir(directory).unwrap();
    for name in ["mezzo-agent", "mezzo-executor"] {
        std::fs::copy(environment::binary(name), directory.join(name)).unwrap();
    }
    directory.join("mezzo-agent")
}
