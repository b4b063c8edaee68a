//! How long weights take to be loaded, by the defaults of a cold start.

use std::collections::BTreeMap;
use std::path::Path;

use scenarios::report::Unit;
use serde::Deserialize;
use sim_models::autoscaler::StorageTier;
use sim_models::hardware::catalogue;
use sim_models::hardware::precision::Precision;

use super::page::parity_of_rows;
use super::rows::{median, read};
use super::{Check, PublishedError, Row};

/// The loads.
pub(super) const FILES: [&str; 1] = ["loading/model_load_times.csv"];

/// Models of the catalogue by what the file calls them. The distilled one has the layers of its teacher's student.
const MODELS: [(&str, &str); 3] = [
    ("Qwen/Qwen3-32B", "qwen3-32b"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "qwen2.5-32b"),
    ("meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"),
];

/// A load.
#[derive(Debug, Deserialize)]
struct Load {
    file: String,
    model: String,
    loader: String,
    pattern: String,
    loading_time_s: f64,
}

/// Loads on an H100 host, by model, loader and whether memory held the weights.
pub(super) fn check(dir: &Path) -> Result<Check, PublishedError> {
    let loads: Vec<Load> = read(&dir.join(FILES[0]))?;
    let mut times: BTreeMap<(&str, &str, &str), Vec<f64>> = BTreeMap::new();
    for load in loads.iter().filter(|load| load.file.starts_with("h100")) {
        // Copies of a model are numbered behind its name.
        let model = load.model.rsplit_once('_').map_or(&*load.model, |(name, _)| name);
        times.entry((model, &load.pattern, &load.loader)).or_default().push(load.loading_time_s);
    }
    let mut rows = Vec::new();
    for ((model, pattern, loader), times) in times {
        let Some((_, id)) = MODELS.iter().find(|(name, _)| *name == model) else { continue };
        let model = catalogue::model(id).expect("a model of the catalogue");
        let (tier, from) = match pattern {
            "cached" => (StorageTier::Dram, "memory"),
            _ => (StorageTier::Ssd, "disk"),
        };
        let (count, Some(measured)) = (times.len(), median(times)) else { continue };
        rows.push(Row {
            what: format!("{id} from {from} by {loader}, median of {count}"),
            unit: Unit::Seconds,
            measured,
            predicted: model.weight_bytes(Precision::Bf16) as f64 / tier.bandwidth(),
            bound: None,
        });
    }
    Ok(Check {
        title: "Loading of weights on an H100 host",
        source: "ServerlessLLM, model loading benchmarks of 2025, Apache-2.0",
        said: "Weights in 16 bits over the default bandwidths of `cold_start.weights_from` (`ssd`, `dram`). Those \
               come from another publication (ServerlessLLM issue 193, 2024) and say nothing of the loader, which \
               alone makes a factor of six to ten: no bound can be justified. Set `weights_bandwidth` to what your \
               loader reaches."
            .into(),
        facts: Vec::new(),
        pictures: parity_of_rows("parity-loading", "Loading of weights", &rows).into_iter().collect(),
        rows,
        spreads: Vec::new(),
    })
}
