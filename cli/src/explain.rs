//! `mezzo explain`: why a framework is not offered what it waits for, in words.

use std::{fmt::Write, process::ExitCode};

use anyhow::Context;
use mezzo_sdk::Address;
use serde_json::Value;

use crate::{
    args::Explain,
    http::{Http, escape},
    operate::{MISUSED, UNREACHED},
};

/// Asks the leading master and prints its answer.
pub(crate) async fn main(options: &Explain) -> ExitCode {
    let masters = match Address::parse_list(&options.master()) {
        Ok(masters) => masters,
        Err(error) => {
            eprintln!("mezzo: --master: {error}");
            return ExitCode::from(MISUSED);
        }
    };
    match ask(masters, options).await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("mezzo: {error:#}");
            ExitCode::from(UNREACHED)
        }
    }
}

async fn ask(masters: Vec<Address>, options: &Explain) -> anyhow::Result<String> {
    let mut why = None;
    for address in masters {
        match Http::new(address.clone()).get(&path(options)).await {
            Ok(answer) if answer.status == 200 && options.json => {
                return Ok(String::from_utf8_lossy(&answer.body).into_owned());
            }
            Ok(answer) if answer.status == 200 => {
                let explanation = serde_json::from_slice(&answer.body).context("the master's answer is no JSON")?;
                return Ok(describe(&explanation));
            }
            Ok(answer) => {
                let text = String::from_utf8_lossy(&answer.body).trim().to_owned();
                why = Some(anyhow::anyhow!("{address} answers {}: {text}", answer.status));
            }
            Err(error) => why = Some(anyhow::anyhow!("{error}")),
        }
    }
    Err(why.unwrap_or_else(|| anyhow::anyhow!("--master names nobody")))
}

fn path(options: &Explain) -> String {
    let mut path = format!("/explain?framework_id={}", escape(&options.framework_id));
    let parts = [("role", &options.role), ("resources", &options.resources), ("constraints", &options.constraints)];
    for (name, value) in parts {
        if let Some(value) = value {
            let _ = write!(path, "&{name}={}", escape(value)); // a String takes everything
        }
    }
    path
}

/// The answer in words.
fn describe(explanation: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut out = format!("framework {} in role {}", text(&explanation["framework_id"]), text(&explanation["role"]));
    let wanted = explanation["resources"].as_str().unwrap_or_default();
    if !wanted.is_empty() && wanted != "{}" {
        let _ = write!(out, ", for an offer of {wanted}");
    }
    for obstacle in explanation["obstacles"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n  ! {}", text(obstacle));
    }
    let _ = write!(out, "\n  outstanding offers: {}", explanation["outstanding_offers"]);
    describe_order(&explanation["order"], &mut out);
    let (agents, free) = (&explanation["agents"], &explanation["free_agents"]["agents"]);
    let _ = write!(out, "\n  agents: {agents}; of {free} nothing keeps it but its turn");
    for reason in explanation["reasons"].as_array().into_iter().flatten() {
        let _ = write!(out, "\n    {:>6}  {}", reason["agents"].to_string(), text(&reason["text"]));
        if let Some(seconds) = reason["first_ends_in_secs"].as_f64() {
            let _ = write!(out, "; the first of these refusals ends in {seconds:.0} s");
        }
        if let Some(lacks) = amounts(&reason["least_lacking"]) {
            let _ = write!(out, "; at best {lacks} too little");
        }
    }
    let nearest = &explanation["nearest"];
    if nearest.is_object() {
        let _ = write!(out, "\n  nearest: {} ({})", text(&nearest["hostname"]), text(&nearest["agent_id"]));
        let reasons: Vec<String> =
            nearest["reasons"].as_array().into_iter().flatten().map(|reason| text(&reason["text"])).collect();
        let _ = write!(out, ": {}", reasons.join("; "));
        if let Some(lacks) = amounts(&nearest["lacks"]) {
            let _ = write!(out, "; it lacks {lacks}");
        }
    }
    out
}

fn describe_order(order: &Value, out: &mut String) {
    let place = |of: &Value| match of["place"].as_u64() {
        Some(place) => format!("number {place} of {}", of["of"]),
        None => "not in the order: it wants no offers".to_owned(),
    };
    for role in order["roles"].as_array().into_iter().flatten() {
        let name = role["role"].as_str().unwrap_or("?");
        let share = role["share"].as_f64().unwrap_or_default();
        let _ = write!(out, "\n  role {name}: {}, share {share:.4}", place(role));
        if let Some(dominant) = role["dominant_resource"].as_str() {
            let _ = write!(out, " (of {dominant})");
        }
        let _ = write!(out, ", weight {}", role["weight"]);
        if let Some(limits) = amounts(&role["quota"]["limits"]) {
            let consumed = amounts(&role["consumed"]).unwrap_or_else(|| "nothing".to_owned());
            let _ = write!(out, "; consumes {consumed} of at most {limits}");
        }
    }
    let framework = &order["framework"];
    let share = framework["share"].as_f64().unwrap_or_default();
    let _ = write!(out, "\n  within its role: {}, share {share:.4}", place(framework));
}

/// `cpus 2, mem 100`, if there is anything.
fn amounts(quantities: &Value) -> Option<String> {
    let amounts = quantities.as_object().filter(|amounts| !amounts.is_empty())?;
    Some(amounts.iter().map(|(name, amount)| format!("{name} {amount}")).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_answer_is_told_in_words() {
        let text = describe(&json!({
            "framework_id": "f-1", "role": "eng/web", "resources": "cpus:4", "outstanding_offers": 0,
            "obstacles": ["the framework is not connected"],
            "order": {
                "roles": [{"role": "eng", "share": 0.25, "weight": 2.0, "dominant_resource": "cpus", "place": 2, "of": 3,
                    "consumed": {"cpus": 8.0}, "quota": {"limits": {"cpus": 9.0}}}],
                "framework": {"share": 0.1, "place": null, "of": 0},
            },
            "agents": 7, "free_agents": {"agents": 0},
            "reasons": [
                {"reason": "filter", "text": "refused", "agents": 5, "first_ends_in_secs": 12.3},
                {"reason": "too_small", "text": "too small", "agents": 2, "least_lacking": {"cpus": 1.5}},
            ],
            "nearest": {"agent_id": "S1", "hostname": "h", "lacks": {"cpus": 1.5}, "reasons": [{"text": "too small"}]},
        }));
        for part in [
            "framework f-1 in role eng/web, for an offer of cpus:4",
            "! the framework is not connected",
            "role eng: number 2 of 3, share 0.2500 (of cpus), weight 2.0; consumes cpus 8.0 of at most cpus 9.0",
            "within its role: not in the order",
            "5  refused; the first of these refusals ends in 12 s",
            "2  too small; at best cpus 1.5 too little",
            "nearest: h (S1): too small; it lacks cpus 1.5",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
