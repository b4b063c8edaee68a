//! BERT and its kin: embedding models and cross-encoders.

use serde_json::Value;

use super::ConfigJsonError;
use super::decoder::blank;
use super::fields::{Fields, MAX_CONTEXT, MAX_FFN, MAX_HEADS, MAX_LAYERS, MAX_VOCAB, MAX_WIDTH};
use crate::hardware::catalogue::model::{Model, ModelKind};

/// `BertModel`, `RobertaModel`, `XLMRobertaModel` with a pooler, and their `ForSequenceClassification`.
pub(super) fn bert(fields: &Fields) -> Result<Model, ConfigJsonError> {
    let hidden = fields.required("hidden_size", MAX_WIDTH)?;
    let layers = fields.required("num_hidden_layers", MAX_LAYERS)?;
    let ffn = fields.required("intermediate_size", MAX_FFN)?;
    let positions = fields.required("max_position_embeddings", MAX_CONTEXT)?;
    let types = fields.or("type_vocab_size", MAX_WIDTH, 2)?;
    // RoBERTa's positions start behind the padding index, 1.
    let unused = if fields.architecture == "bert" { 0 } else { 2 };
    let norm = 2 * hidden;
    let biases = 5 * hidden + ffn;
    let other = (positions + types) * hidden + norm + layers * (biases + 2 * norm) + head(fields, hidden)?;
    Ok(Model {
        max_context: positions.saturating_sub(unused).max(1),
        ffn,
        gated_ffn: false,
        other_parameters: other,
        ..encoder(fields, layers, hidden, "num_attention_heads")?
    })
}

/// What follows the last layer: a pooler, and for a classifier its output for each label. RoBERTa's
/// classifier has a dense layer in place of the pooler.
fn head(fields: &Fields, hidden: u64) -> Result<u64, ConfigJsonError> {
    let dense = hidden * hidden + hidden;
    let classifies = fields.get("architectures").and_then(Value::as_array).is_some_and(|names| {
        names.iter().filter_map(Value::as_str).any(|name| name.ends_with("ForSequenceClassification"))
    });
    if !classifies {
        return Ok(dense);
    }
    let named = fields.get("id2label").and_then(Value::as_object).map(|labels| labels.len() as u64);
    let labels = match named {
        Some(labels) => labels,
        None => fields.or("num_labels", MAX_VOCAB, 2)?,
    };
    Ok(dense + labels * (hidden + 1))
}

/// `NomicBertModel`: rotary positions, gated feed-forward parts, no pooler.
pub(super) fn nomic(fields: &Fields) -> Result<Model, ConfigJsonError> {
    if let Some(experts) = fields.optional("num_experts", MAX_WIDTH)? {
        return Err(fields.invalid("num_experts", experts, "a nomic_bert model without experts"));
    }
    let hidden = fields.required("n_embd", MAX_WIDTH)?;
    let layers = fields.required("n_layer", MAX_LAYERS)?;
    let ffn = fields.optional("n_inner", MAX_FFN)?.unwrap_or(4 * hidden);
    let positions = fields.required("n_positions", MAX_CONTEXT)?;
    let types = fields.count("type_vocab_size", MAX_WIDTH)?;
    let rotary = fields.get("rotary_emb_fraction").and_then(Value::as_f64).is_some_and(|share| share > 0.0);
    let activation = fields.get("activation_function").and_then(Value::as_str).unwrap_or("gelu");
    let gated_ffn = activation.ends_with("glu");
    let bias = |key, count| Ok(if fields.flag(key, true)? { count } else { 0 });
    let inner = if gated_ffn { 2 * ffn } else { ffn };
    let biases =
        bias("qkv_proj_bias", 4 * hidden)? + bias("mlp_fc1_bias", inner)? + bias("mlp_fc2_bias", hidden)?;
    let norm = 2 * hidden;
    let table = if rotary { 0 } else { positions * hidden };
    Ok(Model {
        max_context: positions,
        ffn,
        gated_ffn,
        other_parameters: table + types * hidden + norm + layers * (biases + 2 * norm),
        ..encoder(fields, layers, hidden, "n_head")?
    })
}

fn encoder(fields: &Fields, layers: u64, hidden: u64, heads_key: &str) -> Result<Model, ConfigJsonError> {
    let heads = fields.required(heads_key, MAX_HEADS)?;
    if !hidden.is_multiple_of(heads) {
        return Err(fields.invalid(heads_key, heads, format!("a divisor of the hidden size, {hidden}")));
    }
    Ok(Model {
        kind: ModelKind::Encoder,
        layers,
        hidden,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        vocab: fields.required("vocab_size", MAX_VOCAB)?,
        ..blank()
    })
}
