//! A binary buddy allocator (Knuth, "The Art of Computer Programming", volume 1, 2.5).

use std::collections::BTreeSet;

/// Memory of some number of blocks, given away in runs of 2^order of them, each at a multiple of its size.
#[derive(Debug, Clone)]
pub(super) struct Buddy {
    blocks: u32,
    /// The free runs of each order, by their first block.
    free: Vec<BTreeSet<u32>>,
}

/// A run that was given away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    first: u32,
    order: u32,
}

impl Span {
    pub(super) fn blocks(self) -> u32 {
        1 << self.order
    }
}

impl Buddy {
    /// All of `blocks` free: one run for each bit of that number, the largest first.
    pub(super) fn new(blocks: u32) -> Self {
        let mut free = vec![BTreeSet::new(); u32::BITS as usize];
        let mut first = 0;
        for order in (0..u32::BITS).rev().filter(|order| blocks >> order & 1 == 1) {
            free[order as usize].insert(first);
            first += 1 << order;
        }
        Self { blocks, free }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.blocks);
    }

    /// Takes a run of 2^order blocks, if there is one: of the smallest that suffice the first, halved until it
    /// is no larger than needed. What is free depends on what is taken alone, not on how that came about, as
    /// long as nothing was taken in between.
    pub(super) fn take(&mut self, order: u32) -> Option<Span> {
        let mut found = (order..u32::BITS).find(|order| !self.free[*order as usize].is_empty())?;
        let first = self.free[found as usize].pop_first()?;
        while found > order {
            found -= 1;
            self.free[found as usize].insert(first + (1 << found));
        }
        Some(Span { first, order })
    }

    /// Returns a run, and puts it together with its buddies as far as they are free.
    pub(super) fn put(&mut self, span: Span) {
        let Span { mut first, mut order } = span;
        while self.free[order as usize].remove(&(first ^ 1 << order)) {
            first &= !(1 << order);
            order += 1;
        }
        self.free[order as usize].insert(first);
    }

    /// Checks that no free block is in two runs, and that there are so many: O(runs).
    #[cfg(test)]
    pub(super) fn check(&self, free: u32) {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (order, firsts) in self.free.iter().enumerate() {
            runs.extend(firsts.iter().map(|first| (*first, *first + (1 << order))));
        }
        runs.sort_unstable();
        assert!(runs.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{runs:?}");
        assert!(runs.last().is_none_or(|(_, end)| *end <= self.blocks));
        assert_eq!(runs.iter().map(|(first, end)| end - first).sum::<u32>(), free);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_halved_and_put_together_again() {
        let mut buddy = Buddy::new(13);
        let spans: Vec<_> = (0..5).map(|_| buddy.take(1).unwrap()).collect();
        // The smallest run that suffices is that of 4 at 8, then the 8 at 0 are halved.
        assert_eq!(spans.iter().map(|span| span.first).collect::<Vec<_>>(), [8, 10, 0, 2, 4]);
        buddy.check(3);
        assert_eq!(buddy.take(2), None, "2 and 1 blocks are free, but not 4 in a row");
        for span in [spans[3], spans[0], spans[4]] {
            buddy.put(span);
        }
        buddy.check(9);
        assert_eq!(buddy.take(2), Some(Span { first: 4, order: 2 }));
        assert_eq!(buddy.take(2), None, "0 and 2 are no neighbours as long as the run at 0 is taken");
        for span in [spans[2], spans[1], Span { first: 4, order: 2 }] {
            buddy.put(span);
        }
        assert_eq!(buddy.free, Buddy::new(13).free);
    }

    #[test]
    fn what_is_free_does_not_depend_on_the_order_of_returns() {
        let mut buddy = Buddy::new(45);
        let spans: Vec<_> = [0, 2, 1, 0, 3, 1, 2].iter().map(|order| buddy.take(*order).unwrap()).collect();
        let (mut other, all) = (buddy.clone(), spans.len());
        for place in 0..all {
            buddy.put(spans[place]);
            other.put(spans[(place * 3 + 1) % all]);
        }
        assert_eq!(buddy.free, other.free);
        buddy.check(45);
    }
}
