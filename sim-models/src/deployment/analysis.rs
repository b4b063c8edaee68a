//! The analysis of a canary: Argo Rollouts' `AnalysisTemplate` with one metric.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sim_core::stats::Histogram;
use sim_core::time::{SimDuration, SimTime};

use crate::error::ConfigError;
use crate::units::{Probability, Time};

/// Watches a canary in the background, from its first step (or `starting_step`) on, and aborts the rollout when more
/// than `failure_limit` measurements fail. Names and defaults of Argo Rollouts
/// (argo-rollouts.readthedocs.io/en/stable/features/analysis, read 2026-11).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalysisConfig {
    /// Time between measurements.
    pub interval: Time,
    /// Time before the first. Default: 0; there are no calls to measure yet then.
    #[serde(default)]
    pub initial_delay: Time,
    /// Measurements that may fail. Default: 0.
    #[serde(default)]
    pub failure_limit: u32,
    /// The step, from 0, with which it begins. Default: 0.
    #[serde(default)]
    pub starting_step: u32,
    /// What a measurement has to keep to.
    pub success_condition: SuccessCondition,
}

/// What the calls of a canary have to keep to; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SuccessCondition {
    /// The largest share of calls without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Probability>,
    /// The largest median time from a call's arrival to its answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p50: Option<Time>,
    /// The largest 95th percentile of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p95: Option<Time>,
    /// The largest 99th percentile of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_p99: Option<Time>,
}

impl AnalysisConfig {
    /// # Errors
    /// What of it cannot be; the path starts at the analysis.
    pub(super) fn check(&self, steps: usize) -> Result<(), ConfigError> {
        if self.interval.get().is_zero() {
            return Err(ConfigError::new(["interval"], "interval is 0s").help("expected a time above 0"));
        }
        if self.starting_step as usize >= steps.max(1) {
            let message = format!("starting_step is {}", self.starting_step);
            return Err(ConfigError::new(["starting_step"], message)
                .help(format!("there are {steps} steps, and the first is 0")));
        }
        if self.success_condition == SuccessCondition::default() {
            return Err(ConfigError::new(["success_condition"], "nothing has to be kept to").help(
                "expected one of error_rate, latency_p50, latency_p95, latency_p99, such as error_rate = 0.05",
            ));
        }
        Ok(())
    }
}

/// The calls of a version that ended since the last measurement.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    ended: u64,
    errors: u64,
    latency: Histogram,
}

impl Window {
    /// A call has ended, with an answer after so long or without one.
    pub(super) fn record(&mut self, answered: Option<SimDuration>) {
        self.ended += 1;
        match answered {
            Some(after) => self.latency.record(after.as_nanos()),
            None => self.errors += 1,
        }
    }
}

/// An analysis at work.
#[derive(Debug, Clone)]
pub(super) struct Analysis {
    config: AnalysisConfig,
    pub(super) next: SimTime,
    failures: u32,
    window: Window,
}

impl Analysis {
    pub(super) fn begin(config: &AnalysisConfig, now: SimTime) -> Self {
        let next = now.checked_add(config.initial_delay.get()).unwrap_or(SimTime::MAX);
        Self { config: config.clone(), next, failures: 0, window: Window::default() }
    }

    pub(super) fn record(&mut self, answered: Option<SimDuration>) {
        self.window.record(answered);
    }

    /// Measures if it is time to: what failed, when that is more than may.
    pub(super) fn measure(&mut self, now: SimTime) -> Option<String> {
        if now < self.next {
            return None;
        }
        self.next = now.checked_add(self.config.interval.get()).unwrap_or(SimTime::MAX);
        let failed = self.failed();
        self.window = Window::default();
        let reason = failed?;
        self.failures += 1;
        (self.failures > self.config.failure_limit).then_some(reason)
    }

    /// What the calls of the window did not keep to.
    fn failed(&self) -> Option<String> {
        let Window { ended, errors, latency } = &self.window;
        let condition = &self.config.success_condition;
        let rate = (*ended > 0).then(|| *errors as f64 / *ended as f64);
        if let (Some(rate), Some(most)) = (rate, condition.error_rate)
            && rate > most.get()
        {
            return Some(format!("an error rate of {rate:.3} is above {most}"));
        }
        let latencies =
            [(0.5, condition.latency_p50), (0.95, condition.latency_p95), (0.99, condition.latency_p99)];
        latencies.into_iter().find_map(|(quantile, most)| {
            let (value, most) = (latency.quantile(quantile)?, most?);
            let percent = (quantile * 100.0).round();
            (value > most.get().as_nanos()).then(|| {
                let value = Time::new(SimDuration::from_micros(value / 1000));
                format!("the p{percent} of latency, {value}, is above {most}")
            })
        })
    }
}
