//! (framework, role) pairs: what each has, in which order they are served, and what they refused.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use mezzo_api::resources::Resources;
use slotmap::SlotMap;

use super::{
    FrameworkOptions,
    filters::Filters,
    shares::{Amounts as Quantities, Sign, Totals},
};
use crate::keys::{AgentKey, FrameworkKey};

slotmap::new_key_type! {
    /// A framework in one of its roles.
    pub(super) struct ClientKey;
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) framework: FrameworkKey,
    pub(super) role: String,
    /// The framework subscribes to the role (else it only has something left from before).
    subscribed: bool,
    active: bool,
    suppressed: bool,
    amounts: Quantities,
    /// What of them is neither reserved nor revocable.
    unreserved: Quantities,
    share: u64,
    /// How often it was served: breaks ties.
    served: u64,
    filters: HashMap<AgentKey, Filters>,
}

impl Client {
    fn wants_offers(&self) -> bool {
        self.subscribed && self.active && !self.suppressed
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: SlotMap<ClientKey, Client>,
    by_framework: HashMap<FrameworkKey, BTreeMap<String, ClientKey>>,
    /// Those that want offers, the poorest first.
    order: BTreeSet<(u64, u64, ClientKey)>,
    version: u64,
}

impl Clients {
    pub(super) fn put_framework(&mut self, framework: FrameworkKey, active: bool, options: &FrameworkOptions) {
        let known: Vec<_> = self.of(framework).collect();
        for key in known {
            let role = &self.slots[key].role;
            let (subscribed, suppressed) = (options.roles.contains(role), options.suppressed.contains(role));
            self.change(key, |client| {
                (client.subscribed, client.active, client.suppressed) = (subscribed, active, suppressed);
                client.filters.clear();
            });
        }
        for role in &options.roles {
            if self.find(framework, role).is_none() {
                let suppressed = options.suppressed.contains(role);
                let key = self.insert(framework, role, true);
                self.change(key, |client| (client.active, client.suppressed) = (active, suppressed));
            }
        }
    }

    pub(super) fn remove_framework(&mut self, framework: FrameworkKey) {
        for key in self.by_framework.remove(&framework).unwrap_or_default().into_values() {
            if let Some(client) = self.slots.remove(key) {
                self.order.remove(&(client.share, client.served, key));
            }
        }
    }

    pub(super) fn set_active(&mut self, framework: FrameworkKey, active: bool) {
        let keys: Vec<_> = self.of(framework).collect();
        keys.into_iter().for_each(|key| self.change(key, |client| client.active = active));
    }

    pub(super) fn set_suppressed(&mut self, framework: FrameworkKey, roles: &BTreeSet<String>, suppressed: bool) {
        for key in self.among(framework, roles) {
            self.change(key, |client| client.suppressed = suppressed);
        }
    }

    pub(super) fn clear_filters(&mut self, framework: FrameworkKey, roles: &BTreeSet<String>) {
        for key in self.among(framework, roles) {
            self.slots[key].filters.clear();
        }
    }

    pub(super) fn drop_filters_of(&mut self, agent: AgentKey) {
        for client in self.slots.values_mut() {
            client.filters.remove(&agent);
        }
    }

    pub(super) fn add_filter(&mut self, key: ClientKey, agent: AgentKey, refused: Resources, expires: Duration) {
        if let Some(client) = self.slots.get_mut(key) {
            client.filters.entry(agent).or_default().add(refused, expires);
        }
    }

    /// Drops filters that have expired; the answer is whether there were any.
    pub(super) fn expire_filters(&mut self, key: ClientKey, agent: AgentKey, now: Duration) -> bool {
        let Some(filters) = self.slots.get_mut(key).map(|client| &mut client.filters) else { return false };
        let Some(of_agent) = filters.get_mut(&agent) else { return false };
        let expired = of_agent.expire(now);
        if of_agent.is_empty() {
            filters.remove(&agent);
        }
        expired
    }

    /// Whether the client refused this, or more.
    pub(super) fn refuses(&self, key: ClientKey, agent: AgentKey, resources: &Resources, now: Duration) -> bool {
        let filters = self.slots.get(key).and_then(|client| client.filters.get(&agent));
        filters.is_some_and(|filters| filters.cover(resources, now))
    }

    /// Counts what a framework takes or gives back, role by role.
    pub(super) fn count(&mut self, framework: FrameworkKey, allocated: &Resources, sign: Sign, totals: &mut Totals) {
        for (role, resources) in allocated.allocations() {
            let key = self.find(framework, &role).unwrap_or_else(|| self.insert(framework, &role, false));
            let mut amounts = std::mem::take(&mut self.slots[key].amounts);
            totals.change(&mut amounts, &resources, sign);
            let share = totals.share(&amounts);
            self.change(key, |client| (client.amounts, client.share) = (amounts, share));
            let free = resources.filter(|resource| resource.is_unreserved() && !resource.is_revocable());
            totals.change(&mut self.slots[key].unreserved, &free, sign);
        }
    }

    /// The client was offered something.
    pub(super) fn served(&mut self, key: ClientKey) {
        self.change(key, |client| client.served += 1);
    }

    /// All shares anew, if the cluster has grown or shrunk.
    pub(super) fn refresh_shares(&mut self, totals: &Totals) {
        if self.version == totals.version {
            return;
        }
        self.version = totals.version;
        let keys: Vec<_> = self.slots.keys().collect();
        for key in keys {
            let share = totals.share(&self.slots[key].amounts);
            self.change(key, |client| client.share = share);
        }
    }

    /// Those that want offers, the poorest first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = ClientKey> {
        self.order.iter().map(|(_, _, key)| *key)
    }

    pub(super) fn get(&self, key: ClientKey) -> Option<&Client> {
        self.slots.get(key)
    }

    pub(super) fn find(&self, framework: FrameworkKey, role: &str) -> Option<ClientKey> {
        self.by_framework.get(&framework)?.get(role).copied()
    }

    /// What the role's subtree has of resources that are neither reserved nor revocable.
    pub(super) fn consumed(&self, role: &str, totals: &Totals) -> super::Quantities {
        let below = |other: &str| other == role || mezzo_api::roles::is_strict_subrole(other, role);
        let clients = self.slots.values().filter(|client| below(&client.role));
        clients.flat_map(|client| totals.named(&client.unreserved)).collect()
    }

    pub(super) fn quantities(&self, key: ClientKey) -> &Quantities {
        &self.slots[key].amounts
    }

    fn of(&self, framework: FrameworkKey) -> impl Iterator<Item = ClientKey> {
        self.by_framework.get(&framework).into_iter().flat_map(|roles| roles.values().copied())
    }

    fn among(&self, framework: FrameworkKey, roles: &BTreeSet<String>) -> Vec<ClientKey> {
        roles.iter().filter_map(|role| self.find(framework, role)).collect()
    }

    fn insert(&mut self, framework: FrameworkKey, role: &str, subscribed: bool) -> ClientKey {
        let key = self.slots.insert(Client {
            framework,
            role: role.to_owned(),
            subscribed,
            active: false,
            suppressed: false,
            amounts: Quantities::new(),
            unreserved: Quantities::new(),
            share: 0,
            served: 0,
            filters: HashMap::new(),
        });
        self.by_framework.entry(framework).or_default().insert(role.to_owned(), key);
        key
    }

    /// Every change goes through here, so that the order holds.
    fn change(&mut self, key: ClientKey, change: impl FnOnce(&mut Client)) {
        let client = &mut self.slots[key];
        self.order.remove(&(client.share, client.served, key));
        change(client);
        if client.wants_offers() {
            self.order.insert((client.share, client.served, key));
        }
    }
}
