//! Several masters that elect their leader in a real ZooKeeper, and agents that follow it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::{Agent, RESOURCES};
use crate::http::{self, Request};
use crate::part::Part;
use crate::ports::Ports;
use crate::zookeeper::Ensemble;
use crate::{environment, leftovers, wait};

/// Sessions of masters in these tests, unless a test says otherwise: the shortest that the servers grant is 1 s.
pub const SESSION: Duration = Duration::from_secs(4);

const LOG_LINES: usize = 60;

/// A master of the group.
#[derive(Debug)]
pub struct Master {
    /// Its process.
    pub part: Part,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its work directory.
    pub work_dir: PathBuf,
}

/// What a group is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    ip: IpAddr,
    servers: usize,
    masters: usize,
    agents: usize,
    session: Duration,
    master_flags: Vec<String>,
    credentials: Option<String>,
}

/// Masters, agents and ZooKeeper servers; when it goes, everything of it goes.
#[derive(Debug)]
pub struct Masters {
    /// Agents before the masters: they end first.
    pub agents: Vec<Agent>,
    /// The masters, in the order in which they were started.
    pub masters: Vec<Master>,
    /// The servers.
    pub ensemble: Ensemble,
    ports: Ports,
    builder: Builder,
    dir: Option<TempDir>,
}

impl Builder {
    /// Everything listens on this address of the machine, and is named by it.
    #[must_use]
    pub fn ip(self, ip: IpAddr) -> Self {
        Self { ip, ..self }
    }

    /// So many ZooKeeper servers.
    #[must_use]
    pub fn servers(self, servers: usize) -> Self {
        Self { servers, ..self }
    }

    /// So many masters.
    #[must_use]
    pub fn masters(self, masters: usize) -> Self {
        Self { masters, ..self }
    }

    /// So many agents.
    #[must_use]
    pub fn agents(self, agents: usize) -> Self {
        Self { agents, ..self }
    }

    /// `--zk_session_timeout`.
    #[must_use]
    pub fn session(self, session: Duration) -> Self {
        Self { session, ..self }
    }

    /// `user:password` of everybody.
    #[must_use]
    pub fn credentials(self, credentials: &str) -> Self {
        Self { credentials: Some(credentials.to_owned()), ..self }
    }

    /// One more flag for every master.
    #[must_use]
    pub fn master_flag(mut self, flag: &str) -> Self {
        self.master_flags.push(flag.to_owned());
        self
    }

    /// Starts it, and waits until the first master leads and every agent is registered with it.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(self) -> Masters {
        let ensemble = Ensemble::start_on(self.ip, self.servers);
        let dir =
            tempfile::Builder::new().prefix("mezzo-test-").tempdir().expect("the temporary directory must be writable");
        let (masters, agents) = (self.masters, self.agents);
        let mut group = Masters {
            agents: Vec::new(),
            masters: Vec::new(),
            ensemble,
            ports: Ports::reserve(),
            builder: self,
            dir: Some(dir),
        };
        for number in 0..masters {
            group.add_master(&[]);
            if number == 0 {
                assert_eq!(group.wait_for_leader(&[0]), 0);
            } else {
                let leader = group.masters[0].address.port();
                let (address, path) = (group.masters[number].address, "/redirect");
                wait::until("a standby knows the leader", || {
                    let answer = http::send(address, &Request::get(path)).ok()?;
                    answer.head.header("Location").is_some_and(|to| to.ends_with(&leader.to_string())).then_some(())
                });
            }
        }
        for _ in 0..agents {
            group.add_agent();
        }
        if masters > 0 {
            group.wait_for_agents(0, agents);
        }
        group
    }
}

impl Masters {
    /// Three of each.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            ip: Ipv4Addr::LOCALHOST.into(),
            servers: 1,
            masters: 2,
            agents: 2,
            session: SESSION,
            master_flags: vec!["--allocation_interval=100ms".to_owned()],
            credentials: None,
        }
    }

    /// `zk://…` of the group.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.builder.credentials {
            Some(credentials) => self.ensemble.url_as(credentials, "/mezzo"),
            None => self.ensemble.url("/mezzo"),
        }
    }

    /// The group's own directory.
    ///
    /// # Panics
    /// Never while the group lives.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.dir.as_ref().expect("a group has its directory as long as it lives").path().to_path_buf()
    }

    /// Starts one more master, with more flags.
    pub fn add_master(&mut self, more: &[&str]) {
        let number = self.masters.len();
        let address = SocketAddr::new(self.builder.ip, self.ports.take());
        let work_dir = self.dir().join(format!("master{number}"));
        let mut flags = vec![
            format!("--ip={}", address.ip()),
            format!("--hostname={}", address.ip()),
            format!("--port={}", address.port()),
            format!("--work_dir={}", work_dir.display()),
            format!("--zk_session_timeout={}ms", self.builder.session.as_millis()),
        ];
        if !more.iter().any(|flag| flag.starts_with("--zk=")) {
            flags.push(format!("--zk={}", self.url()));
        }
        flags.extend(self.builder.master_flags.iter().cloned());
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let flags = flags.into_iter().map(Into::into).collect();
        let mut part = Part::new(&format!("master{number}"), environment::binary("mezzo-master"), flags, &self.dir());
        part.start();
        self.masters.push(Master { part, address, work_dir });
    }

    /// Starts one more agent, which finds its master through ZooKeeper.
    pub fn add_agent(&mut self) {
        let url = self.url();
        self.add_agent_with(&url);
    }

    /// Starts one more agent with this `--master`.
    pub fn add_agent_with(&mut self, master: &str) {
        let number = self.agents.len();
        let home = self.dir().join(format!("agent{number}"));
        std::fs::create_dir_all(&home).expect("the test's directory must be writable");
        let address = SocketAddr::new(self.builder.ip, self.ports.take());
        let flags = [
            format!("--master={master}"),
            format!("--ip={}", address.ip()),
            format!("--hostname={}", address.ip()),
            format!("--port={}", address.port()),
            format!("--work_dir={}", home.join("work").display()),
            format!("--runtime_dir={}", home.join("run").display()),
            format!("--resources={RESOURCES}"),
        ];
        let flags = flags.into_iter().map(Into::into).collect();
        let mut part = Part::new(&format!("agent{number}"), environment::binary("mezzo-agent"), flags, &self.dir());
        part.start();
        self.agents.push(Agent { part, address, work_dir: home.join("work") });
    }

    /// `/state` of a master, if it leads.
    #[must_use]
    pub fn state(&self, master: usize) -> Option<Value> {
        let answer = http::send(self.masters[master].address, &Request::get("/state")).ok()?;
        (answer.status() == 200).then(|| answer.json())
    }

    /// Whether a master leads.
    #[must_use]
    pub fn leads(&self, master: usize) -> bool {
        self.state(master).is_some()
    }

    /// Who of these leads, once one does.
    ///
    /// # Panics
    /// When none does in time.
    #[must_use]
    pub fn wait_for_leader(&self, among: &[usize]) -> usize {
        wait::until("a master leads", || among.iter().copied().find(|master| self.leads(*master)))
    }

    /// Waits until so many agents are registered and active with this leader.
    ///
    /// # Panics
    /// When they are not in time.
    pub fn wait_for_agents(&self, master: usize, count: usize) {
        wait::until(&format!("{count} agents are registered with master {master}"), || {
            (self.active_agents(master) == count).then_some(())
        });
    }

    /// How many agents are registered and active with this leader.
    #[must_use]
    pub fn active_agents(&self, master: usize) -> usize {
        let state = self.state(master).unwrap_or_default();
        let agents = state["slaves"].as_array().map_or(&[][..], Vec::as_slice);
        agents.iter().filter(|agent| agent["active"] == true).count()
    }

    /// Waits until one of these leads with so many agents; says who, and how long after `since`.
    pub fn takeover(&self, since: Instant, among: &[usize], agents: usize) -> (usize, Duration) {
        let leader = self.wait_for_leader(among);
        self.wait_for_agents(leader, agents);
        (leader, since.elapsed())
    }

    /// What `/redirect` of a master says: `//host:port`, or nothing without a leader.
    #[must_use]
    pub fn redirect(&self, master: usize) -> Option<String> {
        let answer = http::send(self.masters[master].address, &Request::get("/redirect")).ok()?;
        answer.head.header("Location").map(str::to_owned)
    }

    /// Waits until a master stands by and names this leader.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn wait_for_standby(&self, master: usize, leader: usize) {
        let expected = format!("//{}", self.masters[leader].address);
        wait::until(&format!("master {master} stands by"), || {
            (!self.leads(master) && self.redirect(master).as_deref() == Some(expected.as_str())).then_some(())
        });
    }

    /// What every part wrote last.
    #[must_use]
    pub fn logs(&self) -> String {
        let masters = self.masters.iter().map(|master| &master.part);
        masters.chain(self.agents.iter().map(|agent| &agent.part)).map(|part| part.last_lines(LOG_LINES)).collect()
    }
}

impl Drop for Masters {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("{}", self.logs());
        }
        let masters = self.masters.iter_mut().map(|master| &mut master.part);
        let parts: Vec<&mut Part> = self.agents.iter_mut().map(|agent| &mut agent.part).chain(masters).collect();
        for part in parts {
            if part.is_started() {
                part.signal(Signal::SIGCONT);
            }
            part.end(Duration::from_secs(5));
        }
        if let Some(dir) = self.dir.take() {
            leftovers::end(dir.path());
            if failed && std::env::var_os("MEZZO_TEST_KEEP").is_some() {
                eprintln!("kept: {}", dir.keep().display());
            }
        }
    }
}
