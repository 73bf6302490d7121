//! Outstanding offers: made from what the allocator hands out, ended by an answer, a rescission or a disconnect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mezzo_api::{ids::OfferId, resources::Resources, time::Now, v1};

use crate::{
    agents::Agent,
    allocator::Allocation,
    core::Core,
    counters::Counter,
    effect::{Change, Effect, Effects},
    events,
    frameworks::Framework,
    keys::{AgentKey, FrameworkKey, OfferNumber},
    maps::IndexMap,
    model,
    slots::Touched,
    timers::{Timer, TimerId},
};

/// An outstanding offer.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) framework: FrameworkKey,
    pub(crate) agent: AgentKey,
    /// Its role and resources too, which are allocated to the role.
    pub(crate) view: Arc<model::Offer>,
    timer: Option<TimerId>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// In boxes: room that the map keeps for more is small.
    outstanding: BTreeMap<OfferNumber, Box<Offer>>,
    touched: Touched<OfferNumber>,
    next: u64,
}

impl Offers {
    pub(crate) fn get(&self, number: OfferNumber) -> Option<&Offer> {
        self.outstanding.get(&number).map(|offer| &**offer)
    }

    /// A number that no offer had before, inverse or not.
    pub(crate) fn number(&mut self) -> OfferNumber {
        let number = OfferNumber(self.next);
        self.next += 1;
        number
    }

    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OfferNumber, &Offer)> {
        self.outstanding.iter().map(|(number, offer)| (*number, &**offer))
    }

    /// See [`Touched::take`].
    pub(crate) fn take_touched(&mut self, numbers: &mut Vec<OfferNumber>) -> bool {
        self.touched.take(numbers)
    }

    fn insert(&mut self, number: OfferNumber, offer: Offer) {
        self.touched.add(number);
        self.outstanding.insert(number, Box::new(offer));
    }

    fn remove(&mut self, number: OfferNumber) -> Option<Offer> {
        self.touched.add(number);
        self.outstanding.remove(&number).map(|offer| *offer)
    }
}

impl Core {
    pub(crate) fn offer_id(&self, number: OfferNumber) -> String {
        [self.config.master_id.as_str(), "-O", &number.0.to_string()].concat()
    }

    /// The outstanding offer of this id.
    pub(crate) fn find_offer(&self, id: &str) -> Option<(OfferNumber, &Offer)> {
        let number = self.number_of(id)?;
        Some((number, self.offers.get(number)?))
    }

    /// The number of an offer's id.
    pub(crate) fn number_of(&self, id: &str) -> Option<OfferNumber> {
        let digits = id.strip_prefix(self.config.master_id.as_str())?.strip_prefix("-O")?;
        let number = OfferNumber(digits.parse().ok()?);
        if digits.starts_with('+') || (digits.starts_with('0') && digits.len() > 1) {
            return None; // another spelling of the number is another id
        }
        Some(number)
    }

    /// Runs the allocator and sends each framework what it got, in one event.
    pub(crate) fn send_offers(&mut self, now: Now, out: &mut Effects) {
        let allocations = self.allocator.run(now.mono);
        self.counters.increment(Counter::AllocationRuns);
        let mut by_framework: IndexMap<FrameworkKey, Vec<v1::Offer>> = IndexMap::default();
        for allocation in allocations {
            let framework = allocation.framework;
            if let Some(offer) = self.make_offer(now, allocation, out) {
                by_framework.entry(framework).or_default().push(offer);
            }
        }
        for (framework, offers) in by_framework {
            self.send(framework, events::offers(offers), out);
        }
        self.send_inverse_offers(now, out);
    }

    fn make_offer(&mut self, now: Now, allocation: Allocation, out: &mut Effects) -> Option<v1::Offer> {
        let Allocation { framework: framework_key, role, agent: agent_key, resources } = allocation;
        let number = self.offers.number();
        let id = self.offer_id(number);
        let framework = self.frameworks.get_mut(framework_key)?;
        let agent = self.agents.get_mut(agent_key)?;
        framework.offers.insert(number);
        framework.offered += &resources;
        agent.offers.push(number);
        agent.offered += &resources;
        let message = describe(&id, &role, &resources, framework_key, framework, agent);
        let view = Arc::new(model::Offer {
            id: OfferId::from(id),
            framework_id: framework.id.clone(),
            agent_id: agent.id.clone(),
            role,
            resources,
        });
        let timer = self.config.offer_timeout.map(|timeout| self.timers.set(now.mono + timeout, Timer::Offer(number)));
        let offer = Offer { framework: framework_key, agent: agent_key, view: view.clone(), timer };
        self.offers.insert(number, offer);
        self.dirty.frameworks.insert(framework_key);
        self.dirty.agents.insert(agent_key);
        out.push(Effect::Publish(Change::Offer(view)));
        Some(message)
    }

    /// Takes an offer out of all books but the allocator's.
    pub(crate) fn take_offer(&mut self, number: OfferNumber, out: &mut Effects) -> Option<Offer> {
        let offer = self.offers.remove(number)?;
        if mezzo_api::mutant!("offer-reused") {
            let again = Offer { view: offer.view.clone(), timer: None, ..offer };
            self.offers.insert(number, again);
        }
        if let Some(timer) = offer.timer {
            self.timers.cancel(timer);
        }
        if let Some(framework) = self.frameworks.get_mut(offer.framework) {
            framework.offers.remove(&number);
            framework.offered -= &offer.view.resources;
            self.dirty.frameworks.insert(offer.framework);
        }
        if let Some(agent) = self.agents.get_mut(offer.agent) {
            agent.offers.retain(|offer| *offer != number);
            agent.offered -= &offer.view.resources;
            self.dirty.agents.insert(offer.agent);
        }
        out.push(Effect::Publish(Change::OfferRemoved(offer.view.id.clone())));
        Some(offer)
    }

    /// Ends an offer silently; with a filter it is not made again for a while.
    pub(crate) fn discard_offer(&mut self, now: Now, number: OfferNumber, filter: Option<Duration>, out: &mut Effects) {
        if let Some(offer) = self.take_offer(number, out) {
            self.allocator.give_back(now.mono, offer.framework, offer.agent, &offer.view.resources, filter);
        }
    }

    /// Ends an offer and says so.
    pub(crate) fn rescind_offer(&mut self, now: Now, number: OfferNumber, out: &mut Effects) {
        self.rescind_offer_with(now, number, None, out);
    }

    /// Ends an offer, says so, and does not make it again for a while.
    pub(crate) fn rescind_offer_with(
        &mut self,
        now: Now,
        number: OfferNumber,
        filter: Option<Duration>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.offers.get(number).map(|offer| offer.framework) else { return };
        self.discard_offer(now, number, filter, out);
        self.send(framework, events::rescind(v1::OfferId { value: self.offer_id(number) }), out);
    }

    pub(crate) fn on_offer_timeout(&mut self, now: Now, number: OfferNumber, out: &mut Effects) {
        self.rescind_offer(now, number, out);
    }

    pub(crate) fn discard_offers_of_framework(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let offers: Vec<_> =
            self.frameworks.get(key).into_iter().flat_map(|framework| &framework.offers).copied().collect();
        offers.into_iter().for_each(|offer| self.discard_offer(now, offer, None, out));
        self.discard_inverse_offers_of_framework(now, key, out);
    }

    pub(crate) fn rescind_offers_of_roles(
        &mut self,
        now: Now,
        key: FrameworkKey,
        roles: &BTreeSet<String>,
        out: &mut Effects,
    ) {
        let Some(framework) = self.frameworks.get(key).filter(|_| !roles.is_empty()) else { return };
        let of_roles =
            |number: &&OfferNumber| self.offers.get(**number).is_some_and(|offer| roles.contains(&*offer.view.role));
        let offers: Vec<_> = framework.offers.iter().filter(of_roles).copied().collect();
        offers.into_iter().for_each(|offer| self.rescind_offer(now, offer, out));
    }

    pub(crate) fn rescind_offers_of_agent(&mut self, now: Now, key: AgentKey, out: &mut Effects) {
        let offers: Vec<_> = self.agents.get(key).into_iter().flat_map(|agent| &agent.offers).copied().collect();
        offers.into_iter().for_each(|offer| self.rescind_offer(now, offer, out));
    }
}

/// The offer as its framework sees it (src/master/master.cpp, offer).
fn describe(
    id: &str,
    role: &str,
    resources: &Resources,
    key: FrameworkKey,
    framework: &Framework,
    agent: &Agent,
) -> v1::Offer {
    let multi_role = framework.capabilities.multi_role;
    let mut shown = resources.filter(|resource| resource.name() != "ephemeral_ports");
    if !multi_role {
        shown.unallocate();
    }
    let refined = framework.capabilities.reservation_refinement;
    let executors = agent.executors.keys().filter(|(owner, _)| *owner == key);
    v1::Offer {
        id: v1::OfferId { value: id.to_owned() },
        framework_id: framework.id.proto(),
        agent_id: agent.id.proto(),
        hostname: agent.info.hostname().to_owned(),
        url: Some(agent.url()),
        domain: agent.info.domain().cloned(),
        resources: if refined { shown.to_protos() } else { shown.to_legacy_protos() },
        attributes: agent.info.attributes().to_vec(),
        executor_ids: executors.map(|(_, executor)| executor.proto()).collect(),
        unavailability: agent.unavailability,
        allocation_info: multi_role.then(|| v1::resource::AllocationInfo { role: Some(role.to_owned()) }),
    }
}
