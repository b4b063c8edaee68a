//! Target tracking as cloud providers do it.
//!
//! Semantics of AWS Application Auto Scaling ("Target tracking scaling policies", user guide, November 2025):
//! metrics come once a minute; it scales out when three of them in a row are above the target, and in when
//! fifteen in a row are 10% below it (the alarms that the service makes: `AlarmHigh`, `AlarmLow`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::{Metric, Replicas, Sample, positive, whole};
use crate::error::ConfigError;
use crate::units::Time;

/// Target tracking.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TargetTracking {
    /// What is kept at its target. Default: `concurrency`.
    pub metric: Metric,
    /// The target: a share for `utilization` and `kv_usage`, otherwise calls of one replica. Default: 5 (an
    /// assumption: there is no default).
    pub target_value: f64,
    /// Fewest replicas. Default: 1.
    pub min_capacity: u32,
    /// Most replicas. Default: 10 (an assumption: there is no default).
    pub max_capacity: u32,
    /// How long after it has gone up it goes up again only by more. Default: 300 s.
    pub scale_out_cooldown: Time,
    /// How long after a change it does not go down. Default: 300 s.
    pub scale_in_cooldown: Time,
    /// Time between measurements. Default: 60 s.
    pub period: Time,
    /// Measurements above the target that it takes to go up. Default: 3.
    pub datapoints_to_scale_out: u32,
    /// Measurements below 90% of the target that it takes to go down. Default: 15.
    pub datapoints_to_scale_in: u32,
    /// Never goes down. Default: false.
    pub disable_scale_in: bool,
}

impl Default for TargetTracking {
    fn default() -> Self {
        let seconds = |seconds| Time::new(SimDuration::from_secs(seconds));
        Self {
            metric: Metric::Concurrency,
            target_value: 5.0,
            min_capacity: 1,
            max_capacity: 10,
            scale_out_cooldown: seconds(300),
            scale_in_cooldown: seconds(300),
            period: seconds(60),
            datapoints_to_scale_out: 3,
            datapoints_to_scale_in: 15,
            disable_scale_in: false,
        }
    }
}

/// Share of the target below which the alarm to go down rings.
const LOW: f64 = 0.9;

impl TargetTracking {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("target_value", self.target_value)?;
        if self.period.get().is_zero() {
            return Err(ConfigError::new(["period"], "period is 0").help("expected a time above 0"));
        }
        if self.datapoints_to_scale_out == 0 || self.datapoints_to_scale_in == 0 {
            return Err(ConfigError::new(["datapoints_to_scale_out"], "an alarm without measurements")
                .help("expected at least 1, here and in `datapoints_to_scale_in`"));
        }
        if self.max_capacity == 0 || self.max_capacity < self.min_capacity {
            let bounds = format!("{} to {} replicas", self.min_capacity, self.max_capacity);
            return Err(ConfigError::new(["max_capacity"], bounds)
                .help("expected at least 1, and not below `min_capacity`"));
        }
        Ok(())
    }
}

/// The policy at work.
#[derive(Debug, Clone)]
pub(super) struct TargetTrackingState {
    pub(super) config: TargetTracking,
    /// The last measurement, summed over the replicas.
    last: f64,
    above: u32,
    below: u32,
    /// When it last went up, and to how many.
    out: Option<(SimTime, u32)>,
    changed: Option<SimTime>,
}

impl TargetTrackingState {
    pub fn new(config: &TargetTracking) -> Self {
        Self { config: config.clone(), last: 0.0, above: 0, below: 0, out: None, changed: None }
    }

    pub fn sample(&mut self, sample: &Sample) {
        self.last = sample.total(self.config.metric);
        let each = self.last / f64::from(sample.ready.max(1));
        let count = |holds: bool, so_far: u32| if holds { so_far.saturating_add(1) } else { 0 };
        self.above = count(each > self.config.target_value, self.above);
        self.below = count(each < self.config.target_value * LOW, self.below);
    }

    pub fn desired(&mut self, now: SimTime, replicas: Replicas) -> u32 {
        let config = &self.config;
        let current = replicas.target;
        let within = |since: Option<SimTime>, cooldown: Time| {
            since.is_some_and(|since| now.since(since) < cooldown.get())
        };
        let needed = whole((self.last / config.target_value).ceil());
        let needed = needed.clamp(config.min_capacity, config.max_capacity);
        if self.above >= config.datapoints_to_scale_out && needed > current {
            // What was added before and is still starting counts as added.
            let cooling = self.out.filter(|(since, _)| within(Some(*since), config.scale_out_cooldown));
            if cooling.is_none_or(|(_, added)| needed > added) {
                self.out = Some((now, needed));
                self.changed = Some(now);
                return needed;
            }
        }
        let low = self.below >= config.datapoints_to_scale_in && needed < current;
        if low && !config.disable_scale_in && !within(self.changed, config.scale_in_cooldown) {
            self.changed = Some(now);
            return needed;
        }
        current.clamp(config.min_capacity, config.max_capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> SimTime {
        SimTime::from_nanos(minutes * 60_000_000_000)
    }

    #[test]
    fn steps_by_hand() {
        let mut policy = TargetTrackingState::new(&TargetTracking::default());
        let mut count = 2;
        let mut changes = Vec::new();
        for minute in 1..=60_u64 {
            let concurrency = if minute <= 10 { 33.0 } else { 8.0 };
            policy.sample(&Sample { concurrency, ready: count, ..Sample::default() });
            let desired = policy.desired(at(minute), Replicas { ready: count, target: count });
            if desired != count {
                changes.push((minute, desired));
            }
            count = desired;
        }
        // 33 / 5 = 6.6: 7 after three minutes above 5; 8 / 5: 2 after fifteen minutes below 4.5.
        assert_eq!(changes, [(3, 7), (25, 2)]);
    }

    #[test]
    fn it_goes_up_in_the_cooldown_only_by_more() {
        let config = TargetTracking { datapoints_to_scale_out: 1, ..TargetTracking::default() };
        let mut policy = TargetTrackingState::new(&config);
        let mut step = |minute: u64, concurrency: f64, target: u32| {
            policy.sample(&Sample { concurrency, ready: 1, ..Sample::default() });
            policy.desired(at(minute), Replicas { ready: 1, target })
        };
        assert_eq!(step(1, 20.0, 1), 4);
        // Somebody took replicas away meanwhile: they are not replaced until the cooldown is over.
        assert_eq!(step(2, 20.0, 3), 3);
        assert_eq!(step(3, 30.0, 4), 6);
        assert_eq!(step(9, 20.0, 3), 4);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let wrong = |config: TargetTracking| config.check().unwrap_err().path.join(".");
        let default = TargetTracking::default;
        assert_eq!(wrong(TargetTracking { target_value: -1.0, ..default() }), "target_value");
        assert_eq!(wrong(TargetTracking { max_capacity: 0, ..default() }), "max_capacity");
        assert_eq!(wrong(TargetTracking { period: Time::ZERO, ..default() }), "period");
        assert_eq!(
            wrong(TargetTracking { datapoints_to_scale_in: 0, ..default() }),
            "datapoints_to_scale_out"
        );
    }
}
