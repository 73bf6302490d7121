//! The README's way to a cluster, on a clean machine that is master and agent in one.

use std::time::Instant;

use mezzo_tests::hosts::Network;
use mezzo_tests::machine::Machine;

use super::documents;
use super::packages::Packages;

#[test]
fn a_new_user_gets_from_the_readme_to_a_task() {
    let Some(mut network) = Network::new() else { return };
    let dir = tempfile::Builder::new().prefix("mezzo-test-").tempdir().expect("a temporary directory");
    let segment = network.segment();
    let host = network.host("new", &segment);
    let Some(mut machine) = Machine::new("new", &host, dir.path()) else { return };
    machine.write("/etc/cloud/cloud-init.disabled", "");
    machine.boot();
    let Some(packages) = Packages::make(dir.path()) else { return };
    let package = packages.deb(1);
    let start = Instant::now();
    machine.copy(&packages.dir.join(&package.name), &format!("/var/tmp/{}", package.name));
    let install = format!("DEBIAN_FRONTEND=noninteractive apt-get -q -y install /var/tmp/{}", package.name);
    machine.run(&["sh", "-ec", &install]);
    assert_eq!(machine.property("mezzo-agent", "ActiveState"), "inactive", "nothing starts before it is told to");
    let mut said = String::new();
    for block in documents::blocks("README.md", "A cluster") {
        let commands = block.commands.replace("10.0.0.1", &host.address().to_string());
        said = machine.run(&["sh", "-ec", &commands]);
    }
    assert!(said.contains("hello from new"), "{said}");
    eprintln!("from the package to the first task's output: {:.1} s", start.elapsed().as_secs_f64());

    // The names that scripts of Mesos know.
    for (name, program) in
        [("mesos-master", "mezzo-master"), ("mesos-agent", "mezzo-agent"), ("mesos-slave", "mezzo-agent")]
    {
        let version = machine.run(&[name, "--version"]);
        assert!(version.starts_with(program), "{name}: {version}");
    }
    machine.run(&["sh", "-ec", "man -w mezzo > /dev/null 2>&1 || test -e /usr/share/man/man1/mezzo.1.gz"]);
    machine.run(&["sh", "-ec", "DEBIAN_FRONTEND=noninteractive apt-get -q -y remove mezzo"]);
    assert!(machine.run(&["cat", "/etc/mezzo/agent.toml"]).contains("master = "), "configuration stays until a purge");
    assert_eq!(machine.run(&["sh", "-c", "pgrep -l mezzo || true"]), "");
}
