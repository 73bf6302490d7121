//! Sets of whole numbers, as ranges: ports.

use std::fmt;

use smallvec::SmallVec;

/// The numbers from `begin` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first.
    pub begin: u64,
    /// The last.
    pub end: u64,
}

/// Whole numbers, kept as sorted ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(SmallVec<[Range; 1]>);

impl Ranges {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, sorted.
    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.0.iter().copied()
    }

    /// Every number, sorted.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().flat_map(|range| range.begin..=range.end)
    }

    /// How many numbers there are; at most `u64::MAX`.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, range| sum.saturating_add(range.end - range.begin).saturating_add(1))
    }

    /// Whether every number of `other` is among these.
    pub fn contains(&self, other: &Self) -> bool {
        let mut held = self.0.iter();
        let mut current = held.next();
        other.0.iter().all(|wanted| {
            while let Some(range) = current {
                if wanted.begin <= range.end {
                    return range.begin <= wanted.begin && wanted.end <= range.end;
                }
                current = held.next();
            }
            false
        })
    }

    /// Adds the numbers of `other`.
    pub fn add(&mut self, other: &Self) {
        match other.0.as_slice() {
            [] => {}
            [one] => self.insert(*one),
            _ => {
                self.0.extend_from_slice(&other.0);
                self.normalise();
            }
        }
    }

    /// Removes the numbers of `other`.
    pub fn subtract(&mut self, other: &Self) {
        if self.0.is_empty() || other.0.is_empty() {
            return;
        }
        let mut rest = SmallVec::new();
        let mut cuts = other.0.iter().peekable();
        for &range in &self.0 {
            let mut begin = range.begin;
            let mut open = true;
            while let Some(&&cut) = cuts.peek() {
                if cut.end < begin {
                    cuts.next();
                    continue;
                }
                if cut.begin > range.end {
                    break;
                }
                if cut.begin > begin {
                    rest.push(Range { begin, end: cut.begin - 1 });
                }
                if cut.end >= range.end {
                    open = false;
                    break; // the cut may reach into the next range too
                }
                begin = cut.end + 1;
                cuts.next();
            }
            if open {
                rest.push(Range { begin, end: range.end });
            }
        }
        self.0 = rest;
    }

    fn insert(&mut self, range: Range) {
        match self.0.last() {
            Some(last) if last.end.checked_add(1).is_none_or(|next| range.begin <= next) => {
                self.0.push(range);
                self.normalise();
            }
            _ => self.0.push(range),
        }
    }

    fn normalise(&mut self) {
        self.0.retain(|range| range.begin <= range.end);
        self.0.sort_unstable();
        let mut merged: SmallVec<[Range; 1]> = SmallVec::with_capacity(self.0.len());
        for &range in &self.0 {
            match merged.last_mut() {
                Some(last) if last.end.checked_add(1).is_none_or(|next| range.begin <= next) => {
                    last.end = last.end.max(range.end);
                }
                _ => merged.push(range),
            }
        }
        self.0 = merged;
    }
}

/// Inverted ranges hold nothing.
impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut all = Self(ranges.into_iter().collect());
        all.normalise();
        all
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ranges(f, self.iter())
    }
}

pub(super) fn write_ranges(f: &mut impl fmt::Write, ranges: impl Iterator<Item = Range>) -> fmt::Result {
    f.write_char('[')?;
    for (at, range) in ranges.enumerate() {
        let separator = if at > 0 { ", " } else { "" };
        write!(f, "{separator}{}-{}", range.begin, range.end)?;
    }
    f.write_char(']')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn ranges(pairs: &[(u64, u64)]) -> Ranges {
        pairs.iter().map(|&(begin, end)| Range { begin, end }).collect()
    }

    #[test]
    fn merges_what_overlaps_or_touches() {
        assert_eq!(ranges(&[(5, 9), (1, 2), (3, 4), (8, 12)]).to_string(), "[1-12]");
        assert_eq!(ranges(&[(5, 9), (1, 2)]).to_string(), "[1-2, 5-9]");
        assert_eq!(ranges(&[(9, 5)]), Ranges::new());
        assert_eq!(ranges(&[(1, u64::MAX), (0, 0)]).to_string(), "[0-18446744073709551615]");
        assert_eq!(ranges(&[(0, u64::MAX)]).count(), u64::MAX);
    }

    fn any_ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0u64..60, 0u64..8).prop_map(|(begin, length)| (begin, begin + length)), 0..6)
    }

    proptest! {
        #[test]
        fn behave_like_sets(a in any_ranges(), b in any_ranges()) {
            let (left, right) = (ranges(&a), ranges(&b));
            let left_set: BTreeSet<u64> = left.numbers().collect();
            let right_set: BTreeSet<u64> = right.numbers().collect();
            prop_assert_eq!(&left_set, &a.iter().flat_map(|&(begin, end)| begin..=end).collect());
            prop_assert_eq!(left.contains(&right), left_set.is_superset(&right_set));

            let mut sum = left.clone();
            sum.add(&right);
            prop_assert_eq!(sum.numbers().collect::<BTreeSet<_>>(), &left_set | &right_set);

            let mut difference = left.clone();
            difference.subtract(&right);
            prop_assert_eq!(difference.numbers().collect::<Vec<_>>(), left_set.difference(&right_set).copied().collect::<Vec<_>>());
        }
    }
}
