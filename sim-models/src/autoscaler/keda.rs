//! KEDA: it wakes what is at zero and puts to sleep what nobody asks; in between the horizontal pod autoscaler
//! works on KEDA's metrics.
//!
//! Semantics, names and defaults of KEDA 2 (`ScaledObject` reference and `pkg/scaling/executor`, November 2025).
//! Several triggers: the one that asks for most counts, as of external metrics of the type `AverageValue`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::hpa::{HpaState, ScalingRules};
use super::{Hpa, Metric, Replicas, Sample, positive};
use crate::error::ConfigError;
use crate::units::Time;

/// What KEDA looks at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// The metric.
    pub metric: Metric,
    /// What one replica is meant to have of it.
    pub threshold: f64,
    /// Above this the scaler is active: it does not sleep. Default: 0.
    #[serde(default)]
    pub activation_threshold: f64,
}

/// KEDA's scaled object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keda {
    /// What it looks at. Default: 10 calls waiting in each replica (an assumption: triggers have no default).
    pub triggers: Vec<Trigger>,
    /// Time between looks at whether there is to be any replica; the autoscaler asks for the metrics itself, every 15 s,
    /// as without `useCachedMetrics`. Default: 30 s.
    pub polling_interval: Time,
    /// How long nothing must have been active before the last replica goes. Default: 300 s.
    pub cooldown_period: Time,
    /// How long after the start none goes. Default: 0.
    pub initial_cooldown_period: Time,
    /// Fewest replicas. Default: 0.
    pub min_replica_count: u32,
    /// Most replicas. Default: 100.
    pub max_replica_count: u32,
    /// Up, as of the horizontal pod autoscaler.
    pub scale_up: ScalingRules,
    /// Down, as of the horizontal pod autoscaler.
    pub scale_down: ScalingRules,
}

impl Default for Keda {
    fn default() -> Self {
        let seconds = |seconds| Time::new(SimDuration::from_secs(seconds));
        let Hpa { scale_up, scale_down, .. } = Hpa::default();
        Self {
            triggers: vec![Trigger { metric: Metric::Queue, threshold: 10.0, activation_threshold: 0.0 }],
            polling_interval: seconds(30),
            cooldown_period: seconds(300),
            initial_cooldown_period: Time::ZERO,
            min_replica_count: 0,
            max_replica_count: 100,
            scale_up,
            scale_down,
        }
    }
}

impl Keda {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.triggers.is_empty() {
            return Err(ConfigError::new(["triggers"], "there is no trigger")
                .help("expected at least one, such as { metric = \"queue\", threshold = 10 }"));
        }
        for trigger in &self.triggers {
            positive("threshold", trigger.threshold).map_err(|error| error.within("triggers"))?;
        }
        if self.polling_interval.get().is_zero() {
            return Err(ConfigError::new(["polling_interval"], "polling_interval is 0")
                .help("expected a time above 0"));
        }
        if self.max_replica_count < self.min_replica_count.max(1) {
            let bounds = format!("{} to {} replicas", self.min_replica_count, self.max_replica_count);
            return Err(ConfigError::new(["max_replica_count"], bounds)
                .help("expected at least 1, and not below `min_replica_count`"));
        }
        self.hpa(&self.triggers[0]).check()
    }

    /// The autoscaler between one and the most.
    fn hpa(&self, trigger: &Trigger) -> Hpa {
        Hpa {
            metric: trigger.metric,
            target: trigger.threshold,
            min_replicas: self.min_replica_count.max(1),
            max_replicas: self.max_replica_count,
            scale_up: self.scale_up.clone(),
            scale_down: self.scale_down.clone(),
            ..Hpa::default()
        }
    }
}

/// Time between the autoscaler's decisions.
fn sync_period() -> SimDuration {
    Hpa::default().sync_period.get()
}

/// The scaler at work.
#[derive(Debug, Clone)]
pub(super) struct KedaState {
    config: Keda,
    /// The autoscaler's, with the bounds on changes.
    hpa: HpaState,
    /// The last measurement of each trigger.
    last: Vec<f64>,
    last_active: SimTime,
    polled: SimTime,
    synced: SimTime,
}

impl KedaState {
    pub fn new(config: &Keda) -> Self {
        Self {
            hpa: HpaState::external(&config.hpa(&config.triggers[0])),
            last: Vec::new(),
            last_active: SimTime::ZERO,
            polled: SimTime::ZERO,
            synced: SimTime::ZERO,
            config: config.clone(),
        }
    }

    pub fn sample(&mut self, sample: &Sample) {
        self.last = self.config.triggers.iter().map(|trigger| sample.total(trigger.metric)).collect();
        // As a multiple of what one replica is meant to have: the autoscaler's target is that of the first.
        let needs = self.last.iter().zip(&self.config.triggers).map(|(value, t)| value / t.threshold);
        let most = needs.fold(0.0, f64::max);
        self.hpa.measured(most * self.config.triggers[0].threshold);
    }

    /// Time to the next decision: each of the two has its own period.
    pub fn wait(&self, now: SimTime) -> SimDuration {
        let left = |last, period: SimDuration| period.saturating_sub(now.since(last));
        left(self.polled, self.config.polling_interval.get()).min(left(self.synced, sync_period()))
    }

    /// Every 15 s the autoscaler decides, and every polling interval whether there is to be any replica.
    pub fn desired(&mut self, now: SimTime, replicas: Replicas) -> u32 {
        let mut desired = replicas.target;
        if now.since(self.polled) >= self.config.polling_interval.get() {
            self.polled = now;
            let active =
                self.last.iter().zip(&self.config.triggers).any(|(v, t)| *v > t.activation_threshold);
            if active {
                self.last_active = now;
                desired = desired.max(1);
            } else if self.config.min_replica_count == 0
                && now.since(self.last_active) >= self.config.cooldown_period.get()
                && now.since(SimTime::ZERO) >= self.config.initial_cooldown_period.get()
            {
                return 0;
            }
        }
        if now.since(self.synced) >= sync_period() {
            self.synced = now;
            // Between one and the most; an autoscaler whose target has no replica is off.
            if replicas.target > 0 {
                return self.hpa.desired(now, replicas);
            }
        }
        desired.max(self.config.min_replica_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SimTime {
        SimTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn steps_by_hand() {
        let mut keda = KedaState::new(&Keda::default());
        let mut count = 0;
        let mut seen = Vec::new();
        for tick in 0..=8_u64 {
            let queue = if tick < 2 { 0.0 } else { 95.0 };
            if tick.is_multiple_of(2) {
                keda.sample(&Sample { queue, ..Sample::default() });
            }
            count = keda.desired(at(15 * tick), Replicas { ready: count, target: count });
            seen.push(count);
        }
        // Asleep at 0 s and 15 s; awake at 30 s; the autoscaler first adds four, then doubles.
        assert_eq!(seen, [0, 0, 1, 5, 10, 10, 10, 10, 10]);
        // Nothing more comes. After five minutes nothing remains, by the cooldown.
        let mut ends = None;
        for tick in 10..60_u64 {
            keda.sample(&Sample::default());
            count = keda.desired(at(15 * tick), Replicas { ready: count, target: count });
            if count == 0 {
                ends = Some(15 * tick);
                break;
            }
        }
        // Last active at 120 s; polled every 30 s.
        assert_eq!(ends, Some(420));
    }

    #[test]
    fn the_trigger_that_asks_for_most_counts() {
        let trigger = |metric, threshold| Trigger { metric, threshold, activation_threshold: 0.0 };
        let triggers = vec![trigger(Metric::Queue, 10.0), trigger(Metric::KvUsage, 0.7)];
        let mut keda = KedaState::new(&Keda { triggers, ..Keda::default() });
        // 4 replicas with their KV caches 95% full: 4 x 0.95 / 0.7 = 5.43; the queue alone asks for 1.
        keda.sample(&Sample { queue: 8.0, kv_usage: 0.95, ready: 4, ..Sample::default() });
        assert_eq!(keda.desired(at(15), Replicas { ready: 4, target: 4 }), 6);
    }

    #[test]
    fn each_period_is_its_own_and_a_replica_that_starts_counts() {
        let polling_interval = Time::new(SimDuration::from_secs(20));
        let mut keda = KedaState::new(&Keda { polling_interval, ..Keda::default() });
        let mut now = at(0);
        let mut seen = Vec::new();
        for _ in 0..6 {
            now = now.checked_add(keda.wait(now)).unwrap();
            keda.sample(&Sample { queue: 95.0, ..Sample::default() });
            // No replica is ready yet.
            let target = seen.last().map_or(0, |(_, target)| *target);
            seen.push((now.as_nanos() / 1_000_000_000, keda.desired(now, Replicas { ready: 0, target })));
        }
        assert_eq!(seen, [(15, 0), (20, 1), (30, 5), (40, 5), (45, 10), (60, 10)]);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let wrong = |config: Keda| config.check().unwrap_err().path.join(".");
        assert_eq!(wrong(Keda { triggers: Vec::new(), ..Keda::default() }), "triggers");
        assert_eq!(wrong(Keda { max_replica_count: 0, ..Keda::default() }), "max_replica_count");
        assert_eq!(wrong(Keda { polling_interval: Time::ZERO, ..Keda::default() }), "polling_interval");
    }
}
