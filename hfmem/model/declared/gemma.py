"""Gemma 3n and 4: embeddings a layer, layers that read another's keys, experts beside an MLP."""

from __future__ import annotations

from hfmem.model.architectures import layers as cache_layers
from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    gated_mlp,
    heads,
    layer_count,
    layers,
    linear,
    norm,
    norms,
    under,
    weight,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import SANDWICH, Style, expert_count, hidden, none
from hfmem.model.layers import FullAttention, Layer, SharedCache, SlidingWindow


def _per_layer(config: Config) -> Parts:
    """What turns a layer's own embedding into a residual; nothing at a size of 0."""
    each = config.integer_or_none("hidden_size_per_layer_input") or 0
    if not each:
        return ()
    size = hidden(config)
    return (
        *linear("per_layer_input_gate", each, size),
        *linear("per_layer_projection", size, each),
        *norm("post_per_layer_input_norm", size),
    )


def _per_layer_embeddings(config: Config) -> Parts:
    each = config.integer_or_none("hidden_size_per_layer_input") or 0
    if not each:
        return ()
    size, width = hidden(config), layer_count(config) * each
    rows = config.integer("vocab_size_per_layer_input", low=1)
    return under(
        "model",
        weight("embed_tokens_per_layer", rows, width),
        linear("per_layer_model_projection", width, size),
        norm("per_layer_projection_norm", each),
    )


def _three_n_layer(config: Config, layer: Layer) -> Parts:
    """Gemma 3n: a layer that reads another's keys has queries alone."""
    size, bias = heads(config), config.flag("attention_bias")
    own = (
        *linear("k_proj", size.kv_size, size.hidden, bias=bias),
        *linear("v_proj", size.kv_size, size.hidden, bias=bias),
        *norm("k_norm", size.head_dim),
    )
    return under(
        "self_attn",
        linear("q_proj", size.query_size, size.hidden, bias=bias),
        linear("o_proj", size.hidden, size.query_size, bias=bias),
        norm("q_norm", size.head_dim),
        () if any(isinstance(kind, SharedCache) for kind in layer) else own,
    )


def _three_n_mlp(config: Config) -> Parts:
    inner = config.value("intermediate_size")
    if isinstance(inner, list | tuple):
        sizes = set(config.integer_list("intermediate_size", low=1) or ())
        if len(sizes) != 1:
            raise NotDeclaredError
        return under("mlp", gated_mlp(hidden(config), sizes.pop()))
    return under("mlp", gated_mlp(hidden(config), config.integer("intermediate_size", low=1)))


def _altup(config: Config) -> Parts:
    """Gemma 3n: alternating updates of several streams, and a learned augmented residual."""
    size, count = hidden(config), config.integer("altup_num_inputs", low=1)
    rank = config.integer("laurel_rank", low=1)
    return (
        *under(
            "altup",
            (Part("correct_output_scale", (size,)),),
            linear("correction_coefs", count, count),
            linear("prediction_coefs", count * count, count),
            linear("modality_router", count, size),
            norm("router_norm", size),
        ),
        *under(
            "laurel",
            linear("linear_left", rank, size),
            linear("linear_right", size, rank),
            norm("post_laurel_norm", size),
        ),
        *_per_layer(config),
    )


def _three_n_beside(config: Config) -> Parts:
    size, others = hidden(config), range(config.integer("altup_num_inputs", low=1) - 1)
    return (
        *_per_layer_embeddings(config),
        *(
            part
            for name in ("altup_projections", "altup_unembed_projections")
            for part in layers(f"model.{name}", others, (Part("weight", (size, size), "linear"),))
        ),
    )


def _four_layer(config: Config, layer: Layer) -> Parts:
    """Gemma 4: global layers have heads of their own, and no values with ``attention_k_eq_v``."""
    shared = next((kind for kind in layer if isinstance(kind, SharedCache)), None)
    source = layer if shared is None else _source(config, shared)
    kind = source[0]
    if not isinstance(kind, FullAttention | SlidingWindow):
        raise NotDeclaredError
    size, bias = hidden(config), config.flag("attention_bias")
    query = config.integer("num_attention_heads", low=1) * kind.head_dim
    kv = kind.kv_heads * kind.head_dim
    alone = config.flag("attention_k_eq_v") and isinstance(kind, FullAttention)
    own = (
        *linear("k_proj", kv, size, bias=bias),
        *(() if alone else linear("v_proj", kv, size, bias=bias)),
        *norm("k_norm", kind.head_dim),
    )
    wide = 2 if shared is not None and config.flag("use_double_wide_mlp") else 1
    inner = wide * config.integer("intermediate_size", low=1)
    return (
        *under(
            "self_attn",
            linear("q_proj", query, size, bias=bias),
            linear("o_proj", size, query, bias=bias),
            norm("q_norm", kind.head_dim),
            own if shared is None else (),
        ),
        *under("mlp", gated_mlp(size, inner)),
    )


def _source(config: Config, shared: SharedCache) -> Layer:
    if shared.of_layer is None:
        raise NotDeclaredError
    return cache_layers(config).layers[shared.of_layer]


def _four_extra(config: Config) -> Parts:
    if not config.flag("enable_moe_block"):
        return _per_layer(config)
    size, count = hidden(config), expert_count(config)
    inner = config.integer("moe_intermediate_size", low=1)
    return (
        *_per_layer(config),
        *linear("router.proj", count, size),
        Part("router.scale", (size,)),
        Part("router.per_expert_scale", (count,)),
        Part("experts.gate_up_proj", (count, 2 * inner, size)),
        Part("experts.down_proj", (count, size, inner)),
        *norms(
            "post_feedforward_layernorm_1",
            "post_feedforward_layernorm_2",
            "pre_feedforward_layernorm_2",
            size=size,
        ),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("gemma3n_text",),
        classes=("Gemma3nForCausalLM",),
        parts=Style(
            norms=SANDWICH,
            by_cache=_three_n_layer,
            mlp=_three_n_mlp,
            extra=_altup,
            beside=_three_n_beside,
        ),
        source="gemma3n/modeling_gemma3n.py",
    ),
    Family(
        model_types=("gemma4_text",),
        classes=("Gemma4ForCausalLM",),
        parts=Style(
            norms=SANDWICH,
            by_cache=_four_layer,
            mlp=none,
            extra=_four_extra,
            beside=_per_layer_embeddings,
        ),
        source="gemma4/modeling_gemma4.py",
    ),
)
"""Families, one row each."""
