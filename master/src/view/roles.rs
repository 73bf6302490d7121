//! Roles: who uses what under which name, descendants included (src/master/readonly_handler.cpp, RoleResourceBreakdown).

use std::collections::{BTreeMap, BTreeSet};

use mezzo_api::{
    resources::{Resources, Scalar},
    roles::ancestors,
};
use serde_json::{Map, Value, json};

use super::{View, document::Document, frameworks::is_multi_role};

/// Amounts by resource name.
type Quantities = BTreeMap<String, Scalar>;

/// One role.
#[derive(Debug, Default)]
pub(super) struct RoleUse {
    pub(super) frameworks: BTreeSet<String>,
    pub(super) allocated: Quantities,
    pub(super) offered: Quantities,
    reserved: Quantities,
    /// Of reservations, what is allocated: it counts once in what the role consumes.
    reserved_allocated: Quantities,
}

/// `/roles`.
pub(crate) fn roles(view: &View, whitelist: Option<&[String]>) -> Vec<u8> {
    let mut known = uses(view);
    if let Some(whitelist) = whitelist {
        known.retain(|role, _| whitelist.contains(role));
        for role in whitelist {
            known.entry(role.clone()).or_default();
        }
    }
    let mut document = Document::default();
    document.list("roles", known.iter().map(|(name, used)| role(name, used)));
    document.end()
}

/// All roles with frameworks, allocations or reservations, and their ancestors.
pub(super) fn uses(view: &View) -> BTreeMap<String, RoleUse> {
    let mut roles: BTreeMap<String, RoleUse> = BTreeMap::new();
    for framework in view.present_frameworks() {
        let info = &framework.info;
        #[allow(deprecated)] // the role of frameworks without MULTI_ROLE
        let own = if is_multi_role(info) { info.roles.clone() } else { vec![info.role().to_owned()] };
        for role in own {
            for ancestor in ancestors(&role) {
                roles.entry(ancestor.to_owned()).or_default();
            }
            roles.entry(role).or_default().frameworks.insert(framework.id.to_string());
        }
    }
    for agent in view.agents.values() {
        for (role, resources) in agent.total.reserved() {
            add(&mut roles, &role, &resources, |used| &mut used.reserved);
        }
        for (role, resources) in agent.used.allocations() {
            add(&mut roles, &role, &resources, |used| &mut used.allocated);
        }
        for (role, resources) in agent.offered.allocations() {
            add(&mut roles, &role, &resources, |used| &mut used.offered);
        }
        for (role, resources) in agent.used.reserved() {
            add(&mut roles, &role, &resources, |used| &mut used.reserved_allocated);
        }
    }
    roles
}

fn add(
    roles: &mut BTreeMap<String, RoleUse>,
    role: &str,
    resources: &Resources,
    which: impl Fn(&mut RoleUse) -> &mut Quantities,
) {
    for name in ancestors(role).chain([role]) {
        let quantities = which(roles.entry(name.to_owned()).or_default());
        for (resource, amount) in resources.quantities() {
            *quantities.entry(resource.to_owned()).or_default() += amount;
        }
    }
}

fn role(name: &str, used: &RoleUse) -> Value {
    json!({
        "name": name,
        "weight": 1.0,
        "quota": { "role": name, "guarantee": {}, "limit": {}, "consumed": shown(&consumed(used)) },
        "resources": shown(&plus(&used.allocated, &used.offered)),
        "allocated": shown(&used.allocated),
        "offered": shown(&used.offered),
        "reserved": shown(&used.reserved),
        "frameworks": used.frameworks,
    })
}

/// What is allocated, and what is reserved and not allocated.
fn consumed(used: &RoleUse) -> Quantities {
    minus(&plus(&used.allocated, &used.reserved), &used.reserved_allocated)
}

/// Amounts together.
pub(super) fn plus(a: &Quantities, b: &Quantities) -> Quantities {
    let mut sum = a.clone();
    for (name, amount) in b {
        *sum.entry(name.clone()).or_default() += *amount;
    }
    sum
}

fn minus(a: &Quantities, b: &Quantities) -> Quantities {
    let mut rest = a.clone();
    for (name, amount) in b {
        if let Some(left) = rest.get_mut(name) {
            *left -= *amount;
        }
    }
    rest.retain(|_, amount| *amount > Scalar::ZERO);
    rest
}

fn shown(quantities: &Quantities) -> Map<String, Value> {
    quantities.iter().map(|(name, amount)| (name.clone(), amount.as_f64().into())).collect()
}
