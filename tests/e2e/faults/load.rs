//! Load, and deaths under it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::versions::{Version, Versions};
use mezzo_tests::{http, tasks, wait};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::checker::{Checker, Kind};

/// How long everything may take to settle when the deaths are over.
const SETTLE: Duration = Duration::from_secs(60);

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victims {
    Agents,
    Master,
    Both,
}

/// A cluster under load.
pub(super) struct Load {
    cluster: Cluster,
    framework: Framework,
    checker: Checker,
    random: StdRng,
    victims: Victims,
    /// Whoever dies comes back as one of these, by chance.
    versions: Option<Versions>,
    count: u32,
    /// Ports that a task of ours holds, by agent.
    held: BTreeSet<(String, u64)>,
}

impl Load {
    pub(super) fn start(seed: u64, victims: Victims) -> Self {
        let cluster =
            Cluster::builder().agents(2).resources("cpus:16;mem:16384;disk:10000;ports:[31000-31009]").start();
        let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("soak", "dev"));
        framework.acknowledges = false;
        let checker = Checker::new(&cluster.dir().join("traces"));
        Self {
            cluster,
            framework,
            checker,
            random: StdRng::seed_from_u64(seed),
            victims,
            versions: None,
            count: 0,
            held: BTreeSet::new(),
        }
    }

    /// Whoever dies comes back as either version.
    pub(super) fn of_both(self, versions: Versions) -> Self {
        Self { versions: Some(versions), ..self }
    }

    /// Load and deaths for so long, then peace; gives what happened.
    pub(super) fn run(mut self, duration: Duration) -> String {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let calm = Duration::from_millis(self.random.random_range(200..900));
            self.work(calm);
            self.kill_someone();
        }
        self.cluster.wait_until_master_is_healthy();
        self.cluster.wait_until_registered(2);
        self.settle();
        self.check_those_that_stay();
        self.leave()
    }

    /// Uses offers and takes what comes, for so long.
    fn work(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.launch();
            self.listen(Duration::from_millis(10));
        }
    }

    fn listen(&mut self, patience: Duration) {
        match self.framework.next(patience) {
            Some(event) if event["type"] == "UPDATE" => self.update(&event["update"]["status"]),
            Some(_) => {}
            None if self.framework.closed.is_some() => self.come_back(),
            None => {}
        }
    }

    fn update(&mut self, status: &Value) {
        self.checker.update(status, self.framework.latest_arrival);
        let uuid = status["uuid"].as_str().unwrap_or_default().to_owned();
        if !uuid.is_empty() && self.framework.acknowledge(status).is_ok_and(|accepted| accepted) {
            self.checker.acknowledged(&uuid);
        }
    }

    /// Subscribes again, as often as it takes. A master that goes may leave updates that came before: they count.
    fn come_back(&mut self) {
        let framework = &mut self.framework;
        wait::until("the framework is subscribed again", || framework.resubscribe().ok());
    }

    fn launch(&mut self) {
        let offers: Vec<Value> = self.framework.offers.values().cloned().collect();
        for offer in offers {
            let agent = tasks::agent_of(&offer).to_owned();
            let mut ports = tasks::ports(&offer);
            let room = tasks::amount(&offer, "cpus") / 0.1;
            let count = (0..self.random.random_range(1..=8)).take_while(|n| f64::from(*n) < room - 1.0).count();
            let chosen: Vec<Value> = (0..count).map(|_| self.task(&agent, &mut ports)).collect();
            self.framework.offers.remove(offer["id"]["value"].as_str().unwrap());
            let operations = json!([{"type": "LAUNCH", "launch": {"task_infos": chosen}}]);
            // Where the master does not answer, the tasks may run all the same.
            let _ = self.framework.try_call(
                "ACCEPT",
                json!({"offer_ids": [offer["id"]], "operations": operations, "filters": {"refuse_seconds": 0.05}}),
            );
        }
    }

    fn task(&mut self, agent: &str, ports: &mut Vec<u64>) -> Value {
        self.count += 1;
        let id = format!("task-{}", self.count);
        let kind = match self.random.random_range(0..20) {
            0..9 => Kind::Succeeds,
            9..12 => Kind::Fails,
            12..19 => Kind::HoldsPort,
            _ => Kind::Stays,
        };
        let port = if kind == Kind::HoldsPort { ports.pop() } else { None };
        let kind = if kind == Kind::HoldsPort && port.is_none() { Kind::Succeeds } else { kind };
        let mut task = tasks::command(&id, agent, &self.checker.command(&id, kind, port.map(|port| (agent, port))));
        if let Some(port) = port {
            self.held.insert((agent.to_owned(), port));
            task["resources"].as_array_mut().unwrap().push(tasks::port(port));
        }
        self.checker.launched(&id, kind, agent);
        task
    }

    fn kill_someone(&mut self) {
        let master = match self.victims {
            Victims::Agents => false,
            Victims::Master => true,
            Victims::Both => self.random.random_bool(0.5),
        };
        let pause = Duration::from_millis(*[0, 20, 150, 400].choose(&mut self.random).unwrap());
        let number = self.random.random_range(0..self.cluster.agents.len());
        let version = if self.random.random_bool(0.5) { Version::Last } else { Version::This };
        self.checker.died();
        if master {
            self.cluster.master.kill();
            std::thread::sleep(pause);
            if let Some(versions) = &self.versions {
                self.cluster.master.set_program(versions.program("mezzo-master", version));
            }
            self.cluster.master.start();
        } else {
            self.cluster.agents[number].part.kill();
            self.work(pause);
            if let Some(versions) = &self.versions {
                self.cluster.agents[number].part.set_program(versions.program("mezzo-agent", version));
            }
            self.cluster.agents[number].part.start();
        }
        self.checker.died();
    }

    /// Asks for every task of which nothing is known until something is.
    fn settle(&mut self) {
        let start = Instant::now();
        let mut asked = Instant::now() - Duration::from_secs(10);
        while start.elapsed() < SETTLE {
            let open: Vec<Value> = self
                .checker
                .tasks
                .iter()
                .filter(|(_, task)| !task.is_settled())
                .map(|(id, task)| json!({"task_id": {"value": id}, "agent_id": {"value": task.agent}}))
                .collect();
            if open.is_empty() && start.elapsed() > Duration::from_secs(2) {
                return;
            }
            if asked.elapsed() > Duration::from_secs(1) && !open.is_empty() {
                asked = Instant::now();
                let _ = self.framework.try_call("RECONCILE", json!({"tasks": open}));
            }
            self.listen(Duration::from_millis(50));
        }
    }

    /// Tasks that stay have survived every death of their agent, and can be killed.
    fn check_those_that_stay(&mut self) {
        let stay = |(_, task): &(&String, &super::checker::Task)| {
            task.kind == Kind::Stays && task.ended().is_none() && task.reconciled.as_deref() == Some("TASK_RUNNING")
        };
        let ids: Vec<String> = self.checker.tasks.iter().filter(stay).map(|(id, _)| id.clone()).collect();
        for id in &ids {
            assert!(self.checker.lives(id), "{id} is said to run, but its process {:?} does not", self.checker.pid(id));
            self.framework.call("KILL", json!({"task_id": {"value": id}}));
        }
        let start = Instant::now();
        while ids.iter().any(|id| self.checker.tasks[id].ended().is_none()) {
            assert!(
                start.elapsed() < SETTLE,
                "not killed: {:?}",
                ids.iter().filter(|id| self.checker.tasks[*id].ended().is_none()).collect::<Vec<_>>()
            );
            self.listen(Duration::from_millis(50));
        }
        for id in &ids {
            assert_eq!(self.checker.tasks[id].ended(), Some("TASK_KILLED"), "{id}");
            assert!(!self.checker.lives(id), "{id} is said to be killed, but its process lives");
        }
    }

    /// Everything is free again, and nothing stays.
    fn leave(self) -> String {
        let address = self.cluster.master_address;
        wait::until_true("nothing is in use any more", || {
            let slaves = http::get_json(address, "/slaves")["slaves"].as_array().cloned().unwrap_or_default();
            slaves.len() == 2 && slaves.iter().all(|slave| slave["used_resources"]["cpus"] == 0.0)
        });
        self.framework.teardown();
        let cluster = &self.cluster;
        wait::until_true("no task stays", || {
            cluster.children().iter().all(|process| !process.command.contains("sleep"))
        });
        match self.checker.verdict() {
            Ok(summary) => summary,
            Err(violations) => panic!("{violations}"),
        }
    }
}
