"""Models with random weights, and the attention that the engine runs them with."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

#: Shapes of the published models (their `config.json`), and two that no one published: `tiny` for a CPU, and the
#: `host-*` ones that have as many layers as the model they stand for but next to no work for the GPU.
SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
    "llama-3.2-1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "llama-3.2-3b": {
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 28,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
        "tie_word_embeddings": True,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "vocab_size": 512,
        "tie_word_embeddings": True,
    },
}
SHAPES["small"] = SHAPES["tiny"] | {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4}
for _name in list(SHAPES):
    SHAPES[f"host-{_name}"] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": SHAPES[_name]["num_hidden_layers"],
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "vocab_size": 256,
        "tie_word_embeddings": SHAPES[_name]["tie_word_embeddings"],
    }

VARLEN = "paged|torch_varlen"


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths_q: torch.Tensor,
    lengths_k: torch.Tensor,
    max_q: int,
    max_k: int,
    scale: float,
) -> torch.Tensor:
    """Causal attention over sequences laid end to end: the FlashAttention-2 kernel that PyTorch ships, which is what
    `flash_attn_varlen_func` of the flash-attn package calls too. On a CPU, sequence by sequence."""
    if query.is_cuda:
        out: torch.Tensor = torch.ops.aten._flash_attention_forward(
            query, key, value, lengths_q, lengths_k, max_q, max_k, 0.0, True, False, scale=scale
        )[0]
        return out
    parts = []
    bounds_q, bounds_k = lengths_q.tolist(), lengths_k.tolist()
    for start_q, end_q, start_k, end_k in zip(
        bounds_q[:-1], bounds_q[1:], bounds_k[:-1], bounds_k[1:], strict=True
    ):
        new, seen = end_q - start_q, end_k - start_k
        mask = torch.ones(new, seen, dtype=torch.bool, device=query.device).tril(seen - new)
        parts.append(
            scaled_dot_product_attention(
                query[start_q:end_q].transpose(0, 1).unsqueeze(0),
                key[start_k:end_k].transpose(0, 1).unsqueeze(0),
                value[start_k:end_k].transpose(0, 1).unsqueeze(0),
                attn_mask=mask,
                scale=scale,
                enable_gqa=query.shape[1] != key.shape[1],
            )
            .squeeze(0)
            .transpose(0, 1)
        )
    rest = query.shape[0] - bounds_q[-1]
    if rest:
        parts.append(query.new_zeros(rest, *query.shape[1:]))
    return torch.cat(parts)


def paged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    cache: Any,
    cu_seq_lens_q: torch.Tensor,
    cu_seq_lens_k: torch.Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What `transformers.integrations.flash_paged.paged_attention_forward` does where there is no block table: the new
    keys and values go into the paged cache, all that the batch reads is gathered from it, and one call of the kernel
    attends. The kernel is PyTorch's own, as the flash-attn package cannot be presumed."""
    keys, values = cache.update(
        key_states=key,
        value_states=value,
        layer_idx=module.layer_idx,
        read_index=kwargs["read_index"],
        write_index=kwargs["write_index"],
    )
    out = varlen_attention(
        query.transpose(1, 2).squeeze(0).contiguous(),
        keys.contiguous(),
        values.contiguous(),
        cu_seq_lens_q.to(torch.int32),
        cu_seq_lens_k.to(torch.int32).clone(),
        max_seqlen_q,
        max_seqlen_k,
        float(module.scaling),  # type: ignore[arg-type]
    )
    return out.unsqueeze(0), None


AttentionInterface.register(VARLEN, paged_attention)


def config_of(name: str, attention: str) -> LlamaConfig:
    """The configuration of the shape `name`."""
    config = LlamaConfig(
        **SHAPES[name],
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    config._attn_implementation = attention
    return config


def dtype_on(device: str) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32


def build(name: str, device: str, attention: str) -> LlamaForCausalLM:
    """A Llama of the shape `name` with random weights, made on the device."""
    before = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(dtype_on(device))
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config_of(name, attention))
    finally:
        torch.set_default_dtype(before)
    return model.eval()


def loaded(name: str, device: str, weights: dict[str, torch.Tensor]) -> LlamaForCausalLM:
    """A Llama of the shape `name` with these weights, which are on the device already."""
    with torch.device("meta"):
        model = LlamaForCausalLM(config_of(name, VARLEN))
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    # The frequencies of the rotation are no weights.
    rotary = model.model.rotary_emb
    model.model.rotary_emb = type(rotary)(config=model.config).to(device)
    return model.eval()
