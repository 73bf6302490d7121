//! `mezzo top`: who uses what, live.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use serde_json::Value;

use super::{Cluster, Failure, OK, Options, show};

/// Rows of each table.
const ROWS: usize = 15;
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the cluster, again and again on a terminal.
pub(super) async fn run(cluster: &mut Cluster, options: &Options, once: bool, interval: f64) -> Result<u8, Failure> {
    let live = !once && !options.json && std::io::stdout().is_terminal();
    loop {
        let summary = cluster.get("/state-summary").await;
        let leader = cluster.leader().await.map(|leader| leader.to_string());
        match (summary, live) {
            (Ok(summary), _) if options.json => show::json(&picture(&summary)),
            (Ok(summary), _) => {
                let mut text = if live { CLEAR.to_owned() } else { String::new() };
                text.push_str(&render(&summary, leader.as_deref().unwrap_or("?")));
                std::io::stdout().write_all(text.as_bytes())?;
                std::io::stdout().flush()?;
            }
            // A leader that changes is soon back.
            (Err(failure), true) => println!("{CLEAR}{failure}"),
            (Err(failure), false) => return Err(failure),
        }
        if !live {
            return Ok(OK);
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs_f64(interval)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(OK),
        }
    }
}

const STATES: [&str; 5] = ["TASK_STAGING", "TASK_STARTING", "TASK_RUNNING", "TASK_KILLING", "TASK_UNREACHABLE"];

fn sum(entries: &[Value], pointer: &str) -> f64 {
    entries.iter().filter_map(|entry| entry.pointer(pointer)?.as_f64()).sum()
}

/// The numbers of the heading, for scripts.
fn picture(summary: &Value) -> Value {
    let agents = show::list(summary, "slaves");
    let mut out = serde_json::Map::new();
    out.insert("agents".into(), agents.len().into());
    out.insert("frameworks".into(), show::list(summary, "frameworks").len().into());
    for name in ["cpus", "mem", "disk", "gpus"] {
        let total = sum(agents, &format!("/resources/{name}"));
        let used = sum(agents, &format!("/used_resources/{name}"));
        out.insert(name.into(), serde_json::json!({"total": total, "used": used}));
    }
    for state in STATES {
        out.insert(state.into(), sum(agents, &format!("/{state}")).into());
    }
    out.into()
}

fn render(summary: &Value, leader: &str) -> String {
    let (agents, frameworks) = (show::list(summary, "slaves"), show::list(summary, "frameworks"));
    let mut out = format!(
        "{} at {leader}: {} agents, {} frameworks, {} tasks running, {} starting, {} unreachable\n",
        summary.get("cluster").and_then(Value::as_str).unwrap_or("cluster"),
        agents.len(),
        frameworks.len(),
        sum(agents, "/TASK_RUNNING"),
        sum(agents, "/TASK_STAGING") + sum(agents, "/TASK_STARTING"),
        sum(agents, "/TASK_UNREACHABLE"),
    );
    for name in ["cpus", "mem", "disk", "gpus"] {
        let total = sum(agents, &format!("/resources/{name}"));
        if total > 0.0 {
            out += &bar(name, sum(agents, &format!("/used_resources/{name}")), total);
        }
    }
    out.push('\n');
    out += &ranked(frameworks, &["FRAMEWORK", "TASKS", "CPUS", "MEM MB"], "name");
    out.push('\n');
    out += &ranked(agents, &["AGENT", "TASKS", "CPUS", "MEM MB"], "hostname");
    out
}

fn bar(name: &str, used: f64, total: f64) -> String {
    const WIDTH: usize = 40;
    let share = (used / total).clamp(0.0, 1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // at most the width
    let full = (share * WIDTH as f64).round() as usize;
    let (used, total) = (show::number(used), show::number(total));
    format!("{name:>5} [{}{}] {used}/{total}\n", "|".repeat(full), " ".repeat(WIDTH - full))
}

/// Those that use most, by CPUs, then memory.
fn ranked(entries: &[Value], heading: &[&str], label: &str) -> String {
    let used = |entry: &Value, name: &str| entry["used_resources"][name].as_f64().unwrap_or_default();
    let mut sorted: Vec<&Value> = entries.iter().collect();
    sorted.sort_by(|a, b| {
        used(b, "cpus").total_cmp(&used(a, "cpus")).then_with(|| used(b, "mem").total_cmp(&used(a, "mem")))
    });
    let mut table = show::table(heading);
    for entry in sorted.into_iter().take(ROWS) {
        table.add_row([
            format!("{} {}", show::text(entry, label), show::text(entry, "id")),
            show::number(STATES.iter().filter_map(|state| entry[*state].as_f64()).sum()),
            show::number(used(entry, "cpus")),
            show::number(used(entry, "mem")),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn shows_who_uses_most_first() {
        let agent = |id: &str, cpus: f64| json!({"id": id, "hostname": "h", "resources": {"cpus": 4.0}, "used_resources": {"cpus": cpus, "mem": 1.0}, "TASK_RUNNING": 2});
        let summary = json!({"cluster": "c", "slaves": [agent("S0", 1.0), agent("S1", 3.0)], "frameworks": []});
        let text = render(&summary, "m:5050");
        assert!(text.starts_with("c at m:5050: 2 agents, 0 frameworks, 4 tasks running"), "{text}");
        assert!(text.contains(" cpus [||||||||||||||||||||                    ] 4/8"), "{text}");
        assert!(text.find("h S1").unwrap() < text.find("h S0").unwrap(), "{text}");
        assert_eq!(picture(&summary)["cpus"], json!({"total": 8.0, "used": 4.0}));
    }
}
