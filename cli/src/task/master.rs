//! Finding a task, and reading its files, through the leading master.

use mezzo_sdk::Address;
use serde_json::Value;

use crate::{
    http::{Answer, Http, HttpError, escape},
    run::output::data,
};

/// What is asked for at once; servers give less.
const READ_BYTES: usize = 256 * 1024;
/// Redirects to the leader that are followed.
const MAX_REDIRECTS: usize = 5;

/// Why the master is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum MasterError {
    #[error("--master: {0}")]
    Address(String),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the master answered {status}: {text}")]
    Refused { status: u16, text: String },
    #[error("the master's answer cannot be read")]
    Answer,
    #[error("several frameworks have a task '{task}': choose one with --framework ({})", frameworks.join(", "))]
    Several { task: String, frameworks: Vec<String> },
}

/// Where a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    agent: String,
    /// Its sandbox may be one of these, the likeliest first.
    pub(super) directories: Vec<String>,
    pub(super) ended: bool,
}

/// The way to the leader.
#[derive(Debug)]
pub(super) struct Master {
    candidates: Vec<Address>,
    at: usize,
    http: Http,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Read {
    Data(Vec<u8>),
    /// There is no such file, or nobody to ask.
    Absent(String),
}

impl Master {
    pub(super) fn new(text: &str) -> Result<Self, MasterError> {
        let candidates = text.split(',').map(|one| Address::parse(one, PORT)).collect::<Result<Vec<_>, _>>();
        let candidates = candidates.map_err(|error| MasterError::Address(error.to_string()))?;
        let first = candidates.first().cloned().ok_or_else(|| MasterError::Address("no address given".to_owned()))?;
        Ok(Self { candidates, at: 0, http: Http::new(first) })
    }

    /// Asks the leader, wherever it is now.
    async fn get(&mut self, path: &str) -> Result<Answer, MasterError> {
        for _ in 0..MAX_REDIRECTS {
            let answer = match self.http.get(path).await {
                Ok(answer) => answer,
                Err(error) => {
                    // The next one may know better.
                    self.at = (self.at + 1) % self.candidates.len();
                    self.http = Http::new(self.candidates[self.at].clone());
                    return Err(error.into());
                }
            };
            match answer.leader.as_deref().and_then(address) {
                Some(leader) => self.http = Http::new(leader),
                None => return Ok(answer),
            }
        }
        Err(MasterError::Answer)
    }

    /// Looks a task up.
    pub(super) async fn find(&mut self, task: &str, framework: Option<&str>) -> Result<Option<Found>, MasterError> {
        let answer = self.get(&format!("/tasks?task_id={}&limit=1000&order=desc", escape(task))).await?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
            return Err(MasterError::Refused { status: answer.status, text });
        }
        let all: Value = serde_json::from_slice(&answer.body).map_err(|_| MasterError::Answer)?;
        choose(&all, task, framework)
    }

    /// Reads a file of the task's sandbox from `offset` on, at most `limit` bytes.
    pub(super) async fn read(&mut self, found: &Found, path: &str, offset: u64, limit: usize) -> Read {
        let length = limit.min(READ_BYTES);
        let query = format!("path={}&offset={offset}&length={length}", escape(path));
        match self.get(&format!("/agent/{}/files/read?{query}", escape(&found.agent))).await {
            Ok(answer) if answer.status == 200 => match data(&answer.body) {
                Some(bytes) => Read::Data(bytes),
                None => Read::Absent("the agent's answer cannot be read".to_owned()),
            },
            Ok(answer) if answer.status == 404 => Read::Absent(format!("{path} is not on the agent")),
            Ok(answer) => Read::Absent(format!("the master answered {}", answer.status)),
            Err(error) => Read::Absent(error.to_string()),
        }
    }
}

/// Where masters listen if nothing else is said.
const PORT: u16 = 5050;

fn address(text: &str) -> Option<Address> {
    Address::parse(text, PORT).ok()
}

/// The latest task of this id.
fn choose(all: &Value, task: &str, framework: Option<&str>) -> Result<Option<Found>, MasterError> {
    let of = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let tasks: Vec<&Value> = all["tasks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| of(entry, "id") == task)
        .filter(|entry| framework.is_none_or(|framework| of(entry, "framework_id") == framework))
        .collect();
    let mut frameworks: Vec<String> = tasks.iter().map(|entry| of(entry, "framework_id")).collect();
    frameworks.sort_unstable();
    frameworks.dedup();
    if frameworks.len() > 1 {
        return Err(MasterError::Several { task: task.to_owned(), frameworks });
    }
    let Some(entry) = tasks.iter().find(|entry| !is_over(&of(entry, "state"))).or(tasks.first()) else {
        return Ok(None);
    };
    Ok(Some(Found {
        agent: of(entry, "slave_id"),
        directories: directories(entry, task),
        ended: is_over(&of(entry, "state")),
    }))
}

fn is_over(state: &str) -> bool {
    !matches!(
        state,
        "TASK_STAGING" | "TASK_STARTING" | "TASK_RUNNING" | "TASK_KILLING" | "TASK_UNREACHABLE" | "TASK_UNKNOWN"
    )
}

fn directories(entry: &Value, task: &str) -> Vec<String> {
    let framework = entry["framework_id"].as_str().unwrap_or_default();
    let executor = entry["executor_id"].as_str().filter(|id| !id.is_empty());
    let container = entry["statuses"]
        .as_array()
        .into_iter()
        .flatten()
        .rev()
        .find_map(|status| status["container_status"]["container_id"].as_object());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let own = container.and_then(|id| text(id.get("value")?));
    let parent = container.and_then(|id| text(id.get("parent")?.get("value")?));
    let runs = format!("/frameworks/{framework}/executors/{}/runs", executor.unwrap_or(task));
    match (own, parent) {
        (Some(own), Some(parent)) => vec![format!("{runs}/{parent}/containers/{own}")],
        (Some(own), None) => vec![format!("{runs}/{own}")],
        (None, _) if executor.is_some() => vec![format!("{runs}/latest/tasks/{task}"), format!("{runs}/latest")],
        (None, _) => vec![format!("{runs}/latest")],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sandboxes_are_found_for_every_kind_of_task() {
        let task = |executor: &str, container: Value| {
            json!({"id": "t", "framework_id": "f", "executor_id": executor, "slave_id": "s", "state": "TASK_RUNNING",
                   "statuses": [{"container_status": {"container_id": container}}]})
        };
        let found = |entry: Value| choose(&json!({"tasks": [entry]}), "t", None).unwrap().unwrap().directories;
        assert_eq!(found(task("", json!({"value": "c"}))), ["/frameworks/f/executors/t/runs/c"]);
        let nested = json!({"value": "n", "parent": {"value": "c"}});
        assert_eq!(found(task("p", nested)), ["/frameworks/f/executors/p/runs/c/containers/n"]);
        let early =
            json!({"id": "t", "framework_id": "f", "executor_id": "p", "state": "TASK_STAGING", "statuses": []});
        assert_eq!(found(early).len(), 2);
    }

    #[test]
    fn one_task_is_chosen_and_several_frameworks_are_told() {
        let entry = |framework: &str, state: &str| json!({"id": "t", "framework_id": framework, "state": state});
        let all = json!({"tasks": [entry("f", "TASK_FAILED"), entry("f", "TASK_RUNNING"), entry("g", "TASK_LOST")]});
        assert!(matches!(choose(&all, "t", None), Err(MasterError::Several { .. })));
        assert!(!choose(&all, "t", Some("f")).unwrap().unwrap().ended);
        assert!(choose(&all, "t", Some("g")).unwrap().unwrap().ended);
        assert_eq!(choose(&all, "u", None).unwrap(), None);
    }
}
