//! `mezzo role|quota|weight|reserve|unreserve|volume|maintenance …`: what the cluster is to give to whom.

use std::{
    collections::BTreeMap,
    io::Read,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mezzo_api::{codec::to_json_value, resources::Resources, time::parse_duration};
use serde_json::{Value, json};

use super::{
    Cluster, Failure, OK, Options,
    args::{Maintenance, Policy, Quota, Reservation, Volume, Weight},
    show,
};

/// Carries a verb out.
pub(super) async fn run(cluster: &mut Cluster, options: &Options, verb: Policy) -> Result<u8, Failure> {
    match verb {
        Policy::Roles => roles(cluster, options).await?,
        Policy::Quota(quota) => self::quota(cluster, options, quota).await?,
        Policy::Weight(weight) => self::weight(cluster, options, weight).await?,
        Policy::Reserve(Reservation { agent, resources, role, principal }) => {
            let agent = agent_id(cluster, &agent).await?;
            let resources = reserved(&resources, &role, principal.as_deref())?;
            let part = json!({"agent_id": {"value": agent}, "resources": resources});
            change(cluster, options, "RESERVE_RESOURCES", part, "reserved").await?;
        }
        Policy::Unreserve(Reservation { agent, resources, role, principal }) => {
            let agent = agent_id(cluster, &agent).await?;
            let resources = reserved(&resources, &role, principal.as_deref())?;
            let part = json!({"agent_id": {"value": agent}, "resources": resources});
            change(cluster, options, "UNRESERVE_RESOURCES", part, "unreserved").await?;
        }
        Policy::Volume(volume) => self::volume(cluster, options, volume).await?,
        Policy::Maintenance(maintenance) => self::maintenance(cluster, options, maintenance).await?,
    }
    Ok(OK)
}

async fn change(cluster: &mut Cluster, options: &Options, kind: &str, part: Value, said: &str) -> Result<(), Failure> {
    cluster.call(json!({"type": kind, kind.to_ascii_lowercase(): part})).await?;
    if options.json {
        show::json(&json!({"done": said}))
    } else {
        println!("{said}")
    }
    Ok(())
}

async fn agent_id(cluster: &mut Cluster, wanted: &str) -> Result<String, Failure> {
    let agents = cluster.get("/slaves").await?;
    Ok(show::text(show::one("agent", show::list(&agents, "slaves"), wanted)?, "id"))
}

async fn roles(cluster: &mut Cluster, options: &Options) -> Result<(), Failure> {
    let answer = cluster.get("/roles").await?;
    if options.json {
        show::json(&answer["roles"]);
        return Ok(());
    }
    let mut table =
        show::table(&["ROLE", "WEIGHT", "FRAMEWORKS", "CPUS ALLOCATED", "CPUS OFFERED", "MEM MB ALLOCATED", "QUOTA"]);
    for role in show::list(&answer, "roles") {
        let amount =
            |part: &str, name: &str| show::number(role[part].get(name).and_then(Value::as_f64).unwrap_or_default());
        table.add_row([
            show::text(role, "name"),
            show::text(role, "weight"),
            show::list(role, "frameworks").len().to_string(),
            amount("allocated", "cpus"),
            amount("offered", "cpus"),
            amount("allocated", "mem"),
            bounds(&role["quota"]["guarantee"], &role["quota"]["limit"]),
        ]);
    }
    show::print(table, &[1, 2, 3, 4, 5]);
    Ok(())
}

/// `cpus:1-2 mem:-100`: from the guarantee to the limit.
fn bounds(guarantees: &Value, limits: &Value) -> String {
    let amount = |value: &Value| value.as_f64().or_else(|| value.get("value")?.as_f64()).map(show::number);
    let mut all: BTreeMap<&str, (String, String)> = BTreeMap::new();
    for (name, value) in guarantees.as_object().into_iter().flatten() {
        all.entry(name).or_default().0 = amount(value).unwrap_or_default();
    }
    for (name, value) in limits.as_object().into_iter().flatten() {
        all.entry(name).or_default().1 = amount(value).unwrap_or_default();
    }
    all.iter().map(|(name, (from, to))| format!("{name}:{from}-{to}")).collect::<Vec<_>>().join(" ")
}

async fn quota(cluster: &mut Cluster, options: &Options, verb: Quota) -> Result<(), Failure> {
    match verb {
        Quota::List => {
            let answer = cluster.ask("GET_QUOTA").await?;
            let configs = answer.pointer("/status/configs").cloned().unwrap_or_else(|| json!([]));
            if options.json {
                show::json(&configs);
                return Ok(());
            }
            let mut table = show::table(&["ROLE", "GUARANTEE-LIMIT"]);
            for config in configs.as_array().into_iter().flatten() {
                table.add_row([show::text(config, "role"), bounds(&config["guarantees"], &config["limits"])]);
            }
            show::print(table, &[]);
            Ok(())
        }
        Quota::Set { role, guarantee, limit, force } => {
            let mut config = json!({"role": role});
            for (name, text) in [("guarantees", guarantee), ("limits", limit)] {
                if let Some(text) = text {
                    config[name] = scalars(&text)?;
                }
            }
            let part = json!({"force": force, "quota_configs": [config]});
            change(cluster, options, "UPDATE_QUOTA", part, &format!("the quota of {role} is set")).await
        }
        Quota::Remove { role } => {
            let part = json!({"quota_configs": [{"role": role}]});
            change(cluster, options, "UPDATE_QUOTA", part, &format!("{role} has no quota any more")).await
        }
    }
}

/// `cpus:1;mem:64` as amounts by name.
fn scalars(text: &str) -> Result<Value, Failure> {
    let mut amounts = serde_json::Map::new();
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let bad = || Failure::Value(format!("'{part}' is no amount of a resource: expected e.g. cpus:2"));
        let (name, amount) = part.trim().split_once(':').ok_or_else(bad)?;
        let amount = amount.parse().ok().filter(|amount: &f64| amount.is_finite()).ok_or_else(bad)?;
        amounts.insert(name.to_owned(), json!({"value": amount}));
    }
    Ok(amounts.into())
}

async fn weight(cluster: &mut Cluster, options: &Options, verb: Weight) -> Result<(), Failure> {
    match verb {
        Weight::List => {
            let answer = cluster.ask("GET_WEIGHTS").await?;
            if options.json {
                show::json(&show::list(&answer, "weight_infos").iter().cloned().collect());
                return Ok(());
            }
            let mut table = show::table(&["ROLE", "WEIGHT"]);
            for info in show::list(&answer, "weight_infos") {
                table.add_row([show::text(info, "role"), show::text(info, "weight")]);
            }
            show::print(table, &[1]);
            Ok(())
        }
        Weight::Set { weight, .. } if !weight.is_finite() => {
            Err(Failure::Value(format!("'{weight}' is no weight: expected a number above 0")))
        }
        Weight::Set { role, weight } => {
            let part = json!({"weight_infos": [{"role": role, "weight": weight}]});
            change(cluster, options, "UPDATE_WEIGHTS", part, &format!("{role} weighs {weight}")).await
        }
    }
}

/// Resources as text, reserved for a role.
fn reserved(text: &str, role: &str, principal: Option<&str>) -> Result<Value, Failure> {
    let resources = Resources::parse(text, "*").map_err(|error| Failure::Value(format!("'{text}': {error}")))?;
    let mut reservation = json!({"type": "DYNAMIC", "role": role});
    if let Some(principal) = principal {
        reservation["principal"] = principal.into();
    }
    let mut out: Vec<Value> = resources.to_protos().iter().map(to_json_value).collect();
    out.iter_mut().for_each(|resource| resource["reservations"] = json!([reservation]));
    Ok(out.into())
}

async fn volume(cluster: &mut Cluster, options: &Options, verb: Volume) -> Result<(), Failure> {
    match verb {
        // Less is nothing in the fixed point of resources.
        Volume::Create { size, .. } if !(0.001..=f64::MAX).contains(&size) => {
            Err(Failure::Value(format!("--size={size} is no size of a volume: expected a number of MB above 0")))
        }
        Volume::Create { agent, id, path, size, role, principal } => {
            let agent = agent_id(cluster, &agent).await?;
            let mut volumes = reserved(&format!("disk:{size}"), &role, principal.as_deref())?;
            let mut persistence = json!({"id": id});
            if let Some(principal) = principal {
                persistence["principal"] = principal.into();
            }
            volumes[0]["disk"] = json!({"persistence": persistence, "volume": {"mode": "RW", "container_path": path}});
            let part = json!({"agent_id": {"value": agent}, "volumes": volumes});
            change(cluster, options, "CREATE_VOLUMES", part, &format!("the volume {id} is created")).await
        }
        Volume::Destroy { agent, id, yes } => {
            super::confirm(&format!("the volume {id} and all that is in it will be destroyed"), yes)?;
            let agents = cluster.get("/slaves").await?;
            let agent = show::one("agent", show::list(&agents, "slaves"), &agent)?;
            let volume = volumes_of(agent)
                .find(|volume| volume.pointer("/disk/persistence/id").and_then(Value::as_str) == Some(id.as_str()));
            let Some(volume) = volume else {
                return Err(Failure::Unknown { what: "volume", id, hint: " (`mezzo volume list` shows all)".into() });
            };
            let part = json!({"agent_id": {"value": show::text(agent, "id")}, "volumes": [volume]});
            change(cluster, options, "DESTROY_VOLUMES", part, &format!("the volume {id} is destroyed")).await
        }
        Volume::List => {
            let agents = cluster.get("/slaves").await?;
            let mut all = Vec::new();
            for agent in show::list(&agents, "slaves") {
                all.extend(volumes_of(agent).map(|volume| json!({"agent_id": agent["id"], "volume": volume})));
            }
            if options.json {
                show::json(&all.into());
                return Ok(());
            }
            let mut table = show::table(&["VOLUME", "AGENT", "ROLE", "MB", "PATH"]);
            for entry in &all {
                let volume = &entry["volume"];
                let at = |pointer: &str| volume.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
                let role = show::list(volume, "reservations").last().map(|last| show::text(last, "role"));
                table.add_row([
                    at("/disk/persistence/id"),
                    show::text(entry, "agent_id"),
                    role.unwrap_or_default(),
                    show::number(volume["scalar"]["value"].as_f64().unwrap_or_default()),
                    at("/disk/volume/container_path"),
                ]);
            }
            show::print(table, &[3]);
            Ok(())
        }
    }
}

/// Persistent volumes of an agent as `/slaves` shows it.
fn volumes_of(agent: &Value) -> impl Iterator<Item = &Value> {
    let by_role = agent["reserved_resources_full"].as_object().into_iter().flatten();
    let all = by_role.flat_map(|(_, resources)| resources.as_array().into_iter().flatten());
    all.filter(|resource| resource.pointer("/disk/persistence/id").is_some())
}

async fn maintenance(cluster: &mut Cluster, options: &Options, verb: Maintenance) -> Result<(), Failure> {
    match verb {
        Maintenance::Status => {
            let status = cluster.get("/maintenance/status").await?;
            let schedule = cluster.get("/maintenance/schedule").await?;
            if options.json {
                show::json(&json!({"status": status, "schedule": schedule}));
                return Ok(());
            }
            let mut table = show::table(&["MACHINE", "STATE", "BEGIN (UTC)", "FOR"]);
            let down: Vec<String> = show::list(&status, "down_machines").iter().map(machine_name).collect();
            for window in show::list(&schedule, "windows") {
                let seconds = |pointer: &str| window.pointer(pointer).and_then(Value::as_f64).map(|nanos| nanos / 1e9);
                for machine in show::list(window, "machine_ids").iter().map(machine_name) {
                    let state = if down.contains(&machine) { "down" } else { "draining" };
                    let duration = seconds("/unavailability/duration/nanoseconds");
                    table.add_row([
                        machine.clone(),
                        state.to_owned(),
                        show::moment(seconds("/unavailability/start/nanoseconds").unwrap_or_default()),
                        duration.map_or_else(|| "until it is stopped".to_owned(), |seconds| format!("{seconds} s")),
                    ]);
                }
            }
            show::print(table, &[]);
            Ok(())
        }
        Maintenance::Schedule { file } => {
            let mut text = String::new();
            if file.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text)?;
            } else {
                let bad = |error| Failure::Value(format!("{} cannot be read: {error}", file.display()));
                text = std::fs::read_to_string(&file).map_err(bad)?;
            }
            let schedule: Value =
                serde_json::from_str(&text).map_err(|error| Failure::Value(format!("{}: {error}", file.display())))?;
            let part = json!({"schedule": schedule});
            change(cluster, options, "UPDATE_MAINTENANCE_SCHEDULE", part, "the schedule is set").await
        }
        Maintenance::Plan { machines, start, duration } => {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let begin = nanoseconds("--in", &start, since_epoch)?;
            let duration = duration.map(|text| nanoseconds("--for", &text, Duration::ZERO)).transpose()?;
            let mut schedule = cluster.get("/maintenance/schedule").await?;
            let mut unavailability = json!({"start": {"nanoseconds": begin}});
            if let Some(length) = duration {
                unavailability["duration"] = json!({"nanoseconds": length});
            }
            let window = json!({"machine_ids": machine_ids(&machines), "unavailability": unavailability});
            match schedule.get_mut("windows").and_then(Value::as_array_mut) {
                Some(windows) => windows.push(window),
                None => schedule["windows"] = json!([window]),
            }
            let part = json!({"schedule": schedule});
            change(cluster, options, "UPDATE_MAINTENANCE_SCHEDULE", part, "the maintenance is planned").await
        }
        Maintenance::Start { machines } => {
            let part = json!({"machines": machine_ids(&machines)});
            change(cluster, options, "START_MAINTENANCE", part, "the machines are down").await
        }
        Maintenance::Stop { machines } => {
            let part = json!({"machines": machine_ids(&machines)});
            change(cluster, options, "STOP_MAINTENANCE", part, "the machines are up").await
        }
    }
}

/// A duration as the protocol counts it, and what there was before it.
fn nanoseconds(flag: &str, text: &str, before: Duration) -> Result<i64, Failure> {
    let length = parse_duration(text).map_err(|error| Failure::Value(format!("{flag}: {error}")))?;
    let whole = before.checked_add(length).and_then(|whole| i64::try_from(whole.as_nanos()).ok());
    whole.ok_or_else(|| Failure::Value(format!("{flag}: '{text}' is too long")))
}

/// `host`, `ip`, or `host/ip`.
fn machine_ids(machines: &[String]) -> Value {
    let id = |text: &String| match text.split_once('/') {
        Some((host, ip)) => json!({"hostname": host, "ip": ip}),
        None if text.parse::<std::net::IpAddr>().is_ok() => json!({"ip": text}),
        None => json!({"hostname": text}),
    };
    machines.iter().map(id).collect()
}

fn machine_name(machine: &Value) -> String {
    let (host, ip) = (show::text(machine, "hostname"), show::text(machine, "ip"));
    [host, ip].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_read_as_flags_have_them() {
        let reserved = reserved("cpus:1;mem:64", "ops", Some("me")).unwrap();
        assert_eq!(reserved.as_array().unwrap().len(), 2);
        let reservation = json!([{"type": "DYNAMIC", "role": "ops", "principal": "me"}]);
        assert!(reserved.as_array().unwrap().iter().all(|resource| resource["reservations"] == reservation));
        assert!(super::reserved("cpus", "ops", None).is_err());
        assert_eq!(scalars("cpus:1.5;mem:64").unwrap(), json!({"cpus": {"value": 1.5}, "mem": {"value": 64.0}}));
        assert!(scalars("cpus").is_err() && scalars("cpus:x").is_err() && scalars("cpus:nan").is_err());
    }

    #[test]
    fn machines_are_hosts_addresses_or_both() {
        let machines = ["a".to_owned(), "10.0.0.1".to_owned(), "b/10.0.0.2".to_owned()];
        let ids = machine_ids(&machines);
        assert_eq!(ids, json!([{"hostname": "a"}, {"ip": "10.0.0.1"}, {"hostname": "b", "ip": "10.0.0.2"}]));
        assert_eq!(ids.as_array().unwrap().iter().map(machine_name).collect::<Vec<_>>(), machines);
    }

    #[test]
    fn bounds_are_ranges() {
        let text = bounds(&json!({"cpus": {"value": 1.0}}), &json!({"cpus": 2.0, "mem": 100.0}));
        assert_eq!(text, "cpus:1-2 mem:-100");
    }
}
