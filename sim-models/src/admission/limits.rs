//! Limits on the calls that a component has at once, after Netflix's concurrency-limits
//! (github.com/Netflix/concurrency-limits, `concurrency-limits-core`), whose names and defaults they have.
//!
//! A limit learns from the end of every call that it let in: how long the call took, how many were in with
//! it when it began, and whether it was lost to overload.

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::Time;

/// AIMDLimit: one more after each call, a tenth less after one that was lost or took too long.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AimdConfig {
    /// The limit at the start. Default: 20.
    pub initial_limit: NonZeroU32,
    /// The least. Default: 20.
    pub min_limit: NonZeroU32,
    /// The most. Default: 200.
    pub max_limit: NonZeroU32,
    /// What remains of it after a loss, from 0.5 to below 1. Default: 0.9.
    pub backoff_ratio: f64,
    /// A call that takes longer counts as lost. Default: 5 s.
    pub timeout: Time,
    /// Learns from windows of calls rather than from each. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowConfig>,
}

/// VegasLimit: keeps the queue that the latency tells of between alpha and beta, as TCP Vegas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct VegasConfig {
    /// The limit at the start. Default: 20.
    pub initial_limit: NonZeroU32,
    /// The most. Default: 1000.
    pub max_concurrency: NonZeroU32,
    /// How much of a change is made. Default: 1, all of it.
    pub smoothing: f64,
    /// The latency without load is measured anew after about so many times the limit calls. Default: 30.
    pub probe_multiplier: NonZeroU32,
    /// Learns from windows of calls rather than from each. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowConfig>,
}

/// Gradient2Limit: less as latencies rise above their long-term average, and a few more otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gradient2Config {
    /// The limit at the start. Default: 20.
    pub initial_limit: NonZeroU32,
    /// The least. Default: 20.
    pub min_limit: NonZeroU32,
    /// The most. Default: 200.
    pub max_concurrency: NonZeroU32,
    /// How much of a change is made. Default: 0.2.
    pub smoothing: f64,
    /// How much it grows while latencies are low. Default: 4.
    pub queue_size: u32,
    /// Calls in the long-term average. Default: 600.
    pub long_window: NonZeroU32,
    /// How many times the long-term average a latency may be, at least 1. Default: 1.5.
    pub rtt_tolerance: f64,
    /// Learns from windows of calls rather than from each. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<WindowConfig>,
}

/// WindowedLimit with an average window: a limit learns once a window, from its mean latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WindowConfig {
    /// The least length of a window, which lasts twice the least latency seen. Default: 1 s.
    pub min_window_time: Time,
    /// The greatest. Default: 1 s.
    pub max_window_time: Time,
    /// Windows with fewer calls teach nothing. Default: 10.
    pub window_size: u32,
    /// Calls that took less are left out. Default: 0.1 ms.
    pub min_rtt_threshold: Time,
}

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

impl Default for AimdConfig {
    fn default() -> Self {
        Self {
            initial_limit: at_least_one(20),
            min_limit: at_least_one(20),
            max_limit: at_least_one(200),
            backoff_ratio: 0.9,
            timeout: Time::new(SimDuration::from_secs(5)),
            window: None,
        }
    }
}

impl Default for VegasConfig {
    fn default() -> Self {
        Self {
            initial_limit: at_least_one(20),
            max_concurrency: at_least_one(1000),
            smoothing: 1.0,
            probe_multiplier: at_least_one(30),
            window: None,
        }
    }
}

impl Default for Gradient2Config {
    fn default() -> Self {
        Self {
            initial_limit: at_least_one(20),
            min_limit: at_least_one(20),
            max_concurrency: at_least_one(200),
            smoothing: 0.2,
            queue_size: 4,
            long_window: at_least_one(600),
            rtt_tolerance: 1.5,
            window: None,
        }
    }
}

impl Default for WindowConfig {
    fn default() -> Self {
        Self {
            min_window_time: Time::new(SimDuration::from_secs(1)),
            max_window_time: Time::new(SimDuration::from_secs(1)),
            window_size: 10,
            min_rtt_threshold: Time::new(SimDuration::from_micros(100)),
        }
    }
}

fn wrong(key: &str, value: impl std::fmt::Display, expected: &str) -> Result<(), ConfigError> {
    Err(ConfigError::new([key], format!("{key} is {value}")).help(expected))
}

fn check_smoothing(smoothing: f64) -> Result<(), ConfigError> {
    match smoothing > 0.0 && smoothing <= 1.0 {
        true => Ok(()),
        false => wrong("smoothing", smoothing, "expected a number above 0 and at most 1"),
    }
}

fn check_bounds(min: NonZeroU32, (key, max): (&str, NonZeroU32)) -> Result<(), ConfigError> {
    match min > max {
        true => wrong(key, max, &format!("expected at least min_limit, {min}")),
        false => Ok(()),
    }
}

impl AimdConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_bounds(self.min_limit, ("max_limit", self.max_limit))?;
        if self.timeout.get().is_zero() {
            return wrong("timeout", self.timeout, "expected a time above 0");
        }
        match (0.5..1.0).contains(&self.backoff_ratio) {
            true => Ok(()),
            false => wrong("backoff_ratio", self.backoff_ratio, "expected a number from 0.5 to below 1"),
        }
    }
}

impl VegasConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_smoothing(self.smoothing)
    }
}

impl Gradient2Config {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_bounds(self.min_limit, ("max_concurrency", self.max_concurrency))?;
        check_smoothing(self.smoothing)?;
        match self.rtt_tolerance >= 1.0 && self.rtt_tolerance.is_finite() {
            true => Ok(()),
            false => wrong("rtt_tolerance", self.rtt_tolerance, "expected a number from 1, such as 1.5"),
        }
    }
}

/// What the end of a call, or of a window of calls, says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// How long it took.
    pub(super) rtt: SimDuration,
    /// How many were in when it began, with it.
    pub(super) inflight: u32,
    /// Whether it was lost to overload.
    pub(super) dropped: bool,
}

/// A limit that adapts.
#[derive(Debug, Clone)]
pub(super) enum Algorithm {
    Fixed(u32),
    Aimd(AimdConfig, u32),
    Vegas(Vegas),
    Gradient2(Gradient2),
}

#[derive(Debug, Clone)]
pub(super) struct Vegas {
    config: VegasConfig,
    estimated_limit: f64,
    rtt_noload: SimDuration,
    probe_count: u32,
    /// From 0.5 to 1; none before the first draw.
    probe_jitter: Option<f64>,
}

#[derive(Debug, Clone)]
pub(super) struct Gradient2 {
    config: Gradient2Config,
    estimated_limit: f64,
    long_rtt: f64,
    /// Of the first samples, which are averaged.
    sum: f64,
    count: u32,
}

/// Samples of the long-term average that are averaged plainly.
const WARMUP_SAMPLES: u32 = 10;

/// `Log10RootIntFunction`: the whole part of the decimal logarithm, at least 1.
fn log10_root(limit: f64) -> f64 {
    let mut digits = 1;
    let mut rest = limit as u64 / 100;
    while rest > 0 {
        digits += 1;
        rest /= 10;
    }
    f64::from(digits)
}

impl Vegas {
    pub(super) fn new(config: VegasConfig) -> Self {
        Self {
            config,
            estimated_limit: config.initial_limit.get().into(),
            rtt_noload: SimDuration::ZERO,
            probe_count: 0,
            probe_jitter: None,
        }
    }

    /// `jitter` draws from 0 to 1.
    fn update(&mut self, sample: Sample, mut jitter: impl FnMut() -> f64) {
        let mut draw = || 0.5 + 0.5 * jitter();
        let probe_jitter = *self.probe_jitter.get_or_insert_with(&mut draw);
        self.probe_count += 1;
        let multiplier = f64::from(self.config.probe_multiplier.get());
        if probe_jitter * multiplier * self.estimated_limit <= f64::from(self.probe_count) {
            self.probe_jitter = Some(draw());
            self.probe_count = 0;
            self.rtt_noload = sample.rtt;
            return;
        }
        if self.rtt_noload.is_zero() || sample.rtt < self.rtt_noload {
            self.rtt_noload = sample.rtt;
            return;
        }
        let limit = self.estimated_limit;
        let ratio = self.rtt_noload.as_nanos() as f64 / sample.rtt.as_nanos() as f64;
        let queue = (limit * (1.0 - ratio)).ceil();
        let root = log10_root(limit);
        let new = if sample.dropped {
            limit - root
        } else if f64::from(sample.inflight) * 2.0 < limit {
            return;
        } else if queue <= root {
            limit + 6.0 * root
        } else if queue < 3.0 * root {
            limit + root
        } else if queue > 6.0 * root {
            limit - root
        } else {
            return;
        };
        let new = new.min(self.config.max_concurrency.get().into()).max(1.0);
        let smoothing = self.config.smoothing;
        self.estimated_limit = (1.0 - smoothing) * limit + smoothing * new;
    }
}

impl Gradient2 {
    pub(super) fn new(config: Gradient2Config) -> Self {
        let estimated_limit = config.initial_limit.get().into();
        Self { config, estimated_limit, long_rtt: 0.0, sum: 0.0, count: 0 }
    }

    fn update(&mut self, sample: Sample) {
        let short = sample.rtt.as_nanos() as f64;
        if self.count < WARMUP_SAMPLES {
            self.count += 1;
            self.sum += short;
            self.long_rtt = self.sum / f64::from(self.count);
        } else {
            let factor = 2.0 / (f64::from(self.config.long_window.get()) + 1.0);
            self.long_rtt = self.long_rtt * (1.0 - factor) + short * factor;
        }
        let long = self.long_rtt;
        if long / short > 2.0 {
            // Latencies are back to normal after a long overload.
            self.long_rtt *= 0.95;
        }
        let limit = self.estimated_limit;
        if f64::from(sample.inflight) < limit / 2.0 {
            return;
        }
        let Gradient2Config { smoothing, rtt_tolerance, queue_size, min_limit, max_concurrency, .. } =
            self.config;
        let gradient = (rtt_tolerance * long / short).clamp(0.5, 1.0);
        let new = limit * gradient + f64::from(queue_size);
        let new = limit * (1.0 - smoothing) + new * smoothing;
        self.estimated_limit = new.min(max_concurrency.get().into()).max(min_limit.get().into());
    }
}

impl Algorithm {
    /// The most calls at once.
    pub(super) fn limit(&self) -> u32 {
        match self {
            Self::Fixed(limit) | Self::Aimd(_, limit) => *limit,
            Self::Vegas(vegas) => vegas.estimated_limit as u32,
            Self::Gradient2(gradient) => gradient.estimated_limit as u32,
        }
    }

    /// Learns; `jitter` draws from 0 to 1.
    pub(super) fn update(&mut self, sample: Sample, jitter: impl FnMut() -> f64) {
        match self {
            Self::Fixed(_) => {}
            Self::Aimd(config, limit) => {
                if sample.dropped || sample.rtt > config.timeout.get() {
                    *limit = (f64::from(*limit) * config.backoff_ratio) as u32;
                } else if u64::from(sample.inflight) * 2 >= u64::from(*limit) {
                    *limit = limit.saturating_add(1);
                }
                *limit = (*limit).min(config.max_limit.get()).max(config.min_limit.get());
            }
            Self::Vegas(vegas) => vegas.update(sample, jitter),
            Self::Gradient2(gradient) => gradient.update(sample),
        }
    }
}

/// Puts the samples of a window together.
#[derive(Debug, Clone)]
pub(super) struct Window {
    config: WindowConfig,
    next_update: SimTime,
    least: SimDuration,
    sum: u128,
    samples: u32,
    inflight: u32,
    dropped: bool,
}

impl Window {
    pub(super) fn new(config: WindowConfig) -> Self {
        Self {
            config,
            next_update: SimTime::ZERO,
            least: SimDuration::MAX,
            sum: 0,
            samples: 0,
            inflight: 0,
            dropped: false,
        }
    }

    /// Adds a sample that ends now: what the window says, if it is over with it and was large enough.
    pub(super) fn add(&mut self, now: SimTime, sample: Sample) -> Option<Sample> {
        if sample.rtt < self.config.min_rtt_threshold.get() {
            return None;
        }
        self.least = self.least.min(sample.rtt);
        self.sum += u128::from(sample.rtt.as_nanos());
        self.samples += 1;
        self.inflight = self.inflight.max(sample.inflight);
        self.dropped |= sample.dropped;
        if now <= self.next_update {
            return None;
        }
        let twice = self.least.saturating_add(self.least);
        let length = twice.max(self.config.min_window_time.get()).min(self.config.max_window_time.get());
        let next_update = SimTime::from_nanos(now.as_nanos().saturating_add(length.as_nanos()));
        let over = std::mem::replace(self, Self { next_update, ..Self::new(self.config) });
        (over.samples >= self.config.window_size).then(|| Sample {
            rtt: SimDuration::from_nanos((over.sum / u128::from(over.samples)) as u64),
            inflight: over.inflight,
            dropped: over.dropped,
        })
    }
}

#[cfg(test)]
mod tests;
