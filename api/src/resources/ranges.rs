//! Sets of whole numbers, as ranges: ports.

use std::{fmt, sync::Arc};

use smallvec::SmallVec;

/// The numbers from `begin` to `end`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// The first.
    pub begin: u64,
    /// The last.
    pub end: u64,
}

type List = SmallVec<[Range; 1]>;

/// Whole numbers, kept as sorted ranges that neither overlap nor touch. Copies share them until one is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ranges(Option<Arc<List>>);

impl Ranges {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The ranges, sorted.
    pub fn iter(&self) -> impl Iterator<Item = Range> + '_ {
        self.list().iter().copied()
    }

    /// Every number, sorted.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.list().iter().flat_map(|range| range.begin..=range.end)
    }

    /// How many numbers there are; at most `u64::MAX`.
    pub fn count(&self) -> u64 {
        self.list().iter().fold(0, |sum: u64, range| sum.saturating_add(range.end - range.begin).saturating_add(1))
    }

    /// Whether every number of `other` is among these.
    pub fn contains(&self, other: &Self) -> bool {
        let mut held = self.list().iter();
        let mut current = held.next();
        other.list().iter().all(|wanted| {
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
        match (&mut self.0, &other.0) {
            (_, None) => {}
            (None, more) => self.0.clone_from(more),
            (Some(list), Some(more)) => {
                let list = Arc::make_mut(list);
                let begin = more[0].begin;
                let follows = list.last().is_none_or(|last| last.end.checked_add(1).is_some_and(|next| begin > next));
                list.extend_from_slice(more);
                if !follows {
                    normalise(list);
                }
            }
        }
    }

    /// Removes the numbers of `other`.
    pub fn subtract(&mut self, other: &Self) {
        if self.is_empty() || other.is_empty() {
            return;
        }
        let mut rest = List::new();
        let mut cuts = other.list().iter().peekable();
        for &range in self.list() {
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
        self.0 = some(rest);
    }

    fn list(&self) -> &[Range] {
        self.0.as_deref().map_or(&[], |list| list)
    }
}

/// Empty is always the same.
fn some(list: List) -> Option<Arc<List>> {
    (!list.is_empty()).then(|| Arc::new(list))
}

fn normalise(list: &mut List) {
    list.retain(|range| range.begin <= range.end);
    list.sort_unstable();
    let mut merged = List::with_capacity(list.len());
    for &range in &*list {
        match merged.last_mut() {
            Some(last) if last.end.checked_add(1).is_none_or(|next| range.begin <= next) => {
                last.end = last.end.max(range.end);
            }
            _ => merged.push(range),
        }
    }
    *list = merged;
}

/// Inverted ranges hold nothing.
impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut list: List = ranges.into_iter().collect();
        normalise(&mut list);
        Self(some(list))
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
