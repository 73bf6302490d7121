//! `mezzo agent …`

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mezzo_api::time::parse_duration;
use serde_json::{Value, json};

use super::{Cluster, Failure, OK, Options, args::Agent, confirm, show};

/// How often an agent that drains is looked at.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(500);

/// Carries a verb out.
pub(super) async fn run(cluster: &mut Cluster, options: &Options, verb: Agent) -> Result<u8, Failure> {
    match verb {
        Agent::List => list(cluster, options).await?,
        Agent::Show { agent } => show(cluster, options, &agent).await?,
        Agent::Drain { agent, max_grace_period, mark_gone, wait, yes } => {
            let mut call = call_on(cluster, &agent, "DRAIN_AGENT").await?;
            if mark_gone {
                confirm(&format!("agent {agent} will be marked gone when it is drained"), yes)?;
                call["drain_agent"]["mark_gone"] = true.into();
            }
            if let Some(text) = max_grace_period {
                let grace =
                    parse_duration(&text).map_err(|error| Failure::Value(format!("--max-grace-period: {error}")))?;
                call["drain_agent"]["max_grace_period"] =
                    json!({"seconds": grace.as_secs(), "nanos": grace.subsec_nanos()});
            }
            if wait {
                let id = show::text(&call["drain_agent"]["agent_id"], "value");
                cluster.call(call).await?;
                drained(cluster, &id).await?;
                said(options, &format!("agent {agent} is drained"));
            } else {
                done(cluster, options, call, &format!("agent {agent} is draining")).await?;
            }
        }
        Agent::Deactivate { agent } => {
            let call = call_on(cluster, &agent, "DEACTIVATE_AGENT").await?;
            done(cluster, options, call, &format!("agent {agent} is not offered any more")).await?;
        }
        Agent::Reactivate { agent } => {
            let call = call_on(cluster, &agent, "REACTIVATE_AGENT").await?;
            done(cluster, options, call, &format!("agent {agent} is offered again")).await?;
        }
        Agent::Gone { agent, yes } => {
            confirm(&format!("agent {agent} will be gone for ever, and all its tasks with it"), yes)?;
            // An agent that the master does not hold now is known to its registry: the id is taken as it is.
            let call = json!({"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent}}});
            match done(cluster, options, call, &format!("agent {agent} is gone")).await {
                Err(Failure::Refused { status: 404, .. }) => {
                    let hint = " (its whole id is needed here)".to_owned();
                    return Err(Failure::Unknown { what: "agent", id: agent, hint });
                }
                result => result?,
            }
        }
    }
    Ok(OK)
}

async fn done(cluster: &mut Cluster, options: &Options, call: Value, said: &str) -> Result<(), Failure> {
    cluster.call(call).await?;
    self::said(options, said);
    Ok(())
}

fn said(options: &Options, said: &str) {
    if options.json { show::json(&json!({"done": said})) } else { println!("{said}") }
}

/// Returns when the agent has no tasks any more; tells how many are left until then.
async fn drained(cluster: &mut Cluster, id: &str) -> Result<(), Failure> {
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{spinner} {pos} of {len} tasks have ended [{wide_bar}] {elapsed}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    loop {
        let answer = cluster.get(&format!("/slaves?slave_id={id}")).await?;
        // One that is gone by now is drained too.
        let Some(agent) = show::list(&answer, "slaves").first() else { break };
        match state(agent).as_str() {
            "drained" => break,
            "draining" => {}
            _ => return Err(Failure::Value(format!("agent {id} was reactivated meanwhile"))),
        }
        let tasks = cluster.get("/tasks?limit=-1").await?;
        let here = |task: &&Value| show::text(task, "slave_id") == id && !super::tasks::is_terminal(task);
        let left = show::list(&tasks, "tasks").iter().filter(here).count() as u64;
        let total = bar.length().unwrap_or_default().max(left);
        bar.set_length(total);
        bar.set_position(total - left);
        tokio::time::sleep(LOOKED_AT_EVERY).await;
    }
    bar.finish_and_clear();
    Ok(())
}

/// A call on one agent, whose id may be cut.
async fn call_on(cluster: &mut Cluster, agent: &str, kind: &str) -> Result<Value, Failure> {
    let agents = cluster.get("/slaves").await?;
    let id = show::text(show::one("agent", show::list(&agents, "slaves"), agent)?, "id");
    Ok(json!({"type": kind, kind.to_ascii_lowercase(): {"agent_id": {"value": id}}}))
}

fn state(agent: &Value) -> String {
    if let Some(drain) = agent.pointer("/drain_info/state").and_then(Value::as_str) {
        return drain.to_ascii_lowercase();
    }
    let is = |name: &str| agent.get(name) == Some(&Value::Bool(true));
    match (is("active"), is("deactivated")) {
        (_, true) => "deactivated",
        (true, false) => "active",
        (false, false) => "disconnected",
    }
    .to_owned()
}

async fn list(cluster: &mut Cluster, options: &Options) -> Result<(), Failure> {
    let answer = cluster.get("/slaves").await?;
    if options.json {
        show::json(&answer["slaves"]);
        return Ok(());
    }
    let mut table = show::table(&["AGENT", "HOST", "STATE", "CPUS", "MEM MB", "DISK MB", "GPUS", "VERSION"]);
    for agent in show::list(&answer, "slaves") {
        let (used, total) = (&agent["used_resources"], &agent["resources"]);
        table.add_row([
            show::text(agent, "id"),
            show::text(agent, "hostname"),
            state(agent),
            show::share(used, total, "cpus"),
            show::share(used, total, "mem"),
            show::share(used, total, "disk"),
            show::share(used, total, "gpus"),
            show::text(agent, "version"),
        ]);
    }
    for agent in show::list(&answer, "recovered_slaves") {
        table.add_row([show::text(agent, "id"), show::text(agent, "hostname"), "not back yet".to_owned()]);
    }
    show::print(table, &[3, 4, 5, 6]);
    Ok(())
}

async fn show(cluster: &mut Cluster, options: &Options, wanted: &str) -> Result<(), Failure> {
    let answer = cluster.get("/slaves").await?;
    let agent = show::one("agent", show::list(&answer, "slaves"), wanted)?;
    if options.json {
        show::json(agent);
        return Ok(());
    }
    let time = |name: &str| show::moment(agent.get(name).and_then(Value::as_f64).unwrap_or_default());
    let (used, total) = (&agent["used_resources"], &agent["resources"]);
    let capabilities: Vec<_> = show::list(agent, "capabilities").iter().filter_map(Value::as_str).collect();
    show::fields(&[
        ("Agent", show::text(agent, "id")),
        ("Host", format!("{}:{}", show::text(agent, "hostname"), show::text(agent, "port"))),
        ("State", state(agent)),
        ("Registered", time("registered_time")),
        ("Re-registered", time("reregistered_time")),
        ("Version", show::text(agent, "version")),
        ("Capabilities", capabilities.join(" ")),
        ("Attributes", pairs(&agent["attributes"])),
        ("CPUs", show::share(used, total, "cpus")),
        ("Memory MB", show::share(used, total, "mem")),
        ("Disk MB", show::share(used, total, "disk")),
        ("GPUs", show::share(used, total, "gpus")),
        ("Ports", show::text(total, "ports")),
        ("Reserved", pairs(&agent["reserved_resources"])),
    ]);
    let id = show::text(agent, "id");
    let tasks = cluster.get("/tasks?limit=-1&order=asc").await?;
    let here = |task: &&Value| show::text(task, "slave_id") == id && !super::tasks::is_terminal(task);
    let mut table = show::table(&["TASK", "FRAMEWORK", "STATE"]);
    for task in show::list(&tasks, "tasks").iter().filter(here) {
        table.add_row([show::text(task, "id"), show::text(task, "framework_id"), show::text(task, "state")]);
    }
    println!();
    show::print(table, &[]);
    Ok(())
}

fn pairs(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, _)| format!("{name}:{}", show::text(value, name))).collect::<Vec<_>>().join(" ")
}
