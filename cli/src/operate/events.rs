//! `mezzo events`: what happens on the cluster, a line each, across changes of the leader.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mezzo_api::recordio::Decoder;
use serde_json::Value;

use super::{Cluster, Failure, OK, Options, show};
use crate::http::Http;

/// The largest event, a snapshot of a large cluster.
const MAX_RECORD_BYTES: usize = 1 << 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until Ctrl-C.
pub(super) async fn run(cluster: &mut Cluster, options: &Options) -> Result<u8, Failure> {
    let mut first = true;
    loop {
        let leader = match cluster.leader().await {
            Ok(leader) => leader,
            Err(error) if first => return Err(error.into()),
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        first = false;
        tokio::select! {
            result = follow(Http::new(leader), options) => match result {
                Err(Failure::Io(error)) => return Err(error.into()),
                Err(Failure::Refused { status, text }) if status != 503 => {
                    return Err(Failure::Refused { status, text });
                }
                _ => eprintln!("mezzo: the stream ended; following the leader"),
            },
            _ = tokio::signal::ctrl_c() => return Ok(OK),
        }
        cluster.forget_leader();
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(mut http: Http, options: &Options) -> Result<(), Failure> {
    let mut decoder = Decoder::new(MAX_RECORD_BYTES);
    let broken = |error: &dyn std::fmt::Display| Failure::Answer(error.to_string());
    let body = r#"{"type":"SUBSCRIBE"}"#;
    let mut stream = http.open("/api/v1", "application/json", body.into()).await.map_err(|error| broken(&error))?;
    if stream.status != 200 {
        return Err(Failure::Refused { status: stream.status, text: stream.rest().await });
    }
    while let Some(piece) = stream.next().await.map_err(|error| broken(&error))? {
        decoder.feed(&piece);
        while let Some(record) = decoder.next().map_err(|error| broken(&error))? {
            let event: Value = serde_json::from_slice(&record).map_err(|error| broken(&error))?;
            let line = if options.json { Some(event.to_string()) } else { describe(&event) };
            if let Some(line) = line {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{line}")?;
                out.flush()?;
            }
        }
    }
    Ok(())
}

/// One line; nothing for heartbeats.
fn describe(event: &Value) -> Option<String> {
    let id = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let what = match event["type"].as_str()? {
        "HEARTBEAT" => return None,
        "SUBSCRIBED" => {
            let count = |pointer: &str| event.pointer(pointer).and_then(Value::as_array).map_or(0, Vec::len);
            format!(
                "subscribed: {} agents, {} frameworks, {} tasks",
                count("/subscribed/get_state/get_agents/agents"),
                count("/subscribed/get_state/get_frameworks/frameworks"),
                count("/subscribed/get_state/get_tasks/tasks"),
            )
        }
        "TASK_ADDED" => format!(
            "task {} added on {} for {}",
            id("/task_added/task/task_id/value"),
            id("/task_added/task/agent_id/value"),
            id("/task_added/task/framework_id/value"),
        ),
        "TASK_UPDATED" => {
            let message = id("/task_updated/status/message");
            let reason = id("/task_updated/status/reason");
            let more: Vec<_> = [reason, message].into_iter().filter(|part| !part.is_empty()).collect();
            let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(": ")) };
            format!("task {} {}{more}", id("/task_updated/status/task_id/value"), id("/task_updated/status/state"))
        }
        "AGENT_ADDED" => format!(
            "agent {} added ({})",
            id("/agent_added/agent/agent_info/id/value"),
            id("/agent_added/agent/agent_info/hostname")
        ),
        "AGENT_REMOVED" => format!("agent {} removed", id("/agent_removed/agent_id/value")),
        kind @ ("FRAMEWORK_ADDED" | "FRAMEWORK_UPDATED") => {
            let part = kind.to_ascii_lowercase();
            let at = |name: &str| id(&format!("/{part}/framework/framework_info/{name}")).to_owned();
            format!("framework {} ({}) {}", at("id/value"), at("name"), part.trim_start_matches("framework_"))
        }
        "FRAMEWORK_REMOVED" => format!(
            "framework {} ({}) removed",
            id("/framework_removed/framework_info/id/value"),
            id("/framework_removed/framework_info/name")
        ),
        other => other.to_owned(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    Some(format!("{}  {what}", show::moment(now)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_lines() {
        let line = |event: Value| describe(&event).map(|line| line[21..].to_owned());
        assert_eq!(line(json!({"type": "HEARTBEAT"})), None);
        let status = json!({"task_id": {"value": "t"}, "state": "TASK_FAILED", "reason": "REASON_X", "message": "m"});
        let updated = json!({"type": "TASK_UPDATED", "task_updated": {"status": status}});
        assert_eq!(line(updated).as_deref(), Some("task t TASK_FAILED (REASON_X: m)"));
        let info = json!({"id": {"value": "f"}, "name": "n"});
        let added = json!({"type": "FRAMEWORK_ADDED", "framework_added": {"framework": {"framework_info": info}}});
        assert_eq!(line(added).as_deref(), Some("framework f (n) added"));
    }
}
