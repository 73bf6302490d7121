//! UPDATE_FRAMEWORK, REVIVE and SUPPRESS: what a framework wants changes.

use std::collections::BTreeSet;

use mezzo_api::{roles, time::Now, v1::scheduler::call};

use super::subscribe::Wishes;
use crate::{
    core::Core,
    counters::Counter,
    effect::{Answer, Effects},
    keys::FrameworkKey,
    validate::framework as rules,
};

impl Core {
    /// The one call that is answered with its outcome (src/master/master.cpp, updateFramework).
    pub(crate) fn on_update_framework(
        &mut self,
        now: Now,
        key: FrameworkKey,
        update: call::UpdateFramework,
        out: &mut Effects,
    ) -> Answer {
        let info = update.framework_info;
        let Some(framework) = self.frameworks.get(key) else { return Answer::new(400, "Framework cannot be found") };
        if let Err(invalid) = self.validate_framework(&info) {
            return Answer::new(400, format!("Supplied FrameworkInfo is not valid: {invalid}"));
        }
        if let Err(invalid) = rules::validate_update(&framework.info, &info) {
            return Answer::new(400, format!("FrameworkInfo update is not valid: {invalid}"));
        }
        let wishes = match Wishes::new(&info, update.suppressed_roles, update.offer_constraints) {
            Ok(wishes) => wishes,
            Err(invalid) => return Answer::new(400, format!("'UpdateFramework' call is not valid: {invalid}")),
        };
        let dropped: BTreeSet<String> = framework.roles.difference(&rules::roles_of(&info)).cloned().collect();
        let changed = self.install(now, key, info, wishes, None);
        self.rescind_offers_of_roles(now, key, &dropped, out);
        if changed {
            self.tell_agents_of(key, out);
        }
        Answer::new(200, "")
    }

    pub(crate) fn on_revive(&mut self, now: Now, key: FrameworkKey, named: &[String]) {
        self.counters.increment(Counter::MessagesReviveOffers);
        let Some(roles) = self.named_roles(key, named) else { return };
        if let Some(framework) = self.frameworks.get_mut(key) {
            framework.suppressed.retain(|role| !roles.contains(role));
        }
        self.dirty.frameworks.insert(key);
        self.allocator.revive(now.mono, key, &roles);
    }

    pub(crate) fn on_suppress(&mut self, now: Now, key: FrameworkKey, named: &[String]) {
        self.counters.increment(Counter::MessagesSuppressOffers);
        let Some(roles) = self.named_roles(key, named) else { return };
        if let Some(framework) = self.frameworks.get_mut(key) {
            framework.suppressed.extend(roles.iter().cloned());
        }
        self.dirty.frameworks.insert(key);
        self.allocator.suppress(now.mono, key, &roles);
    }

    /// The roles that a call is about: all of the framework's if it names none. If one is wrong the call is dropped.
    fn named_roles(&mut self, key: FrameworkKey, named: &[String]) -> Option<BTreeSet<String>> {
        let framework = self.frameworks.get(key)?;
        if named.is_empty() {
            return Some(framework.roles.clone());
        }
        match named.iter().find(|role| roles::validate(role).is_err() || !framework.roles.contains(*role)) {
            None => Some(named.iter().cloned().collect()),
            Some(role) => {
                tracing::info!(framework = %framework.id, role, "dropped a call that names a role which the framework has not");
                self.counters.increment(Counter::DroppedMessages);
                None
            }
        }
    }
}
