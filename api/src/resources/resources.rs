//! Sums of resources.

use std::{
    ops::{Add, AddAssign, Sub, SubAssign},
    sync::Arc,
};

use thin_vec::ThinVec;

use super::{Resource, Value};

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
            return self.contains_each(other);
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

    /// Whether each of `other` is a part of one of these. It is looked for from behind the last that was found: most that
    /// are compared are in nearly the same order.
    fn contains_each(&self, other: &Self) -> bool {
        let mut next = 0;
        other.iter().all(|wanted| {
            let (before, behind) = self.0.split_at(next);
            let find = |part: &[Resource]| part.iter().position(|held| held.contains(wanted));
            let found = find(behind).map(|at| next + at).or_else(|| find(before));
            next = found.map_or(0, |at| at + 1);
            found.is_some()
        })
    }

    /// Whether these are what is allocated, to whomever, and what is free together.
    pub fn are_split_into(&self, allocated: [&Self; 2], free: &Self) -> bool {
        let [one, other] = allocated;
        if [self, one, other, free].into_iter().flatten().all(Resource::is_divisible) {
            return self.are_simply_split_into(allocated, free);
        }
        let mut sum = one + other;
        sum.unallocate();
        *self == sum + free
    }

    /// The same of what can be cut at will: kind by kind, without a sum of all being made.
    fn are_simply_split_into(&self, allocated: [&Self; 2], free: &Self) -> bool {
        let mut used = 0;
        let each_is_whole = self.iter().all(|whole| {
            let taken = allocated.into_iter().flatten().filter(|part| whole.same_unallocated(part));
            let parts = taken.chain(free.iter().filter(|part| whole.same_kind(part)));
            let sum = parts.map(Resource::value).fold(None, |sum: Option<Value>, part| {
                used += 1;
                Some(sum.map_or_else(|| part.clone(), |sum| sum.plus(part)))
            });
            sum.is_some_and(|sum| sum.equals(whole.value()))
        });
        each_is_whole && used == allocated.into_iter().chain([free]).map(Self::len).sum::<usize>()
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

    /// Adds one resource, which is copied only if nothing that it can be added to is there.
    pub fn add_one(&mut self, resource: &Resource) {
        if resource.is_empty() {
            return;
        }
        match self.0.iter_mut().find(|held| held.is_addable(resource)) {
            Some(held) => held.add(resource),
            None => self.0.push(resource.clone()),
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
        if before.iter().all(|resource| resource.same_allocation(&before[0])) {
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

/// Equal is what contains each other: the order does not count, but most that are equal have the same.
impl PartialEq for Resources {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (self.0 == other.0 || self.contains(other) && other.contains(self))
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
        other.iter().for_each(|resource| self.add_one(resource));
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
