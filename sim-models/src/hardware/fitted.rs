//! What a user's own measurements of a server change in the times of its steps.
//!
//! Kernel timings do not show the host, the API server, the power limit of a GPU that computes all day, or
//! the user's version of the software. [`Fitted`] holds what a benchmark of the real server says about them;
//! [`fit()`] finds it. A fit scales physics: memory traffic, computing, gaps between steps. It never adds a
//! term of its own, so that what was measured at one load holds at others.

mod bench;
mod fit;
mod linear;
mod moments;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue::{Gpu, Model};
use super::datasheet::Efficiency;
use super::precision::Precision;
use super::timing::{StepFunction, TICKS_PER_NANO};
use super::{HardwareError, Placement};
pub use bench::{Bench, BenchError, Means};
pub use fit::{Errors, FEWEST_REQUESTS, Fit, FitError, Setting, errors, fit, fit_means};
pub use moments::{Moments, Observation};

/// Step times fitted to measurements of a server, relative to a profile or the datasheet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fitted {
    /// By how much computing takes longer than the kernels' timings (with the datasheet: than its
    /// efficiencies), as a factor.
    pub compute: f64,
    /// The same for reading and writing memory. Default: 1.
    #[serde(default = "one")]
    pub memory: f64,
    /// Time between two steps that overlaps with nothing, in microseconds. Default: the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_gap_us: Option<f64>,
    /// Time of the host for each step, in microseconds. Default: the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_step_us: Option<f64>,
    /// Time of the host for each sequence in a step, in microseconds. Default: the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_sequence_us: Option<f64>,
    /// Time of the GPU for each sequence in a step besides, in microseconds. Default: 0.
    #[serde(default)]
    pub sequence_us: f64,
    /// From work arriving at an idle engine to the start of its first pass, in microseconds. Default: 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_us: Option<f64>,
    /// What it was fitted to: shown with every result.
    pub source: String,
}

fn one() -> f64 {
    1.0
}

impl Fitted {
    /// A fit that changes nothing.
    pub fn neutral(compute: f64, source: impl Into<String>) -> Self {
        Self {
            compute,
            memory: 1.0,
            step_gap_us: None,
            host_step_us: None,
            host_sequence_us: None,
            sequence_us: 0.0,
            wake_us: None,
            source: source.into(),
        }
    }

    /// Whether every figure is in its range.
    ///
    /// # Errors
    /// [`HardwareError::OutOfRange`] with the first that is not.
    pub fn check(&self) -> Result<(), HardwareError> {
        let factors = [("compute", self.compute), ("memory", self.memory)];
        for (name, value) in factors {
            if !(0.1..=10.0).contains(&value) {
                return Err(HardwareError::OutOfRange { name, value, expected: "a factor from 0.1 to 10" });
            }
        }
        let micros = [
            ("step_gap_us", self.step_gap_us),
            ("host_step_us", self.host_step_us),
            ("host_sequence_us", self.host_sequence_us),
            ("sequence_us", Some(self.sequence_us)),
            ("wake_us", self.wake_us),
        ];
        for (name, value) in micros {
            let value = value.unwrap_or(0.0);
            if !(0.0..=1e6).contains(&value) {
                let expected = "microseconds from 0 to 1000000";
                return Err(HardwareError::OutOfRange { name, value, expected });
            }
        }
        Ok(())
    }

    /// The step function of `model` from datasheet peaks and `efficiency`, with this fit.
    ///
    /// # Errors
    /// As [`StepFunction::from_datasheet`].
    pub fn on_datasheet(
        &self,
        gpu: &Gpu,
        model: &Model,
        precision: Precision,
        kv_precision: Precision,
        placement: impl Into<Placement>,
        efficiency: &Efficiency,
    ) -> Result<StepFunction, HardwareError> {
        self.check()?;
        let share = |share: f64| Some((share / self.memory).min(1.0));
        let (weights, decode) = efficiency.bandwidths(gpu);
        let efficiency = Efficiency {
            weight_bandwidth: share(weights),
            weight_bandwidth_quantized: efficiency.weight_bandwidth_quantized.and_then(share),
            decode_attention_bandwidth: share(decode),
            elementwise_bandwidth: efficiency.elementwise_bandwidth.and_then(share),
            sustained_slowdown: self.compute.max(1.0),
            step_gap_us: self.step_gap_us.unwrap_or(efficiency.step_gap_us),
            host_step_us: self.host_step_us.unwrap_or(efficiency.host_step_us),
            host_sequence_us: self.host_sequence_us.unwrap_or(efficiency.host_sequence_us),
            ..*efficiency
        };
        let step = StepFunction::from_datasheet(gpu, model, precision, kv_precision, placement, &efficiency)?;
        let detail = format!("{} on datasheet efficiencies", self.source);
        let step = step.fitted(ticks(self.sequence_us), ticks(self.wake_us.unwrap_or(0.0)));
        Ok(step.with_detail(&detail))
    }
}

/// Microseconds in ticks, to the nearest.
fn ticks(us: f64) -> u64 {
    (us * 1e3 * TICKS_PER_NANO as f64).round() as u64
}
