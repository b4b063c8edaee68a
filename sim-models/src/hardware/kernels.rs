//! Single kernels: what predictions are compared with measurements by.

use super::microbench::{Format, Line};
use super::precision::Precision;

/// A kernel of one layer on one GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A matrix product `m x k` by `k x n`.
    Gemm {
        /// Number format of both operands.
        precision: Precision,
        /// Tokens.
        m: u64,
        /// Columns of the weights.
        n: u64,
        /// Rows of the weights.
        k: u64,
    },
    /// Decode attention of `batch` sequences.
    Decode {
        /// Number format of the KV cache.
        kv: Precision,
        /// Query heads, key-value heads, width of a head.
        shape: [u64; 3],
        /// Sequences.
        batch: u64,
        /// Tokens of context of each.
        context: u64,
    },
    /// Causal prefill attention of `batch` sequences.
    Prefill {
        /// Number format of the KV cache.
        kv: Precision,
        /// Query heads, key-value heads, width of a head.
        shape: [u64; 3],
        /// Sequences.
        batch: u64,
        /// New tokens of each.
        tokens: u64,
        /// Tokens of each before them.
        before: u64,
    },
}

impl Kernel {
    /// The kernel that a line is a timing of, and its microseconds; none where a profile says nothing of it.
    pub fn of(line: &Line) -> Option<(Self, f64)> {
        Some(match line {
            Line::Gemm { format, m, n, k, time, .. } => {
                (Self::Gemm { precision: precision(*format)?, m: *m, n: *n, k: *k }, time.us)
            }
            Line::DecodeAttention { paged: true, kv, batch, context, heads, kv_heads, head_dim, time } => {
                let shape = [*heads, *kv_heads, *head_dim];
                (Self::Decode { kv: precision(*kv)?, shape, batch: *batch, context: *context }, time.us)
            }
            Line::PrefillAttention { kv, batch, tokens, before, heads, kv_heads, head_dim, time } => {
                let (kv, shape) = (precision(*kv)?, [*heads, *kv_heads, *head_dim]);
                (Self::Prefill { kv, shape, batch: *batch, tokens: *tokens, before: *before }, time.us)
            }
            _ => return None,
        })
    }

    /// Key-value bytes that decode attention reads.
    pub(super) fn kv_bytes(
        kv: Precision,
        [_, kv_heads, head_dim]: [u64; 3],
        batch: u64,
        context: u64,
    ) -> f64 {
        (batch * context * 2 * kv_heads * head_dim * kv.kv_bytes().unwrap_or(1)) as f64
    }

    /// FLOP of causal attention, at `2 heads head_dim` for each unit of prefill work.
    pub(super) fn prefill_flops([heads, _, head_dim]: [u64; 3], batch: u64, tokens: u64, before: u64) -> f64 {
        (batch * super::timing::Pass::chunk_work(before, tokens)) as f64 * (2 * heads * head_dim) as f64
    }
}

/// The format of weights or of a KV cache; TF32 is none.
pub fn precision(format: Format) -> Option<Precision> {
    Some(match format {
        Format::Fp32 => Precision::Fp32,
        Format::Tf32 => return None,
        Format::Fp16 => Precision::Fp16,
        Format::Bf16 => Precision::Bf16,
        Format::Fp8 => Precision::Fp8,
        Format::Int8 => Precision::Int8,
    })
}
