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
use crate::keys::AgentKey;

/// What the checks of earlier steps have counted.
#[derive(Debug, Default)]
pub(super) struct Checked {
    agents: BTreeMap<AgentKey, OfAgent>,
    clients: BTreeMap<ClientKey, OfClient>,
    totals: Amounts,
    headroom: Amounts,
    /// By name: a role comes and goes with what is to be known of it.
    roles: BTreeMap<Arc<str>, OfRole>,
}

#[derive(Debug)]
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

impl Checked {
    /// The role and those above it.
    fn along(&mut self, role: &Arc<str>, touched: &mut Vec<Arc<str>>, mut change: impl FnMut(&mut OfRole)) {
        for name in std::iter::once(&**role).chain(ancestors(role)) {
            let name: Arc<str> = if *name == **role { role.clone() } else { name.into() };
            change(self.roles.entry(name.clone()).or_default());
            touched.push(name);
        }
    }

    fn reserve(&mut self, reserved: &[(Arc<str>, Amounts)], sign: Sign, touched: &mut Vec<Arc<str>>) {
        for (role, amounts) in reserved {
            self.along(role, touched, |sums| sums.reserved.change(amounts, sign));
        }
    }

    fn book(&mut self, client: &OfClient, sign: Sign, touched: &mut Vec<Arc<str>>) {
        self.along(&client.role, touched, |sums| {
            sums.taken.change(&client.taken, sign);
            match sign {
                Sign::Plus => sums.sharing += usize::from(client.shares),
                Sign::Minus => sums.sharing -= usize::from(client.shares),
            }
        });
    }
}

impl Allocator {
    /// The invariants of what was touched since the last time; gives the agents among it.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check_touched(&mut self) -> Vec<AgentKey> {
        let mut checked = std::mem::take(&mut self.checked);
        let mut roles = Vec::new();
        let agents = self.agents.take_touched();
        let all = || self.agents.keys().chain(checked.agents.keys().copied()).collect();
        let agents = agents.unwrap_or_else(all);
        for key in &agents {
            self.count_agent(*key, &mut checked, &mut roles);
        }
        assert_eq!(self.totals.amounts, checked.totals, "the cluster's total");
        assert_eq!(self.headroom, checked.headroom, "what is free");
        let clients = self.clients.take_touched();
        let all = || self.clients.iter().map(|(key, _)| key).chain(checked.clients.keys().copied()).collect();
        for key in clients.unwrap_or_else(all) {
            self.count_client(key, &mut checked, &mut roles);
        }
        for key in self.tree.take_touched().unwrap_or_else(|| self.tree.all()) {
            roles.extend(self.tree.known(key).map(|role| role.name.clone()));
        }
        roles.sort_unstable();
        roles.dedup();
        roles.iter().for_each(|name| self.look_at_role(name, &mut checked));
        self.checked = checked;
        agents
    }

    fn count_agent(&self, key: AgentKey, checked: &mut Checked, roles: &mut Vec<Arc<str>>) {
        let before = checked.agents.remove(&key);
        if let Some(before) = &before {
            checked.headroom.minus(&before.free);
        }
        let agent = self.agents.get(key);
        let same = |before: &OfAgent| agent.is_some_and(|agent| Arc::ptr_eq(&agent.total, &before.total));
        let kept = before.filter(|before| {
            if !same(before) {
                checked.totals.minus(&before.amounts);
                checked.reserve(&before.reserved, Sign::Minus, roles);
            }
            same(before)
        });
        let Some(agent) = agent else { return };
        self.check_agent(key, agent);
        self.check_references_of(key, agent);
        let mut counted = kept.unwrap_or_else(|| {
            let counted = self.of_agent(agent);
            checked.totals.plus(&counted.amounts);
            checked.reserve(&counted.reserved, Sign::Plus, roles);
            counted
        });
        counted.free = if agent.is_offerable() { agent.free.clone() } else { Amounts::default() };
        checked.headroom.plus(&counted.free);
        checked.agents.insert(key, counted);
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

    fn count_client(&self, key: ClientKey, checked: &mut Checked, roles: &mut Vec<Arc<str>>) {
        let client = self.clients.get(key);
        let before = checked.clients.get(&key);
        let same = |before: &OfClient| {
            client.is_some_and(|now| *now.amounts() == before.taken && now.has_shared() == before.shares)
        };
        if !before.is_some_and(same) {
            if let Some(before) = checked.clients.remove(&key) {
                checked.book(&before, Sign::Minus, roles);
            }
            if let Some(client) = client {
                let role = self.tree.get(client.role).name.clone();
                let counted = OfClient { role, taken: client.amounts().clone(), shares: client.has_shared() };
                checked.book(&counted, Sign::Plus, roles);
                checked.clients.insert(key, counted);
            }
        }
        if let Some(client) = client {
            self.check_place(key, client);
        }
    }

    /// Sums over the subtree, and the places of the role and of its own frameworks.
    fn look_at_role(&self, name: &Arc<str>, checked: &mut Checked) {
        if name.is_empty() {
            return self.look_at_needs(self.tree.root_key());
        }
        let nothing = OfRole::default();
        let counted = checked.roles.get(name).unwrap_or(&nothing);
        let Some(key) = self.tree.find(name) else {
            assert!(counted.reserved.is_zero() && counted.taken.is_zero(), "{name} is gone and has something");
            checked.roles.remove(name);
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
        let checked = &self.checked;
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
