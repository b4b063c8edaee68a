//! Measured times by shape.

use serde::{Deserialize, Serialize};

use super::super::numbers;
use super::super::precision::Precision;
use super::series::neighbours;

/// Times of matrix multiplications `m x k` by `k x n` in one precision, on a grid of shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GemmTable {
    /// Number format of both operands.
    pub precision: Precision,
    /// Rows of the left operand, increasing: the tokens of a pass.
    pub m: Vec<u64>,
    /// Columns of the weights, increasing.
    pub n: Vec<u64>,
    /// Rows of the weights, increasing.
    pub k: Vec<u64>,
    /// Microseconds by `m`, non-decreasing, for each shape: by `n`, then `k`.
    #[serde(deserialize_with = "numbers::lists")]
    pub us: Vec<Vec<f64>>,
    /// Microseconds that each kernel of a layer takes longer in a row with others than alone; 0 where that was not
    /// measured.
    #[serde(default)]
    pub gap_us: f64,
}

impl GemmTable {
    /// Microseconds by `m` for weights of `k x n`, linear in both between the shapes of the table. Smaller
    /// ones are taken as the smallest (launches dominate), larger ones in proportion to the largest.
    pub(super) fn by_tokens(&self, n: f64, k: f64) -> Vec<f64> {
        let mut times = vec![0.0; self.m.len()];
        for (i, n_weight) in neighbours(&self.n, n) {
            for (j, k_weight) in neighbours(&self.k, k) {
                let weight = n_weight * k_weight;
                if weight > 0.0 {
                    for (time, us) in times.iter_mut().zip(&self.us[i * self.k.len() + j]) {
                        *time += weight * us;
                    }
                }
            }
        }
        times
    }
}

/// Times of one expert layer by tokens, routed evenly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertTable {
    /// Number format of weights and activations.
    pub precision: Precision,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Inner width of one expert on each GPU.
    pub inner: u64,
    /// Experts that each token goes through.
    pub active: u64,
    /// Experts.
    pub experts: u64,
    /// Tokens, increasing.
    pub tokens: Vec<u64>,
    /// Microseconds by tokens, non-decreasing.
    #[serde(deserialize_with = "numbers::list")]
    pub us: Vec<f64>,
}

/// Times of an all-reduce by the size of the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduceTable {
    /// GPUs that take part.
    pub gpus: u64,
    /// Bytes of the message, increasing.
    pub bytes: Vec<u64>,
    /// Microseconds by bytes, non-decreasing.
    #[serde(deserialize_with = "numbers::list")]
    pub us: Vec<f64>,
}
