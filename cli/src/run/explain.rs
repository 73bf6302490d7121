//! What the cluster has, for who asked for more.

use std::fmt::Write;

use mezzo_sdk::Address;
use serde_json::Value;

use crate::http::Http;

/// So many agents are listed.
const MAX_AGENTS: usize = 8;

/// Some lines about the cluster's agents and what is free on them.
pub(super) async fn cluster(master: Address) -> String {
    let answer = match Http::new(master.clone()).get("/slaves").await {
        Ok(answer) if answer.status == 200 => answer,
        Ok(answer) => return format!("  what {master} has is not known: HTTP status {}", answer.status),
        Err(error) => return format!("  what {master} has is not known: {error}"),
    };
    match serde_json::from_slice::<Value>(&answer.body) {
        Ok(slaves) => describe(&slaves),
        Err(error) => format!("  what {master} has is not known: {error}"),
    }
}

/// Of an answer of `/slaves`.
fn describe(slaves: &Value) -> String {
    let agents: Vec<_> = slaves["slaves"].as_array().into_iter().flatten().collect();
    if agents.is_empty() {
        return "  the cluster has no agents".to_owned();
    }
    let mut out = format!("  the cluster has {} agent{}:", agents.len(), if agents.len() == 1 { "" } else { "s" });
    for agent in agents.iter().take(MAX_AGENTS) {
        let state = if agent["active"] == Value::Bool(false) { " (not active)" } else { "" };
        let host = agent["hostname"].as_str().unwrap_or("?");
        let _ = write!(out, "\n    {host}{state}:"); // a String takes everything
        for name in ["cpus", "mem", "disk", "gpus"] {
            let amount = |part: &str| agent[part][name].as_f64().unwrap_or_default();
            let total = amount("resources");
            if total > 0.0 {
                let free = total - amount("used_resources");
                let _ = write!(out, " {name} {} of {} free,", round(free), round(total));
            }
        }
        if out.ends_with(',') {
            out.pop();
        }
    }
    if agents.len() > MAX_AGENTS {
        let _ = write!(out, "\n    and {} more", agents.len() - MAX_AGENTS);
    }
    out.push_str("\n  what is free may be reserved for others, or be held by another framework's offer");
    out
}

fn round(amount: f64) -> f64 {
    (amount * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_what_is_free() {
        let text = describe(&json!({"slaves": [
            {"hostname": "a", "active": true, "resources": {"cpus": 4.0, "mem": 1024.0, "gpus": 0.0}, "used_resources": {"cpus": 0.3, "mem": 24.0}},
            {"hostname": "b", "active": false, "resources": {"cpus": 2.0}},
        ]}));
        assert!(text.contains("2 agents:\n    a: cpus 3.7 of 4 free, mem 1000 of 1024 free\n"), "{text}");
        assert!(text.contains("b (not active): cpus 2 of 2 free"), "{text}");
        assert!(describe(&json!({"slaves": []})).contains("no agents"));
        assert!(describe(&json!({})).contains("no agents"));
    }
}
