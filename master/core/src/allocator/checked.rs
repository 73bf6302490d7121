//! The invariants of `check`, of what was touched since the last time alone: sums are carried on from step to step.

use std::{collections::BTreeMap, sync::Arc};

use mezzo_api::{resources::Resources, roles::ancestors};

use super::{
    Allocator,
    agents::Agent,
    amounts::{Amounts, Sign},
    check::check_own,
    clients::ClientKey,
    tree::{Child, RoleKey},
};
use crate::{keys::AgentKey, slots::once_each};

/// What the checks of earlier steps have counted.
#[derive(Debug, Default)]
pub(super) struct Checked {
    agents: BTreeMap<AgentKey, OfAgent>,
    clients: BTreeMap<ClientKey, OfClient>,
    totals: Amounts,
    headroom: Amounts,
    roles: Roles,
    /// What a step touched; only the room is kept.
    touched_clients: Vec<ClientKey>,
    touched_roles: Vec<RoleKey>,
}

/// By name: a role comes and goes with what is to be known of it.
#[derive(Debug, Default)]
struct Roles {
    sums: BTreeMap<Arc<str>, OfRole>,
    /// Of which something changed in a step.
    touched: Vec<Arc<str>>,
}

#[derive(Debug, Default)]
struct OfAgent {
    total: Arc<Resources>,
    amounts: Amounts,
    reserved: Vec<(Arc<str>, Amounts)>,
    /// What is free and may be offered.
    free: Amounts,
}

#[derive(Debug)]
struct OfClient {
    role: Arc<str>,
    taken: Amounts,
    shares: bool,
}

/// Sums of a subtree.
#[derive(Debug, Default)]
struct OfRole {
    reserved: Amounts,
    taken: Amounts,
    /// Frameworks that hold something shared: with them the parts are more than the whole.
    sharing: usize,
}

impl Roles {
    /// The role and those above it.
    fn along(&mut self, role: &Arc<str>, mut change: impl FnMut(&mut OfRole)) {
        for name in std::iter::once(&**role).chain(ancestors(role)) {
            let name: Arc<str> = if *name == **role { role.clone() } else { name.into() };
            match self.sums.get_mut(&name) {
                Some(sums) => change(sums),
                None => change(self.sums.entry(name.clone()).or_default()),
            }
            if self.touched.last() != Some(&name) {
                self.touched.push(name);
            }
        }
    }

    fn reserve(&mut self, reserved: &[(Arc<str>, Amounts)], sign: Sign) {
        for (role, amounts) in reserved {
            self.along(role, |sums| sums.reserved.change(amounts, sign));
        }
    }

    fn book(&mut self, client: &OfClient, sign: Sign) {
        self.along(&client.role, |sums| {
            sums.taken.change(&client.taken, sign);
            match sign {
                Sign::Plus => sums.sharing += usize::from(client.shares),
                Sign::Minus => sums.sharing -= usize::from(client.shares),
            }
        });
    }
}

impl Allocator {
    /// The invariants of what was touched since the last time; makes `agents` those among it.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_touched(&mut self, agents: &mut Vec<AgentKey>) {
        let mut checked = self.checked.take().unwrap_or_default();
        if !self.agents.take_touched(agents) {
            agents.extend(self.agents.keys().chain(checked.agents.keys().copied()));
        }
        agents.iter().for_each(|key| self.count_agent(*key, &mut checked));
        assert_eq!(self.totals.amounts, checked.totals, "the cluster's total");
        assert_eq!(self.headroom, checked.headroom, "what is free");
        self.count_clients(&mut checked);
        self.look_at_roles(&mut checked);
        self.checked = Some(checked);
    }

    fn count_agent(&self, key: AgentKey, checked: &mut Checked) {
        let Checked { agents, totals, headroom, roles, .. } = checked;
        let Some(agent) = self.agents.get(key) else {
            if let Some(before) = agents.remove(&key) {
                headroom.minus(&before.free);
                totals.minus(&before.amounts);
                roles.reserve(&before.reserved, Sign::Minus);
            }
            return;
        };
        self.check_agent(key, agent);
        self.check_references_of(key, agent);
        let counted = agents.entry(key).or_default();
        headroom.minus(&counted.free);
        if !Arc::ptr_eq(&agent.total, &counted.total) {
            totals.minus(&counted.amounts);
            roles.reserve(&counted.reserved, Sign::Minus);
            *counted = self.of_agent(agent);
            totals.plus(&counted.amounts);
            roles.reserve(&counted.reserved, Sign::Plus);
        }
        match agent.is_offerable() {
            true => counted.free.clone_from(&agent.free),
            false => counted.free = Amounts::default(),
        }
        headroom.plus(&counted.free);
    }

    fn of_agent(&self, agent: &Agent) -> OfAgent {
        let reserved = agent.total.reserved().into_iter().map(|(role, reserved)| (role.into(), self.sum(&reserved)));
        OfAgent {
            total: agent.total.clone(),
            amounts: self.sum(&agent.total),
            reserved: reserved.collect(),
            free: Amounts::default(),
        }
    }

    fn count_clients(&mut self, checked: &mut Checked) {
        let mut touched = std::mem::take(&mut checked.touched_clients);
        if !self.clients.take_touched(&mut touched) {
            touched.extend(self.clients.iter().map(|(key, _)| key).chain(checked.clients.keys().copied()));
        }
        touched.iter().for_each(|key| self.count_client(*key, checked));
        checked.touched_clients = touched;
    }

    fn count_client(&self, key: ClientKey, checked: &mut Checked) {
        let Checked { clients, roles, .. } = checked;
        let Some(client) = self.clients.get(key) else {
            if let Some(before) = clients.remove(&key) {
                roles.book(&before, Sign::Minus);
            }
            return;
        };
        let before = clients.get(&key);
        let same = |before: &OfClient| *client.amounts() == before.taken && client.has_shared() == before.shares;
        if !before.is_some_and(same) {
            if let Some(before) = before {
                roles.book(before, Sign::Minus);
            }
            let role = self.tree.get(client.role).name.clone();
            let counted = OfClient { role, taken: client.amounts().clone(), shares: client.has_shared() };
            roles.book(&counted, Sign::Plus);
            clients.insert(key, counted);
        }
        self.check_place(key, client);
    }

    /// Those that were touched, and those of which something was counted that changed.
    fn look_at_roles(&mut self, checked: &mut Checked) {
        let Checked { roles, touched_roles: touched, .. } = checked;
        if !self.tree.take_touched(touched) {
            touched.extend(self.tree.all());
        }
        let Roles { sums, touched: names } = roles;
        for role in touched.iter().filter_map(|key| self.tree.known(*key)) {
            names.push(role.name.clone());
        }
        once_each(names);
        names.iter().for_each(|name| self.look_at_role(name, sums));
        names.clear();
    }

    /// Sums over the subtree, and the places of the role and of its own frameworks.
    fn look_at_role(&self, name: &Arc<str>, sums: &mut BTreeMap<Arc<str>, OfRole>) {
        if name.is_empty() {
            return self.look_at_needs(self.tree.root_key());
        }
        let nothing = OfRole::default();
        let counted = sums.get(name).unwrap_or(&nothing);
        let Some(key) = self.tree.find(name) else {
            assert!(counted.reserved.is_zero() && counted.taken.is_zero(), "{name} is gone and has something");
            sums.remove(name);
            return;
        };
        let role = self.tree.get(key);
        assert_eq!(role.reserved, counted.reserved, "reserved for {name}");
        if counted.sharing == 0 {
            assert_eq!(role.held.taken, counted.taken, "taken by {name}");
        }
        check_own(role);
        self.look_at_needs(key);
        if let Some(parent) = role.parent {
            let placed = self.tree.get(parent).order.iter().any(|(_, other)| *other == Child::Role(key));
            assert_eq!(placed, self.tree.wants(key), "{name} among its siblings");
            self.look_at_needs(parent);
        }
    }

    fn look_at_needs(&self, key: RoleKey) {
        if self.tree.has_quotas() {
            self.tree.check_needs(self.tree.get(key), key);
        }
    }

    /// What was counted from step to step is what there is.
    ///
    /// # Panics
    /// If it is not.
    pub(crate) fn checked_agrees(&self) {
        let Some(checked) = &self.checked else { return };
        assert!(self.agents.keys().eq(checked.agents.keys().copied()), "agents that were counted");
        for (key, agent) in &self.agents {
            let free = if agent.is_offerable() { agent.free.clone() } else { Amounts::default() };
            assert_eq!(checked.agents[&key].free, free, "free of {key:?} as it was counted");
        }
        assert_eq!(checked.clients.len(), self.clients.iter().count(), "clients that were counted");
        for (key, client) in self.clients.iter() {
            assert_eq!(checked.clients[&key].taken, *client.amounts(), "what {} has, as it was counted", client.id);
        }
    }
}
