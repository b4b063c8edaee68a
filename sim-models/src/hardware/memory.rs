//! What fits into GPU memory: weights, activations, the runtime itself, and the KV cache blocks in the
//! rest.
//!
//! The budget is that of vLLM: of the driver's memory the engine takes `gpu_memory_utilization`,
//! subtracts the weights and the peak of a profiling pass, and cuts the rest into blocks. All figures are
//! bytes of one GPU; with tensor parallelism every GPU holds the same share, rounded up.
//!
//! Two terms are estimates:
//! - **Activations** of one pass over `max_num_batched_tokens` tokens peak at the larger of two
//!   moments: inside a feed-forward part (residual, its normed copy, the gate and up projections and
//!   their product: `2 hidden + 3 ffn` values a token, or two in place of three without a gate; with
//!   several experts, that many for each active one), and at the output layer (fp32 logits of
//!   `max_num_seqs` sequences and one copy for sampling). Assumption: derived from the order of
//!   operations, not measured.
//! - **Overhead** of the CUDA context, CUDA graphs and fragmentation: 0.75 GiB, and 0.5 GiB more for
//!   communication buffers with tensor parallelism. Assumption: the first was chosen so that the one
//!   server with a known count (Qwen3-14B in bf16 on an 80 GB H100 with 8,192 batched tokens has 18,038
//!   blocks) is met at vLLM's default utilization; the second is a guess.

use std::fmt;

use thiserror::Error;

use super::catalogue::{Gpu, Model};
use super::precision::Precision;
use super::{HardwareError, TENSOR_PARALLEL, check_tensor_parallel};

const GIB: u64 = 1 << 30;
/// CUDA context, CUDA graphs, fragmentation. Assumption, see the module.
pub(crate) const RUNTIME_BYTES: u64 = 3 * GIB / 4;
/// Buffers for communication between GPUs. Assumption, see the module.
const COMMUNICATION_BYTES: u64 = GIB / 2;
/// The null block and one block to work with.
const MIN_BLOCKS: u64 = 2;

/// What decides how the memory of a GPU is shared out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemorySettings {
    /// Number format of the weights.
    pub precision: Precision,
    /// Number format of the KV cache; by default that of the activations.
    pub kv_precision: Option<Precision>,
    /// GPUs that the model is split over: 1, 2, 4 or 8.
    pub tensor_parallel: u64,
    /// Share of the GPU's memory that the engine may take, above 0 and at most 1. 0.92 is vLLM's default.
    pub gpu_memory_utilization: f64,
    /// Tokens in a KV cache block. 16 is vLLM's default on CUDA.
    pub block_size: u64,
    /// Most tokens computed in one pass.
    pub max_num_batched_tokens: u64,
    /// Most sequences in one pass.
    pub max_num_seqs: u64,
    /// The number of KV cache blocks (null block included) instead of what the utilization allows;
    /// it is only checked against the GPU's whole memory.
    pub kv_blocks: Option<u64>,
}

impl Default for MemorySettings {
    /// bf16 on one GPU, 0.92 of its memory, blocks of 16 tokens, passes of up to 8,192 tokens and 256
    /// sequences.
    fn default() -> Self {
        Self {
            precision: Precision::Bf16,
            kv_precision: None,
            tensor_parallel: 1,
            gpu_memory_utilization: 0.92,
            block_size: 16,
            max_num_batched_tokens: 8192,
            max_num_seqs: 256,
            kv_blocks: None,
        }
    }
}

impl MemorySettings {
    /// Number format of the KV cache, given or by default.
    pub fn kv_format(&self) -> Precision {
        self.kv_precision.unwrap_or(match self.precision {
            Precision::Fp32 => Precision::Fp32,
            _ => Precision::Bf16,
        })
    }
}

/// How the memory of each GPU is shared out, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What the engine may take.
    pub budget_bytes: u64,
    /// Weights.
    pub weights_bytes: u64,
    /// Peak of the activations of one pass.
    pub activation_bytes: u64,
    /// CUDA context, graphs, communication buffers.
    pub overhead_bytes: u64,
    /// Keys and values of one token.
    pub kv_bytes_per_token: u64,
    /// What is left for the KV cache.
    pub kv_bytes: u64,
    /// Blocks in the KV cache, as vLLM reports them: one of them, the null block, holds nothing.
    pub kv_blocks: u64,
    /// Tokens in a block.
    pub block_size: u64,
}

impl MemoryPlan {
    /// Blocks that hold tokens: all but the null block.
    pub fn usable_blocks(&self) -> u64 {
        self.kv_blocks - 1
    }

    /// Tokens of context that the KV cache holds.
    pub fn kv_tokens(&self) -> u64 {
        self.usable_blocks() * self.block_size
    }

    /// Shares out the memory of `gpu` for `model`.
    ///
    /// # Errors
    /// A setting out of range, a `tensor_parallel` that does not divide the model, or
    /// [`HardwareError::DoesNotFit`] with what would fit.
    pub fn new(gpu: &Gpu, model: &Model, settings: &MemorySettings) -> Result<Self, HardwareError> {
        check(settings)?;
        check_tensor_parallel(model, settings.tensor_parallel)?;
        let demand = Demand::new(model, settings)?;
        let (budget_bytes, blocks) = match settings.kv_blocks {
            Some(blocks) => (gpu.memory_bytes, blocks),
            None => (scaled(gpu.memory_bytes, settings.gpu_memory_utilization), MIN_BLOCKS),
        };
        let needed = demand.fixed() + u128::from(blocks) * demand.block_bytes;
        if needed > u128::from(budget_bytes) {
            return Err(DoesNotFit {
                gpu: gpu.id.clone(),
                model: model.id.clone(),
                precision: settings.precision,
                tensor_parallel: settings.tensor_parallel,
                missing_bytes: clamp(needed - u128::from(budget_bytes)),
                alternatives: alternatives(gpu, model, settings),
            }
            .into());
        }
        // All of these are at most the budget.
        let kv_bytes = budget_bytes - clamp(demand.fixed());
        let kv_blocks =
            settings.kv_blocks.unwrap_or_else(|| clamp(u128::from(kv_bytes) / demand.block_bytes));
        Ok(Self {
            budget_bytes,
            weights_bytes: demand.weights,
            activation_bytes: clamp(demand.activations),
            overhead_bytes: demand.overhead,
            kv_bytes_per_token: demand.kv_bytes_per_token,
            kv_bytes,
            kv_blocks,
            block_size: settings.block_size,
        })
    }
}

/// What would fit in place of something that does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alternative {
    /// Number format of the weights.
    pub precision: Precision,
    /// GPUs to split the model over.
    pub tensor_parallel: u64,
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with tensor_parallel = {}", self.precision, self.tensor_parallel)
    }
}

/// A model that does not fit into the memory of its GPUs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}; {}", self.shortfall(), self.suggestion())]
pub struct DoesNotFit {
    /// Catalogue id of the GPU.
    pub gpu: String,
    /// Catalogue id of the model.
    pub model: String,
    /// Number format asked for.
    pub precision: Precision,
    /// Tensor parallelism asked for.
    pub tensor_parallel: u64,
    /// Bytes that each GPU lacks.
    pub missing_bytes: u64,
    /// What would fit with all else unchanged: the widest narrower precision on the same GPUs, the
    /// fewest GPUs at the same precision; where neither helps alone, the fewest GPUs at any precision.
    pub alternatives: Vec<Alternative>,
}

/// GiB with two decimals, rounded up, so that what is short is never shown as nothing.
fn gib(bytes: u64) -> String {
    let hundredths = (u128::from(bytes) * 100).div_ceil(u128::from(GIB));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

impl DoesNotFit {
    /// What does not fit, and by how much.
    pub fn shortfall(&self) -> String {
        let Self { gpu, model, precision, tensor_parallel, .. } = self;
        format!(
            "{model} in {precision} with tensor_parallel = {tensor_parallel} does not fit on {gpu}: \
             {} GiB a GPU short",
            gib(self.missing_bytes)
        )
    }

    /// What would fit.
    pub fn suggestion(&self) -> String {
        if self.alternatives.is_empty() {
            return "no precision with up to 8 of these GPUs would fit at these settings".to_owned();
        }
        let names: Vec<_> = self.alternatives.iter().map(Alternative::to_string).collect();
        format!("would fit: {}", names.join("; "))
    }
}

/// What a model needs on each GPU, in bytes.
struct Demand {
    weights: u64,
    activations: u128,
    overhead: u64,
    kv_bytes_per_token: u64,
    block_bytes: u128,
}

impl Demand {
    fn new(model: &Model, settings: &MemorySettings) -> Result<Self, HardwareError> {
        let gpus = settings.tensor_parallel;
        let kv_precision = settings.kv_format();
        let kv_bytes_per_token =
            model.kv_bytes_per_token(kv_precision, gpus).ok_or(HardwareError::KvPrecision(kv_precision))?;
        let matrices = if model.gated_ffn { 3 } else { 2 };
        let values_per_token = 2 * model.hidden + model.active_experts * matrices * model.ffn.div_ceil(gpus);
        let pass = u128::from(settings.max_num_batched_tokens)
            * u128::from(values_per_token * settings.precision.activation_bytes());
        let logits = u128::from(settings.max_num_seqs) * u128::from(2 * 4 * model.vocab);
        Ok(Self {
            weights: model.weight_bytes(settings.precision).div_ceil(gpus),
            activations: pass.max(logits),
            overhead: RUNTIME_BYTES + if gpus > 1 { COMMUNICATION_BYTES } else { 0 },
            kv_bytes_per_token,
            block_bytes: u128::from(kv_bytes_per_token) * u128::from(settings.block_size),
        })
    }

    fn fixed(&self) -> u128 {
        u128::from(self.weights) + self.activations + u128::from(self.overhead)
    }
}

fn clamp(bytes: u128) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// `bytes` times `share`, in integers: the share is taken to a millionth.
fn scaled(bytes: u64, share: f64) -> u64 {
    clamp(u128::from(bytes) * (share * 1e6).round() as u128 / 1_000_000)
}

fn check(settings: &MemorySettings) -> Result<(), HardwareError> {
    let share = settings.gpu_memory_utilization;
    if !(share > 0.0 && share <= 1.0) {
        return Err(HardwareError::OutOfRange {
            name: "gpu_memory_utilization",
            value: share,
            expected: "a share above 0 and at most 1",
        });
    }
    let counts = [
        ("block_size", settings.block_size, 1, "a number of tokens from 1 to 1048576"),
        (
            "max_num_batched_tokens",
            settings.max_num_batched_tokens,
            1,
            "a number of tokens from 1 to 1048576",
        ),
        ("max_num_seqs", settings.max_num_seqs, 1, "a number of sequences from 1 to 1048576"),
    ];
    for (name, value, least, expected) in counts {
        if !(least..=1 << 20).contains(&value) {
            return Err(HardwareError::OutOfRange { name, value: value as f64, expected });
        }
    }
    match settings.kv_blocks {
        Some(blocks) if blocks < MIN_BLOCKS => Err(HardwareError::OutOfRange {
            name: "kv_blocks",
            value: blocks as f64,
            expected: "at least 2 blocks: one of them is the null block",
        }),
        _ => Ok(()),
    }
}

fn alternatives(gpu: &Gpu, model: &Model, settings: &MemorySettings) -> Vec<Alternative> {
    let fits = |&Alternative { precision, tensor_parallel }: &Alternative| {
        let changed = MemorySettings { precision, tensor_parallel, ..*settings };
        let budget = match settings.kv_blocks {
            Some(_) => gpu.memory_bytes,
            None => scaled(gpu.memory_bytes, settings.gpu_memory_utilization),
        };
        let blocks = u128::from(settings.kv_blocks.unwrap_or(MIN_BLOCKS));
        check_tensor_parallel(model, tensor_parallel).is_ok()
            && Demand::new(model, &changed)
                .is_ok_and(|demand| demand.fixed() + blocks * demand.block_bytes <= u128::from(budget))
    };
    let narrower = |precision: &Precision| precision.weight_bytes(256) < settings.precision.weight_bytes(256);
    let more = |gpus: &u64| *gpus > settings.tensor_parallel;
    let same_gpus = Precision::ALL
        .into_iter()
        .filter(narrower)
        .map(|precision| Alternative { precision, tensor_parallel: settings.tensor_parallel })
        .find(fits);
    let same_precision = TENSOR_PARALLEL
        .into_iter()
        .filter(more)
        .map(|tensor_parallel| Alternative { precision: settings.precision, tensor_parallel })
        .find(fits);
    let found: Vec<_> = same_gpus.into_iter().chain(same_precision).collect();
    if !found.is_empty() {
        return found;
    }
    let both = |gpus| {
        Precision::ALL
            .into_iter()
            .filter(narrower)
            .map(move |precision| Alternative { precision, tensor_parallel: gpus })
    };
    TENSOR_PARALLEL.into_iter().filter(more).flat_map(both).find(fits).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{gpu, model};
    use super::*;
    use proptest::prelude::*;

    fn plan(gpu_id: &str, model_id: &str, settings: &MemorySettings) -> Result<MemoryPlan, HardwareError> {
        MemoryPlan::new(gpu(gpu_id).unwrap(), model(model_id).unwrap(), settings)
    }

    #[test]
    fn the_known_server_has_its_number_of_blocks() {
        let settings = MemorySettings::default();
        let at_default = plan("h100-sxm", "qwen3-14b", &settings).unwrap();
        let error = at_default.kv_blocks as f64 / 18_038.0 - 1.0;
        assert!(error.abs() < 0.02, "{} blocks", at_default.kv_blocks);
        // One source gives 0.90 for the same server: 1.7e9 bytes less, 650 blocks.
        let lower =
            plan("h100-sxm", "qwen3-14b", &MemorySettings { gpu_memory_utilization: 0.9, ..settings })
                .unwrap();
        let error = lower.kv_blocks as f64 / 18_038.0 - 1.0;
        assert!(error.abs() < 0.04, "{} blocks", lower.kv_blocks);
        assert_eq!(at_default.kv_tokens(), (at_default.kv_blocks - 1) * 16);
    }

    #[test]
    fn what_does_not_fit_says_by_how_much_and_what_would() {
        let error = plan("h100-sxm", "llama-3.1-70b", &MemorySettings::default()).unwrap_err();
        let HardwareError::DoesNotFit(refusal) = &error else { panic!("{error}") };
        // 141.1e9 weights + 1.67e9 activations + 0.8e9 overhead against 0.92 of 85.5e9: 64.9e9 short.
        assert!((refusal.missing_bytes as f64 / 64.9e9 - 1.0).abs() < 0.01, "{}", refusal.missing_bytes);
        let names: Vec<_> = refusal.alternatives.iter().map(Alternative::to_string).collect();
        assert_eq!(names, ["fp8 with tensor_parallel = 1", "bf16 with tensor_parallel = 2"]);
        let message = error.to_string();
        assert!(message.contains("60.4") && message.contains("GiB a GPU short"), "{message}");
        for &Alternative { precision, tensor_parallel } in &refusal.alternatives {
            let settings = MemorySettings { precision, tensor_parallel, ..MemorySettings::default() };
            assert!(plan("h100-sxm", "llama-3.1-70b", &settings).is_ok());
        }
    }

    #[test]
    fn both_precision_and_gpus_are_tried_together() {
        let error = plan("a100-sxm-40gb", "llama-3.1-405b", &MemorySettings::default()).unwrap_err();
        let HardwareError::DoesNotFit(refusal) = &error else { panic!("{error}") };
        assert_eq!(
            refusal.alternatives,
            [Alternative { precision: Precision::Int4, tensor_parallel: 8 }],
            "{error}"
        );
        let error = plan("l4", "llama-3.1-405b", &MemorySettings::default()).unwrap_err();
        assert!(error.to_string().contains("no precision"), "{error}");
    }

    #[test]
    fn narrower_weights_leave_a_multiple_of_the_cache() {
        // 70B on two 80 GB GPUs: 16-bit weights leave almost nothing, 8-bit ones half the memory.
        let settings = MemorySettings { tensor_parallel: 2, ..MemorySettings::default() };
        let wide = plan("h100-sxm", "llama-3.1-70b", &settings).unwrap();
        let narrow =
            plan("h100-sxm", "llama-3.1-70b", &MemorySettings { precision: Precision::Fp8, ..settings })
                .unwrap();
        let gain = narrow.kv_blocks as f64 / wide.kv_blocks as f64;
        assert!((5.6..24.0).contains(&gain), "{gain}");
        let small_cache = MemorySettings { kv_precision: Some(Precision::Fp8), ..settings };
        let halved = plan("h100-sxm", "llama-3.1-70b", &small_cache).unwrap();
        assert_eq!(halved.kv_bytes_per_token * 2, wide.kv_bytes_per_token);
        assert!(halved.kv_blocks.abs_diff(2 * wide.kv_blocks) <= 1);
    }

    #[test]
    fn the_number_of_blocks_can_be_given() {
        let settings = MemorySettings { kv_blocks: Some(18_038), ..MemorySettings::default() };
        assert_eq!(plan("h100-sxm", "qwen3-14b", &settings).unwrap().kv_blocks, 18_038);
        let settings = MemorySettings { kv_blocks: Some(30_000), ..settings };
        let error = plan("h100-sxm", "qwen3-14b", &settings).unwrap_err();
        assert!(matches!(error, HardwareError::DoesNotFit(_)), "{error}");
    }

    #[test]
    fn bad_settings_name_the_parameter() {
        let settings = MemorySettings::default();
        let bad = [
            (MemorySettings { gpu_memory_utilization: 1.2, ..settings }, "gpu_memory_utilization = 1.2"),
            (MemorySettings { gpu_memory_utilization: f64::NAN, ..settings }, "gpu_memory_utilization"),
            (MemorySettings { block_size: 0, ..settings }, "block_size = 0"),
            (MemorySettings { max_num_batched_tokens: u64::MAX, ..settings }, "max_num_batched_tokens"),
            (MemorySettings { max_num_seqs: 0, ..settings }, "max_num_seqs = 0"),
            (MemorySettings { kv_blocks: Some(1), ..settings }, "kv_blocks = 1"),
            (MemorySettings { kv_precision: Some(Precision::Int4), ..settings }, "kv_precision = int4"),
            (MemorySettings { tensor_parallel: 3, ..settings }, "tensor_parallel = 3"),
        ];
        for (settings, expected) in bad {
            let message = plan("h100-sxm", "llama-3.1-8b", &settings).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let eight = MemorySettings { tensor_parallel: 8, ..settings };
        let message = plan("h100-sxm", "qwen2.5-7b", &eight).unwrap_err().to_string();
        assert!(message.contains("28 attention heads"), "{message}");
    }

    proptest! {
        #[test]
        fn a_plan_never_exceeds_its_budget(
            gpu_index in 0..super::super::catalogue::gpus().len(),
            model_index in 0..super::super::catalogue::models().len(),
            precision in proptest::sample::select(Precision::ALL.to_vec()),
            tensor_parallel in proptest::sample::select(TENSOR_PARALLEL.to_vec()),
            gpu_memory_utilization in 0.1_f64..1.0,
            max_num_batched_tokens in 1_u64..100_000,
        ) {
            let gpu = &super::super::catalogue::gpus()[gpu_index];
            let model = &super::super::catalogue::models()[model_index];
            let settings = MemorySettings {
                precision, tensor_parallel, gpu_memory_utilization, max_num_batched_tokens,
                ..MemorySettings::default()
            };
            if let Ok(plan) = MemoryPlan::new(gpu, model, &settings) {
                let cache = plan.kv_blocks * plan.block_size * plan.kv_bytes_per_token;
                prop_assert!(cache <= plan.kv_bytes && plan.kv_bytes - cache < 16 * plan.kv_bytes_per_token);
                let total = plan.weights_bytes + plan.activation_bytes + plan.overhead_bytes + plan.kv_bytes;
                prop_assert_eq!(total, plan.budget_bytes);
                prop_assert!(plan.budget_bytes <= gpu.memory_bytes && plan.usable_blocks() >= 1);
            }
        }
    }
}
