//! A profile from what `tenfold-microbench` measured.
//!
//! It is fitted to single kernels alone. Never fitted to, and there to be predicted ([`is_held_back`]): all shapes of
//! real models (whole families of `(n, k)`, none of them on the grid), the largest batches, contexts and lengths, all
//! chunks behind other tokens, all whole passes and streams.

use std::collections::{BTreeMap, BTreeSet};

use super::super::catalogue;
use super::super::kernels::{Kernel, precision};
use super::super::microbench::{Line, Raw, Use};
use super::super::precision::Precision;
use super::import::smooth;
use super::series::{four_digits, median};
use super::{
    AttentionRecord, ElementwiseKernel, ElementwiseTable, GemmRecord, Measurements, Overheads, Profile,
    ProfileError, ProfileHeader, SamplingTable, SlopeFit,
};

/// From here on products, batches, contexts and lengths are held back.
const HELD_TOKENS: u64 = 16_384;
const HELD_BATCH: u64 = 256;
const HELD_CONTEXT: u64 = 32_768;
/// Tokens from which element-wise kernels are taken to be bound by memory.
const MANY_TOKENS: u64 = 1024;
/// The product that is measured for seconds, to see what the power limit leaves.
const SUSTAINED: Kernel = Kernel::Gemm { precision: Precision::Bf16, m: 8192, n: 8192, k: 8192 };
const SUSTAINED_TFLOP: f64 = 2.0 * 8192.0 * 8192.0 * 8192.0 * 1e-12;
/// Tokens up to which kernels of a layer are so short that what lies between them counts.
const CHAIN_TOKENS: u64 = 256;
/// The memory of a device and that of the catalogue differ by less.
const SAME_MEMORY: f64 = 0.06;
/// Values of a layer of Llama 3.1 8B: hidden, query with keys and values, feed-forward.
const LAYER: [f64; 3] = [4096.0, 6144.0, 14_336.0];

/// What a fit cannot find in the measurements.
#[derive(Debug, Clone, PartialEq)]
pub struct FitOptions {
    /// Name of the profile: small letters, digits, `-`, `.` and `_`.
    pub id: String,
    /// The GPU, by its id in the catalogue.
    pub gpu: String,
    /// The licence of the measurements.
    pub licence: String,
    /// When they were made.
    pub measured: String,
    /// Today.
    pub fitted: String,
}

/// Whether a line is never fitted to, but predicted.
pub fn is_held_back(line: &Line) -> bool {
    match line {
        Line::Gemm { purpose, m, .. } => *purpose == Use::Check || *m >= HELD_TOKENS,
        Line::DecodeAttention { batch, context, .. } => *batch >= HELD_BATCH || *context >= HELD_CONTEXT,
        Line::PrefillAttention { tokens, before, .. } => *tokens >= HELD_TOKENS || *before > 0,
        Line::Pass { .. } | Line::Stream { .. } => true,
        _ => false,
    }
}

impl Profile {
    /// The profile of these measurements, and how well its straight lines fit.
    ///
    /// # Errors
    /// Another GPU than the one named, a kernel that failed its check, kernels that are not there (a run that was cut
    /// off too early), and whatever [`Profile::check`] refuses.
    pub fn fit(raw: &Raw, options: &FitOptions) -> Result<(Self, Vec<SlopeFit>), ProfileError> {
        let refuse = |place: &str, message: String| ProfileError::Invalid {
            profile: options.id.clone(),
            place: place.to_owned(),
            message,
        };
        let device = &raw.device;
        let gpu =
            catalogue::gpu(&options.gpu).map_err(|error| refuse("gpu", format!("is unknown: {error}")))?;
        let (measured, listed) = (device.memory_bytes as f64, gpu.memory_bytes as f64);
        if (measured - listed).abs() > SAME_MEMORY * listed {
            let message = format!(
                "is {}, which has {:.1} GB: these measurements are of `{}` with {:.1} GB",
                gpu.id,
                listed / 1e9,
                device.name,
                measured / 1e9
            );
            return Err(refuse("gpu", message));
        }
        for line in &raw.lines {
            if let Line::Check { what, worst, tolerance } = line
                && worst > tolerance
            {
                let message =
                    format!("{what} was off by {worst:.1e}, at most {tolerance:.0e}: its times mean nothing");
                return Err(refuse("checks", message));
            }
        }
        let mut measurements = Measurements { gemm: whole_grids(raw), ..Measurements::default() };
        for line in raw.lines.iter().filter(|line| !is_held_back(line)) {
            match line {
                Line::DecodeAttention {
                    paged: true,
                    kv,
                    batch,
                    context,
                    heads,
                    kv_heads,
                    head_dim,
                    time,
                } => {
                    let shape = (*heads, *kv_heads, *head_dim);
                    measurements.decode.extend(attention(*kv, *batch, *context, shape, time.us));
                }
                Line::PrefillAttention { kv, batch, tokens, heads, kv_heads, head_dim, time, .. } => {
                    let shape = (*heads, *kv_heads, *head_dim);
                    measurements.prefill.extend(attention(*kv, *batch, *tokens, shape, time.us));
                }
                _ => {}
            }
        }
        let cut = if raw.complete { "" } else { "; the run was cut off: measure again" };
        let there = [
            ("gemm", measurements.gemm.is_empty(), "a whole grid of matrix products"),
            ("decode_attention", measurements.decode.is_empty(), "decode attention"),
            ("prefill_attention", measurements.prefill.is_empty(), "prefill attention"),
        ];
        if let Some((place, _, what)) = there.iter().find(|(_, missing, _)| *missing) {
            return Err(refuse(place, format!("has no timings: expected {what}{cut}")));
        }
        let header = ProfileHeader {
            id: options.id.clone(),
            gpu: gpu.id.clone(),
            device: device.name.clone(),
            kernel_set: format!("tenfold-microbench {} (cublasLt {})", device.program, device.cublaslt),
            source: format!(
                "tenfold-microbench, suite {}, driver {}, CUDA {}, power limit {}",
                device.suite,
                device.driver.as_deref().unwrap_or("unknown"),
                device.cuda,
                device.power_limit_watts.map_or_else(|| "unknown".to_owned(), |watts| format!("{watts} W")),
            ),
            licence: options.licence.clone(),
            measured: options.measured.clone(),
            fitted: options.fitted.clone(),
            overheads: Overheads::default(),
        };
        let (mut profile, fits) = measurements.profile(header, &[])?;
        profile.overheads = overheads(raw, &profile);
        (profile.elementwise, profile.sampling) = (elementwise_tables(raw), sampling_tables(raw));
        for table in &mut profile.gemm {
            table.gap_us = gap_us(raw, table.precision);
        }
        profile.check()?;
        for (place, none) in [
            ("decode_attention", profile.decode_attention.is_empty()),
            ("prefill_attention", profile.prefill_attention.is_empty()),
        ] {
            if none {
                let message = format!("is in no shape a straight line: expected short and long timings{cut}");
                return Err(refuse(place, message));
            }
        }
        Ok((profile, fits))
    }
}

fn attention(
    kv: super::super::microbench::Format,
    batch: u64,
    tokens: u64,
    (heads, kv_heads, head_dim): (u64, u64, u64),
    us: f64,
) -> Option<AttentionRecord> {
    Some(AttentionRecord { kv: precision(kv)?, batch, tokens, heads, kv_heads, head_dim, us })
}

/// Times in microseconds by (n, k), then by m.
type Shapes = BTreeMap<(u64, u64), BTreeMap<u64, f64>>;

/// The products of each format whose grid is whole: shapes with all token counts, and of these the columns that have
/// all rows. What a cut left half done is left out.
fn whole_grids(raw: &Raw) -> Vec<GemmRecord> {
    let mut formats: BTreeMap<Precision, Shapes> = BTreeMap::new();
    for line in raw.lines.iter().filter(|line| !is_held_back(line)) {
        if let Line::Gemm { format, m, n, k, time, .. } = line
            && let Some(precision) = precision(*format)
        {
            formats.entry(precision).or_default().entry((*n, *k)).or_default().insert(*m, time.us);
        }
    }
    // bf16 and fp16 take one table.
    if formats.contains_key(&Precision::Bf16) {
        formats.remove(&Precision::Fp16);
    }
    let mut records = Vec::new();
    for (precision, mut shapes) in formats {
        let most = shapes.values().map(BTreeMap::len).max().unwrap_or(0);
        shapes.retain(|_, times| times.len() == most);
        let rows: BTreeSet<u64> = shapes.keys().map(|shape| shape.1).collect();
        let columns: BTreeSet<u64> = shapes.keys().map(|shape| shape.0).collect();
        let whole = |n: &u64| rows.iter().all(|k| shapes.contains_key(&(*n, *k)));
        let columns: Vec<u64> = columns.into_iter().filter(whole).collect();
        if columns.len() < 2 || rows.len() < 2 || most < 3 {
            continue;
        }
        for ((n, k), times) in shapes.iter().filter(|((n, _), _)| columns.contains(n)) {
            records.extend(times.iter().map(|(m, us)| GemmRecord {
                precision,
                m: *m,
                n: *n,
                k: *k,
                us: *us,
            }));
        }
    }
    records
}

/// What single timings say of everything else in a pass; what they do not say is as by default.
fn overheads(raw: &Raw, profile: &Profile) -> Overheads {
    let default = Overheads::default();
    let mut measured = vec![];
    let gap = raw.lines.iter().find_map(|line| match line {
        Line::Latency { what, time, .. } if what == "graph" => Some(time.us),
        _ => None,
    });
    let sustained = raw.lines.iter().find_map(|line| match line {
        Line::Sustained { last_tflops, .. } if *last_tflops > 0.0 => Some(*last_tflops),
        _ => None,
    });
    let timed_us = profile.kernel_us(&SUSTAINED);
    let slowdown = timed_us.zip(sustained).map(|(us, tflops)| SUSTAINED_TFLOP / (us * 1e-6) / tflops);
    let kernels = ["add_rms_norm", "rope_cache", "silu_mul"].map(|name| elementwise(raw, name));
    let mut overheads = default.clone();
    if let [Some(norm), Some(rope), Some(silu)] = kernels {
        // A layer has two norms; bytes as the kernels move them.
        let [hidden, qkv, ffn] = LAYER;
        overheads.elementwise_floor_us = 2.0 * norm.0 + rope.0 + silu.0;
        let us = 2.0 * 8.0 * hidden * norm.1 + 4.0 * qkv * rope.1 + 6.0 * ffn * silu.1;
        // Bytes as a step function counts them.
        overheads.elementwise_gb_s = 2.0 * (8.0 * hidden + 4.0 * qkv + 3.0 * ffn) / us * 1e-3;
        measured.extend(["elementwise_floor_us", "elementwise_gb_s"]);
    }
    if let Some(gap) = gap {
        overheads.step_gap_us = gap;
        measured.push("step_gap_us (launching a graph)");
    }
    if let Some(slowdown) = slowdown {
        overheads.sustained_slowdown = slowdown.clamp(1.0, 10.0);
        measured.push("sustained_slowdown");
    }
    let list = if measured.is_empty() { "nothing".to_owned() } else { measured.join(", ") };
    overheads.source = format!("measured: {list}; all else, the host's times among it, are assumptions");
    overheads.elementwise_floor_us = four_digits(overheads.elementwise_floor_us);
    overheads.elementwise_gb_s = four_digits(overheads.elementwise_gb_s);
    overheads.step_gap_us = four_digits(overheads.step_gap_us);
    overheads.sustained_slowdown = four_digits(overheads.sustained_slowdown).max(1.0);
    overheads
}

/// Microseconds that each kernel of a layer takes longer in a row than alone; 0 where that was not measured.
fn gap_us(raw: &Raw, asked: Precision) -> f64 {
    let gaps = raw.lines.iter().filter_map(|line| match line {
        Line::Chain { format, tokens, kernels, alone_us, time }
            if precision(*format) == Some(asked) && *tokens <= CHAIN_TOKENS =>
        {
            Some((time.us - alone_us) / *kernels as f64)
        }
        _ => None,
    });
    four_digits(median(gaps.collect()).unwrap_or(0.0).max(0.0))
}

/// Times by counts, for each size of each kernel; of these the rows that have the most counts.
fn tables<K: Ord + Copy>(
    timings: impl Iterator<Item = (K, u64, u64, f64)>,
) -> Vec<(K, u64, Vec<u64>, Vec<f64>)> {
    let mut rows: BTreeMap<(K, u64), BTreeMap<u64, f64>> = BTreeMap::new();
    for (kernel, size, count, us) in timings {
        rows.entry((kernel, size)).or_default().insert(count, us);
    }
    let most = |kernel: K| {
        rows.iter().filter(|((other, _), _)| *other == kernel).map(|(_, times)| times.len()).max()
    };
    let whole = rows.iter().filter(|((kernel, _), times)| Some(times.len()) == most(*kernel));
    whole
        .map(|((kernel, size), times)| {
            let (counts, us) = smooth(times.clone());
            (*kernel, *size, counts, us)
        })
        .collect()
}

fn elementwise_tables(raw: &Raw) -> Vec<ElementwiseTable> {
    let timings = raw.lines.iter().filter_map(|line| match line {
        Line::Elementwise { what, tokens, width, time, .. } => {
            let kernel = ElementwiseKernel::ALL.into_iter().find(|kernel| kernel.name() == what)?;
            Some((kernel, *width, *tokens, time.us))
        }
        _ => None,
    });
    let row = |(kernel, width, tokens, us)| ElementwiseTable { kernel, width, tokens, us };
    tables(timings).into_iter().map(row).collect()
}

fn sampling_tables(raw: &Raw) -> Vec<SamplingTable> {
    let timings = raw.lines.iter().filter_map(|line| match line {
        Line::Sampling { sequences, vocabulary, time } => Some(((), *vocabulary, *sequences, time.us)),
        _ => None,
    });
    let row = |((), vocabulary, sequences, us)| SamplingTable { vocabulary, sequences, us };
    tables(timings).into_iter().map(row).collect()
}

/// Microseconds of a kernel over one token, and for each byte over many.
fn elementwise(raw: &Raw, name: &str) -> Option<(f64, f64)> {
    let of = |most: bool| {
        raw.lines.iter().filter_map(move |line| match line {
            Line::Elementwise { what, tokens, bytes, time, .. }
                if what == name && if most { *tokens >= MANY_TOKENS } else { *tokens == 1 } =>
            {
                Some((*bytes as f64, time.us))
            }
            _ => None,
        })
    };
    let floor = median(of(false).map(|(_, us)| us).collect())?;
    let slope = median(of(true).map(|(bytes, us)| (us - floor).max(0.05 * us) / bytes).collect())?;
    Some((floor, slope))
}
