//! The processes of a local cluster: started, watched, ended.

use std::{ffi::OsString, fs, io, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::Context;
use mezzo_sdk::Address;
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{
    signal::unix::{self, SignalKind, signal},
    time::{Instant, sleep, timeout_at},
};

use super::{
    Stop,
    home::{Home, Ports},
    part::Part,
    processes, ready,
};
use crate::args::Local;

const MASTER_PORT: u16 = 5050;
/// Below the home.
const LAUNCHER_DIR: &str = "bin";
const AGENT_PORT: u16 = 5051;
/// A cluster that is not up by then will not come up.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Agents end their executors first: with the default grace of 5 s, and then themselves.
const AGENTS_END_WITHIN: Duration = Duration::from_secs(12);
const MASTER_ENDS_WITHIN: Duration = Duration::from_secs(3);

/// A running local cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) home: Home,
    pub(super) port: u16,
    master: Part,
    agents: Vec<Part>,
    children: unix::Signal,
}

impl Cluster {
    /// Starts all parts, and waits for none of them.
    pub(super) fn start(options: &Local) -> anyhow::Result<Self> {
        processes::adopt_orphans().context("cannot adopt orphaned processes")?;
        let children = signal(SignalKind::child())?;
        let home = Home::new(options.work_dir.as_deref()).context("cannot make the work directory")?;
        let mut ports = Ports::default();
        let port = match options.port {
            Some(port) => ports.exactly(port).with_context(|| format!("port {port} of 127.0.0.1 cannot be used"))?,
            None => ports.about(MASTER_PORT).context("no port for the master")?,
        };
        let log = |name: &str| home.path().join(format!("{name}.log"));
        let master = Part::start("master", master_arguments(home.path(), port), log("master"))?;
        let mut cluster = Self { port, master, agents: Vec::new(), children, home };
        match cluster.start_agents(options, &mut ports) {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.parts().for_each(|part| part.signal(Signal::SIGKILL));
                Err(error)
            }
        }
    }

    fn start_agents(&mut self, options: &Local, ports: &mut Ports) -> anyhow::Result<()> {
        link_executor(&self.home.path().join(LAUNCHER_DIR)).context("cannot give agents their executor")?;
        for number in 1..=options.agents {
            let port = match self.home.is_temporary() {
                true => 0, // any: nobody needs to know
                // an agent that comes back to its work directory keeps its address if it can
                false => ports.about(AGENT_PORT.saturating_add(number - 1)).context("no port for an agent")?,
            };
            let arguments = agent_arguments(self.home.path(), number, port, self.port, options);
            let log = self.home.path().join(format!("agent-{number}.log"));
            let name = format!("agent {number}");
            let agent = Part::start(&name, arguments, log).with_context(|| format!("cannot start {name}"))?;
            self.agents.push(agent);
        }
        Ok(())
    }

    /// `host:port` of the master.
    pub(super) fn master(&self) -> String {
        Address { host: "127.0.0.1".to_owned(), port: self.port }.to_string()
    }

    /// Waits until every agent is registered; returns the master's answer to `/slaves`.
    pub(super) async fn ready(&mut self) -> anyhow::Result<Value> {
        let address = Address { host: "127.0.0.1".to_owned(), port: self.port };
        let agents = self.agents.len();
        tokio::select! {
            slaves = ready::agents_registered(address, agents) => Ok(slaves),
            failure = self.failure() => Err(failure),
            () = sleep(READY_WITHIN) => Err(anyhow::anyhow!(
                "the cluster is not up after {} s; its logs are in {}",
                READY_WITHIN.as_secs(),
                self.home.path().display()
            )),
        }
    }

    /// Waits until a part has ended that should not have.
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        loop {
            self.note_ended();
            if let Some(failure) = self.parts().find_map(|part| part.failure()) {
                return failure;
            }
            self.children.recv().await;
        }
    }

    /// Ends everything: the agents with their executors and tasks, the master, whatever is left, the files. Asked a
    /// second time, it does so without waiting.
    pub(super) async fn end(mut self, stop: &mut Stop) -> anyhow::Result<()> {
        for agent in &self.agents {
            agent.signal(Signal::SIGUSR1);
        }
        let in_a_hurry = tokio::select! {
            () = self.ended(false, AGENTS_END_WITHIN) => false,
            () = stop.asked() => true,
        };
        for agent in &self.agents {
            agent.signal(Signal::SIGKILL);
        }
        self.master.signal(if in_a_hurry { Signal::SIGKILL } else { Signal::SIGTERM });
        self.ended(true, MASTER_ENDS_WITHIN).await;
        let killed = processes::kill_all().await;
        let path = self.home.path().to_owned();
        let removed = remove(self.home, &path);
        killed.and(removed)
    }

    /// Waits until the agents, or all parts, have ended.
    async fn ended(&mut self, all: bool, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            self.note_ended();
            let run = self.agents.iter().any(Part::runs) || (all && self.master.runs());
            if !run || timeout_at(deadline, self.children.recv()).await.is_err() {
                return;
            }
        }
    }

    fn note_ended(&mut self) {
        for status in processes::reap() {
            if let Some(part) = self.parts().find(|part| status.pid() == Some(part.pid)) {
                part.ended = Some(status);
            }
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Part> {
        std::iter::once(&mut self.master).chain(&mut self.agents)
    }
}

fn remove(home: Home, path: &Path) -> anyhow::Result<()> {
    match home.remove() {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

fn master_arguments(home: &Path, port: u16) -> Vec<OsString> {
    vec![
        "master".into(),
        "--ip=127.0.0.1".into(),
        "--hostname=127.0.0.1".into(),
        format!("--port={port}").into(),
        flag("--work_dir=", &home.join("master")),
    ]
}

fn agent_arguments(home: &Path, number: u16, port: u16, master: u16, options: &Local) -> Vec<OsString> {
    let (launcher_dir, home) = (home.join(LAUNCHER_DIR), home.join(format!("agent-{number}")));
    let mut arguments = vec![
        "agent".into(),
        format!("--master=127.0.0.1:{master}").into(),
        "--ip=127.0.0.1".into(),
        "--hostname=127.0.0.1".into(),
        format!("--port={port}").into(),
        // nobody else registers at this moment
        "--registration_backoff_factor=10ms".into(),
        flag("--launcher_dir=", &launcher_dir),
        flag("--runtime_dir=", &home.join("run")),
        flag("--work_dir=", &home),
    ];
    if let Some(resources) = resources(options.resources.as_deref(), number) {
        arguments.push(format!("--resources={resources}").into());
    }
    if !nix::unistd::geteuid().is_root() {
        arguments.push("--no-switch_user".into()); // tasks run as the user who runs the cluster
    }
    arguments
}

/// What the agent of this number offers: what was asked for, with ports of its own if none were named. They depend on nothing
/// but the number, so that an agent comes back to its work directory with what it had.
fn resources(asked: Option<&str>, number: u16) -> Option<String> {
    let asked = asked.unwrap_or_default();
    let named = asked.contains("ports") || asked.trim_start().starts_with('[');
    match (ports_of(number).filter(|_| !named), asked) {
        (Some(ports), "") => Some(ports),
        (Some(ports), asked) => Some(format!("{};{ports}", asked.trim_end_matches(';'))),
        (None, "") => None,
        (None, asked) => Some(asked.to_owned()),
    }
}

/// A hundred ports for each, below those that the kernel gives to whoever asks for any: from 31000 on, as agents offer them,
/// and when these are given away, from 12000 on.
fn ports_of(number: u16) -> Option<String> {
    let (start, place) = if number <= 17 { (31_000, number.checked_sub(1)?) } else { (12_000, number - 18) };
    let first = place.checked_mul(100)?.checked_add(start).filter(|first| *first <= 32_600)?;
    Some(format!("ports:[{first}-{}]", first + 99))
}

/// This program is the executor, too: the agents use it by that name, so that no other version gets in between.
fn link_executor(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let link = dir.join("mezzo-executor");
    match fs::remove_file(&link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => symlink(std::env::current_exe()?, link),
    }
}

fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

#[cfg(test)]
mod tests {
    use super::resources;

    #[test]
    fn each_agent_has_ports_of_its_own() {
        let of = |asked, number| resources(asked, number).unwrap_or_default();
        assert_eq!(of(None, 1), "ports:[31000-31099]");
        assert_eq!(of(None, 17), "ports:[32600-32699]");
        assert_eq!(of(None, 200), "ports:[30200-30299]");
        assert_eq!(resources(None, u16::MAX), None);
        assert_eq!(of(Some("cpus:2;mem:512"), 2), "cpus:2;mem:512;ports:[31100-31199]");
        for whole in ["cpus:2;ports:[1-2]", r#"[{"name": "cpus"}]"#] {
            assert_eq!(of(Some(whole), 3), whole);
        }
    }
}
