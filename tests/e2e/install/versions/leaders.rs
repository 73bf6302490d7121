//! Masters of both versions that lead in turn, with one registry in ZooKeeper.

use std::net::SocketAddr;
use std::time::Instant;

use mezzo_api::codec::Encoding;
use mezzo_tests::framework::Framework;
use mezzo_tests::masters::Masters;
use mezzo_tests::versions::Version::{Last, This};
use mezzo_tests::versions::Versions;
use mezzo_tests::{tasks, wait};

use crate::ha::policy;

fn address(group: &Masters, master: usize) -> SocketAddr {
    group.masters[master].address
}

fn ids(group: &Masters, leader: usize) -> Vec<String> {
    let state = group.state(leader).unwrap_or_default();
    let agents = state["slaves"].as_array().cloned().unwrap_or_default();
    let mut ids: Vec<String> = agents.iter().filter_map(|agent| Some(agent["id"].as_str()?.to_owned())).collect();
    ids.sort();
    ids
}

/// Everything that a registry holds is set by each leader in its turn, and known to the next one.
#[test]
fn masters_of_both_versions_lead_in_turn() {
    let Some(versions) = Versions::both() else { return };
    let mut group = Masters::builder().masters(2).agents(2).start();
    let known = ids(&group, 0);
    let mut framework = Framework::subscribe(group.masters[0].address, tasks::framework_info("turns", "dev"));
    framework.run("steady", "exec sleep 7777");
    framework.wait_status("steady", "TASK_RUNNING");
    policy::set(address(&group, 0));
    let mut leader = 0;
    // The first leader is this version's; then each version follows each.
    for (turn, version) in (0..).zip([Last, Last, This, This, Last]) {
        let what = format!("turn {turn}, {version:?}");
        policy::set_weight(address(&group, leader), "heavy", 3.0 + f64::from(turn));
        let torn_down = Framework::subscribe(address(&group, leader), tasks::framework_info("short-lived", "dev"));
        let gone = torn_down.info().clone();
        torn_down.teardown();
        let told = policy::told(address(&group, leader));

        let next = 1 - leader;
        versions.replace(&mut group.masters[next].part, "mezzo-master", version);
        group.wait_for_standby(next, leader);
        versions.replace(&mut group.agents[turn as usize % 2].part, "mezzo-agent", version);
        group.wait_for_agents(leader, 2);
        let since = Instant::now();
        group.masters[leader].part.kill();
        group.takeover(since, &[next], 2);
        group.masters[leader].part.start();
        group.wait_for_standby(leader, next);
        leader = next;

        assert_eq!(ids(&group, leader), known, "{what}");
        let master = address(&group, leader);
        assert_eq!(policy::told(master), told, "{what}");
        let refused = Framework::try_subscribe(Encoding::Json, master, gone).expect_err("it was torn down");
        assert!(refused.contains("Framework has been removed"), "{what}: {refused}");
        wait::until("the framework follows", || framework.follow(master).ok());
        let short = format!("short-{turn}");
        framework.run(&short, "true");
        framework.wait_status(&short, "TASK_FINISHED");
    }
    assert!(
        framework
            .statuses("steady")
            .iter()
            .all(|status| !tasks::is_terminal(status["state"].as_str().unwrap_or_default()))
    );
    framework.teardown();
}
