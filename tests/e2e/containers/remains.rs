//! Deaths at every step: of the agent, of supervisors. Afterwards nothing is left: no process, mount, cgroup or root.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mezzo_tests::{leftovers, tasks, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::{USUAL, World, task};

/// Names of agent/src/failpoint.rs's callers.
const DEATHS: [&str; 12] = [
    "launch:1",
    "launched:1",
    "launched:3",
    "prepared:2",
    "handed-over:3",
    "running:2",
    "stop:1",
    "stopped:1",
    "ended:1",
    "ended:3",
    "forget:1",
    "forgotten:1",
];

#[test]
fn a_killed_agent_leaves_nothing() {
    for deaths in DEATHS.chunks(3) {
        std::thread::scope(|scope| {
            for death in deaths {
                scope.spawn(move || live(death));
            }
        });
    }
}

/// Tasks that end, that fail, that run on; the agent dies among them and comes back.
fn live(death: &str) {
    let Some(mut world) = World::start_dying(USUAL, &[], Some(("MEZZO_FAILPOINT", death))) else { return };
    world.launch(|agent| {
        vec![
            task("ends", agent, (0.1, 32.0), "true"),
            task("hogs", agent, (0.1, 32.0), "head -c 100000000 /dev/zero | tail; sleep 1360"),
            task("goes-on", agent, (0.1, 32.0), "(sleep 1361 &); sleep 1362"),
        ]
    });
    let ids = ["ends", "hogs", "goes-on"];
    let mut died = false;
    wait::until_within(Duration::from_secs(90), &format!("all tasks ended after a death at {death}"), || {
        world.framework.listen(Duration::from_millis(100));
        let part = &mut world.cluster.agents[0].part;
        if !part.is_running() {
            died = true;
            part.kill();
            part.set_variable("MEZZO_FAILPOINT", "");
            part.start();
        }
        let terminal = |id: &str| {
            let states = world.framework.statuses(id);
            states.iter().any(|status| tasks::is_terminal(status["state"].as_str().unwrap_or_default()))
        };
        let left: Vec<&str> = ids.into_iter().filter(|id| !terminal(id)).collect();
        if left == ["goes-on"] {
            world.framework.call("KILL", json!({"task_id": {"value": "goes-on"}}));
        }
        (left.is_empty() && died).then_some(())
    });
    world.wait_until_nothing_is_left();
}

/// Places in the making and unmaking of a container, as agent/executor/src names them.
const STEPS: [&str; 11] = [
    "preparing",
    "cgroups-made",
    "first-process",
    "plugged",
    "joined",
    "mounted",
    "started",
    "recorded",
    "killed",
    "removed",
    "exited",
];

/// Those of the container's first process, from whose PID namespace nobody reaches the agent.
const WITHIN: [&str; 4] = ["first-process", "plugged", "joined", "mounted"];

/// The agent is killed while a container is at each of its steps, or the process that makes it is; a new agent takes over.
#[test]
fn a_death_at_each_step_of_a_container_leaves_nothing() {
    for step in STEPS {
        std::thread::scope(|scope| {
            for who in ["self", "agent"].into_iter().filter(|who| *who == "self" || !WITHIN.contains(&step)) {
                scope.spawn(move || die_at(who, step));
            }
        });
    }
}

fn die_at(who: &str, step: &str) {
    let passed = tempfile::tempdir().unwrap();
    let passed = passed.path().join("passed");
    let death = format!("{who}:{step}:{}", passed.display());
    let death = Some(("MEZZO_EXECUTOR_FAILPOINT", death.as_str()));
    let Some(mut world) = World::start_dying(USUAL, &[], death) else { return };
    world.launch(|agent| vec![task("brief", agent, (0.1, 32.0), "(sleep 1365 &); sleep 0.1")]);
    if who == "agent" {
        wait::until_true(&format!("the agent died at {step}"), || !world.cluster.agents[0].part.is_running());
    } else {
        world.framework.wait_since(0, &format!("it ended by a death at {step}"), |event| {
            tasks::is_terminal(event["update"]["status"]["state"].as_str().unwrap_or_default())
        });
    }
    assert!(passed.exists(), "nothing came to {step}");
    let part = &mut world.cluster.agents[0].part;
    part.kill();
    part.set_variable("MEZZO_EXECUTOR_FAILPOINT", "");
    part.start();
    world.framework.wait_since(0, &format!("it has ended after a death at {step}"), |event| {
        tasks::is_terminal(event["update"]["status"]["state"].as_str().unwrap_or_default())
    });
    world.wait_until_nothing_is_left();
}

/// Supervisors are killed while they make containers and while they watch them, then the agent, too.
#[test]
fn killed_supervisors_leave_nothing() {
    let Some(mut world) = World::start(USUAL, &["--resources=cpus:8;mem:8192;disk:1000"]) else { return };
    let names: Vec<String> = (0..40).map(|number| format!("t{number}")).collect();
    world.launch(|agent| names.iter().map(|id| task(id, agent, (0.1, 32.0), "(sleep 1363 &); sleep 1364")).collect());
    let dir = world.cluster.dir().to_path_buf();
    let kill_all = || {
        let found = supervisors(&dir).into_iter();
        found.filter(|process| kill(Pid::from_raw(*process), Signal::SIGKILL).is_ok()).collect::<BTreeSet<_>>()
    };
    let mut killed = BTreeSet::new();
    wait::until_true("supervisors were killed", || {
        killed.extend(kill_all());
        killed.len() >= names.len()
    });
    world.cluster.restart_agent(0);
    // First processes of containers bear that name too for a moment: some supervisors may not have been seen.
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                kill_all();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let _end = Ended(&ended);
        for id in &names {
            world.framework.wait_since(0, id, |event| {
                let status = &event["update"]["status"];
                status["task_id"]["value"] == json!(id)
                    && tasks::is_terminal(status["state"].as_str().unwrap_or_default())
            });
        }
    });
    world.wait_until_nothing_is_left();
}

/// Says that it is over, also when a test fails.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The living supervisors of a world: children of its zygote that carry their name.
fn supervisors(world: &Path) -> Vec<i32> {
    let named =
        |pid: i32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "mezzo-container");
    let all = leftovers::of(world);
    all.into_iter().map(|process| process.pid).filter(|pid| named(*pid)).collect()
}
