"""Decoders with separate q, k, v projections and a gated MLP, from Llama to Cohere."""

from __future__ import annotations

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    Heads,
    Parts,
    attention,
    embedding,
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

PRE_NORMS = ("input_layernorm", "post_attention_layernorm")
_SANDWICH = (*PRE_NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")


def decoder(config: Config, *groups: Parts) -> Parts:
    """``groups`` once a layer between the token embedding, the last norm and the head."""
    return (
        *embedding(config),
        *layers("model.layers", range(layer_count(config)), *groups),
        *norm("model.norm", config.integer("hidden_size", low=1)),
        *head(config),
    )


def mlp(config: Config, *, bias: bool = False) -> Parts:
    """The gated MLP of a dense layer."""
    return under(
        "mlp",
        gated_mlp(
            config.integer("hidden_size", low=1),
            config.integer("intermediate_size", low=1),
            bias=bias,
        ),
    )


def _usual(config: Config, *groups: Parts, size: Heads, norm_names: tuple[str, ...]) -> Parts:
    return decoder(config, *groups, norms(*norm_names, size=size.hidden))


def llama(config: Config) -> Parts:
    """Llama, Granite, SmolLM3: one flag for the four attention biases, one for the MLP's."""
    size, bias = heads(config), config.flag("attention_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        mlp(config, bias=config.flag("mlp_bias")),
        size=size,
        norm_names=PRE_NORMS,
    )


def mistral(config: Config) -> Parts:
    """Mistral: no bias anywhere, whatever the configuration says."""
    size = heads(config)
    return _usual(config, attention(size), mlp(config), size=size, norm_names=PRE_NORMS)


def qwen2(config: Config) -> Parts:
    """Qwen2 and Qwen2.5: bias on q, k and v, always."""
    size = heads(config)
    return _usual(config, attention(size, bias=True), mlp(config), size=size, norm_names=PRE_NORMS)


def qwen3(config: Config) -> Parts:
    """Qwen3: norms over each head's queries and keys."""
    size, bias = heads(config), config.flag("attention_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        head_norms(size.head_dim),
        mlp(config),
        size=size,
        norm_names=PRE_NORMS,
    )


def gemma(config: Config) -> Parts:
    """Gemma: Llama's tensors without an MLP bias."""
    size, bias = heads(config), config.flag("attention_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        mlp(config),
        size=size,
        norm_names=PRE_NORMS,
    )


def gemma2(config: Config) -> Parts:
    """Gemma 2: a norm before and after both halves of a layer."""
    size, bias = heads(config), config.flag("attention_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        mlp(config),
        size=size,
        norm_names=_SANDWICH,
    )


def gemma3_text(config: Config) -> Parts:
    """Gemma 3: Gemma 2 with norms over each head's queries and keys."""
    size, bias = heads(config), config.flag("attention_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        head_norms(size.head_dim),
        mlp(config),
        size=size,
        norm_names=_SANDWICH,
    )


def phi3(config: Config) -> Parts:
    """Phi-3: q, k, v in one projection, gate and up in another."""
    size, intermediate = heads(config), config.integer("intermediate_size", low=1)
    return _usual(
        config,
        under(
            "self_attn",
            linear("qkv_proj", size.query_size + 2 * size.kv_size, size.hidden),
            linear("o_proj", size.hidden, size.query_size),
        ),
        _fused_mlp(size.hidden, intermediate),
        size=size,
        norm_names=PRE_NORMS,
    )


def seed_oss(config: Config) -> Parts:
    """Seed-OSS: the output projection's bias has a flag of its own."""
    size = heads(config)
    return _usual(
        config,
        attention(
            size,
            bias=config.flag("attention_bias"),
            output_bias=config.flag("attention_out_bias"),
        ),
        mlp(config, bias=config.flag("mlp_bias")),
        size=size,
        norm_names=PRE_NORMS,
    )


def ernie4_5(config: Config) -> Parts:
    """ERNIE 4.5: one flag for every bias."""
    size, bias = heads(config), config.flag("use_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        mlp(config, bias=bias),
        size=size,
        norm_names=PRE_NORMS,
    )


def glm4(config: Config) -> Parts:
    """GLM-4: gate and up in one projection, a norm before and after both halves of a layer."""
    size, intermediate = heads(config), config.integer("intermediate_size", low=1)
    return _usual(
        config,
        attention(size, bias=config.flag("attention_bias")),
        _fused_mlp(size.hidden, intermediate),
        size=size,
        norm_names=(*PRE_NORMS, "post_self_attn_layernorm", "post_mlp_layernorm"),
    )


def _fused_mlp(hidden: int, intermediate: int) -> Parts:
    return under(
        "mlp",
        linear("gate_up_proj", 2 * intermediate, hidden),
        linear("down_proj", hidden, intermediate),
    )


def olmo2(config: Config) -> Parts:
    """OLMo 2 and 3: norms after each half, and over all queries and all keys at once."""
    size, bias = heads(config), config.flag("attention_bias")
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        under(
            "self_attn", norms("q_norm", size=size.query_size), norms("k_norm", size=size.kv_size)
        ),
        mlp(config),
        size=size,
        norm_names=("post_attention_layernorm", "post_feedforward_layernorm"),
    )


def cohere(config: Config) -> Parts:
    """Command R: one norm a layer; Command R+ has q and k norms of [heads, head_dim] as well."""
    size, bias = heads(config), config.flag("attention_bias")
    per_head: Parts = ()
    if config.flag("use_qk_norm"):
        per_head = under(
            "self_attn",
            weight("q_norm", size.heads, size.head_dim),
            weight("k_norm", size.kv_heads, size.head_dim),
        )
    return _usual(
        config,
        attention(size, bias=bias, output_bias=bias),
        per_head,
        mlp(config),
        size=size,
        norm_names=("input_layernorm",),
    )


def stablelm(config: Config) -> Parts | None:
    """StableLM 2: LayerNorms with a shift; None where each head has its own norm."""
    if config.flag("qk_layernorm"):
        return None
    size = heads(config)
    names = PRE_NORMS[:1] if config.flag("use_parallel_residual") else PRE_NORMS
    return (
        *embedding(config),
        *layers(
            "model.layers",
            range(layer_count(config)),
            attention(size, bias=config.flag("use_qkv_bias")),
            mlp(config),
            norms(*names, size=size.hidden, bias=True),
        ),
        *norm("model.norm", size.hidden, bias=True),
        *head(config),
    )
