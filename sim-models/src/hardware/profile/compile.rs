//! From a profile to the step function of a model.

use super::super::catalogue::{Gpu, Model, ModelKind};
use super::super::experts;
use super::super::fitted::Fitted;
use super::super::precision::Precision;
use super::super::timing::{Calibration, Coefficients, Curve, StepFunction, TICKS_PER_NANO};
use super::super::{HardwareError, Placement, check_placement};
use super::attention::nearest;
use super::elementwise::of_layer;
use super::series::{Series, make_monotone};
use super::{ExpertTable, GemmTable, Profile, ProfileError};

/// Rows and columns of the product whose rates experts without a table are worked out with.
const LARGE: f64 = 8192.0;
/// By how much products of many experts in one kernel are slower, at how many tokens for each. A fit to the expert
/// layers in bf16 that were timed on an H100 (`h100-sxm-vllm-0.24`): up to 128 tokens they take as long as the products
/// of [`LARGE`] matrices, from 256 on 1.4 to 1.8 times as long. For all other GPUs, formats and engines an assumption.
const GROUPED: [(f64, f64); 2] = [(128.0, 1.0), (256.0, 1.55)];

impl StepFunction {
    /// The step function of `model` placed on GPUs (a number is that of tensor parallelism) from kernels timed on them, and from `fitted`
    /// where a server has been measured. Weights are in `precision`, the KV cache in `kv_precision`; with
    /// `async_scheduling` the host prepares a step while the GPU computes the one before.
    ///
    /// One pass is one pass: prefill and decode tokens go through the same matrix multiplications, and
    /// attention adds to them. No pass takes less than reading what it streams at the datasheet's bandwidth.
    /// Layers with a sliding window take the rates of attention without one for what is within it (assumption).
    ///
    /// # Errors
    /// A profile of another GPU or without a table that is needed, a KV precision that none is kept in, or a
    /// placement that the model does not allow.
    #[allow(clippy::too_many_arguments)]
    pub fn from_profile(
        profile: &Profile,
        gpu: &Gpu,
        model: &Model,
        precision: Precision,
        kv_precision: Precision,
        placement: impl Into<Placement>,
        async_scheduling: bool,
        fitted: Option<&Fitted>,
    ) -> Result<Self, HardwareError> {
        let placement = placement.into();
        check_placement(gpu, model, precision, placement)?;
        let Placement { tensor_parallel, data_parallel } = placement;
        if profile.gpu != gpu.id {
            return Err(ProfileError::OtherGpu {
                profile: profile.id.clone(),
                measured: profile.gpu.clone(),
                asked: gpu.id.clone(),
            }
            .into());
        }
        let untimed = [
            (model.kind == ModelKind::Encoder, "encoders"),
            (model.latent.is_some(), "latent attention (MLA)"),
            (data_parallel > 1, "experts shared out over engines"),
        ];
        if let Some((_, what)) = untimed.iter().find(|(needed, _)| *needed) {
            return Err(profile
                .lacks(*what, "decoders with grouped-query attention, tensor-parallel")
                .into());
        }
        let kv_bytes = model
            .kv_bytes_per_token(kv_precision, tensor_parallel)
            .ok_or(HardwareError::KvPrecision(kv_precision))?;
        let gemm = profile.gemm_in(precision)?;
        if precision == Precision::Mxfp4 && profile.timed_experts(model, precision, tensor_parallel).is_none()
        {
            return Err(profile.lacks(format!("experts of this shape in {precision}"), "others only").into());
        }
        let (gpus, layers) = (tensor_parallel as f64, model.layers as f64);
        let activation = precision.activation_bytes() as f64;
        let shape = [model.heads / tensor_parallel, model.kv_heads.div_ceil(tensor_parallel), model.head_dim];
        let kv = sixteen_bits(kv_precision);
        let lacks = |what| {
            profile.lacks(format!("{what} attention with a KV cache in {kv_precision}"), "other formats only")
        };
        let decode = nearest(&profile.decode_attention, kv, shape).ok_or_else(|| lacks("decode"))?;
        let prefill = nearest(&profile.prefill_attention, kv, shape).ok_or_else(|| lacks("prefill"))?;
        let overheads = &profile.overheads;
        let (memory, compute) = match fitted {
            Some(fitted) => (fitted.memory, fitted.compute),
            None => (1.0, overheads.sustained_slowdown),
        };

        // Matrix multiplications of all layers, by tokens: how often, and the shape of the weights.
        let hidden = model.hidden as f64;
        let (qkv, out) = ((shape[0] + 2 * shape[1]) * shape[2], shape[0] * shape[2]);
        let mixture = model.experts > 1;
        let routed = if mixture { (model.layers - model.dense_layers) as f64 } else { 0.0 };
        let up = if model.gated_ffn { 2.0 } else { 1.0 };
        let mut products = vec![(layers, qkv as f64, hidden), (layers, hidden, out as f64)];
        let mut feed_forward = |count: f64, inner: u64| {
            if count > 0.0 && inner > 0 {
                let inner = inner as f64 / gpus;
                products.extend([(count, up * inner, hidden), (count, hidden, inner)]);
            }
        };
        if mixture {
            feed_forward(routed, model.shared_ffn);
            feed_forward(model.dense_layers as f64, model.dense_ffn);
            products.push((routed, model.experts as f64, hidden));
        } else {
            feed_forward(layers, model.ffn);
        }
        let dense = series(gemm, &products);
        let experts = mixture.then(|| profile.experts_of(gemm, model, precision, tensor_parallel));
        // The output layer stays in 16 bits.
        // A pipeline's stages but the last have none.
        let outputs = if model.vocab > 0 { 1.0 } else { 0.0 };
        let head_table = profile.gemm_in(sixteen_bits(Precision::Bf16)).unwrap_or(gemm);
        let head = series(head_table, &[(outputs, model.vocab as f64 / gpus, hidden)]);

        // What moves for each token: element-wise kernels, and all-reduces.
        let values = layers * (8.0 * hidden + 4.0 * model.qkv_width() as f64 / gpus)
            + 3.0 * model.ffn_values() as f64 / gpus;
        let ffn = model.ffn_values() as f64 / layers / gpus;
        let timed = profile.layer_elementwise(precision, [hidden, qkv as f64, out as f64, ffn]);
        let (elementwise_us, elementwise_floor_us) = match &timed {
            Some(_) => (0.0, 0.0),
            None => (
                values * activation / overheads.elementwise_gb_s * 1e-3 * memory,
                overheads.elementwise_floor_us,
            ),
        };
        let token_us = elementwise_us + layers * prefill.token_ns * 1e-3 * compute;
        let reduce = match tensor_parallel {
            1 => None,
            _ => Some(profile.all_reduce_over(tensor_parallel)?),
        };
        let message = hidden * activation;

        let mut counts: Vec<u64> = gemm.m.clone();
        counts.push(1);
        if let Some(experts) = &experts {
            counts.extend(experts.points());
        }
        if let Some(reduce) = &reduce {
            counts.extend(reduce.counts.iter().map(|bytes| (bytes / message).ceil() as u64));
        }
        if let Some(timed) = &timed {
            counts.extend(timed.points());
        }
        counts.retain(|count| *count >= 1);
        counts.sort_unstable();
        counts.dedup();
        let all_us = |tokens: f64| {
            let routed_us = experts.as_ref().map_or(0.0, |experts| experts.scaled(tokens, memory, compute));
            let reduce_us = reduce.as_ref().map_or(0.0, |reduce| reduce.at(tokens * message));
            let elementwise_us = timed.as_ref().map_or(0.0, |timed| timed.at(tokens) * memory);
            dense.scaled(tokens, memory, compute)
                + routed * routed_us
                + layers * elementwise_us
                + 2.0 * layers * reduce_us
                + token_us * tokens
        };
        let streamed = floors(gpu, model, precision, tensor_parallel);
        let by_tokens = curve(&counts, |tokens| all_us(tokens).max(streamed.0))?;
        let drawing = if model.vocab > 0 { profile.sampling_over(model.vocab as f64) } else { None };
        let mut counts = head_table.m.clone();
        counts.extend(drawing.iter().flat_map(Series::points));
        counts.sort_unstable();
        counts.dedup();
        let sampling_us = match &drawing {
            Some(_) => 0.0,
            None => 3.0 * 4.0 * model.vocab as f64 / overheads.elementwise_gb_s * 1e-3 * memory,
        };
        let attention_us = layers * (decode.sequence_us - prefill.token_ns * 1e-3).max(0.0);
        let sequence_us = sampling_us + attention_us + fitted.map_or(0.0, |fitted| fitted.sequence_us);
        let by_sequences = curve(&counts, |sequences| {
            let drawing_us = drawing.as_ref().map_or(0.0, |times| times.at(sequences) * memory);
            head.scaled(sequences, memory, compute).max(streamed.1) + drawing_us + sequence_us * sequences
        })?;

        let or = |pick: fn(&Fitted) -> Option<f64>, ours: f64| fitted.and_then(pick).unwrap_or(ours);
        let gap_us = or(|fitted| fitted.step_gap_us, overheads.step_gap_us);
        let host_us = or(|fitted| fitted.host_step_us, overheads.host_step_us);
        let host_sequence_us = or(|fitted| fitted.host_sequence_us, overheads.host_sequence_us);
        let wake_us = or(|fitted| fitted.wake_us, 0.0);
        // Products, element-wise kernels, and attention in two.
        let others = of_layer(precision).iter().map(|(count, _)| count).sum::<f64>() + 2.0;
        let kernels = products.iter().map(|product| product.0).sum::<f64>() + layers * others;
        let floors_us = layers * (decode.floor_us + elementwise_floor_us) + kernels * gemm.gap_us + gap_us;
        let (inline, hidden_host) = if async_scheduling { (0.0, 1.0) } else { (1.0, 0.0) };
        let context_us = kv_bytes as f64 / decode.gb_s * 1e-3 * memory;
        let work_us = 2.0 * layers * (shape[0] * shape[2]) as f64 / prefill.tflops * 1e-6 * compute;
        let coefficients = Coefficients {
            base: ticks(floors_us + inline * host_us),
            per_sequence: ticks(inline * host_sequence_us),
            host_base: ticks(hidden_host * host_us),
            host_per_sequence: ticks(hidden_host * host_sequence_us),
            ..Coefficients::of_attention(model, context_us, work_us, ticks)
        };
        let (calibration, detail) = match fitted {
            None => {
                let said = match &profile.estimate {
                    None => format!("{}, kernels of {}", profile.id, profile.kernel_set),
                    Some(estimate) => format!("{}, {estimate}", profile.id),
                };
                if mixture && profile.timed_experts(model, precision, tensor_parallel).is_none() {
                    (Calibration::Estimate, format!("{said}, experts worked out from its products"))
                } else {
                    (profile.calibration(), said)
                }
            }
            Some(fitted) => {
                let detail =
                    format!("{} on {}, kernels of {}", fitted.source, profile.id, profile.kernel_set);
                (Calibration::Fitted, detail)
            }
        };
        let step = Self::new(coefficients, calibration)?;
        Ok(step.with_curves(by_tokens, by_sequences, ticks(wake_us)).with_detail(&detail))
    }
}

impl Profile {
    /// The table of matrix multiplications in `precision`; bf16 and fp16 take the same time, and what is no expert's is
    /// in 16 bits where experts are in MXFP4.
    pub(super) fn gemm_in(&self, precision: Precision) -> Result<&GemmTable, ProfileError> {
        let asked = match precision {
            Precision::Mxfp4 => Precision::Bf16,
            other => sixteen_bits(other),
        };
        let found = self.gemm.iter().find(|table| sixteen_bits(table.precision) == asked);
        found.ok_or_else(|| {
            let formats: Vec<String> = self.gemm.iter().map(|table| table.precision.to_string()).collect();
            self.lacks(
                format!("matrix multiplications in {precision}"),
                format!("it has {}", formats.join(", ")),
            )
        })
    }

    fn all_reduce_over(&self, gpus: u64) -> Result<Series, ProfileError> {
        let table = self.all_reduce.iter().find(|table| table.gpus == gpus);
        let table =
            table.ok_or_else(|| self.lacks(format!("all-reduce over {gpus} GPUs"), "other numbers only"))?;
        Ok(Series::new(&table.bytes, table.us.clone()))
    }

    fn timed_experts(
        &self,
        model: &Model,
        precision: Precision,
        tensor_parallel: u64,
    ) -> Option<&ExpertTable> {
        self.experts.iter().find(|table| {
            sixteen_bits(table.precision) == sixteen_bits(precision)
                && (table.hidden, table.inner) == (model.hidden, model.ffn / tensor_parallel)
                && (table.active, table.experts) == (model.active_experts, model.experts)
        })
    }

    /// The expert layer of a model: as timed, or else worked out from the matrix multiplications: each expert that the
    /// tokens need in expectation multiplies its even share of them, at the rates of a large product and by
    /// [`grouped`] slower.
    fn experts_of(
        &self,
        gemm: &GemmTable,
        model: &Model,
        precision: Precision,
        tensor_parallel: u64,
    ) -> Series {
        if let Some(table) = self.timed_experts(model, precision, tensor_parallel) {
            return chosen_uniformly(table);
        }
        let inner = model.ffn / tensor_parallel;
        let matrices = if model.gated_ffn { 3.0 } else { 2.0 };
        let parameters = matrices * (model.hidden * inner) as f64;
        worked_out_experts(gemm, (model.active_experts, model.experts), parameters)
    }
}

/// An expert layer that was timed with tokens spread evenly over the experts, which reads all of them sooner than one whose
/// tokens choose at random: by that it takes as long as that of as many tokens as read the same number of experts, and
/// what more tokens add once all are read.
pub(super) fn chosen_uniformly(table: &ExpertTable) -> Series {
    let (all, active) = (table.experts, table.active);
    let evenly = Series::new(&table.tokens, table.us.clone());
    let read_by = all as f64 / active as f64;
    let us = |tokens: u64| {
        let beyond = evenly.at((tokens as f64).max(read_by)) - evenly.at(read_by);
        evenly.at(experts::read(all, active, tokens) / active as f64) + beyond
    };
    let mut counts = experts::counts(all, active, 1);
    counts.remove(0);
    counts.extend(&table.tokens);
    tabulated(counts, us)
}

/// An expert layer that was not timed, of experts (`active` of `all`) with so many parameters each.
pub(super) fn worked_out_experts(gemm: &GemmTable, (active, all): (u64, u64), parameters: f64) -> Series {
    let large = Series::new(&gemm.m, gemm.by_tokens(LARGE, LARGE));
    let size = parameters / (LARGE * LARGE);
    let us = |tokens: u64| {
        let read = experts::read(all, active, tokens);
        let share = (tokens * active) as f64 / read;
        read * large.at(share) * size * grouped(share)
    };
    let mut counts = experts::counts(all, active, 1);
    counts.remove(0);
    // Where the rates of products or of many in one kernel bend, when all experts are read.
    let bends = gemm.m.iter().copied().chain(GROUPED.map(|(share, _)| share as u64));
    let last = counts[counts.len() - 1];
    counts.extend(bends.map(|share| share * all / active).filter(|tokens| *tokens > last));
    tabulated(counts, us)
}

/// Microseconds at these counts, in any order, made non-decreasing.
fn tabulated(mut counts: Vec<u64>, us: impl Fn(u64) -> f64) -> Series {
    counts.sort_unstable();
    counts.dedup();
    let mut times: Vec<f64> = counts.iter().map(|tokens| us(*tokens)).collect();
    make_monotone(&mut times);
    Series::new(&counts, times)
}

/// How much longer the products of many experts in one kernel take than one after the other, by the tokens of each.
fn grouped(tokens: f64) -> f64 {
    let [(few, one), (many, slower)] = GROUPED;
    one + (slower - one) * ((tokens - few) / (many - few)).clamp(0.0, 1.0)
}

/// The times of products (how often, n, k) together by tokens, made non-decreasing.
fn series(table: &GemmTable, products: &[(f64, f64, f64)]) -> Series {
    let mut us = vec![0.0; table.m.len()];
    for (count, n, k) in products {
        for (sum, time) in us.iter_mut().zip(table.by_tokens(*n, *k)) {
            *sum += count * time;
        }
    }
    make_monotone(&mut us);
    Series::new(&table.m, us)
}

/// Microseconds below which neither the layers nor the output layer can be, whatever was measured or
/// fitted: what they stream on each GPU at the datasheet's bandwidth.
fn floors(gpu: &Gpu, model: &Model, precision: Precision, tensor_parallel: u64) -> (f64, f64) {
    let us = |bytes: u64| bytes as f64 / tensor_parallel as f64 / gpu.memory_bandwidth * 1e-3;
    let experts = if model.experts > 1 { model.expert_parameters() } else { 0 };
    (
        us(precision.weight_bytes(model.layer_parameters() - experts)),
        us(precision.embedding_bytes(model.output_parameters())),
    )
}

/// bf16 and fp16 are timed as one.
pub(super) fn sixteen_bits(precision: Precision) -> Precision {
    if precision == Precision::Fp16 { Precision::Bf16 } else { precision }
}

/// Microseconds in ticks, to the nearest.
fn ticks(us: f64) -> u64 {
    (us * 1e3 * TICKS_PER_NANO as f64).round() as u64
}

fn curve(counts: &[u64], us: impl Fn(f64) -> f64) -> Result<Curve, HardwareError> {
    let mut times: Vec<f64> = counts.iter().map(|count| us(*count as f64)).collect();
    make_monotone(&mut times);
    Curve::new(counts.iter().copied().zip(times.into_iter().map(ticks)).collect())
}
