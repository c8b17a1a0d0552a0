"""Decoders with routed experts, named as the published checkpoints name them: one set of tensors an
expert.
"""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    Heads,
    Part,
    Parts,
    attention,
    embedding,
    experts,
    gated_mlp,
    head,
    head_norms,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.dense import PRE_NORMS, decoder, mlp


def mixtral(config: Config) -> Parts:
    """Mixtral: w1 is gate, w2 down, w3 up."""
    size, intermediate = heads(config), config.integer("intermediate_size", low=1)
    count = _expert_count(config)
    return decoder(
        config,
        attention(size),
        under(
            "block_sparse_moe",
            weight("gate", count, size.hidden),
            experts(
                count,
                linear("w1", intermediate, size.hidden),
                linear("w2", size.hidden, intermediate),
                linear("w3", intermediate, size.hidden),
            ),
        ),
        norms(*PRE_NORMS, size=size.hidden),
    )


def qwen2_moe(config: Config) -> Parts:
    """Qwen1.5-MoE and Qwen2-MoE: routed experts, and one shared expert with a gate of its own."""
    size = heads(config)
    shared = under(
        "mlp",
        under(
            "shared_expert",
            gated_mlp(size.hidden, config.integer("shared_expert_intermediate_size", low=1)),
        ),
        weight("shared_expert_gate", 1, size.hidden),
    )
    return _qwen_moe(config, size, attention(size, bias=config.flag("qkv_bias")), shared)


def qwen3_moe(config: Config) -> Parts:
    """Qwen3-MoE: Qwen3's attention, no shared expert."""
    size, bias = heads(config), config.flag("attention_bias")
    projections = attention(size, bias=bias, output_bias=bias)
    return _qwen_moe(config, size, (*projections, *head_norms(size.head_dim)), ())


def _qwen_moe(config: Config, size: Heads, projections: Parts, shared: Parts) -> Parts:
    count, every = layer_count(config), config.integer("decoder_sparse_step", low=1)
    dense = set(config.integer_list("mlp_only_layers") or ())
    sparse = [number for number in range(count) if number not in dense and not (number + 1) % every]
    routed = under("mlp", _routed(config, size.hidden))
    return (
        *embedding(config),
        *layers("model.layers", range(count), projections, norms(*PRE_NORMS, size=size.hidden)),
        *layers("model.layers", sparse, routed, shared),
        *layers("model.layers", sorted(set(range(count)) - set(sparse)), mlp(config)),
        *norm("model.norm", size.hidden),
        *head(config),
    )


def olmoe(config: Config) -> Parts:
    """OLMoE: norms over all queries and all keys at once, experts of ``intermediate_size``."""
    size, bias = heads(config), config.flag("attention_bias")
    count = _expert_count(config)
    return decoder(
        config,
        attention(size, bias=bias, output_bias=bias),
        under(
            "self_attn", norms("q_norm", size=size.query_size), norms("k_norm", size=size.kv_size)
        ),
        under(
            "mlp",
            weight("gate", count, size.hidden),
            experts(count, gated_mlp(size.hidden, config.integer("intermediate_size", low=1))),
        ),
        norms(*PRE_NORMS, size=size.hidden),
    )


def granitemoe(config: Config) -> Parts:
    """Granite MoE: an expert's gate and up are one matrix, and all experts of a layer are one
    tensor.
    """
    size, bias = heads(config), config.flag("attention_bias")
    intermediate, count = config.integer("intermediate_size", low=1), _expert_count(config)
    return decoder(
        config,
        attention(size, bias=bias, output_bias=bias),
        under(
            "block_sparse_moe",
            weight("input_linear", count, 2 * intermediate, size.hidden),
            weight("output_linear", count, size.hidden, intermediate),
            weight("router.layer", count, size.hidden),
        ),
        norms(*PRE_NORMS, size=size.hidden),
    )


def gpt_oss(config: Config) -> Parts:
    """gpt-oss: bias everywhere, a sink logit a head, gate and up interleaved in one tensor for all
    experts.
    """
    size, intermediate = heads(config), config.integer("intermediate_size", low=1)
    count, bias = _expert_count(config), config.flag("attention_bias")
    fused = (
        Part("gate_up_proj", (count, size.hidden, 2 * intermediate), "fused_experts"),
        Part("gate_up_proj_bias", (count, 2 * intermediate)),
        Part("down_proj", (count, intermediate, size.hidden), "fused_experts"),
        Part("down_proj_bias", (count, size.hidden)),
    )
    return decoder(
        config,
        attention(size, bias=bias, output_bias=bias),
        (Part("self_attn.sinks", (size.heads,)),),
        under("mlp", weight("router", count, size.hidden), (Part("router.bias", (count,)),)),
        under("mlp.experts", fused),
        norms(*PRE_NORMS, size=size.hidden),
    )


def deepseek(config: Config) -> Parts | None:
    """DeepSeek-V2 and V3, Kimi K2, Moonlight: latent attention, dense layers first, shared experts.

    The layers for multi-token prediction follow the decoder's own number, as published: V3's is
    layer 61.
    """
    if config.integer_or_none("moe_layer_freq", low=1) not in (None, 1):
        return None
    hidden, count = config.integer("hidden_size", low=1), layer_count(config)
    # Only the file says whether the extra layers were published: the class knows nothing of them.
    extra = (
        config.integer("num_nextn_predict_layers", high=MAX_LAYERS)
        if config.has("num_nextn_predict_layers")
        else 0
    )
    dense = min(config.integer("first_k_dense_replace", high=MAX_LAYERS), count)
    # V3's own code has the bias with noaux_tc only, and transformers' class has it always.
    method = config.text("topk_method")
    corrected = config.model_type != "deepseek_v2" and method in (None, "noaux_tc")
    routed = _routed(config, hidden, bias=corrected)
    shared_size = config.integer("moe_intermediate_size", low=1) * (
        config.integer_or_none("n_shared_experts") or 0
    )
    shared = gated_mlp(hidden, shared_size) if shared_size else ()
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(count + extra),
            _latent_attention(config, hidden),
            norms(*PRE_NORMS, size=hidden),
        ),
        *layers("model.layers", range(dense), mlp(config, bias=config.flag("mlp_bias"))),
        *layers(
            "model.layers",
            range(dense, count + extra),
            under("mlp", routed, under("shared_experts", shared)),
        ),
        *layers("model.layers", range(count, count + extra), _prediction_head(config, hidden)),
        *norm("model.norm", hidden),
        *head(config),
    )


def _prediction_head(config: Config, hidden: int) -> Parts:
    # DeepSeek-V3 README_WEIGHTS.md: an embedding and a head that repeat the main model's.
    return (
        *embedding(config, "embed_tokens"),
        *norms("enorm", "hnorm", size=hidden),
        *weight("eh_proj", hidden, 2 * hidden),
        *norm("shared_head.norm", hidden),
        *embedding(config, "shared_head.head"),
    )


def _latent_attention(config: Config, hidden: int) -> Parts:
    count, bias = config.integer("num_attention_heads", low=1), config.flag("attention_bias")
    rope, rank = config.integer("qk_rope_head_dim", low=1), config.integer("kv_lora_rank", low=1)
    nope, value = config.integer("qk_nope_head_dim"), config.integer("v_head_dim", low=1)
    # V2-Lite writes null: its queries are not compressed.
    query_size, query_rank = count * (nope + rope), config.integer_or_none("q_lora_rank", low=1)
    if query_rank is None:
        query = linear("q_proj", query_size, hidden)
    else:
        query = (
            *linear("q_a_proj", query_rank, hidden, bias=bias),
            *norm("q_a_layernorm", query_rank),
            *linear("q_b_proj", query_size, query_rank),
        )
    return under(
        "self_attn",
        query,
        linear("kv_a_proj_with_mqa", rank + rope, hidden, bias=bias),
        norm("kv_a_layernorm", rank),
        linear("kv_b_proj", count * (nope + value), rank),
        linear("o_proj", hidden, count * value, bias=bias),
    )


def _routed(config: Config, hidden: int, *, bias: bool = False) -> Parts:
    count = _expert_count(config)
    correction = (Part("gate.e_score_correction_bias", (count,), dtype="F32"),)
    return (
        *weight("gate", count, hidden),
        *(correction if bias else ()),
        *experts(count, gated_mlp(hidden, config.integer("moe_intermediate_size", low=1))),
    )


def _expert_count(config: Config) -> int:
    return config.integer("num_experts", low=1, high=MAX_LAYERS)
