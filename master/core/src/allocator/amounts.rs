//! Amounts by interned resource name: what the allocator computes with.

use std::{collections::BTreeMap, sync::Arc};

use mezzo_api::resources::{Resource, Resources, Scalar};
use smallvec::SmallVec;

use super::{Limits, Quantities};

/// A resource name's number.
pub(super) type Name = usize;

/// The interned names.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<Arc<str>>);

impl Names {
    pub(super) fn intern(&mut self, name: &str) -> Name {
        self.find(name).unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<Name> {
        self.0.iter().position(|known| **known == *name)
    }

    pub(super) fn text(&self, name: Name) -> &str {
        &self.0[name]
    }

    /// The amounts of those that `wanted` says yes to.
    pub(super) fn amounts(&mut self, resources: &Resources, wanted: impl Fn(&Resource) -> bool) -> Amounts {
        let mut sum = Amounts::default();
        for resource in resources.iter().filter(|resource| wanted(resource)) {
            if let Some(amount) = resource.amount() {
                sum.add(self.intern(resource.name()), amount);
            }
        }
        sum
    }

    pub(super) fn read(&mut self, quantities: &Quantities) -> Amounts {
        let mut amounts = Amounts::default();
        quantities.iter().for_each(|(name, amount)| amounts.add(self.intern(name), amount));
        amounts
    }

    pub(super) fn read_limits(&mut self, limits: &Limits) -> Bounds {
        limits.iter().map(|(name, bound)| (self.intern(name), bound)).collect()
    }

    /// What is not zero, by name.
    pub(super) fn named(&self, amounts: &Amounts) -> BTreeMap<String, Scalar> {
        let named = self.0.iter().zip(amounts.iter()).filter(|(_, amount)| !amount.is_zero());
        named.map(|(name, amount)| (name.to_string(), amount)).collect()
    }
}

/// Upper bounds of some names.
pub(super) type Bounds = SmallVec<[(Name, Scalar); 4]>;

/// Amounts by name; those that are not there are zero.
#[derive(Debug, Default)]
pub(super) struct Amounts(SmallVec<[Scalar; 4]>);

impl Amounts {
    pub(super) fn get(&self, name: Name) -> Scalar {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, name: Name, amount: Scalar) {
        if let Some(known) = self.0.get_mut(name) {
            *known = amount;
        } else if !amount.is_zero() {
            while self.0.len() < name {
                self.0.push(Scalar::ZERO);
            }
            self.0.push(amount);
        }
    }

    pub(super) fn add(&mut self, name: Name, amount: Scalar) {
        self.set(name, self.get(name) + amount);
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.iter().all(|amount| amount.is_zero())
    }

    /// By name, from the first one on.
    pub(super) fn iter(&self) -> impl Iterator<Item = Scalar> + '_ {
        self.0.iter().copied()
    }

    /// Names of which there is something.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> + '_ {
        self.0.iter().enumerate().filter(|(_, amount)| !amount.is_zero()).map(|(name, _)| name)
    }

    pub(super) fn plus(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), Scalar::ZERO);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(amount, more)| *amount += *more);
    }

    pub(super) fn minus(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), Scalar::ZERO);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(amount, less)| *amount -= *less);
    }

    pub(super) fn change(&mut self, other: &Self, sign: Sign) {
        match sign {
            Sign::Plus => self.plus(other),
            Sign::Minus => self.minus(other),
        }
    }
}

impl Clone for Amounts {
    fn clone(&self) -> Self {
        Self(SmallVec::from_slice(&self.0))
    }
}

impl PartialEq for Amounts {
    fn eq(&self, other: &Self) -> bool {
        let (short, long) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        let (same, rest) = long.0.split_at(short.0.len());
        short.0[..] == *same && rest.iter().all(|amount| amount.is_zero())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

/// The whole cluster's amounts: what shares are fractions of.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) amounts: Amounts,
    /// Names that do not count (`--fair_sharing_excluded_resource_names`).
    pub(super) excluded: SmallVec<[Name; 2]>,
    /// Grows when the cluster does: shares from before are stale.
    pub(super) version: u64,
}

impl Totals {
    pub(super) fn change(&mut self, amounts: &Amounts, sign: Sign) {
        if !amounts.is_zero() {
            self.amounts.change(amounts, sign);
            self.version += 1;
        }
    }

    /// The dominant share by weight: the largest fraction of the cluster, over all amounts, that somebody has
    /// (src/master/allocator/mesos/sorter/drf/sorter.cpp, calculateShare).
    pub(super) fn share(&self, held: &Amounts, weight: f64) -> f64 {
        let mut share = 0.0_f64;
        for (name, (held, total)) in held.iter().zip(self.amounts.iter()).enumerate() {
            if held > Scalar::ZERO && total > Scalar::ZERO && !self.excluded.contains(&name) {
                share = share.max(held.as_f64() / total.as_f64());
            }
        }
        share / weight
    }

    /// The name whose fraction is the largest.
    pub(super) fn dominant(&self, held: &Amounts) -> Option<Name> {
        let fraction = |name: Name| held.get(name).as_f64() / self.amounts.get(name).as_f64();
        let counted =
            held.names().filter(|name| self.amounts.get(*name) > Scalar::ZERO && !self.excluded.contains(name));
        counted.max_by(|a, b| fraction(*a).total_cmp(&fraction(*b)))
    }
}
