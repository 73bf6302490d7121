//! The agent is killed at each step of what it does, once, and started again: afterwards every task is in its right state,
//! nothing runs that nobody knows, and no update that was acknowledged comes again.

use std::{collections::BTreeSet, time::Duration};

use mezzo_tests::{cluster::Cluster, framework::Framework, tasks, wait};
use serde_json::{Value, json};

use super::framework;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where it is killed: the names are those of agent/src/failpoint.rs's callers, with how often they are passed before.
const WHILE_RUNNING: [&str; 16] = [
    "record:2",
    "recorded:2",
    "record:4",
    "recorded:4",
    "launch:1",
    "launched:1",
    "launch:2",
    "launched:3",
    "fetch:1",
    "fetched:1",
    "send:3",
    "send:6",
    "stop:1",
    "stopped:1",
    "forget:1",
    "record:9",
];
const WHILE_RECOVERING: [&str; 3] = ["recovered", "recovery-recorded", "containers-found"];

#[test]
fn a_kill_at_any_step_of_a_launch_or_kill_is_survived() {
    for chunk in WHILE_RUNNING.chunks(4) {
        std::thread::scope(|scope| {
            for point in chunk {
                scope.spawn(move || live(point, None));
            }
        });
    }
}

#[test]
fn a_kill_at_any_step_of_recovery_is_survived() {
    std::thread::scope(|scope| {
        for point in WHILE_RECOVERING {
            scope.spawn(move || live("recorded:8", Some(point)));
        }
    });
}

/// A life with a death at `point`, and at `next` when it comes back.
fn live(point: &str, next: Option<&str>) {
    let mut cluster = Cluster::builder().start();
    cluster.agents[0].part.kill();
    cluster.agents[0].part.set_variable("MEZZO_FAILPOINT", point);
    cluster.agents[0].part.start();
    wait::until_true("the agent is back, or dead", || {
        cluster.agent_ids().len() == 1 || !cluster.agents[0].part.is_running()
    });
    let mut framework = framework(&cluster, "failpoints");
    let source = cluster.dir().join("source");
    std::fs::write(&source, "fetched").unwrap();
    let mut deaths = Deaths { point, next, count: 0 };
    let mut told = BTreeSet::new();
    drive(&mut framework, &mut cluster, &source, &mut deaths);
    for status in framework.events.iter().filter_map(|event| event["update"]["status"]["uuid"].as_str()) {
        told.insert(status.to_owned());
    }
    deaths.look(&mut cluster);
    assert!(deaths.count > usize::from(next.is_some()), "{point} {next:?} was never passed");
    wait::until_true("nothing is left of the tasks", || {
        !cluster.children().iter().any(|process| process.command.contains("sleep 134"))
    });
    // What was acknowledged is over: nothing comes again, also after one more restart.
    framework.listen(Duration::from_millis(300));
    let mark = framework.mark();
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    framework.listen(Duration::from_millis(500));
    let again: Vec<&Value> = framework.events[mark..].iter().filter(|event| event["type"] == "UPDATE").collect();
    assert!(again.is_empty(), "{point}: acknowledged updates came again: {again:?}");
}

/// Starts the agent again whenever it has died as it should.
struct Deaths<'a> {
    point: &'a str,
    next: Option<&'a str>,
    count: usize,
}

impl Deaths<'_> {
    fn look(&mut self, cluster: &mut Cluster) {
        let part = &mut cluster.agents[0].part;
        if part.is_running() {
            return;
        }
        self.count += 1;
        assert!(self.count < 5, "the agent dies again and again at {}:\n{}", self.point, part.last_lines(40));
        let status = part.wait(PATIENCE).unwrap();
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        assert!(killed, "the agent ended otherwise than by its failpoint: {status}\n{}", part.last_lines(40));
        part.kill();
        part.set_variable("MEZZO_FAILPOINT", self.next.take().unwrap_or(""));
        part.start();
    }
}

/// A command task with a URI, a pod of two, a kill; each to its end.
fn drive(framework: &mut Framework, cluster: &mut Cluster, source: &std::path::Path, deaths: &mut Deaths<'_>) {
    let mut wanted = vec!["fetching", "pod-a", "pod-b", "killed"];
    let mut round = 0;
    while !wanted.is_empty() {
        round += 1;
        assert!(round < 12, "{wanted:?} did not end as they should: {:#?}", framework.events);
        let names: Vec<(String, &str)> = wanted.iter().map(|name| (format!("{name}-{round}"), *name)).collect();
        let offer = loop {
            deaths.look(cluster);
            if let Some(offer) = offer(framework) {
                break offer;
            }
        };
        launch(framework, &offer, &names, source);
        let mut ended = BTreeSet::new();
        let mut asked = BTreeSet::new();
        while ended.len() < names.len() {
            deaths.look(cluster);
            framework.listen(Duration::from_millis(50));
            for (id, name) in &names {
                let states: Vec<String> =
                    framework.statuses(id).iter().map(|status| status["state"].as_str().unwrap().to_owned()).collect();
                let runs = states.iter().any(|state| state == "TASK_RUNNING");
                if *name == "killed" && runs && asked.insert(id.clone()) {
                    framework.call("KILL", json!({"task_id": {"value": id}}));
                }
                if states.iter().any(|state| tasks::is_terminal(state)) {
                    ended.insert(id.clone());
                    check_end(id, name, &states);
                    let well = states.iter().any(|state| state == "TASK_FINISHED" || state == "TASK_KILLED");
                    wanted.retain(|wanted| wanted != name || !well);
                }
            }
            // A kill may have been on its way to an agent that died.
            for id in asked.iter().filter(|id| !ended.contains(*id)) {
                framework.call("KILL", json!({"task_id": {"value": id}}));
            }
        }
    }
}

fn offer(framework: &mut Framework) -> Option<Value> {
    framework.listen(Duration::from_millis(50));
    let id = framework.offers.keys().next()?.clone();
    framework.offers.remove(&id)
}

fn launch(framework: &mut Framework, offer: &Value, names: &[(String, &str)], source: &std::path::Path) {
    let agent = tasks::agent_of(offer).to_owned();
    let mut operations = Vec::new();
    let mut group = Vec::new();
    for (id, name) in names {
        match *name {
            "fetching" => {
                let mut task = tasks::command(id, &agent, "[ \"$(cat source)\" = fetched ]");
                task["command"]["uris"] = json!([{"value": source.display().to_string()}]);
                operations.push(json!({"type": "LAUNCH", "launch": {"task_infos": [task]}}));
            }
            "killed" => {
                let task = tasks::command(id, &agent, "sleep 1341");
                operations.push(json!({"type": "LAUNCH", "launch": {"task_infos": [task]}}));
            }
            _ => group.push(tasks::command(id, &agent, "sleep 0.2")),
        }
    }
    if !group.is_empty() {
        let executor = super::pod(framework, &format!("pod-{}", names[0].0));
        operations.push(json!({"type": "LAUNCH_GROUP",
                               "launch_group": {"executor": executor, "task_group": {"tasks": group}}}));
    }
    framework.accept(offer, Value::Array(operations));
}

/// Told in order, once, and truly: what never ran may be dropped, what ran is what it was.
fn check_end(id: &str, name: &str, states: &[String]) {
    let terminal: Vec<&String> = states.iter().filter(|state| tasks::is_terminal(state)).collect();
    let distinct: BTreeSet<&&String> = terminal.iter().collect();
    assert_eq!(distinct.len(), 1, "{id} ended in several ways: {states:?}");
    let allowed: &[&str] = match name {
        "killed" => &["TASK_KILLED", "TASK_DROPPED"],
        "fetching" => &["TASK_FINISHED", "TASK_DROPPED"],
        // The launch of a pod's task that died with the agent fails, and takes its group along.
        _ => &["TASK_FINISHED", "TASK_DROPPED", "TASK_FAILED", "TASK_KILLED"],
    };
    assert!(allowed.contains(&terminal[0].as_str()), "{id} was told {states:?}");
}
