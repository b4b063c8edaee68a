//! The horizontal pod autoscaler of Kubernetes (`autoscaling/v2`).
//!
//! Semantics, names and defaults of `pkg/controller/podautoscaler` (`replica_calculator.go`, `horizontal.go`)
//! and `pkg/apis/autoscaling/v2/defaults.go`, Kubernetes 1.34 (August 2025).

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::{Metric, Replicas, Sample, positive, whole};
use crate::error::ConfigError;
use crate::units::Time;

/// How fast the number of replicas may change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingPolicy {
    /// How many replicas in a period, at most. None: no bound of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods: Option<u32>,
    /// How many percent of those at the beginning of the period, at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// The period.
    pub period: Time,
}

/// One direction of `behavior`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingRules {
    /// The decision that changes least, of this long, holds.
    pub stabilization_window: Time,
    /// The policy that allows most counts. None: no bound.
    pub policies: Vec<ScalingPolicy>,
}

/// The horizontal pod autoscaler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hpa {
    /// What is kept at its target. Default: `utilization`.
    pub metric: Metric,
    /// The target: a share for `utilization` and `kv_usage`, otherwise calls of one replica. Default: 0.8, as
    /// of a CPU.
    pub target: f64,
    /// Deviation from the target that is left alone. Default: 0.1.
    pub tolerance: f64,
    /// Time between decisions. Default: 15 s.
    pub sync_period: Time,
    /// Time between measurements. Default: 15 s, the resolution of the metrics server.
    pub metrics_period: Time,
    /// Fewest replicas. Default: 1.
    pub min_replicas: u32,
    /// Most replicas. Default: 10 (an assumption: Kubernetes has no default).
    pub max_replicas: u32,
    /// Up. Default: 4 pods or 100% in 15 s, no stabilization.
    pub scale_up: ScalingRules,
    /// Down. Default: 100% in 15 s, stabilized over 300 s.
    pub scale_down: ScalingRules,
}

const PERIOD: Time = Time::new(SimDuration::from_secs(15));

impl Default for Hpa {
    fn default() -> Self {
        let policy = |pods, percent| ScalingPolicy { pods, percent, period: PERIOD };
        Self {
            metric: Metric::Utilization,
            target: 0.8,
            tolerance: 0.1,
            sync_period: PERIOD,
            metrics_period: PERIOD,
            min_replicas: 1,
            max_replicas: 10,
            scale_up: ScalingRules {
                stabilization_window: Time::ZERO,
                policies: vec![policy(Some(4), None), policy(None, Some(100))],
            },
            scale_down: ScalingRules {
                stabilization_window: Time::new(SimDuration::from_secs(300)),
                policies: vec![policy(None, Some(100))],
            },
        }
    }
}

impl Hpa {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("target", self.target)?;
        if !(0.0..1.0).contains(&self.tolerance) {
            return Err(ConfigError::new(["tolerance"], format!("tolerance is {}", self.tolerance))
                .help("expected 0 to below 1"));
        }
        for (key, time) in [("sync_period", self.sync_period), ("metrics_period", self.metrics_period)] {
            if time.get().is_zero() {
                return Err(
                    ConfigError::new([key], format!("{key} is {time}")).help("expected a time above 0")
                );
            }
        }
        if self.min_replicas == 0 || self.max_replicas < self.min_replicas {
            let bounds = format!("{} to {} replicas", self.min_replicas, self.max_replicas);
            return Err(ConfigError::new(["max_replicas"], bounds)
                .help("expected `min_replicas` of at least 1 and `max_replicas` not below it"));
        }
        for (key, rules) in [("scale_up", &self.scale_up), ("scale_down", &self.scale_down)] {
            for policy in &rules.policies {
                if policy.period.get().is_zero() || policy.pods.is_some() == policy.percent.is_some() {
                    return Err(ConfigError::new([key, "policies"], "a policy that says nothing")
                        .help("expected `pods` or `percent`, and a `period` above 0"));
                }
            }
        }
        Ok(())
    }
}

/// The autoscaler at work.
#[derive(Debug, Clone)]
pub(super) struct HpaState {
    pub(super) config: Hpa,
    /// The last measurement, summed over the ready replicas.
    last: Option<f64>,
    /// What was recommended, and when.
    recommended: VecDeque<(SimTime, u32)>,
    /// Changes that were made: when, and by how many.
    changes: VecDeque<(SimTime, i64)>,
    /// The metric is of the system, not of its pods: whether these are ready does not matter.
    is_external: bool,
}

impl HpaState {
    pub fn new(config: &Hpa) -> Self {
        Self {
            config: config.clone(),
            last: None,
            recommended: VecDeque::new(),
            changes: VecDeque::new(),
            is_external: false,
        }
    }

    /// One on a metric of the type `External` with an `AverageValue`.
    pub fn external(config: &Hpa) -> Self {
        Self { is_external: true, ..Self::new(config) }
    }

    pub fn sample(&mut self, sample: &Sample) {
        self.measured(sample.total(self.config.metric));
    }

    /// A measurement, summed over the ready replicas.
    pub fn measured(&mut self, total: f64) {
        self.last = Some(total);
    }

    /// Of `replicas.target` replicas those that are not ready have no metrics: they count as idle when it
    /// goes up, and are not counted when it goes down. An external metric is shared among all of them
    /// (`GetExternalPerPodMetricReplicas` in Kubernetes' replica_calculator.go, November 2025).
    fn recommend(&self, replicas: Replicas) -> u32 {
        let current = replicas.target;
        let (Some(total), ready) = (self.last, replicas.ready) else { return current };
        let near = |ratio: f64| (ratio - 1.0).abs() <= self.config.tolerance;
        if self.is_external {
            let wanted = total / self.config.target;
            return if near(wanted / f64::from(current)) { current } else { whole(wanted.ceil()) };
        }
        if ready == 0 || current == 0 {
            return current;
        }
        let ratio = total / (f64::from(ready) * self.config.target);
        let unready = current.saturating_sub(ready);
        if unready == 0 || ratio <= 1.0 {
            return if near(ratio) { current } else { whole((ratio * f64::from(ready)).ceil()) };
        }
        let damped = total / (f64::from(current) * self.config.target);
        if near(damped) || damped < 1.0 {
            return current;
        }
        whole((damped * f64::from(current)).ceil()).max(current)
    }

    /// Replicas at the beginning of the period, by the changes since.
    fn at_start(&self, now: SimTime, period: SimDuration, current: u32) -> i64 {
        let recent = self.changes.iter().filter(|(when, _)| now.since(*when) < period);
        i64::from(current) - recent.map(|(_, change)| change).sum::<i64>()
    }

    pub fn desired(&mut self, now: SimTime, replicas: Replicas) -> u32 {
        let config = &self.config;
        let (up, down) = (&config.scale_up, &config.scale_down);
        let current = replicas.target;
        let recommended = self.recommend(replicas);
        if self.recommended.is_empty() {
            // As Kubernetes does (recordInitialRecommendation in its horizontal.go): what there is at first is
            // not taken away at once.
            self.recommended.push_back((now, current));
        }
        let kept = up.stabilization_window.get().max(down.stabilization_window.get());
        self.recommended.retain(|(when, _)| now.since(*when) < kept);
        let within = |rules: &ScalingRules| {
            let window = rules.stabilization_window.get();
            let recent = self.recommended.iter().filter(move |(when, _)| now.since(*when) < window);
            recent.map(|(_, count)| *count)
        };
        // The lowest recommendation holds on the way up, the highest on the way down.
        let lowest = within(up).min().unwrap_or(recommended).min(recommended);
        let highest = within(down).max().unwrap_or(recommended).max(recommended);
        let mut desired = current.max(lowest).min(highest);
        self.recommended.push_back((now, recommended));

        let longest = up.policies.iter().chain(&down.policies).map(|policy| policy.period.get()).max();
        self.changes.retain(|(when, _)| now.since(*when) < longest.unwrap_or_default());
        if desired > current {
            let limit = up.policies.iter().map(|policy| {
                let start = self.at_start(now, policy.period.get(), current);
                let percent = |percent| (start as f64 * (1.0 + f64::from(percent) / 100.0)).ceil() as i64;
                policy
                    .pods
                    .map_or_else(|| policy.percent.map_or(start, percent), |pods| start + i64::from(pods))
            });
            if let Some(limit) = limit.max() {
                desired = desired.min(u32::try_from(limit).unwrap_or(0).max(current));
            }
        } else if desired < current {
            let limit = down.policies.iter().map(|policy| {
                let start = self.at_start(now, policy.period.get(), current);
                let percent = |percent| (start as f64 * (1.0 - f64::from(percent) / 100.0)) as i64;
                policy
                    .pods
                    .map_or_else(|| policy.percent.map_or(start, percent), |pods| start - i64::from(pods))
            });
            if let Some(limit) = limit.min() {
                desired = desired.max(u32::try_from(limit).unwrap_or(0).min(current));
            }
        }
        let desired = desired.clamp(config.min_replicas, config.max_replicas);
        if desired != current {
            self.changes.push_back((now, i64::from(desired) - i64::from(current)));
        }
        desired
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SimTime {
        SimTime::from_nanos(seconds * 1_000_000_000)
    }

    /// Ten calls of a replica are its target.
    fn config() -> Hpa {
        Hpa { metric: Metric::Concurrency, target: 10.0, max_replicas: 100, ..Hpa::default() }
    }

    fn step(hpa: &mut HpaState, seconds: u64, concurrency: f64, ready: u32, target: u32) -> u32 {
        hpa.sample(&Sample { concurrency, ..Sample::default() });
        hpa.desired(at(seconds), Replicas { ready, target })
    }

    /// 1 -> 5 -> 10 -> 20 -> 40: 4 pods or 100% in 15 s, whichever is more.
    #[test]
    fn it_doubles_in_every_period() {
        let mut hpa = HpaState::new(&config());
        let mut count = 1;
        let mut seen = Vec::new();
        for period in 1..=6 {
            count = step(&mut hpa, 15 * period, 480.0, count, count);
            seen.push(count);
        }
        assert_eq!(seen, [5, 10, 20, 40, 48, 48]);
    }

    #[test]
    fn small_deviations_are_left_alone() {
        let mut hpa = HpaState::new(&config());
        for (concurrency, expected) in [(100.0, 10), (109.9, 10), (110.1, 12), (90.1, 10)] {
            assert_eq!(step(&mut hpa.clone(), 15, concurrency, 10, 10), expected, "{concurrency}");
        }
        // Below the tolerance it goes down, but only when five minutes have said so.
        assert_eq!(step(&mut hpa, 15, 100.0, 10, 10), 10);
        for period in 2..=20 {
            assert_eq!(step(&mut hpa, 15 * period, 45.0, 10, 10), 10, "{period}");
        }
        assert_eq!(step(&mut hpa, 15 * 21, 45.0, 10, 10), 5);
    }

    #[test]
    fn replicas_that_start_count_as_idle_on_the_way_up() {
        let hpa = HpaState::new(&config());
        // 30 calls on 1 ready of 5: 3 are wanted, fewer than there are.
        assert_eq!(step(&mut hpa.clone(), 15, 30.0, 1, 5), 5);
        // 80 calls: 8 are wanted.
        assert_eq!(step(&mut hpa.clone(), 15, 80.0, 1, 5), 8);
        // No ready replica has no metric: nothing is decided.
        assert_eq!(step(&mut hpa.clone(), 15, 80.0, 0, 5), 5);
    }

    #[test]
    fn other_policies() {
        let period = Time::new(SimDuration::from_secs(60));
        let one = ScalingPolicy { pods: Some(1), percent: None, period };
        let rules = |window| ScalingRules { stabilization_window: window, policies: vec![one] };
        let config = Hpa { scale_up: rules(Time::ZERO), scale_down: rules(Time::ZERO), ..config() };
        let mut hpa = HpaState::new(&config);
        let mut count = 4;
        let mut seen = Vec::new();
        for period in 1..=9 {
            count = step(&mut hpa, 15 * period, if period < 6 { 400.0 } else { 0.0 }, count, count);
            seen.push(count);
        }
        // One a minute up, and then one a minute down from what it was a minute before.
        assert_eq!(seen, [5, 5, 5, 5, 6, 4, 4, 4, 4]);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let wrong = |config: Hpa| config.check().unwrap_err().path.join(".");
        assert_eq!(wrong(Hpa { target: f64::NAN, ..Hpa::default() }), "target");
        assert_eq!(wrong(Hpa { tolerance: 1.0, ..Hpa::default() }), "tolerance");
        assert_eq!(wrong(Hpa { max_replicas: 0, ..Hpa::default() }), "max_replicas");
        assert_eq!(wrong(Hpa { sync_period: Time::ZERO, ..Hpa::default() }), "sync_period");
        let policies = vec![ScalingPolicy { pods: None, percent: None, period: PERIOD }];
        let rules = ScalingRules { stabilization_window: Time::ZERO, policies };
        assert_eq!(wrong(Hpa { scale_up: rules, ..Hpa::default() }), "scale_up.policies");
    }
}
