//! How many of the sequences that decode need a block in which steps.

use super::size::Size;

/// The sequences that decode, by the number, modulo the block size, of the steps in which they need a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Phases {
    size: Size,
    /// All of them twice over, so that those of any steps in a row lie in a row.
    counts: Vec<u32>,
}

impl Phases {
    pub(super) fn new(size: Size) -> Self {
        Self { size, counts: vec![0; 2 * size.get() as usize] }
    }

    /// Forgets all sequences.
    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
    }

    /// The place of a sequence with so many tokens before step 0.
    #[inline]
    fn place(&self, base: i64) -> [usize; 2] {
        let place = self.size.rest_signed(-base) as usize;
        [place, place + self.counts.len() / 2]
    }

    /// A sequence decodes that finds `base + n` tokens in the cache in step n.
    #[inline]
    pub(super) fn enter(&mut self, base: i64) {
        for place in self.place(base) {
            self.counts[place] += 1;
        }
    }

    /// It does not any more.
    #[inline]
    pub(super) fn leave(&mut self, base: i64) {
        for place in self.place(base) {
            self.counts[place] -= 1;
        }
    }

    /// Sequences that need a block in step `step`.
    #[inline]
    pub(super) fn at(&self, step: u64) -> u32 {
        self.counts[self.size.rest(step) as usize]
    }

    /// The same of all steps of a cycle, the first of them `step`.
    #[inline]
    fn cycle(&self, step: u64) -> &[u32] {
        let first = self.size.rest(step) as usize;
        &self.counts[first..first + self.counts.len() / 2]
    }

    /// Blocks needed in `steps` steps from `first` on.
    #[inline]
    pub(super) fn blocks(&self, first: u64, steps: u64, decodes: u64) -> u64 {
        let rest = &self.cycle(first)[..self.size.rest(steps) as usize];
        // All take a block in every cycle.
        self.size.of(steps) * decodes + rest.iter().map(|count| u64::from(*count)).sum::<u64>()
    }

    /// Blocks taken in the `steps` steps behind step `start`, fewer than 2^10.
    #[inline]
    pub(super) fn taken_behind(&self, start: u64, steps: u64) -> Taken {
        let (cycle, size) = (self.cycle(start + 1), self.size.get());
        let (rounds, rest) = (self.size.of(steps), self.size.rest(steps));
        let mut taken = Taken::default();
        if rounds > 0 {
            // Each phase comes in so many rounds: sums over the rounds and over their squares.
            let [blocks, distances, squares] = sums(cycle);
            let pairs = rounds * (rounds - 1) / 2;
            taken.blocks = rounds * blocks;
            taken.distances = rounds * distances + size * pairs * blocks;
            taken.squares = rounds * squares
                + 2 * size * pairs * distances
                + size * size * (pairs * (2 * rounds - 1) / 3) * blocks;
        }
        if rest > 0 {
            // And the first ones once more, behind all rounds.
            let [blocks, distances, squares] = sums(&cycle[..rest as usize]);
            let behind = size * rounds;
            taken.blocks += blocks;
            taken.distances += distances + behind * blocks;
            taken.squares += squares + 2 * behind * distances + behind * behind * blocks;
        }
        taken
    }
}

/// Blocks taken in the steps behind a step: how many, and the sums of the distances of these steps and of their
/// squares.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) blocks: u64,
    pub(super) distances: u64,
    pub(super) squares: u64,
}

/// Of counts at the distances 1, 2, ...: their sum, and the sums of their distances and of the squares of these.
#[inline]
fn sums(counts: &[u32]) -> [u64; 3] {
    // Summing up from the far end counts each as often as it is far, without a multiplication.
    let (mut blocks, mut distances, mut triangles) = (0, 0, 0);
    for count in counts.iter().rev() {
        blocks += u64::from(*count);
        distances += blocks;
        triangles += distances;
    }
    [blocks, distances, 2 * triangles - distances]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_sums_over_the_steps(
            size in 1u32..40, bases in prop::collection::vec(-50i64..50, 0..30), start in 100u64..200, steps in 0u64..200,
        ) {
            let mut phases = Phases::new(Size::new(size));
            bases.iter().chain(&[7]).for_each(|base| phases.enter(*base));
            phases.leave(7);
            let need = |step: u64| {
                let full = |base: &&i64| (**base + step as i64) % i64::from(size) == 0;
                bases.iter().filter(full).count() as u64
            };
            prop_assert_eq!(u64::from(phases.at(start)), need(start));
            let blocks: u64 = (start..start + steps).map(need).sum();
            prop_assert_eq!(phases.blocks(start, steps, bases.len() as u64), blocks);
            let sum = |power| (1..=steps).map(|ahead| need(start + ahead) * ahead.pow(power)).sum();
            let taken = Taken { blocks: sum(0), distances: sum(1), squares: sum(2) };
            prop_assert_eq!(phases.taken_behind(start, steps), taken);
        }
    }
}
