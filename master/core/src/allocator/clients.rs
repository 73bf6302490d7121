//! (framework, role) pairs: what each has, in which order those of a role are served, and what they refused.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    FrameworkOptions, Minimum,
    agents::Bars,
    amounts::{Amounts, Sign, Totals},
    filters::ClientFilters,
    rules::Verdicts,
    tree::{Delta, Holding, Rank, RoleKey, Tree},
};
use crate::{
    frameworks::Capabilities, keys::FrameworkKey, maps::HashMap, slots::Slots, validate::constraints::ConstraintFilter,
};

slotmap::new_key_type! {
    /// A framework in one of its roles.
    pub(super) struct ClientKey;
}

/// What of resources a framework takes: those that lack a capability see less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Takes {
    pub(super) shared: bool,
    pub(super) revocable: bool,
    pub(super) refined: bool,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) framework: FrameworkKey,
    pub(super) role: RoleKey,
    pub(super) id: Arc<str>,
    /// The framework subscribes to the role (else it only has something left from before).
    pub(super) subscribed: bool,
    pub(super) active: bool,
    pub(super) suppressed: bool,
    pub(super) takes: Takes,
    /// Agents that bar any of these are not for it.
    pub(super) barred_by: Bars,
    /// What an offer must meet, if not what the master's flag says.
    pub(super) minimum: Option<Arc<[Minimum]>>,
    pub(super) constraints: Option<Arc<ConstraintFilter>>,
    /// What the constraints said of agents; filled in as it is asked for.
    pub(super) verdicts: RefCell<Verdicts>,
    pub(super) filters: ClientFilters,
    held: Holding,
    share: u64,
    placed: Option<Rank>,
}

impl Client {
    fn new(framework: FrameworkKey, id: Arc<str>, role: RoleKey) -> Self {
        Self {
            framework,
            role,
            id,
            subscribed: false,
            active: false,
            suppressed: false,
            takes: Takes { shared: false, revocable: false, refined: false },
            barred_by: Bars::default(),
            minimum: None,
            constraints: None,
            verdicts: RefCell::default(),
            filters: ClientFilters::default(),
            held: Holding::default(),
            share: 0,
            placed: None,
        }
    }

    pub(super) fn wants_offers(&self) -> bool {
        self.subscribed && self.active && !self.suppressed
    }

    /// Shared resources make the parts more than the whole.
    pub(super) fn has_shared(&self) -> bool {
        self.held.has_shared()
    }

    pub(super) fn amounts(&self) -> &Amounts {
        &self.held.taken
    }

    pub(super) fn share(&self) -> f64 {
        f64::from_bits(self.share)
    }

    /// Takes over what the framework wants and can.
    fn describe(&mut self, role: &str, active: bool, options: &FrameworkOptions) {
        self.subscribed = options.roles.contains(role);
        self.suppressed = options.suppressed.contains(role);
        self.active = active;
        let Capabilities { shared_resources, revocable_resources, reservation_refinement, .. } = options.capabilities;
        self.takes =
            Takes { shared: shared_resources, revocable: revocable_resources, refined: reservation_refinement };
        self.barred_by = Bars::of_framework(&options.capabilities, role);
        self.minimum = options.min_allocatable.get(role).map(|minimum| minimum.as_slice().into());
        self.constraints = options.constraints.clone().filter(|constraints| constraints.is_about(role));
        self.verdicts = RefCell::default();
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Clients {
    slots: Slots<ClientKey, Client>,
    by_framework: HashMap<FrameworkKey, BTreeMap<Arc<str>, ClientKey>>,
    /// Clients with a minimum of their own.
    pub(super) own_minima: usize,
}

impl Clients {
    /// A framework appears, or wants something else.
    pub(super) fn put_framework(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        active: bool,
        options: &FrameworkOptions,
        tree: &mut Tree,
        totals: &Totals,
    ) {
        for role in &options.roles {
            if self.find(framework, role).is_none() {
                self.insert(framework, &options.id, role, tree);
            }
        }
        for key in self.of(framework) {
            let name = tree.get(self.slots[key].role).name.clone();
            self.own_minima -= usize::from(self.slots[key].minimum.is_some());
            self.change(now, key, tree, totals, |client| client.describe(&name, active, options));
            self.own_minima += usize::from(self.slots[key].minimum.is_some());
            self.forget_if_idle(key, tree);
        }
    }

    /// It is no more. What it still held is given back by the caller before.
    pub(super) fn remove_framework(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        tree: &mut Tree,
        totals: &Totals,
    ) {
        for key in self.of(framework) {
            self.change(now, key, tree, totals, |client| client.subscribed = false);
            self.remove(key, tree);
        }
    }

    pub(super) fn set_active(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        active: bool,
        tree: &mut Tree,
        totals: &Totals,
    ) {
        for key in self.of(framework) {
            self.change(now, key, tree, totals, |client| client.active = active);
        }
    }

    pub(super) fn set_suppressed(
        &mut self,
        now: Duration,
        framework: FrameworkKey,
        roles: &BTreeSet<String>,
        suppressed: bool,
        tree: &mut Tree,
        totals: &Totals,
    ) {
        for key in self.among(framework, roles) {
            self.change(now, key, tree, totals, |client| client.suppressed = suppressed);
        }
    }

    /// Counts what the framework takes or gives back for a role.
    pub(super) fn book(
        &mut self,
        now: Duration,
        (framework, role): (FrameworkKey, &str),
        delta: &Delta<'_>,
        sign: Sign,
        tree: &mut Tree,
        totals: &Totals,
    ) {
        let key = self.find(framework, role).unwrap_or_else(|| {
            let id = self.id_of(framework);
            self.insert(framework, &id, role, tree)
        });
        self.book_client(now, key, delta, sign, tree, totals);
        if sign == Sign::Minus {
            self.forget_if_idle(key, tree);
        }
    }

    pub(super) fn book_client(
        &mut self,
        now: Duration,
        key: ClientKey,
        delta: &Delta<'_>,
        sign: Sign,
        tree: &mut Tree,
        totals: &Totals,
    ) {
        self.change(now, key, tree, totals, |client| {
            client.held.change(delta, sign);
            client.held.served += u64::from(sign == Sign::Plus);
        });
        let role = self.slots[key].role;
        tree.book(role, delta, sign, totals);
    }

    /// All shares anew: the cluster has grown or shrunk.
    pub(super) fn refresh_shares(&mut self, now: Duration, tree: &mut Tree, totals: &Totals) {
        let holders = self.slots.iter().filter(|(_, client)| !client.held.taken.is_zero());
        let keys: Vec<ClientKey> = holders.map(|(key, _)| key).collect();
        for key in keys {
            self.change(now, key, tree, totals, |_| {});
        }
    }

    pub(super) fn get(&self, key: ClientKey) -> Option<&Client> {
        self.slots.get(key)
    }

    pub(super) fn get_mut(&mut self, key: ClientKey) -> Option<&mut Client> {
        self.slots.get_mut(key)
    }

    pub(super) fn find(&self, framework: FrameworkKey, role: &str) -> Option<ClientKey> {
        self.by_framework.get(&framework)?.get(role).copied()
    }

    /// All clients, in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ClientKey, &Client)> {
        self.slots.iter()
    }

    /// All clients, in the order of their keys.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ClientKey, &mut Client)> {
        self.slots.iter_mut()
    }

    /// See [`Touched::take`](crate::slots::Touched::take).
    pub(super) fn take_touched(&mut self, keys: &mut Vec<ClientKey>) -> bool {
        self.slots.take_touched(keys)
    }

    /// Those of a framework, in the order of their roles.
    pub(super) fn of(&self, framework: FrameworkKey) -> Vec<ClientKey> {
        self.by_framework.get(&framework).into_iter().flat_map(|roles| roles.values().copied()).collect()
    }

    /// Whether the framework is connected.
    pub(super) fn is_active(&self, framework: FrameworkKey) -> bool {
        let roles = self.by_framework.get(&framework);
        roles.is_some_and(|roles| roles.values().any(|key| self.slots[*key].active))
    }

    pub(super) fn among(&self, framework: FrameworkKey, roles: &BTreeSet<String>) -> Vec<ClientKey> {
        roles.iter().filter_map(|role| self.find(framework, role)).collect()
    }

    fn id_of(&self, framework: FrameworkKey) -> Arc<str> {
        let first = self.by_framework.get(&framework).and_then(|roles| roles.values().next());
        first.map_or_else(|| "".into(), |key| self.slots[*key].id.clone())
    }

    fn insert(&mut self, framework: FrameworkKey, id: &Arc<str>, role: &str, tree: &mut Tree) -> ClientKey {
        let role_key = tree.make(role);
        let key = self.slots.insert(Client::new(framework, id.clone(), role_key));
        let name = tree.get(role_key).name.clone();
        tree.get_mut(role_key).members.insert(key);
        self.by_framework.entry(framework).or_default().insert(name, key);
        key
    }

    /// A role that the framework left, and of which it has nothing any more.
    fn forget_if_idle(&mut self, key: ClientKey, tree: &mut Tree) {
        let client = &self.slots[key];
        if !client.subscribed && client.held.is_empty() && client.filters.is_empty() {
            self.remove(key, tree);
        }
    }

    fn remove(&mut self, key: ClientKey, tree: &mut Tree) {
        let Some(client) = self.slots.remove(key) else { return };
        self.own_minima -= usize::from(client.minimum.is_some());
        let role = tree.get_mut(client.role);
        role.members.remove(&key);
        let name = role.name.clone();
        if let Some(roles) = self.by_framework.get_mut(&client.framework) {
            roles.remove(&name);
            if roles.is_empty() {
                self.by_framework.remove(&client.framework);
            }
        }
        tree.prune(client.role);
    }

    /// Every change goes through here, so that the order holds.
    fn change(
        &mut self,
        now: Duration,
        key: ClientKey,
        tree: &mut Tree,
        totals: &Totals,
        change: impl FnOnce(&mut Client),
    ) {
        let client = &mut self.slots[key];
        change(client);
        client.share = totals.share(&client.held.taken, 1.0).to_bits();
        let wanted = client.wants_offers().then_some((client.share, client.held.served));
        if client.placed.as_ref().map(|(share, served, _)| (*share, *served)) == wanted {
            return;
        }
        let after = wanted.map(|(share, served)| (share, served, client.id.clone()));
        let before = std::mem::replace(&mut client.placed, after.clone());
        let (role_key, appears, goes) = (client.role, before.is_none(), after.is_none());
        let role = tree.get_mut(role_key);
        if let Some(before) = before {
            role.clients.remove(&(before, key));
        }
        if let Some(after) = after {
            role.clients.insert((after, key));
        }
        if appears {
            role.wanting_since.get_or_insert(now);
            tree.want(role_key, Sign::Plus, totals);
        } else if goes {
            if role.clients.is_empty() {
                role.wanting_since = None;
                (role.last_offer, role.told) = (None, None);
            }
            tree.want(role_key, Sign::Minus, totals);
        }
    }
}
