//! What the allocator keeps beside its entities, counted anew: for tests and the simulator.

use std::collections::BTreeMap;

use mezzo_api::resources::{Resource, Resources, Scalar};

use super::{
    Allocator,
    agents::Agent,
    amounts::Amounts,
    clients::{Client, ClientKey},
    filters::{Users, slot_of},
    rules::counts,
    tree::{Child, Role, RoleKey},
};
use crate::keys::{AgentKey, FrameworkKey};

impl Allocator {
    /// What is free of an agent.
    pub(crate) fn available(&self, agent: AgentKey) -> Option<&Resources> {
        Some(&self.agents.get(agent)?.available)
    }

    /// What a framework has for a role, by the allocator's own count.
    pub(crate) fn allocated(&self, framework: FrameworkKey, role: &str) -> BTreeMap<String, Scalar> {
        let client = self.clients.find(framework, role).and_then(|key| self.clients.get(key));
        client.map(|client| self.names.named(client.amounts())).unwrap_or_default()
    }

    /// Whether a framework has, of all these, the amounts that are allocated to a role, by the allocator's own count.
    pub(crate) fn has_allocated(&self, framework: FrameworkKey, role: &str, all: &Resources) -> bool {
        let mut sum = Amounts::default();
        for resource in all.iter().filter(|resource| resource.allocation_role() == Some(role)) {
            let Some(amount) = resource.amount() else { continue };
            let Some(name) = self.names.find(resource.name()) else { return false };
            sum.add(name, amount);
        }
        let counted = self.clients.find(framework, role).and_then(|key| self.clients.get(key)).map(Client::amounts);
        *counted.unwrap_or(&Amounts::default()) == sum
    }

    /// Every invariant of the allocator alone.
    ///
    /// # Panics
    /// If one is broken.
    pub(crate) fn check(&self) {
        self.check_agents();
        self.check_roles();
        self.check_order();
        self.check_references();
    }

    fn check_agents(&self) {
        let (mut total, mut headroom) = (Amounts::default(), Amounts::default());
        for (key, agent) in &self.agents {
            self.check_agent(key, agent);
            total.plus(&self.sum(&agent.total));
            if agent.is_offerable() {
                headroom.plus(&agent.free);
            }
        }
        assert_eq!(self.totals.amounts, total, "the cluster's total");
        assert_eq!(self.headroom, headroom, "what is free");
    }

    pub(super) fn check_agent(&self, key: AgentKey, agent: &Agent) {
        assert_eq!(self.slots[slot_of(key)], Some(key), "the slot of {key:?}");
        let mut free = Amounts::default();
        for resource in agent.available.iter().filter(|resource| counts(resource)) {
            self.add(&mut free, resource);
        }
        assert_eq!(agent.free, free, "free of {key:?}");
        let free = agent.is_offerable() && !agent.available.is_empty();
        assert_eq!(self.free.contains(&key), free, "{key:?} among the free");
    }

    /// Sums over subtrees, and what guarantees need.
    fn check_roles(&self) {
        for key in self.tree.all() {
            let role = self.tree.get(key);
            let below = |other: &str| other == &*role.name || mezzo_api::roles::is_strict_subrole(other, &role.name);
            let mut reserved = Amounts::default();
            for agent in self.agents.values() {
                reserved.plus(&self.sum(&agent.total.reserved_to_subtree(&role.name)));
            }
            assert_eq!(role.reserved, reserved, "reserved for {}", role.name);
            let mut taken = Amounts::default();
            let mut shared = false;
            for (_, client) in self.clients.iter() {
                if below(&self.tree.get(client.role).name) {
                    taken.plus(client.amounts());
                    shared |= client.has_shared();
                }
            }
            if !shared {
                assert_eq!(role.held.taken, taken, "taken by {}", role.name);
            }
        }
        self.tree.check();
    }

    fn check_order(&self) {
        self.clients.iter().for_each(|(key, client)| self.check_place(key, client));
    }

    pub(super) fn check_place(&self, key: ClientKey, client: &Client) {
        let role = self.tree.get(client.role);
        let placed = role.clients.iter().any(|(_, other)| *other == key);
        assert_eq!(placed, client.wants_offers(), "{} in the order of {}", client.id, role.name);
    }

    /// Every refused bundle is there as long as a filter means it, and no longer.
    fn check_references(&self) {
        self.agents.iter().for_each(|(key, agent)| self.check_references_of(key, agent));
    }

    pub(super) fn check_references_of(&self, key: AgentKey, agent: &Agent) {
        let slot = slot_of(key);
        let mut users = Users::default();
        for (_, client) in self.clients.iter() {
            if let Some(reference) = client.filters.reference(slot) {
                *users[usize::from(reference)].get_or_insert_default() += 1;
            }
        }
        assert_eq!(agent.references.users(), users, "users of what was refused of {key:?}");
    }

    pub(super) fn sum(&self, resources: &Resources) -> Amounts {
        let mut sum = Amounts::default();
        resources.iter().for_each(|resource| self.add(&mut sum, resource));
        sum
    }

    fn add(&self, sum: &mut Amounts, resource: &Resource) {
        let name = self.names.find(resource.name());
        if let (Some(name), Some(amount)) = (name, resource.amount()) {
            sum.add(name, amount);
        }
    }
}

impl super::tree::Tree {
    /// Needs and places.
    fn check(&self) {
        for key in self.all().into_iter().chain([self.root_key()]) {
            let role = self.get(key);
            if self.has_quotas() {
                self.check_needs(role, key);
            }
            for child in self.children(key) {
                let placed = role.order.iter().any(|(_, other)| *other == Child::Role(child));
                assert_eq!(placed, self.wants(child), "{} among its siblings", self.get(child).name);
            }
            check_own(role);
        }
    }

    /// What is needed below is the sum of what the roles right below need.
    pub(super) fn check_needs(&self, role: &Role, key: RoleKey) {
        let mut below = Amounts::default();
        self.children(key).for_each(|child| below.plus(self.get(child).needed()));
        assert_eq!(*role.needed_below(), below, "needed below {}", role.name);
    }

    pub(super) fn wants(&self, key: RoleKey) -> bool {
        let role = self.get(key);
        !role.clients.is_empty() || self.children(key).any(|child| self.wants(child))
    }
}

/// The role's own frameworks are served in their turn.
pub(super) fn check_own(role: &Role) {
    let own = role.order.iter().any(|(_, other)| *other == Child::Own);
    assert_eq!(own, !role.clients.is_empty(), "own frameworks of {}", role.name);
}
