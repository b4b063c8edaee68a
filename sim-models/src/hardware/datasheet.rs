//! Step functions from datasheet peaks and efficiencies: the time of a forward pass of a model nobody
//! has measured.
//!
//! A pass is a sequence of rooflines. On each of `tp` GPUs, with `L` layers:
//! - **Matrix multiplications of the layers** take the longer of reading the weights (once, whatever the
//!   number of tokens) and computing (2 FLOP a token and weight). Of E experts, `n` tokens that each go through
//!   k of them read `E (1 - (1 - k/E)^n)`, the expected number where routing is uniform (assumption); each token
//!   is computed by its active ones, at `expert_compute` of the rate of other matrices. Experts that every token
//!   goes through, dense layers and attention are always read.
//! - **The output layer** likewise, by sequences: only the last token of each is sampled from. An encoder
//!   has none.
//! - **Decode attention** takes a floor for each layer and the longer of reading keys and values (of MLA the
//!   compressed vectors) and computing with them, for each token of context; computing is the longer only
//!   for MLA, whose many heads share one vector, on few GPUs.
//! - **Prefill attention** computes: `2 * heads * head_dim` FLOP for each unit of prefill work, twice that
//!   in an encoder, where every token sees all others.
//! - **Layers with a sliding window** do either for the last `window` tokens of each query alone, at the same
//!   rates (assumption: kernels skip what is outside by whole tiles, of which the first is read in part).
//! - **Element-wise kernels** (norms, rotary embedding, activation function) move, for each token and
//!   layer, `8 hidden + 4 qkv + 3 ffn` values (reads and writes of two fused residual norms, of one
//!   rotation with cache write, and of one gated activation), above a floor for each layer.
//! - **All-reduces**, two for each layer with tensor parallelism: a base latency plus
//!   `2 (tp - 1) / tp` times the activations over the link.
//! - **Exchange of tokens**, where engines share out experts: twice for each layer with experts (to
//!   the experts and back) a base latency like that of an all-reduce, plus the activations that each token sends
//!   to other engines, `(n - 1) / n` of `min(active experts, n)` copies among n engines. All engines are taken to be
//!   equally full, so that each computes with its share of the experts what it sends away (assumption).
//! - **Sampling** passes three times over the fp32 logits of each sequence.
//! - **The host** prepares the next step meanwhile; a gap between steps overlaps with nothing.
//!
//! A CPU host is no different but for other default efficiencies ([`Efficiency`]): its weights are read from RAM.
//!
//! Compute-bound terms are slower by `sustained_slowdown`: a GPU kept busy runs into its power limit.

mod kernels;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalogue::{Gpu, Model, ModelKind};
use super::experts;
use super::precision::Precision;
use super::timing::{Calibration, Coefficients, Curve, Hinge, StepFunction, TICKS_PER_NANO};
use super::{HardwareError, Placement, check_placement};

/// How far below the datasheet a server runs. A field left out takes the figure measured on the GPU by
/// others where the catalogue has one (A100, H100, B200, L40S), otherwise the same share of the peak as on
/// an H100.
///
/// On a CPU host the shares are, by default, 0.5 of the peak for matrix multiplications and 0.25 for attention, 0.65
/// of the memory bandwidth, and 10 us for a layer's attention (assumptions; Sapphire Rapids is said to reach
/// about 200 of its 307 GB/s).
///
/// "Measured" means the tables of ai-dynamo/aiconfigurator (commit 095f58a, vLLM 0.24 kernels, Apache-2.0),
/// medians over large shapes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Efficiency {
    /// Share of the dense peak that 16- and 32-bit matrix multiplications reach. H100: 0.80 (787 of 989
    /// TFLOP/s, measured).
    pub gemm_compute: Option<f64>,
    /// Share of the dense peak that 8-bit matrix multiplications reach. 0.50 (983 of 1,979 TFLOP/s for fp8
    /// on an H100, measured).
    pub gemm_compute_8bit: Option<f64>,
    /// Share of that which the matrix multiplications of experts reach, many in one kernel. 0.60 (473 of 787 TFLOP/s in
    /// bf16 on an H100: the median of layers with at least 256 tokens for each expert, measured; otherwise an
    /// assumption).
    pub expert_compute: f64,
    /// Share of the memory bandwidth at which 16- and 32-bit weights are read. H100: 0.83 (2,781 of 3,350
    /// GB/s, measured).
    pub weight_bandwidth: Option<f64>,
    /// Share of the memory bandwidth at which narrower weights are read. 0.67 (2,239 of 3,350 GB/s for fp8
    /// on an H100, measured), at most `weight_bandwidth`.
    pub weight_bandwidth_quantized: Option<f64>,
    /// Share of the memory bandwidth at which decode attention reads the KV cache. H100: 0.87 (2,906 of
    /// 3,350 GB/s, measured).
    pub decode_attention_bandwidth: Option<f64>,
    /// Share of the dense 16-bit peak that causal prefill attention reaches. H100: 0.58 (573 of 989
    /// TFLOP/s, measured).
    pub prefill_attention_compute: Option<f64>,
    /// Share of the memory bandwidth that element-wise kernels and sampling reach. By default
    /// `weight_bandwidth` (assumption).
    pub elementwise_bandwidth: Option<f64>,
    /// Latency of decode attention over a short context, in each layer, in microseconds. H100: 11.3
    /// (measured).
    pub attention_floor_us: Option<f64>,
    /// Latency of the element-wise kernels, in each layer, in microseconds. 8: four kernels of 2 us
    /// (assumption, chosen with one server in view: Qwen3-14B on an H100, 11.1 ms between tokens when idle).
    /// As much again in a layer with experts, to route, sort and combine, and in one with latent attention, to
    /// norm and expand the compressed vectors (assumption).
    pub elementwise_floor_us: f64,
    /// Latency of a small all-reduce in microseconds. H100: 4.3, 4.9 and 5.4 over 2, 4 and 8 GPUs; over
    /// PCIe 5.3, 12.6 and 22.4 as on the L40S (measured).
    pub all_reduce_base_us: Option<f64>,
    /// Share of the link bandwidth, one direction, that an all-reduce reaches. 0.6 (8 to 64 MiB over 2 to 8
    /// H100s, custom all-reduce: 0.42 to 0.76, measured).
    pub all_reduce_bandwidth: f64,
    /// By how much sustained computing is slower than the short bursts that were measured. 1.12 (1.06 to
    /// 1.17 on an H100 at its power limit).
    pub sustained_slowdown: f64,
    /// Time between two steps that overlaps with nothing, in microseconds. 200 (assumption, chosen
    /// with the same server in view).
    pub step_gap_us: f64,
    /// Time of the host for each step, in microseconds. 1,500 (assumption).
    pub host_step_us: f64,
    /// Time of the host for each sequence in a step, in microseconds. 8 (assumption).
    pub host_sequence_us: f64,
    /// Whether the host prepares a step while the GPU computes the one before, as vLLM does by default:
    /// a step then takes the longer of the two, otherwise their sum. In a scenario the `async_scheduling` of the
    /// pool says so.
    #[serde(skip)]
    pub async_scheduling: bool,
}

impl Default for Efficiency {
    fn default() -> Self {
        Self {
            gemm_compute: None,
            gemm_compute_8bit: None,
            expert_compute: 0.60,
            weight_bandwidth: None,
            weight_bandwidth_quantized: None,
            decode_attention_bandwidth: None,
            prefill_attention_compute: None,
            elementwise_bandwidth: None,
            attention_floor_us: None,
            elementwise_floor_us: 8.0,
            all_reduce_base_us: None,
            all_reduce_bandwidth: 0.6,
            sustained_slowdown: 1.12,
            step_gap_us: 200.0,
            host_step_us: 1500.0,
            host_sequence_us: 8.0,
            async_scheduling: true,
        }
    }
}

/// Shares of the datasheet's figures that are taken where nothing was measured.
struct Shares {
    gemm: f64,
    gemm_8bit: f64,
    weights: f64,
    weights_8bit: f64,
    decode_attention: f64,
    prefill_attention: f64,
    attention_floor_us: f64,
}

/// An H100's, measured (see [`Efficiency`]).
const H100: Shares = Shares {
    gemm: 787.0 / 989.4,
    gemm_8bit: 983.0 / 1978.9,
    weights: 2781.0 / 3350.0,
    weights_8bit: 2239.0 / 3350.0,
    decode_attention: 2906.0 / 3350.0,
    prefill_attention: 573.0 / 989.4,
    attention_floor_us: 11.3,
};
/// A CPU host's: assumptions (see [`Efficiency`]).
const HOST: Shares = Shares {
    gemm: 0.5,
    gemm_8bit: 0.5,
    weights: 0.65,
    weights_8bit: 0.65,
    decode_attention: 0.65,
    prefill_attention: 0.25,
    attention_floor_us: 10.0,
};
/// Small all-reduces over 2, 4 and 8 GPUs, H100 (NVLink) and L40S (PCIe), microseconds, measured.
const NVLINK_ALL_REDUCE_US: [f64; 3] = [4.3, 4.9, 5.4];
const PCIE_ALL_REDUCE_US: [f64; 3] = [5.3, 12.6, 22.4];

/// Efficiencies with every gap filled for one GPU: rates in bytes/s and FLOP/s, times in seconds.
struct Rates {
    gemm: f64,
    head: f64,
    weights: f64,
    expert_weights: f64,
    head_weights: f64,
    decode_attention: f64,
    prefill_attention: f64,
    elementwise: f64,
    attention_floor: f64,
    all_reduce_base: f64,
    link: f64,
    exchange_base: f64,
    exchange_link: f64,
}

impl Efficiency {
    /// Whether every figure is in its range.
    pub(crate) fn check(&self) -> Result<(), HardwareError> {
        let share = |name, value: Option<f64>| {
            (name, value.unwrap_or(1.0), 0.0, 1.0, "a share above 0 and at most 1")
        };
        let micros = |name, value: f64| (name, value, -1.0, 1e6, "microseconds from 0 to 1000000");
        let ranges = [
            share("gemm_compute", self.gemm_compute),
            share("gemm_compute_8bit", self.gemm_compute_8bit),
            share("expert_compute", Some(self.expert_compute)),
            share("weight_bandwidth", self.weight_bandwidth),
            share("weight_bandwidth_quantized", self.weight_bandwidth_quantized),
            share("decode_attention_bandwidth", self.decode_attention_bandwidth),
            share("prefill_attention_compute", self.prefill_attention_compute),
            share("elementwise_bandwidth", self.elementwise_bandwidth),
            share("all_reduce_bandwidth", Some(self.all_reduce_bandwidth)),
            micros("attention_floor_us", self.attention_floor_us.unwrap_or(0.0)),
            micros("elementwise_floor_us", self.elementwise_floor_us),
            micros("all_reduce_base_us", self.all_reduce_base_us.unwrap_or(0.0)),
            micros("step_gap_us", self.step_gap_us),
            micros("host_step_us", self.host_step_us),
            micros("host_sequence_us", self.host_sequence_us),
            ("sustained_slowdown", self.sustained_slowdown, 0.999, 10.0, "a factor from 1 to 10"),
        ];
        for (name, value, above, most, expected) in ranges {
            // Not `value <= above`: a NaN must fail, too.
            let accepted = value > above && value <= most && (above >= 0.0 || value >= 0.0);
            if !accepted {
                return Err(HardwareError::OutOfRange { name, value, expected });
            }
        }
        Ok(())
    }

    /// Shares of the memory bandwidth at which 16-bit weights and the KV cache are read.
    pub(super) fn bandwidths(&self, gpu: &Gpu) -> (f64, f64) {
        let (measured, bandwidth) = (gpu.measured.as_ref(), gpu.memory_bandwidth);
        let shares = if gpu.is_host() { HOST } else { H100 };
        let weights = self.weight_bandwidth.unwrap_or_else(|| {
            measured.map_or(shares.weights, |measured| measured.weight_bandwidth / bandwidth)
        });
        let decode = self.decode_attention_bandwidth.unwrap_or_else(|| {
            measured
                .map_or(shares.decode_attention, |measured| measured.decode_attention_bandwidth / bandwidth)
        });
        (weights, decode)
    }

    fn rates(&self, gpu: &Gpu, precision: Precision, placement: Placement) -> Rates {
        let measured = gpu.measured.as_ref();
        let shares = if gpu.is_host() { HOST } else { H100 };
        let bandwidth = gpu.memory_bandwidth;
        let (weights, decode) = self.bandwidths(gpu);
        let quantized = self.weight_bandwidth_quantized.unwrap_or(shares.weights_8bit.min(weights));
        let gemm = self
            .gemm_compute
            .unwrap_or_else(|| measured.map_or(shares.gemm, |measured| measured.gemm / gpu.fp16));
        let gemm_8bit = self.gemm_compute_8bit.unwrap_or(shares.gemm_8bit);
        let prefill = self.prefill_attention_compute.unwrap_or_else(|| {
            measured.map_or(shares.prefill_attention, |measured| measured.prefill_attention / gpu.fp16)
        });
        let floor_us = self.attention_floor_us.unwrap_or_else(|| {
            measured.map_or(shares.attention_floor_us, |measured| measured.attention_floor)
        });
        let base_us = |gpus: u64| {
            self.all_reduce_base_us.unwrap_or_else(|| {
                let by_link = if gpu.linked(gpus) { NVLINK_ALL_REDUCE_US } else { PCIE_ALL_REDUCE_US };
                let by_gpus = measured.map_or(by_link, |measured| measured.all_reduce_base);
                by_gpus[(gpus.ilog2() as usize).saturating_sub(1)]
            })
        };
        let bytes = bandwidth * 1e9;
        let reading =
            |width: u64| bytes * if precision.activation_bytes() > width { quantized } else { weights };
        let head_precision = if precision == Precision::Fp32 { Precision::Fp32 } else { Precision::Bf16 };
        let compute = if gpu.computes_in_8_bits(precision) { gemm_8bit } else { gemm };
        let slowdown = self.sustained_slowdown;
        Rates {
            gemm: gpu.peak_flops(precision) * compute / slowdown,
            head: gpu.peak_flops(head_precision) * gemm / slowdown,
            weights: reading(precision.weight_bytes(1)),
            expert_weights: reading(precision.expert_bytes(1)),
            head_weights: bytes * weights,
            decode_attention: bytes * decode,
            prefill_attention: gpu.peak_flops(head_precision) * prefill / slowdown,
            elementwise: bytes * self.elementwise_bandwidth.unwrap_or(weights),
            attention_floor: floor_us * 1e-6,
            all_reduce_base: base_us(placement.tensor_parallel) * 1e-6,
            link: gpu.link_bandwidth(placement.tensor_parallel) * self.all_reduce_bandwidth,
            exchange_base: base_us(placement.gpus()) * 1e-6,
            exchange_link: gpu.link_bandwidth(placement.gpus()) * self.all_reduce_bandwidth,
        }
    }
}

impl StepFunction {
    /// The step function of `model` placed on GPUs (a number is that of tensor parallelism) from
    /// datasheet peaks and `efficiency`, labelled uncalibrated. Weights are in `precision`, the KV cache in `kv_precision`.
    ///
    /// No pass takes less than reading all streamed weights at the datasheet's bandwidth (with several
    /// experts: those that its tokens need in expectation).
    ///
    /// # Errors
    /// An efficiency out of range, a precision without kernels, a KV precision that none is kept in, or a
    /// placement that the model does not allow.
    pub fn from_datasheet(
        gpu: &Gpu,
        model: &Model,
        precision: Precision,
        kv_precision: Precision,
        placement: impl Into<Placement>,
        efficiency: &Efficiency,
    ) -> Result<Self, HardwareError> {
        efficiency.check()?;
        let placement = placement.into();
        check_placement(gpu, model, precision, placement)?;
        let Placement { tensor_parallel, data_parallel } = placement;
        let kv_bytes = model
            .kv_bytes_per_token(kv_precision, tensor_parallel)
            .ok_or(HardwareError::KvPrecision(kv_precision))?;
        let rates = efficiency.rates(gpu, precision, placement);
        let (gpus, layers) = (tensor_parallel as f64, model.layers as f64);
        let activation = precision.activation_bytes() as f64;

        let experts = model.expert_bytes(precision) as f64;
        let beside = precision.weight_bytes(model.beside_experts()) as f64
            + precision.embedding_bytes(model.other_parameters) as f64;
        let (always, by_token) = if model.experts > 1 { (beside, experts) } else { (beside + experts, 0.0) };
        let read_experts = by_token / gpus / data_parallel as f64 / rates.expert_weights;
        let read_always = at_least(always / gpus / rates.weights);
        let read_all = read_always.saturating_add(at_least(read_experts));
        let routed = model.active_expert_parameters() as f64;
        let others = model.active_layer_parameters() as f64 - routed;
        let expert_compute = if model.experts > 1 { efficiency.expert_compute } else { 1.0 };
        let compute_token = nearest(2.0 * (others + routed / expert_compute) / gpus / rates.gemm);

        let table = precision.embedding_bytes(model.output_parameters()) as f64;
        let read_head = at_least(table / gpus / rates.head_weights);
        let compute_head = nearest(2.0 * model.output_parameters() as f64 / gpus / rates.head);

        let qkv = 4.0 * model.qkv_width() as f64 / gpus;
        let elementwise_values =
            layers * (8.0 * model.hidden as f64 + qkv) + 3.0 * model.ffn_values() as f64 / gpus;
        let elementwise = elementwise_values * activation / rates.elementwise;
        let all_reduces = if tensor_parallel > 1 { 2.0 * layers } else { 0.0 };
        let reduced = 2.0 * (gpus - 1.0) / gpus * model.hidden as f64 * activation / rates.link;
        let with_experts = if model.experts > 1 { model.layers - model.dense_layers } else { 0 };
        let exchanging = if data_parallel > 1 { with_experts as f64 } else { 0.0 };
        let copies = model.active_experts.min(data_parallel) as f64 * (1.0 - 1.0 / data_parallel as f64);
        let exchanged = 2.0 * copies * model.hidden as f64 * activation / gpus / rates.exchange_link;
        let logits = if model.kind == ModelKind::Decoder { model.vocab as f64 } else { 0.0 };
        let sampling = 3.0 * 4.0 * logits / rates.elementwise;

        let with_latent = if model.latent.is_some() { model.layers } else { 0 };
        let elementwise_floors = (model.layers + with_experts + with_latent) as f64;
        let floors = layers * rates.attention_floor
            + elementwise_floors * efficiency.elementwise_floor_us * 1e-6
            + all_reduces * rates.all_reduce_base
            + 2.0 * exchanging * rates.exchange_base
            + efficiency.step_gap_us * 1e-6;
        let host = (at_least(efficiency.host_step_us * 1e-6), at_least(efficiency.host_sequence_us * 1e-6));
        let (inline, overlapped) = if efficiency.async_scheduling { ((0, 0), host) } else { (host, (0, 0)) };

        let read_context = kv_bytes as f64 / rates.decode_attention;
        let compute_context = layers * model.decode_pair_flops() as f64 / gpus / rates.prefill_attention;
        // A unit of prefill work is half a query and key of causal attention.
        let pairs_per_unit = if model.kind == ModelKind::Decoder { 0.5 } else { 1.0 };
        let attention_flops = layers * pairs_per_unit * model.prefill_pair_flops() as f64 / gpus;
        let (per_context, per_prefill_work) =
            (read_context.max(compute_context), attention_flops / rates.prefill_attention);
        let coefficients = Coefficients {
            base: [read_head, at_least(floors), inline.0].into_iter().fold(read_always, u64::saturating_add),
            per_sequence: nearest(sampling).saturating_add(inline.1),
            per_token: nearest(elementwise + all_reduces * reduced + exchanging * exchanged),
            gemm: Hinge { free: read_all / compute_token.max(1), slope: compute_token },
            head: Hinge { free: read_head / compute_head.max(1), slope: compute_head },
            host_base: overlapped.0,
            host_per_sequence: overlapped.1,
            ..Coefficients::of_attention(model, per_context, per_prefill_work, nearest)
        };
        let step = Self::new(coefficients, Calibration::Datasheet)?;
        if model.experts == 1 {
            return Ok(step);
        }
        let counts = experts::counts(model.experts, model.active_experts, data_parallel).into_iter();
        let share = |tokens: u64| {
            experts::read(model.experts, model.active_experts, tokens * data_parallel) / model.experts as f64
        };
        let mut points: Vec<_> =
            counts.map(|tokens| (tokens, at_least(read_experts * share(tokens)))).collect();
        // All have been read: from there on more tokens read no more.
        points.extend(points.last().map(|(tokens, all)| (tokens + 1, *all)));
        Ok(step.with_curves(Curve::new(points)?, Curve::default(), 0))
    }
}

/// Seconds in ticks, rounded up: for what must not be undercut.
fn at_least(seconds: f64) -> u64 {
    (seconds * 1e9 * TICKS_PER_NANO as f64).ceil() as u64
}

/// Seconds in ticks, rounded to the nearest.
fn nearest(seconds: f64) -> u64 {
    (seconds * 1e9 * TICKS_PER_NANO as f64).round() as u64
}

#[cfg(test)]
mod tests;
