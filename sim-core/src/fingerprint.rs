//! One number that two equal runs share. Where unequal runs part, [`crate::check`] finds.
//!
//! ```
//! use sim_core::fingerprint::Fingerprint;
//!
//! // A model may keep one of its own, such as over the outcomes of requests.
//! let mut outcomes = Fingerprint::default();
//! outcomes.word(7);
//! let mut others = Fingerprint::default();
//! others.word(8);
//! assert_ne!(outcomes, others);
//! assert_eq!(outcomes.to_string().len(), 16);
//! ```

use std::fmt;

use crate::time::SimTime;

/// A rolling 64-bit hash over every event handled (time, phase, kind, target): equal runs have equal
/// fingerprints, and unequal runs share one with a chance of about 2^-64. No defence against forgery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0x6a09_e667_f3bc_c908)
    }
}

impl Fingerprint {
    /// Mixes one event in.
    #[inline]
    pub(crate) fn event(&mut self, at: SimTime, phase: u64, identity: u64) {
        self.word(at.as_nanos() ^ (identity ^ phase << 56).wrapping_mul(0x9fb2_1c65_1e98_df25));
    }

    /// Mixes one word in: a multiplication spreads low bits up, the fold brings high bits back down.
    #[inline]
    pub fn word(&mut self, word: u64) {
        let product = (self.0 ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.0 = product ^ product >> 32;
    }

    /// The hash so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Phase;

    fn of(events: &[(u64, Phase, u64)]) -> u64 {
        let mut fingerprint = Fingerprint::default();
        for (at, phase, identity) in events {
            fingerprint.event(SimTime::from_nanos(*at), *phase as u64, *identity);
        }
        fingerprint.value()
    }

    #[test]
    fn every_part_and_the_order_count() {
        let base = [(1, Phase::Reply, 7), (2, Phase::Timer, 8)];
        let all = [
            of(&base),
            of(&[base[1], base[0]]),
            of(&base[..1]),
            of(&[(3, Phase::Reply, 7), base[1]]),
            of(&[(1, Phase::Arrival, 7), base[1]]),
            of(&[(1, Phase::Reply, 9), base[1]]),
        ];
        let mut distinct = all.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }
}
