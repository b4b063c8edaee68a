//! The number format that a checkpoint is served in.

use serde_json::{Map, Value};

use crate::hardware::precision::Precision;

/// The format named by `quantization_config` (of the whole model or its text part), otherwise by `dtype`
/// (`torch_dtype` in older files). None for a quantization that is not modelled.
///
/// As vLLM's `dtype = auto`, fp32 checkpoints are served in fp16; a file that names no format is taken as
/// bf16.
pub(super) fn precision(config: &Map<String, Value>, text: &Map<String, Value>) -> Option<Precision> {
    let lookup = |key: &str| [text, config].into_iter().find_map(|map| map.get(key)).filter(|v| !v.is_null());
    if let Some(quantization) = lookup("quantization_config") {
        return quantized(quantization);
    }
    match lookup("dtype").or_else(|| lookup("torch_dtype")).and_then(Value::as_str) {
        Some("float32" | "float16") => Some(Precision::Fp16),
        _ => Some(Precision::Bf16),
    }
}

fn quantized(quantization: &Value) -> Option<Precision> {
    let bits = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
    match quantization.get("quant_method")?.as_str()? {
        "fp8" | "fbgemm_fp8" => Some(Precision::Fp8),
        "awq" | "gptq" | "auto-round" => {
            let bits = bits(quantization, "bits").or_else(|| bits(quantization, "w_bit"));
            (bits == Some(4)).then_some(Precision::Int4)
        }
        "mxfp4" => Some(Precision::Mxfp4),
        "modelopt" => match quantization.get("quant_algo")?.as_str()? {
            "FP8" => Some(Precision::Fp8),
            _ => None,
        },
        "compressed-tensors" => {
            // The first group stands for all: checkpoints of mixed formats are rare.
            let group = quantization.get("config_groups")?.as_object()?.values().next()?;
            let weights = group.get("weights")?;
            let activations = group.get("input_activations").is_some_and(|value| !value.is_null());
            match (weights.get("type")?.as_str()?, bits(weights, "num_bits")?) {
                ("float", 8) => Some(Precision::Fp8),
                ("int", 8) if activations => Some(Precision::Int8),
                ("int", 4) if !activations => Some(Precision::Int4),
                _ => None,
            }
        }
        _ => None,
    }
}
