//! What fits into GPU memory: weights, activations, the runtime itself, and the KV cache blocks in the
//! rest.
//!
//! The budget is that of vLLM: of the driver's memory the engine takes `gpu_memory_utilization`,
//! subtracts the weights and the peak of a profiling pass, and cuts the rest into blocks. All figures are
//! bytes of one GPU; with tensor parallelism every GPU holds the same share, rounded up.
//!
//! Every matrix is split evenly; so are the experts of a layer, be it each of them or whole ones on each GPU (expert
//! parallel): the bytes are the same. Engines that share out experts (data parallel) hold all else each. Key-value heads fewer than GPUs, and the
//! latent vectors of MLA, are held by every GPU. Where layers are cut into groups ([`KvGroups`]), a block holds the
//! keys and values of one group's layers, so that there are more and smaller blocks. On a CPU host the same budget is
//! taken of its RAM.
//!
//! Two terms are estimates:
//! - **Activations** of one pass over `max_num_batched_tokens` tokens peak at the larger of two
//!   moments: inside a feed-forward part (residual, its normed copy, the gate and up projections and
//!   their product: `2 hidden + 3 ffn` values a token, or two in place of three without a gate; with
//!   several experts, `ffn` of all that a token goes through), and at the output layer (fp32 logits of
//!   `max_num_seqs` sequences and one copy for sampling). Assumption: derived from the order of
//!   operations, not measured.
//! - **Overhead** of the CUDA context, CUDA graphs and fragmentation: 0.75 GiB, and 0.5 GiB more for
//!   communication buffers with tensor parallelism. Assumption: the first was chosen so that the one
//!   server with a known count (Qwen3-14B in bf16 on an 80 GB H100 with 8,192 batched tokens has 18,038
//!   blocks) is met at vLLM's default utilization; the second is a guess.

use std::fmt;

use thiserror::Error;

use super::catalogue::{Gpu, Model, ModelKind, gpus};
use super::kv_groups::KvGroups;
use super::precision::Precision;
use super::{HardwareError, Placement, TENSOR_PARALLEL, check_placement};

const GIB: u64 = 1 << 30;
/// CUDA context, CUDA graphs, fragmentation. Assumption, see the module.
pub(crate) const RUNTIME_BYTES: u64 = 3 * GIB / 4;
/// Buffers for communication between GPUs. Assumption, see the module.
pub(crate) const COMMUNICATION_BYTES: u64 = GIB / 2;

/// What decides how the memory of a GPU is shared out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MemorySettings {
    /// Number format of the weights.
    pub precision: Precision,
    /// Number format of the KV cache; by default that of the activations.
    pub kv_precision: Option<Precision>,
    /// GPUs that the model is split over: 1, 2, 4 or 8.
    pub tensor_parallel: u64,
    /// Engines that share out the experts among them: 1, 2, 4 or 8.
    pub data_parallel: u64,
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
    /// How the layers of the model, all of its stages', share out the blocks.
    pub kv_groups: KvGroups,
    /// Weights of other things on each GPU, in bytes: a drafting model, adapters, the input embedding of a pipeline.
    pub more_weight_bytes: u64,
    /// Keys and values that a drafting model keeps of each token, in bytes on each GPU.
    pub more_kv_bytes_per_token: u64,
}

impl Default for MemorySettings {
    /// bf16 on one GPU, 0.92 of its memory, blocks of 16 tokens, passes of up to 8,192 tokens and 256
    /// sequences.
    fn default() -> Self {
        Self {
            precision: Precision::Bf16,
            kv_precision: None,
            tensor_parallel: 1,
            data_parallel: 1,
            gpu_memory_utilization: 0.92,
            block_size: 16,
            max_num_batched_tokens: 8192,
            max_num_seqs: 256,
            kv_blocks: None,
            kv_groups: KvGroups::default(),
            more_weight_bytes: 0,
            more_kv_bytes_per_token: 0,
        }
    }
}

impl MemorySettings {
    /// How the model lies on GPUs.
    pub fn placement(&self) -> Placement {
        Placement { tensor_parallel: self.tensor_parallel, data_parallel: self.data_parallel }
    }

    /// The null block and one block to work with for each group of layers.
    fn least_blocks(&self) -> u64 {
        1 + u64::from(self.kv_groups.count())
    }

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
    /// Keys and values of one token, in all layers.
    pub kv_bytes_per_token: u64,
    /// A KV cache block.
    pub block_bytes: u64,
    /// What is left for the KV cache.
    pub kv_bytes: u64,
    /// Blocks in the KV cache, as vLLM reports them: one of them, the null block, holds nothing.
    pub kv_blocks: u64,
    /// Tokens in a block.
    pub block_size: u64,
    /// How the layers share out the blocks.
    pub kv_groups: KvGroups,
}

impl MemoryPlan {
    /// Blocks that hold tokens: all but the null block.
    pub fn usable_blocks(&self) -> u64 {
        self.kv_blocks - 1
    }

    /// What the engine takes of the GPU's memory from its start on.
    pub fn held_bytes(&self) -> u64 {
        self.weights_bytes + self.activation_bytes + self.overhead_bytes + self.kv_blocks * self.block_bytes
    }

    /// Tokens of context that the KV cache holds; where layers have a window, of sequences within it.
    pub fn kv_tokens(&self) -> u64 {
        self.kv_groups.tokens(self.usable_blocks(), self.block_size)
    }

    /// Shares out the memory of `gpu` for `model`.
    ///
    /// # Errors
    /// A setting out of range, an encoder, a precision without kernels, a `tensor_parallel` that does not
    /// divide the model, or [`HardwareError::DoesNotFit`] with what would fit.
    pub fn new(gpu: &Gpu, model: &Model, settings: &MemorySettings) -> Result<Self, HardwareError> {
        check(settings)?;
        if model.kind == ModelKind::Encoder {
            return Err(HardwareError::Encoder(model.id.clone()));
        }
        check_placement(gpu, model, settings.precision, settings.placement())?;
        let demand = Demand::new(model, settings)?;
        let budget_bytes = budget(gpu, settings);
        let needed = demand.least(settings);
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
            block_bytes: clamp(demand.block_bytes),
            kv_bytes,
            kv_blocks,
            block_size: settings.block_size,
            kv_groups: settings.kv_groups,
        })
    }
}

/// What would fit in place of something that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// Number format of the weights.
    pub precision: Precision,
    /// GPUs to split the model over.
    pub tensor_parallel: u64,
    /// Catalogue id of another GPU, if it is one.
    pub gpu: Option<String>,
}

impl fmt::Display for Alternative {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with tensor_parallel = {}", self.precision, self.tensor_parallel)?;
        self.gpu.iter().try_for_each(|gpu| write!(f, " on {gpu}"))
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
    /// fewest GPUs at the same precision (where neither helps alone, the fewest GPUs at any
    /// precision), and the smallest other GPU at the same precision, as few as possible.
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
            return "no precision and no GPU of the catalogue, up to 8, would fit at these settings"
                .to_owned();
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
        // Layers keep the same, and a drafting model's are in every block.
        let in_block = kv_bytes_per_token / model.layers * settings.kv_groups.layers_in_block(model);
        let in_block = in_block.saturating_add(settings.more_kv_bytes_per_token);
        let kv_bytes_per_token = kv_bytes_per_token.saturating_add(settings.more_kv_bytes_per_token);
        let matrices = if model.gated_ffn { 3 } else { 2 };
        let values_per_token = 2 * model.hidden + matrices * model.widest_ffn().div_ceil(gpus);
        let pass = u128::from(settings.max_num_batched_tokens)
            * u128::from(values_per_token * settings.precision.activation_bytes());
        let logits = u128::from(settings.max_num_seqs) * u128::from(2 * 4 * model.vocab);
        Ok(Self {
            weights: model
                .weight_bytes_on_gpu(settings.precision, settings.placement())
                .saturating_add(settings.more_weight_bytes),
            activations: pass.max(logits),
            overhead: RUNTIME_BYTES + if settings.placement().gpus() > 1 { COMMUNICATION_BYTES } else { 0 },
            kv_bytes_per_token,
            block_bytes: u128::from(in_block) * u128::from(settings.block_size),
        })
    }

    fn fixed(&self) -> u128 {
        u128::from(self.weights) + self.activations + u128::from(self.overhead)
    }

    /// The least memory to run with.
    fn least(&self, settings: &MemorySettings) -> u128 {
        self.fixed() + u128::from(settings.kv_blocks.unwrap_or(settings.least_blocks())) * self.block_bytes
    }
}

/// What the engine may take of a GPU's memory.
fn budget(gpu: &Gpu, settings: &MemorySettings) -> u64 {
    match settings.kv_blocks {
        Some(_) => gpu.memory_bytes,
        None => scaled(gpu.memory_bytes, settings.gpu_memory_utilization),
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
        Some(blocks) if blocks < settings.least_blocks() => Err(HardwareError::OutOfRange {
            name: "kv_blocks",
            value: blocks as f64,
            expected: "at least 2 blocks, one of which is the null block, and one more for each further group of layers",
        }),
        _ => Ok(()),
    }
}

fn alternatives(gpu: &Gpu, model: &Model, settings: &MemorySettings) -> Vec<Alternative> {
    let fits = |gpu: &Gpu, precision, tensor_parallel| {
        let changed = MemorySettings { precision, tensor_parallel, ..*settings };
        check_placement(gpu, model, precision, changed.placement()).is_ok()
            && Demand::new(model, &changed)
                .is_ok_and(|demand| demand.least(&changed) <= u128::from(budget(gpu, &changed)))
    };
    let MemorySettings { precision: asked, tensor_parallel: given, .. } = *settings;
    let narrower =
        || Precision::ALL.into_iter().filter(|other| other.expert_bytes(256) < asked.expert_bytes(256));
    let more = || TENSOR_PARALLEL.into_iter().filter(|gpus| *gpus > given);
    let here = |(precision, tensor_parallel)| Alternative { precision, tensor_parallel, gpu: None };

    let same_gpus = narrower().map(|precision| (precision, given)).find(|(p, n)| fits(gpu, *p, *n));
    let same_precision = more().map(|gpus| (asked, gpus)).find(|(p, n)| fits(gpu, *p, *n));
    let mut found: Vec<_> = same_gpus.into_iter().chain(same_precision).map(here).collect();
    if found.is_empty() {
        let both = more().flat_map(|gpus| narrower().map(move |precision| (precision, gpus)));
        found.extend(both.into_iter().find(|(p, n)| fits(gpu, *p, *n)).map(here));
    }
    let smallest = |tensor_parallel| {
        let others = gpus().iter().filter(|other| other.is_host() == gpu.is_host() && other.id != gpu.id);
        let fitting = others.filter(|other| fits(other, asked, tensor_parallel));
        fitting.min_by_key(|other| other.memory_bytes).map(|other| Alternative {
            precision: asked,
            tensor_parallel,
            gpu: Some(other.id.clone()),
        })
    };
    found.extend(std::iter::once(given).chain(more()).find_map(smallest));
    found
}

#[cfg(test)]
mod tests;
