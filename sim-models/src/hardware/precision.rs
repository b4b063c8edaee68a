//! Number formats of weights and KV caches.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number format of a model's weights, or of its KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    Fp32,
    /// 16-bit floating point, IEEE.
    Fp16,
    /// 16-bit floating point with the exponent range of 32 bits: what most models ship in.
    Bf16,
    /// 8-bit floating point, weights and activations.
    Fp8,
    /// 8-bit integers, weights and activations.
    Int8,
    /// 4-bit floating point with a scale for each 32 values, the weights of experts only (MXFP4; Open Compute Project,
    /// "OCP Microscaling Formats (MX) Specification", version 1.0, 2023): computed in 16 bits, in which all else is kept.
    Mxfp4,
    /// 4-bit integers, weights only (AWQ, GPTQ): computed in 16 bits.
    Int4,
}

impl Precision {
    /// From the widest to the narrowest.
    pub const ALL: [Self; 7] =
        [Self::Fp32, Self::Fp16, Self::Bf16, Self::Fp8, Self::Int8, Self::Mxfp4, Self::Int4];

    /// Bytes of `parameters` weights in the layers of a model, but those of its experts where it has several; rounded up.
    ///
    /// Eight-bit weights carry a scale for each output channel or each block of 128 x 128: under 0.1%, which
    /// is not counted. Four-bit weights carry a 16-bit scale and a 4-bit zero point per group of 128, the usual layout
    /// of AWQ and GPTQ checkpoints: 4.15625 bits, 133/256 of a byte.
    pub fn weight_bytes(self, parameters: u64) -> u64 {
        match self {
            Self::Int4 => (u128::from(parameters) * 133).div_ceil(256) as u64,
            _ => parameters * self.activation_bytes_or(1),
        }
    }

    /// Bytes of `parameters` weights of experts, of which there are several, rounded up. In MXFP4 they are 4 bits, and
    /// 8 more for each 32 of them.
    pub fn expert_bytes(self, parameters: u64) -> u64 {
        match self {
            Self::Mxfp4 => (u128::from(parameters) * 17).div_ceil(32) as u64,
            _ => self.weight_bytes(parameters),
        }
    }

    /// Bytes of `parameters` weights in the embeddings and the output layer, which quantized
    /// checkpoints leave in 16 bits.
    pub fn embedding_bytes(self, parameters: u64) -> u64 {
        parameters * self.activation_bytes()
    }

    /// Bytes of one activation: 4 in fp32, otherwise 2.
    pub fn activation_bytes(self) -> u64 {
        self.activation_bytes_or(2)
    }

    /// Bytes of one element of a KV cache; none for the four-bit formats, in which none is kept.
    pub fn kv_bytes(self) -> Option<u64> {
        (!matches!(self, Self::Int4 | Self::Mxfp4)).then(|| self.activation_bytes_or(1))
    }

    fn activation_bytes_or(self, narrow: u64) -> u64 {
        match self {
            Self::Fp32 => 4,
            Self::Fp16 | Self::Bf16 | Self::Mxfp4 => 2,
            Self::Fp8 | Self::Int8 | Self::Int4 => narrow,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Mxfp4 => "mxfp4",
            Self::Int4 => "int4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_unknown_ones_list_what_is_accepted() {
        for precision in Precision::ALL {
            let json = serde_json::to_string(&precision).unwrap();
            assert_eq!(json, format!("\"{precision}\""));
            assert_eq!(serde_json::from_str::<Precision>(&json).unwrap(), precision);
        }
        let message = serde_json::from_str::<Precision>("\"fp12\"").unwrap_err().to_string();
        assert!(message.contains("fp12") && message.contains("bf16"), "{message}");
    }

    #[test]
    fn narrower_formats_take_fewer_bytes() {
        let bytes = Precision::ALL.map(|precision| precision.weight_bytes(25_600));
        assert_eq!(bytes, [102_400, 51_200, 51_200, 25_600, 25_600, 51_200, 13_300]);
        let bytes = Precision::ALL.map(|precision| precision.expert_bytes(25_600));
        assert_eq!(bytes, [102_400, 51_200, 51_200, 25_600, 25_600, 13_600, 13_300]);
        assert_eq!(Precision::Int4.embedding_bytes(10), 20);
        assert_eq!((Precision::Int4.kv_bytes(), Precision::Mxfp4.kv_bytes()), (None, None));
        assert_eq!(Precision::Fp8.kv_bytes(), Some(1));
    }
}
