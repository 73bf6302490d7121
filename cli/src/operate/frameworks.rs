//! `mezzo framework …`

use serde_json::{Value, json};

use super::{Cluster, Failure, OK, Options, args::Framework, confirm, show};

/// Carries a verb out.
pub(super) async fn run(cluster: &mut Cluster, options: &Options, verb: Framework) -> Result<u8, Failure> {
    match verb {
        Framework::List { all } => list(cluster, options, all).await?,
        Framework::Show { framework } => show(cluster, options, &framework).await?,
        Framework::Teardown { framework, yes } => {
            let answer = cluster.get("/frameworks").await?;
            let found = show::one("framework", show::list(&answer, "frameworks"), &framework)?;
            let (id, name) = (show::text(found, "id"), show::text(found, "name"));
            confirm(&format!("framework {id} ({name}) and all its tasks will end"), yes)?;
            cluster.call(json!({"type": "TEARDOWN", "teardown": {"framework_id": {"value": id}}})).await?;
            let said = format!("framework {id} is torn down");
            if options.json { show::json(&json!({"done": said})) } else { println!("{said}") }
        }
    }
    Ok(OK)
}

fn state(framework: &Value) -> &'static str {
    let is = |name: &str| framework.get(name) == Some(&Value::Bool(true));
    match (is("active"), is("recovered"), is("connected")) {
        (true, ..) => "active",
        (_, true, _) => "not back yet",
        (_, _, true) => "inactive",
        _ => "disconnected",
    }
}

fn roles(framework: &Value) -> String {
    let roles: Vec<_> = show::list(framework, "roles").iter().filter_map(Value::as_str).collect();
    if roles.is_empty() { show::text(framework, "role") } else { roles.join(",") }
}

async fn list(cluster: &mut Cluster, options: &Options, all: bool) -> Result<(), Failure> {
    let answer = cluster.get("/frameworks").await?;
    let completed = if all { show::list(&answer, "completed_frameworks") } else { &[] };
    if options.json {
        show::json(&show::list(&answer, "frameworks").iter().chain(completed).cloned().collect());
        return Ok(());
    }
    let mut table = show::table(&["FRAMEWORK", "NAME", "STATE", "ROLES", "TASKS", "CPUS", "MEM MB", "HOST"]);
    let present = show::list(&answer, "frameworks").iter().map(|framework| (framework, state(framework)));
    for (framework, state) in present.chain(completed.iter().map(|framework| (framework, "completed"))) {
        let used = &framework["used_resources"];
        let amount = |name: &str| show::number(used.get(name).and_then(Value::as_f64).unwrap_or_default());
        table.add_row([
            show::text(framework, "id"),
            show::text(framework, "name"),
            state.to_owned(),
            roles(framework),
            show::list(framework, "tasks").len().to_string(),
            amount("cpus"),
            amount("mem"),
            show::text(framework, "hostname"),
        ]);
    }
    show::print(table, &[4, 5, 6]);
    Ok(())
}

async fn show(cluster: &mut Cluster, options: &Options, wanted: &str) -> Result<(), Failure> {
    let answer = cluster.get("/frameworks").await?;
    let all = show::list(&answer, "frameworks").iter().chain(show::list(&answer, "completed_frameworks"));
    let framework = show::one("framework", all, wanted)?;
    if options.json {
        show::json(framework);
        return Ok(());
    }
    let time = |name: &str| show::moment(framework.get(name).and_then(Value::as_f64).unwrap_or_default());
    let ended = time("unregistered_time");
    let used = &framework["used_resources"];
    let amount = |name: &str| show::number(used.get(name).and_then(Value::as_f64).unwrap_or_default());
    let count = |name: &str| show::list(framework, name).len();
    let capabilities: Vec<_> = show::list(framework, "capabilities").iter().filter_map(Value::as_str).collect();
    show::fields(&[
        ("Framework", show::text(framework, "id")),
        ("Name", show::text(framework, "name")),
        ("State", if ended.is_empty() { state(framework).to_owned() } else { "completed".to_owned() }),
        ("Roles", roles(framework)),
        ("User", show::text(framework, "user")),
        ("Principal", show::text(framework, "principal")),
        ("Host", show::text(framework, "hostname")),
        ("Page", show::text(framework, "webui_url")),
        ("Capabilities", capabilities.join(" ")),
        ("Failover timeout", format!("{} s", show::text(framework, "failover_timeout"))),
        ("Registered", time("registered_time")),
        ("Re-registered", time("reregistered_time")),
        ("Ended", ended),
        ("Uses", format!("{} cpus, {} MB memory, {} MB disk", amount("cpus"), amount("mem"), amount("disk"))),
        (
            "Tasks",
            format!(
                "{} active, {} unreachable, {} completed",
                count("tasks"),
                count("unreachable_tasks"),
                count("completed_tasks")
            ),
        ),
        ("Offers", count("offers").to_string()),
    ]);
    Ok(())
}
