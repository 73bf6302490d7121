//! The registry's content as a JSON document, the same for every kind of registry: what `mezzo registry dump` writes.

use mezzo_api::{
    codec::{self, Encoding},
    ids::{AgentId, FrameworkId},
    v1,
};
use mezzo_master_core::registry::{Machine, Recovered, RegistryOp, Standing};
use serde_json::{Map, Value, json};

/// The documents that this version writes, and the newest that it reads.
const FORMAT: u64 = 1;

/// Why a document is of no use.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// It is no object with a `format`.
    #[error("this is no copy of a registry: it has no \"format\"")]
    Foreign,
    /// Written by a version that knows more.
    #[error("the copy has format {0}, and this version of Mezzo knows formats up to {FORMAT}: use the newer version")]
    Newer(u64),
    /// A part that this version does not know would be lost.
    #[error("the copy has a part \"{0}\" that this version of Mezzo does not know: use the version that wrote it")]
    UnknownPart(String),
    /// An entry cannot be read.
    #[error("\"{part}\"[{index}] of the copy cannot be read: {detail}")]
    Entry {
        /// The list.
        part: String,
        /// Which of it, from 0.
        index: usize,
        /// What is wrong.
        detail: String,
    },
}

/// The content as a document.
pub(super) fn write(content: &Recovered) -> Value {
    let marked = |agents: &[(AgentId, i64)]| -> Vec<Value> {
        agents.iter().map(|(id, since)| json!({"id": id.as_str(), "since_ns": since})).collect()
    };
    json!({
        "format": FORMAT,
        "agents": content.agents.iter().map(|agent| codec::to_json_value(&agent.message())).collect::<Vec<_>>(),
        "unreachable": marked(&content.unreachable),
        "gone": marked(&content.gone),
        "standings": content.standings.iter().map(written).collect::<Vec<_>>(),
        "completed_frameworks": content.completed_frameworks.iter().map(FrameworkId::as_str).collect::<Vec<_>>(),
        "quotas": content.quotas.iter().map(codec::to_json_value).collect::<Vec<_>>(),
        "weights": content.weights.iter().map(|(role, weight)| json!({"role": role, "weight": weight})).collect::<Vec<_>>(),
        "machines": content.machines.iter().map(machine).collect::<Vec<_>>(),
    })
}

fn machine(machine: &Machine) -> Value {
    json!({"machine": codec::to_json_value(&machine.info), "window": machine.window, "position": machine.position})
}

/// A document as the operations that make an empty registry the same.
pub(super) fn read(document: &Value) -> Result<Vec<RegistryOp>, DocumentError> {
    let object = document.as_object().ok_or(DocumentError::Foreign)?;
    match object.get("format").and_then(Value::as_u64) {
        None => return Err(DocumentError::Foreign),
        Some(format) if format > FORMAT => return Err(DocumentError::Newer(format)),
        Some(_) => {}
    }
    let mut operations = Vec::new();
    for part in object.keys().filter(|part| *part != "format") {
        operations.extend(entries(object, part)?);
    }
    Ok(operations)
}

fn entries(object: &Map<String, Value>, part: &str) -> Result<Vec<RegistryOp>, DocumentError> {
    let read: fn(&Value) -> Result<RegistryOp, String> = match part {
        "agents" => |entry| {
            let info: v1::AgentInfo =
                codec::decode(Encoding::Json, entry.to_string().as_bytes()).map_err(|error| error.to_string())?;
            let named = info.id.as_ref().is_some_and(|id| !id.value.is_empty());
            if named { Ok(RegistryOp::PutAgent(Box::new(info))) } else { Err("it has no id".to_owned()) }
        },
        "unreachable" => |entry| marked(entry).map(|(id, since)| RegistryOp::MarkUnreachable(id, since)),
        "gone" => |entry| marked(entry).map(|(id, since)| RegistryOp::MarkGone(id, since)),
        "standings" => standing,
        "completed_frameworks" => |entry| {
            let id = entry.as_str().filter(|id| !id.is_empty()).ok_or("expected the id of a framework")?;
            Ok(RegistryOp::CompleteFramework(id.into()))
        },
        "quotas" => |entry| {
            let quota: v1::quota::QuotaConfig =
                codec::decode(Encoding::Json, entry.to_string().as_bytes()).map_err(|error| error.to_string())?;
            Ok(RegistryOp::PutQuota(Box::new(quota)))
        },
        "weights" => |entry| {
            let role = entry["role"].as_str().filter(|role| !role.is_empty()).ok_or("expected \"role\": a name")?;
            let weight = entry["weight"].as_f64().ok_or("expected \"weight\": a number")?;
            Ok(RegistryOp::PutWeight(role.to_owned(), weight))
        },
        "machines" => |entry| {
            let info: v1::MachineInfo = codec::decode(Encoding::Json, entry["machine"].to_string().as_bytes())
                .map_err(|error| error.to_string())?;
            let number = |name: &str| entry[name].as_u64().and_then(|number| u32::try_from(number).ok());
            let window = number("window").ok_or("expected \"window\": a number from 0")?;
            let position = number("position").ok_or("expected \"position\": a number from 0")?;
            Ok(RegistryOp::PutMachine(Box::new(Machine { info, window, position })))
        },
        part => return Err(DocumentError::UnknownPart(part.to_owned())),
    };
    let bad = |index, detail: String| DocumentError::Entry { part: part.to_owned(), index, detail };
    let list = object.get(part).and_then(Value::as_array).ok_or_else(|| bad(0, "expected a list".to_owned()))?;
    list.iter().enumerate().map(|(index, entry)| read(entry).map_err(|detail| bad(index, detail))).collect()
}

fn written((id, standing): &(AgentId, Standing)) -> Value {
    json!({
        "id": id.as_str(),
        "deactivated": standing.deactivated,
        "drain": standing.drain.as_ref().map(codec::to_json_value),
    })
}

fn standing(entry: &Value) -> Result<RegistryOp, String> {
    let id = entry["id"].as_str().filter(|id| !id.is_empty()).ok_or("expected \"id\": an agent's id")?;
    let deactivated = entry["deactivated"].as_bool().ok_or("expected \"deactivated\"")?;
    let drain = match &entry["drain"] {
        Value::Null => None,
        drain => Some(codec::decode(Encoding::Json, drain.to_string().as_bytes()).map_err(|error| error.to_string())?),
    };
    Ok(RegistryOp::PutStanding(id.into(), Standing { deactivated, drain }))
}

fn marked(entry: &Value) -> Result<(AgentId, i64), String> {
    let id = entry["id"].as_str().filter(|id| !id.is_empty()).ok_or("expected \"id\": an agent's id")?;
    let since = entry["since_ns"].as_i64().ok_or("expected \"since_ns\": nanoseconds since the epoch")?;
    Ok((id.into(), since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let info = v1::AgentInfo {
            id: Some(v1::AgentId { value: "a".into() }),
            hostname: "h".into(),
            port: Some(5051),
            ..Default::default()
        };
        let content = Recovered {
            agents: vec![info.clone()].into(),
            unreachable: vec![("b".into(), 5)],
            gone: vec![("c".into(), 6)],
            standings: vec![("a".into(), Standing { deactivated: true, drain: None })],
            completed_frameworks: vec!["f".into()],
            weights: vec![("r".into(), 2.5)],
            ..Recovered::default()
        };
        let operations = read(&write(&content)).unwrap();
        assert_eq!(operations.len(), 6);
        for expected in [
            RegistryOp::PutAgent(Box::new(info)),
            RegistryOp::MarkUnreachable("b".into(), 5),
            RegistryOp::MarkGone("c".into(), 6),
            RegistryOp::PutStanding("a".into(), Standing { deactivated: true, drain: None }),
            RegistryOp::CompleteFramework("f".into()),
            RegistryOp::PutWeight("r".into(), 2.5),
        ] {
            assert!(operations.contains(&expected), "{expected:?}");
        }
        assert_eq!(read(&write(&Recovered::default())), Ok(Vec::new()));
    }

    #[test]
    fn what_cannot_be_read_whole_is_not_read_at_all() {
        let said = |document: Value| read(&document).unwrap_err().to_string();
        assert!(said(json!([])).contains("no copy"));
        assert!(said(json!({"agents": []})).contains("no copy"));
        assert!(said(json!({"format": 2})).contains("format 2"));
        assert!(said(json!({"format": 1, "wonders": []})).contains("\"wonders\""));
        assert!(said(json!({"format": 1, "gone": {}})).contains("expected a list"));
        let bad = json!({"format": 1, "agents": [{"id": {"value": "a"}, "hostname": "h"}, {"hostname": "h"}]});
        assert!(said(bad).contains("\"agents\"[1] of the copy cannot be read: it has no id"));
        assert!(said(json!({"format": 1, "unreachable": [{"id": "a"}]})).contains("since_ns"));
        assert!(said(json!({"format": 1, "completed_frameworks": [5]})).contains("framework"));
    }
}
