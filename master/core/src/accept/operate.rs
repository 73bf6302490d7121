//! Operations on what the offers hold: the result is there for the operations after it (src/master/master.cpp, _accept).

use mezzo_api::{
    resources::{Conversion, ConversionError, Resources, conversions},
    time::Now,
    v1::{
        agent_info::capability,
        offer::{Operation, operation},
    },
};

use super::Ground;
use crate::{
    allocator::unallocated,
    core::Core,
    effect::Effects,
    keys::{AgentKey, OfferNumber},
    validate::{
        Invalid,
        operation::{Petition, validate},
    },
};

impl Core {
    pub(super) fn operate(&mut self, now: Now, ground: &mut Ground, operation: Operation, out: &mut Effects) {
        let conversions = match self.admit_operation(ground, &operation) {
            Ok(conversions) => conversions,
            Err(Invalid(message)) => {
                tracing::info!(operation = operation.r#type().as_str_name(), message, "refused an operation");
                self.refuse_operation(ground.framework, &operation, message, out);
                return;
            }
        };
        if operation.r#type() == operation::Type::Destroy {
            // Others were offered a share of it.
            self.rescind_offers_of_volumes(now, ground.agent, &conversions, out);
        }
        if let Err(Invalid(message)) = take(ground, operation.r#type(), &conversions) {
            self.refuse_operation(ground.framework, &operation, message, out);
            return;
        }
        ground.progressed = true;
        for conversion in &conversions {
            self.convert(now, ground.framework, ground.agent, conversion);
        }
        self.begin_operation(Some(ground.framework), ground.agent, operation, out);
    }

    fn admit_operation(&self, ground: &Ground, operation: &Operation) -> Result<Vec<Conversion>, Invalid> {
        let gone = || Invalid::new("Agent removed");
        let framework = self.frameworks.get(ground.framework).ok_or_else(gone)?;
        let agent = self.agents.get(ground.agent).ok_or_else(gone)?;
        let able = |kind| agent.capabilities.contains(&kind);
        if operation.id.is_some()
            && !(able(capability::Type::ResourceProvider) && able(capability::Type::AgentOperationFeedback))
        {
            return Err(Invalid(format!(
                "Operation on agent default resources requested feedback, but agent {} does not have the required \
                 AGENT_OPERATION_FEEDBACK and RESOURCE_PROVIDER capabilities",
                agent.id
            )));
        }
        let petition = Petition {
            framework: Some(framework),
            principal: framework.info.principal.as_deref(),
            capabilities: &agent.capabilities,
            total: &agent.total,
            used: &agent.used,
        };
        validate(operation, &petition)
            .map_err(|Invalid(text)| Invalid(format!("{text}; on agent {}", agent.display())))?;
        conversions(operation).map_err(|error| Invalid(error.to_string()))
    }

    fn rescind_offers_of_volumes(&mut self, now: Now, key: AgentKey, conversions: &[Conversion], out: &mut Effects) {
        let volumes: Vec<Resources> = conversions.iter().map(|conversion| unallocated(&conversion.consumed)).collect();
        let has_one = |number: &OfferNumber| {
            let offered = self.offers.get(*number).map(|offer| unallocated(&offer.view.resources));
            offered.is_some_and(|offered| volumes.iter().any(|volume| offered.contains(volume)))
        };
        let offers: Vec<OfferNumber> =
            self.agents.get(key).into_iter().flat_map(|agent| &agent.offers).copied().filter(has_one).collect();
        offers.into_iter().for_each(|offer| self.rescind_offer(now, offer, out));
    }
}

/// Takes what an operation consumes out of what is left of the offers, and puts in what comes of it. A volume of another
/// size is of use only in the next offer.
fn take(ground: &mut Ground, kind: operation::Type, conversions: &[Conversion]) -> Result<(), Invalid> {
    match kind {
        operation::Type::GrowVolume | operation::Type::ShrinkVolume => {
            for conversion in conversions {
                if !ground.remaining.contains(&conversion.consumed) {
                    let error = ConversionError::NotContained {
                        held: Box::new(ground.remaining.clone()),
                        consumed: Box::new(conversion.consumed.clone()),
                    };
                    return Err(Invalid(format!("Invalid {} operation: {error}", kind.as_str_name())));
                }
                ground.remaining -= &conversion.consumed;
                ground.resized += &conversion.converted;
            }
        }
        _ => {
            ground.remaining = ground.remaining.apply_all(conversions).map_err(|error| Invalid(error.to_string()))?;
        }
    }
    Ok(())
}
