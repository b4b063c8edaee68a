//! From single timings to a profile.

use std::collections::BTreeMap;

use super::super::precision::Precision;
use super::attention::{DecodeAttention, PrefillAttention};
use super::series::{four_digits, make_monotone, median};
use super::table::{AllReduceTable, ExpertTable, GemmTable};
use super::{FORMAT, Overheads, Profile, ProfileError};

/// One timing of a matrix multiplication `m x k` by `k x n`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmRecord {
    /// Number format of both operands.
    pub precision: Precision,
    /// Rows of the left operand.
    pub m: u64,
    /// Columns of the weights.
    pub n: u64,
    /// Rows of the weights.
    pub k: u64,
    /// Microseconds.
    pub us: f64,
}

/// One timing of attention, full and causal, over sequences of equal length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionRecord {
    /// Number format of the KV cache.
    pub kv: Precision,
    /// Sequences.
    pub batch: u64,
    /// Decode: tokens of context of each, the new one included. Prefill: new tokens of each, after no context.
    pub tokens: u64,
    /// Query heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Microseconds.
    pub us: f64,
}

/// One timing of an expert layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExpertRecord {
    /// Number format of weights and activations.
    pub precision: Precision,
    /// Tokens.
    pub tokens: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Inner width of one expert on each GPU.
    pub inner: u64,
    /// Experts that each token goes through.
    pub active: u64,
    /// Experts.
    pub experts: u64,
    /// Microseconds.
    pub us: f64,
}

/// One timing of an all-reduce.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AllReduceRecord {
    /// GPUs that take part.
    pub gpus: u64,
    /// Bytes of the message.
    pub bytes: u64,
    /// Microseconds.
    pub us: f64,
}

/// Timings of the kernels of one serving engine on one kind of GPU.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measurements {
    /// Matrix multiplications, each shape at the same token counts.
    pub gemm: Vec<GemmRecord>,
    /// Decode attention.
    pub decode: Vec<AttentionRecord>,
    /// Prefill attention.
    pub prefill: Vec<AttentionRecord>,
    /// Expert layers.
    pub experts: Vec<ExpertRecord>,
    /// All-reduces; of several timings of one message the shortest counts (the engine takes the faster way).
    pub all_reduce: Vec<AllReduceRecord>,
}

/// What of a profile is not measured in it.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileHeader {
    /// Name in scenarios.
    pub id: String,
    /// The GPU, by its id in the catalogue.
    pub gpu: String,
    /// The device as its driver calls it.
    pub device: String,
    /// Whose kernels were timed.
    pub kernel_set: String,
    /// Where the timings come from.
    pub source: String,
    /// Their licence.
    pub licence: String,
    /// When they were measured.
    pub measured: String,
    /// Today.
    pub fitted: String,
    /// What kernel timings do not show.
    pub overheads: Overheads,
}

/// How well a straight line fits the attention of one shape. Shapes that it does not fit are left out of the
/// profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlopeFit {
    /// `decode` or `prefill`.
    pub kernel: &'static str,
    /// Number format of the KV cache.
    pub kv: Precision,
    /// Query heads, key-value heads, width of a head.
    pub shape: [u64; 3],
    /// Timings.
    pub points: usize,
    /// Share of the variance that the line explains.
    pub r2: f64,
}

/// Smallest shape that is kept: what models multiply with is larger.
pub const LEAST_SHAPE: u64 = 256;
/// Tokens up to which a matrix multiplication only reads its weights.
const ONLY_WEIGHTS: u64 = 32;
/// Key-value bytes from which decode attention is bound by memory: twice an L2 cache of 50 MB. What the cache
/// holds is faster when a kernel is timed again and again, but in a model the weights have displaced it.
pub const BEYOND_CACHE: f64 = 100e6;
/// Share of the variance that a shape's line must explain for the shape to be kept.
const LEAST_R2: f64 = 0.9;
/// Key-value bytes up to which decode attention is its floor.
const WITHIN_FLOOR: f64 = 2e6;

impl Measurements {
    /// The profile of these timings, and how well its lines fit.
    ///
    /// `tokens` are the token counts to keep of the matrix multiplications, an empty list all. Scatter is smoothed
    /// shape by shape: by averages where few tokens only wait for the weights, then by monotone least squares.
    ///
    /// # Errors
    /// Timings without a full grid of shapes, and whatever [`Profile::check`] refuses.
    pub fn profile(
        &self,
        header: ProfileHeader,
        tokens: &[u64],
    ) -> Result<(Profile, Vec<SlopeFit>), ProfileError> {
        let refuse = |place: &str, message: String| ProfileError::Invalid {
            profile: header.id.clone(),
            place: place.to_owned(),
            message,
        };
        let gemm = self.gemm_tables(tokens).map_err(|message| refuse("gemm", message))?;
        let (decode_attention, mut fits) = self.decode_rows();
        let (prefill_attention, more) = self.prefill_rows();
        fits.extend(more);
        let profile = Profile {
            format: FORMAT,
            id: header.id,
            gpu: header.gpu,
            device: header.device,
            kernel_set: header.kernel_set,
            source: header.source,
            licence: header.licence,
            measured: header.measured,
            fitted: header.fitted,
            estimate: None,
            overheads: header.overheads,
            gemm,
            decode_attention,
            prefill_attention,
            elementwise: Vec::new(),
            sampling: Vec::new(),
            experts: self.expert_tables(),
            all_reduce: self.all_reduce_tables(),
        };
        profile.check()?;
        Ok((profile, fits))
    }

    fn gemm_tables(&self, keep: &[u64]) -> Result<Vec<GemmTable>, String> {
        let mut shapes: BTreeMap<Precision, Products> = BTreeMap::new();
        for record in self.gemm.iter().filter(|record| record.n.min(record.k) >= LEAST_SHAPE) {
            let times = shapes.entry(record.precision).or_default().entry((record.n, record.k)).or_default();
            let time = times.entry(record.m).or_insert(record.us);
            *time = time.min(record.us);
        }
        let mut tables = Vec::new();
        for (precision, mut shapes) in shapes {
            fill_corner(&mut shapes);
            let axis = |pick: fn(&(u64, u64)) -> u64| {
                let mut values: Vec<u64> = shapes.keys().map(pick).collect();
                values.sort_unstable();
                values.dedup();
                values
            };
            let (n, k) = (axis(|shape| shape.0), axis(|shape| shape.1));
            let m: Vec<u64> = shapes.values().next().into_iter().flat_map(BTreeMap::keys).copied().collect();
            let kept: Vec<usize> =
                (0..m.len()).filter(|i| keep.is_empty() || keep.contains(&m[*i])).collect();
            let mut us = Vec::new();
            for &columns in &n {
                for &rows in &k {
                    let Some(times) = shapes.get(&(columns, rows)) else {
                        return Err(format!("in {precision} has no timing of n = {columns}, k = {rows}"));
                    };
                    if !times.keys().eq(m.iter()) {
                        return Err(format!(
                            "in {precision} has other token counts at n = {columns}, k = {rows} than elsewhere"
                        ));
                    }
                    let times: Vec<f64> = times.values().copied().collect();
                    let mut times = at_kept(&m, &times, &kept);
                    make_monotone(&mut times);
                    us.push(times.into_iter().map(four_digits).collect());
                }
            }
            tables.push(GemmTable {
                precision,
                m: kept.iter().map(|i| m[*i]).collect(),
                n,
                k,
                us,
                gap_us: 0.0,
            });
        }
        Ok(tables)
    }

    fn decode_rows(&self) -> (Vec<DecodeAttention>, Vec<SlopeFit>) {
        let (mut rows, mut fits) = (Vec::new(), Vec::new());
        for ((kv, heads, kv_heads, head_dim), records) in by_shape(&self.decode) {
            let element = kv.kv_bytes().unwrap_or(1);
            let bytes = |r: &AttentionRecord| (r.batch * r.tokens * 2 * kv_heads * head_dim * element) as f64;
            let short = records.iter().filter(|r| r.batch <= 4 && bytes(r) <= WITHIN_FLOOR);
            let Some(floor_us) = median(short.map(|r| r.us).collect()) else { continue };
            let long: Vec<_> = records.iter().filter(|r| bytes(r) >= BEYOND_CACHE).collect();
            let points = long.iter().map(|r| ([r.batch as f64, bytes(r)], r.us - floor_us, r.us));
            let Some([sequence_us, byte_us]) = two_slopes(points) else { continue };
            let line = |r: &AttentionRecord| floor_us + sequence_us * r.batch as f64 + byte_us * bytes(r);
            let r2 = explained(long.iter().map(|r| (r.us, line(r))));
            fits.push(SlopeFit {
                kernel: "decode",
                kv,
                shape: [heads, kv_heads, head_dim],
                points: long.len(),
                r2,
            });
            if r2 < LEAST_R2 {
                continue;
            }
            let gb_s = four_digits(1e-3 / byte_us);
            let (floor_us, sequence_us) = (four_digits(floor_us), four_digits(sequence_us));
            rows.push(DecodeAttention { kv, heads, kv_heads, head_dim, floor_us, sequence_us, gb_s });
        }
        (rows, fits)
    }

    fn prefill_rows(&self) -> (Vec<PrefillAttention>, Vec<SlopeFit>) {
        let (mut rows, mut fits) = (Vec::new(), Vec::new());
        for ((kv, heads, kv_heads, head_dim), records) in by_shape(&self.prefill) {
            let short = records.iter().filter(|r| r.batch == 1 && r.tokens <= 64);
            let Some(floor_us) = median(short.map(|r| r.us).collect()) else { continue };
            let tokens = |r: &AttentionRecord| (r.batch * r.tokens) as f64;
            let work = |r: &AttentionRecord| tokens(r) * r.tokens as f64;
            let long: Vec<_> = records.iter().filter(|r| r.us > 2.0 * floor_us).collect();
            let points = long.iter().map(|r| ([tokens(r), work(r)], r.us - floor_us, r.us));
            let Some([token_us, work_us]) = two_slopes(points) else { continue };
            let line = |r: &AttentionRecord| floor_us + token_us * tokens(r) + work_us * work(r);
            let r2 = explained(long.iter().map(|r| (r.us, line(r))));
            fits.push(SlopeFit {
                kernel: "prefill",
                kv,
                shape: [heads, kv_heads, head_dim],
                points: long.len(),
                r2,
            });
            if r2 < LEAST_R2 {
                continue;
            }
            let tflops = four_digits((2 * heads * head_dim) as f64 / work_us / 1e6);
            rows.push(PrefillAttention {
                kv,
                heads,
                kv_heads,
                head_dim,
                token_ns: four_digits(token_us * 1e3),
                tflops,
            });
        }
        (rows, fits)
    }

    fn expert_tables(&self) -> Vec<ExpertTable> {
        let mut shapes: BTreeMap<_, BTreeMap<u64, f64>> = BTreeMap::new();
        for r in &self.experts {
            let shape = (r.precision, r.hidden, r.inner, r.active, r.experts);
            let time = shapes.entry(shape).or_default().entry(r.tokens).or_insert(r.us);
            *time = time.min(r.us);
        }
        let table = |((precision, hidden, inner, active, experts), times): (_, BTreeMap<u64, f64>)| {
            let (tokens, us) = smooth(times);
            ExpertTable { precision, hidden, inner, active, experts, tokens, us }
        };
        shapes.into_iter().map(table).collect()
    }

    fn all_reduce_tables(&self) -> Vec<AllReduceTable> {
        let mut sizes: BTreeMap<u64, BTreeMap<u64, f64>> = BTreeMap::new();
        for record in &self.all_reduce {
            let time = sizes.entry(record.gpus).or_default().entry(record.bytes).or_insert(record.us);
            *time = time.min(record.us);
        }
        let table = |(gpus, times)| {
            let (bytes, us) = smooth(times);
            AllReduceTable { gpus, bytes, us }
        };
        sizes.into_iter().map(table).collect()
    }
}

/// The times at the kept token counts. Few tokens only wait for the weights, so that timings up to
/// [`ONLY_WEIGHTS`] differ by scatter: those since the count kept before are averaged.
fn at_kept(m: &[u64], times: &[f64], kept: &[usize]) -> Vec<f64> {
    let mut next = 0;
    kept.iter()
        .map(|&at| {
            let first = if m[at] <= ONLY_WEIGHTS { next } else { at };
            next = at + 1;
            let averaged = &times[first..=at];
            averaged.iter().sum::<f64>() / averaged.len() as f64
        })
        .collect()
}

/// Times by `m` of each shape `(n, k)`.
type Products = BTreeMap<(u64, u64), BTreeMap<u64, f64>>;

/// The largest of all shapes is often left out, as its weights are too many: it is taken in proportion to
/// the next smaller one.
fn fill_corner(shapes: &mut Products) {
    let Some((&(n, _), _)) = shapes.last_key_value() else { return };
    let Some(k) = shapes.keys().map(|shape| shape.1).max() else { return };
    if shapes.contains_key(&(n, k)) {
        return;
    }
    let Some((&(_, near), times)) = shapes.range((n, 0)..(n, k)).next_back() else { return };
    let share = k as f64 / near as f64;
    let times = times.iter().map(|(m, us)| (*m, us * share)).collect();
    shapes.insert((n, k), times);
}

type Shapes = BTreeMap<(Precision, u64, u64, u64), Vec<AttentionRecord>>;

fn by_shape(records: &[AttentionRecord]) -> Shapes {
    let mut shapes = Shapes::new();
    for record in records {
        let shape = (record.kv, record.heads, record.kv_heads, record.head_dim);
        shapes.entry(shape).or_default().push(*record);
    }
    shapes
}

pub(super) fn smooth(times: BTreeMap<u64, f64>) -> (Vec<u64>, Vec<f64>) {
    let (counts, mut us): (Vec<u64>, Vec<f64>) = times.into_iter().unzip();
    make_monotone(&mut us);
    (counts, us.into_iter().map(four_digits).collect())
}

/// Slopes a and b of `y = a u + b v`, both not negative, b positive: least squares of relative errors, as
/// timings span orders of magnitude. Points are `([u, v], y, weight's inverse)`. None where no such line is.
fn two_slopes(points: impl Iterator<Item = ([f64; 2], f64, f64)>) -> Option<[f64; 2]> {
    let (mut uu, mut uv, mut vv, mut uy, mut vy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for ([u, v], y, scale) in points {
        let (u, v, y) = (u / scale, v / scale, y / scale);
        uu += u * u;
        uv += u * v;
        vv += v * v;
        uy += u * y;
        vy += v * y;
    }
    let determinant = uu * vv - uv * uv;
    let both = [(uy * vv - vy * uv) / determinant, (vy * uu - uy * uv) / determinant];
    let usable = |slopes: &[f64; 2]| slopes[0] >= 0.0 && slopes[1] > 0.0 && slopes[1].is_finite();
    [both, [0.0, vy / vv]].into_iter().find(usable)
}

/// The share of the variance of the first that the second explains.
fn explained(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (mut count, mut sum) = (0.0, 0.0);
    for (measured, _) in pairs.clone() {
        count += 1.0;
        sum += measured;
    }
    let mean = sum / count;
    let (mut total, mut rest) = (0.0, 0.0);
    for (measured, line) in pairs {
        total += (measured - mean) * (measured - mean);
        rest += (measured - line) * (measured - line);
    }
    1.0 - rest / total
}
