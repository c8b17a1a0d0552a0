"""Decoders whose attention differs from layer to layer, or that compress what they attend to."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    W1_W3_W2,
    NotDeclaredError,
    Part,
    Parts,
    attention,
    experts,
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
from hfmem.model.declared.style import (
    PRE_NORMS,
    Style,
    after,
    expert_count,
    gated,
    hidden,
    none,
    routed,
    shared_experts,
    types_or,
)
from hfmem.model.layers import (
    CompressedAttention,
    CrossAttention,
    FullAttention,
    Layer,
    SlidingWindow,
)


def _mllama_layer(config: Config, layer: Layer) -> Parts:
    """Llama 3.2 Vision: some layers attend to the picture alone, behind a gate."""
    size = heads(config)
    if not isinstance(layer[0], CrossAttention):
        return attention(size)
    crossing = tuple(
        part._replace(name=part.name.replace("self_attn.", "cross_attn.", 1))
        for part in attention(size)
    )
    return (
        *crossing,
        *norms("cross_attn.q_norm", "cross_attn.k_norm", size=size.head_dim),
        Part("cross_attn_attn_gate", (1,)),
        Part("cross_attn_mlp_gate", (1,)),
    )


_MLLAMA = Style(by_cache=_mllama_layer)


def mllama(config: Config) -> Parts:
    """The embedding has eight rows more than the head: the picture's tokens are read and never
    said."""
    rows = config.integer("vocab_size", low=1) + 8
    return tuple(
        part._replace(shape=(rows, hidden(config)))
        if part.name == "model.embed_tokens.weight"
        else part
        for part in _MLLAMA(config)
    )


def _mimo_layer(config: Config, layer: Layer) -> Parts:
    """MiMo-V2: sliding layers have twice the key heads and a sink a head."""
    kind = layer[0]
    if not isinstance(kind, FullAttention | SlidingWindow):
        raise NotDeclaredError
    size, bias = heads(config), config.flag("attention_bias")
    slides = isinstance(kind, SlidingWindow)
    return (
        *under(
            "self_attn",
            linear("q_proj", size.heads * kind.head_dim, size.hidden, bias=bias),
            linear("k_proj", kind.kv_heads * kind.head_dim, size.hidden, bias=bias),
            linear("v_proj", kind.kv_heads * kind.v_head_dim, size.hidden, bias=bias),
            linear("o_proj", size.hidden, size.heads * kind.v_head_dim),
        ),
        *((Part("self_attn.sinks", (size.heads,)),) if slides else ()),
    )


def _listed_experts(config: Config) -> Iterable[int]:
    """The layers that ``moe_layer_freq`` marks with 1."""
    marks = config.value("moe_layer_freq")
    if not isinstance(marks, list | tuple):
        return types_or("mlp_layer_types", "sparse", after("", 1))(config)
    listed = config.integer_list("moe_layer_freq") or ()
    return [number for number, mark in enumerate(listed[: layer_count(config)]) if mark]


def _listed_or_all(config: Config) -> Iterable[int]:
    marked = isinstance(config.value("moe_layer_freq"), list | tuple)
    return _listed_experts(config) if marked else after("")(config)


def _m3_layer(config: Config, layer: Layer) -> Parts:
    """MiniMax-M3: sparse layers score the blocks that they attend to."""
    size = heads(config)
    projections = (
        *attention(size),
        *under("self_attn", norms("q_norm", "k_norm", size=size.head_dim)),
    )
    kind = layer[0]
    if not isinstance(kind, FullAttention) or not kind.indexer_dim:
        return projections
    each = kind.indexer_dim
    nested = config.section("sparse_attention_config")
    said = nested.integer_or_none("sparse_num_index_heads", low=1) if nested else None
    count = said or config.integer("index_n_heads", low=1)
    return (
        *projections,
        *under(
            "self_attn.indexer",
            linear("q_proj", count * each, size.hidden),
            linear("k_proj", each, size.hidden),
            norms("q_norm", "k_norm", size=each),
        ),
    )


def _v4_layer(config: Config, layer: Layer) -> Parts:
    """DeepSeek-V4: one key a token, a compressor of its own where the layer compresses, and an
    indexer where it then chooses."""
    kind = layer[0]
    ratio, scores = 0, 0
    if isinstance(kind, CompressedAttention):
        ratio, scores = kind.ratio, kind.indexer_dim
    return (*_v4_attention(config), *(_v4_compressor(config, ratio, scores) if ratio else ()))


def _v4_attention(config: Config) -> Parts:
    size, each = hidden(config), config.integer("head_dim", low=1)
    count, rank = (
        config.integer("num_attention_heads", low=1),
        config.integer("q_lora_rank", low=1),
    )
    groups = config.integer("o_groups", low=1)
    middle = groups * config.integer("o_lora_rank", low=1)
    return under(
        "self_attn",
        (Part("sinks", (count,)),),
        linear("q_a_proj", rank, size),
        norm("q_a_norm", rank),
        linear("q_b_proj", count * each, rank),
        linear("kv_proj", each, size),
        norm("kv_norm", each),
        linear("o_a_proj", middle, count * each // groups),
        linear("o_b_proj", size, middle),
    )


def _v4_compressor(config: Config, ratio: int, scores: int) -> Parts:
    size, each = hidden(config), config.integer("head_dim", low=1)
    wide = 2 * each if scores else each
    parts = (
        *_pooled(size, ratio, wide),
        *norm("kv_norm", each),
    )
    if scores:
        count = config.integer("index_n_heads", low=1)
        rank = config.integer("q_lora_rank", low=1)
        parts += under(
            "indexer",
            _pooled(size, ratio, 2 * scores),
            norm("kv_norm", scores),
            linear("q_b_proj", count * scores, rank),
            linear("scorer.weights_proj", count, size),
        )
    return under("self_attn.compressor", parts)


def _pooled(size: int, ratio: int, wide: int) -> Parts:
    return (
        Part("position_bias", (ratio, wide)),
        *linear("kv_proj", wide, size),
        *linear("gate_proj", wide, size),
    )


def _v4_connections(config: Config) -> Parts:
    """Hyper-connections of ``hc_mult`` streams: a mixing matrix before each half of a layer."""
    streams, size = config.integer("hc_mult", low=1), hidden(config)
    rows = (2 + streams) * streams
    return tuple(
        part
        for name in ("attn_hc", "ffn_hc")
        for part in under(
            name,
            (
                Part("fn", (rows, streams * size)),
                Part("base", (rows,)),
                Part("scale", (3,)),
            ),
        )
    )


def _v4_stream_head(config: Config) -> Parts:
    streams, size = config.integer("hc_mult", low=1), hidden(config)
    return (
        Part("hc_fn", (streams, streams * size)),
        Part("hc_base", (streams,)),
        Part("hc_scale", (1,)),
    )


def _v4_experts(config: Config) -> Parts:
    size, count = hidden(config), expert_count(config)
    inner = config.integer("moe_intermediate_size", low=1)
    shared = config.integer_or_none("n_shared_experts")
    if shared != 1 or config.flag("mlp_bias"):
        raise NotDeclaredError
    return under(
        "mlp",
        weight("gate", count, size),
        experts(count, gated_mlp(size, inner)),
        under("shared_experts", gated_mlp(size, inner)),
    )


def _v4_beside(config: Config) -> Parts:
    """How the first layers route (a table of token ids), the correction of the others, and the
    published layer for multi-token prediction: 25.8 B parameters in V4-Pro."""
    count, number = layer_count(config), expert_count(config)
    hashed = _v4_hashed(config, count)
    table = (
        config.integer("vocab_size", low=1),
        config.integer("num_experts_per_tok", low=1),
    )
    correction = (Part("mlp.gate.e_score_correction_bias", (number,), dtype="F32"),)
    size = hidden(config)
    drafts = 0
    if config.has("num_nextn_predict_layers"):
        drafts = config.integer("num_nextn_predict_layers", high=MAX_LAYERS)
    chosen = [n for n in range(count) if n not in hashed]
    return (
        *under("model.hc_head", _v4_stream_head(config)),
        *layers("model.layers", sorted(hashed), (Part("mlp.gate.tid2eid", table, dtype="I64"),)),
        *layers("model.layers", chosen, correction),
        *layers(
            "mtp",
            range(drafts),
            _v4_attention(config),
            _v4_connections(config),
            norms(*PRE_NORMS, "enorm", "hnorm", "norm", size=size),
            _v4_experts(config),
            correction,
            linear("e_proj", size, size),
            linear("h_proj", size, size),
            under("hc_head", _v4_stream_head(config)),
        ),
    )


def _v4_hashed(config: Config, count: int) -> set[int]:
    types = config.text_list("mlp_layer_types")
    if types is not None:
        return {number for number, kind in enumerate(types[:count]) if kind == "hash_moe"}
    said = config.integer_or_none("num_hash_layers", high=MAX_LAYERS)
    return set(range(min(3 if said is None else said, count)))


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("mllama_text_model",),
        classes=("MllamaForCausalLM",),
        parts=mllama,
        source="mllama/modeling_mllama.py",
    ),
    Family(
        model_types=("mimo_v2_flash",),
        classes=("MiMoV2FlashForCausalLM",),
        parts=Style(
            by_cache=_mimo_layer,
            routed=routed(correction="gate.e_score_correction_bias"),
            sparse=_listed_experts,
        ),
        source="mimo_v2_flash/modeling_mimo_v2_flash.py, names as published",
    ),
    Family(
        model_types=("minimax_m3_vl_text",),
        classes=("MiniMaxM3VLForCausalLM", "MiniMaxM3SparseForCausalLM"),
        parts=Style(
            by_cache=_m3_layer,
            mlp=gated(size="dense_intermediate_size"),
            routed=routed(
                name="block_sparse_moe",
                size="intermediate_size",
                names=W1_W3_W2,
                correction="e_score_correction_bias",
                shared=shared_experts(None, size="shared_intermediate_size"),
            ),
            sparse=_listed_or_all,
        ),
        source="minimax_m3_vl/modeling_minimax_m3_vl.py, names as published",
    ),
    Family(
        model_types=("deepseek_v4",),
        classes=("DeepseekV4ForCausalLM",),
        parts=Style(
            by_cache=_v4_layer,
            extra=_v4_connections,
            mlp=none,
            routed=_v4_experts,
            beside=_v4_beside,
        ),
        source="deepseek_v4/modeling_deepseek_v4.py",
    ),
)
"""Families, one row each."""
