//! Ray Serve's replica autoscaling: ongoing requests of a replica, with patience in both directions.
//!
//! Semantics, names and defaults of Ray 2.50 (`python/ray/serve/autoscaling_policy.py` and `config.py`,
//! October 2025).

use std::collections::VecDeque;
use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::SimDuration;

use super::{Replicas, Sample, positive, whole};
use crate::error::ConfigError;
use crate::units::Time;

/// Ray Serve's `autoscaling_config`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RayServe {
    /// Fewest replicas. Default: 1.
    pub min_replicas: u32,
    /// Most replicas. Default: 1.
    pub max_replicas: u32,
    /// Replicas at the start. Default: `min_replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_replicas: Option<u32>,
    /// Calls that a replica is meant to have, waiting and in service. Default: 2.
    pub target_ongoing_requests: f64,
    /// The most calls that are in a replica at once; others wait in front. Default: 5.
    pub max_ongoing_requests: NonZeroU32,
    /// Time between measurements. Default: 10 s.
    pub metrics_interval_s: Time,
    /// Over how long measurements are averaged. Default: 30 s.
    pub look_back_period_s: Time,
    /// How long more must have been wanted. Default: 30 s.
    pub upscale_delay_s: Time,
    /// How long fewer must have been wanted. Default: 600 s.
    pub downscale_delay_s: Time,
    /// Above 1 it goes up by more than is wanted, below 1 by less. Default: 1.
    pub upscaling_factor: f64,
    /// The same on the way down. Default: 1.
    pub downscaling_factor: f64,
}

impl Default for RayServe {
    fn default() -> Self {
        let seconds = |seconds| Time::new(SimDuration::from_secs(seconds));
        Self {
            min_replicas: 1,
            max_replicas: 1,
            initial_replicas: None,
            target_ongoing_requests: 2.0,
            max_ongoing_requests: NonZeroU32::new(5).expect("not zero"),
            metrics_interval_s: seconds(10),
            look_back_period_s: seconds(30),
            upscale_delay_s: seconds(30),
            downscale_delay_s: seconds(600),
            upscaling_factor: 1.0,
            downscaling_factor: 1.0,
        }
    }
}

/// How often the controller decides (`CONTROL_LOOP_INTERVAL_S`).
pub(super) const CONTROL_LOOP_INTERVAL: SimDuration = SimDuration::from_millis(100);

impl RayServe {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("target_ongoing_requests", self.target_ongoing_requests)?;
        positive("upscaling_factor", self.upscaling_factor)?;
        positive("downscaling_factor", self.downscaling_factor)?;
        if self.metrics_interval_s.get().is_zero() || self.look_back_period_s < self.metrics_interval_s {
            let message = format!("look_back_period_s is {}", self.look_back_period_s);
            return Err(ConfigError::new(["look_back_period_s"], message)
                .help("expected at least `metrics_interval_s`, which is above 0"));
        }
        let initial = self.initial_replicas.unwrap_or(self.min_replicas);
        if self.max_replicas == 0 || !(self.min_replicas..=self.max_replicas).contains(&initial) {
            let bounds =
                format!("{} to {} replicas, {initial} at first", self.min_replicas, self.max_replicas);
            return Err(ConfigError::new(["max_replicas"], bounds).help(
                "expected at least 1, not below `min_replicas`, and `initial_replicas` between the two",
            ));
        }
        Ok(())
    }
}

/// The autoscaler at work.
#[derive(Debug, Clone)]
pub(super) struct RayServeState {
    config: RayServe,
    measured: VecDeque<f64>,
    /// Decisions in a row to go up, or below 0 to go down.
    counter: i64,
}

impl RayServeState {
    pub fn new(config: &RayServe) -> Self {
        Self { config: config.clone(), measured: VecDeque::new(), counter: 0 }
    }

    pub fn sample(&mut self, sample: &Sample) {
        let config = &self.config;
        let room = config.look_back_period_s.get().as_nanos() / config.metrics_interval_s.get().as_nanos();
        while self.measured.len() as u64 >= room.max(1) {
            self.measured.pop_front();
        }
        self.measured.push_back(sample.concurrency);
    }

    fn wanted(&self, running: u32) -> u32 {
        let config = &self.config;
        let ongoing = self.measured.iter().sum::<f64>() / self.measured.len().max(1) as f64;
        let running = f64::from(running);
        let error = ongoing / (config.target_ongoing_requests * running);
        let factor = if error >= 1.0 { config.upscaling_factor } else { config.downscaling_factor };
        let mut wanted = whole((running * (1.0 + (error - 1.0) * factor)).ceil());
        // Without this, small factors would never take the last one away.
        if f64::from(wanted) == running && error < 1.0 && config.downscaling_factor < 1.0 {
            wanted -= 1;
        }
        wanted.clamp(config.min_replicas, config.max_replicas)
    }

    pub fn desired(&mut self, replicas: Replicas) -> u32 {
        let target = replicas.target;
        if replicas.ready == 0 {
            let asked = self.measured.back().is_some_and(|ongoing| *ongoing > 0.0);
            let first = whole(self.config.upscaling_factor.ceil()).max(target);
            return if asked { first.min(self.config.max_replicas) } else { target };
        }
        let wanted = self.wanted(replicas.ready);
        let periods = |delay: Time| (delay.get().as_nanos() / CONTROL_LOOP_INTERVAL.as_nanos()) as i64;
        let decided = if wanted > target {
            self.counter = self.counter.max(0) + 1;
            self.counter > periods(self.config.upscale_delay_s)
        } else if wanted < target {
            self.counter = self.counter.min(0) - 1;
            self.counter < -periods(self.config.downscale_delay_s)
        } else {
            self.counter = 0;
            false
        };
        if decided {
            self.counter = 0;
            return wanted;
        }
        target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RayServe {
        RayServe { max_replicas: 20, ..RayServe::default() }
    }

    fn feed(state: &mut RayServeState, concurrency: f64) {
        state.sample(&Sample { concurrency, ..Sample::default() });
    }

    /// After how many decisions the number changes, and to what.
    fn change(state: &mut RayServeState, ready: u32, target: u32) -> Option<(u32, u32)> {
        (1..10_000).find_map(|decision| {
            let desired = state.desired(Replicas { ready, target });
            (desired != target).then_some((decision, desired))
        })
    }

    #[test]
    fn steps_by_hand() {
        let mut serve = RayServeState::new(&config());
        // (10 + 10 + 40) / 3 = 20 calls on 2 replicas: 10 are wanted, but not before 30 s have said so.
        for concurrency in [90.0, 10.0, 10.0, 40.0] {
            feed(&mut serve, concurrency);
        }
        assert_eq!(change(&mut serve, 2, 2), Some((301, 10)));
        // Replicas that start do not count: 2 are ready of 10, and 10 are wanted still.
        assert_eq!(change(&mut serve, 2, 10), None);
        // Nothing to do: after 600 s the fewest.
        (0..3).for_each(|_| feed(&mut serve, 0.0));
        assert_eq!(change(&mut serve, 10, 10), Some((6001, 1)));
    }

    #[test]
    fn a_change_of_mind_starts_over() {
        let mut serve = RayServeState::new(&config());
        (0..3).for_each(|_| feed(&mut serve, 20.0));
        for _ in 0..300 {
            assert_eq!(serve.desired(Replicas { ready: 2, target: 2 }), 2);
        }
        (0..3).for_each(|_| feed(&mut serve, 4.0));
        assert_eq!(serve.desired(Replicas { ready: 2, target: 2 }), 2);
        (0..3).for_each(|_| feed(&mut serve, 20.0));
        assert_eq!(change(&mut serve, 2, 2), Some((301, 10)));
    }

    #[test]
    fn factors_and_zero() {
        let mut serve = RayServeState::new(&RayServe { upscaling_factor: 0.5, ..config() });
        (0..3).for_each(|_| feed(&mut serve, 20.0));
        // 1 + (5 - 1) / 2 = 3 times as many.
        assert_eq!(change(&mut serve, 2, 2), Some((301, 6)));
        let mut serve = RayServeState::new(&RayServe { min_replicas: 0, ..config() });
        feed(&mut serve, 0.0);
        assert_eq!(serve.desired(Replicas { ready: 0, target: 0 }), 0);
        feed(&mut serve, 1.0);
        assert_eq!(serve.desired(Replicas { ready: 0, target: 0 }), 1);
        // At most one by one where it goes down slowly.
        let mut serve = RayServeState::new(&RayServe { downscaling_factor: 0.1, ..config() });
        (0..3).for_each(|_| feed(&mut serve, 3.0));
        assert_eq!(serve.wanted(2), 1);
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let wrong = |config: RayServe| config.check().unwrap_err().path.join(".");
        assert_eq!(wrong(RayServe { target_ongoing_requests: 0.0, ..config() }), "target_ongoing_requests");
        assert_eq!(wrong(RayServe { min_replicas: 30, ..config() }), "max_replicas");
        assert_eq!(wrong(RayServe { initial_replicas: Some(30), ..config() }), "max_replicas");
        let short = Time::new(SimDuration::from_secs(1));
        assert_eq!(wrong(RayServe { look_back_period_s: short, ..config() }), "look_back_period_s");
    }
}
