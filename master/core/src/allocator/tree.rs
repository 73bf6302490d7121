//! The tree of roles: what each subtree has, is promised and may have, and in which order siblings are served.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mezzo_api::resources::{Resources, Scalar};

use super::{
    Quota,
    amounts::{Amounts, Bounds, Name, Names, Sign, Totals},
    clients::ClientKey,
};
use crate::{keys::AgentKey, maps::HashMap, slots::Slots};

slotmap::new_key_type! {
    /// A role.
    pub(super) struct RoleKey;
}

/// A place in the order of siblings: the smaller share comes first, then who was served less often, then the name
/// (src/master/allocator/mesos/sorter/drf/sorter.hpp, DRFSorter::Node::compareDRF).
pub(super) type Rank = (u64, u64, Arc<str>);

/// What is served in its turn below a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Child {
    /// The role's own frameworks.
    Own,
    /// A role below.
    Role(RoleKey),
}

/// What a share is made of, and how often it was added to.
#[derive(Clone, Debug, Default)]
pub(super) struct Holding {
    pub(super) taken: Amounts,
    pub(super) served: u64,
    /// Shared resources are counted once however often they are held.
    #[allow(clippy::box_collection)] // hardly anybody holds any, and there are many holdings
    shared: Option<Box<HashMap<(AgentKey, String), u32>>>,
}

impl Holding {
    /// Takes or gives back; what is shared counts from its first use to its last.
    pub(super) fn change(&mut self, delta: &Delta<'_>, sign: Sign) {
        self.taken.change(&delta.taken, sign);
        for (agent, id, amounts, uses) in &delta.shared {
            let held = self.shared.get_or_insert_default();
            let count = held.entry((*agent, (*id).to_owned())).or_default();
            let before = *count;
            *count = match sign {
                Sign::Plus => count.saturating_add(*uses),
                Sign::Minus => count.saturating_sub(*uses),
            };
            let after = *count;
            if after == 0 {
                held.remove(&(*agent, (*id).to_owned()));
            }
            if (before == 0) != (after == 0) {
                self.taken.change(amounts, sign);
            }
        }
    }

    pub(super) fn has_shared(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| !shared.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.taken.is_zero() && self.shared.as_ref().is_none_or(|shared| shared.is_empty())
    }
}

/// What a booking changes.
#[derive(Debug)]
pub(super) struct Delta<'a> {
    /// Amounts of what is not shared.
    pub(super) taken: Amounts,
    /// Of them, what is neither reserved nor revocable: it counts against limits.
    pub(super) unreserved: Amounts,
    shared: Vec<(AgentKey, &'a str, Amounts, u32)>,
}

impl<'a> Delta<'a> {
    pub(super) fn new(names: &mut Names, agent: AgentKey, resources: &'a Resources) -> Self {
        let mut shared = Vec::new();
        for resource in resources.iter().filter(|resource| resource.is_shared()) {
            let mut amounts = Amounts::default();
            amounts.add(names.intern(resource.name()), resource.amount().unwrap_or_default());
            shared.push((agent, resource.persistence_id().unwrap_or_default(), amounts, resource.shares()));
        }
        let (mut taken, mut unreserved) = (Amounts::default(), Amounts::default());
        for (resource, amount) in resources.iter().filter_map(|resource| Some((resource, resource.amount()?))) {
            let name = names.intern(resource.name());
            if !resource.is_shared() {
                taken.add(name, amount);
            }
            if resource.is_unreserved() && !resource.is_revocable() {
                unreserved.add(name, amount);
            }
        }
        Self { taken, unreserved, shared }
    }
}

/// A quota in numbers.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) as_set: Quota,
    pub(super) guarantees: Amounts,
    pub(super) limits: Bounds,
}

#[derive(Debug)]
pub(super) struct Role {
    /// With all its components.
    pub(super) name: Arc<str>,
    pub(super) parent: Option<RoleKey>,
    below: BTreeMap<Arc<str>, RoleKey>,
    pub(super) weight: f64,
    pub(super) quota: Option<Bound>,
    /// Of the whole subtree.
    pub(super) held: Holding,
    /// Of the role's own frameworks.
    own: Holding,
    /// What the subtree has that is neither reserved nor revocable.
    pub(super) unreserved: Amounts,
    /// What is reserved to the subtree, taken or not.
    pub(super) reserved: Amounts,
    /// What must be kept free for the subtree.
    needed: Amounts,
    /// The sum of what is needed by the roles right below.
    needed_below: Amounts,
    share: u64,
    /// Where it stands among its siblings, if it stands there, and its own frameworks among its children.
    placed: Option<Rank>,
    own_placed: Option<Rank>,
    own_name: Arc<str>,
    /// Frameworks of the subtree that want offers.
    wanting: usize,
    /// Children that have some, in the order in which they are served.
    pub(super) order: BTreeSet<(Rank, Child)>,
    /// The role's own, likewise.
    pub(super) clients: BTreeSet<(Rank, ClientKey)>,
    /// Its own frameworks, whether they want offers or not.
    pub(super) members: BTreeSet<ClientKey>,
    /// Since when some of its own want offers.
    pub(super) wanting_since: Option<Duration>,
    /// When one of its own was last offered something.
    pub(super) last_offer: Option<Duration>,
    /// How far the log has been told that it waits: at so many doublings of a minute.
    pub(super) told: Option<u32>,
}

impl Role {
    fn new(name: &str, parent: Option<RoleKey>) -> Self {
        Self {
            name: name.into(),
            parent,
            below: BTreeMap::new(),
            weight: 1.0,
            quota: None,
            held: Holding::default(),
            own: Holding::default(),
            unreserved: Amounts::default(),
            reserved: Amounts::default(),
            needed: Amounts::default(),
            needed_below: Amounts::default(),
            share: 0,
            placed: None,
            own_placed: None,
            own_name: format!("{name}/.").into(),
            wanting: 0,
            order: BTreeSet::new(),
            clients: BTreeSet::new(),
            members: BTreeSet::new(),
            wanting_since: None,
            last_offer: None,
            told: None,
        }
    }

    pub(super) fn consumed(&self, name: Name) -> Scalar {
        let reserved = if mezzo_api::mutant!("reservation-uncounted") { Scalar::ZERO } else { self.reserved.get(name) };
        reserved + self.unreserved.get(name)
    }

    pub(super) fn needed(&self) -> &Amounts {
        &self.needed
    }

    pub(super) fn needed_below(&self) -> &Amounts {
        &self.needed_below
    }

    pub(super) fn share(&self) -> f64 {
        f64::from_bits(self.share)
    }

    fn is_idle(&self) -> bool {
        self.members.is_empty()
            && self.below.is_empty()
            && self.quota.is_none()
            && self.weight == 1.0
            && self.reserved.is_zero()
            && self.held.is_empty()
    }
}

/// All roles.
#[derive(Debug)]
pub(super) struct Tree {
    roles: Slots<RoleKey, Role>,
    root: RoleKey,
    quotas: usize,
}

impl Default for Tree {
    fn default() -> Self {
        let mut roles = Slots::default();
        let root = roles.insert(Role::new("", None));
        Self { roles, root, quotas: 0 }
    }
}

impl Tree {
    pub(super) fn get(&self, key: RoleKey) -> &Role {
        &self.roles[key]
    }

    pub(super) fn get_mut(&mut self, key: RoleKey) -> &mut Role {
        &mut self.roles[key]
    }

    pub(super) fn root_key(&self) -> RoleKey {
        self.root
    }

    /// The roles right below.
    pub(super) fn children(&self, key: RoleKey) -> impl Iterator<Item = RoleKey> + '_ {
        self.roles[key].below.values().copied()
    }

    /// What everybody together has.
    pub(super) fn root(&self) -> &Role {
        &self.roles[self.root]
    }

    /// The role's place among those beside it that want offers, from 1, and how many those are.
    pub(super) fn place(&self, key: RoleKey) -> (Option<usize>, usize) {
        let Some(parent) = self.roles[key].parent else { return (None, 0) };
        let order = &self.roles[parent].order;
        (order.iter().position(|(_, child)| *child == Child::Role(key)).map(|at| at + 1), order.len())
    }

    pub(super) fn find(&self, name: &str) -> Option<RoleKey> {
        name.split('/').try_fold(self.root, |key, component| self.roles[key].below.get(component).copied())
    }

    /// The role of this name; it is made if it is not there.
    pub(super) fn make(&mut self, name: &str) -> RoleKey {
        let mut key = self.root;
        let mut end = 0;
        for component in name.split('/') {
            end += component.len() + usize::from(end > 0);
            key = match self.roles[key].below.get(component) {
                Some(known) => *known,
                None => {
                    let child = self.roles.insert(Role::new(&name[..end], Some(key)));
                    self.roles[key].below.insert(component.into(), child);
                    child
                }
            };
        }
        key
    }

    /// Forgets the role and those above it, as far as there is nothing to know of them.
    pub(super) fn prune(&mut self, key: RoleKey) {
        let mut next = Some(key);
        while let Some(key) = next {
            let Some(role) = self.roles.get(key).filter(|role| role.is_idle()) else { return };
            let Some(parent) = role.parent else { return };
            let component: Arc<str> = role.name.rsplit('/').next().unwrap_or_default().into();
            self.roles.remove(key);
            self.roles[parent].below.remove(&component);
            next = Some(parent);
        }
    }

    /// All roles but the root, in the order of their names.
    pub(super) fn all(&self) -> Vec<RoleKey> {
        let mut keys: Vec<RoleKey> = self.roles.keys().filter(|key| *key != self.root).collect();
        keys.sort_by(|a, b| self.roles[*a].name.cmp(&self.roles[*b].name));
        keys
    }

    /// See [`Touched::take`](crate::slots::Touched::take).
    pub(super) fn take_touched(&mut self, keys: &mut Vec<RoleKey>) -> bool {
        self.roles.take_touched(keys)
    }

    /// The role, if it is there.
    pub(super) fn known(&self, key: RoleKey) -> Option<&Role> {
        self.roles.get(key)
    }

    /// The role and those above it, without the root.
    pub(super) fn path(&self, key: RoleKey) -> impl Iterator<Item = RoleKey> + '_ {
        std::iter::successors(Some(key), |key| self.roles[*key].parent).filter(|key| *key != self.root)
    }

    /// Whether any role has a quota.
    pub(super) fn has_quotas(&self) -> bool {
        self.quotas > 0
    }

    pub(super) fn set_quota(&mut self, key: RoleKey, bound: Option<Bound>) {
        let role = &mut self.roles[key];
        self.quotas -= usize::from(role.quota.is_some());
        role.quota = bound;
        self.quotas += usize::from(self.roles[key].quota.is_some());
        self.refresh_needs(key);
    }

    pub(super) fn set_weight(&mut self, key: RoleKey, weight: f64, totals: &Totals) {
        self.reorder(key, totals, |role| role.weight = weight);
    }

    /// The subtree takes something or gives it back.
    pub(super) fn book(&mut self, key: RoleKey, delta: &Delta<'_>, sign: Sign, totals: &Totals) {
        self.reorder_own(key, totals, |own| {
            own.change(delta, sign);
            own.served += u64::from(sign == Sign::Plus);
        });
        let mut next = Some(key);
        while let Some(key) = next {
            self.reorder(key, totals, |role| {
                role.held.change(delta, sign);
                role.held.served += u64::from(sign == Sign::Plus);
                role.unreserved.change(&delta.unreserved, sign);
            });
            next = self.roles[key].parent;
        }
        if self.quotas > 0 {
            self.refresh_needs(key);
        }
    }

    /// Something is reserved to the role, or no more.
    pub(super) fn reserve(&mut self, key: RoleKey, amounts: &Amounts, sign: Sign) {
        let mut next = Some(key);
        while let Some(key) = next {
            self.roles[key].reserved.change(amounts, sign);
            next = self.roles[key].parent;
        }
        if self.quotas > 0 {
            self.refresh_needs(key);
        }
    }

    /// One more, or one less, framework of the role wants offers.
    pub(super) fn want(&mut self, key: RoleKey, sign: Sign, totals: &Totals) {
        self.reorder_own(key, totals, |_| {});
        let mut next = Some(key);
        while let Some(key) = next {
            self.reorder(key, totals, |role| match sign {
                Sign::Plus => role.wanting += 1,
                Sign::Minus => role.wanting -= 1,
            });
            next = self.roles[key].parent;
        }
    }

    /// How many frameworks want offers, those in two roles twice.
    pub(super) fn wanting(&self) -> usize {
        self.roles[self.root].wanting
    }

    /// All shares anew: the cluster has grown or shrunk.
    pub(super) fn refresh_shares(&mut self, totals: &Totals) {
        let keys: Vec<RoleKey> = self.roles.keys().collect();
        for key in keys {
            if !self.roles[key].held.taken.is_zero() {
                self.reorder_own(key, totals, |_| {});
                self.reorder(key, totals, |_| {});
            }
        }
    }

    /// What must be kept free for guarantees that are not met.
    pub(super) fn required(&self) -> &Amounts {
        &self.roles[self.root].needed_below
    }

    /// How much more the role may have of a name on account of guarantees, its own and those above it.
    pub(super) fn allowance(&self, key: RoleKey, name: Name) -> Scalar {
        let path = self.path(key).map(|key| &self.roles[key]);
        path.map(|role| role.needed.get(name) - role.needed_below.get(name)).sum()
    }

    /// How much more the role may have of a name by limits, its own and those above it.
    pub(super) fn room(&self, key: RoleKey, name: Name) -> Option<Scalar> {
        let reach = if mezzo_api::mutant!("subtree-unlimited") { 1 } else { usize::MAX };
        let bounds = self.path(key).take(reach).filter_map(|key| {
            let role = &self.roles[key];
            let (_, limit) = role.quota.as_ref()?.limits.iter().find(|(bound, _)| *bound == name)?;
            Some((*limit - role.consumed(name)).max(Scalar::ZERO))
        });
        bounds.min()
    }

    /// Whether the subtree, or a role above it, has guarantees that are not met.
    pub(super) fn lacks(&self, key: RoleKey) -> bool {
        !self.roles[key].needed.is_zero()
            || self.path(key).any(|key| {
                let role = &self.roles[key];
                role.needed.names().any(|name| role.needed.get(name) > role.needed_below.get(name))
            })
    }

    /// Goes through the roles with frameworks that want offers, the poorest first, until one gives an answer.
    pub(super) fn in_order<T>(&self, look: &mut impl FnMut(RoleKey, &Role) -> Option<T>) -> Option<T> {
        self.descend(self.root, look)
    }

    fn descend<T>(&self, key: RoleKey, look: &mut impl FnMut(RoleKey, &Role) -> Option<T>) -> Option<T> {
        let role = &self.roles[key];
        role.order.iter().find_map(|(_, child)| match child {
            Child::Own => look(key, role),
            Child::Role(below) => self.descend(*below, look),
        })
    }

    /// The roles with frameworks that want offers, each with the product of the weights on its way, each among those of
    /// its siblings (src/master/allocator/mesos/sorter/random/sorter.cpp).
    pub(super) fn weighted(&self, see: &mut impl FnMut(RoleKey, f64)) {
        self.weigh(self.root, 1.0, see);
    }

    fn weigh(&self, key: RoleKey, product: f64, see: &mut impl FnMut(RoleKey, f64)) {
        let role = &self.roles[key];
        let weight = |child: &Child| match child {
            Child::Own => 1.0,
            Child::Role(below) => self.roles[*below].weight,
        };
        let sum: f64 = role.order.iter().map(|(_, child)| weight(child)).sum();
        for (_, child) in &role.order {
            let product = product * weight(child) / sum;
            match child {
                Child::Own => see(key, product),
                Child::Role(below) => self.weigh(*below, product, see),
            }
        }
    }

    /// A path from a role up to the root has other needs.
    fn refresh_needs(&mut self, key: RoleKey) {
        let mut next = Some(key);
        while let Some(key) = next {
            let role = &self.roles[key];
            let Some(parent) = role.parent else { return };
            let mut needed = role.needed_below.clone();
            if let Some(bound) = &role.quota {
                for name in bound.guarantees.names() {
                    let short = bound.guarantees.get(name) - role.consumed(name);
                    needed.set(name, needed.get(name).max(short));
                }
            }
            let before = std::mem::replace(&mut self.roles[key].needed, needed.clone());
            self.roles[parent].needed_below.minus(&before);
            self.roles[parent].needed_below.plus(&needed);
            next = Some(parent);
        }
    }

    /// Every change of a role's place goes through here, so that the order holds.
    fn reorder(&mut self, key: RoleKey, totals: &Totals, change: impl FnOnce(&mut Role)) {
        let role = &mut self.roles[key];
        change(role);
        let weight = if mezzo_api::mutant!("weight-ignored") { 1.0 } else { role.weight };
        role.share = totals.share(&role.held.taken, weight).to_bits();
        let Some(parent) = role.parent else { return };
        let wanted = (role.wanting > 0).then_some((role.share, role.held.served));
        if role.placed.as_ref().map(|(share, served, _)| (*share, *served)) == wanted {
            return;
        }
        let after = wanted.map(|(share, served)| (share, served, role.name.clone()));
        let before = std::mem::replace(&mut role.placed, after.clone());
        move_child(&mut self.roles[parent].order, before, after, Child::Role(key));
    }

    fn reorder_own(&mut self, key: RoleKey, totals: &Totals, change: impl FnOnce(&mut Holding)) {
        let role = &mut self.roles[key];
        change(&mut role.own);
        let share = totals.share(&role.own.taken, 1.0).to_bits();
        let wanted = (!role.clients.is_empty()).then_some((share, role.own.served));
        if role.own_placed.as_ref().map(|(share, served, _)| (*share, *served)) == wanted {
            return;
        }
        let after = wanted.map(|(share, served)| (share, served, role.own_name.clone()));
        let before = std::mem::replace(&mut role.own_placed, after.clone());
        move_child(&mut role.order, before, after, Child::Own);
    }
}

fn move_child(order: &mut BTreeSet<(Rank, Child)>, before: Option<Rank>, after: Option<Rank>, child: Child) {
    if let Some(before) = before {
        order.remove(&(before, child));
    }
    if let Some(after) = after {
        order.insert((after, child));
    }
}
