//! Decoder-only transformers.

use serde_json::Value;

use super::ConfigJsonError;
use super::fields::{
    Fields, MAX_CONTEXT, MAX_EXPERTS, MAX_FFN, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH, shown,
};
use crate::hardware::catalogue::model::{Latent, Model, ModelKind, Sliding};

/// A model of which nothing is known yet.
pub(super) fn blank() -> Model {
    Model {
        id: String::new(),
        name: String::new(),
        kind: ModelKind::Decoder,
        layers: 1,
        hidden: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 1,
        latent: None,
        ffn: 1,
        experts: 1,
        active_experts: 1,
        shared_ffn: 0,
        dense_layers: 0,
        dense_ffn: 0,
        gated_ffn: true,
        vocab: 1,
        tied_embeddings: false,
        max_context: 1,
        sliding: None,
        other_parameters: 0,
        precision: None,
        source: String::new(),
    }
}

/// Which parameters beside its matrices a family has, and the class defaults that its files lean on.
struct Family {
    /// Whether queries, keys and values have biases; none where `attention_bias` says so.
    qkv_bias: Option<bool>,
    /// Whether the output of attention has a bias; none where `attention_bias` says so.
    output_bias: Option<bool>,
    /// Whether each head's queries and keys are normed.
    qk_norm: bool,
    /// Norms in a layer.
    norms: u64,
    /// `head_dim` where the file has none; `hidden_size / num_attention_heads` where this is none.
    head_dim: Option<u64>,
    /// Whether embeddings are tied where the file does not say.
    tied: bool,
}

const LLAMA: Family =
    Family { qkv_bias: None, output_bias: None, qk_norm: false, norms: 2, head_dim: None, tied: false };
const MISTRAL: Family = Family { qkv_bias: Some(false), output_bias: Some(false), ..LLAMA };
const QWEN2: Family = Family { qkv_bias: Some(true), output_bias: Some(false), ..LLAMA };
const QWEN3: Family = Family { qk_norm: true, head_dim: Some(128), ..LLAMA };
const GEMMA: Family = Family { head_dim: Some(256), tied: true, ..LLAMA };
const GEMMA2: Family = Family { norms: 4, ..GEMMA };
const GEMMA3: Family = Family { qk_norm: true, ..GEMMA2 };
const GPT_OSS: Family = Family { head_dim: Some(64), ..LLAMA };

/// Llama and its kin: grouped-query attention, gated feed-forward parts, perhaps experts.
pub(super) fn grouped(fields: &Fields) -> Result<Model, ConfigJsonError> {
    let family = match fields.architecture {
        "mistral" | "mixtral" => MISTRAL,
        "qwen2" | "qwen2_moe" => QWEN2,
        "qwen3" | "qwen3_moe" => QWEN3,
        "gemma" => GEMMA,
        "gemma2" => GEMMA2,
        "gemma3" | "gemma3_text" => GEMMA3,
        "gpt_oss" => GPT_OSS,
        _ => LLAMA,
    };
    // Files of multimodal Gemma 3 models leave out what `Gemma3TextConfig` has as default.
    let gemma3 = fields.architecture.starts_with("gemma3");
    let or_default = |key: &str, most, default| {
        if gemma3 { fields.or(key, most, default) } else { fields.required(key, most) }
    };
    let layers = fields.required("num_hidden_layers", MAX_LAYERS)?;
    let hidden = fields.required("hidden_size", MAX_WIDTH)?;
    let heads = or_default("num_attention_heads", MAX_HEADS, 8)?;
    let kv_heads = fields.or("num_key_value_heads", MAX_HEADS, if gemma3 { 4 } else { heads })?;
    let head_dim = match fields.optional("head_dim", MAX_HEADS)?.or(family.head_dim) {
        Some(width) => width,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let expected = format!("a divisor of the hidden size, {hidden}, where head_dim is not given");
            return Err(fields.invalid("num_attention_heads", heads, expected));
        }
    };
    if !heads.is_multiple_of(kv_heads) {
        let expected = format!("a divisor of num_attention_heads, {heads}");
        return Err(fields.invalid("num_key_value_heads", kv_heads, expected));
    }
    let positions = or_default("max_position_embeddings", MAX_CONTEXT, 131_072)?;
    let max_context = if gemma3 { positions } else { stretched(fields, positions)? };
    let mlp = feed_forward(fields, layers)?;

    let attention_bias = fields.flag("attention_bias", false)?;
    let mut in_layer = family.norms * hidden;
    if family.qkv_bias.unwrap_or(attention_bias) {
        in_layer += (heads + 2 * kv_heads) * head_dim;
    }
    if family.output_bias.unwrap_or(attention_bias) {
        in_layer += hidden;
    }
    if family.qk_norm {
        in_layer += 2 * head_dim;
    }
    if fields.architecture == "llama" && fields.flag("mlp_bias", false)? {
        in_layer += 2 * mlp.ffn + hidden;
    }
    if fields.architecture == "gpt_oss" {
        // Sinks of attention, and biases of the router and of each expert.
        in_layer += heads + mlp.experts + mlp.experts * (2 * mlp.ffn + hidden);
    }
    // Qwen2's shared expert has a gate of its own.
    let gates = if mlp.shared_ffn > 0 { (layers - mlp.dense_layers) * hidden } else { 0 };
    Ok(Model {
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        vocab: or_default("vocab_size", MAX_VOCAB, 262_208)?,
        tied_embeddings: fields.flag("tie_word_embeddings", family.tied)?,
        max_context,
        sliding: sliding(fields, layers)?
            .filter(|sliding| sliding.layers > 0 && sliding.window < max_context),
        other_parameters: layers * in_layer + gates + hidden,
        ..mlp
    })
}

/// How long the context is with the scaling of rotary positions, as vLLM has it (`_get_and_verify_max_len` of its
/// model configuration, 0.14): `su`, `longrope` and `llama3` are counted in `max_position_embeddings` already, all others
/// multiply it; YaRN multiplies what the model was trained with.
fn stretched(fields: &Fields, positions: u64) -> Result<u64, ConfigJsonError> {
    let (key, Some(scaling)) = ["rope_scaling", "rope_parameters"]
        .map(|key| (key, fields.get(key)))
        .into_iter()
        .find(|(_, scaling)| scaling.is_some())
        .unwrap_or(("", None))
    else {
        return Ok(positions);
    };
    let kind = scaling.get("rope_type").or(scaling.get("type")).and_then(Value::as_str);
    let (Some(kind), Some(factor)) = (kind, scaling.get("factor")) else { return Ok(positions) };
    if matches!(kind, "su" | "longrope" | "llama3" | "default" | "mrope") {
        return Ok(positions);
    }
    let wrong = |value: &Value, expected: &str| fields.invalid(key, shown(value), expected);
    let by = factor.as_f64().filter(|by| (1.0..=1e6).contains(by));
    let by = by.ok_or_else(|| wrong(factor, "a factor from 1 to 1000000"))?;
    let trained = match scaling.get("original_max_position_embeddings").filter(|_| kind == "yarn") {
        Some(trained) => {
            let number = trained.as_u64().filter(|number| (1..=MAX_CONTEXT).contains(number));
            number.ok_or_else(|| wrong(trained, "original_max_position_embeddings from 1"))?
        }
        None => positions,
    };
    Ok(((trained as f64 * by) as u64).min(MAX_CONTEXT))
}

/// The feed-forward parts of Llama and its kin; the rest is blank.
fn feed_forward(fields: &Fields, layers: u64) -> Result<Model, ConfigJsonError> {
    let (experts_key, ffn_key) = match fields.architecture {
        "mixtral" | "gpt_oss" => ("num_local_experts", "intermediate_size"),
        "qwen2_moe" | "qwen3_moe" => ("num_experts", "moe_intermediate_size"),
        _ => return Ok(Model { ffn: fields.required("intermediate_size", MAX_FFN)?, ..blank() }),
    };
    let (experts, active_experts) = experts(fields, experts_key)?;
    let model = Model { ffn: fields.required(ffn_key, MAX_FFN)?, experts, active_experts, ..blank() };
    if matches!(fields.architecture, "mixtral" | "gpt_oss") {
        return Ok(model);
    }
    let step = fields.or("decoder_sparse_step", MAX_LAYERS, 1)?;
    let listed = fields.get("mlp_only_layers").and_then(Value::as_array);
    let is_dense = |layer: &u64| {
        !(layer + 1).is_multiple_of(step)
            || listed.is_some_and(|list| list.iter().any(|entry| entry.as_u64() == Some(*layer)))
    };
    let dense_layers = (0..layers).filter(is_dense).count() as u64;
    let dense_ffn = if dense_layers > 0 { fields.required("intermediate_size", MAX_FFN)? } else { 0 };
    let shared_ffn = match fields.architecture {
        "qwen2_moe" => fields.required("shared_expert_intermediate_size", MAX_FFN)?,
        _ => 0,
    };
    Ok(Model { dense_layers, dense_ffn, shared_ffn, ..model })
}

/// All experts of a layer, and those that a token goes through.
fn experts(fields: &Fields, key: &str) -> Result<(u64, u64), ConfigJsonError> {
    let experts = fields.required(key, MAX_EXPERTS)?;
    let active = fields.required("num_experts_per_tok", MAX_EXPERTS)?;
    if active > experts {
        let expected = format!("at most {key}, {experts}");
        return Err(fields.invalid("num_experts_per_tok", active, expected));
    }
    Ok((experts, active))
}

/// Which layers have a window: those that `layer_types` lists, otherwise those of the family's pattern.
fn sliding(fields: &Fields, layers: u64) -> Result<Option<Sliding>, ConfigJsonError> {
    let by_pattern = |every: u64| layers - layers / every;
    let (default_window, windowed) = match fields.architecture {
        "gemma2" => (Some(4096), by_pattern(2)),
        "gemma3" | "gemma3_text" => {
            (Some(4096), by_pattern(fields.or("sliding_window_pattern", MAX_LAYERS, 6)?))
        }
        "gpt_oss" => (Some(128), by_pattern(2)),
        "mistral" | "mixtral" => (None, layers),
        "qwen2" | "qwen2_moe" | "qwen3" | "qwen3_moe" => {
            if !fields.flag("use_sliding_window", false)? {
                return Ok(None);
            }
            (Some(4096), layers.saturating_sub(fields.count("max_window_layers", MAX_LAYERS)?))
        }
        _ => return Ok(None),
    };
    let window = fields.optional("sliding_window", MAX_CONTEXT)?.or(default_window);
    let layers = fields.count_in_list("layer_types", "sliding_attention").unwrap_or(windowed).min(layers);
    Ok(window.map(|window| Sliding { window, layers }))
}

/// DeepSeek V2 and V3: latent attention, shared and routed experts after dense layers.
pub(super) fn deepseek(fields: &Fields) -> Result<Model, ConfigJsonError> {
    let layers = fields.required("num_hidden_layers", MAX_LAYERS)?;
    let hidden = fields.required("hidden_size", MAX_WIDTH)?;
    let heads = fields.required("num_attention_heads", MAX_HEADS)?;
    let latent = Latent {
        q_lora_rank: fields.optional("q_lora_rank", MAX_WIDTH)?,
        kv_lora_rank: fields.required("kv_lora_rank", MAX_WIDTH)?,
        qk_nope_head_dim: fields.required("qk_nope_head_dim", MAX_HEADS)?,
        qk_rope_head_dim: fields.required("qk_rope_head_dim", MAX_HEADS)?,
        v_head_dim: fields.required("v_head_dim", MAX_HEADS)?,
    };
    let dense_ffn = fields.required("intermediate_size", MAX_FFN)?;
    // Two norms of the layer and those of the compressed vectors.
    let mut in_layer = 2 * hidden + latent.q_lora_rank.unwrap_or(0) + latent.kv_lora_rank;
    if fields.flag("attention_bias", false)? {
        let cached = latent.kv_lora_rank + latent.qk_rope_head_dim;
        in_layer += latent.q_lora_rank.unwrap_or(0) + cached + hidden;
    }
    let mut model = Model {
        layers,
        hidden,
        heads,
        kv_heads: 1,
        head_dim: latent.qk_nope_head_dim + latent.qk_rope_head_dim,
        latent: Some(latent),
        ffn: dense_ffn,
        vocab: fields.required("vocab_size", MAX_VOCAB)?,
        tied_embeddings: fields.flag("tie_word_embeddings", false)?,
        max_context: stretched(fields, fields.required("max_position_embeddings", MAX_CONTEXT)?)?,
        other_parameters: layers * in_layer + hidden,
        ..blank()
    };
    if fields.get("n_routed_experts").is_none() {
        return Ok(model);
    }
    (model.experts, model.active_experts) = experts(fields, "n_routed_experts")?;
    model.ffn = fields.required("moe_intermediate_size", MAX_FFN)?;
    model.shared_ffn = fields.count("n_shared_experts", MAX_EXPERTS)? * model.ffn;
    let step = fields.or("moe_layer_freq", MAX_LAYERS, 1)?;
    let first = fields.count("first_k_dense_replace", MAX_LAYERS)?.min(layers);
    let with_experts = (first..layers).filter(|layer| layer.is_multiple_of(step)).count() as u64;
    (model.dense_layers, model.dense_ffn) = (layers - with_experts, dense_ffn);
    if fields.get("topk_method").and_then(Value::as_str) == Some("noaux_tc") {
        // The bias that balances the load of experts.
        model.other_parameters += with_experts * model.experts;
    }
    Ok(model)
}

/// OPT: learned positions, biases everywhere, two feed-forward matrices.
pub(super) fn opt(fields: &Fields) -> Result<Model, ConfigJsonError> {
    let layers = fields.required("num_hidden_layers", MAX_LAYERS)?;
    let hidden = fields.required("hidden_size", MAX_WIDTH)?;
    let heads = fields.required("num_attention_heads", MAX_HEADS)?;
    let ffn = fields.required("ffn_dim", MAX_FFN)?;
    let max_context = fields.required("max_position_embeddings", MAX_CONTEXT)?;
    if !hidden.is_multiple_of(heads) {
        let expected = format!("a divisor of the hidden size, {hidden}");
        return Err(fields.invalid("num_attention_heads", heads, expected));
    }
    let projected = fields.or("word_embed_proj_dim", MAX_WIDTH, hidden)?;
    if projected != hidden {
        let expected = format!("the hidden size, {hidden}: projected embeddings are not modelled");
        return Err(fields.invalid("word_embed_proj_dim", projected, expected));
    }
    let norm = 2 * hidden;
    Ok(Model {
        layers,
        hidden,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        ffn,
        gated_ffn: false,
        vocab: fields.required("vocab_size", MAX_VOCAB)?,
        tied_embeddings: fields.flag("tie_word_embeddings", true)?,
        max_context,
        // The first two rows of the position table are not used.
        other_parameters: (max_context + 2) * hidden + norm + layers * (5 * hidden + ffn + 2 * norm),
        ..blank()
    })
}
