//! SUBSCRIBE (src/master/master.cpp, subscribe). Whatever is wrong is an ERROR event, after which the stream ends.

use std::{collections::BTreeSet, sync::Arc};

use mezzo_api::{
    ids::FrameworkId,
    link,
    time::Now,
    v1::{
        FrameworkInfo,
        scheduler::{OfferConstraints, event},
    },
};

use super::Framework;
use crate::{
    allocator::{FrameworkOptions, Minimum},
    core::Core,
    counters::Counter,
    effect::{Effect, Effects},
    events,
    input::{StreamId, Subscribe},
    keys::FrameworkKey,
    validate::{Invalid, constraints::ConstraintFilter, framework as rules},
};

/// What a framework wants of the allocator, checked.
pub(super) struct Wishes {
    pub(super) suppressed: BTreeSet<String>,
    pub(super) offer_constraints: Option<Arc<OfferConstraints>>,
    filter: Option<Arc<ConstraintFilter>>,
}

impl Wishes {
    pub(super) fn new(
        info: &FrameworkInfo,
        suppressed: Vec<String>,
        constraints: Option<OfferConstraints>,
    ) -> Result<Self, Invalid> {
        let roles = rules::roles_of(info);
        let suppressed: BTreeSet<String> = suppressed.into_iter().collect();
        rules::validate_suppressed(&roles, &suppressed)?;
        let Some(constraints) = constraints else {
            return Ok(Self { suppressed, offer_constraints: None, filter: None });
        };
        rules::validate_constraint_roles(&roles, &constraints)?;
        let filter =
            ConstraintFilter::new(&constraints).map_err(|invalid| invalid.within("Offer constraints are not valid"))?;
        Ok(Self { suppressed, offer_constraints: Some(Arc::new(constraints)), filter: Some(Arc::new(filter)) })
    }
}

impl Core {
    pub(crate) fn on_subscribe(&mut self, now: Now, subscribe: Subscribe, out: &mut Effects) {
        let Subscribe { stream, principal, subscribe } = subscribe;
        let mut info = subscribe.framework_info;
        let known_id = info.id.as_ref().is_some_and(|id| !id.value.is_empty());
        self.counters.increment(if known_id {
            Counter::MessagesReregisterFramework
        } else {
            Counter::MessagesRegisterFramework
        });
        if info.principal.is_none() {
            info.principal = principal;
        }
        let result = self
            .validate_framework(&info)
            .and_then(|()| Wishes::new(&info, subscribe.suppressed_roles, subscribe.offer_constraints))
            .and_then(|wishes| self.admit_subscription(now, stream, info, wishes, out));
        if let Err(Invalid(message)) = result {
            tracing::info!(stream = %stream.0, message, "refused a subscription");
            out.push(Effect::ToFramework(stream, events::error(message)));
            out.push(Effect::CloseStream(stream));
        }
    }

    /// What holds of every `FrameworkInfo`, completed ids included.
    pub(super) fn validate_framework(&self, info: &FrameworkInfo) -> Result<(), Invalid> {
        rules::validate(info, &self.config)?;
        let Some(id) = &info.id else { return Ok(()) };
        let removing = self.frameworks.find(&id.value).is_some() && self.live_framework(&id.value).is_none();
        if removing || self.frameworks.is_completed(&id.value) {
            return Err(Invalid::new("Framework has been removed"));
        }
        Ok(())
    }

    fn admit_subscription(
        &mut self,
        now: Now,
        stream: StreamId,
        mut info: FrameworkInfo,
        wishes: Wishes,
        out: &mut Effects,
    ) -> Result<(), Invalid> {
        let id = info.id.as_ref().filter(|id| !id.value.is_empty()).map(FrameworkId::from);
        let known = id.as_ref().and_then(|id| self.frameworks.find(id.as_str()));
        let key = match (known, id) {
            (Some(key), _) => {
                self.prepare_resubscription(key, &mut info)?;
                self.replace_stream(now, key, out);
                key
            }
            (None, id) => {
                let id = id.unwrap_or_else(|| self.new_framework_id());
                info.id = Some(id.proto());
                self.frameworks.insert(Framework::new(id, info.clone(), now.timestamp()))
            }
        };
        let resubscribed = known.is_some();
        let info_changed = self.install(now, key, info, wishes, Some(stream));
        self.greet(now, key, stream, resubscribed, out);
        if resubscribed || info_changed {
            self.tell_agents_of(key, out);
        }
        Ok(())
    }

    /// User and checkpoint stay as they were, silently; another principal is refused.
    fn prepare_resubscription(&self, key: FrameworkKey, info: &mut FrameworkInfo) -> Result<(), Invalid> {
        let Some(framework) = self.frameworks.get(key) else { return Ok(()) };
        let old = &framework.info;
        if info.user != old.user {
            info.user.clone_from(&old.user);
        }
        if info.checkpoint() != old.checkpoint() {
            info.checkpoint = old.checkpoint;
        }
        rules::validate_update(old, info)
    }

    /// The old stream, if there is one, hears that it is replaced; what was offered on it is taken back silently.
    fn replace_stream(&mut self, now: Now, key: FrameworkKey, out: &mut Effects) {
        let Some(framework) = self.frameworks.get_mut(key) else { return };
        let timers = [framework.heartbeat.take(), framework.failover.take()];
        let cancelled = if mezzo_api::mutant!("failover-timer-kept") { &timers[..1] } else { &timers };
        cancelled.iter().flatten().for_each(|timer| self.timers.cancel(*timer));
        if let Some(old) = framework.stream.take() {
            self.frameworks.streams.remove(&old);
            out.push(Effect::ToFramework(old, events::error("Framework failed over")));
            out.push(Effect::CloseStream(old));
        }
        self.discard_offers_of_framework(now, key, out);
    }

    /// Takes over a framework's description and wishes; the answer is whether the description changed.
    pub(super) fn install(
        &mut self,
        now: Now,
        key: FrameworkKey,
        info: FrameworkInfo,
        wishes: Wishes,
        stream: Option<StreamId>,
    ) -> bool {
        let Some(framework) = self.frameworks.get_mut(key) else { return false };
        let changed = *framework.info != info;
        if changed {
            framework.set_info(info);
        }
        framework.suppressed.clone_from(&wishes.suppressed);
        framework.offer_constraints = wishes.offer_constraints;
        if let Some(stream) = stream {
            self.allocator.forget_refusals(key);
            if framework.recovered {
                framework.registered_time = now.timestamp();
            }
            framework.recovered = false;
            framework.reregistered_time = now.timestamp();
            framework.stream = Some(stream);
            self.frameworks.streams.insert(stream, key);
        }
        let Some(framework) = self.frameworks.get(key) else { return changed };
        let options = FrameworkOptions {
            id: framework.id.as_str().into(),
            roles: framework.roles.clone(),
            suppressed: wishes.suppressed,
            capabilities: framework.capabilities,
            min_allocatable: minima(&framework.info),
            constraints: wishes.filter,
        };
        self.allocator.put_framework(now.mono, key, framework.stream.is_some(), options);
        self.dirty.frameworks.insert(key);
        changed
    }

    fn greet(&mut self, now: Now, key: FrameworkKey, stream: StreamId, again: bool, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(key) else { return };
        tracing::info!(framework = %framework.id, name = framework.info.name, again, "framework subscribed");
        let subscribed = event::Subscribed {
            framework_id: framework.id.proto(),
            heartbeat_interval_seconds: Some(self.config.heartbeat_interval.as_secs_f64()),
            master_info: Some(self.config.master_info.clone()),
        };
        out.push(Effect::ToFramework(stream, events::subscribed(subscribed)));
        self.on_heartbeat(now, key, stream, out);
    }

    /// Agents that have something of the framework learn its description and that it is there: they resend updates.
    pub(super) fn tell_agents_of(&self, key: FrameworkKey, out: &mut Effects) {
        let Some(framework) = self.frameworks.get(key) else { return };
        for agent in framework.agents.keys() {
            let update = link::UpdateFramework { framework: (*framework.info).clone() };
            self.tell(*agent, link::to_agent::Message::UpdateFramework(update), out);
        }
    }

    fn new_framework_id(&mut self) -> FrameworkId {
        loop {
            let id = format!("{}-{:04}", self.config.master_id, self.frameworks.next_id);
            self.frameworks.next_id += 1;
            // Frameworks may choose ids themselves.
            if self.frameworks.find(&id).is_none() && !self.frameworks.is_completed(&id) {
                return id.into();
            }
        }
    }
}

fn minima(info: &FrameworkInfo) -> std::collections::BTreeMap<String, Vec<Minimum>> {
    let of_role = |filters: &mezzo_api::v1::OfferFilters| {
        let alternatives = &filters.min_allocatable_resources.as_ref()?.quantities;
        let read = |alternative: &mezzo_api::v1::offer_filters::ResourceQuantities| {
            let amounts = alternative.quantities.iter();
            amounts.map(|(name, amount)| (name.clone(), mezzo_api::resources::Scalar::from_f64(amount.value))).collect()
        };
        Some(alternatives.iter().map(read).collect())
    };
    info.offer_filters.iter().filter_map(|(role, filters)| Some((role.clone(), of_role(filters)?))).collect()
}
