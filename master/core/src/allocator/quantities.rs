//! Amounts and upper bounds by resource name (src/common/resource_quantities.cpp).

use std::collections::BTreeMap;

use mezzo_api::resources::{Resources, Scalar};

/// Amounts by name, none of them zero or negative.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantities(BTreeMap<String, Scalar>);

/// Upper bounds by name. A name that is not there has none; a bound may be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits(BTreeMap<String, Scalar>);

impl Quantities {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amount of one name.
    pub(crate) fn get(&self, name: &str) -> Scalar {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Names and amounts, in the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Scalar)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }
}

/// What is zero or negative is left out; equal names add up.
impl FromIterator<(String, Scalar)> for Quantities {
    fn from_iter<I: IntoIterator<Item = (String, Scalar)>>(amounts: I) -> Self {
        let mut sums: BTreeMap<String, Scalar> = BTreeMap::new();
        for (name, amount) in amounts {
            *sums.entry(name).or_default() += amount;
        }
        sums.retain(|_, amount| *amount > Scalar::ZERO);
        Self(sums)
    }
}

/// The amounts over all roles and disks. What is shared counts once.
impl From<&Resources> for Quantities {
    fn from(resources: &Resources) -> Self {
        resources.quantities().into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect()
    }
}

impl Limits {
    #[cfg(any(test, feature = "harness"))]
    /// The bound of one name, if there is one.
    #[cfg(any(test, feature = "harness"))]
    pub(crate) fn get(&self, name: &str) -> Option<Scalar> {
        self.0.get(name).copied()
    }

    /// Names and bounds, in the order of the names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Scalar)> {
        self.0.iter().map(|(name, bound)| (name.as_str(), *bound))
    }
}

/// What is negative bounds at zero.
impl FromIterator<(String, Scalar)> for Limits {
    fn from_iter<I: IntoIterator<Item = (String, Scalar)>>(bounds: I) -> Self {
        Self(bounds.into_iter().map(|(name, bound)| (name, bound.max(Scalar::ZERO))).collect())
    }
}
