//! Attention of batches as the mixes of requests give them, timed by `validation/engine/operations.py`.
//!
//! Sequences of a batch differ in length, and the kernel is done when the longest is: batches of equal lengths would be
//! too fast. So a mix of requests has coefficients of its own.

use std::path::Path;

use serde::Deserialize;
use sim_models::hardware::catalogue::Model;
use sim_models::hardware::microbench::Timing;
use sim_models::hardware::precision::Precision;
use sim_models::hardware::profile::{DecodeAttention, PrefillAttention};
use sim_models::hardware::timing::Pass;

use super::least_squares::not_negative;
use super::{EngineCheckError, lines};

/// The attention of a batch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename = "attention")]
struct Timed {
    /// The mix that lengths are drawn from.
    mix: String,
    /// Sequences that decode.
    decoding: u64,
    /// Their tokens, the new ones among them.
    context: u64,
    /// Chunks of prompts: their tokens, and those before them.
    chunks: Vec<(u64, u64)>,
    /// Of one layer.
    time: Timing,
}

/// All that was timed for one engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention(Vec<Timed>);

impl Attention {
    /// Reads a file of timings.
    ///
    /// # Errors
    /// What cannot be read.
    pub(super) fn open(path: &Path) -> Result<Self, EngineCheckError> {
        lines(path).map(Self)
    }

    /// Straight lines through all batches of a mix.
    pub(super) fn tables(
        &self,
        mix: &str,
        model: &Model,
        precision: Precision,
    ) -> Option<(DecodeAttention, PrefillAttention)> {
        let own = self.0.iter().filter(|timed| timed.mix == mix);
        let points: Vec<([f64; 5], f64)> = own
            .map(|timed| {
                let tokens: u64 = timed.chunks.iter().map(|(tokens, _)| tokens).sum();
                let work: u64 =
                    timed.chunks.iter().map(|(tokens, seen)| Pass::chunk_work(*seen, *tokens)).sum();
                let x = [1, timed.decoding, timed.context, tokens, work];
                // By their own size, as they span orders of magnitude.
                (x.map(|x| x as f64 / timed.time.us), 1.0)
            })
            .collect();
        if points.len() < 5 {
            return None;
        }
        let [floor_us, sequence_us, context_us, token_us, work_us] = not_negative(&points);
        let (heads, kv_heads, head_dim) = (model.heads, model.kv_heads, model.head_dim);
        let bytes = model.kv_bytes_per_token(precision, 1)? as f64 / model.layers as f64;
        let decode = DecodeAttention {
            kv: precision,
            heads,
            kv_heads,
            head_dim,
            floor_us: floor_us.max(super::calibration::LEAST_US),
            sequence_us,
            gb_s: (1e-3 * bytes / context_us).clamp(1e-3, 1e9),
        };
        let prefill = PrefillAttention {
            kv: precision,
            heads,
            kv_heads,
            head_dim,
            token_ns: token_us * 1e3,
            tflops: ((2 * heads * head_dim) as f64 / work_us / 1e6).clamp(1e-6, 1e9),
        };
        Some((decode, prefill))
    }

    /// Of one sequence that decodes: what each takes, and each token of its context, in microseconds.
    pub(super) fn alone(&self) -> Option<(f64, f64)> {
        let own = self.0.iter().filter(|timed| timed.decoding == 1 && timed.chunks.is_empty());
        let points: Vec<_> = own.map(|timed| ([1.0, timed.context as f64], timed.time.us)).collect();
        let [fixed, token] = not_negative(&points);
        (points.len() > 1).then_some((fixed, token))
    }
}
