//! Task groups: shared sandboxes, what a failure does, kills with grace, restarts.

use std::time::{Duration, Instant};

use mezzo_tests::{cluster::Cluster, tasks, wait};
use serde_json::json;

use super::{framework, group, launch_group};

/// A sidecar reads what its neighbour writes into the executor's sandbox.
#[test]
fn a_sidecar_shares_a_directory() {
    let cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "sidecar");
    let offer = framework.wait_any_offer();
    let agent = tasks::agent_of(&offer).to_owned();
    let volume = |path: &str| {
        json!({"mode": "RW", "container_path": path,
               "source": {"type": "SANDBOX_PATH", "sandbox_path": {"type": "PARENT", "path": "both"}}})
    };
    let task = |id: &str, command: &str, path: &str| {
        let mut task = tasks::command(id, &agent, command);
        task["container"] = json!({"type": "MESOS", "volumes": [volume(path)]});
        task
    };
    let writer = task("writer", "echo from the writer > mine/new && mv mine/new mine/file", "mine");
    let reader = task("reader", "while ! cat its/place/file; do sleep 0.05; done", "its/place");
    launch_group(&mut framework, &offer, "pod", &[writer, reader]);
    framework.wait_status("writer", "TASK_FINISHED");
    let finished = framework.wait_status("reader", "TASK_FINISHED");
    let container = &finished["container_status"]["container_id"];
    let (own, parent) = (container["value"].as_str().unwrap(), container["parent"]["value"].as_str().unwrap());
    let path = format!("/frameworks/{}/executors/pod/runs/{parent}", framework.id);
    let read = |path: &str| {
        let answer = cluster.get(&format!("/agent/{agent}/files/read?path={path}&offset=0")).unwrap();
        answer.json()["data"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(read(&format!("{path}/containers/{own}/stdout")), "from the writer\n");
    assert_eq!(read(&format!("{path}/both/file")), "from the writer\n");
    let work_dir = &cluster.agents[0].work_dir;
    let sandbox = work_dir.join(format!("slaves/{agent}{path}"));
    let link = std::fs::read_link(sandbox.join("tasks/reader")).unwrap();
    assert_eq!(link, sandbox.canonicalize().unwrap().join("containers").join(own));
}

/// One that fails ends its group, others go on; a kill takes its grace.
#[test]
fn groups_end_together() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "groups");
    let mark = cluster.dir().join("go");
    let waits = format!("while ! [ -e {} ]; do sleep 0.05; done; exit 3", mark.display());
    group(&mut framework, "pod", &[("fails", &waits), ("neighbour", "sleep 1300")]);
    for task in ["fails", "neighbour"] {
        framework.wait_status(task, "TASK_RUNNING");
    }
    // The signal goes to the whole tree: what the trap starts must not mind it.
    let graceful = r#"trap "trap '' TERM; sleep 0.3; exit 0" TERM; sleep 1301 & wait"#;
    group(&mut framework, "pod", &[("other", graceful)]);
    framework.wait_status("other", "TASK_RUNNING");
    // Nobody notices a restart.
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    std::fs::write(&mark, "").unwrap();
    let failed = framework.wait_status("fails", "TASK_FAILED");
    assert_eq!(failed["message"], "Command exited with status 3");
    let killed = framework.wait_status("neighbour", "TASK_KILLED");
    assert_eq!(killed["message"], "Command terminated with signal Terminated");
    assert!(framework.statuses("other").iter().all(|status| status["state"] != "TASK_KILLING"));
    let start = Instant::now();
    framework.call(
        "KILL",
        json!({"task_id": {"value": "other"},
                                  "kill_policy": {"grace_period": {"nanoseconds": 20_000_000_000_i64}}}),
    );
    framework.wait_status("other", "TASK_KILLED");
    assert!(start.elapsed() >= Duration::from_millis(250), "it was not given its grace");
    wait::until_true("the executor ends with its last task", || {
        cluster.state()["frameworks"][0]["executors"].as_array().is_none_or(Vec::is_empty)
    });
    wait::until_true("no process is left", || {
        !cluster.children().iter().any(|process| process.command.contains("sleep 130"))
    });
}
