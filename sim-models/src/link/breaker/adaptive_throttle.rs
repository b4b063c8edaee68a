//! Adaptive throttling on the client's side.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::request::Outcome;
use crate::units::Time;

/// Parameters of `adaptive_throttle` (Google, "Site Reliability Engineering", chapter 21): an attempt is
/// refused with probability `max(0, (requests - k * accepts) / (requests + 1))`, over the requests of the
/// window, refused ones included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveThrottleConfig {
    /// How many requests are sent for one that is accepted. Default: 2.
    pub k: f64,
    /// What counts. Default: 2 min.
    pub window: Time,
}

impl Default for AdaptiveThrottleConfig {
    fn default() -> Self {
        Self { k: 2.0, window: Time::new(SimDuration::from_secs(120)) }
    }
}

impl AdaptiveThrottleConfig {
    pub(super) fn build(&self) -> Result<AdaptiveThrottle, ConfigError> {
        if !(1.0..=1_000.0).contains(&self.k) {
            return Err(ConfigError::new(["k"], format!("k is {}", self.k))
                .help("expected a number from 1, such as 2"));
        }
        if self.window < Time::new(SimDuration::from_millis(1)) {
            return Err(ConfigError::new(["window"], format!("window is {}", self.window))
                .help("expected a time from 1ms"));
        }
        let slice = self.window.get().as_nanos() / SLICES as u64;
        Ok(AdaptiveThrottle { k: self.k, slice, present: 0, slices: [[0; 2]; SLICES], sums: [0; 2] })
    }
}

/// An assumption: the book does not say how the window slides.
const SLICES: usize = 24;

#[derive(Debug, Clone)]
pub(in crate::link) struct AdaptiveThrottle {
    k: f64,
    slice: u64,
    /// The number of the present slice since time 0.
    present: u64,
    /// Requests and accepts.
    slices: [[u64; 2]; SLICES],
    sums: [u64; 2],
}

impl AdaptiveThrottle {
    pub fn acquire(&mut self, now: SimTime, chance: impl FnOnce() -> f64) -> bool {
        self.slide(now);
        let [requests, accepts] = self.sums.map(|sum| sum as f64);
        let refused = (requests - self.k * accepts) / (requests + 1.0);
        self.count(0);
        refused <= 0.0 || chance() >= refused
    }

    /// Whatever the callee did not refuse it accepted, well done or not.
    pub fn record(&mut self, now: SimTime, outcome: Outcome) {
        self.slide(now);
        if matches!(outcome, Outcome::Ok | Outcome::Degraded | Outcome::Failed) {
            self.count(1);
        }
    }

    fn count(&mut self, which: usize) {
        self.slices[self.present as usize % SLICES][which] += 1;
        self.sums[which] += 1;
    }

    fn slide(&mut self, now: SimTime) {
        let present = now.as_nanos() / self.slice;
        let passed = (present - self.present).min(SLICES as u64);
        for slice in present + 1 - passed..=present {
            let old = std::mem::take(&mut self.slices[slice as usize % SLICES]);
            self.sums = [self.sums[0] - old[0], self.sums[1] - old[1]];
        }
        self.present = present;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_follows_the_formula() {
        let mut throttle = AdaptiveThrottleConfig::default().build().unwrap();
        let at = |seconds: u64| SimTime::from_nanos(seconds * 1_000_000_000);
        for _ in 0..10 {
            assert!(throttle.acquire(at(0), || 0.0));
            throttle.record(at(0), Outcome::Ok);
        }
        // 10 accepts let 20 requests pass.
        for _ in 0..11 {
            assert!(throttle.acquire(at(1), || 0.0));
            throttle.record(at(1), Outcome::Rejected);
        }
        // (21 - 20) / 22 = 0.0455, then (22 - 20) / 23 = 0.0870.
        assert!(!throttle.acquire(at(1), || 0.045));
        assert!(throttle.acquire(at(1), || 0.088));
        // After two minutes all is forgotten.
        assert!(throttle.acquire(at(122), || 0.0));
        assert_eq!(throttle.sums, [1, 0]);
    }
}
