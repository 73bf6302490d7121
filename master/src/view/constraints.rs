//! `/allocator/offer_constraints_debug`: which agents frameworks' offer constraints leave out
//! (src/master/allocator/mesos/hierarchical.cpp, offerConstraintsDebug).

use std::collections::BTreeSet;

use mezzo_master_core::{ConstraintFilter, model::Framework};
use serde_json::{Map, Value, json};

use super::{View, roles_of};

/// By framework and role, with the roles that each has suppressed.
pub(crate) fn offer_constraints(view: &View) -> Vec<u8> {
    let frameworks: Map<String, Value> =
        view.present_frameworks().map(|framework| (framework.id.to_string(), of_framework(view, framework))).collect();
    json!({ "frameworks": frameworks }).to_string().into_bytes()
}

fn of_framework(view: &View, framework: &Framework) -> Value {
    let filter = ConstraintFilter::of(framework);
    let roles: BTreeSet<String> = roles_of(&framework.info).into_iter().collect();
    let excluded: Map<String, Value> = roles
        .into_iter()
        .map(|role| {
            let agents = filter.as_ref().map(|filter| excluded(view, filter, &role)).unwrap_or_default();
            (role, json!(agents))
        })
        .collect();
    json!({
        "suppressed_roles": framework.suppressed_roles,
        "excluded_by_attribute_constraints": excluded,
    })
}

fn excluded<'a>(view: &'a View, filter: &ConstraintFilter, role: &str) -> Vec<&'a str> {
    let agents = view.agents.values().filter(|agent| !filter.allows(role, &agent.info));
    agents.map(|agent| agent.id.as_str()).collect()
}
