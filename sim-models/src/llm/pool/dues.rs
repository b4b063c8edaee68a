//! When the replicas of a pool are due: the soonest, and who that is.

use sim_core::time::SimTime;
use sim_core::tournament::Tournament;

/// Not due.
const NEVER: SimTime = SimTime::MAX;

/// When each replica is due.
#[derive(Debug)]
pub(super) struct Dues(Tournament<SimTime>);

impl Dues {
    pub(super) fn new(replicas: u32) -> Self {
        let mut times = Tournament::new(NEVER);
        for _ in 0..replicas {
            times.add();
        }
        Self(times)
    }

    /// A replica is due at another time.
    #[inline]
    pub(super) fn set(&mut self, index: usize, due: Option<SimTime>) {
        self.0.set(index, due.unwrap_or(NEVER));
    }

    /// The soonest time.
    #[inline]
    pub(super) fn soonest(&self) -> Option<SimTime> {
        Some(self.0.first()).filter(|due| *due != NEVER)
    }

    /// The first of the replicas that are due soonest, if that is at `now` or before.
    #[inline]
    pub(super) fn first_by(&self, now: SimTime) -> Option<usize> {
        self.soonest().filter(|due| *due <= now).map(|_| self.0.place_of_first())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_soonest_is_first(
            replicas in 1u32..20, changes in prop::collection::vec((0u32..20, prop::option::of(0u64..9)), 0..60),
        ) {
            let (mut dues, mut all) = (Dues::new(replicas), vec![None; replicas as usize]);
            for (index, due) in changes {
                let (index, due) = ((index % replicas) as usize, due.map(SimTime::from_nanos));
                dues.set(index, due);
                all[index] = due;
                let set: BTreeSet<_> = all.iter().zip(0..).filter_map(|(due, index)| Some(((*due)?, index))).collect();
                let first = set.first().copied();
                prop_assert_eq!(dues.soonest(), first.map(|(at, _)| at));
                prop_assert_eq!(dues.first_by(SimTime::from_nanos(9)), first.map(|(_, index)| index));
                let before = first.and_then(|(at, _)| dues.first_by(SimTime::from_nanos(at.as_nanos().checked_sub(1)?)));
                prop_assert_eq!(before, None);
            }
        }
    }
}
