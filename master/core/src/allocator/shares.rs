//! Dominant shares: the largest fraction of the cluster, over all scalar resources, that somebody has.

use std::collections::BTreeMap;

use mezzo_api::resources::{Resources, Scalar};
use smallvec::SmallVec;

/// Amounts by interned resource name.
pub(super) type Amounts = SmallVec<[Scalar; 4]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Plus,
    Minus,
}

/// The whole cluster's amounts, and the interned names.
#[derive(Debug, Default)]
pub(super) struct Totals {
    names: Vec<String>,
    amounts: Amounts,
    /// Grows when the cluster does: shares from before are stale.
    pub(super) version: u64,
}

impl Totals {
    pub(super) fn add(&mut self, resources: &Resources) {
        let mut amounts = std::mem::take(&mut self.amounts);
        self.change(&mut amounts, resources, Sign::Plus);
        self.amounts = amounts;
        self.version += 1;
    }

    pub(super) fn subtract(&mut self, resources: &Resources) {
        let mut amounts = std::mem::take(&mut self.amounts);
        self.change(&mut amounts, resources, Sign::Minus);
        self.amounts = amounts;
        self.version += 1;
    }

    /// Adds to, or takes from, somebody's amounts.
    pub(super) fn change(&mut self, amounts: &mut Amounts, resources: &Resources, sign: Sign) {
        for resource in resources {
            let Some(amount) = resource.amount() else { continue };
            let at = self.intern(resource.name());
            if amounts.len() <= at {
                amounts.resize(at + 1, Scalar::default());
            }
            match sign {
                Sign::Plus => amounts[at] += amount,
                Sign::Minus => amounts[at] -= amount,
            }
        }
    }

    /// The dominant share, as a number that orders like it.
    pub(super) fn share(&self, amounts: &Amounts) -> u64 {
        let shares = amounts.iter().zip(&self.amounts).map(|(held, total)| {
            let (held, total) = (held.as_f64(), total.as_f64());
            if total > 0.0 { (held / total).max(0.0) } else { 0.0 }
        });
        // Floats that are not negative order like their bits.
        shares.fold(0.0_f64, f64::max).to_bits()
    }

    pub(super) fn all(&self) -> BTreeMap<String, Scalar> {
        self.named(&self.amounts)
    }

    pub(super) fn named(&self, amounts: &Amounts) -> BTreeMap<String, Scalar> {
        let named = self.names.iter().zip(amounts).filter(|(_, amount)| !amount.is_zero());
        named.map(|(name, amount)| (name.clone(), *amount)).collect()
    }

    fn intern(&mut self, name: &str) -> usize {
        self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.to_owned());
            self.names.len() - 1
        })
    }
}
