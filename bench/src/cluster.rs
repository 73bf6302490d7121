//! A fresh cluster of real binaries on loopback, ended and removed on drop.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// One master and its agents.
pub(crate) struct Cluster {
    /// `host:port` of the master.
    pub(crate) address: String,
    port: u16,
    pub(crate) master: Child,
    pub(crate) agents: Vec<Child>,
    directory: TempDir,
    resources: String,
    flags: Vec<String>,
    ports: Vec<u16>,
}

impl Cluster {
    /// Starts a master and `agents` agents with these resources, and waits until all are registered.
    pub(crate) fn start(agents: usize, resources: &str) -> Result<Self> {
        Self::start_with(agents, resources, &[])
    }

    /// With further flags for the agents.
    pub(crate) fn start_with(agents: usize, resources: &str, flags: &[String]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("mezzo-bench-").tempdir()?;
        let port = free_port()?;
        let master = spawn_master(directory.path(), port)?;
        let mut cluster = Self {
            address: format!("127.0.0.1:{port}"),
            port,
            master,
            agents: Vec::new(),
            directory,
            resources: resources.to_owned(),
            flags: flags.to_vec(),
            ports: Vec::new(),
        };
        for number in 0..agents {
            cluster.ports.push(free_port()?);
            let agent = cluster.spawn_agent(number)?;
            cluster.agents.push(agent);
        }
        cluster.wait_for_agents(agents)?;
        Ok(cluster)
    }

    /// `kill -9`.
    pub(crate) fn kill_master(&mut self) -> Result<()> {
        self.master.kill()?;
        self.master.wait()?;
        Ok(())
    }

    /// On the same port and directory.
    pub(crate) fn start_master(&mut self) -> Result<()> {
        self.master = spawn_master(self.directory.path(), self.port)?;
        Ok(())
    }

    /// One more agent, beside others that registered by themselves.
    pub(crate) async fn add_agent(&mut self) -> Result<()> {
        let before = count(&get(&self.address, "/slaves")?)?;
        self.ports.push(free_port()?);
        let agent = self.spawn_agent(self.agents.len())?;
        self.agents.push(agent);
        let deadline = Instant::now() + READY_WITHIN;
        while count(&get(&self.address, "/slaves")?)? <= before {
            anyhow::ensure!(Instant::now() < deadline, "the agent does not register");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// Where an agent listens.
    pub(crate) fn agent_address(&self, number: usize) -> String {
        format!("127.0.0.1:{}", self.ports[number])
    }

    /// Kills an agent as a crash would, and starts it again.
    pub(crate) fn restart_agent(&mut self, number: usize) -> Result<()> {
        self.agents[number].kill()?;
        self.agents[number].wait()?;
        self.agents[number] = self.spawn_agent(number)?;
        Ok(())
    }

    fn spawn_agent(&self, number: usize) -> Result<Child> {
        let resources = &self.resources;
        let home = self.directory.path().join(format!("agent{number}"));
        Command::new(binary("mezzo-agent")?)
            .args([&format!("--master={}", self.address), "--ip=127.0.0.1", &format!("--port={}", self.ports[number])])
            .arg(format!("--work_dir={}", home.display()))
            .arg(format!("--runtime_dir={}", home.join("run").display()))
            .arg(format!("--resources={resources}"))
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log(self.directory.path(), &format!("agent{number}.log"))?)
            .stderr(log(self.directory.path(), &format!("agent{number}.err"))?)
            .spawn()
            .context("mezzo-agent does not start")
    }

    fn wait_for_agents(&self, wanted: usize) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let found = get(&self.address, "/slaves")
                .ok()
                .and_then(|body| serde_json::from_str::<serde_json::Value>(&body).ok())
                .and_then(|answer| Some(answer.get("slaves")?.as_array()?.len()));
            if found == Some(wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{found:?} of {wanted} agents registered within {READY_WITHIN:?}; logs in {}",
                    self.directory.path().display()
                );
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // SIGUSR1: the agents end all executors and leave; tasks do not outlive the benchmark.
        for agent in &self.agents {
            send(agent, Signal::SIGUSR1);
        }
        for agent in &mut self.agents {
            end(agent);
        }
        send(&self.master, Signal::SIGTERM);
        end(&mut self.master);
    }
}

fn spawn_master(directory: &Path, port: u16) -> Result<Child> {
    Command::new(binary("mezzo-master")?)
        .args(["--ip=127.0.0.1", &format!("--port={port}")])
        .arg(format!("--work_dir={}", directory.join("master").display()))
        .stdin(Stdio::null())
        .stdout(log(directory, "master.log")?)
        .stderr(log(directory, "master.err")?)
        .spawn()
        .context("mezzo-master does not start")
}

fn send(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

fn end(child: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// A binary beside this one.
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: build it first (`cargo xtask bench` does)", path.display());
    }
    Ok(path)
}

/// GET over a connection of its own; the body of a 200.
pub(crate) fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if !head.starts_with("HTTP/1.0 200") && !head.starts_with("HTTP/1.1 200") {
        bail!("GET {path}: {}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// Agents in `/slaves`.
fn count(slaves: &str) -> Result<usize> {
    let answer: serde_json::Value = serde_json::from_str(slaves)?;
    Ok(answer["slaves"].as_array().context("/slaves has no slaves")?.len())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn log(directory: &Path, name: &str) -> Result<File> {
    let path = directory.join(name);
    File::create(&path).with_context(|| format!("{} cannot be written", path.display()))
}
