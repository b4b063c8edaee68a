//! The catalogue of GPUs and models, built in from `data/gpus.toml` and `data/models.toml`.

use std::sync::LazyLock;

use serde::Deserialize;
use thiserror::Error;

use super::precision::Precision;

/// A name that the catalogue does not know.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown {kind} `{name}`: expected one of {}", accepted.join(", "))]
pub struct UnknownName {
    /// `gpu` or `model`.
    pub kind: &'static str,
    /// What was asked for.
    pub name: String,
    /// Every name that is accepted.
    pub accepted: Vec<&'static str>,
}

/// A GPU: datasheet figures with their sources.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Name in scenarios, such as `h100-sxm`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Memory in bytes, as the driver reports it.
    pub memory_bytes: u64,
    /// Source of `memory_bytes`.
    pub memory_source: String,
    /// Memory bandwidth in GB/s.
    pub memory_bandwidth: f64,
    /// Dense peak outside the tensor cores in TFLOP/s, fp32.
    pub fp32: f64,
    /// Dense tensor-core peak in TFLOP/s, TF32.
    pub tf32: f64,
    /// Dense tensor-core peak in TFLOP/s, fp16 and bf16.
    pub fp16: f64,
    /// Dense tensor-core peak in TFLOP/s, fp8; none where the hardware has no such unit.
    pub fp8: Option<f64>,
    /// Dense tensor-core peak in TOP/s, int8; none where the hardware has no such unit.
    pub int8: Option<f64>,
    /// NVLink or Infinity Fabric bandwidth of one GPU in GB/s, both directions together.
    pub nvlink: Option<f64>,
    /// The number of GPUs that `nvlink` joins.
    pub nvlink_domain: Option<u64>,
    /// PCIe bandwidth in GB/s, both directions together.
    pub pcie: f64,
    /// Power limit in watts.
    pub power_watts: f64,
    /// Source of the datasheet figures.
    pub source: String,
    /// Default on-demand price of one GPU in USD an hour, to be overridden by the user's own.
    pub price_per_hour: f64,
    /// Provider and date of `price_per_hour`.
    pub price_source: String,
    /// What others measured on it.
    pub measured: Option<Measured>,
}

/// Kernel figures measured on a GPU by others.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// bf16 matrix multiplication over large shapes, TFLOP/s.
    pub gemm: f64,
    /// Reading of weights in small-batch matrix multiplications, GB/s.
    pub weight_bandwidth: f64,
    /// Reading of the KV cache in decode attention, GB/s.
    pub decode_attention_bandwidth: f64,
    /// Latency of decode attention over a short context, microseconds.
    pub attention_floor: f64,
    /// Causal prefill attention, TFLOP/s.
    pub prefill_attention: f64,
    /// Latency of a small all-reduce over 2, 4 and 8 GPUs, microseconds.
    pub all_reduce_base: [f64; 3],
    /// Source of these figures.
    pub source: String,
}

impl Gpu {
    /// Dense peak in FLOP/s with which matrices in `precision` are multiplied. Eight-bit weights on a
    /// GPU without such units, and four-bit weights anywhere, are widened and computed in 16 bits.
    /// fp32 runs outside the tensor cores, as PyTorch does unless TF32 is switched on.
    pub fn peak_flops(&self, precision: Precision) -> f64 {
        let tera = match precision {
            Precision::Fp32 => self.fp32,
            Precision::Fp8 => self.fp8.unwrap_or(self.fp16),
            Precision::Int8 => self.int8.unwrap_or(self.fp16),
            Precision::Fp16 | Precision::Bf16 | Precision::Int4 => self.fp16,
        };
        tera * 1e12
    }

    /// Whether matrices in `precision` are multiplied by eight-bit units.
    pub fn computes_in_8_bits(&self, precision: Precision) -> bool {
        match precision {
            Precision::Fp8 => self.fp8.is_some(),
            Precision::Int8 => self.int8.is_some(),
            _ => false,
        }
    }

    /// Whether `gpus` of these talk over NVLink or Infinity Fabric, not PCIe.
    pub fn linked(&self, gpus: u64) -> bool {
        self.nvlink.is_some() && self.nvlink_domain.is_some_and(|domain| gpus <= domain)
    }

    /// Bandwidth in bytes/s, one direction, with which each of `gpus` talks to the others.
    pub fn link_bandwidth(&self, gpus: u64) -> f64 {
        let both_directions = self.nvlink.filter(|_| self.linked(gpus)).unwrap_or(self.pcie);
        both_directions * 1e9 / 2.0
    }
}

/// A decoder-only transformer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name in scenarios, such as `llama-3.1-8b`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Transformer layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Attention (query) heads.
    pub heads: u64,
    /// Key-value heads.
    pub kv_heads: u64,
    /// Width of one head; not always `hidden / heads`.
    pub head_dim: u64,
    /// Inner width of the feed-forward part, of one expert where there are several.
    pub ffn: u64,
    /// Vocabulary size.
    pub vocab: u64,
    /// Whether the output layer is the input embedding.
    pub tied_embeddings: bool,
    /// Longest context in tokens.
    pub max_context: u64,
    /// Experts in each layer.
    #[serde(default = "one")]
    pub experts: u64,
    /// Experts that each token goes through.
    #[serde(default = "one")]
    pub active_experts: u64,
    /// Whether the feed-forward part has three matrices (gate, up, down), not two.
    #[serde(default = "yes")]
    pub gated_ffn: bool,
    /// Where the figures are from.
    pub source: String,
}

fn one() -> u64 {
    1
}

fn yes() -> bool {
    true
}

impl Model {
    /// Parameters of one embedding table.
    pub fn embedding_parameters(&self) -> u64 {
        self.vocab * self.hidden
    }

    /// Query, key and value values that a layer computes for one token.
    pub fn qkv_width(&self) -> u64 {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// Parameters of the experts of all layers (of the feed-forward parts, where there is one expert).
    pub fn expert_parameters(&self) -> u64 {
        self.layers * self.experts * self.one_expert()
    }

    /// Parameters in all layers, without embeddings and output layer.
    pub fn layer_parameters(&self) -> u64 {
        self.layers * (self.attention() + self.gate()) + self.expert_parameters()
    }

    /// Parameters in all layers that one token is multiplied with.
    pub fn active_layer_parameters(&self) -> u64 {
        self.layers * (self.attention() + self.gate() + self.active_experts * self.one_expert())
    }

    /// All parameters: layers, input embedding and, unless tied to it, the output layer.
    pub fn parameters(&self) -> u64 {
        let tables = if self.tied_embeddings { 1 } else { 2 };
        self.layer_parameters() + tables * self.embedding_parameters()
    }

    /// Bytes of all weights. Quantized checkpoints leave embeddings and output layer in 16 bits.
    pub fn weight_bytes(&self, precision: Precision) -> u64 {
        let tables = if self.tied_embeddings { 1 } else { 2 };
        precision.weight_bytes(self.layer_parameters())
            + precision.embedding_bytes(tables * self.embedding_parameters())
    }

    /// Bytes of the weights that a forward pass over many tokens reads: all but an untied input
    /// embedding, of which only single rows are looked up.
    pub fn streamed_weight_bytes(&self, precision: Precision) -> u64 {
        precision.weight_bytes(self.layer_parameters())
            + precision.embedding_bytes(self.embedding_parameters())
    }

    /// Bytes of keys and values that one token of context takes on each of `tensor_parallel` GPUs;
    /// none for a precision that no KV cache is kept in. Heads fewer than GPUs are replicated.
    pub fn kv_bytes_per_token(&self, precision: Precision, tensor_parallel: u64) -> Option<u64> {
        let heads = self.kv_heads.div_ceil(tensor_parallel);
        Some(2 * self.layers * heads * self.head_dim * precision.kv_bytes()?)
    }

    fn attention(&self) -> u64 {
        self.hidden * self.qkv_width() + self.heads * self.head_dim * self.hidden
    }

    fn one_expert(&self) -> u64 {
        let matrices = if self.gated_ffn { 3 } else { 2 };
        matrices * self.hidden * self.ffn
    }

    fn gate(&self) -> u64 {
        if self.experts > 1 { self.hidden * self.experts } else { 0 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GpuFile {
    gpu: Vec<Gpu>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    model: Vec<Model>,
}

static GPUS: LazyLock<Vec<Gpu>> = LazyLock::new(|| {
    let file: GpuFile =
        toml::from_str(include_str!("../../data/gpus.toml")).expect("the built-in GPUs parse");
    file.gpu
});

static MODELS: LazyLock<Vec<Model>> = LazyLock::new(|| {
    let file: ModelFile =
        toml::from_str(include_str!("../../data/models.toml")).expect("the built-in models parse");
    file.model
});

/// Every GPU of the catalogue.
pub fn gpus() -> &'static [Gpu] {
    &GPUS
}

/// Every model of the catalogue.
pub fn models() -> &'static [Model] {
    &MODELS
}

/// The GPU called `id`.
///
/// # Errors
/// [`UnknownName`] with all names.
pub fn gpu(id: &str) -> Result<&'static Gpu, UnknownName> {
    gpus().iter().find(|gpu| gpu.id == id).ok_or_else(|| UnknownName {
        kind: "gpu",
        name: id.to_owned(),
        accepted: gpus().iter().map(|gpu| gpu.id.as_str()).collect(),
    })
}

/// The model called `id`.
///
/// # Errors
/// [`UnknownName`] with all names.
pub fn model(id: &str) -> Result<&'static Model, UnknownName> {
    models().iter().find(|model| model.id == id).ok_or_else(|| UnknownName {
        kind: "model",
        name: id.to_owned(),
        accepted: models().iter().map(|model| model.id.as_str()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Parameter counts of the safetensors index at huggingface.co.
    const PUBLISHED: [(&str, u64); 20] = [
        ("llama-2-7b", 6_738_415_616),
        ("llama-2-13b", 13_015_864_320),
        ("llama-2-70b", 68_976_648_192),
        ("llama-3.1-8b", 8_030_261_248),
        ("llama-3.1-70b", 70_553_706_496),
        ("llama-3.1-405b", 405_853_388_800),
        ("llama-3.2-1b", 1_235_814_400),
        ("llama-3.2-3b", 3_212_749_824),
        ("qwen2.5-7b", 7_615_616_512),
        ("qwen2.5-14b", 14_770_033_664),
        ("qwen2.5-32b", 32_763_876_352),
        ("qwen2.5-72b", 72_706_203_648),
        ("qwen3-8b", 8_190_735_360),
        ("qwen3-14b", 14_768_307_200),
        ("qwen3-32b", 32_762_123_264),
        ("mistral-7b", 7_248_023_552),
        ("mixtral-8x7b", 46_702_792_704),
        ("gemma-2-9b", 9_241_705_984),
        ("gemma-2-27b", 27_227_128_320),
        ("opt-13b", 12_853_473_280),
    ];

    #[test]
    fn parameter_counts_agree_with_published_ones() {
        assert_eq!(PUBLISHED.len(), models().len());
        for (id, published) in PUBLISHED {
            let computed = model(id).unwrap().parameters();
            let error = (computed as f64 / published as f64 - 1.0).abs();
            assert!(error < 0.002, "{id}: {computed} computed, {published} published");
        }
        // Mixtral: 12.9 billion active parameters (Jiang et al. 2024).
        let mixtral = model("mixtral-8x7b").unwrap();
        let active = mixtral.active_layer_parameters() + 2 * mixtral.embedding_parameters();
        assert!((active as f64 / 12.9e9 - 1.0).abs() < 0.005, "{active}");
    }

    #[test]
    fn kv_bytes_per_token_agree_with_published_ones() {
        let expected = [
            ("llama-3.1-8b", 131_072),
            ("llama-3.1-70b", 327_680),
            ("qwen3-14b", 163_840),
            ("llama-2-13b", 819_200),
            ("opt-13b", 819_200),
            ("llama-3.2-1b", 32_768),
            ("gemma-2-9b", 344_064),
        ];
        for (id, bytes) in expected {
            assert_eq!(model(id).unwrap().kv_bytes_per_token(Precision::Bf16, 1), Some(bytes), "{id}");
        }
        let large = model("llama-3.1-70b").unwrap();
        assert_eq!(large.kv_bytes_per_token(Precision::Fp8, 4), Some(40_960));
        let few_heads = model("qwen2.5-7b").unwrap();
        assert_eq!(
            few_heads.kv_bytes_per_token(Precision::Bf16, 8),
            few_heads.kv_bytes_per_token(Precision::Bf16, 4),
            "four key-value heads are replicated on eight GPUs"
        );
        assert_eq!(large.kv_bytes_per_token(Precision::Int4, 1), None);
    }

    fn assert_gb(bytes: u64, expected: f64) {
        assert!((bytes as f64 / 1e9 - expected).abs() < 0.006, "{bytes} bytes are not {expected} GB");
    }

    #[test]
    fn an_untied_input_embedding_is_not_streamed() {
        let llama = model("llama-3.1-8b").unwrap();
        assert_gb(llama.weight_bytes(Precision::Bf16), 16.06);
        assert_gb(llama.streamed_weight_bytes(Precision::Bf16), 15.01);
        let qwen = model("qwen3-14b").unwrap();
        assert_gb(qwen.weight_bytes(Precision::Bf16), 29.54);
        assert_gb(qwen.streamed_weight_bytes(Precision::Bf16), 27.98);
        let tied = model("llama-3.2-3b").unwrap();
        assert_eq!(tied.weight_bytes(Precision::Bf16), tied.streamed_weight_bytes(Precision::Bf16));
    }

    #[test]
    fn quantized_weights_have_the_size_of_published_checkpoints() {
        let llama = model("llama-3.1-8b").unwrap();
        // RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8: 9.08 GB; hugging-quants AWQ-INT4: 5.73 GB.
        assert_gb(llama.weight_bytes(Precision::Fp8), 9.08);
        assert_gb(llama.weight_bytes(Precision::Int4), 5.73);
    }

    #[test]
    fn every_figure_has_a_source() {
        for gpu in gpus() {
            let sources = [&gpu.source, &gpu.memory_source, &gpu.price_source];
            assert!(sources.iter().all(|source| source.len() > 10), "{}", gpu.id);
            assert!(gpu.measured.as_ref().is_none_or(|measured| measured.source.len() > 10), "{}", gpu.id);
        }
        assert!(models().iter().all(|model| model.source.contains("huggingface.co/")));
    }

    #[test]
    fn names_are_unique_and_figures_plausible() {
        assert_eq!(gpus().iter().map(|gpu| &gpu.id).collect::<BTreeSet<_>>().len(), gpus().len());
        assert_eq!(models().iter().map(|model| &model.id).collect::<BTreeSet<_>>().len(), models().len());
        for gpu in gpus() {
            assert!((20_000_000_000..220_000_000_000).contains(&gpu.memory_bytes), "{}", gpu.id);
            assert!(gpu.fp32 <= gpu.tf32 && gpu.tf32 < gpu.fp16, "{}", gpu.id);
            assert!(gpu.fp8.into_iter().chain(gpu.int8).all(|peak| peak > 1.9 * gpu.fp16), "{}", gpu.id);
            assert_eq!(gpu.nvlink.is_some(), gpu.nvlink_domain.is_some(), "{}", gpu.id);
            if let Some(measured) = &gpu.measured {
                assert!(measured.gemm < gpu.fp16 && measured.prefill_attention < measured.gemm, "{}", gpu.id);
                assert!(measured.weight_bandwidth < gpu.memory_bandwidth, "{}", gpu.id);
                assert!(measured.decode_attention_bandwidth < gpu.memory_bandwidth, "{}", gpu.id);
            }
        }
        for model in models() {
            assert!(model.heads.is_multiple_of(model.kv_heads), "{}", model.id);
            assert!(model.active_experts <= model.experts, "{}", model.id);
        }
    }

    #[test]
    fn memory_is_what_the_driver_reports() {
        const MIB: u64 = 1 << 20;
        assert_eq!(gpu("h100-sxm").unwrap().memory_bytes, 81_559 * MIB);
        assert_eq!(gpu("h200-sxm").unwrap().memory_bytes, 143_771 * MIB);
    }

    #[test]
    fn missing_units_fall_back_to_16_bits() {
        let a100 = gpu("a100-sxm-80gb").unwrap();
        assert_eq!(a100.peak_flops(Precision::Fp8), 312e12);
        assert_eq!(a100.peak_flops(Precision::Int8), 624e12);
        assert!(!a100.computes_in_8_bits(Precision::Fp8) && a100.computes_in_8_bits(Precision::Int8));
    }

    #[test]
    fn links_reach_as_far_as_they_do() {
        let pcie = gpu("h100-pcie").unwrap();
        assert_eq!(pcie.link_bandwidth(2), 300e9);
        assert_eq!(pcie.link_bandwidth(4), 64e9);
        assert_eq!(gpu("l40s").unwrap().link_bandwidth(2), 32e9);
        assert_eq!(gpu("h100-sxm").unwrap().link_bandwidth(8), 450e9);
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = gpu("h100").unwrap_err().to_string();
        assert!(message.contains("unknown gpu `h100`") && message.contains("h100-sxm"), "{message}");
        let message = model("llama").unwrap_err().to_string();
        assert!(message.contains("unknown model `llama`") && message.contains("mixtral-8x7b"), "{message}");
    }
}
