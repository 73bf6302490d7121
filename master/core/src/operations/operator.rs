//! Reservations and volumes by operators (src/master/http.cpp, _operation): offers that stand in the way are rescinded.

use mezzo_api::{
    resources::{Conversion, Resources, conversions},
    time::Now,
    v1::offer::{Operation, operation},
};

use crate::{
    accept::validate_form,
    allocator::{refusal, unallocated},
    core::Core,
    effect::{Answer, Effects},
    keys::{AgentKey, OfferNumber},
    validate::{
        Invalid,
        operation::{Petition, validate},
    },
};

impl Core {
    /// Carries out an operation for an operator; the answer is one at once.
    pub(crate) fn on_operator_operation(
        &mut self,
        now: Now,
        agent_id: &str,
        principal: Option<&str>,
        operation: Operation,
        out: &mut Effects,
    ) -> Answer {
        let (key, conversions) = match self.admit_operator_operation(agent_id, principal, &operation) {
            Ok(admitted) => admitted,
            Err(answer) => return answer,
        };
        self.rescind_for(now, key, &conversions, out);
        let Some(agent) = self.agents.get(key) else { return Answer::new(400, "No agent found with specified ID") };
        if agent.link.is_none() {
            return Answer::new(409, format!("Agent {} is not connected", agent.id));
        }
        let free = &(&*agent.total - &unallocated(&agent.used)) - &unallocated(&agent.offered);
        if let Err(error) = free.apply_all(&conversions)
            && !mezzo_api::mutant!("volume-in-use-destroyed")
        {
            return Answer::new(409, error.to_string());
        }
        match agent.total.apply_all(&conversions) {
            Err(error) => Answer::new(409, error.to_string()),
            Ok(total) => {
                let total = std::sync::Arc::new(total);
                if let Some(agent) = self.agents.get_mut(key) {
                    agent.total = total.clone();
                }
                self.allocator.update_total(now.mono, key, total);
                self.dirty.agents.insert(key);
                self.begin_operation(None, key, operation, out);
                Answer::accepted()
            }
        }
    }

    fn admit_operator_operation(
        &self,
        agent_id: &str,
        principal: Option<&str>,
        operation: &Operation,
    ) -> Result<(AgentKey, Vec<Conversion>), Answer> {
        let key = self.agents.find(agent_id).ok_or_else(|| Answer::new(400, "No agent found with specified ID"))?;
        let agent = self.agents.get(key).ok_or_else(|| Answer::new(400, "No agent found with specified ID"))?;
        let kind = operation.r#type();
        validate_form(operation, kind, true).map_err(|Invalid(text)| Answer::new(400, text))?;
        let petition = Petition {
            framework: None,
            principal,
            capabilities: &agent.capabilities,
            total: &agent.total,
            used: &agent.used,
        };
        let name = kind.as_str_name();
        validate(operation, &petition).map_err(|Invalid(text)| {
            // Of these two Mesos does not say where.
            let place = match kind {
                operation::Type::Unreserve | operation::Type::Destroy => String::new(),
                _ => format!(" on agent {}", agent.display()),
            };
            Answer::new(400, format!("Invalid {name} operation{place}: {text}"))
        })?;
        let conversions =
            conversions(operation).map_err(|error| Answer::new(400, format!("Invalid {name} operation: {error}")))?;
        Ok((key, conversions))
    }

    /// Takes offers back, one at a time, until what the operation needs is free.
    fn rescind_for(&mut self, now: Now, key: AgentKey, conversions: &[Conversion], out: &mut Effects) {
        let Some(agent) = self.agents.get(key) else { return };
        let offers: Vec<OfferNumber> = agent.offers.iter().copied().collect();
        let mut required: Resources = conversions.iter().map(|conversion| &conversion.consumed).sum();
        let mut recovered = Resources::new();
        // The default filter: else the same would be offered to the same before it is taken.
        let filter = refusal(None);
        for number in offers {
            let Some(offered) = self.offers.get(number).map(|offer| unallocated(&offer.view.resources)) else {
                continue;
            };
            let rest = &required - &offered;
            if rest == required {
                continue;
            }
            required = rest;
            recovered += &offered;
            self.rescind_offer_with(now, number, filter, out);
            if recovered.apply_all(conversions).is_ok() {
                return;
            }
        }
    }
}
