//! The shape of a transformer: what its layers hold, compute and cache.

use super::super::Placement;
use super::super::precision::Precision;

/// What a transformer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelKind {
    /// Generates text, token by token, and keeps a KV cache.
    Decoder,
    /// Turns a text into a vector or a score in one pass: embedding models, cross-encoders.
    Encoder,
}

/// A transformer. All its matrices are taken to be split evenly over GPUs.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Name in scenarios, such as `llama-3.1-8b`, or the path of its `config.json`.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// What it is for.
    pub kind: ModelKind,
    /// Transformer layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Attention (query) heads.
    pub heads: u64,
    /// Key-value heads; with [`Model::latent`] attention 1, as all heads share one latent vector.
    pub kv_heads: u64,
    /// Width of a query and a key of one head; not always `hidden / heads`.
    pub head_dim: u64,
    /// Keys and values compressed into one vector (multi-head latent attention, MLA), if they are.
    pub latent: Option<Latent>,
    /// Inner width of the feed-forward part, of one expert where there are several.
    pub ffn: u64,
    /// Experts that tokens are routed to in a layer; 1 in a dense model.
    pub experts: u64,
    /// Experts that each token is routed to.
    pub active_experts: u64,
    /// Inner width of the experts that every token goes through, together.
    pub shared_ffn: u64,
    /// Layers that have one feed-forward part of width `dense_ffn` in place of experts; 0 in a dense
    /// model, whose width is `ffn`.
    pub dense_layers: u64,
    /// Inner width of the feed-forward part of the `dense_layers`.
    pub dense_ffn: u64,
    /// Whether feed-forward parts have three matrices (gate, up, down), not two.
    pub gated_ffn: bool,
    /// Vocabulary size.
    pub vocab: u64,
    /// Whether the output layer is the input embedding.
    pub tied_embeddings: bool,
    /// Longest context in tokens.
    pub max_context: u64,
    /// Layers that look back over a window only, if any do.
    pub sliding: Option<Sliding>,
    /// Parameters outside the matrices above: norms, biases, position tables, an encoder's head.
    pub other_parameters: u64,
    /// Number format that the published weights are served in: that of their `quantization_config`,
    /// otherwise of their `dtype`. None where `quantization_config` names a format that is not modelled.
    pub precision: Option<Precision>,
    /// Where the figures are from.
    pub source: String,
}

/// Multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", arXiv 2405.04434): a layer caches one
/// vector of `kv_lora_rank + qk_rope_head_dim` values for a token, whatever the number of heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// Width that queries are compressed to, if they are.
    pub q_lora_rank: Option<u64>,
    /// Width that keys and values are compressed to.
    pub kv_lora_rank: u64,
    /// Part of a head's query and key without positions.
    pub qk_nope_head_dim: u64,
    /// Part of a head's query and key with rotary positions; that of the key is shared by all heads.
    pub qk_rope_head_dim: u64,
    /// Width of a head's value.
    pub v_head_dim: u64,
}

/// Sliding-window attention: a token sees itself and the `window - 1` before it (`sliding_window` in
/// `config.json`). Keys and values are kept of the whole context, as vLLM does with
/// `disable_hybrid_kv_cache_manager`: an upper bound beyond the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sliding {
    /// Tokens of the window.
    pub window: u64,
    /// Layers that have it.
    pub layers: u64,
}

impl Model {
    /// A pipeline of `stages` stages, by their layers: as many on each, of those left over one on each before the last
    /// (`get_pp_indices` in `vllm/distributed/utils.py`, 0.14.0). The last has the output layer; the embedding of the
    /// first, which is only looked up in, is in none.
    pub fn pipeline(&self, stages: u64) -> Vec<Self> {
        let (each, left) = (self.layers / stages, self.layers % stages);
        let mut first = 0;
        let share = |count: u64, layers: u64| (count * layers).div_ceil(self.layers);
        // A layer that sees all of the context ends each group of layers with a window, in Gemma 2 and 3.
        let windowed =
            |sliding: Sliding, until: u64| until - (self.layers - sliding.layers) * until / self.layers;
        (0..stages)
            .map(|stage| {
                let is_last = stage + 1 == stages;
                let layers = each + u64::from(stage + 1 + left >= stages && !is_last);
                let dense_layers = self.dense_layers.clamp(first, first + layers) - first;
                let behind = first;
                first += layers;
                Self {
                    layers,
                    dense_layers,
                    sliding: self
                        .sliding
                        .map(|sliding| (windowed(sliding, first) - windowed(sliding, behind), sliding))
                        .map(|(layers, sliding)| Sliding { layers, ..sliding }),
                    vocab: if is_last { self.vocab } else { 0 },
                    // It needs its own copy of a table that is both.
                    tied_embeddings: true,
                    other_parameters: share(self.other_parameters, layers),
                    ..self.clone()
                }
            })
            .collect()
    }

    /// What EAGLE drafts with (Li et al., "EAGLE: Speculative Sampling Requires Rethinking Feature Uncertainty",
    /// ICML 2024): one layer like this model's, dense, and a matrix that joins a feature with an embedding; embedding
    /// and output layer are the model's own.
    pub fn head_layer(&self) -> Self {
        let dense = self.experts == 1 || self.dense_ffn == 0;
        Self {
            layers: 1,
            experts: 1,
            active_experts: 1,
            shared_ffn: 0,
            dense_layers: 0,
            ffn: if dense { self.widest_ffn() } else { self.dense_ffn },
            sliding: None,
            tied_embeddings: true,
            other_parameters: 2 * self.hidden * self.hidden,
            ..self.clone()
        }
    }

    /// The shares of the layers that see all of the context and that look back over a window.
    pub(in crate::hardware) fn layer_shares(&self) -> (f64, f64) {
        let windowed = self.sliding.map_or(0, |sliding| sliding.layers) as f64 / self.layers as f64;
        (1.0 - windowed, windowed)
    }

    /// Parameters of one embedding table.
    pub fn embedding_parameters(&self) -> u64 {
        self.vocab * self.hidden
    }

    /// Parameters of the output layer over the vocabulary; none in an encoder.
    pub fn output_parameters(&self) -> u64 {
        match self.kind {
            ModelKind::Decoder => self.embedding_parameters(),
            ModelKind::Encoder => 0,
        }
    }

    /// Query, key and value values that a layer computes for one token; of the latter two with latent
    /// attention those that it caches.
    pub fn qkv_width(&self) -> u64 {
        self.heads * self.head_dim + self.cached_width(1)
    }

    /// Parameters of the experts of all layers (of the feed-forward parts, where there is one expert).
    pub fn expert_parameters(&self) -> u64 {
        (self.layers - self.dense_layers) * self.experts * self.feed_forward(self.ffn)
    }

    /// Parameters of the matrices in all layers, without embeddings and output layer.
    pub fn layer_parameters(&self) -> u64 {
        self.beside_experts() + self.expert_parameters()
    }

    /// Parameters of the matrices in all layers that one token is multiplied with.
    pub fn active_layer_parameters(&self) -> u64 {
        self.beside_experts() + self.active_expert_parameters()
    }

    /// Those of them in the experts that a token is routed to.
    pub fn active_expert_parameters(&self) -> u64 {
        (self.layers - self.dense_layers) * self.active_experts * self.feed_forward(self.ffn)
    }

    /// All parameters: layers, input embedding and, unless tied to it, the output layer.
    pub fn parameters(&self) -> u64 {
        self.layer_parameters() + self.table_parameters() + self.other_parameters
    }

    /// Bytes of all weights. Quantized checkpoints leave all but the layers' matrices in 16 bits.
    pub fn weight_bytes(&self, precision: Precision) -> u64 {
        self.matrix_bytes(precision)
            + precision.embedding_bytes(self.table_parameters() + self.other_parameters)
    }

    /// Bytes of the weights on each GPU: the experts are shared out over all, the rest is split over those of
    /// tensor parallelism.
    pub fn weight_bytes_on_gpu(&self, precision: Precision, placement: Placement) -> u64 {
        let experts = if self.experts > 1 { self.expert_bytes(precision) } else { 0 };
        let rest = self.weight_bytes(precision).saturating_sub(experts);
        rest.div_ceil(placement.tensor_parallel) + experts.div_ceil(placement.gpus())
    }

    /// Bytes of the weights that a forward pass over many tokens reads: all but the input embedding where it
    /// is not the output layer, too: of that only single rows are looked up.
    pub fn streamed_weight_bytes(&self, precision: Precision) -> u64 {
        self.matrix_bytes(precision)
            + precision.embedding_bytes(self.output_parameters() + self.other_parameters)
    }

    /// Bytes of the matrices in all layers.
    fn matrix_bytes(&self, precision: Precision) -> u64 {
        precision.weight_bytes(self.beside_experts()) + self.expert_bytes(precision)
    }

    /// Bytes of the experts of all layers (of the feed-forward parts, where there is one expert).
    pub fn expert_bytes(&self, precision: Precision) -> u64 {
        match self.experts {
            1 => precision.weight_bytes(self.expert_parameters()),
            _ => precision.expert_bytes(self.expert_parameters()),
        }
    }

    /// Bytes of keys and values that one token of context takes on each of `tensor_parallel` GPUs;
    /// none for a precision that no KV cache is kept in. Heads fewer than GPUs are replicated, and so
    /// is a latent vector.
    pub fn kv_bytes_per_token(&self, precision: Precision, tensor_parallel: u64) -> Option<u64> {
        let values = match self.kind {
            ModelKind::Decoder => self.layers * self.cached_width(tensor_parallel),
            ModelKind::Encoder => 0,
        };
        Some(values * precision.kv_bytes()?)
    }

    /// Values that are kept of a token by one layer on each of `tensor_parallel` GPUs.
    fn cached_width(&self, tensor_parallel: u64) -> u64 {
        match &self.latent {
            Some(latent) => latent.kv_lora_rank + latent.qk_rope_head_dim,
            None => 2 * self.kv_heads.div_ceil(tensor_parallel) * self.head_dim,
        }
    }

    /// FLOP of a layer's prefill attention for each query and key: the product of the two and the
    /// weighting of the value.
    pub fn prefill_pair_flops(&self) -> u64 {
        let value = self.latent.map_or(self.head_dim, |latent| latent.v_head_dim);
        2 * self.heads * (self.head_dim + value)
    }

    /// FLOP of a layer's decode attention for each token of context. Latent attention works on the
    /// compressed vectors: the heads' matrices are multiplied into the query and the result instead.
    pub fn decode_pair_flops(&self) -> u64 {
        match &self.latent {
            Some(latent) => 2 * self.heads * (2 * latent.kv_lora_rank + latent.qk_rope_head_dim),
            None => self.prefill_pair_flops(),
        }
    }

    /// Inner values of the feed-forward parts that one token goes through, over all layers.
    pub fn ffn_values(&self) -> u64 {
        let routed = self.active_experts * self.ffn + self.shared_ffn;
        (self.layers - self.dense_layers) * routed + self.dense_layers * self.dense_ffn
    }

    /// Inner values of the widest feed-forward part that one token goes through.
    pub fn widest_ffn(&self) -> u64 {
        (self.active_experts * self.ffn + self.shared_ffn).max(self.dense_ffn)
    }

    fn table_parameters(&self) -> u64 {
        let tables = if self.kind == ModelKind::Encoder || self.tied_embeddings { 1 } else { 2 };
        tables * self.embedding_parameters()
    }

    /// Parameters of the layers' matrices but for the routed experts.
    pub(in crate::hardware) fn beside_experts(&self) -> u64 {
        let gate = if self.experts > 1 { self.hidden * self.experts } else { 0 };
        self.layers * self.attention()
            + (self.layers - self.dense_layers) * (gate + self.feed_forward(self.shared_ffn))
            + self.dense_layers * self.feed_forward(self.dense_ffn)
    }

    fn attention(&self) -> u64 {
        match &self.latent {
            None => self.hidden * self.qkv_width() + self.heads * self.head_dim * self.hidden,
            Some(latent) => {
                let queries = self.heads * self.head_dim;
                let query =
                    latent.q_lora_rank.map_or(self.hidden * queries, |rank| rank * (self.hidden + queries));
                let keys_values = self.heads * (latent.qk_nope_head_dim + latent.v_head_dim);
                query
                    + self.hidden * self.cached_width(1)
                    + latent.kv_lora_rank * keys_values
                    + self.heads * latent.v_head_dim * self.hidden
            }
        }
    }

    fn feed_forward(&self, width: u64) -> u64 {
        let matrices = if self.gated_ffn { 3 } else { 2 };
        matrices * self.hidden * width
    }
}
