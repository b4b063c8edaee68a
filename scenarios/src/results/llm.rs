//! Figures of LLM pools, and how far GPU times can be trusted.

use sim_models::hardware::timing::{Calibration, TICKS_PER_NANO};
use sim_models::llm::LlmReport;
use sim_models::system::{ComponentOutput, RunOutput};

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
}

impl Figures {
    pub(super) fn of(report: &LlmReport) -> Self {
        let looked_for = report.prefix_query_tokens;
        Self {
            gpus: Some(report.gpus),
            gpu_busy: Some(report.gpu_busy),
            kv_mean: Some(report.kv_use_mean),
            kv_max: Some(report.kv_use_max),
            batch_mean: report.batch_mean,
            preemptions: Some(report.preemptions),
            prefix_hit_rate: (looked_for > 0).then(|| report.prefix_hit_tokens as f64 / looked_for as f64),
            itl: Times::in_units(&report.itl, 1e9 * TICKS_PER_NANO as f64),
            step_time_mean: report.step_time_mean.map(|nanos| nanos / 1e9),
        }
    }
}

/// From the least certain on.
const BY_CERTAINTY: [Calibration; 5] = [
    Calibration::Datasheet,
    Calibration::Estimate,
    Calibration::Imported,
    Calibration::Measured,
    Calibration::Fitted,
];

/// Where the GPU times of a pool come from; none without any.
pub(super) fn calibration(component: &ComponentOutput) -> Option<&str> {
    component.pool.as_ref()?.calibration.as_deref()
}

/// Pools of the first replication, by name, with their calibrations: those of all replications.
fn calibrations(outputs: &[RunOutput]) -> impl Iterator<Item = (&str, &str)> {
    let components = outputs.first().into_iter().flat_map(|output| &output.components);
    components.filter_map(|component| Some((component.name.as_str(), calibration(component)?)))
}

/// The least certain calibration of all pools; `none` without GPUs.
pub(super) fn worst_calibration(outputs: &[RunOutput]) -> String {
    // A calibration may go on with what exactly was measured.
    let certainty =
        |text: &str| BY_CERTAINTY.iter().position(|calibration| text.starts_with(&calibration.to_string()));
    let worst = calibrations(outputs).map(|(_, text)| text).min_by_key(|text| certainty(text));
    worst.unwrap_or("none").to_owned()
}

/// Names of pools whose GPU times were not measured.
pub(super) fn estimated(outputs: &[RunOutput]) -> Vec<&str> {
    let guessed = [Calibration::Datasheet, Calibration::Estimate].map(|calibration| calibration.to_string());
    let is_guessed = |text: &str| guessed.iter().any(|calibration| text.starts_with(calibration));
    calibrations(outputs).filter(|(_, text)| is_guessed(text)).map(|(name, _)| name).collect()
}
