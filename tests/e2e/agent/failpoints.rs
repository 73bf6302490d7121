//! The agent is killed at each step of what it does, once, and started again: afterwards every task is in its right state,
//! nothing is left that nobody knows (processes, resources, records, sandboxes; cgroups and mounts: `containers::remains`), and
//! no update is told twice, or again once it was acknowledged.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use mezzo_executor::record::Records;
use mezzo_tests::{cluster::Cluster, framework::Framework, tasks, wait};
use serde_json::{Value, json};

use super::framework;

const PATIENCE: Duration = Duration::from_secs(30);

/// Where it is killed: the names are those of the callers of agent/src/failpoint.rs, with how often they are passed before.
const STEPS: [(&str, &[&str]); 4] = [
    (
        "launch",
        &[
            "hear-launch:1",
            "record:2",
            "recorded:2",
            "launch:1",
            "launch:2",
            "launched:1",
            "launched:3",
            "prepared:1",
            "prepared:3",
            "handed-over:1",
            "handed-over:3",
            "running:1",
            "running:3",
        ],
    ),
    ("fetch", &["fetch:1", "fetched:1"]),
    (
        "update",
        &[
            "record:4",
            "recorded:4",
            "send:3",
            "send:6",
            "hear-acknowledge:1",
            "hear-acknowledge:5",
            "record:9",
            "recorded:7",
        ],
    ),
    ("kill", &["hear-kill:1", "stop:1", "stopped:1", "ended:1", "ended:3", "forget:1", "forgotten:1"]),
];
/// Where it is killed again when it is back.
const WHILE_RECOVERING: [&str; 7] =
    ["recovered", "recovery-recorded", "taking-over:1", "containers-found", "running:1", "record:1", "send:1"];
/// Lives at a time.
const TOGETHER: usize = 6;

#[test]
fn a_kill_at_any_step_is_survived() {
    let steps = STEPS.iter().flat_map(|(_, points)| points.iter().map(|point| (*point, None)));
    let again = WHILE_RECOVERING.iter().map(|point| ("launched:3", Some(*point)));
    let lives: Vec<(&str, Option<&str>)> = steps.chain(again).collect();
    for chunk in lives.chunks(TOGETHER) {
        std::thread::scope(|scope| {
            for (point, next) in chunk {
                scope.spawn(move || live(point, *next));
            }
        });
    }
}

/// A life with a death at `point`, and at `next` when it comes back.
fn live(point: &str, next: Option<&str>) {
    let mut cluster =
        Cluster::builder().agent_flag("--gc_delay=1secs").agent_flag("--disk_watch_interval=1secs").start();
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
    drive(&mut framework, &mut cluster, &source, &mut deaths);
    deaths.look(&mut cluster);
    assert!(deaths.count > usize::from(next.is_some()), "{point} {next:?} was never passed");
    check_updates(&framework);
    wait_until_nothing_is_left(&cluster, point);
    // What was acknowledged is over: nothing comes again, also after one more restart.
    framework.listen(Duration::from_millis(300));
    let mark = framework.mark();
    cluster.restart_agent(0);
    cluster.wait_until_registered(1);
    framework.listen(Duration::from_millis(500));
    let again: Vec<&Value> = framework.events[mark..].iter().filter(|event| event["type"] == "UPDATE").collect();
    assert!(again.is_empty(), "{point}: acknowledged updates came again: {again:?}");
}

/// Each update is one: a task says nothing twice, and nothing out of order, but for repetitions of what was not acknowledged yet.
fn check_updates(framework: &Framework) {
    let rank = |state: &str| match state {
        "TASK_STARTING" => 1,
        "TASK_RUNNING" => 2,
        "TASK_KILLING" => 3,
        _ => 4,
    };
    let updates =
        || framework.events.iter().map(|event| &event["update"]["status"]).filter(|status| status["uuid"].is_string());
    let ids: BTreeSet<&str> = updates().filter_map(|status| status["task_id"]["value"].as_str()).collect();
    for id in ids {
        let mut seen = BTreeSet::new();
        let of_task = updates().filter(|status| status["task_id"]["value"] == id);
        let told: Vec<&str> = of_task
            .filter(|status| seen.insert(status["uuid"].as_str().unwrap_or_default().to_owned()))
            .filter_map(|status| status["state"].as_str())
            .collect();
        assert!(told.windows(2).all(|pair| rank(pair[0]) < rank(pair[1])), "{id} was told {told:?}");
    }
}

/// No process but the zygote, no record, no socket, no sandbox, and all that the agent has is free.
fn wait_until_nothing_is_left(cluster: &Cluster, point: &str) {
    let home = cluster.agents[0].work_dir.parent().unwrap().to_path_buf();
    let what = |what: &str| format!("{what} is left after a death at {point}");
    wait::until_true(&what("no process"), || cluster.children().len() == 1);
    wait::until_true(&what("nothing in use"), || {
        let used = cluster.state()["slaves"][0]["used_resources"].clone();
        used["cpus"] == 0.0 && used["mem"] == 0.0 && used.get("ports").is_none_or(|ports| ports == "[]" || ports == "")
    });
    let records = || Records::open(&home.join("run/containers")).unwrap().recover().unwrap();
    wait::until_true(&what("no record"), || records().is_empty());
    for below in ["run/io", "run/roots"] {
        wait::until_true(&what("nothing of a container"), || entries(&home.join(below)).is_empty());
    }
    wait::until_true(&what("no sandbox"), || sandboxes(&home.join("work/slaves")).is_empty());
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The directories `runs/<run>` that are there; `latest` is a link.
fn sandboxes(below: &Path) -> Vec<PathBuf> {
    let directories = |path: &Path| entries(path).into_iter().filter(|path| path.is_dir() && !path.is_symlink());
    if below.ends_with("runs") {
        return directories(below).collect();
    }
    directories(below).flat_map(|path| sandboxes(&path)).collect()
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
    let port = tasks::ports(offer)[0];
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
                let mut task = tasks::command(id, &agent, "sleep 1341");
                task["resources"].as_array_mut().unwrap().push(tasks::port(port));
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
