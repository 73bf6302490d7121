//! When a local cluster is ready, and what is said then.

use std::{fmt::Write, time::Duration};

use mezzo_sdk::Address;
use serde_json::Value;
use tokio::time::sleep;

use super::cluster::Cluster;
use crate::{args::DEFAULT_MASTER, http::Http};

const ASK_EACH: Duration = Duration::from_millis(20);

/// Asks the master until so many agents are active; returns its answer to `/slaves`.
pub(super) async fn agents_registered(master: Address, wanted: usize) -> Value {
    let mut http = Http::new(master);
    loop {
        if let Ok(answer) = http.get("/slaves").await
            && answer.status == 200
            && let Ok(slaves) = serde_json::from_slice::<Value>(&answer.body)
            && slaves["slaves"].as_array().is_some_and(|all| active(all) >= wanted)
        {
            return slaves;
        }
        sleep(ASK_EACH).await;
    }
}

fn active(slaves: &[Value]) -> usize {
    slaves.iter().filter(|slave| slave["active"] != Value::Bool(false)).count()
}

/// The flag that leads to this master, with a space behind it, where one is needed.
pub(super) fn master_flag(address: &str) -> String {
    if address == DEFAULT_MASTER { String::new() } else { format!("--master={address} ") }
}

/// What the user needs to know.
pub(super) fn banner(cluster: &Cluster, slaves: &Value, program: &str) -> String {
    let address = cluster.master();
    let to = master_flag(&address);
    let fate = if cluster.home.is_temporary() { "removed at the end" } else { "kept" };
    let agents = slaves["slaves"].as_array().map_or(0, |all| active(all));
    let mut out = format!("Mezzo is running: http://{address}\n");
    for (name, value) in [
        ("agents", agents_line(agents, slaves)),
        ("files", format!("{} ({fate})", cluster.home.path().display())),
        ("try", format!("{program} run {to}-- echo hello")),
        ("end", "Ctrl-C".to_owned()),
    ] {
        let _ = write!(out, "\n  {name:<8}{value}"); // a String takes everything
    }
    out
}

fn agents_line(count: usize, slaves: &Value) -> String {
    let first = &slaves["slaves"][0]["resources"];
    let has: Vec<_> = ["cpus", "mem", "disk", "gpus"]
        .iter()
        .filter_map(|name| {
            first[*name].as_f64().filter(|amount| *amount > 0.0).map(|amount| format!("{name}:{amount}"))
        })
        .collect();
    match count {
        0 => "none".to_owned(),
        1 => format!("1, with {}", has.join(";")),
        _ => format!("{count}, each with {}", has.join(";")),
    }
}
