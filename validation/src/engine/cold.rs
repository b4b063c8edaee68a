//! Cold starts, stage by stage: those of a larger model predicted from those of a smaller one.
//!
//! As in a scenario's `cold_start`: the program's start takes its time whatever the model, weights take their bytes over
//! a bandwidth; graphs and the first forward pass go layer by layer.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::{EngineCheckError, Pair, lines, mean};

/// How far a total may be off, in shares.
pub const BOUND: f64 = 0.15;

/// A stage of a start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Stage {
    /// Its name.
    pub stage: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it read, in bytes.
    pub bytes: Option<u64>,
}

/// A start.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Start {
    /// The model.
    pub model: String,
    /// Its layers.
    pub layers: u32,
    /// Whether its weights were in the page cache.
    pub cached: bool,
    /// In their order.
    pub stages: Vec<Stage>,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line {
    ColdStart(Start),
    #[serde(other)]
    Other,
}

/// What a stage takes grows with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    Fixed,
    Bytes,
    Layers,
}

/// The stages of a start, and what they grow with.
const STAGES: [(&str, Law); 8] = [
    ("process", Law::Fixed),
    ("imports", Law::Fixed),
    ("context", Law::Fixed),
    ("weights", Law::Bytes),
    ("model", Law::Fixed),
    ("engine", Law::Fixed),
    ("graphs", Law::Layers),
    ("first token", Law::Layers),
];

/// The starts of a model, predicted and measured, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct ColdCompared {
    /// The model that was predicted.
    pub model: String,
    /// The one it was predicted from.
    pub from: String,
    /// Whether weights were in the page cache.
    pub cached: bool,
    /// By stage.
    pub stages: Vec<(&'static str, Pair<f64>)>,
}

impl ColdCompared {
    /// Everything together.
    pub fn total(&self) -> Pair<f64> {
        let sum = |pick: fn(&Pair<f64>) -> f64| self.stages.iter().map(|(_, pair)| pick(pair)).sum();
        Pair { predicted: sum(|pair| pair.predicted), measured: sum(|pair| pair.measured) }
    }
}

/// All starts.
#[derive(Debug, Clone, PartialEq)]
pub struct ColdReport {
    /// By model and place of the weights.
    pub compared: Vec<ColdCompared>,
}

impl ColdReport {
    /// Predicts the starts of a file.
    ///
    /// # Errors
    /// What cannot be read, and a file with starts of fewer than two models.
    pub(super) fn open(path: &Path) -> Result<Self, EngineCheckError> {
        let mut starts: BTreeMap<(u32, String, bool), Vec<Start>> = BTreeMap::new();
        for line in lines(path)? {
            match line {
                Line::ColdStart(start) => {
                    starts.entry((start.layers, start.model.clone(), start.cached)).or_default().push(start);
                }
                Line::Other => {}
            }
        }
        let mut compared = Vec::new();
        for ((layers, model, cached), own) in &starts {
            // The smallest model with its weights in the same place.
            let Some(((few, from, _), base)) = starts.iter().find(|(key, _)| key.2 == *cached) else {
                continue;
            };
            if from == model {
                continue;
            }
            let grown = f64::from(*layers) / f64::from(*few);
            let stages = STAGES
                .into_iter()
                .filter_map(|(name, law)| {
                    let base = Taken::of(base, name)?;
                    let own = Taken::of(own, name)?;
                    let times = match law {
                        Law::Fixed => 1.0,
                        Law::Bytes => own.bytes / base.bytes,
                        Law::Layers => grown,
                    };
                    Some((name, Pair { predicted: base.seconds * times, measured: own.seconds }))
                })
                .collect();
            compared.push(ColdCompared { model: model.clone(), from: from.clone(), cached: *cached, stages });
        }
        if compared.is_empty() {
            let what = "starts of two models".to_owned();
            return Err(EngineCheckError::Lacks { engine: "cold starts".into(), what });
        }
        Ok(Self { compared })
    }

    /// Whether all totals are within the bound.
    pub fn passed(&self) -> bool {
        self.compared.iter().all(|start| start.total().error().abs() <= BOUND)
    }
}

/// What a stage took, on average over starts.
struct Taken {
    seconds: f64,
    bytes: f64,
}

impl Taken {
    fn of(starts: &[Start], name: &str) -> Option<Self> {
        let own = || starts.iter().flat_map(|start| &start.stages).filter(|stage| stage.stage == name);
        let bytes = mean(own().filter_map(|stage| stage.bytes.map(|bytes| bytes as f64)));
        Some(Self { seconds: mean(own().map(|stage| stage.seconds))?, bytes: bytes.unwrap_or(1.0) })
    }
}
