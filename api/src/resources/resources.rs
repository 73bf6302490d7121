//! Sums of resources.

use std::{
    ops::{Add, AddAssign, Sub, SubAssign},
    sync::Arc,
};

use thin_vec::ThinVec;

use super::Resource;

/// Resources, e.g. those of an agent, an offer or a task. Many have none: they are as small as a pointer.
#[derive(Clone, Debug, Default)]
pub struct Resources(ThinVec<Resource>);

impl Resources {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entries, in the order in which they came as far as possible.
    pub fn iter(&self) -> impl Iterator<Item = &Resource> {
        self.0.iter()
    }

    /// Whether all of `other` is among these. What is taken whole or not at all counts once.
    pub fn contains(&self, other: &Self) -> bool {
        if !other.iter().any(Resource::is_exclusive) {
            return other.iter().all(|wanted| self.contains_one(wanted));
        }
        let mut remaining = self.clone();
        other.iter().all(|wanted| {
            let contained = remaining.contains_one(wanted);
            if wanted.is_exclusive() {
                remaining.subtract(wanted);
            }
            contained
        })
    }

    /// Whether `wanted` is a part of one of these.
    pub fn contains_one(&self, wanted: &Resource) -> bool {
        self.iter().any(|held| held.contains(wanted))
    }

    /// Adds one resource.
    pub fn add(&mut self, resource: Resource) {
        if resource.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|held| held.is_addable(&resource)) {
            Some(held) => held.add(&resource),
            None => self.0.push(resource),
        }
    }

    /// Subtracts one resource. What is not there is left out; an amount never becomes negative.
    pub fn subtract(&mut self, resource: &Resource) {
        let Some(at) = self.0.iter().position(|held| held.is_subtractable(resource)) else { return };
        if !self.0[at].subtract(resource) {
            self.0.swap_remove(at);
        }
    }

    /// Marks all as allocated to `role`.
    pub fn allocate(&mut self, role: &str) {
        self.allocate_to(&role.into());
    }

    /// The same; they share the role's name.
    pub fn allocate_to(&mut self, role: &Arc<str>) {
        self.rebuild(|resource| resource.set_allocation(Some(role.clone())));
    }

    /// Takes the mark away.
    pub fn unallocate(&mut self) {
        if self.iter().any(|resource| resource.allocation_role().is_some()) {
            self.rebuild(|resource| resource.set_allocation(None));
        }
    }

    fn rebuild(&mut self, change: impl Fn(&mut Resource)) {
        let before = std::mem::take(&mut self.0);
        if before.iter().all(|resource| resource.allocation_role() == before[0].allocation_role()) {
            self.0 = before; // what could not be added before, cannot be after
            self.0.iter_mut().for_each(change);
            return;
        }
        for mut resource in before {
            change(&mut resource);
            self.add(resource);
        }
    }

    pub(super) fn select(&self, wanted: impl Fn(&Resource) -> bool) -> Self {
        Self(self.iter().filter(|resource| wanted(resource)).cloned().collect())
    }
}

/// Equal is what contains each other: the order does not count.
impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.contains(other) && other.contains(self)
    }
}

impl FromIterator<Resource> for Resources {
    fn from_iter<I: IntoIterator<Item = Resource>>(resources: I) -> Self {
        let mut sum = Self::new();
        sum.extend(resources);
        sum
    }
}

impl Extend<Resource> for Resources {
    fn extend<I: IntoIterator<Item = Resource>>(&mut self, resources: I) {
        resources.into_iter().for_each(|resource| self.add(resource));
    }
}

impl<'a> IntoIterator for &'a Resources {
    type Item = &'a Resource;
    type IntoIter = std::slice::Iter<'a, Resource>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl From<Resource> for Resources {
    fn from(resource: Resource) -> Self {
        Self::from_iter([resource])
    }
}

impl AddAssign<&Resources> for Resources {
    fn add_assign(&mut self, other: &Resources) {
        if self.is_empty() {
            self.0.clone_from(&other.0);
            return;
        }
        for resource in other.iter().filter(|resource| !resource.is_empty()) {
            match self.0.iter_mut().find(|held| held.is_addable(resource)) {
                Some(held) => held.add(resource),
                None => self.0.push(resource.clone()),
            }
        }
    }
}

impl SubAssign<&Resources> for Resources {
    fn sub_assign(&mut self, other: &Resources) {
        other.iter().for_each(|resource| self.subtract(resource));
    }
}

impl Add<&Resources> for &Resources {
    type Output = Resources;

    fn add(self, other: &Resources) -> Resources {
        self.clone() + other
    }
}

impl Add<&Resources> for Resources {
    type Output = Resources;

    fn add(mut self, other: &Resources) -> Resources {
        self += other;
        self
    }
}

impl Sub<&Resources> for &Resources {
    type Output = Resources;

    fn sub(self, other: &Resources) -> Resources {
        self.clone() - other
    }
}

impl Sub<&Resources> for Resources {
    type Output = Resources;

    fn sub(mut self, other: &Resources) -> Resources {
        self -= other;
        self
    }
}

impl<'a> std::iter::Sum<&'a Resources> for Resources {
    fn sum<I: Iterator<Item = &'a Resources>>(all: I) -> Self {
        let mut sum = Self::new();
        all.for_each(|one| sum += one);
        sum
    }
}
