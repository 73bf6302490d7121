//! How an agent starts from what an earlier one left: policies, damage, cleaning up.

use std::{
    fs,
    time::{Duration, Instant},
};

use mezzo_tests::{cluster::Cluster, wait};

use super::framework;

const PATIENCE: Duration = Duration::from_secs(20);

/// Starts the agent once more, with these flags on top, under the same name.
fn again(cluster: &mut Cluster, flags: &[&str]) {
    for flag in flags {
        cluster.agents[0].part.set_flag(flag);
    }
    cluster.agents[0].part.start();
}

#[test]
fn cleanup_ends_everything_and_then_the_agent() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "cleanup");
    framework.run("task", "sleep 1320");
    framework.wait_status("task", "TASK_RUNNING");
    cluster.agents[0].part.kill();
    again(&mut cluster, &["--recover=cleanup"]);
    let status = cluster.agents[0].part.wait(PATIENCE).expect("the agent ends");
    assert!(status.success(), "{}", cluster.agents[0].part.log());
    wait::until_true("the task is gone", || {
        !cluster.children().iter().any(|process| process.command.contains("sleep 1320"))
    });
}

#[test]
fn more_is_taken_by_policy_and_less_is_not() {
    let mut cluster = Cluster::builder().resources("cpus:2;mem:1024;disk:1000").start();
    let mut framework = framework(&cluster, "policy");
    framework.run("task", "sleep 1321");
    framework.wait_status("task", "TASK_RUNNING");
    let id = cluster.agent_ids();
    cluster.agents[0].part.kill();
    again(&mut cluster, &["--resources=cpus:3;mem:1024;disk:1000"]);
    assert!(!cluster.agents[0].part.wait(PATIENCE).expect("it refuses").success());
    let log = cluster.agents[0].part.log();
    assert!(log.contains("resources changed") && log.contains("move") && log.contains("checkpoint"), "{log}");
    again(&mut cluster, &["--reconfiguration_policy=additive"]);
    wait::until_true("it is back with more", || {
        cluster.get("/slaves").is_ok_and(|answer| answer.json()["slaves"][0]["resources"]["cpus"] == 3.0)
    });
    assert_eq!(cluster.agent_ids(), id);
    assert!(framework.statuses("task").iter().all(|status| status["state"] != "TASK_LOST"));
    cluster.agents[0].part.kill();
    again(&mut cluster, &["--resources=cpus:1;mem:1024;disk:1000"]);
    assert!(!cluster.agents[0].part.wait(PATIENCE).expect("less is refused").success());
}

/// A flipped bit: the file and the way out are named; who is not strict goes on with the rest.
#[test]
fn damage_is_named_and_may_be_left_out() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "damage");
    for task in ["first", "second"] {
        framework.run(task, "sleep 1322");
        framework.wait_status(task, "TASK_RUNNING");
    }
    cluster.agents[0].part.kill();
    let path = cluster.agents[0].work_dir.join("meta/checkpoint");
    let mut content = fs::read(&path).unwrap();
    // The last word of the first task, in the middle of the file.
    let place = content.windows(5).position(|window| window == b"first").unwrap();
    content[place] ^= 1;
    fs::write(&path, &content).unwrap();
    again(&mut cluster, &[]);
    assert!(!cluster.agents[0].part.wait(PATIENCE).expect("it refuses").success());
    let log = cluster.agents[0].part.log();
    assert!(log.contains(&path.canonicalize().unwrap().display().to_string()), "{log}");
    assert!(log.contains("is damaged at byte") && log.contains("move it away"), "{log}");
    again(&mut cluster, &["--strict=false"]);
    cluster.wait_until_registered(1);
    assert_eq!(fs::read(path.with_extension("damaged")).unwrap(), content, "a copy is kept");
    framework.call("KILL", serde_json::json!({"task_id": {"value": "second"}}));
    framework.wait_status("second", "TASK_KILLED");
}

/// The time that a task was given, to run or to end, is neither forgotten nor begun anew by an agent that is started again.
#[test]
fn times_of_tasks_go_on_over_a_restart() {
    let mut cluster = Cluster::builder().start();
    let mut framework = framework(&cluster, "times");
    let offer = framework.wait_any_offer();
    let agent = mezzo_tests::tasks::agent_of(&offer).to_owned();
    // The signal goes to the whole tree; none of it minds.
    let stubborn = "trap '' TERM; echo deaf > deaf; while true; do sleep 0.1; done";
    let mut graceful = mezzo_tests::tasks::command("graceful", &agent, stubborn);
    graceful["kill_policy"] = serde_json::json!({"grace_period": {"nanoseconds": 4_000_000_000_i64}});
    let mut limited = mezzo_tests::tasks::command("limited", &agent, "sleep 1323");
    limited["max_completion_time"] = serde_json::json!({"nanoseconds": 4_000_000_000_i64});
    let begun = Instant::now();
    framework.launch(&offer, &[graceful, limited]);
    let run = framework.wait_status("graceful", "TASK_RUNNING");
    framework.wait_status("limited", "TASK_RUNNING");
    let container = run["container_status"]["container_id"]["value"].as_str().unwrap();
    let sandbox = format!("slaves/{agent}/frameworks/{}/executors/graceful/runs/{container}", framework.id);
    let deaf = cluster.agents[0].work_dir.join(sandbox).join("deaf");
    wait::until_true("the task does not mind signals", || deaf.exists());
    let asked = Instant::now();
    framework.call("KILL", serde_json::json!({"task_id": {"value": "graceful"}}));
    framework.wait_status("graceful", "TASK_KILLING");
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    assert!(framework.statuses("graceful").iter().all(|status| status["state"] != "TASK_KILLED"));
    let killed = framework.wait_status("graceful", "TASK_KILLED");
    assert_eq!(killed["message"], "Command terminated with signal Killed");
    assert!(asked.elapsed() >= Duration::from_secs(4), "it was not given its grace");
    let ended = framework.wait_status("limited", "TASK_FAILED");
    assert_eq!(ended["reason"], "REASON_MAX_COMPLETION_TIME_REACHED", "{ended}");
    assert!(begun.elapsed() >= Duration::from_secs(4), "it was not given its time");
}

/// Of an agent that does not come back nothing stays: its zygote ends at once, its tasks after a while.
#[test]
fn tasks_end_when_their_agent_stays_away() {
    let mut cluster = Cluster::builder().agent_flag("--recovery_timeout=2secs").start();
    let mut framework = framework(&cluster, "away");
    framework.run("task", "sleep 1324");
    framework.wait_status("task", "TASK_RUNNING");
    cluster.agents[0].part.kill();
    wait::until_true("nothing of the agent is left", || cluster.children().is_empty());
    cluster.agents[0].part.start();
    let failed = framework.wait_status("task", "TASK_FAILED");
    assert_eq!(failed["message"], "Command terminated with signal Terminated");
}
