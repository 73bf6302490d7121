//! Which slots of the records are free: the lowest is taken first, so that the file stays as small as the agent is busy.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The free slots.
#[derive(Debug)]
pub(super) struct Slots {
    free: BinaryHeap<Reverse<u32>>,
    next: u32,
}

impl Slots {
    /// All slots but those in use and the header.
    pub(super) fn new(in_use: impl IntoIterator<Item = u32>) -> Self {
        let mut used: Vec<u32> = in_use.into_iter().collect();
        used.sort_unstable();
        let next = used.last().map_or(1, |last| last + 1);
        let free = (1..next).filter(|slot| used.binary_search(slot).is_err()).map(Reverse).collect();
        Self { free, next }
    }

    pub(super) fn take(&mut self) -> u32 {
        self.free.pop().map_or_else(
            || {
                self.next += 1;
                self.next - 1
            },
            |Reverse(slot)| slot,
        )
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(Reverse(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_slot_comes_first_and_none_twice() {
        let mut slots = Slots::new([2, 4]);
        assert_eq!([slots.take(), slots.take(), slots.take(), slots.take()], [1, 3, 5, 6]);
        slots.give_back(4);
        slots.give_back(1);
        assert_eq!([slots.take(), slots.take(), slots.take()], [1, 4, 7]);
        assert_eq!(Slots::new([]).take(), 1);
    }
}
