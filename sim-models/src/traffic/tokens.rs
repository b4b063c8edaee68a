//! Lengths in tokens, drawn from a law.

use sim_core::distribution::Dist;
use sim_core::random::unit_of;

/// A law of lengths. What a long run draws often is read off a table of the same values.
#[derive(Debug)]
pub(super) struct Tokens {
    law: Dist,
    /// Draws until it is worth making the table.
    draws_left: u32,
    table: Option<Table>,
}

/// After so many draws the table has cost less than they have.
const TABLE_AFTER: u32 = 16_384;

impl Tokens {
    pub(super) fn new(law: Dist) -> Self {
        Self { law, draws_left: TABLE_AFTER, table: None }
    }

    /// The length that a generator's next word stands for: the law's quantile at
    /// [`unit_of`] that word, rounded, at least 1.
    #[inline]
    pub(super) fn at(&mut self, word: u64) -> u32 {
        match self.table.as_ref().and_then(|table| table.at(word)) {
            Some(tokens) => tokens,
            None => self.ask(word),
        }
    }

    #[inline(never)]
    fn ask(&mut self, word: u64) -> u32 {
        if self.draws_left > 0 {
            self.draws_left -= 1;
            if self.draws_left == 0 {
                self.table = Table::new(&self.law);
            }
        }
        tokens_at(&self.law, unit_of(word))
    }
}

fn tokens_at(law: &Dist, u: f64) -> u32 {
    // The cast rounds down and cuts off at both ends.
    ((law.quantile(u) + 0.5) as u32).max(1)
}

/// Which length a word stands for, by its upper half: a length takes an interval of halves. The halves in
/// which the length changes are for the law itself to say, so that the table gives its values exactly.
#[derive(Debug)]
struct Table {
    /// The least length.
    least: u32,
    /// Where the length changes to `least + i`, ascending; then the end of all intervals, as often as
    /// [`Table::at`] may look beyond the last.
    changes: Vec<u32>,
    /// Number of lengths: what comes after the last of them is not in the table.
    lengths: usize,
    /// The last change before each of 2^[`GUIDE_BITS`] equal parts of the halves.
    guide: Vec<u16>,
}

/// The most lengths in a table: longer ones are for the law to say.
const MAX_LENGTHS: u32 = 4_096;
const GUIDE_BITS: u32 = 11;
/// Changes passed without a branch.
const STRIDES: usize = 2;

/// The uniform number at the start of a half.
fn start_of(half: u32) -> f64 {
    f64::from(half) / (1u64 << 32) as f64
}

impl Table {
    /// The table of a law; none when it changes where its distribution function does not say so.
    fn new(law: &Dist) -> Option<Self> {
        let (least, most) = (tokens_at(law, start_of(1)), tokens_at(law, start_of(u32::MAX)));
        let end = most.min(least.saturating_add(MAX_LENGTHS));
        let mut changes = vec![0];
        for next in least + 1..=end {
            // Of an atom just there, only what is below.
            let half = (law.cdf((f64::from(next) - 0.5).next_down()) * (1u64 << 32) as f64) as u32;
            let changes_there = changes.last() <= Some(&half)
                && (half == 0 || tokens_at(law, start_of(half)) < next)
                && (half == u32::MAX || tokens_at(law, start_of(half + 1)) >= next);
            if !changes_there {
                return None;
            }
            changes.push(half);
        }
        let lengths = changes.len() - usize::from(end < most);
        let last_before = |part: u32| {
            let start = part << (32 - GUIDE_BITS);
            changes.partition_point(|change| *change < start).saturating_sub(1) as u16
        };
        let guide = (0..1 << GUIDE_BITS).map(last_before).collect();
        changes.extend([u32::MAX; STRIDES + 1]);
        Some(Self { least, changes, lengths, guide })
    }

    /// The length that a word stands for, unless that is for the law to say.
    #[inline]
    fn at(&self, word: u64) -> Option<u32> {
        let half = (word >> 32) as u32;
        let mut place = usize::from(self.guide[(word >> (64 - GUIDE_BITS)) as usize]);
        // Arithmetic, not branches: whether there is a change in between cannot be predicted.
        for _ in 0..STRIDES {
            place += usize::from(half > self.changes[place + 1]);
        }
        while half > self.changes[place + 1] {
            place += 1;
        }
        let certain = place < self.lengths && half > self.changes[place] && half < self.changes[place + 1];
        certain.then_some(self.least + place as u32)
    }
}

#[cfg(test)]
mod tests {
    use rand::Rng;
    use sim_core::distribution::{Empirical, Gamma, LogNormal, Mixture, Normal, Pareto, Uniform};
    use sim_core::random::{Purpose, Streams};

    use super::*;

    /// Laws of many shapes, and whether a table serves (almost) all draws.
    fn laws() -> Vec<(Dist, bool)> {
        let lognormal = |mean, cv| Dist::from(LogNormal::from_mean_cv(mean, cv).unwrap());
        let samples = Empirical::from_samples(vec![2.5, 2.5, 7.0, 7.49, 7.5, 300.0]).unwrap();
        vec![
            (lognormal(512.0, 1.31).clipped(4.0, 2048.0).unwrap(), true),
            (lognormal(200.0, 0.95).clipped(2.0, 1024.0).unwrap(), true),
            (lognormal(200.0, 0.95), true),
            (lognormal(30_000.0, 2.0), false),
            (Normal::new(100.0, 20.0).unwrap().into(), true),
            (Uniform::new(0.0, 50.0).unwrap().into(), true),
            (Gamma::from_mean_cv(40.0, 0.5).unwrap().into(), true),
            (Pareto::new(10.0, 1.5).unwrap().into(), false),
            (samples.clone().into(), false),
            (Mixture::new(vec![(0.5, samples.into()), (0.5, lognormal(50.0, 1.0))]).unwrap().into(), false),
        ]
    }

    #[test]
    fn a_table_gives_the_laws_own_values() {
        let mut rng = Streams::new(5, 0).stream("tokens", Purpose::Attributes);
        for (law, serves) in laws() {
            let Some(table) = Table::new(&law) else {
                assert!(!serves, "{law:?}");
                continue;
            };
            let check = |word: u64| {
                let tokens = table.at(word);
                assert!(
                    tokens.is_none_or(|tokens| tokens == tokens_at(&law, unit_of(word))),
                    "{law:?} {word}"
                );
                tokens.is_some()
            };
            let served = (0..100_000).filter(|_| check(rng.next_u64())).count();
            assert!(!serves || served > 99_900, "{served} {law:?}");
            // Where it is hard.
            for change in &table.changes {
                for half in change.saturating_sub(2)..=change.saturating_add(2) {
                    for rest in [0, u64::from(rng.next_u32()), u64::from(u32::MAX)] {
                        check(u64::from(half) << 32 | rest);
                    }
                }
            }
        }
    }

    #[test]
    fn draws_do_not_depend_on_how_many_there_were() {
        for (law, _) in laws() {
            let mut tokens = Tokens::new(law.clone());
            let mut rng = Streams::new(6, 0).stream("tokens", Purpose::Attributes);
            for _ in 0..TABLE_AFTER + 1_000 {
                let word = rng.next_u64();
                let expected = law.quantile(unit_of(word)).round().max(1.0) as u32;
                assert_eq!(tokens.at(word), expected, "{law:?} {word}");
            }
        }
    }
}
