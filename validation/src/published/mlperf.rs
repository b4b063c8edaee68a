//! Throughput of whole machines in MLPerf Inference, by engines that are not the simulated one.

use std::collections::BTreeMap;
use std::path::Path;

use scenarios::calibrate::replay;
use scenarios::report::Unit;
use serde::Deserialize;
use sim_core::distribution::Exponential;
use sim_core::random::stable_hash;
use sim_models::hardware::fitted::Observation;
use sim_models::hardware::precision::Precision;
use sim_models::llm::LlmConfig;

use super::page::parity_of_rows;
use super::rows::{median, read};
use super::{Check, PublishedError, Row};

/// The results.
pub(super) const FILES: [&str; 1] = ["serving/mlperf_v4.1_hopper.csv"];

/// Benchmarks whose models the catalogue has, and over how many H100 a replica is taken to be split; on an H200 over one.
const BENCHMARKS: [(&str, &str, u32); 2] =
    [("llama2-70b-99", "llama-2-70b", 2), ("mixtral-8x7b", "mixtral-8x7b", 1)];

/// What machines are named by, and the GPU that it stands for.
const GPUS: [(&str, &str); 2] = [("H100_SXM_80GB", "h100-sxm"), ("H200_SXM_141GB", "h200-sxm")];

/// Mean tokens of a prompt, which the results do not say: an assumption. No prompt or answer is longer than [`LONGEST`].
const PROMPT_TOKENS: f64 = 300.0;
/// The longest prompt and the longest answer, in tokens, by the rules of the benchmarks.
const LONGEST: f64 = 1024.0;
/// Requests to one replica. Its throughput is that of the middle three fifths.
const REQUESTS: u64 = 4_000;
/// Sequences of a batch and tokens of a pass, at most: assumptions, as large as an engine is set to that need not answer soon.
const SEQUENCES: u32 = 1_024;
const BATCHED_TOKENS: u32 = 8_192;

/// A result.
#[derive(Debug, Deserialize)]
struct Submitted {
    system: String,
    benchmark: String,
    scenario: String,
    tokens_per_s: Option<f64>,
    samples_per_s: Option<f64>,
}

/// The GPU of a machine and how many it has; none of a machine whose name does not say, or with other power or cooling.
fn gpus(system: &str) -> Option<(&'static str, u32)> {
    let name = system.replace('-', "_");
    if name.contains("MaxQ") || name.contains("CTS") {
        return None;
    }
    GPUS.into_iter().find_map(|(part, gpu)| {
        let rest = name.split_once(part)?.1.strip_prefix(['x', 'X'])?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        Some((gpu, rest[..digits].parse().ok()?))
    })
}

/// Tokens a second of one replica that has all requests at once.
fn offline(config: &LlmConfig, output_tokens: f64) -> Result<f64, String> {
    let tokens = |mean: f64, number: u64, what: &str| {
        let share = (stable_hash(format!("{what} {number}").as_bytes()) >> 11) as f64 / (1_u64 << 53) as f64;
        let law = Exponential::with_mean(mean).map_err(|error| error.to_string())?;
        Ok::<u32, String>(law.quantile(share).clamp(2.0, LONGEST).round() as u32)
    };
    let all: Vec<Observation> = (0..REQUESTS)
        .map(|number| {
            Ok(Observation {
                sent_s: 0.0,
                prompt_tokens: tokens(PROMPT_TOKENS, number, "prompt")?,
                output_tokens: tokens(output_tokens, number, "output")?,
                ttft_s: 1.0,
                latency_s: 2.0,
            })
        })
        .collect::<Result<_, String>>()?;
    let mut ends: Vec<(f64, u32)> =
        replay(config, &all)?.iter().map(|one| (one.latency_s, one.output_tokens)).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (from, to) = (ends.len() * 3 / 10, ends.len() * 9 / 10);
    let made: f64 = ends[from + 1..=to].iter().map(|(_, tokens)| f64::from(*tokens)).sum();
    Ok(made / (ends[to].0 - ends[from].0))
}

/// The Offline scenario of language models on H100 and H200 machines.
pub(super) fn check(dir: &Path) -> Result<Check, PublishedError> {
    let path = dir.join(FILES[0]);
    let results: Vec<Submitted> = read(&path)?;
    let mut rows = Vec::new();
    for (benchmark, model, over) in BENCHMARKS {
        // By GPU and how many: tokens a second, and tokens of an answer.
        let mut machines: BTreeMap<(&str, u32), Vec<(f64, f64)>> = BTreeMap::new();
        for result in &results {
            let is_it = result.benchmark == benchmark && result.scenario == "Offline";
            let (Some(tokens), Some(samples)) = (result.tokens_per_s, result.samples_per_s) else { continue };
            if let Some(machine) = gpus(&result.system).filter(|(_, number)| is_it && *number <= 8) {
                machines.entry(machine).or_default().push((tokens, tokens / samples));
            }
        }
        for ((gpu, number), published) in machines {
            let each = if gpu == "h100-sxm" { over } else { 1 };
            let config = LlmConfig {
                precision: Some(Precision::Fp8),
                kv_precision: Some(Precision::Fp8),
                tensor_parallel: each,
                max_num_seqs: SEQUENCES,
                max_num_batched_tokens: BATCHED_TOKENS,
                ..LlmConfig::new(model, gpu)
            };
            let count = published.len();
            let of = |pick: fn(&(f64, f64)) -> f64| median(published.iter().map(pick).collect());
            let (Some(measured), Some(output_tokens)) = (of(|one| one.0), of(|one| one.1)) else { continue };
            let refused = |message| PublishedError::File { path: path.display().to_string(), message };
            let one = offline(&config, output_tokens).map_err(refused)?;
            let step = config.step_function().map_err(|error| refused(error.to_string()))?;
            rows.push(Row {
                what: format!(
                    "{model}, {number} x {gpu}, tensor parallel {each}, {}; median of {count}",
                    step.calibration()
                ),
                unit: Unit::Number("tokens/s"),
                measured,
                predicted: one * f64::from(number / each),
                bound: None,
            });
        }
    }
    Ok(Check {
        title: "MLPerf Inference v4.1, Offline",
        source: "MLCommons, MLPerf Inference v4.1 results, closed division, Apache-2.0",
        said: format!(
            "Throughput of H100 and H200 machines, the median over submitters, beside that of vLLM's scheduler on \
             the built-in profiles, fp8 with an fp8 KV cache. Nearly all of them were made with TensorRT-LLM, \
             whose kernels and scheduler are others, and the results do not say how models were split over GPUs, \
             how large batches were, or how long prompts are: splits as named, {SEQUENCES} sequences, \
             {BATCHED_TOKENS} tokens a pass and prompts of {PROMPT_TOKENS} tokens are assumptions, lengths of \
             prompts and answers (mean as published) are drawn from exponential laws cut at {LONGEST}. No bound \
             can be justified. Of Mixtral, experts were not timed on the H200: their layers are worked out from \
             its products, slower by what experts in bf16 were on the H100; on the H100 they are vLLM's fp8 \
             kernels, which take twice as long as those in bf16 in these tables."
        ),
        facts: Vec::new(),
        pictures: parity_of_rows("parity-mlperf", "MLPerf Inference v4.1, Offline", &rows)
            .into_iter()
            .collect(),
        rows,
        spreads: Vec::new(),
    })
}
