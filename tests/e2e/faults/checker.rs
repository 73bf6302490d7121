//! What must hold whatever dies.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mezzo_tests::tasks;
use serde_json::Value;

/// How long before and after an acknowledgement nothing may have died for it to be held as recorded.
const CALM: Duration = Duration::from_secs(1);

/// What a task was launched to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ends with 0.
    Succeeds,
    /// Ends with 3.
    Fails,
    /// Holds a port for a moment, then ends with 0.
    HoldsPort,
    /// Runs until it is killed.
    Stays,
}

/// What is known of one task.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) kind: Kind,
    pub(super) agent: String,
    /// States in the order in which they came, without repetitions of an update and without answers to RECONCILE.
    pub(super) states: Vec<String>,
    /// The last answer to RECONCILE.
    pub(super) reconciled: Option<String>,
    containers: BTreeSet<String>,
}

impl Task {
    /// The state in which it ended, as far as its updates say.
    pub(super) fn ended(&self) -> Option<&str> {
        self.states.iter().map(String::as_str).find(|state| tasks::is_terminal(state))
    }

    /// Whether its framework knows what became of it.
    pub(super) fn is_settled(&self) -> bool {
        let gone = |state: &String| tasks::is_terminal(state) || state == "TASK_UNKNOWN";
        let runs = self.kind == Kind::Stays && self.reconciled.as_deref() == Some("TASK_RUNNING");
        self.ended().is_some() || self.reconciled.as_ref().is_some_and(gone) || runs
    }
}

/// Looks at everything that happens.
#[derive(Debug)]
pub(super) struct Checker {
    pub(super) tasks: BTreeMap<String, Task>,
    /// Where tasks leave their traces.
    traces: PathBuf,
    deaths: Vec<Instant>,
    acknowledged: BTreeMap<String, Instant>,
    seen: BTreeSet<String>,
    violations: Vec<String>,
}

impl Checker {
    pub(super) fn new(traces: &Path) -> Self {
        for dir in ["ran", "ports", "pids"] {
            std::fs::create_dir_all(traces.join(dir)).unwrap();
        }
        Self {
            tasks: BTreeMap::new(),
            traces: traces.to_path_buf(),
            deaths: Vec::new(),
            acknowledged: BTreeMap::new(),
            seen: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    /// The command of a task that leaves the traces that are looked at later.
    pub(super) fn command(&self, id: &str, kind: Kind, port: Option<(&str, u64)>) -> String {
        let traces = self.traces.display();
        let began = format!("pwd >> {traces}/sandboxes; echo began >> {traces}/ran/{id}");
        match (kind, port) {
            (Kind::Fails, _) => format!("{began}; exit 3"),
            (Kind::Stays, _) => format!("{began}; echo $$ > {traces}/pids/{id}; exec sleep 1000"),
            (Kind::HoldsPort, Some((agent, port))) => format!(
                "{began}; mkdir {traces}/ports/{agent}-{port} || echo {agent}-{port} {id} >> {traces}/clashes; sleep 0.2; \
                 rmdir {traces}/ports/{agent}-{port}; echo done >> {traces}/ran/{id}"
            ),
            (Kind::Succeeds | Kind::HoldsPort, _) => format!("{began}; echo done >> {traces}/ran/{id}"),
        }
    }

    pub(super) fn launched(&mut self, id: &str, kind: Kind, agent: &str) {
        let task =
            Task { kind, agent: agent.to_owned(), states: Vec::new(), reconciled: None, containers: BTreeSet::new() };
        self.tasks.insert(id.to_owned(), task);
    }

    pub(super) fn died(&mut self) {
        self.deaths.push(Instant::now());
    }

    pub(super) fn acknowledged(&mut self, uuid: &str) {
        self.acknowledged.entry(uuid.to_owned()).or_insert_with(Instant::now);
    }

    /// An update that came at this moment; what waited to be read was sent before the acknowledgements of what was read before.
    pub(super) fn update(&mut self, status: &Value, arrived: Instant) {
        let (id, state) = (text(&status["task_id"]["value"]), text(&status["state"]));
        let Some(task) = self.tasks.get_mut(&id) else {
            self.violations.push(format!("an update of a task that was never launched: {status}"));
            return;
        };
        if status["reason"] == "REASON_RECONCILIATION" {
            task.reconciled = Some(state);
            return;
        }
        if let Some(container) = status["container_status"]["container_id"]["value"].as_str() {
            task.containers.insert(container.to_owned());
        }
        let uuid = text(&status["uuid"]);
        if uuid.is_empty() || self.seen.insert(uuid.clone()) {
            task.states.push(state);
            self.check_order(&id);
        } else if let Some(recorded) = self.recorded_since(&uuid, arrived) {
            self.violations.push(format!(
                "{id}: {state} came again {:.1} s after its acknowledgement was recorded",
                recorded.as_secs_f64()
            ));
        }
    }

    /// How long before this moment the acknowledgement of an update was recorded, where that is certain: it was accepted, and nothing
    /// died around it.
    fn recorded_since(&self, uuid: &str, moment: Instant) -> Option<Duration> {
        let at = *self.acknowledged.get(uuid)?;
        let calm = self.deaths.iter().all(|death| *death > at + CALM || *death + CALM < at);
        let since = moment.checked_duration_since(at)?;
        (calm && since > CALM).then_some(since)
    }

    /// The agent's states come in order, and nothing of the agent's comes after the end.
    fn check_order(&mut self, id: &str) {
        let order = |state: &str| match state {
            "TASK_STARTING" => 1,
            "TASK_RUNNING" => 2,
            "TASK_KILLING" => 3,
            state if tasks::is_terminal(state) => 4,
            _ => 0,
        };
        let states = &self.tasks[id].states;
        let orders: Vec<i32> = states.iter().map(|state| order(state)).filter(|order| *order > 0).collect();
        if orders.windows(2).any(|pair| pair[0] >= pair[1]) {
            let said = states.join(", ");
            self.violations.push(format!("{id}: states out of order: {said}"));
        }
    }

    fn ran(&self, id: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.traces.join("ran").join(id)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The process of a task that stays.
    pub(super) fn pid(&self, id: &str) -> Option<i32> {
        std::fs::read_to_string(self.traces.join("pids").join(id)).ok()?.trim().parse().ok()
    }

    /// Whether the process of a task that stays still runs.
    pub(super) fn lives(&self, id: &str) -> bool {
        let command = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        self.pid(id).is_some_and(|pid| command(pid).starts_with("sleep"))
    }

    /// Looks at all traces when everything is settled, and gives every violation.
    pub(super) fn verdict(mut self) -> Result<String, String> {
        for (id, task) in &self.tasks {
            self.violations.extend(self.verdict_on(id, task));
        }
        let clashes = std::fs::read_to_string(self.traces.join("clashes")).unwrap_or_default();
        self.violations.extend(clashes.lines().map(|clash| format!("a port was given twice: {clash}")));
        let sandboxes = std::fs::read_to_string(self.traces.join("sandboxes")).unwrap_or_default();
        let mut distinct = BTreeSet::new();
        self.violations.extend(
            sandboxes
                .lines()
                .filter(|sandbox| !distinct.insert(*sandbox))
                .map(|sandbox| format!("a sandbox was given twice: {sandbox}")),
        );
        let mut count: BTreeMap<&str, u32> = BTreeMap::new();
        for task in self.tasks.values() {
            *count.entry(task.ended().or(task.reconciled.as_deref()).unwrap_or("nothing")).or_default() += 1;
        }
        let summary = format!("{} tasks, {} deaths, {count:?}", self.tasks.len(), self.deaths.len());
        if self.violations.is_empty() { Ok(summary) } else { Err(format!("{summary}\n{}", self.violations.join("\n"))) }
    }

    fn verdict_on(&self, id: &str, task: &Task) -> Vec<String> {
        let mut violations = Vec::new();
        let ran = self.ran(id);
        let said = || {
            format!(
                "states [{}], reconciled {:?}, traces {ran:?}, agent {}",
                task.states.join(", "),
                task.reconciled,
                task.agent
            )
        };
        let mut violation = |what: &str| violations.push(format!("{id} ({:?}): {what}: {}", task.kind, said()));
        if !task.is_settled() {
            violation("lost without a status");
        }
        if ran.iter().filter(|line| *line == "began").count() > 1 {
            violation("ran more than once");
        }
        if task.containers.len() > 1 {
            violation("had more than one container");
        }
        let succeeded = ran.iter().any(|line| line == "done");
        match (task.kind, task.ended()) {
            (Kind::Succeeds | Kind::HoldsPort, Some("TASK_FINISHED")) if !succeeded => {
                violation("finished without having run")
            }
            (Kind::Succeeds | Kind::HoldsPort, Some("TASK_FINISHED")) => {}
            (Kind::Succeeds | Kind::HoldsPort, ended) if succeeded => {
                violation(&format!("exited with 0, reported {ended:?}"))
            }
            (_, Some("TASK_FAILED")) if task.kind != Kind::Fails => violation("was reported failed"),
            (Kind::Fails, Some("TASK_FINISHED")) => violation("exited with 3, reported finished"),
            (_, None) if !ran.is_empty() && task.kind != Kind::Stays => violation("ran, and its end was never told"),
            _ => {}
        }
        violations
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A checker that cannot fail is worth nothing.
mod tests {
    use serde_json::json;

    use super::*;

    fn checker() -> (tempfile::TempDir, Checker) {
        let dir = tempfile::tempdir().unwrap();
        let checker = Checker::new(dir.path());
        (dir, checker)
    }

    fn status(id: &str, state: &str, uuid: &str) -> Value {
        json!({"task_id": {"value": id}, "state": state, "uuid": uuid})
    }

    fn trace(dir: &tempfile::TempDir, file: &str, text: &str) {
        std::fs::write(dir.path().join(file), text).unwrap();
    }

    #[test]
    fn the_checker_lets_a_good_task_pass() {
        let (dir, mut checker) = checker();
        checker.launched("a", Kind::Succeeds, "S0");
        trace(&dir, "ran/a", "began\ndone\n");
        for (state, uuid) in
            [("TASK_STARTING", "1"), ("TASK_RUNNING", "2"), ("TASK_FINISHED", "3"), ("TASK_FINISHED", "3")]
        {
            checker.update(&status("a", state, uuid), Instant::now());
        }
        checker.verdict().unwrap();
    }

    #[test]
    fn the_checker_finds_every_violation() {
        let (dir, mut checker) = checker();
        for (id, kind) in [
            ("lost", Kind::Succeeds),
            ("twice", Kind::Fails),
            ("failed", Kind::Succeeds),
            ("order", Kind::Stays),
            ("untold", Kind::Succeeds),
        ] {
            checker.launched(id, kind, "S0");
        }
        trace(&dir, "ran/twice", "began\nbegan\n");
        trace(&dir, "ran/failed", "began\ndone\n");
        trace(&dir, "ran/untold", "began\ndone\n");
        trace(&dir, "clashes", "S0-31000 x\n");
        trace(&dir, "sandboxes", "/s\n/s\n");
        checker.update(&status("twice", "TASK_FAILED", "1"), Instant::now());
        checker.update(&status("failed", "TASK_FAILED", "2"), Instant::now());
        checker.update(&status("order", "TASK_RUNNING", "3"), Instant::now());
        checker.update(&status("order", "TASK_STARTING", "4"), Instant::now());
        checker.update(&status("order", "TASK_KILLED", "5"), Instant::now());
        checker.update(&status("never", "TASK_RUNNING", "6"), Instant::now());
        checker.update(
            &json!({"task_id": {"value": "untold"}, "state": "TASK_GONE", "reason": "REASON_RECONCILIATION"}),
            Instant::now(),
        );
        checker.acknowledged("1");
        *checker.acknowledged.get_mut("1").unwrap() -= Duration::from_secs(5);
        checker.update(&status("twice", "TASK_FAILED", "1"), Instant::now());
        let said = checker.verdict().unwrap_err();
        for what in [
            "lost (Succeeds): lost without a status",
            "twice (Fails): ran more than once",
            "failed (Succeeds): exited with 0",
            "order: states out of order",
            "never launched",
            "untold (Succeeds): exited with 0",
            "came again",
            "a port was given twice",
            "a sandbox was given twice",
        ] {
            assert!(said.contains(what), "{what} was not found in:\n{said}");
        }
    }
}
