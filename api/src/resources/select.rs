//! Parts of resources, and what they add up to.

use std::collections::{BTreeMap, BTreeSet};

use super::{Ranges, Resource, Resources, Scalar, Value};
use crate::{roles, v1::resource::ReservationInfo};

impl Resources {
    /// Those that `wanted` says yes to.
    pub fn filter(&self, wanted: impl Fn(&Resource) -> bool) -> Self {
        self.select(wanted)
    }

    /// Those of one name.
    pub fn named(&self, name: &str) -> Self {
        self.select(|resource| resource.name() == name)
    }

    /// Amounts only.
    pub fn scalars(&self) -> Self {
        self.select(|resource| resource.amount().is_some())
    }

    /// Those that nobody reserved.
    pub fn unreserved(&self) -> Self {
        self.select(Resource::is_unreserved)
    }

    /// Those that are reserved, by the role of their last reservation.
    pub fn reserved(&self) -> BTreeMap<String, Resources> {
        self.group_by(Resource::reservation_role)
    }

    /// Those reserved to exactly this role.
    pub fn reserved_to(&self, role: &str) -> Self {
        self.select(|resource| resource.is_reserved_to(role))
    }

    /// Those reserved to this role or to one below it.
    pub fn reserved_to_subtree(&self, role: &str) -> Self {
        self.select(|resource| resource.reservation_role().is_some_and(|reserved| in_subtree(reserved, role)))
    }

    /// Those that a framework of this role may use.
    pub fn allocatable_to(&self, role: &str) -> Self {
        self.select(|resource| resource.is_allocatable_to(role))
    }

    /// By the role that they are allocated to; those that are not allocated are left out.
    pub fn allocations(&self) -> BTreeMap<String, Resources> {
        self.group_by(Resource::allocation_role)
    }

    /// The same, one role after the other. Nothing is copied where all have one role.
    pub fn each_allocation(&self, mut see: impl FnMut(&str, &Resources)) {
        match self.iter().next().and_then(Resource::allocation_role) {
            Some(role) if self.iter().all(|resource| resource.allocation_role() == Some(role)) => see(role, self),
            _ => self.allocations().iter().for_each(|(role, part)| see(role, part)),
        }
    }

    /// The roles that some are allocated to, each once, in order.
    pub fn allocation_roles(&self) -> Vec<&str> {
        let mut roles: Vec<&str> = Vec::new();
        for role in self.iter().filter_map(Resource::allocation_role) {
            if let Err(at) = roles.binary_search(&role) {
                roles.insert(at, role);
            }
        }
        roles
    }

    /// Those that the agent may take back.
    pub fn revocable(&self) -> Self {
        self.select(Resource::is_revocable)
    }

    /// Those that the agent may not take back.
    pub fn non_revocable(&self) -> Self {
        self.select(|resource| !resource.is_revocable())
    }

    /// Persistent volumes.
    pub fn persistent_volumes(&self) -> Self {
        self.select(Resource::is_persistent_volume)
    }

    /// Those that several may hold at once.
    pub fn shared(&self) -> Self {
        self.select(Resource::is_shared)
    }

    /// Those that only one may hold.
    pub fn non_shared(&self) -> Self {
        self.select(|resource| !resource.is_shared())
    }

    /// The same without reservations.
    pub fn to_unreserved(&self) -> Self {
        self.iter()
            .map(
                |resource| {
                    if resource.is_unreserved() { resource.clone() } else { resource.map_reservations(Vec::clear) }
                },
            )
            .collect()
    }

    /// The same with one more reservation on each stack. Valid only if the role refines the one below it.
    pub fn push_reservation(&self, reservation: &ReservationInfo) -> Self {
        self.iter().map(|resource| resource.map_reservations(|stack| stack.push(reservation.clone()))).collect()
    }

    /// The same with the last reservation of each stack taken away.
    pub fn pop_reservation(&self) -> Self {
        self.iter().map(|resource| resource.map_reservations(|stack| drop(stack.pop()))).collect()
    }

    /// The names.
    pub fn names(&self) -> BTreeSet<&str> {
        self.iter().map(Resource::name).collect()
    }

    /// The amount of one name, over all roles and disks. What is shared counts once.
    pub fn scalar(&self, name: &str) -> Scalar {
        self.iter().filter(|resource| resource.name() == name).filter_map(Resource::amount).sum()
    }

    /// The amounts by name, over all roles and disks. What is shared counts once.
    pub fn quantities(&self) -> BTreeMap<&str, Scalar> {
        let mut sums = BTreeMap::new();
        for resource in self {
            if let Some(amount) = resource.amount() {
                *sums.entry(resource.name()).or_default() += amount;
            }
        }
        sums
    }

    /// Processors.
    pub fn cpus(&self) -> Scalar {
        self.scalar("cpus")
    }

    /// Memory in MB.
    pub fn mem(&self) -> Scalar {
        self.scalar("mem")
    }

    /// Disk space in MB.
    pub fn disk(&self) -> Scalar {
        self.scalar("disk")
    }

    /// GPUs.
    pub fn gpus(&self) -> Scalar {
        self.scalar("gpus")
    }

    /// Ports.
    pub fn ports(&self) -> Ranges {
        self.ranges("ports")
    }

    /// The ranges of one name, over all roles.
    pub fn ranges(&self, name: &str) -> Ranges {
        let mut sum = Ranges::new();
        for resource in self.iter().filter(|resource| resource.name() == name) {
            if let Value::Ranges(ranges) = resource.value() {
                sum.add(ranges);
            }
        }
        sum
    }

    fn group_by(&self, role: impl Fn(&Resource) -> Option<&str>) -> BTreeMap<String, Resources> {
        let mut groups: BTreeMap<String, Resources> = BTreeMap::new();
        for resource in self {
            match role(resource) {
                None => {}
                Some(role) => match groups.get_mut(role) {
                    Some(group) => group.add(resource.clone()),
                    None => drop(groups.insert(role.into(), resource.clone().into())),
                },
            }
        }
        groups
    }
}

fn in_subtree(role: &str, root: &str) -> bool {
    role == root || roles::is_strict_subrole(role, root)
}
