//! Weights of roles (src/master/weights_handler.cpp).

use mezzo_api::{roles, time::Now, v1::WeightInfo};

use crate::{
    core::Core,
    effect::{Answer, Change, Effect, Effects},
    input::RequestId,
    registry::RegistryOp,
    writes::Pending,
};

/// Weights that wait for the registry.
#[derive(Debug)]
pub(crate) struct Weighed {
    request: RequestId,
    weights: Vec<(String, f64)>,
}

impl Weighed {
    /// Who waits for it.
    pub(crate) fn request(&self) -> RequestId {
        self.request
    }
}

impl Core {
    pub(crate) fn update_weights(&mut self, request: RequestId, infos: &[WeightInfo], out: &mut Effects) {
        match infos.iter().map(|info| self.validate_weight(info)).collect::<Result<Vec<_>, String>>() {
            Err(text) => out.push(Effect::Reply(request, Answer::new(400, text))),
            Ok(weights) => {
                let ops = weights.iter().map(|(role, weight)| RegistryOp::PutWeight(role.clone(), *weight)).collect();
                self.write(ops, Pending::Weights(Weighed { request, weights }), out);
            }
        }
    }

    fn validate_weight(&self, info: &WeightInfo) -> Result<(String, f64), String> {
        const FAILED: &str = "Failed to validate update weights request JSON";
        let role = info.role().trim();
        roles::validate(role).map_err(|error| format!("{FAILED}: Invalid role '{role}': {error}"))?;
        if !self.is_whitelisted(role) {
            return Err(format!("{FAILED}: Unknown role '{role}'"));
        }
        let weight = info.weight;
        if weight.is_finite() && weight > 0.0 {
            return Ok((role.to_owned(), weight));
        }
        Err(format!("{FAILED} for role '{role}': Invalid weight '{weight}': Weights must be positive"))
    }

    /// It is durable. Offers that were made by other weights are void.
    pub(crate) fn weigh(&mut self, now: Now, weighed: Weighed, out: &mut Effects) {
        let Weighed { request, weights } = weighed;
        for (role, weight) in &weights {
            tracing::info!(role, weight, "weight changed");
            self.weights.insert(role.clone(), *weight);
            self.allocator.set_weight(now.mono, role, *weight);
            out.push(Effect::Publish(Change::Weight(role.clone(), *weight)));
        }
        let known = |role: &String| self.frameworks.slots.values().any(|framework| framework.roles.contains(role));
        if weights.iter().any(|(role, _)| known(role)) {
            let agents: Vec<_> = self.agents.slots.keys().collect();
            agents.into_iter().for_each(|agent| self.rescind_offers_of_agent(now, agent, out));
        }
        out.push(Effect::Reply(request, Answer::new(200, "")));
    }

    /// Whether roles are free, or this is one of those that are allowed.
    pub(crate) fn is_whitelisted(&self, role: &str) -> bool {
        self.config.roles.as_ref().is_none_or(|roles| role == "*" || roles.iter().any(|allowed| allowed == role))
    }
}
