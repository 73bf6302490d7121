//! `examples/service` under chaos: agents are killed, their machines lost, cut off for longer than the timeout; the master
//! fails over; the service's own process is killed. Each time its replicas are back in number, each answers, and nothing
//! runs that it does not know.
//!
//! One round of everything in CI; `cargo xtask soak` for many. A failing run names its seed.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mezzo_tests::{
    cluster::Cluster,
    environment,
    http::{self, Request},
    leftovers,
    part::Part,
};
use nix::sys::signal::Signal;
use serde_json::Value;

const REPLICAS: usize = 4;
const AGENTS: usize = 3;
/// An agent that has been silent for so long is given up: three pings.
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);
/// What else it may take, on a machine that builds and tests at the same time.
const SOME_SECONDS: Duration = Duration::from_secs(20);

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// The agent's process is killed and started again: tasks live on.
    AgentDies,
    /// The agent and all that runs on it is killed, and its machine comes back empty.
    MachineDies,
    /// The agent does nothing for longer than the timeout, and comes back; its tasks never noticed.
    AgentIsCutOff,
    /// The master is killed and started again.
    MasterFailsOver,
    /// The service is killed and started again.
    ServiceDies,
    /// A replica is killed.
    ReplicaDies,
}

const ALL: [Trouble; 6] = [
    Trouble::ReplicaDies,
    Trouble::AgentIsCutOff,
    Trouble::ServiceDies,
    Trouble::MachineDies,
    Trouble::MasterFailsOver,
    Trouble::AgentDies,
];

struct Scene {
    // ends first: it must not start what the cluster's end has killed
    service: Part,
    door: SocketAddr,
    cluster: Cluster,
    random: u64,
}

impl Scene {
    fn start(seed: u64) -> Self {
        let mut cluster = Cluster::builder()
            .agents(AGENTS)
            .lost_after(3, "1secs")
            // After a change of masters it is this that a machine is given up by which does not come back.
            .master_flag("--agent_reregister_timeout=5secs")
            .agent_flag("--executor_reregistration_timeout=2secs")
            .start();
        let door = SocketAddr::from(([127, 0, 0, 1], cluster.take_port()));
        let arguments = vec![
            format!("--master={}", cluster.master_address),
            format!("--state={}", cluster.dir().join("service.state").display()),
            format!("--listen={door}"),
            format!("--count={REPLICAS}"),
        ];
        let arguments = arguments.into_iter().map(Into::into).collect();
        let mut service = Part::new("service", environment::binary("example-service"), arguments, cluster.dir());
        service.start();
        Self { service, door, cluster, random: seed | 1 }
    }

    /// xorshift: where trouble strikes.
    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap_or_default()
    }

    fn shown(&self) -> Option<Value> {
        http::send(self.door, &Request::get("/")).ok().filter(|answer| answer.status() == 200).map(|it| it.json())
    }

    /// What the service believes in, if it has what it wants.
    fn believed(&self) -> Option<BTreeSet<String>> {
        let shown = self.shown().filter(|it| it["ready"] == REPLICAS && it["leaving"] == 0)?;
        let replicas = shown["replicas"].as_array()?;
        let answers = |replica: &&Value| {
            let port = replica["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            let expected = format!("hello from {}\n", replica["task"].as_str().unwrap_or_default());
            http::send(address, &Request::get("/")).is_ok_and(|it| it.status() == 200 && it.text() == expected)
        };
        let healthy = replicas.iter().filter(answers);
        let healthy: BTreeSet<_> = healthy.filter_map(|it| it["task"].as_str().map(str::to_owned)).collect();
        (healthy.len() == REPLICAS).then_some(healthy)
    }

    /// What the master believes in.
    fn known_to_the_master(&self) -> Option<BTreeSet<String>> {
        let state = self.cluster.get("/state").ok()?.json();
        let frameworks = state["frameworks"].as_array()?;
        let tasks = frameworks.iter().filter_map(|framework| framework["tasks"].as_array()).flatten();
        let running = tasks.filter(|task| task["state"] == "TASK_RUNNING");
        Some(running.filter_map(|task| task["id"].as_str().map(str::to_owned)).collect())
    }

    /// What in truth runs.
    fn processes(&self) -> usize {
        let replica = |process: &leftovers::Process| process.command.contains("example-service replica");
        let servers = leftovers::of(self.cluster.dir()).into_iter().filter(replica);
        servers.filter(|process| !process.command.contains("sh -c")).count()
    }

    /// All replicas run and answer; service, master and machine agree on it.
    fn is_well(&self) -> bool {
        let Some(believed) = self.believed() else { return false };
        self.known_to_the_master() == Some(believed) && self.processes() == REPLICAS
    }

    fn wait_until_well(&mut self, after: &str) -> Duration {
        let start = Instant::now();
        let limit = AGENT_TIMEOUT + SOME_SECONDS;
        while start.elapsed() < limit {
            if self.is_well() {
                return start.elapsed();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let (shown, processes, log) = (self.shown(), self.processes(), self.service.last_lines(80));
        let known = self.known_to_the_master();
        panic!("{limit:?} after {after}: {shown:?}\nthe master knows {known:?}; {processes} replicas run\n{log}");
    }

    fn strike(&mut self, trouble: Trouble) {
        let victim = self.draw(AGENTS);
        match trouble {
            Trouble::AgentDies => self.cluster.restart_agent(victim),
            Trouble::MachineDies => {
                let home = self.cluster.agents[victim].work_dir.clone();
                let home = home.parent().expect("an agent has a home").to_owned();
                self.cluster.agents[victim].part.kill();
                for process in leftovers::of(self.cluster.dir()) {
                    // tasks run in sandboxes below their agent's work directory
                    let here = std::fs::read_link(format!("/proc/{}/cwd", process.pid)).unwrap_or_default();
                    if here.starts_with(&home) {
                        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), Signal::SIGKILL);
                    }
                }
                let _ = std::fs::remove_dir_all(&home);
                std::fs::create_dir_all(&home).expect("the test's directory must be writable");
                self.cluster.agents[victim].part.start();
            }
            Trouble::AgentIsCutOff => {
                self.cluster.agents[victim].part.signal(Signal::SIGSTOP);
                std::thread::sleep(AGENT_TIMEOUT * 2); // the trouble itself, not a wait for an outcome
                self.cluster.agents[victim].part.signal(Signal::SIGCONT);
            }
            Trouble::MasterFailsOver => self.cluster.restart_master(),
            Trouble::ServiceDies => {
                self.service.kill();
                self.service.start();
            }
            Trouble::ReplicaDies => {
                let replicas = leftovers::of(self.cluster.dir());
                let replica = replicas.iter().find(|process| process.command.contains("example-service replica"));
                if let Some(process) = replica {
                    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.pid), Signal::SIGKILL);
                }
            }
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

/// Whatever goes wrong, the service comes back to its number: each trouble by itself, and then, for as many minutes as
/// asked for, several at once.
#[test]
fn soak_the_service_outlives_everything() {
    let seed = number("MEZZO_SOAK_SEED", u64::from(std::process::id()));
    let minutes = number("MEZZO_SOAK_MINUTES", 0);
    eprintln!("service: seed {seed}");
    let start = Instant::now();
    let mut scene = Scene::start(seed);
    scene.wait_until_well("the start");
    for trouble in ALL {
        scene.strike(trouble);
        let took = scene.wait_until_well(&format!("{trouble:?} (seed {seed})"));
        eprintln!("service: {trouble:?}: well after {:.1} s", took.as_secs_f64());
    }
    while start.elapsed() < Duration::from_secs(60 * minutes) {
        let troubles: Vec<Trouble> = (0..=scene.draw(3)).map(|_| ALL[scene.draw(ALL.len())]).collect();
        troubles.iter().for_each(|trouble| scene.strike(*trouble));
        let took = scene.wait_until_well(&format!("{troubles:?} (seed {seed})"));
        eprintln!("service: {troubles:?}: well after {:.1} s", took.as_secs_f64());
    }
    scene.service.end(Duration::from_secs(5));
}
