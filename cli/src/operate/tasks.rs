//! `mezzo task …`

use serde_json::{Value, json};

use super::{Cluster, Failure, OK, Options, args::Task, session, show};
use crate::http::escape;

/// Carries a verb out.
pub(super) async fn run(cluster: &mut Cluster, options: &Options, verb: Task) -> Result<u8, Failure> {
    match verb {
        Task::List { all, framework, agent } => {
            list(cluster, options, all, framework.as_deref(), agent.as_deref()).await?;
        }
        Task::Show { task, framework } => show(cluster, options, &task, framework.as_deref()).await?,
        Task::Exec { framework, interactive, tty, task, command } => {
            let ways = session::Ways { interactive, terminal: tty };
            return ended(session::exec(cluster, &task, framework.as_deref(), ways, command).await);
        }
        Task::Attach { framework, no_stdin, task } => {
            return ended(session::attach(cluster, &task, framework.as_deref(), no_stdin).await);
        }
        // has a door of its own, which goes on across changes of the leader
        Task::Logs(_) => {}
        Task::Kill { task, framework } => {
            let found = find(cluster, &task, framework.as_deref(), false).await?;
            let (id, framework) = (show::text(&found, "id"), show::text(&found, "framework_id"));
            cluster.form("/kill-task", format!("frameworkId={}&taskId={}", escape(&framework), escape(&id))).await?;
            let said = format!("task {id} of framework {framework} is being killed");
            if options.json { show::json(&json!({"done": said})) } else { println!("{said}") }
        }
    }
    Ok(OK)
}

/// The code of what ran over there, or our own for whatever kept it from running.
fn ended(result: Result<Result<u8, session::SessionError>, Failure>) -> Result<u8, Failure> {
    let problem = match result {
        Ok(Ok(code)) => return Ok(code),
        Ok(Err(error)) => error.to_string(),
        Err(failure) => failure.to_string(),
    };
    eprintln!("mezzo: {problem}");
    Ok(session::OWN_FAILURE)
}

/// Whether the task will never run again.
pub(super) fn is_terminal(task: &Value) -> bool {
    let running = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE", "TASK_UNKNOWN"];
    !running.contains(&show::text(task, "state").as_str())
}

async fn list(
    cluster: &mut Cluster,
    options: &Options,
    all: bool,
    framework: Option<&str>,
    agent: Option<&str>,
) -> Result<(), Failure> {
    let answer = cluster.get("/tasks?order=asc&limit=-1").await?;
    let ends = |task: &Value, name: &str, wanted: Option<&str>| {
        wanted.is_none_or(|wanted| show::text(task, name).ends_with(wanted))
    };
    let tasks: Vec<&Value> = show::list(&answer, "tasks")
        .iter()
        .filter(|task| all || !is_terminal(task))
        .filter(|task| ends(task, "framework_id", framework) && ends(task, "slave_id", agent))
        .collect();
    if options.json {
        show::json(&tasks.into_iter().cloned().collect());
        return Ok(());
    }
    let mut table = show::table(&["TASK", "NAME", "STATE", "SINCE", "CPUS", "MEM MB", "FRAMEWORK", "AGENT"]);
    for task in tasks {
        let amount = |name: &str| show::number(task["resources"].get(name).and_then(Value::as_f64).unwrap_or_default());
        let latest = show::list(task, "statuses").last();
        let since = latest.and_then(|status| status["timestamp"].as_f64()).unwrap_or_default();
        table.add_row([
            show::text(task, "id"),
            show::text(task, "name"),
            show::text(task, "state").trim_start_matches("TASK_").to_ascii_lowercase(),
            show::moment(since),
            amount("cpus"),
            amount("mem"),
            show::text(task, "framework_id"),
            show::text(task, "slave_id"),
        ]);
    }
    show::print(table, &[4, 5]);
    Ok(())
}

pub(super) async fn find(
    cluster: &mut Cluster,
    task: &str,
    framework: Option<&str>,
    ended_too: bool,
) -> Result<Value, Failure> {
    let answer = cluster.get("/tasks?order=asc&limit=-1").await?;
    let fits = |entry: &&Value| {
        framework.is_none_or(|wanted| show::text(entry, "framework_id").ends_with(wanted))
            && (ended_too || !is_terminal(entry))
    };
    show::one("task", show::list(&answer, "tasks").iter().filter(fits), task).cloned()
}

async fn show(cluster: &mut Cluster, options: &Options, wanted: &str, framework: Option<&str>) -> Result<(), Failure> {
    let task = find(cluster, wanted, framework, true).await?;
    if options.json {
        show::json(&task);
        return Ok(());
    }
    let resources = task["resources"].as_object().into_iter().flatten();
    let resources = resources.filter(|(_, value)| value.as_f64() != Some(0.0));
    let resources: Vec<_> =
        resources.map(|(name, _)| format!("{name}:{}", show::text(&task["resources"], name))).collect();
    show::fields(&[
        ("Task", show::text(&task, "id")),
        ("Name", show::text(&task, "name")),
        ("State", show::text(&task, "state")),
        ("Framework", show::text(&task, "framework_id")),
        ("Agent", show::text(&task, "slave_id")),
        ("Executor", show::text(&task, "executor_id")),
        ("Role", show::text(&task, "role")),
        ("User", show::text(&task, "user")),
        ("Resources", resources.join(" ")),
    ]);
    let mut table = show::table(&["WHEN (UTC)", "STATE", "HEALTHY", "CONTAINER"]);
    for status in show::list(&task, "statuses") {
        let container = status.pointer("/container_status/container_id/value").and_then(Value::as_str);
        table.add_row([
            show::moment(status["timestamp"].as_f64().unwrap_or_default()),
            show::text(status, "state"),
            show::text(status, "healthy"),
            container.unwrap_or_default().to_owned(),
        ]);
    }
    println!();
    show::print(table, &[]);
    Ok(())
}
