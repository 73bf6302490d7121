//! Compares what the framework believes, what the master says, and what really runs on the hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use mezzo_tests::{http, leftovers, tasks};
use serde_json::Value;

use super::keeper::{Keeper, Task};

/// How the command of a keeper's task begins.
const COMMAND: &str = "sleep 90000.";

/// A task's process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Running {
    pub(super) task: String,
    pub(super) agent: String,
    pub(super) pid: i32,
}

/// All processes of tasks, by what `/proc` says of them.
pub(super) fn processes(dir: &Path) -> Vec<Running> {
    let of_tasks = leftovers::that_run(dir, COMMAND).into_iter().filter_map(|process| {
        let task = process.command.strip_prefix(COMMAND)?.to_owned();
        let place = std::fs::read_link(format!("/proc/{}/cwd", process.pid)).ok()?;
        let place = place.to_string_lossy().into_owned();
        let agent = place.split_once("/slaves/")?.1.split('/').next()?.to_owned();
        Some(Running { task, agent, pid: process.pid })
    });
    of_tasks.collect()
}

/// What must hold at every moment: nothing runs twice, nothing runs that nobody launched, no port is held by two.
pub(super) fn at_any_moment(keeper: &Keeper, dir: &Path) -> Result<(), String> {
    sound(&keeper.tasks, &processes(dir))
}

fn sound(known: &BTreeMap<String, Task>, running: &[Running]) -> Result<(), String> {
    let mut tasks = BTreeSet::new();
    let mut ports = BTreeMap::new();
    for process in running {
        let Some(task) = known.get(&process.task) else {
            return Err(format!("nobody launched {process:?}"));
        };
        if task.agent != process.agent {
            return Err(format!("{process:?} was launched on {}", task.agent));
        }
        if !tasks.insert(&process.task) {
            return Err(format!("{} runs twice: {running:?}", process.task));
        }
        if let Some(other) = ports.insert((&process.agent, task.port), &process.task) {
            return Err(format!("port {} of {} is held by {other} and {}", task.port, process.agent, process.task));
        }
    }
    Ok(())
}

/// What must hold when everything has come to rest.
pub(super) fn at_rest(keeper: &Keeper, master: SocketAddr, dir: &Path) -> Result<(), String> {
    at_any_moment(keeper, dir)?;
    if !keeper.follows(master) {
        return Err(format!("the framework is not subscribed with {master}"));
    }
    // It may not have heard yet that its stream has ended.
    let frameworks = list(&get(master, &format!("/frameworks?framework_id={}", keeper.id()))?, "frameworks");
    if frameworks.first().is_none_or(|framework| framework["active"] != true) {
        return Err(format!("{master} does not hold the framework for subscribed: {frameworks:?}"));
    }
    if !keeper.is_content() {
        return Err(format!("the framework is not content: {:?}", keeper.tasks));
    }
    let believed = keeper.running();
    let running: BTreeSet<String> = processes(dir).into_iter().map(|process| process.task).collect();
    if running != believed {
        return Err(format!("the framework believes {believed:?}, the hosts run {running:?}"));
    }
    let shown = get(master, "/tasks?limit=100000")?;
    let mine = |task: &&Value| task["framework_id"] == keeper.id();
    let alive = |task: &&Value| !tasks::is_terminal(task["state"].as_str().unwrap_or_default());
    let listed: BTreeSet<String> =
        list(&shown, "tasks").iter().filter(mine).filter(alive).map(|task| text(&task["id"])).collect();
    if listed != believed {
        return Err(format!("the framework believes {believed:?}, the master says {listed:?}"));
    }
    resources(keeper, master)
}

/// What the master says is used is what the tasks have, and with what is offered never more than there is.
fn resources(keeper: &Keeper, master: SocketAddr) -> Result<(), String> {
    for agent in list(&get(master, "/slaves")?, "slaves") {
        let id = text(&agent["id"]);
        let tasks: Vec<_> = keeper.tasks.values().filter(|task| task.may_live() && task.agent == id).collect();
        #[allow(clippy::cast_precision_loss)] // a handful
        let expected = tasks.len() as f64 * 0.1;
        let amount = |part: &str| agent[part]["cpus"].as_f64().unwrap_or(0.0);
        let (used, offered, total) = (amount("used_resources"), amount("offered_resources"), amount("resources"));
        if (used - expected).abs() > 1e-6 {
            return Err(format!("{id} uses {used} cpus, and has {} tasks", tasks.len()));
        }
        if used + offered > total + 1e-6 {
            return Err(format!("{id} has {total} cpus, uses {used} and offers {offered}"));
        }
        let held = ports(&text(&agent["used_resources"]["ports"]));
        let given: BTreeSet<u64> = tasks.iter().map(|task| task.port).collect();
        if held != given {
            return Err(format!("{id} uses the ports {held:?}, and its tasks have {given:?}"));
        }
    }
    Ok(())
}

/// `[31000-31001, 31005-31005]`
fn ports(text: &str) -> BTreeSet<u64> {
    let ranges = text.trim_matches(['[', ']']).split(',').filter_map(|range| {
        let (begin, end) = range.trim().split_once('-')?;
        Some(begin.parse::<u64>().ok()?..=end.parse::<u64>().ok()?)
    });
    ranges.flatten().collect()
}

fn get(master: SocketAddr, path: &str) -> Result<Value, String> {
    let response = http::send(master, &http::Request::get(path)).map_err(|error| error.to_string())?;
    serde_json::from_str(&response.text()).map_err(|error| error.to_string())
}

fn list(answer: &Value, name: &str) -> Vec<Value> {
    answer[name].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Works until all three agree, looking on at every moment.
pub(super) fn settle(keeper: &mut Keeper, master: SocketAddr, dir: &Path, patience: Duration) {
    let mut said = String::new();
    let start = std::time::Instant::now();
    while start.elapsed() < patience {
        keeper.work(Duration::from_millis(50));
        at_any_moment(keeper, dir).unwrap_or_else(|violation| panic!("{violation}"));
        match at_rest(keeper, master, dir) {
            Ok(()) => return,
            Err(difference) => said = difference,
        }
    }
    panic!("no agreement after {:.0} s: {said}", start.elapsed().as_secs_f64());
}

/// A checker that cannot fail is worth nothing.
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_found() {
        let known: BTreeMap<String, Task> =
            [("1", 7), ("2", 7), ("3", 8)].map(|(id, port)| (id.to_owned(), Task::on("S0", port))).into();
        let running = |task: &str, agent: &str, pid| Running { task: task.into(), agent: agent.into(), pid };
        assert_eq!(sound(&known, &[running("1", "S0", 1), running("3", "S0", 2)]), Ok(()));
        for (violation, running) in [
            ("nobody launched", vec![running("9", "S0", 1)]),
            ("was launched on S0", vec![running("1", "S1", 1)]),
            ("1 runs twice", vec![running("1", "S0", 1), running("1", "S0", 2)]),
            ("port 7 of S0 is held by 1 and 2", vec![running("1", "S0", 1), running("2", "S0", 2)]),
        ] {
            let said = sound(&known, &running).unwrap_err();
            assert!(said.contains(violation), "{violation}: {said}");
        }
    }

    #[test]
    fn the_ports_of_an_agent_are_read() {
        assert_eq!(super::ports("[31000-31001, 31005-31005]").into_iter().collect::<Vec<_>>(), [31000, 31001, 31005]);
        assert!(super::ports("").is_empty());
    }
}
