//! Kernels between matrix products and attention, as timed: those of a layer, and drawing tokens.

use serde::{Deserialize, Serialize};

use super::super::numbers;
use super::super::precision::Precision;
use super::Profile;
use super::series::{Series, neighbours};

/// A kernel that goes over the values of each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementwiseKernel {
    /// Adds to the residual stream and normalizes: twice a layer, over its width.
    AddRmsNorm,
    /// The same with results in e4m3.
    AddRmsNormE4m3,
    /// Rotates queries and keys, and writes keys and values into the cache: over the width of all three.
    RopeCache,
    /// The gated activation: over the width of the feed-forward part.
    SiluMul,
    /// The same with results in e4m3.
    SiluMulE4m3,
    /// bf16 to e4m3: over the width of attention's result.
    ToE4m3,
}

impl ElementwiseKernel {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AddRmsNorm,
        Self::AddRmsNormE4m3,
        Self::RopeCache,
        Self::SiluMul,
        Self::SiluMulE4m3,
        Self::ToE4m3,
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddRmsNorm => "add_rms_norm",
            Self::AddRmsNormE4m3 => "add_rms_norm_e4m3",
            Self::RopeCache => "rope_cache",
            Self::SiluMul => "silu_mul",
            Self::SiluMulE4m3 => "silu_mul_e4m3",
            Self::ToE4m3 => "to_e4m3",
        }
    }
}

/// Times of an element-wise kernel by tokens, for one width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ElementwiseTable {
    /// The kernel.
    pub kernel: ElementwiseKernel,
    /// Values of a token.
    pub width: u64,
    /// Tokens, increasing; the same for all widths of a kernel.
    pub tokens: Vec<u64>,
    /// Microseconds by tokens, non-decreasing.
    #[serde(deserialize_with = "numbers::list")]
    pub us: Vec<f64>,
}

/// Times of drawing a token for each sequence, for one vocabulary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingTable {
    /// Logits of a sequence.
    pub vocabulary: u64,
    /// Sequences, increasing; the same for all vocabularies.
    pub sequences: Vec<u64>,
    /// Microseconds by sequences, non-decreasing.
    #[serde(deserialize_with = "numbers::list")]
    pub us: Vec<f64>,
}

/// The element-wise kernels of a layer, and how often it has each.
pub(super) fn of_layer(precision: Precision) -> Vec<(f64, ElementwiseKernel)> {
    use ElementwiseKernel::{AddRmsNorm, AddRmsNormE4m3, RopeCache, SiluMul, SiluMulE4m3, ToE4m3};
    match precision {
        Precision::Fp8 | Precision::Int8 => {
            vec![(2.0, AddRmsNormE4m3), (1.0, RopeCache), (1.0, SiluMulE4m3), (1.0, ToE4m3)]
        }
        _ => vec![(2.0, AddRmsNorm), (1.0, RopeCache), (1.0, SiluMul)],
    }
}

/// Of rows (size, counts, times), the times at `size`, linear between the sizes there are.
fn between<'a>(rows: impl Iterator<Item = (u64, &'a [u64], &'a [f64])>, size: f64) -> Option<Series> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by_key(|row| row.0);
    let counts = rows.first()?.1;
    let sizes: Vec<u64> = rows.iter().map(|row| row.0).collect();
    let mut us = vec![0.0; counts.len()];
    for (row, weight) in neighbours(&sizes, size) {
        us.iter_mut().zip(rows[row].2).for_each(|(sum, time)| *sum += weight * time);
    }
    Some(Series::new(counts, us))
}

impl Profile {
    /// The element-wise kernels of a layer on one GPU, by tokens; none where they were not timed. `widths` are those
    /// of the residual stream, of queries with keys and values, of attention's result, and of the feed-forward part.
    pub(super) fn layer_elementwise(&self, precision: Precision, widths: [f64; 4]) -> Option<Series> {
        use ElementwiseKernel::{AddRmsNorm, AddRmsNormE4m3, RopeCache, SiluMul, SiluMulE4m3, ToE4m3};
        let [hidden, qkv, out, ffn] = widths;
        let timed = |(count, kernel): (f64, ElementwiseKernel)| {
            let width = match kernel {
                AddRmsNorm | AddRmsNormE4m3 => hidden,
                RopeCache => qkv,
                ToE4m3 => out,
                SiluMul | SiluMulE4m3 => ffn,
            };
            let rows = self.elementwise.iter().filter(|row| row.kernel == kernel);
            Some((count, between(rows.map(|row| (row.width, &row.tokens[..], &row.us[..])), width)?))
        };
        let timed: Vec<(f64, Series)> = of_layer(precision).into_iter().map(timed).collect::<Option<_>>()?;
        let mut counts: Vec<u64> = timed.iter().flat_map(|(_, times)| times.points()).collect();
        counts.sort_unstable();
        counts.dedup();
        let sum = |tokens: &u64| timed.iter().map(|(count, times)| count * times.at(*tokens as f64)).sum();
        let us = counts.iter().map(sum).collect();
        Some(Series::new(&counts, us))
    }

    /// Drawing tokens from `vocabulary` logits each, by sequences; none where that was not timed.
    pub(super) fn sampling_over(&self, vocabulary: f64) -> Option<Series> {
        let rows = self.sampling.iter();
        between(rows.map(|row| (row.vocabulary, &row.sequences[..], &row.us[..])), vocabulary)
    }
}
