//! Masters and agents of this version and of the last one together, in every order, upwards and down again, while tasks run.
//! `MEZZO_OLD_BIN_DIR` has the last version's programs; without it this version stands for both, and what is shown is that each
//! of these restarts is harmless.

use std::path::PathBuf;
use std::time::Duration;

use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::{environment, tasks, wait};
use nix::sys::signal::Signal;

/// Which programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Old,
    New,
}

fn program(name: &str, version: Version) -> PathBuf {
    let old = std::env::var_os("MEZZO_OLD_BIN_DIR").map(PathBuf::from).filter(|_| version == Version::Old);
    old.map_or_else(|| environment::binary(name), |dir| dir.join(name))
}

fn restart_master(cluster: &mut Cluster, version: Version) {
    cluster.master.signal(Signal::SIGTERM);
    cluster.master.wait(Duration::from_secs(20)).expect("the master ends when it is asked to");
    cluster.master.kill();
    cluster.master.set_program(program("mezzo-master", version));
    cluster.master.start();
    cluster.wait_until_master_is_healthy();
}

fn restart_agent(cluster: &mut Cluster, version: Version) {
    let part = &mut cluster.agents[0].part;
    part.signal(Signal::SIGTERM);
    part.wait(Duration::from_secs(20)).expect("the agent ends when it is asked to");
    part.kill();
    part.set_program(program("mezzo-agent", version));
    part.start();
}

#[test]
fn both_versions_work_together_in_every_order() {
    let mut cluster = Cluster::builder().start();
    let id = cluster.agent_ids();
    restart_master(&mut cluster, Version::Old);
    restart_agent(&mut cluster, Version::Old);
    cluster.wait_until_registered(1);
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("versions", "dev"));
    framework.run("steady", "exec sleep 7777");
    framework.wait_status("steady", "TASK_RUNNING");
    let steady = |cluster: &Cluster| -> Vec<i32> {
        let children = cluster.children().into_iter().filter(|process| process.command == "sleep 7777");
        children.map(|process| process.pid).collect()
    };
    wait::until_true("the task has become its command", || steady(&cluster).len() == 1);
    let before = steady(&cluster);
    use Version::{New, Old};
    let orders = [(New, Old), (New, New), (Old, New), (Old, Old), (Old, New), (New, New), (New, Old), (Old, Old)];
    for (step, (master, agent)) in orders.into_iter().enumerate() {
        // One of them changes in each step.
        restart_master(&mut cluster, master);
        restart_agent(&mut cluster, agent);
        wait::until_true("the agent is back under its id", || cluster.agent_ids() == id);
        framework.resubscribe().unwrap_or_else(|what| panic!("{master:?}, {agent:?}: {what}"));
        let name = format!("short-{step}");
        framework.run(&name, "true");
        framework.wait_status(&name, "TASK_FINISHED");
        assert_eq!(steady(&cluster), before, "{master:?}, {agent:?}");
    }
    framework.call("KILL", serde_json::json!({"task_id": {"value": "steady"}}));
    framework.wait_status("steady", "TASK_KILLED");
    framework.teardown();
}
