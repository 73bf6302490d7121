//! Inverse offers: a framework is asked whether it can do without an agent that will not be there. What it answers is
//! noted and shown; nothing follows from it (src/master/master.cpp, inverseOffer, acceptInverseOffers).

use std::collections::BTreeMap;

use mezzo_api::{
    time::Now,
    v1::{
        self, Filters, OfferId, Unavailability,
        allocator::{InverseOfferStatus, inverse_offer_status::Status},
    },
};

use crate::{
    allocator::{InverseAllocation, refusal},
    core::Core,
    effect::{Change, Effect, Effects},
    events,
    keys::{AgentKey, FrameworkKey, OfferNumber},
    maps::IndexMap,
    model,
    slots::Touched,
    timers::{Timer, TimerId},
};

/// An outstanding inverse offer.
#[derive(Debug)]
pub(crate) struct InverseOffer {
    pub(crate) framework: FrameworkKey,
    pub(crate) agent: AgentKey,
    timer: Option<TimerId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct InverseOffers {
    outstanding: BTreeMap<OfferNumber, InverseOffer>,
    touched: Touched<OfferNumber>,
}

impl InverseOffers {
    pub(crate) fn get(&self, number: OfferNumber) -> Option<&InverseOffer> {
        self.outstanding.get(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OfferNumber, &InverseOffer)> {
        self.outstanding.iter().map(|(number, offer)| (*number, offer))
    }

    /// See [`Touched::take`].
    pub(crate) fn take_touched(&mut self, numbers: &mut Vec<OfferNumber>) -> bool {
        self.touched.take(numbers)
    }

    fn insert(&mut self, number: OfferNumber, offer: InverseOffer) {
        self.touched.add(number);
        self.outstanding.insert(number, offer);
    }

    fn remove(&mut self, number: OfferNumber) -> Option<InverseOffer> {
        self.touched.add(number);
        self.outstanding.remove(&number)
    }
}

impl Core {
    /// Sends each framework those of the last run in one event.
    pub(crate) fn send_inverse_offers(&mut self, now: Now, out: &mut Effects) {
        let mut by_framework: IndexMap<FrameworkKey, Vec<v1::InverseOffer>> = IndexMap::default();
        for allocation in self.allocator.take_inverse_offers() {
            let framework = allocation.framework;
            if let Some(offer) = self.make_inverse_offer(now, &allocation, out) {
                by_framework.entry(framework).or_default().push(offer);
            }
        }
        for (framework, offers) in by_framework {
            self.send(framework, events::inverse_offers(offers), out);
        }
    }

    fn make_inverse_offer(
        &mut self,
        now: Now,
        allocation: &InverseAllocation,
        out: &mut Effects,
    ) -> Option<v1::InverseOffer> {
        let InverseAllocation { framework: framework_key, agent: agent_key, unavailability } = *allocation;
        let framework = self.frameworks.get(framework_key).filter(|framework| framework.stream.is_some())?;
        let agent = self.agents.get_mut(agent_key)?;
        let number = self.offers.number();
        agent.inverse_offers.insert(number);
        let status = answer(now, &framework.id, Status::Unknown);
        agent.inverse_answers.entry(framework.id.clone()).or_insert(status);
        let (url, agent_id) = (agent.url(), agent.id.clone());
        let timeout = self.config.offer_timeout;
        let timer = timeout.map(|timeout| self.timers.set(now.mono + timeout, Timer::InverseOffer(number)));
        let id = self.offer_id(number);
        let view = model::InverseOffer {
            id: id.clone().into(),
            framework_id: framework.id.clone(),
            agent_id: agent_id.clone(),
            unavailability,
        };
        self.inverse_offers.insert(number, InverseOffer { framework: framework_key, agent: agent_key, timer });
        self.dirty.maintenance = true;
        out.push(Effect::Publish(Change::InverseOffer(view.into())));
        Some(v1::InverseOffer {
            id: OfferId { value: id },
            url: Some(url),
            framework_id: self.frameworks.get(framework_key)?.id.proto(),
            agent_id: Some(agent_id.proto()),
            unavailability,
            resources: Vec::new(),
        })
    }

    /// The framework can, or cannot, do without the agent.
    pub(crate) fn on_inverse_answer(
        &mut self,
        now: Now,
        key: FrameworkKey,
        said: Status,
        ids: &[OfferId],
        filters: Option<&Filters>,
        out: &mut Effects,
    ) {
        for id in ids {
            let number = self.number_of(&id.value);
            let of_caller =
                |number: &OfferNumber| self.inverse_offers.get(*number).is_some_and(|offer| offer.framework == key);
            let Some(number) = number.filter(of_caller) else {
                tracing::debug!(offer = id.value, "ignoring the answer to an inverse offer that is no longer valid");
                continue;
            };
            // Without a filter the same would be asked again at once, over and over.
            let filter = refusal(filters).unwrap_or(self.config.allocation_interval);
            let Some(offer) = self.take_inverse_offer(number, out) else { continue };
            let Some(framework) = self.frameworks.get(key).map(|framework| framework.id.clone()) else { return };
            tracing::info!(%framework, answer = said.as_str_name(), "inverse offer answered");
            if let Some(agent) = self.agents.get_mut(offer.agent) {
                agent.inverse_answers.insert(framework.clone(), answer(now, &framework, said));
            }
            self.allocator.answer_inverse_offer(now.mono, key, offer.agent, Some(filter));
            self.dirty.maintenance = true;
        }
    }

    fn take_inverse_offer(&mut self, number: OfferNumber, out: &mut Effects) -> Option<InverseOffer> {
        let offer = self.inverse_offers.remove(number)?;
        if let Some(timer) = offer.timer {
            self.timers.cancel(timer);
        }
        if let Some(agent) = self.agents.get_mut(offer.agent) {
            agent.inverse_offers.remove(&number);
        }
        out.push(Effect::Publish(Change::InverseOfferRemoved(self.offer_id(number).into())));
        Some(offer)
    }

    fn end_inverse_offer(&mut self, now: Now, number: OfferNumber, said: bool, out: &mut Effects) {
        let Some(offer) = self.take_inverse_offer(number, out) else { return };
        self.allocator.answer_inverse_offer(now.mono, offer.framework, offer.agent, None);
        if said {
            let id = OfferId { value: self.offer_id(number) };
            self.send(offer.framework, events::rescind_inverse(id), out);
        }
    }

    pub(crate) fn on_inverse_offer_timeout(&mut self, now: Now, number: OfferNumber, out: &mut Effects) {
        self.end_inverse_offer(now, number, true, out);
    }

    pub(crate) fn rescind_inverse_offers_of_agent(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let offers: Vec<_> =
            self.agents.get(key).into_iter().flat_map(|agent| &agent.inverse_offers).copied().collect();
        offers.into_iter().for_each(|offer| self.end_inverse_offer(now, offer, true, out));
    }

    pub(crate) fn discard_inverse_offers_of_framework(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let of_framework = self.inverse_offers.iter().filter(|(_, offer)| offer.framework == key);
        let offers: Vec<_> = of_framework.map(|(number, _)| number).collect();
        offers.into_iter().for_each(|offer| self.end_inverse_offer(now, offer, false, out));
    }

    /// The agent will not be there then, or is to stay: offers that said otherwise are void.
    pub(crate) fn set_unavailability(
        &mut self,
        now: Now,
        key: AgentKey,
        planned: Option<Unavailability>,
        out: &mut Effects,
    ) {
        let Some(agent) = self.agents.get_mut(key).filter(|agent| agent.unavailability != planned) else { return };
        agent.unavailability = planned;
        agent.inverse_answers.clear();
        self.rescind_offers_of_agent(now, key, out);
        self.rescind_inverse_offers_of_agent(now, key, out);
        self.allocator.set_unavailability(now.mono, key, planned);
        self.dirty.maintenance = true;
    }
}

fn answer(now: Now, framework: &mezzo_api::ids::FrameworkId, status: Status) -> InverseOfferStatus {
    #[allow(clippy::cast_possible_truncation)] // times of this century fit
    let nanoseconds = (now.timestamp() * 1e9) as i64;
    InverseOfferStatus {
        status: status.into(),
        framework_id: framework.proto(),
        timestamp: v1::TimeInfo { nanoseconds },
    }
}
