//! Knative's pod autoscaler (KPA): concurrency or requests per second, averaged over a long and a short window.
//!
//! Semantics, names and defaults of Knative Serving (`pkg/autoscaler/scaling/autoscaler.go`,
//! `pkg/autoscaler/config/config.go` and the `config-autoscaler` ConfigMap, November 2025).

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use super::{Replicas, Sample, at_least, positive, whole};
use crate::error::ConfigError;
use crate::units::Time;

/// What is kept at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KnativeMetric {
    /// Calls in a replica, waiting ones too.
    #[default]
    Concurrency,
    /// Calls that arrive, per second.
    Rps,
}

/// Knative's pod autoscaler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Knative {
    /// What is kept at its target. Default: `concurrency`.
    pub metric: KnativeMetric,
    /// The most calls that are in a replica at once; others wait in front (the activator). 0 for no bound, as
    /// is Knative's own default. Default: what a replica works on at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_concurrency: Option<u32>,
    /// Calls of a replica (or calls a second, by `metric`) at 100%. Default: `container_concurrency`, or 100
    /// without a bound; 200 a second by `rps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// How full replicas are meant to be, in percent. Default: 70.
    pub target_utilization_percentage: f64,
    /// Time between decisions. Default: 2 s.
    pub tick_interval: Time,
    /// The long window. Default: 60 s.
    pub stable_window: Time,
    /// The short window, in percent of the long one. Default: 10.
    pub panic_window_percentage: f64,
    /// A panic begins when the short window asks for this many percent of the replicas there are.
    /// Default: 200.
    pub panic_threshold_percentage: f64,
    /// The most replicas of a decision, as a multiple of those ready. Default: 1000.
    pub max_scale_up_rate: f64,
    /// The fewest, as a fraction: those ready by this. Default: 2.
    pub max_scale_down_rate: f64,
    /// How long the highest decision holds before it is lowered. Default: 0.
    pub scale_down_delay: Time,
    /// How long nobody must have asked before the last replica goes. Default: 30 s.
    pub scale_to_zero_grace_period: Time,
    /// Replicas at the start. Default: 1.
    pub initial_scale: u32,
    /// Fewest replicas. Default: 0.
    pub min_scale: u32,
    /// Most replicas; 0 for no bound of the autoscaler's own. Default: 0.
    pub max_scale: u32,
}

impl Default for Knative {
    fn default() -> Self {
        let seconds = |seconds| Time::new(SimDuration::from_secs(seconds));
        Self {
            metric: KnativeMetric::Concurrency,
            container_concurrency: None,
            target: None,
            target_utilization_percentage: 70.0,
            tick_interval: seconds(2),
            stable_window: seconds(60),
            panic_window_percentage: 10.0,
            panic_threshold_percentage: 200.0,
            max_scale_up_rate: 1000.0,
            max_scale_down_rate: 2.0,
            scale_down_delay: Time::ZERO,
            scale_to_zero_grace_period: seconds(30),
            initial_scale: 1,
            min_scale: 0,
            max_scale: 0,
        }
    }
}

impl Knative {
    /// The most calls of a replica, which works on so many at once.
    pub(super) fn most_calls(&self, concurrency: u32) -> Option<u32> {
        Some(self.container_concurrency.unwrap_or(concurrency)).filter(|most| *most > 0)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(target) = self.target {
            positive("target", target)?;
        }
        for (key, value) in [
            ("target_utilization_percentage", self.target_utilization_percentage),
            ("panic_window_percentage", self.panic_window_percentage),
        ] {
            positive(key, value)?;
            if value > 100.0 {
                return Err(ConfigError::new([key], format!("{key} is {value}")).help("expected up to 100"));
            }
        }
        // The bounds of Knative's own validation.
        at_least("panic_threshold_percentage", self.panic_threshold_percentage, 100.0)?;
        at_least("max_scale_up_rate", self.max_scale_up_rate, 1.01)?;
        at_least("max_scale_down_rate", self.max_scale_down_rate, 1.01)?;
        for (key, time) in [("tick_interval", self.tick_interval), ("stable_window", self.stable_window)] {
            if time.get() < SAMPLE {
                return Err(ConfigError::new([key], format!("{key} is {time}")).help("expected at least 1 s"));
            }
        }
        if self.max_scale > 0 && self.max_scale < self.min_scale.max(self.initial_scale) {
            return Err(ConfigError::new(["max_scale"], format!("max_scale is {}", self.max_scale))
                .help("expected at least `min_scale` and `initial_scale`, or 0 for no bound"));
        }
        Ok(())
    }
}

/// Granularity of the windows: one scrape a second.
pub(super) const SAMPLE: SimDuration = SimDuration::from_secs(1);

/// An average over the last seconds (`pkg/autoscaler/aggregation/bucketing.go`). After a silence as long as the window
/// it begins anew, and is the average of what there is.
#[derive(Debug, Clone)]
struct Window {
    /// By when they were taken.
    samples: VecDeque<(SimTime, f64)>,
    length: SimDuration,
}

impl Window {
    fn new(length: SimDuration) -> Self {
        Self { samples: VecDeque::new(), length: length.max(SAMPLE) }
    }

    fn push(&mut self, now: SimTime, value: f64) {
        self.samples.retain(|(at, _)| now.since(*at) < self.length);
        self.samples.push_back((now, value));
    }

    fn average(&self, now: SimTime) -> f64 {
        let within = self.samples.iter().filter(|(at, _)| now.since(*at) < self.length);
        let (sum, first) =
            within.fold((0.0, None), |(sum, first), (at, value)| (sum + value, first.or(Some(*at))));
        // Seconds without a sample since the first count as 0.
        first.map_or(0.0, |first| sum / (now.since(first).as_nanos() / SAMPLE.as_nanos() + 1) as f64)
    }
}

/// The autoscaler at work.
#[derive(Debug, Clone)]
pub(super) struct KnativeState {
    pub(super) config: Knative,
    /// What one replica is meant to have.
    target: f64,
    stable: Window,
    panic: Window,
    /// When the short window was last over its threshold, in a panic.
    panic_since: Option<SimTime>,
    max_panic: u32,
    /// Decisions that are still to hold, by when they were made.
    delayed: VecDeque<(SimTime, u32)>,
    /// Since when no replica has been wanted.
    idle_since: Option<SimTime>,
}

impl KnativeState {
    /// `concurrency` is what a replica works on at once.
    pub fn new(config: &Knative, concurrency: u32) -> Self {
        let total = config.target.unwrap_or(match (config.metric, config.most_calls(concurrency)) {
            (KnativeMetric::Rps, _) => 200.0,
            (KnativeMetric::Concurrency, Some(most)) => most.into(),
            (KnativeMetric::Concurrency, None) => 100.0,
        });
        let stable = config.stable_window.get();
        let panic = stable.as_nanos() as f64 * config.panic_window_percentage / 100.0;
        Self {
            target: total * config.target_utilization_percentage / 100.0,
            stable: Window::new(stable),
            panic: Window::new(SimDuration::from_nanos(panic as u64)),
            panic_since: None,
            max_panic: 0,
            delayed: VecDeque::new(),
            idle_since: None,
            config: config.clone(),
        }
    }

    pub fn sample(&mut self, now: SimTime, sample: &Sample) {
        // Without a pod and without a call nobody reports.
        if sample.ready == 0 && sample.concurrency == 0.0 {
            return;
        }
        let value = match self.config.metric {
            KnativeMetric::Concurrency => sample.concurrency,
            KnativeMetric::Rps => sample.arrivals_per_s,
        };
        self.stable.push(now, value);
        self.panic.push(now, value);
    }

    pub fn desired(&mut self, now: SimTime, replicas: Replicas) -> u32 {
        let config = &self.config;
        let ready = f64::from(replicas.ready).max(1.0);
        let most = (config.max_scale_up_rate * ready).ceil();
        let fewest = (ready / config.max_scale_down_rate).floor();
        let wanted = |average: f64| (average / self.target).ceil();
        let (stable, panic) = (wanted(self.stable.average(now)), wanted(self.panic.average(now)));
        let bounded = |wanted: f64| whole(wanted.max(fewest).min(most));
        let is_over = panic / ready >= config.panic_threshold_percentage / 100.0;
        let window = config.stable_window.get();
        match self.panic_since {
            _ if is_over => self.panic_since = Some(now),
            Some(since) if now.since(since) > window => {
                self.panic_since = None;
                self.max_panic = 0;
            }
            _ => {}
        }
        let mut desired = bounded(stable);
        if self.panic_since.is_some() {
            // A panic only adds.
            self.max_panic = self.max_panic.max(desired).max(bounded(panic));
            desired = self.max_panic;
        }
        if !config.scale_down_delay.get().is_zero() {
            let delay = config.scale_down_delay.get();
            self.delayed.retain(|(made, _)| now.since(*made) < delay);
            self.delayed.push_back((now, desired));
            desired = self.delayed.iter().map(|(_, count)| *count).max().unwrap_or(desired);
        }
        if config.max_scale > 0 {
            desired = desired.min(config.max_scale);
        }
        desired = desired.max(config.min_scale);
        self.unless_graced(now, desired, replicas)
    }

    /// The last replica stays until nobody has wanted one for the grace period.
    fn unless_graced(&mut self, now: SimTime, desired: u32, replicas: Replicas) -> u32 {
        if desired > 0 {
            self.idle_since = None;
            return desired;
        }
        let since = *self.idle_since.get_or_insert(now);
        let graced = now.since(since) >= self.config.scale_to_zero_grace_period.get();
        if graced { 0 } else { replicas.target.min(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SimTime {
        SimTime::from_nanos(seconds * 1_000_000_000)
    }

    fn replicas(ready: u32, target: u32) -> Replicas {
        Replicas { ready, target }
    }

    fn state(config: Knative) -> KnativeState {
        KnativeState::new(&config, 10)
    }

    /// Samples of seconds until `to`, with that.
    fn feed(state: &mut KnativeState, seconds: u64, to: u64, concurrency: f64) {
        for second in to - seconds + 1..=to {
            state.sample(at(second), &Sample { concurrency, ready: 1, ..Sample::default() });
        }
    }

    /// Every number by hand from `autoscaler.go`: the target is 10 calls at 70%: 7.
    #[test]
    fn steps_by_hand() {
        let mut kpa = state(Knative::default());
        feed(&mut kpa, 60, 60, 7.0);
        assert_eq!(kpa.desired(at(60), replicas(1, 1)), 1);
        // Stable (58 x 7 + 2 x 70) / 60 = 9.1: 2. Panic (4 x 7 + 2 x 70) / 6 = 28: 4, at least twice of 1.
        feed(&mut kpa, 2, 62, 70.0);
        assert_eq!(kpa.desired(at(62), replicas(1, 1)), 4);
        // With 4 ready the short window of 70 asks for 10, which is 2.5 times as many.
        feed(&mut kpa, 4, 66, 70.0);
        assert_eq!(kpa.desired(at(66), replicas(4, 4)), 10);
        // It never goes down in a panic, which lasts a stable window after the last time over the threshold.
        feed(&mut kpa, 6, 72, 7.0);
        assert_eq!(kpa.desired(at(72), replicas(10, 10)), 10);
        feed(&mut kpa, 54, 126, 7.0);
        assert_eq!(kpa.desired(at(126), replicas(10, 10)), 10);
        // Then at most by half.
        for (seconds, to, ready, desired) in [(1, 127, 10, 5), (2, 129, 5, 2), (2, 131, 2, 1)] {
            feed(&mut kpa, seconds, to, 7.0);
            assert_eq!(kpa.desired(at(to), replicas(ready, ready)), desired);
        }
    }

    #[test]
    fn zero_comes_after_the_grace_period() {
        let mut kpa = state(Knative::default());
        for (seconds, to, desired) in [(60, 60, 1), (28, 88, 1), (2, 90, 0)] {
            feed(&mut kpa, seconds, to, 0.0);
            assert_eq!(kpa.desired(at(to), replicas(1, 1)), desired);
        }
        // From nothing the first calls are a panic: after the silence their second is the whole window.
        kpa.sample(at(200), &Sample { concurrency: 20.0, ..Sample::default() });
        assert_eq!(kpa.desired(at(200), replicas(0, 0)), 3);
        assert_eq!(kpa.desired(at(202), replicas(0, 3)), 3);
    }

    #[test]
    fn rates_delays_and_bounds() {
        let mut kpa = state(Knative { max_scale_up_rate: 2.0, ..Knative::default() });
        feed(&mut kpa, 60, 60, 700.0);
        assert_eq!(kpa.desired(at(60), replicas(3, 3)), 6);
        let mut kpa = state(Knative { max_scale: 20, min_scale: 2, ..Knative::default() });
        feed(&mut kpa, 60, 60, 700.0);
        assert_eq!(kpa.desired(at(60), replicas(3, 3)), 20);
        let delay = Time::new(SimDuration::from_secs(10));
        let config = Knative { scale_down_delay: delay, min_scale: 1, ..Knative::default() };
        let mut kpa = state(Knative { panic_threshold_percentage: 1000.0, ..config });
        feed(&mut kpa, 60, 60, 14.0);
        assert_eq!(kpa.desired(at(60), replicas(2, 2)), 2);
        // Stable (9 x 14 + 51 x 7) / 60 = 8.05: 2. Then 7: 1, but what was decided holds for ten seconds.
        for (seconds, to, desired) in [(51, 111, 2), (9, 120, 2), (2, 122, 1)] {
            feed(&mut kpa, seconds, to, 7.0);
            assert_eq!(kpa.desired(at(to), replicas(2, 2)), desired);
        }
    }

    #[test]
    fn requests_per_second() {
        let mut kpa = state(Knative { metric: KnativeMetric::Rps, ..Knative::default() });
        for second in 1..=60 {
            kpa.sample(at(second), &Sample { arrivals_per_s: 280.0, ready: 2, ..Sample::default() });
        }
        assert_eq!(kpa.desired(at(60), replicas(2, 2)), 2);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let wrong = |config: Knative| config.check().unwrap_err().path.join(".");
        assert_eq!(wrong(Knative { target: Some(0.0), ..Knative::default() }), "target");
        assert_eq!(
            wrong(Knative { panic_window_percentage: 101.0, ..Knative::default() }),
            "panic_window_percentage"
        );
        assert_eq!(wrong(Knative { max_scale_up_rate: 1.0, ..Knative::default() }), "max_scale_up_rate");
        assert_eq!(wrong(Knative { max_scale: 1, min_scale: 2, ..Knative::default() }), "max_scale");
        assert_eq!(wrong(Knative { tick_interval: Time::ZERO, ..Knative::default() }), "tick_interval");
        assert!(Knative::default().check().is_ok());
    }
}
