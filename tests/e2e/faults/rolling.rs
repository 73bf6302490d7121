//! Rolling restarts of an agent under load: no task notices. A handful in CI, 200 by `cargo xtask soak`.

use std::{collections::BTreeMap, time::Duration};

use mezzo_tests::{cluster::Cluster, framework::Framework, tasks, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::number;

/// Tasks that run all the time.
const STEADY: usize = 20;

#[test]
fn soak_rolling_restarts() {
    let restarts = number("MEZZO_ROLLING_RESTARTS", 8);
    let mut cluster = Cluster::builder().resources("cpus:16;mem:16384;disk:10000;ports:[31000-31009]").start();
    let mut framework = Framework::subscribe(cluster.master_address, tasks::framework_info("rolling", "dev"));
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let names: Vec<String> = (0..STEADY).map(|number| format!("steady-{number}")).collect();
    let list: Vec<Value> = names.iter().map(|name| tasks::command(name, &agent, "exec sleep 7777")).collect();
    framework.launch(&offer, &list);
    for name in &names {
        framework.wait_status(name, "TASK_RUNNING");
    }
    let sleepers = |cluster: &Cluster| -> BTreeMap<i32, String> {
        let children = cluster.children().into_iter().filter(|process| process.command == "sleep 7777");
        children.map(|process| (process.pid, process.command)).collect()
    };
    // A task runs from its fork on; its shell has yet to become what it is to be.
    wait::until_true("all sleep", || sleepers(&cluster).len() == STEADY);
    let before = sleepers(&cluster);
    let mut short = Vec::new();
    for restart in 0..restarts {
        // As an upgrade does it, and as a crash does.
        if restart % 2 == 0 {
            cluster.agents[0].part.signal(Signal::SIGTERM);
            cluster.agents[0].part.wait(Duration::from_secs(20)).expect("the agent ends when it is asked to");
        }
        let name = format!("short-{restart}");
        if let Some(offer) = framework.offers.values().next().cloned() {
            framework.offers.clear();
            let task = tasks::command(&name, &agent, "sleep 0.05");
            framework.launch(&offer, &[task]);
            short.push(name);
        }
        cluster.restart_agent(0);
        wait::until_true("the agent is back", || {
            framework.listen(Duration::from_millis(20));
            cluster.agent_ids().len() == 1
        });
        assert_eq!(sleepers(&cluster), before, "after {restart} restarts");
    }
    for name in &short {
        wait::until_true("a short task ends", || {
            framework.listen(Duration::from_millis(20));
            let states = framework.statuses(name);
            states.iter().any(|status| tasks::is_terminal(status["state"].as_str().unwrap_or_default()))
        });
        // One whose launch was on its way to an agent that was away is dropped, and nothing worse.
        let last = framework.statuses(name).pop().unwrap();
        assert!(last["state"] == "TASK_FINISHED" || last["state"] == "TASK_DROPPED", "{name}: {last}");
    }
    for name in &names {
        let states: Vec<Value> = framework.statuses(name).iter().map(|status| status["state"].clone()).collect();
        assert!(states.iter().all(|state| state == "TASK_STARTING" || state == "TASK_RUNNING"), "{name}: {states:?}");
    }
    eprintln!("{restarts} restarts, {} short tasks", short.len());
}
