//! The time of an execution of a catalogue model on a GPU or a CPU host, from datasheets: uncalibrated.

use crate::hardware::HardwareError;
use crate::hardware::catalogue::{self, Gpu, Model, RankingModel, UnknownName, is_model_file};
use crate::hardware::datasheet::Efficiency;
use crate::hardware::memory::RUNTIME_BYTES;
use crate::hardware::precision::Precision;
use crate::hardware::timing::{Calibration, Coefficients, Hinge, StepFunction, TICKS_PER_NANO};

/// Share of the fp32 peak that a ranking model's small matrix multiplications reach. Assumption.
const RANKING_COMPUTE: f64 = 0.5;
/// Share of the memory bandwidth at which its networks' weights are read. Assumption.
const RANKING_WEIGHTS: f64 = 0.8;
/// Share of the memory bandwidth at which embeddings are looked up, some hundred bytes here and some there.
/// Assumption.
const RANKING_LOOKUPS: f64 = 0.3;

/// A model that a server can compute the time of.
pub(super) enum Served {
    /// Forward passes over the tokens of its items.
    Transformer(Box<Model>),
    /// A network over the features of its items.
    Ranking(&'static RankingModel),
}

impl Served {
    /// The model of a name in the catalogue, or of a `config.json`.
    pub(super) fn find(name: &str) -> Result<Self, HardwareError> {
        match catalogue::ranking_models().iter().find(|model| model.id == name) {
            Some(ranking) => Ok(Self::Ranking(ranking)),
            None => Ok(Self::Transformer(Box::new(catalogue::find_model(name)?.into_owned()))),
        }
    }

    /// What a refusal of an unknown name says would be accepted.
    pub(super) fn accepted(error: &UnknownName) -> String {
        let ranking: Vec<_> = catalogue::ranking_models().iter().map(|model| model.id.as_str()).collect();
        format!("{}; or a ranking model, {}", error.accepted(), ranking.join(", "))
    }

    /// Bytes of one instance's weights.
    pub(super) fn weight_bytes(&self, precision: Precision) -> u64 {
        match self {
            Self::Transformer(model) => model.weight_bytes(precision),
            Self::Ranking(model) => model.weight_bytes(),
        }
    }

    /// The most tokens of an item; a ranking model has none.
    pub(super) fn context(&self) -> u64 {
        match self {
            Self::Transformer(model) => model.max_context,
            Self::Ranking(_) => u64::MAX,
        }
    }

    /// Bytes that a process takes besides.
    pub(super) fn runtime_bytes(gpu: &Gpu) -> u64 {
        if gpu.is_host() { 0 } else { RUNTIME_BYTES }
    }

    /// The time of an execution, with an overhead in microseconds.
    pub(super) fn step(
        &self,
        gpu: &Gpu,
        precision: Precision,
        overhead_us: f64,
    ) -> Result<StepFunction, HardwareError> {
        // No scheduler of an LLM engine runs here: only the overhead.
        let efficiency = Efficiency {
            step_gap_us: overhead_us,
            host_step_us: 0.0,
            host_sequence_us: 0.0,
            ..Efficiency::default()
        };
        match self {
            Self::Transformer(model) => {
                let kv = if precision == Precision::Fp32 { Precision::Fp32 } else { Precision::Fp16 };
                StepFunction::from_datasheet(gpu, model, precision, kv, 1, &efficiency)
            }
            Self::Ranking(model) => {
                efficiency.check()?;
                ranking(model, gpu, overhead_us)
            }
        }
    }
}

/// A ranking model (DLRM) in fp32: the longer of reading the networks once and computing them for
/// every item, and the embeddings of every item, which lie all over the tables.
fn ranking(model: &RankingModel, gpu: &Gpu, overhead_us: f64) -> Result<StepFunction, HardwareError> {
    let ticks = |seconds: f64| (seconds * 1e9 * TICKS_PER_NANO as f64).ceil() as u64;
    let bandwidth = gpu.memory_bandwidth * 1e9;
    let read = ticks(4.0 * model.network_parameters() as f64 / (bandwidth * RANKING_WEIGHTS));
    let peak = gpu.peak_flops(Precision::Fp32);
    let compute = ticks(model.flops_per_item() as f64 / (peak * RANKING_COMPUTE)).max(1);
    let coefficients = Coefficients {
        base: read + ticks(overhead_us * 1e-6),
        per_sequence: ticks(model.lookup_bytes_per_item() as f64 / (bandwidth * RANKING_LOOKUPS)),
        head: Hinge { free: read / compute, slope: compute },
        ..Coefficients::default()
    };
    StepFunction::new(coefficients, Calibration::Datasheet)
}

/// Whether a name is that of a ranking model.
pub(super) fn is_ranking(name: &str) -> bool {
    !is_model_file(name) && catalogue::ranking_models().iter().any(|model| model.id == name)
}
