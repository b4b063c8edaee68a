//! The rolling update of Kubernetes' Deployment controller (`pkg/controller/deployment/rolling.go` and
//! `util/deployment_util.go`): it looks at the replica sets, changes how many replicas they are to have, and looks
//! again whenever something has changed.
//!
//! Each pass first scales the new set up, as far as there may be surge; when it cannot, it scales old sets down, first
//! by what is not available, and then as far as enough stay available.

use super::IntOrPercent;

/// The replicas of one version: Kubernetes' replica set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Set {
    /// How many there are to be.
    pub(super) spec: u32,
    /// How many can take calls, and could for `min_ready_seconds`.
    pub(super) available: u32,
}

impl Set {
    /// Scales it: what is not available goes first (the order of the ReplicaSet controller).
    pub(super) fn scale(&mut self, to: u32) {
        self.spec = to;
        self.available = self.available.min(to);
    }
}

/// How far a rollout may be from what there should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) surge: u32,
    pub(super) unavailable: u32,
}

impl Bounds {
    /// For so many replicas: the surge rounded up, what may be unavailable rounded down and at most all; where both
    /// come to 0, one may be unavailable (`ResolveFenceposts`).
    pub(super) fn resolve(max_surge: IntOrPercent, max_unavailable: IntOrPercent, replicas: u32) -> Self {
        let (surge, unavailable) = (max_surge.up(replicas), max_unavailable.down(replicas));
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { surge, unavailable: unavailable.min(replicas) }
    }
}

/// Replicas of some sets.
pub(super) fn specs(sets: &[Set]) -> u32 {
    sets.iter().map(|set| set.spec).sum()
}

/// One pass over the sets, in the order of their creation: whether anything was changed.
pub(super) fn pass(sets: &mut [Set], new: usize, replicas: u32, bounds: Bounds) -> bool {
    let before = sets[new].spec;
    if before != replicas {
        let to = match before > replicas {
            true => replicas,
            false => {
                let room = (replicas + bounds.surge).saturating_sub(specs(sets));
                before + room.min(replicas - before)
            }
        };
        sets[new].scale(to);
        if to != before {
            return true;
        }
    }
    scale_down(sets, new, replicas.saturating_sub(bounds.unavailable))
}

/// Takes from the old sets what may go.
fn scale_down(sets: &mut [Set], new: usize, min_available: u32) -> bool {
    let starting = sets[new].spec - sets[new].available;
    let mut clean = specs(sets).saturating_sub(min_available + starting);
    if clean == 0 {
        return false;
    }
    let before = specs(sets);
    for set in old(sets, new) {
        let unwell = (set.spec - set.available).min(clean);
        set.scale(set.spec - unwell);
        clean -= unwell;
    }
    let available: u32 = sets.iter().map(|set| set.available).sum();
    let mut more = available.saturating_sub(min_available);
    for set in old(sets, new) {
        let fewer = set.spec.min(more);
        set.scale(set.spec - fewer);
        more -= fewer;
    }
    specs(sets) < before
}

fn old(sets: &mut [Set], new: usize) -> impl Iterator<Item = &mut Set> {
    sets.iter_mut().enumerate().filter(move |(index, _)| *index != new).map(|(_, set)| set)
}

/// How many there should be has changed from `before` amid a rollout: every set gets its part of the change, and the
/// largest what is left (`scale` in `sync.go`, `GetReplicaSetFraction`). `most` are those that were allowed before.
pub(super) fn scale_in_proportion(sets: &mut [Set], most: u32, replicas: u32, bounds: Bounds) {
    let allowed = replicas + bounds.surge;
    let total = specs(sets);
    let mut left = i64::from(allowed) - i64::from(total);
    if left == 0 || total == 0 || most == 0 {
        return;
    }
    // The largest first; of equals the newest on the way up, and the oldest on the way down.
    let mut order: Vec<usize> = (0..sets.len()).filter(|index| sets[*index].spec > 0).collect();
    if left > 0 {
        order.reverse();
    }
    order.sort_by_key(|index| std::cmp::Reverse(sets[*index].spec));
    let mut sizes: Vec<i64> = order.iter().map(|index| i64::from(sets[*index].spec)).collect();
    for size in &mut sizes {
        // Rounded to the nearest, halves up.
        let part = (*size * i64::from(allowed) * 2 + i64::from(most)) / (2 * i64::from(most)) - *size;
        let part = if left > 0 { part.clamp(0, left) } else { part.clamp(left, 0) };
        *size += part;
        left -= part;
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + left).max(0);
    }
    for (index, size) in order.into_iter().zip(sizes) {
        sets[index].scale(size as u32);
    }
}

#[cfg(test)]
mod tests {
    use IntOrPercent::{Int, Percent};

    use super::*;

    fn sets(list: [(u32, u32); 2]) -> Vec<Set> {
        list.into_iter().map(|(spec, available)| Set { spec, available }).collect()
    }

    /// Kubernetes' documentation: "absolute number is calculated from percentage by rounding up" (surge) and "by
    /// rounding down" (unavailable); one of them is at least 1.
    #[test]
    fn shares_are_rounded_as_kubernetes_does() {
        for (surge, unavailable, replicas, expected) in [
            (Percent(25), Percent(25), 10, (3, 2)),
            (Percent(25), Percent(25), 4, (1, 1)),
            (Percent(25), Percent(25), 3, (1, 0)),
            (Percent(25), Percent(25), 1, (1, 0)),
            (Percent(0), Percent(0), 10, (0, 1)),
            (Percent(0), Percent(9), 10, (0, 1)),
            (Int(2), Int(20), 10, (2, 10)),
            (Percent(100), Percent(0), 7, (7, 0)),
        ] {
            let bounds = Bounds::resolve(surge, unavailable, replicas);
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{surge} {unavailable} of {replicas}");
        }
    }

    /// The cases of `TestDeploymentController_reconcileNewReplicaSet`, kubernetes/kubernetes: replicas, surge, old,
    /// new, and the new ones after it. Nothing may be unavailable and nothing is available, so that old ones stay.
    #[test]
    fn the_new_set_scales_as_in_kubernetes_tests() {
        for (replicas, surge, old, new, expected) in
            [(10, 0, 10, 0, 0), (10, 2, 10, 0, 2), (10, 2, 5, 0, 7), (10, 2, 10, 2, 2), (10, 2, 2, 11, 10)]
        {
            let mut sets = sets([(old, 0), (new, 0)]);
            pass(&mut sets, 1, replicas, Bounds { surge, unavailable: 0 });
            assert_eq!(sets[1].spec, expected, "{replicas} {surge} {old} {new}");
        }
    }

    /// The cases of `TestDeploymentController_reconcileOldReplicaSets`: without surge; what may be unavailable, old,
    /// new, ready of each, and the old ones after it. The first needs a fencepost: 0 and 0 make it 1.
    #[test]
    fn old_sets_scale_as_in_kubernetes_tests() {
        for (unavailable, old, new, expected) in [
            (0, (10, 10), (0, 0), 9),
            (2, (10, 10), (0, 0), 8),
            (2, (10, 8), (0, 0), 8),
            (2, (10, 9), (0, 0), 8),
            (2, (8, 8), (2, 0), 8),
        ] {
            let mut sets = sets([old, new]);
            let bounds = Bounds::resolve(Int(0), Int(unavailable), 10);
            pass(&mut sets, 1, 10, bounds);
            assert_eq!(sets[0].spec, expected, "{unavailable} {old:?} {new:?}");
        }
    }

    /// `rolling.go`'s own example: 10 replicas, 3 more and 2 fewer. New ones are started and old ones taken away until
    /// 8 old ones serve and 5 new ones start; there it stays while they do not come up.
    #[test]
    fn ten_replicas_step_by_step() {
        let bounds = Bounds::resolve(Percent(25), Percent(25), 10);
        let mut sets = sets([(10, 10), (0, 0)]);
        let settle = |sets: &mut Vec<Set>| {
            let mut steps = Vec::new();
            while pass(sets, 1, 10, bounds) {
                steps.push((sets[0].spec, sets[1].spec));
            }
            steps
        };
        assert_eq!(settle(&mut sets), [(10, 3), (8, 3), (8, 5)]);
        // All five come up at once.
        sets[1].available = 5;
        assert_eq!(settle(&mut sets), [(3, 5), (3, 10)]);
        sets[1].available = 10;
        assert_eq!(settle(&mut sets), [(0, 10)]);
        // Case 1 of the example: the new ones never come up, an old one is lost, nothing moves; the user goes back,
        // four of those that crash go, and then the last one can.
        let mut sets = [Set { spec: 8, available: 7 }, Set { spec: 5, available: 0 }];
        assert!(!pass(&mut sets, 1, 10, bounds));
        pass(&mut sets, 0, 10, bounds);
        assert_eq!((sets[0].spec, sets[1].spec), (8, 1));
        pass(&mut sets, 0, 10, bounds);
        assert_eq!((sets[0].spec, sets[1].spec), (10, 1));
    }

    /// The proportional scaling of Kubernetes' documentation: 10 replicas with a surge of 3 and 8 old and 5 new ones
    /// are scaled to 15: 3 more for the old set and 2 for the new one.
    #[test]
    fn five_more_amid_a_rollout_are_shared_out() {
        let mut sets = sets([(8, 8), (5, 0)]);
        let bounds = Bounds { surge: 3, unavailable: 2 };
        scale_in_proportion(&mut sets, 13, 15, bounds);
        assert_eq!((sets[0].spec, sets[1].spec), (11, 7));
        // And back.
        scale_in_proportion(&mut sets, 18, 10, bounds);
        assert_eq!((sets[0].spec, sets[1].spec), (8, 5));
    }
}
