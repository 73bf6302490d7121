//! Which of an agent's resources a client may have.

use mezzo_api::resources::{Resource, Resources, Scalar};

use super::{Agent, Allocator, Framework, Minimum, clients::Client};

/// Alternatives of names and amounts, as the core's settings give them.
pub(super) fn minima(alternatives: &[Vec<(String, f64)>]) -> Vec<Minimum> {
    let read = |alternative: &Vec<(String, f64)>| {
        alternative.iter().map(|(name, amount)| (name.clone(), Scalar::from_f64(*amount))).collect()
    };
    alternatives.iter().map(read).collect()
}

/// Whether any alternative is met; with none, anything goes.
fn meets(resources: &Resources, alternatives: &[Minimum]) -> bool {
    if resources.is_empty() {
        return false;
    }
    alternatives.is_empty()
        || alternatives
            .iter()
            .any(|alternative| alternative.iter().all(|(name, amount)| resources.scalar(name) >= *amount))
}

impl Allocator {
    /// What of the agent may be offered to the client, if anything.
    pub(super) fn offerable(&self, agent: &Agent, framework: &Framework, client: &Client) -> Option<Resources> {
        let options = &framework.options;
        if agent.has_gpus && self.filter_gpus && !options.capabilities.gpu_resources {
            return None;
        }
        if self.is_remote(agent) && !options.capabilities.region_aware {
            return None;
        }
        if options.constraints.as_ref().is_some_and(|constraints| !constraints.allows(&client.role, &agent.info)) {
            return None;
        }
        let offer = if agent.plain {
            agent.available.clone()
        } else {
            agent.available.filter(|resource| is_for(resource, framework, &client.role))
        };
        let minimum = options.min_allocatable.get(&client.role).unwrap_or(&self.min_allocatable);
        meets(&offer, minimum).then_some(offer)
    }

    /// In another region than the master's (src/master/allocator/mesos/hierarchical.cpp, isRemoteSlave).
    fn is_remote(&self, agent: &Agent) -> bool {
        let domain = agent.info.domain.as_ref().and_then(|domain| domain.fault_domain.as_ref());
        domain.is_some_and(|domain| self.region.as_ref().is_some_and(|region| *region != domain.region.name))
    }
}

fn is_for(resource: &Resource, framework: &Framework, role: &str) -> bool {
    let capabilities = &framework.options.capabilities;
    resource.is_allocatable_to(role)
        && (capabilities.reservation_refinement || !resource.has_refined_reservations())
        && (capabilities.revocable_resources || !resource.is_revocable())
        && (capabilities.shared_resources || !resource.is_shared())
}
