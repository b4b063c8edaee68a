//! What cannot hold, by the operational laws: as much work would have to be done as there is time for.

use serde::{Deserialize, Serialize};
use sim_models::hardware::timing::{Pass, TICKS_PER_NANO};
use sim_models::llm::{BatchingMode, LlmConfig};
use sim_models::system::{ComponentConfig, RunOutput};

use super::space::Rest;
use crate::results::RunResult;
use crate::results::findings::{blamed, pressures};
use crate::scenario::Scenario;
use crate::stress::diagnosis::all;

/// How far demand must be beyond capacity for a configuration to be ruled out unseen (assumption: a run that ends may keep
/// its SLO with a few percent more than can be served).
pub(super) const SURELY: f64 = 1.05;

/// The largest share of errors up to which what a run did is what is asked of the system (assumption).
const HEALTHY: f64 = 0.02;

/// What is asked of a component, whatever it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Demand {
    component: String,
    work: Work,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Work {
    /// Servers busy on average: arrivals by service time (Little's law).
    Busy(f64),
    /// Tokens of an LLM pool.
    Tokens {
        /// Prompt tokens computed, a second.
        prompt_per_s: f64,
        /// Tokens generated, a second.
        output_per_s: f64,
        /// Tokens of a prompt.
        prompt: f64,
    },
}

/// What a run that holds, or nearly does, says of the demands on each component.
pub(super) fn demands(result: &RunResult, rest: &Rest) -> Vec<Demand> {
    let errors = all(result).and_then(|row| row.mean("error_rate")).unwrap_or(1.0);
    if errors > HEALTHY || !blamed(result).is_empty() {
        return Vec::new();
    }
    let shares = pressures(result);
    let mut demands = Vec::new();
    for (name, config) in &result.scenario.components {
        let work = match config {
            ComponentConfig::Service(config) if config.autoscaler.is_none() => busy(&shares, rest, name),
            ComponentConfig::FeatureStore(_) | ComponentConfig::VectorIndex(_) => busy(&shares, rest, name),
            ComponentConfig::Llm(_) => tokens(&result.outputs, name),
            _ => None,
        };
        demands.extend(work.map(|work| Demand { component: name.clone(), work }));
    }
    demands
}

fn busy(shares: &[(String, f64)], rest: &Rest, name: &str) -> Option<Work> {
    let share = shares.iter().find(|(known, _)| known == name)?.1;
    Some(Work::Busy(share * rest.capacity.get(name)?))
}

fn tokens(outputs: &[RunOutput], name: &str) -> Option<Work> {
    let (mut seconds, mut calls, mut prompt, mut hit, mut output) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for run in outputs {
        let component = run.components.iter().find(|component| component.name == name)?;
        let report = component.llm.as_ref()?;
        seconds += run.end.since(run.measured_from).as_secs_f64();
        calls += component.meter.calls as f64;
        prompt += report.prompt_tokens as f64;
        hit += report.prefix_hit_tokens as f64;
        output += report.output_tokens as f64;
    }
    (seconds > 0.0 && calls > 0.0 && output > 0.0).then(|| Work::Tokens {
        prompt_per_s: prompt / seconds,
        output_per_s: output / seconds,
        prompt: (prompt + hit) / calls,
    })
}

/// The largest share of what a component can do that is asked of it, as far as it is known.
pub(super) fn load(demands: &[Demand], scenario: &Scenario, rest: &Rest) -> Option<f64> {
    let of = |demand: &Demand| match (&demand.work, scenario.components.get(&demand.component)) {
        (Work::Busy(busy), Some(_)) => rest.capacity.get(&demand.component).map(|capacity| busy / capacity),
        (Work::Tokens { prompt_per_s, output_per_s, prompt }, Some(ComponentConfig::Llm(config)))
            if config.autoscaler.is_none() =>
        {
            let need = replicas_needed(config, *prompt_per_s, *output_per_s, *prompt);
            need.map(|need| need / f64::from(config.replicas.get()))
        }
        _ => None,
    };
    demands.iter().filter_map(of).reduce(f64::max)
}

/// The fewest replicas, as a real number, that can compute so many tokens a second: all steps as full as they may be. The
/// step function is convex and a step has a fixed part, so that no schedule takes less time (Jensen). None where it does not
/// say what a replica does.
pub(super) fn replicas_needed(
    config: &LlmConfig,
    prompt_per_s: f64,
    output_per_s: f64,
    prompt: f64,
) -> Option<f64> {
    let plain = config.batching == BatchingMode::Continuous
        && config.speculative.is_none()
        && config.lora.is_none()
        && config.disaggregated.is_none()
        && config.device.is_none()
        && config.pipeline_parallel == 1
        && config.data_parallel_size == 1;
    if !plain || output_per_s <= 0.0 {
        return None;
    }
    let step = config.step_function().ok()?;
    // What layers with a window hold depends on how long single prompts are, and is left out.
    let memory = config.memory().ok()?;
    let kv = (memory.usable_blocks() * memory.block_size) as f64 / f64::from(memory.kv_groups.full);
    // For each token generated, and each sequence of a step, so many tokens are computed.
    let tokens = 1.0 + prompt_per_s / output_per_s;
    let sequences = f64::from(config.max_num_seqs)
        .min(kv / prompt.max(1.0))
        .min(f64::from(config.max_num_batched_tokens) / tokens)
        .max(1.0);
    let pass = Pass {
        sequences: sequences as u64,
        new_tokens: (sequences * tokens) as u64,
        // While it is decoded, a sequence has at least its prompt behind it. What of it is within a sliding window is
        // left out: how long single prompts are is not known.
        decode_context: (sequences * prompt) as u64,
        ..Pass::default()
    };
    let seconds = step.checked_ticks(&pass)? as f64 / TICKS_PER_NANO as f64 / 1e9;
    Some(output_per_s * seconds / sequences)
}
