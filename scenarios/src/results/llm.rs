//! Figures of LLM pools.

use sim_core::time::SimTime;
use sim_models::llm::LlmReport;
use sim_models::system::RunOutput;

use super::metrics::Times;

/// The columns of an LLM pool.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Figures {
    pub gpus: Option<f64>,
    pub gpu_busy: Option<f64>,
    pub kv_mean: Option<f64>,
    pub kv_max: Option<f64>,
    pub batch_mean: Option<f64>,
    pub preemptions: Option<u64>,
    pub prefix_hit_rate: Option<f64>,
    pub itl: Times,
    pub step_time_mean: Option<f64>,
    pub calibration: Option<String>,
}

impl Figures {
    pub(super) fn of(_report: &LlmReport, _end: SimTime) -> Self {
        Self::default()
    }
}

/// The least certain calibration of all pools; `none` without GPUs.
pub(super) fn worst_calibration(_outputs: &[RunOutput]) -> String {
    "none".to_owned()
}

/// Names of pools whose GPU times were not measured.
pub(super) fn uncalibrated(_outputs: &[RunOutput]) -> Vec<String> {
    Vec::new()
}
