//! Memory, CPUs, processes: who takes too much harms nobody but itself.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use mezzo_tests::{tasks, wait};
use serde_json::json;

use super::{USUAL, World, number, task};

const SMALL: (f64, f64) = (0.1, 32.0);

#[test]
fn memory_ends_only_the_offender() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    world.launch(|agent| {
        vec![
            task("calm", agent, SMALL, "sleep 1350"),
            // The victim is a child: the rest of the container goes with it.
            task("hog", agent, (0.5, 64.0), "echo begins; head -c 300000000 /dev/zero | tail; sleep 1351"),
        ]
    });
    world.framework.wait_status("calm", "TASK_RUNNING");
    let failed = world.framework.wait_status("hog", "TASK_FAILED");
    assert_eq!(failed["reason"], "REASON_CONTAINER_LIMITATION_MEMORY", "{failed:#}");
    let message = failed["message"].as_str().unwrap();
    assert!(message.starts_with("Memory limit exceeded: Requested: 64MB Maximum Used: "), "{message}");
    assert_eq!(failed["limitation"]["resources"][0], tasks::scalar("mem", 64.0), "{failed:#}");
    let calm = world.framework.statuses("calm");
    assert!(calm.iter().all(|status| !tasks::is_terminal(status["state"].as_str().unwrap())), "{calm:#?}");
    world.framework.call("KILL", json!({"task_id": {"value": "calm"}}));
    world.framework.wait_status("calm", "TASK_KILLED");
    world.wait_until_nothing_is_left();
}

/// Requests are not limits for those who may burst; limits are.
#[test]
fn bursting_goes_up_to_the_limit() {
    let Some(mut world) = World::start(USUAL, &[]) else { return };
    let eat = |id: &str, agent: &str, limit: serde_json::Value| {
        let mut task = task(id, agent, (0.1, 32.0), "head -c 60000000 /dev/zero | tail | wc -c");
        task["limits"] = json!({"mem": {"value": limit}, "cpus": {"value": 2.0}});
        task
    };
    world.launch(|agent| {
        vec![eat("bursts", agent, json!(200)), eat("free", agent, json!("Infinity")), eat("bounded", agent, json!(48))]
    });
    world.framework.wait_status("bursts", "TASK_FINISHED");
    world.framework.wait_status("free", "TASK_FINISHED");
    let failed = world.framework.wait_status("bounded", "TASK_FAILED");
    assert_eq!(failed["limitation"]["resources"][0], tasks::scalar("mem", 48.0), "{failed:#}");
    world.wait_until_nothing_is_left();
}

/// CPU seconds that a container has used.
fn used(world: &World, container: &str) -> f64 {
    let version_1 = world.group("cpuacct", container).join("cpuacct.usage");
    if let Some(nanoseconds) = number(&version_1) {
        return Duration::from_nanos(nanoseconds).as_secs_f64();
    }
    let text = fs::read_to_string(world.group("cpu", container).join("cpu.stat")).unwrap_or_default();
    let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok());
    Duration::from_micros(micros.unwrap_or_default()).as_secs_f64()
}

/// Others run on this machine too: a window in which they do not disturb is waited for.
fn measured(world: &World, containers: &[&str], fits: impl Fn(&[f64]) -> bool) {
    let mut seen = Vec::new();
    for _ in 0..12 {
        let before: Vec<f64> = containers.iter().map(|id| used(world, id)).collect();
        let start = Instant::now();
        std::thread::sleep(Duration::from_secs(2));
        let elapsed = start.elapsed().as_secs_f64();
        let rates: Vec<f64> =
            containers.iter().zip(before).map(|(id, before)| (used(world, id) - before) / elapsed).collect();
        if fits(&rates) {
            return;
        }
        seen.push(rates);
    }
    panic!("CPUs were shared otherwise: {seen:?}");
}

#[test]
fn quota_and_shares_hold() {
    const BUSY: &str = "exec taskset -c 0 sh -c 'while :; do :; done'";
    let Some(mut world) = World::start(USUAL, &["--cgroups_enable_cfs"]) else { return };
    world.launch(|agent| vec![task("fifth", agent, (0.2, 32.0), BUSY)]);
    let fifth = world.container("fifth");
    measured(&world, &[&fifth], |rates| (0.18..0.22).contains(&rates[0]));
    world.framework.call("KILL", json!({"task_id": {"value": "fifth"}}));
    world.framework.wait_status("fifth", "TASK_KILLED");
    world.launch(|agent| {
        let free = |id, cpus| {
            let mut task = task(id, agent, (cpus, 32.0), BUSY);
            task["limits"] = json!({"cpus": {"value": "Infinity"}});
            task
        };
        vec![free("one", 0.1), free("three", 0.3)]
    });
    let (one, three) = (world.container("one"), world.container("three"));
    measured(&world, &[&one, &three], |rates| (2.7..3.3).contains(&(rates[1] / rates[0])));
}

/// The bomb is bounded by its container's limit, and ends with it.
#[test]
fn a_fork_bomb_stays_in_its_container() {
    let isolation = "cgroups/cpu,cgroups/mem,cgroups/pids";
    let Some(mut world) = World::start(isolation, &["--cgroups_pids_max=40"]) else { return };
    world.launch(|agent| {
        vec![
            task("calm", agent, SMALL, "while :; do sh -c 'sleep 0.05' || exit 1; done"),
            task("bomb", agent, (0.2, 64.0), "b() { b | b & sleep 1352; }; b 2>/dev/null; sleep 1353"),
        ]
    });
    let bomb = world.container("bomb");
    let group = world.group("pids", &bomb);
    wait::until_true("the bomb goes off", || {
        let text = fs::read_to_string(group.join("pids.events")).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix("max ").is_some_and(|count| count != "0")) || !group.exists()
    });
    assert!(number(&group.join("pids.current")).is_none_or(|count| count <= 40));
    world.framework.wait_status("calm", "TASK_RUNNING");
    if group.exists() {
        world.framework.call("KILL", json!({"task_id": {"value": "bomb"}}));
    }
    wait::until_true("the bomb is gone", || !group.exists());
    world.framework.listen(Duration::from_millis(300));
    let calm = world.framework.statuses("calm");
    assert!(calm.iter().all(|status| !tasks::is_terminal(status["state"].as_str().unwrap())), "{calm:#?}");
    world.framework.call("KILL", json!({"task_id": {"value": "calm"}}));
    world.framework.wait_status("calm", "TASK_KILLED");
    world.wait_until_nothing_is_left();
}

/// The limit of a pod is that of all its tasks, and grows with them.
#[test]
fn a_pod_grows_with_its_tasks() {
    let Some(mut world) = World::start("cgroups/cpu,cgroups/mem", &[]) else { return };
    let mut limits = Vec::new();
    for id in ["first", "second"] {
        let offer = world.framework.wait_any_offer();
        let agent = tasks::agent_of(&offer).to_owned();
        let executor = json!({
            "type": "DEFAULT", "executor_id": {"value": "pod"}, "framework_id": {"value": world.framework.id},
            "resources": [tasks::scalar("cpus", 0.1), tasks::scalar("mem", 32.0), tasks::scalar("disk", 1.0)],
        });
        let tasks = json!([task(id, &agent, (0.1, 64.0), "sleep 1354")]);
        let group = json!({"executor": executor, "task_group": {"tasks": tasks}});
        world.framework.accept(&offer, json!([{"type": "LAUNCH_GROUP", "launch_group": group}]));
        let running = world.framework.wait_status(id, "TASK_RUNNING");
        let pod = running["container_status"]["container_id"]["parent"]["value"].as_str().unwrap().to_owned();
        let group = world.group("memory", &pod);
        let limit = number(&group.join("memory.limit_in_bytes")).or_else(|| number(&group.join("memory.max")));
        limits.push(limit.unwrap() >> 20);
        assert!(holds_a_process(&group), "the tasks of a pod share its group");
    }
    assert_eq!(limits, [96, 160]);
    // One that fails takes its group along, here itself alone.
    for id in ["first", "second"] {
        world.framework.call("KILL", json!({"task_id": {"value": id}}));
        world.framework.wait_status(id, "TASK_KILLED");
    }
    world.wait_until_nothing_is_left();
}

fn holds_a_process(group: &Path) -> bool {
    let own = fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|text| !text.is_empty());
    own || super::directories(group).iter().any(|below| holds_a_process(below))
}
