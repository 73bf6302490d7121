//! The cluster at a glance.

use std::collections::BTreeMap;

use mezzo_api::{MESOS_VERSION, resources::Scalar};
use mezzo_master_core::model::FrameworkState;
use serde::Serialize;
use serde_json::json;

use super::{
    super::{Master, View, document::Document, roles::uses},
    agents::state,
    amounts::Use,
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
