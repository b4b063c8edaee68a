//! Attention as straight lines.
//!
//! Decode attention streams the KV cache: its time is `a + b * (sum of context)` to four digits. Prefill
//! attention computes: a floor, something for each token and a rate for each query-key pair.

use serde::{Deserialize, Serialize};

use super::super::precision::Precision;

/// Decode attention of one layer, for one shape of heads on a GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeAttention {
    /// Number format of the KV cache.
    pub kv: Precision,
    /// Query heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Microseconds over a short context.
    pub floor_us: f64,
    /// Microseconds for each sequence besides.
    pub sequence_us: f64,
    /// GB/s at which keys and values are read.
    pub gb_s: f64,
}

/// Prefill attention of one layer, for one shape of heads on a GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefillAttention {
    /// Number format of the KV cache.
    pub kv: Precision,
    /// Query heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Width of a head.
    pub head_dim: u64,
    /// Nanoseconds for each new token.
    pub token_ns: f64,
    /// TFLOP/s of causal attention, at `2 heads head_dim` FLOP for each unit of prefill work.
    pub tflops: f64,
}

/// A measured shape of heads.
pub(super) trait Shape {
    /// KV format, query heads, key-value heads, width of a head.
    fn shape(&self) -> (Precision, u64, u64, u64);
}

impl Shape for DecodeAttention {
    fn shape(&self) -> (Precision, u64, u64, u64) {
        (self.kv, self.heads, self.kv_heads, self.head_dim)
    }
}

impl Shape for PrefillAttention {
    fn shape(&self) -> (Precision, u64, u64, u64) {
        (self.kv, self.heads, self.kv_heads, self.head_dim)
    }
}

/// The row measured nearest to the shape asked for: of the same KV format, then by ratio of the heads' width,
/// of key-value heads and of query heads.
pub(super) fn nearest<R: Shape>(rows: &[R], kv: Precision, asked: [u64; 3]) -> Option<&R> {
    let ratio = |a: u64, b: u64| a.max(b) as f64 / a.min(b).max(1) as f64;
    let [heads, kv_heads, head_dim] = asked;
    rows.iter().filter(|row| row.shape().0 == kv).min_by(|a, b| {
        let distance = |row: &R| {
            let (_, h, kv, dim) = row.shape();
            [ratio(dim, head_dim), ratio(kv, kv_heads), ratio(h, heads)]
        };
        let (a, b) = (distance(a), distance(b));
        a.iter()
            .zip(&b)
            .map(|(a, b)| a.total_cmp(b))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    })
}
