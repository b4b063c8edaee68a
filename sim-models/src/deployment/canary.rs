//! The canary of Argo Rollouts (`utils/replicaset/canary.go`, version 1.6): how many replicas of each version there are
//! to be at a weight.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::analysis::AnalysisConfig;
use super::rolling::{Bounds, Set, specs};
use crate::error::ConfigError;
use crate::units::Time;

/// How a canary goes on: Argo Rollouts' `strategy.canary`. After the last step the new version is all there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CanaryConfig {
    /// The steps, one after the other.
    pub steps: Vec<CanaryStep>,
    /// Whether a router of traffic (a service mesh, an ingress) gives the new version exactly its weight, beside as
    /// many old replicas as before. Default: false, the weight is that of its replicas among all.
    #[serde(default)]
    pub traffic_routing: bool,
    /// What watches it. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisConfig>,
    /// With `traffic_routing`, how long old replicas stay after the last step. Default: 30 s, Argo's.
    #[serde(default = "delay")]
    pub scale_down_delay_seconds: Time,
    /// With `traffic_routing`, how long new replicas stay after the rollout is aborted. Default: 30 s, Argo's.
    #[serde(default = "delay")]
    pub abort_scale_down_delay_seconds: Time,
}

fn delay() -> Time {
    Time::new(sim_core::time::SimDuration::from_secs(30))
}

/// A step of a canary: one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CanaryStep {
    /// The share of the traffic for the new version from now on, in percent. The step is over when its replicas are
    /// available.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_weight: Option<u32>,
    /// How long to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause: Option<Time>,
}

impl CanaryConfig {
    /// # Errors
    /// What of it cannot be; the path starts at the canary.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (index, step) in self.steps.iter().enumerate() {
            let wrong = |message: String, help: &str| {
                Err(ConfigError::new(["steps".to_owned(), index.to_string()], message).help(help))
            };
            match (step.set_weight, step.pause) {
                (Some(weight), None) if weight > 100 => {
                    return wrong(format!("set_weight is {weight}"), "expected a percentage from 0 to 100");
                }
                (Some(_), None) | (None, Some(_)) => {}
                _ => {
                    return wrong(
                        "a step is one of two things".into(),
                        "expected { set_weight = 10 } or { pause = \"5m\" }",
                    );
                }
            }
        }
        let analysis = self.analysis.as_ref();
        analysis.map_or(Ok(()), |analysis| {
            analysis.check(self.steps.len()).map_err(|error| error.within("analysis"))
        })
    }
}

/// How many new and how many stable replicas come nearest to a weight; one more than `replicas` in all where there may
/// be surge and that is nearer, and at least one of each for weights between 0 and 100 (but for a single one without
/// surge).
pub(super) fn nearest(replicas: u32, weight: u32, surge: u32) -> (u32, u32) {
    if replicas == 0 {
        return (0, 0);
    }
    let hundredfold = u64::from(replicas) * u64::from(weight);
    let (up, down) = (hundredfold.div_ceil(100) as u32, (hundredfold / 100) as u32);
    let zero_allowed = weight == 0 || weight == 100 || (replicas == 1 && surge == 0);
    // Halfway between two counts the larger is taken.
    let halfway = |total: u32| u64::from(total) * u64::from(weight) % 100 == 50;
    let mut options = Vec::new();
    if up < replicas || zero_allowed {
        options.push((up, replicas));
    }
    let may_round_down = down != 0 || zero_allowed;
    if !halfway(replicas) && may_round_down {
        options.push((down, replicas));
    }
    if surge > 0 {
        options.push((up, replicas + 1));
        if !halfway(replicas + 1) && may_round_down {
            options.push((down, replicas + 1));
        }
    }
    // |canary * 100 / total - weight|, by the first of those that are equally near.
    let miss = |&(canary, total): &(u32, u32)| {
        (f64::from(canary * 100) / f64::from(total) - f64::from(weight)).abs()
    };
    let best = options.into_iter().reduce(|best, next| if miss(&next) < miss(&best) { next } else { best });
    let (canary, total) = best.unwrap_or((0, replicas));
    (canary, total - canary)
}

/// One pass over the sets of a canary without a router: how many new and stable replicas there are to be next, on the
/// way to a weight. `others` are replicas of versions before, which go first.
pub(super) fn by_replicas(
    (new, stable): (Set, Set),
    others: u32,
    replicas: u32,
    weight: u32,
    bounds: Bounds,
) -> (u32, u32) {
    let (to_new, to_stable) = nearest(replicas, weight, bounds.surge);
    let most = replicas + bounds.surge;
    let mut room = most.saturating_sub(specs(&[new, stable]) + others);
    let mut grown = |set: Set, to: u32| {
        let more = to.saturating_sub(set.spec).min(room);
        room -= more;
        set.spec + more
    };
    // The stable version comes first.
    let mut stable_spec = grown(stable, to_stable);
    let mut new_spec = grown(new, to_new);
    if others > 0 {
        return (new_spec, stable_spec);
    }
    let min_available = replicas.saturating_sub(bounds.unavailable);
    // Of the side that shrinks it does not matter whether it is available.
    let increases = to_new >= new.spec;
    let counted = |set: Set, shrinks: bool| if shrinks { set.spec } else { set.available.min(set.spec) };
    let may_go = (counted(new, !increases) + counted(stable, increases)).saturating_sub(min_available);
    if may_go == 0 {
        return (new_spec, stable_spec);
    }
    let shrunk = |set: Set, to: u32| to.max(set.spec.saturating_sub(may_go));
    let limits = Limits { most, min_available };
    if !increases {
        if new.spec > to_new {
            new_spec = shrunk(new, to_new);
        }
        (new_spec, stable_spec) = limits.adjust((new, new_spec), (stable, stable_spec));
    } else {
        if stable.spec > to_stable {
            stable_spec = shrunk(stable, to_stable);
        }
        (stable_spec, new_spec) = limits.adjust((stable, stable_spec), (new, new_spec));
    }
    (new_spec, stable_spec)
}

struct Limits {
    most: u32,
    min_available: u32,
}

impl Limits {
    /// Keeps two sets within the limits, one that is drained and one that is kept: what is beyond the surge goes from
    /// that which is kept, but not where it would be missed.
    fn adjust(&self, (drained, mut drained_to): (Set, u32), (kept, mut kept_to): (Set, u32)) -> (u32, u32) {
        let over = (kept_to + drained_to).saturating_sub(self.most);
        kept_to = kept_to.saturating_sub(over);
        let available = drained.available.min(drained_to) + kept.available.min(kept_to);
        let lost = kept.available.saturating_sub(kept_to);
        kept_to += lost.min(self.min_available.saturating_sub(available));
        let over = (kept_to + drained_to).saturating_sub(self.most);
        drained_to = drained_to.saturating_sub(over);
        (drained_to, kept_to)
    }
}

#[cfg(test)]
mod tests {
    use super::super::IntOrPercent::{self, Int, Percent};
    use super::*;

    /// The cases of `TestCalculateReplicaCountsForCanary` (argo-rollouts, `canary_test.go`) that have no router:
    /// replicas, weight, surge, unavailable, stable and canary as (spec, available), those of older sets, and what the
    /// stable and the canary are to be.
    #[test]
    #[rustfmt::skip]
    fn sets_scale_as_in_the_tests_of_argo_rollouts() {
        type Case = (u32, u32, IntOrPercent, IntOrPercent, (u32, u32), (u32, u32), u32, (u32, u32));
        let cases: [Case; 26] = [
            (10, 100, Int(3), Int(0), (7, 8), (6, 3), 0, (7, 6)),
            (10, 20, Int(2), Int(0), (10, 10), (0, 0), 0, (10, 2)),
            (10, 20, Percent(20), Int(0), (10, 10), (0, 0), 0, (10, 2)),
            (10, 20, Percent(20), Int(0), (10, 10), (2, 2), 0, (8, 2)),
            (10, 30, Int(2), Int(0), (10, 10), (0, 0), 0, (10, 2)),
            (10, 20, Int(0), Int(2), (10, 10), (0, 0), 0, (8, 0)),
            (10, 20, Int(0), Percent(20), (10, 10), (0, 0), 0, (8, 0)),
            (10, 30, Int(0), Int(2), (10, 10), (0, 0), 0, (8, 0)),
            (10, 50, Int(2), Int(1), (10, 10), (0, 0), 0, (9, 2)),
            (10, 0, Int(1), Int(1), (10, 10), (1, 1), 0, (10, 0)),
            (10, 100, Int(1), Int(1), (1, 1), (10, 10), 0, (0, 10)),
            (1, 20, Int(1), Int(0), (1, 1), (0, 0), 0, (1, 1)),
            (1, 90, Int(1), Int(0), (1, 1), (0, 0), 0, (1, 1)),
            (10, 30, Int(1), Int(0), (1, 1), (0, 0), 3, (7, 1)),
            (10, 30, Int(0), Int(3), (8, 5), (4, 4), 0, (7, 3)),
            (10, 100, Int(1), Int(0), (10, 2), (10, 8), 0, (2, 9)),
            (10, 30, Int(0), Int(1), (8, 6), (4, 2), 3, (8, 4)),
            (10, 5, Int(0), Int(1), (10, 10), (0, 0), 0, (9, 0)),
            (10, 5, Int(0), Int(1), (9, 9), (0, 0), 0, (9, 1)),
            (10, 10, Percent(0), Percent(0), (10, 10), (0, 0), 0, (9, 0)),
            (4, 100, Int(1), Int(0), (4, 1), (0, 0), 0, (4, 1)),
            (3, 99, Int(0), Int(2), (3, 3), (0, 0), 0, (1, 0)),
            (3, 99, Int(0), Int(2), (1, 1), (0, 0), 0, (1, 2)),
            (4, 100, Int(1), Int(0), (4, 1), (1, 1), 0, (3, 1)),
            (4, 0, Int(1), Int(0), (0, 0), (4, 4), 0, (1, 4)),
            (4, 0, Int(1), Int(0), (1, 0), (4, 4), 0, (1, 4)),
        ];
        for (replicas, weight, surge, unavailable, stable, canary, others, expected) in cases {
            let set = |(spec, available)| Set { spec, available };
            let bounds = Bounds::resolve(surge, unavailable, replicas);
            let (new, old) = by_replicas((set(canary), set(stable)), others, replicas, weight, bounds);
            let case = format!("{replicas} at {weight}%, {surge}, {unavailable}: {stable:?} {canary:?} {others}");
            assert_eq!((old, new), expected, "{case}");
        }
    }

    /// At least one of each; the nearer of `replicas` and one more; and halves go to the new version.
    #[test]
    fn weights_come_out_as_near_as_replicas_allow() {
        for (replicas, weight, surge, expected) in [
            (10, 10, 3, (1, 9)),
            (10, 5, 1, (1, 10)),
            // Halfway between 9 and 10, of which 10 would leave no stable one: Argo's rule finds nothing, and waits.
            (10, 95, 0, (0, 10)),
            (10, 94, 0, (9, 1)),
            (3, 50, 0, (2, 1)),
            (5, 25, 1, (1, 4)),
            (1, 50, 0, (1, 0)),
            (0, 50, 1, (0, 0)),
            (4, 100, 1, (4, 0)),
        ] {
            assert_eq!(nearest(replicas, weight, surge), expected, "{replicas} at {weight}%, surge {surge}");
        }
    }
}
