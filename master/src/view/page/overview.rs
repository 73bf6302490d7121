//! The cluster at a glance.

use std::collections::BTreeMap;

use mezzo_api::{MESOS_VERSION, resources::Scalar};
use mezzo_master_core::model::FrameworkState;
use serde::Serialize;
use serde_json::json;

use super::{
    super::{Master, View, document::Document, roles::uses},
    activity::Sample,
    agents::state,
    amounts::{Amounts, Use},
    list::place,
};

/// Events that the first page shows.
const EVENTS: usize = 60;

#[derive(Default, Serialize)]
struct Zone<'a> {
    region: &'a str,
    zone: &'a str,
    agents: u64,
    #[serde(flatten)]
    resources: Use,
}

#[derive(Serialize)]
struct Role {
    name: String,
    frameworks: usize,
    used: BTreeMap<String, f64>,
    offered: BTreeMap<String, f64>,
}

/// `/ui/overview`
pub(crate) fn overview(view: &View, master: Master<'_>) -> Vec<u8> {
    let (identity, flags) = (master.identity, master.flags);
    let mut zones: BTreeMap<(&str, &str), Zone<'_>> = BTreeMap::new();
    let mut agents: BTreeMap<&str, u64> = BTreeMap::new();
    for agent in view.agents.values() {
        let (region, name) = place(&agent.info);
        let zone = zones.entry((region, name)).or_default();
        (zone.region, zone.zone) = (region, name);
        zone.agents += 1;
        zone.resources += Use::of(agent);
        *agents.entry(state(agent)).or_default() += 1;
    }
    let mut frameworks: BTreeMap<&str, u64> = BTreeMap::new();
    for framework in view.frameworks.values() {
        let name = match framework.state {
            FrameworkState::Active => "active",
            FrameworkState::Disconnected => "disconnected",
            FrameworkState::Recovered => "recovered",
            FrameworkState::Completed => "completed",
        };
        *frameworks.entry(name).or_default() += 1;
    }
    let roles = uses(view).into_iter().map(|(name, used)| Role {
        name,
        frameworks: used.frameworks.len(),
        used: shown(&used.allocated),
        offered: shown(&used.offered),
    });
    let mut document = Document::default();
    document
        .member("version", &view.version)
        .member("hostname", &identity.hostname())
        .optional("cluster", flags.cluster.as_ref())
        .member("mesos_version", &MESOS_VERSION)
        .member("mezzo_version", &mezzo_api::MEZZO_VERSION)
        .member(
            "leader",
            &json!({
                "id": identity.id(), "address": identity.authority(), "pid": identity.pid(),
                "start_time": identity.start_time, "elected_time": identity.elected_time,
            }),
        )
        .member("now", &view.sample())
        .member("agents", &agents)
        .member("recovered", &view.recovered.len())
        .member("unreachable", &view.unreachable.len())
        .member("frameworks", &frameworks)
        .member("states", &view.activity.states())
        .member("offers", &view.offers.len())
        .list("zones", zones.values())
        .list("roles", roles)
        .list("events", view.activity.latest(EVENTS));
    document.end()
}

fn shown(quantities: &BTreeMap<String, Scalar>) -> BTreeMap<String, f64> {
    quantities.iter().map(|(name, amount)| (name.clone(), amount.as_f64())).collect()
}

/// `/ui/history`: the last hour in samples, each an array whose members [`COLUMNS`] names.
pub(crate) fn history(samples: &[Sample]) -> Vec<u8> {
    let mut document = Document::default();
    document.list("columns", COLUMNS).list("rows", samples.iter().map(columns));
    document.end()
}

const COLUMNS: [&str; 17] = [
    "time",
    "cpus",
    "cpus_used",
    "cpus_offered",
    "gpus",
    "gpus_used",
    "gpus_offered",
    "mem",
    "mem_used",
    "mem_offered",
    "disk",
    "disk_used",
    "disk_offered",
    "running",
    "waiting",
    "started",
    "ended",
];

#[allow(clippy::cast_precision_loss)] // counts, to be drawn
fn columns(sample: &Sample) -> [f64; 17] {
    let Use { total, used, offered } = &sample.resources;
    let three = |amount: fn(&Amounts) -> Scalar| [amount(total), amount(used), amount(offered)].map(Scalar::as_f64);
    let [cpus, cpus_used, cpus_offered] = three(|amounts| amounts.cpus);
    let [gpus, gpus_used, gpus_offered] = three(|amounts| amounts.gpus);
    let [mem, mem_used, mem_offered] = three(|amounts| amounts.mem);
    let [disk, disk_used, disk_offered] = three(|amounts| amounts.disk);
    let counts = [sample.running, sample.waiting, sample.started, sample.ended].map(|count| count as f64);
    [
        sample.time.round(),
        cpus,
        cpus_used,
        cpus_offered,
        gpus,
        gpus_used,
        gpus_offered,
        mem,
        mem_used,
        mem_offered,
        disk,
        disk_used,
        disk_offered,
        counts[0],
        counts[1],
        counts[2],
        counts[3],
    ]
}
