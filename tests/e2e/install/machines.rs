//! Two sites, from user-data to a task and on: a master's machine that the world reaches, an agent's behind NAT. The commands at
//! the desk and on the machines are those of the walk-through in docs/hybrid-clouds.md, as they stand there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use mezzo_tests::framework::Framework;
use mezzo_tests::hosts::{self, Host, Network};
use mezzo_tests::machine::{BOOT, Machine};
use mezzo_tests::metadata::{self, Cloud, Instance};
use mezzo_tests::{environment, http, tasks, wait};
use serde_json::{Value, json};

use super::documents::{self, Block};
use super::packages::{Package, Packages};

/// Tasks that run all the time.
const STEADY: usize = 3;
/// cloud-init takes what it finds here for Amazon's cloud, and leaves the network as it is.
const CLOUD_CONFIG: &str = "\
datasource_list: [Ec2]
datasource:
  Ec2: {metadata_urls: ['http://169.254.169.254'], max_wait: 60, timeout: 10, strict_id: false}
network: {config: disabled}
locale: C.UTF-8
ssh_genkeytypes: []
";

/// Where the operator sits.
struct Desk {
    host: Host,
    dir: PathBuf,
    variables: Vec<(String, String)>,
}

impl Desk {
    /// Runs the commands of a block; what they wrote.
    fn run(&self, block: &Block) -> String {
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", environment::bin_dir().display());
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net=/run/netns/{}", self.host.name())).args(["sh", "-ec", &block.commands]);
        nsenter.current_dir(&self.dir).env("PATH", path).envs(self.variables.iter().cloned());
        let output = nsenter.output().expect("nsenter starts");
        let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}\n{said}{errors}", block.commands);
        said.into_owned()
    }

    fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

fn on_machine(machine: &Machine, block: &Block, package: &Package, url: &str) -> String {
    let package_url = format!("PACKAGE={url}/{}", package.name);
    let sum = format!("SHA256={}", package.sha256);
    machine.run(&["env", &package_url, &sum, "sh", "-ec", &block.commands])
}

fn new_machine(name: &str, host: &Host, dir: &Path) -> Option<Machine> {
    let machine = Machine::new(name, host, dir)?;
    machine.write("/etc/cloud/cloud.cfg.d/99_test.cfg", CLOUD_CONFIG);
    // The network stands already; asking for an address by DHCP would only take its time.
    machine.write("/usr/sbin/dhclient", "");
    Some(machine)
}

/// What the master says of its only agent.
fn agent(master: SocketAddr) -> Option<Value> {
    let response = http::send(master, &http::Request::get("/slaves")).ok()?;
    let slaves: Value = serde_json::from_str(&response.text()).ok()?;
    slaves["slaves"].as_array()?.iter().find(|agent| agent["active"] == true).cloned()
}

fn wait_for_agent(master: SocketAddr) -> Value {
    wait::until_within(BOOT, "the agent is registered", || agent(master))
}

fn framework_info(name: &str) -> Value {
    let mut info = tasks::framework_info(name, "ops");
    info["capabilities"].as_array_mut().expect("a list").push(json!({"type": "REGION_AWARE"}));
    info
}

/// Short tasks, one after the other, until it is told to end: how many finished, and what else became of them.
fn load(desk: &Host, master: SocketAddr, stop: &Arc<AtomicBool>) -> JoinHandle<(usize, Vec<String>)> {
    let (name, stop) = (desk.name(), stop.clone());
    std::thread::spawn(move || {
        hosts::enter(&name);
        let mut framework = Framework::subscribe(master, framework_info("load"));
        let (mut number, mut finished, mut others) = (0, 0, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            framework.listen(Duration::from_millis(20));
            let enough = |offer: &&Value| tasks::amount(offer, "cpus") >= 0.1 && tasks::amount(offer, "mem") >= 32.0;
            let Some(offer) = framework.offers.values().find(enough).cloned() else { continue };
            let task = format!("short-{number}");
            number += 1;
            framework.launch(&offer, &[tasks::command(&task, tasks::agent_of(&offer), "sleep 0.05")]);
            let last = wait::until_within(BOOT, "a short task ends", || {
                framework.listen(Duration::from_millis(20));
                let last = framework.statuses(&task).pop()?;
                tasks::is_terminal(last["state"].as_str()?).then_some(last)
            });
            // One whose launch is on its way while the agent is away is dropped, and nothing worse.
            match last["state"].as_str() {
                Some("TASK_FINISHED") => finished += 1,
                Some("TASK_DROPPED") => {}
                _ => others.push(last.to_string()),
            }
        }
        framework.teardown();
        (finished, others)
    })
}

/// The pids of the steady tasks, as the machine counts; each runs.
fn steady_pids(machine: &Machine) -> Vec<String> {
    let pids = machine.run(&["sh", "-c", "cat /var/tmp/steady-*"]);
    let pids: Vec<String> = pids.split_whitespace().map(str::to_owned).collect();
    for pid in &pids {
        assert_eq!(machine.run(&["cat", &format!("/proc/{pid}/comm")]), "sleep", "a steady task has ended");
    }
    pids
}

/// A cluster of two machines, and the desk.
struct Sites {
    agent: Machine,
    master: Machine,
    address: SocketAddr,
    desk: Desk,
    url: String,
    packages: Packages,
    walk: Vec<Block>,
    /// After all that runs in it.
    _network: Network,
    _dir: tempfile::TempDir,
}

fn sites() -> Option<Sites> {
    let mut network = Network::new()?;
    let dir = tempfile::Builder::new().prefix("mezzo-test-").tempdir().expect("a temporary directory");
    let (outside, inside) = (network.segment(), network.segment());
    let (cloud, desk) = (network.host("m1", &outside), network.host("desk", &outside));
    let router = network.router("r1", &inside, &outside);
    let private = network.host("a1", &inside);
    private.route_by(&inside);
    let (master, agent) = (new_machine("m1", &cloud, dir.path())?, new_machine("a1", &private, dir.path())?);
    let packages = Packages::make(dir.path())?.with_last();
    let url = packages.offer(&desk);
    // The master is installed from the tarball, the agent from the Debian package.
    let variables = |package: &Package| {
        [
            ("MASTER", cloud.address().to_string()),
            ("PACKAGE", format!("{url}/{}", package.name)),
            ("SHA256", package.sha256.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    };
    let walk = documents::blocks("docs/hybrid-clouds.md", "A walk-through: two sites, NAT, no VPN");
    let mut desk = Desk { host: desk, dir: dir.path().to_path_buf(), variables: variables(&packages.tarball(1)) };
    desk.run(&walk[0]);
    let master_data = desk.file("master.yaml");
    desk.variables = variables(&packages.deb(1));
    desk.run(&walk[0]);
    let agent_data = desk.file("agent.yaml");
    let instance = |id: &str, host: &Host, public_ip, region: &str, user_data| Instance {
        id: id.to_owned(),
        private_ip: host.address(),
        public_ip,
        region: region.to_owned(),
        user_data,
    };
    let there = instance("i-master", &cloud, Some(cloud.address()), "east-1", master_data);
    metadata::serve(&cloud, "lo", Cloud::Ec2, there);
    metadata::serve(router.host(), "lan", Cloud::Ec2, instance("i-agent", &private, None, "west-2", agent_data));
    let address = SocketAddr::from((cloud.address(), 5050));
    Some(Sites { agent, master, address, desk, url, packages, walk, _network: network, _dir: dir })
}

impl Sites {
    fn agent_id(&self) -> String {
        wait_for_agent(self.address)["id"].as_str().expect("an agent has an id").to_owned()
    }

    /// Waits until the unit's main process is another one than `before`, and its agent is registered.
    fn wait_for_another(&self, before: &str) -> String {
        let pid = wait::until_within(BOOT, "the service was started anew", || {
            let pid = self.agent.property("mezzo-agent", "MainPID");
            let active = self.agent.property("mezzo-agent", "ActiveState");
            (pid != before && pid != "0" && active == "active").then_some(pid)
        });
        wait_for_agent(self.address);
        pid
    }

    /// cloud-init takes the user-data, and would not take anything.
    fn user_data_is_valid(&self) {
        for name in ["master.yaml", "agent.yaml"] {
            self.agent.write(&format!("/var/tmp/{name}"), &self.desk.file(name));
            let said = self.agent.run(&["cloud-init", "schema", "--config-file", &format!("/var/tmp/{name}")]);
            assert!(said.contains("Valid cloud-config"), "{said}");
        }
        let broken = self.desk.file("agent.yaml").replace("write_files:", "write_files: here\nother:");
        self.agent.write("/var/tmp/broken.yaml", &broken);
        let refused = self.agent.try_run(&["cloud-init", "schema", "--config-file", "/var/tmp/broken.yaml"]);
        assert!(refused.is_some_and(|output| !output.status.success()), "cloud-init schema takes anything");
    }
}

#[test]
fn two_sites_from_user_data_to_a_task_and_on() {
    let Some(mut sites) = sites() else { return };
    sites.desk.host.enter();
    sites.master.power_on();
    sites.agent.boot();
    first_task(&sites);
    let id = sites.agent_id();

    let mut framework = Framework::subscribe(sites.address, framework_info("steady"));
    let names: Vec<String> = (0..STEADY).map(|number| format!("steady-{number}")).collect();
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let command = |name: &String| tasks::command(name, &agent, &format!("echo $$ > /var/tmp/{name}; exec sleep 7777"));
    framework.launch(&offer, &names.iter().map(command).collect::<Vec<_>>());
    for name in &names {
        framework.wait_status(name, "TASK_RUNNING");
    }
    let steady = wait::until("the tasks have written who they are", || {
        let pids = sites.agent.run(&["sh", "-c", "cat /var/tmp/steady-* || true"]);
        (pids.split_whitespace().count() == STEADY).then(|| steady_pids(&sites.agent))
    });
    kills(&sites);
    // The master was among them.
    wait::until_true("the framework is back", || framework.resubscribe().is_ok());
    assert_eq!((sites.agent_id(), steady_pids(&sites.agent)), (id.clone(), steady.clone()));
    upgrades(&sites);
    assert_eq!((sites.agent_id(), steady_pids(&sites.agent)), (id.clone(), steady));
    framework.listen(Duration::from_millis(100));
    for name in &names {
        let states: Vec<Value> = framework.statuses(name).iter().map(|status| status["state"].clone()).collect();
        assert!(states.iter().all(|state| state == "TASK_STARTING" || state == "TASK_RUNNING"), "{name}: {states:?}");
    }

    sites.agent.cut_power();
    sites.agent.boot();
    for name in &names {
        let what = "a task of the last boot is told to have ended";
        wait::until_within(BOOT, what, || {
            framework.listen(Duration::from_millis(50));
            let last = framework.statuses(name).pop()?;
            tasks::is_terminal(last["state"].as_str()?).then_some(())
        });
    }
    assert_eq!(sites.agent_id(), id, "a machine that boots again is the same agent");
    framework.teardown();
    goes_without_a_trace(&sites);
}

/// From the user-data to the first task, by the walk-through.
fn first_task(sites: &Sites) {
    sites.user_data_is_valid();
    let shown = wait_for_agent(sites.address);
    let address = shown["pid"].as_str().unwrap_or_default();
    assert!(address.starts_with("slave(1)@10."), "{shown}");
    assert_eq!(shown["domain"]["fault_domain"]["region"]["name"], "west-2", "{shown}");
    assert_eq!(shown["attributes"]["site"], "two", "{shown}");
    let listed = sites.desk.run(&sites.walk[1]);
    assert!(listed.contains("hello from ip-10-") && listed.contains(".west-2.compute.internal"), "{listed}");
    assert_eq!(sites.walk[2].place, "on the agent's machine");
    let told = on_machine(&sites.agent, &sites.walk[2], &sites.packages.deb(1), &sites.url);
    for words in [
        "site:two    (/etc/mezzo/agent.toml)",
        "(discovered (MEZZO_DISCOVERED_REGION))",
        "Active: active (running)",
        "region: west-2, zone: west-2a",
        "the agent runs",
    ] {
        assert!(told.contains(words), "'{words}' is not in\n{told}");
    }
    let status = sites.agent.property("mezzo-agent", "StatusText");
    assert_eq!(status, format!("linked with the master at {}", sites.address));
    // The master's service is confined, and says what it does.
    assert_eq!(sites.master.property("mezzo-master", "StatusText"), "leading");
    let pid = sites.master.property("mezzo-master", "MainPID");
    assert_eq!(sites.master.run(&["stat", "-c", "%U", &format!("/proc/{pid}")]), "mezzo");
    assert!(sites.master.run(&["cat", &format!("/proc/{pid}/status")]).contains("NoNewPrivs:\t1"));
    sites.master.run(&["sh", "-c", "systemd-analyze verify --man=no /lib/systemd/system/mezzo-*.service"]);
    sites.agent.run(&["dpkg", "--verify", "mezzo"]);
}

/// A process that is killed, or hangs, is started anew by its manager; nothing of it is lost.
fn kills(sites: &Sites) {
    let pid = sites.agent.property("mezzo-agent", "MainPID");
    sites.agent.run(&["kill", "-9", &pid]);
    let pid = sites.wait_for_another(&pid);
    assert_eq!(sites.agent.property("mezzo-agent", "NRestarts"), "1");

    // The watchdog of the unit, impatient for this once.
    sites.agent.write("/etc/systemd/system/mezzo-agent.service.d/test.conf", "[Service]\nWatchdogSec=3s\n");
    sites.agent.run(&["systemctl", "daemon-reload"]);
    sites.agent.run(&["systemctl", "restart", "mezzo-agent"]);
    let pid = sites.wait_for_another(&pid);
    sites.agent.run(&["kill", "-STOP", &pid]);
    sites.wait_for_another(&pid);
    assert!(sites.agent.journal("mezzo-agent").contains("Watchdog timeout"), "{}", sites.agent.journal("mezzo-agent"));
    sites.agent.run(&["rm", "-r", "/etc/systemd/system/mezzo-agent.service.d"]);
    sites.agent.run(&["systemctl", "daemon-reload"]);

    let master = sites.master.property("mezzo-master", "MainPID");
    sites.master.run(&["kill", "-9", &master]);
    wait::until_within(BOOT, "the master is started anew", || {
        let pid = sites.master.property("mezzo-master", "MainPID");
        (pid != master && pid != "0").then_some(())
    });
}

/// Down to the last version, up to another package of this one, and back, while short tasks come and go.
fn upgrades(sites: &Sites) {
    wait_for_agent(sites.address);
    let stop = Arc::new(AtomicBool::new(false));
    let load = load(&sites.desk.host, sites.address, &stop);
    let last = sites.packages.has_last.then_some(0);
    for revision in last.into_iter().chain([2, 1]) {
        let before = sites.agent.property("mezzo-agent", "MainPID");
        on_machine(&sites.agent, &sites.walk[3], &sites.packages.deb(revision), &sites.url);
        sites.wait_for_another(&before);
        let version = sites.agent.run(&["dpkg-query", "--show", "--showformat=${Version}", "mezzo"]);
        assert!(version.ends_with(&format!("-{revision}")), "{version}");
    }
    // What the operator wrote stays.
    assert!(sites.agent.run(&["cat", "/etc/mezzo/agent.toml"]).contains("site:two"));
    // A package that is not the one that was meant changes nothing.
    let before = sites.agent.property("mezzo-agent", "MainPID");
    let wrong = Package { sha256: sites.packages.deb(1).sha256, ..sites.packages.deb(2) };
    let (url, sum) = (format!("{}/{}", sites.url, wrong.name), wrong.sha256.as_str());
    let refused = sites.agent.try_run(&["mezzo-install", "agent", &url, sum]).expect("the machine is up");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing was installed"), "{refused:?}");
    assert_eq!(sites.agent.property("mezzo-agent", "MainPID"), before);
    stop.store(true, Ordering::Relaxed);
    let (finished, others) = load.join().expect("the load ends");
    assert!(finished >= 5 && others.is_empty(), "{finished} finished, {others:?}");
}

/// A purge ends what runs and leaves nothing.
fn goes_without_a_trace(sites: &Sites) {
    let mut framework = Framework::subscribe(sites.address, framework_info("last"));
    framework.run("last", "echo $$ > /var/tmp/last; exec sleep 7777");
    framework.wait_status("last", "TASK_RUNNING");
    let pid = wait::until("the task has written who it is", || {
        let pid = sites.agent.run(&["sh", "-c", "cat /var/tmp/last || true"]);
        (!pid.is_empty()).then_some(pid)
    });
    sites.agent.run(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "purge", "mezzo"]);
    let left = "ls -d /proc/$0 /usr/bin/mezzo /var/lib/mezzo-agent /etc/mezzo /etc/default/mezzo-agent /run/mezzo 2>/dev/null; \
                getent passwd mezzo; pgrep -l mezzo; true";
    assert_eq!(sites.agent.run(&["sh", "-c", left, &pid]), "");
}
