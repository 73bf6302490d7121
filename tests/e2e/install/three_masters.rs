//! Three machines with ZooKeeper and a master each, and an agent's behind NAT, by the commands of docs/installation.md as they
//! stand there; then the leader's machine loses its power.

use std::net::SocketAddr;

use mezzo_tests::hosts::Network;
use mezzo_tests::http;
use mezzo_tests::machine::{BOOT, Machine};
use mezzo_tests::wait;

use super::documents::{self, Block};
use super::packages::{Package, Packages};

/// The blocks of the document, by the place where they are run.
struct Walk(Vec<Block>);

impl Walk {
    fn at(&self, place: &str) -> Vec<&str> {
        let commands: Vec<&str> = self.0.iter().filter(|b| b.place == place).map(|b| b.commands.as_str()).collect();
        assert!(!commands.is_empty(), "nothing is done {place}");
        commands
    }

    /// All that is done there, in the directory that has the package; what the last of it wrote.
    fn run(&self, place: &str, machine: &Machine, package: &Package) -> String {
        let mut said = String::new();
        for commands in self.at(place) {
            let named = commands.replace("mezzo_0.1.0-1_amd64.deb", &package.name);
            said =
                machine.run(&["env", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", &format!("cd /var/tmp\n{named}")]);
        }
        said
    }
}

/// The three, each with its address.
struct Masters {
    machines: Vec<Machine>,
    addresses: Vec<SocketAddr>,
}

impl Masters {
    /// Who leads and has so many agents, once one does.
    fn leader(&self, agents: usize) -> usize {
        wait::until_within(BOOT, "a master leads, and has its agent", || {
            self.addresses.iter().position(|address| {
                let answer = http::send(*address, &http::Request::get("/slaves")).ok();
                // One that stands by sends to the leader.
                let Some(answer) = answer.filter(|answer| answer.status() == 200) else { return false };
                let slaves = answer.json()["slaves"].as_array().cloned().unwrap_or_default();
                slaves.iter().filter(|agent| agent["active"] == true).count() == agents
            })
        })
    }

    fn wait_for_status(&self, number: usize, words: &str) {
        wait::until_within(BOOT, &format!("m{} says '{words}'", number + 1), || {
            self.machines[number].property("mezzo-master", "StatusText").contains(words).then_some(())
        });
    }
}

#[test]
fn three_masters_by_the_document_outlive_a_machine() {
    let Some(mut network) = Network::new() else { return };
    let dir = tempfile::Builder::new().prefix("mezzo-test-").tempdir().expect("a temporary directory");
    let Some(packages) = Packages::make(dir.path()) else { return };
    let package = packages.deb(1);
    let walk = Walk(documents::blocks("docs/installation.md", "Three masters"));
    let (outside, inside) = (network.segment(), network.segment());
    let names = ["m1", "m2", "m3"];
    let hosts = names.map(|name| network.host(name, &outside));
    let _router = network.router("r1", &inside, &outside);
    let private = network.host("a1", &inside);
    private.route_by(&inside);
    let desk = network.host("desk", &outside);
    let names_and_addresses: String =
        names.iter().zip(&hosts).map(|(name, host)| format!("{} {name}\n", host.address())).collect();
    let prepare = |machine: &Machine| {
        machine.write("/etc/cloud/cloud-init.disabled", "");
        machine.write("/etc/hosts", &format!("127.0.0.1 localhost\n{names_and_addresses}"));
    };
    let mut machines = Vec::new();
    for (name, host) in names.iter().zip(&hosts) {
        let Some(machine) = Machine::with_zookeeper(name, host, dir.path()) else { return };
        prepare(&machine);
        machines.push(machine);
    }
    let Some(mut agent) = Machine::new("a1", &private, dir.path()) else { return };
    prepare(&agent);
    // They boot side by side.
    machines.iter_mut().chain([&mut agent]).for_each(Machine::power_on);
    for machine in machines.iter_mut().chain([&mut agent]) {
        machine.wait_until_up();
        machine.copy(&packages.dir.join(&package.name), &format!("/var/tmp/{}", package.name));
    }
    let addresses = hosts.iter().map(|host| SocketAddr::from((host.address(), 5050))).collect();
    let mut masters = Masters { machines, addresses };
    std::thread::scope(|scope| {
        for machine in &masters.machines {
            scope.spawn(|| walk.run("on each of three machines", machine, &package));
        }
    });
    walk.run("on each agent's machine", &agent, &package);
    desk.enter();
    let leader = masters.leader(1);
    for number in 0..masters.machines.len() {
        masters.wait_for_status(number, if number == leader { "leading" } else { "standing by; another master leads" });
    }
    let said = walk.run("anywhere", &masters.machines[(leader + 1) % 3], &package);
    assert!(said.contains("hello from a1"), "{said}");

    masters.machines[leader].cut_power();
    let next = masters.leader(1);
    assert_ne!(next, leader);
    let said = walk.run("anywhere", &masters.machines[next], &package);
    assert!(said.contains("hello from a1"), "{said}");
    // It comes back, with its ZooKeeper, and stands by.
    masters.machines[leader].boot();
    masters.wait_for_status(leader, "standing by; another master leads");
    assert_eq!(masters.leader(1), next);
}
