//! A cluster whose parts run on hosts of a network.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mezzo_tests::hosts::Host;
use mezzo_tests::part::Part;
use mezzo_tests::{environment, http, leftovers, wait};
use serde_json::Value;
use tempfile::TempDir;

/// What each agent has.
const RESOURCES: &str = "cpus:4;mem:4096;disk:10000;ports:[31000-31099]";
const LOG_LINES: usize = 50;

/// A master or an agent on a host.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) part: Part,
    /// Where it listens.
    pub(super) address: SocketAddr,
    /// What its machine calls its present boot.
    boot_id: PathBuf,
}

/// All of them, in a directory of their own.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) masters: Vec<Server>,
    pub(super) agents: Vec<Server>,
    dir: Option<TempDir>,
}

impl Site {
    pub(super) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mezzo-test-").tempdir().expect("a temporary directory");
        Self { masters: Vec::new(), agents: Vec::new(), dir: Some(dir) }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.as_ref().expect("a site has its directory as long as it lives").path()
    }

    /// A master on this host, and waits until it answers.
    pub(super) fn master(&mut self, host: &Host, flags: &[&str]) -> SocketAddr {
        let name = format!("master{}", self.masters.len());
        let address = SocketAddr::from((host.address(), 5050));
        let mut arguments = vec![
            format!("--ip={}", host.address()),
            format!("--hostname={}", host.address()),
            "--port=5050".to_owned(),
            format!("--work_dir={}", self.dir().join(&name).display()),
            "--allocation_interval=100ms".to_owned(),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let part = self.start(&name, host, "mezzo-master", arguments);
        self.masters.push(Server { part, address, boot_id: PathBuf::new() });
        self.wait_until_healthy(address);
        address
    }

    pub(super) fn wait_until_healthy(&mut self, address: SocketAddr) {
        wait::until("the master answers", || {
            http::send(address, &http::Request::get("/health")).ok().filter(|response| response.status() == 200)
        });
    }

    /// An agent on this host, which finds its master at `master`.
    pub(super) fn agent(&mut self, host: &Host, master: &str, flags: &[&str]) -> usize {
        let number = self.agents.len();
        let name = format!("agent{number}");
        let home = self.dir().join(&name);
        std::fs::create_dir_all(&home).expect("the test's directory must be writable");
        let boot_id = home.join("boot_id");
        std::fs::write(&boot_id, "11111111-1111-4111-8111-111111111111\n").expect("the same");
        let mut arguments = vec![
            format!("--master={master}"),
            format!("--hostname={name}"),
            "--port=5051".to_owned(),
            format!("--work_dir={}", home.join("work").display()),
            format!("--runtime_dir={}", home.join("run").display()),
            "--registration_backoff_factor=100ms".to_owned(),
            format!("--resources={RESOURCES}"),
        ];
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        // A machine's boot has its own id, which a mount namespace of the agent stands for.
        let script = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
        let mut all: Vec<OsString> =
            ["--mount", "--propagation=private", "sh", "-c", script, "sh"].map(Into::into).into();
        all.push(boot_id.clone().into());
        all.push(environment::binary("mezzo-agent").into());
        all.extend(arguments.into_iter().map(OsString::from));
        let mut part = host.part(&name, PathBuf::from("unshare"), all, self.dir());
        // What outlives the agent on its machine is found by this.
        part.set_variable("MEZZO_TEST_HOST", &format!("{}/", home.display()));
        part.start();
        let address = SocketAddr::from((host.address(), 5051));
        self.agents.push(Server { part, address, boot_id });
        number
    }

    fn start(&self, name: &str, host: &Host, program: &str, arguments: Vec<String>) -> Part {
        let arguments = arguments.into_iter().map(OsString::from).collect();
        let mut part = host.part(name, environment::binary(program), arguments, self.dir());
        part.start();
        part
    }

    /// The power of an agent's machine fails: every process of it ends. It comes back with another boot.
    pub(super) fn reboot(&mut self, number: usize) {
        let mark = self.dir().join(format!("agent{number}/"));
        let agent = &mut self.agents[number];
        agent.part.kill();
        leftovers::end(&mark);
        std::fs::write(&agent.boot_id, "22222222-2222-4222-8222-222222222222\n").expect("the file of the boot's id");
        agent.part.start();
    }

    /// What `/slaves` says of the agent with this host name.
    pub(super) fn shown(&self, master: SocketAddr, number: usize) -> Option<Value> {
        let response = http::send(master, &http::Request::get("/slaves")).ok()?;
        let slaves: Value = serde_json::from_str(&response.text()).ok()?;
        slaves["slaves"].as_array()?.iter().find(|slave| slave["hostname"] == format!("agent{number}")).cloned()
    }

    /// Waits until an agent is registered and active; its id.
    pub(super) fn wait_until_registered(&mut self, master: SocketAddr, number: usize, patience: Duration) -> String {
        wait::until_within(patience, &format!("agent{number} is registered"), || {
            assert!(self.agents[number].part.is_running(), "agent{number} ended");
            let shown = self.shown(master, number)?;
            (shown["active"] == true).then(|| shown["id"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Waits until an agent's log has a line with these words.
    pub(super) fn wait_for_line(&self, number: usize, words: &str) {
        wait::until_true(&format!("agent{number} logs '{words}'"), || self.agents[number].part.log().contains(words));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        for server in self.agents.iter_mut().chain(&mut self.masters) {
            if failed {
                eprintln!("{}", server.part.last_lines(LOG_LINES));
            }
            server.part.end(Duration::from_secs(5));
        }
        if let Some(dir) = self.dir.take() {
            leftovers::end(dir.path());
            if failed && std::env::var_os("MEZZO_TEST_KEEP").is_some() {
                eprintln!("kept: {}", dir.keep().display());
            }
        }
    }
}

/// A number of the master's metrics.
pub(super) fn metric(master: SocketAddr, name: &str) -> f64 {
    http::get_json(master, "/metrics/snapshot")[name].as_f64().unwrap_or(f64::NAN)
}
