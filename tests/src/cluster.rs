//! A cluster of real binaries on loopback: free ports, a directory of its own, nothing left behind.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{self, Request, Response};
use crate::part::Part;
use crate::ports::Ports;
use crate::{environment, leftovers, wait};

/// What an agent of a test has, unless the test says otherwise: what the agents had that gave the golden data.
pub const RESOURCES: &str = "cpus:4;mem:4096;disk:10000;ports:[31000-32000]";

/// Lines of each log that are shown when a test fails.
const LOG_LINES: usize = 60;

/// What a cluster is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    agents: usize,
    resources: String,
    master_flags: Vec<String>,
    agent_flags: Vec<String>,
    authorization: Option<String>,
}

impl Builder {
    /// With so many agents.
    #[must_use]
    pub fn agents(mut self, count: usize) -> Self {
        self.agents = count;
        self
    }

    /// Each agent with these resources.
    #[must_use]
    pub fn resources(mut self, resources: &str) -> Self {
        resources.clone_into(&mut self.resources);
        self
    }

    /// One more flag for the master.
    #[must_use]
    pub fn master_flag(mut self, flag: &str) -> Self {
        self.master_flags.push(flag.to_owned());
        self
    }

    /// One more flag for every agent.
    #[must_use]
    pub fn agent_flag(mut self, flag: &str) -> Self {
        self.agent_flags.push(flag.to_owned());
        self
    }

    /// What the master is asked, it is asked with this value of `Authorization`.
    #[must_use]
    pub fn known_as(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    /// Agents are lost after `count` pings at this interval, as in the runs that gave the golden data.
    #[must_use]
    pub fn lost_after(self, count: u32, interval: &str) -> Self {
        self.master_flag(&format!("--agent_ping_timeout={interval}"))
            .master_flag(&format!("--max_agent_ping_timeouts={count}"))
    }

    /// Starts it, and waits until every agent is registered.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(self) -> Cluster {
        let dir =
            tempfile::Builder::new().prefix("mezzo-test-").tempdir().expect("the temporary directory must be writable");
        let mut ports = Ports::reserve();
        let master_address = SocketAddr::from(([127, 0, 0, 1], ports.take()));
        let mut master = Part::new(
            "master",
            environment::binary("mezzo-master"),
            self.master_arguments(dir.path(), master_address),
            dir.path(),
        );
        master.start();
        let mut cluster = Cluster { agents: Vec::new(), master, master_address, ports, builder: self, dir: Some(dir) };
        cluster.wait_until_master_is_healthy();
        for _ in 0..cluster.builder.agents {
            cluster.add_agent();
        }
        cluster.wait_until_registered(cluster.builder.agents);
        cluster
    }

    fn master_arguments(&self, dir: &Path, address: SocketAddr) -> Vec<OsString> {
        let mut flags = vec![
            "--ip=127.0.0.1".to_owned(),
            "--hostname=127.0.0.1".to_owned(),
            format!("--port={}", address.port()),
            format!("--work_dir={}", dir.join("master").display()),
        ];
        // Offers come back soon after they were declined without a filter.
        if !self.master_flags.iter().any(|flag| flag.starts_with("--allocation_interval")) {
            flags.push("--allocation_interval=100ms".to_owned());
        }
        flags.extend(self.master_flags.iter().cloned());
        flags.into_iter().map(OsString::from).collect()
    }

    fn agent_arguments(&self, dir: &Path, address: SocketAddr, master: SocketAddr) -> Vec<OsString> {
        let mut flags = vec![
            format!("--master={master}"),
            "--ip=127.0.0.1".to_owned(),
            "--hostname=127.0.0.1".to_owned(),
            format!("--port={}", address.port()),
            format!("--work_dir={}", dir.join("work").display()),
            format!("--runtime_dir={}", dir.join("run").display()),
            "--registration_backoff_factor=50ms".to_owned(),
        ];
        if !self.agent_flags.iter().any(|flag| flag.starts_with("--resources")) {
            flags.push(format!("--resources={}", self.resources));
        }
        flags.extend(self.agent_flags.iter().cloned());
        flags.into_iter().map(OsString::from).collect()
    }
}

/// An agent of a cluster.
#[derive(Debug)]
pub struct Agent {
    /// Its process.
    pub part: Part,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its work directory.
    pub work_dir: PathBuf,
}

/// A running cluster; when it goes, everything of it goes.
#[derive(Debug)]
pub struct Cluster {
    /// Agents before the master: they end first.
    pub agents: Vec<Agent>,
    /// The master's process.
    pub master: Part,
    /// Where the master listens.
    pub master_address: SocketAddr,
    ports: Ports,
    builder: Builder,
    dir: Option<TempDir>,
}

impl Cluster {
    /// One agent, the usual resources.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            agents: 1,
            resources: RESOURCES.to_owned(),
            master_flags: Vec::new(),
            agent_flags: Vec::new(),
            authorization: None,
        }
    }

    /// The cluster's own directory; every process of it carries this path.
    ///
    /// # Panics
    /// Never while the cluster lives.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().expect("a cluster has its directory as long as it lives").path()
    }

    /// One more free port.
    pub fn take_port(&mut self) -> u16 {
        self.ports.take()
    }

    /// Starts one more agent.
    pub fn add_agent(&mut self) {
        self.add_agent_with(&[]);
    }

    /// Starts one more agent, with further flags.
    ///
    /// # Panics
    /// When the test's directory cannot be written.
    pub fn add_agent_with(&mut self, flags: &[&str]) {
        let number = self.agents.len();
        let home = self.dir().join(format!("agent{number}"));
        std::fs::create_dir_all(&home).expect("the test's directory must be writable");
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports.take()));
        let mut arguments = self.builder.agent_arguments(&home, address, self.master_address);
        arguments.extend(flags.iter().map(OsString::from));
        let mut part = Part::new(&format!("agent{number}"), environment::binary("mezzo-agent"), arguments, self.dir());
        part.start();
        self.agents.push(Agent { part, address, work_dir: home.join("work") });
    }

    /// `GET path` of the master.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn get(&self, path: &str) -> std::io::Result<Response> {
        let request = Request::get(path);
        let request = match &self.builder.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        http::send(self.master_address, &request)
    }

    /// `GET /state` of the master.
    #[must_use]
    pub fn state(&self) -> Value {
        http::get_json(self.master_address, "/state")
    }

    /// Ids of the agents that are registered and active.
    #[must_use]
    pub fn agent_ids(&self) -> Vec<String> {
        let answer = self.get("/slaves").map(|response| response.json()).unwrap_or_default();
        let slaves = answer["slaves"].as_array().cloned().unwrap_or_default();
        slaves
            .iter()
            .filter(|slave| slave["active"] == true)
            .filter_map(|slave| slave["id"].as_str().map(str::to_owned))
            .collect()
    }

    /// Waits until the master answers.
    ///
    /// # Panics
    /// When it ends, or never answers.
    pub fn wait_until_master_is_healthy(&mut self) {
        let (address, master) = (self.master_address, &mut self.master);
        wait::until("the master is healthy", || {
            assert!(master.is_running(), "the master ended:\n{}", master.last_lines(LOG_LINES));
            http::send(address, &Request::get("/health")).ok().filter(|response| response.status() == 200)
        });
    }

    /// Waits until so many agents are registered and active.
    ///
    /// # Panics
    /// When an agent ends, or they never are.
    pub fn wait_until_registered(&mut self, count: usize) {
        wait::until(&format!("{count} agents are registered"), || {
            for agent in &mut self.agents {
                assert!(agent.part.is_running(), "an agent ended:\n{}", agent.part.last_lines(LOG_LINES));
            }
            (self.agent_ids().len() == count).then_some(())
        });
    }

    /// `kill -9` of the master, then started again on its port and directory.
    pub fn restart_master(&mut self) {
        self.master.kill();
        self.master.start();
        self.wait_until_master_is_healthy();
    }

    /// `kill -9` of an agent, then started again on its port and directory.
    pub fn restart_agent(&mut self, number: usize) {
        self.agents[number].part.kill();
        self.agents[number].part.start();
    }

    /// Processes of this cluster that are neither its master nor an agent's main process: tasks, executors and what supervises them.
    #[must_use]
    pub fn children(&self) -> Vec<leftovers::Process> {
        let parts: Vec<i32> = std::iter::once(&self.master)
            .chain(self.agents.iter().map(|agent| &agent.part))
            .filter(|part| part.is_started())
            .map(Part::pid)
            .collect();
        leftovers::of(self.dir()).into_iter().filter(|process| !parts.contains(&process.pid)).collect()
    }

    /// What every part wrote last.
    #[must_use]
    pub fn logs(&self) -> String {
        let parts = std::iter::once(&self.master).chain(self.agents.iter().map(|agent| &agent.part));
        parts.map(|part| part.last_lines(LOG_LINES)).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{}", self.logs());
        }
        for agent in &mut self.agents {
            agent.part.end(Duration::from_secs(5));
        }
        self.master.end(Duration::from_secs(5));
        if let Some(dir) = self.dir.take() {
            // Executors outlive their agent by design; here they must not.
            leftovers::end(dir.path());
            if failed && std::env::var_os("MEZZO_TEST_KEEP").is_some() {
                eprintln!("kept: {}", dir.keep().display());
            }
        }
    }
}
