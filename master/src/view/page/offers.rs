//! Outstanding offers.

use mezzo_master_core::model::Offer;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    super::{View, document::Document},
    amounts::Amounts,
    list::{Key, Wanted},
};

#[derive(Serialize)]
struct Row<'a> {
    id: &'a str,
    role: &'a str,
    framework_id: &'a str,
    framework: &'a str,
    agent_id: &'a str,
    host: &'a str,
    amounts: Amounts,
    resources: Map<String, Value>,
}

/// `/ui/offers`
pub(crate) fn offers(view: &View, wanted: &Wanted) -> Vec<u8> {
    let mut fitting = Vec::new();
    for offer in view.offers.values() {
        if wanted.fits(&[offer.id.as_str(), &offer.role, framework(view, offer), host(view, offer)]) {
            fitting.push(((key(view, offer, &wanted.sort), offer.id.clone()), offer));
        }
    }
    let total = fitting.len();
    let mut document = Document::default();
    document.member("version", &view.version).member("total", &total);
    document.list("rows", wanted.part(fitting).into_iter().map(|offer| row(view, offer)));
    document.end()
}

fn key(view: &View, offer: &Offer, sort: &str) -> Key {
    match sort {
        "role" => Key::Text(offer.role.to_string()),
        "framework" => Key::Text(framework(view, offer).to_owned()),
        "cpus" => Key::Number(Amounts::of(&offer.resources).cpus.as_f64()),
        "mem" => Key::Number(Amounts::of(&offer.resources).mem.as_f64()),
        "id" => Key::Text(offer.id.to_string()),
        _ => Key::Text(host(view, offer).to_owned()),
    }
}

fn row<'a>(view: &'a View, offer: &'a Offer) -> Row<'a> {
    Row {
        id: offer.id.as_str(),
        role: &offer.role,
        framework_id: offer.framework_id.as_str(),
        framework: framework(view, offer),
        agent_id: offer.agent_id.as_str(),
        host: host(view, offer),
        amounts: Amounts::of(&offer.resources),
        resources: offer.resources.summary(),
    }
}

fn framework<'a>(view: &'a View, offer: &Offer) -> &'a str {
    view.frameworks.get(&offer.framework_id).map_or("", |framework| framework.info.name.as_str())
}

fn host<'a>(view: &'a View, offer: &Offer) -> &'a str {
    view.agents.get(&offer.agent_id).map_or("", |agent| agent.info.hostname())
}
