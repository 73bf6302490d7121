//! The picture as messages of the operator API (src/master/readonly_handler.cpp).

use std::sync::Arc;

use mezzo_api::{
    resources::Resource,
    v1::{
        self,
        master::response::{GetRoles, get_agents, get_executors, get_frameworks},
    },
};
use mezzo_master_core::model::{Agent, Executor, Framework, FrameworkState, InverseOffer, Offer};

use super::{
    View,
    agents::pid,
    roles::{plus, uses, weight},
};

/// One executor.
pub(super) fn executor(executor: &Executor) -> get_executors::Executor {
    get_executors::Executor { executor_info: (*executor.info).clone(), agent_id: executor.agent_id.proto() }
}

/// GET_ROLES.
pub(crate) fn get_roles(view: &View) -> GetRoles {
    let roles = uses(view).into_iter().map(|(name, used)| v1::Role {
        weight: weight(view, &name),
        name,
        frameworks: used.frameworks.into_iter().map(|value| v1::FrameworkId { value }).collect(),
        resources: plus(&used.allocated, &used.offered)
            .into_iter()
            .map(|(name, amount)| Resource::scalar(&name, amount).to_proto())
            .collect(),
    });
    GetRoles { roles: roles.collect() }
}

/// One agent.
pub(super) fn agent(agent: &Agent) -> get_agents::Agent {
    let capability =
        |kind: &v1::agent_info::capability::Type| v1::agent_info::Capability { r#type: Some(*kind as i32) };
    get_agents::Agent {
        agent_info: agent.info.message(),
        active: agent.active,
        deactivated: Some(agent.standing.deactivated),
        drain_info: agent.standing.drain,
        // Whole seconds, as Mesos has them.
        estimated_drain_start_time: agent.drain_began.map(|began| time(began.floor())),
        version: agent.version.clone(),
        pid: Some(pid(agent)),
        registered_time: Some(time(agent.registered_time)),
        reregistered_time: agent.reregistered_time.map(time),
        total_resources: agent.total.to_endpoint_protos(),
        allocated_resources: agent.used.to_endpoint_protos(),
        offered_resources: agent.offered.to_endpoint_protos(),
        capabilities: agent.capabilities.iter().map(capability).collect(),
        ..get_agents::Agent::default()
    }
}

/// One framework with what it holds.
pub(super) fn framework(view: &View, framework: &Arc<Framework>) -> get_frameworks::Framework {
    let active = framework.state == FrameworkState::Active;
    let some_time = |seconds: f64| (seconds != 0.0).then(|| time(seconds));
    let offers = view.offers.values().filter(|offer| offer.framework_id == framework.id);
    let inverse_offers = view.inverse_offers.values().filter(|offer| offer.framework_id == framework.id);
    get_frameworks::Framework {
        framework_info: (*framework.info).clone(),
        active,
        connected: active,
        recovered: framework.state == FrameworkState::Recovered,
        registered_time: some_time(framework.registered_time),
        reregistered_time: some_time(framework.reregistered_time),
        unregistered_time: some_time(framework.unregistered_time),
        offers: offers.map(|shown| offer(view, shown)).collect(),
        inverse_offers: inverse_offers.map(|shown| inverse_offer(shown)).collect(),
        allocated_resources: framework.used.to_endpoint_protos(),
        offered_resources: framework.offered.to_endpoint_protos(),
        offer_constraints: Some(framework.offer_constraints.as_deref().cloned().unwrap_or_default()),
    }
}

/// A framework as events tell of it: without what it holds, with all of its times (src/common/protobuf_utils.cpp,
/// createFrameworkAdded).
pub(super) fn announced_framework(framework: &Framework) -> get_frameworks::Framework {
    let active = framework.state == FrameworkState::Active;
    get_frameworks::Framework {
        framework_info: (*framework.info).clone(),
        active,
        connected: active,
        recovered: framework.state == FrameworkState::Recovered,
        registered_time: Some(time(framework.registered_time)),
        reregistered_time: Some(time(framework.reregistered_time)),
        unregistered_time: Some(time(framework.unregistered_time)),
        ..get_frameworks::Framework::default()
    }
}

fn offer(view: &View, offer: &Offer) -> v1::Offer {
    let agent = view.agents.get(&offer.agent_id);
    v1::Offer {
        id: offer.id.proto(),
        framework_id: offer.framework_id.proto(),
        agent_id: offer.agent_id.proto(),
        hostname: agent.map(|agent| agent.info.hostname().to_owned()).unwrap_or_default(),
        resources: offer.resources.to_endpoint_protos(),
        attributes: agent.map(|agent| agent.info.attributes().to_vec()).unwrap_or_default(),
        allocation_info: Some(v1::resource::AllocationInfo { role: Some(offer.role.to_string()) }),
        ..v1::Offer::default()
    }
}

fn inverse_offer(offer: &InverseOffer) -> v1::InverseOffer {
    v1::InverseOffer {
        id: offer.id.proto(),
        framework_id: offer.framework_id.proto(),
        agent_id: Some(offer.agent_id.proto()),
        unavailability: offer.unavailability,
        ..v1::InverseOffer::default()
    }
}

fn time(seconds: f64) -> v1::TimeInfo {
    #[allow(clippy::cast_possible_truncation)] // times of this century fit
    v1::TimeInfo { nanoseconds: (seconds * 1e9) as i64 }
}
