//! Masters and agents of this version and of the last one together, in every order, upwards and down again, while tasks of
//! every kind run and what operators said is remembered.

mod household;
mod leaders;

use household::Household;
use mezzo_tests::cluster::Cluster;
use mezzo_tests::framework::Framework;
use mezzo_tests::versions::Version::{Last, This};
use mezzo_tests::versions::{Version, Versions};
use mezzo_tests::{operator, tasks, wait};
use serde_json::json;

/// (master, agent), one of them changed in each step: each pair is come to from each of its neighbours.
const STEPS: [(Version, Version); 8] =
    [(This, Last), (This, This), (Last, This), (Last, Last), (Last, This), (This, This), (This, Last), (Last, Last)];

#[test]
fn both_versions_work_together_in_every_order() {
    let Some(versions) = Versions::both() else { return };
    let mut cluster = Cluster::builder().start();
    let (mut master, mut agent) = (Last, Last);
    versions.replace(&mut cluster.master, "mezzo-master", master);
    versions.replace(&mut cluster.agents[0].part, "mezzo-agent", agent);
    cluster.wait_until_registered(1);
    let ids = cluster.agent_ids();
    let said = shown_version(&cluster);
    let mut household = Household::start(&cluster);
    for (step, (next_master, next_agent)) in STEPS.into_iter().enumerate() {
        let what = format!("step {step}: master {next_master:?}, agent {next_agent:?}");
        assert!((next_master == master) != (next_agent == agent), "{what}: one of them changes");
        household.begin(step);
        if next_master == master {
            versions.replace(&mut cluster.agents[0].part, "mezzo-agent", next_agent);
        } else {
            versions.replace(&mut cluster.master, "mezzo-master", next_master);
            cluster.wait_until_master_is_healthy();
        }
        (master, agent) = (next_master, next_agent);
        wait::until_true(&format!("{what}: the agent is back under its id"), || cluster.agent_ids() == ids);
        household.go_on(&what, step, &cluster);
        assert_eq!(shown_version(&cluster) == said, master == Last, "{what}: the programs are those of their version");
    }
    household.end();
}

/// What the master says of its version.
fn shown_version(cluster: &Cluster) -> String {
    let version = cluster.get("/version").expect("the master answers").json();
    version["mezzo_version"].as_str().unwrap_or_default().to_owned()
}

/// An agent of the last version whose master is of this one, and the other way round, from their very first word.
#[test]
fn strangers_of_both_versions_meet() {
    let Some(versions) = Versions::both() else { return };
    for (master, agent) in [(Last, This), (This, Last)] {
        let mut cluster = Cluster::builder().agents(0).start();
        versions.replace(&mut cluster.master, "mezzo-master", master);
        cluster.wait_until_master_is_healthy();
        cluster.add_agent();
        cluster.agents[0].part.kill();
        cluster.agents[0].part.set_program(versions.program("mezzo-agent", agent));
        cluster.agents[0].part.start();
        cluster.wait_until_registered(1);
        let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("strangers", "dev"));
        framework.run("first", "true");
        framework.wait_status("first", "TASK_FINISHED");
        framework.run("drained", "sleep 7777");
        framework.wait_status("drained", "TASK_RUNNING");
        let id = cluster.agent_ids().remove(0);
        let drain = json!({"type": "DRAIN_AGENT", "drain_agent": {"agent_id": {"value": id}}});
        let answer = operator::call(cluster.master_address, &drain);
        assert_eq!(answer.status(), 200, "{}", answer.text());
        framework.wait_status("drained", "TASK_KILLED");
        wait::until_true("the agent is drained", || cluster.state()["slaves"][0]["drain_info"]["state"] == "DRAINED");
        framework.teardown();
    }
}
