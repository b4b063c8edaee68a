//! Why an LLM pool cannot serve more: memory, batch or compute.

use sim_models::llm::LlmReport;
use sim_models::system::RunOutput;

use super::load::Load;
use super::{KV_FULL, percent, short};

/// Share of the KV cache in use on average from which it is what a pool is short of (assumption).
const KV_SCARCE: f64 = 0.9;

/// Share of `max_num_seqs` and of `max_num_batched_tokens` from which they bound the batch (assumption: batches
/// are not full in the steps after a sequence has left).
const FULL_BATCH: f64 = 0.85;

/// How many times as long a step with twice as much in it may take for larger batches to pay: the same work
/// in seven eighths of the time (assumption).
const PAYS: f64 = 1.75;

/// Share of the bandwidth between prefill and decode workers from which it is full (assumption: equal shares leave
/// some of it unused).
const FULL_LINK: f64 = 0.85;

/// Share of the time in a step from which prefill workers are (assumption).
const FULL_TIME: f64 = 0.95;

/// What stands between prefill and decode workers, where a pool has both.
fn between_workers(load: &Load, outputs: &[RunOutput]) -> Option<String> {
    let mean = |name: &str, part: Option<&str>| {
        let measures = outputs.iter().flat_map(|output| &output.components[load.index].measures);
        let values: Vec<f64> = measures
            .filter(|measure| measure.name == name && measure.part.as_deref() == part)
            .filter_map(|measure| measure.value)
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let link = mean("kv_link_utilization", None)?;
    if link >= FULL_LINK {
        let used = percent(link);
        return Some(format!("the network for its KV is what it is short of: {used} of it is in use"));
    }
    let busy = mean("engine_busy", Some("prefill")).filter(|busy| *busy >= FULL_TIME)?;
    Some(format!("prefill workers are what it is short of: they are busy {} of the time", percent(busy)))
}

/// The reason in words; none where the pool is no `llm` or did nothing.
pub(super) fn reason(load: &Load, outputs: &[RunOutput]) -> Option<String> {
    let reports: Vec<&LlmReport> =
        outputs.iter().filter_map(|output| output.components[load.index].llm.as_ref()).collect();
    let first = reports.first()?;
    let mean = |of: fn(&LlmReport) -> Option<f64>| {
        let values: Vec<f64> = reports.iter().filter_map(|report| of(report)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    if let Some(reason) = between_workers(load, outputs) {
        return Some(reason);
    }
    let doubling = mean(|report| report.doubling)?;
    let batch = mean(|report| report.batch_mean)?;
    let tokens = mean(|report| report.step_tokens_mean)?;
    let evicted = mean(|report| Some(report.preemptions as f64))?;
    let kv = load.kv.unwrap_or(0.0);
    let ever_full = reports.iter().any(|report| report.kv_use_max > KV_FULL);
    let (seats, budget) = (first.max_num_seqs, first.max_num_batched_tokens);
    let twice = format!("a step with twice as much in it would take {} times as long", short(doubling));
    if doubling >= PAYS {
        return Some(format!("compute is what it is short of: {twice}"));
    }
    if kv >= KV_SCARCE || (ever_full && evicted > 0.0) {
        return Some(format!(
            "memory is what it is short of: {} of its KV memory is in use, with {} of at most {seats} sequences \
             in a step, and {twice}",
            percent(kv),
            short(batch),
        ));
    }
    if batch >= FULL_BATCH * f64::from(seats) {
        return Some(format!(
            "the batch is what it is short of: max_num_seqs = {seats} is reached with {} of its KV memory in \
             use, and {twice}",
            percent(kv),
        ));
    }
    if tokens >= FULL_BATCH * f64::from(budget) {
        return Some(format!(
            "the batch is what it is short of: max_num_batched_tokens = {budget} is reached, and {twice}"
        ));
    }
    None
}
