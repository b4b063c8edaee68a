//! When the replicas of a pool are due: the soonest, and who that is.

use sim_core::time::SimTime;

/// Not due.
const NEVER: SimTime = SimTime::MAX;

/// A tournament between replicas: each node has the soonest time below it.
#[derive(Debug)]
pub(super) struct Dues {
    /// The root is at 1, and the children of `n` at `2 n` and `2 n + 1`.
    nodes: Vec<SimTime>,
}

impl Dues {
    pub(super) fn new(replicas: u32) -> Self {
        Self { nodes: vec![NEVER; 2 * replicas.next_power_of_two() as usize] }
    }

    /// A replica is due at another time.
    #[inline]
    pub(super) fn set(&mut self, index: usize, due: Option<SimTime>) {
        let mut node = self.nodes.len() / 2 + index;
        self.nodes[node] = due.unwrap_or(NEVER);
        while node > 1 {
            let soonest = self.nodes[node].min(self.nodes[node ^ 1]);
            node /= 2;
            self.nodes[node] = soonest;
        }
    }

    /// The soonest time.
    #[inline]
    pub(super) fn soonest(&self) -> Option<SimTime> {
        Some(self.nodes[1]).filter(|due| *due != NEVER)
    }

    /// The first of the replicas that are due soonest, if that is at `now` or before.
    #[inline]
    pub(super) fn first_by(&self, now: SimTime) -> Option<usize> {
        self.soonest().filter(|due| *due <= now)?;
        let mut node = 1;
        while node < self.nodes.len() / 2 {
            let left = 2 * node;
            node = left + usize::from(self.nodes[left] != self.nodes[node]);
        }
        Some(node - self.nodes.len() / 2)
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
