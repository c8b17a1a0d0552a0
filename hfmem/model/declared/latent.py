"""Decoders with multi-head latent attention: DeepSeek-V2 and V3, and those built like them."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import Parts, layer_count, layers, linear, norm, under, weight
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import (
    Style,
    after,
    gated,
    hidden,
    lean_prediction_layer,
    prediction_layer,
    routed,
    shared_experts,
)

_CORRECTION = "gate.e_score_correction_bias"
_SHARED = shared_experts()
_BIASED = shared_experts(bias="mlp_bias")


def latent_attention(config: Config) -> Parts:
    """Queries and keys through a low rank; V2-Lite writes a null rank: its queries are not
    compressed."""
    size = hidden(config)
    count, bias = config.integer("num_attention_heads", low=1), config.flag("attention_bias")
    rope, rank = config.integer("qk_rope_head_dim", low=1), config.integer("kv_lora_rank", low=1)
    nope, value = config.integer("qk_nope_head_dim"), config.integer("v_head_dim", low=1)
    query_size, query_rank = count * (nope + rope), config.integer_or_none("q_lora_rank", low=1)
    if query_rank is None:
        query = linear("q_proj", query_size, size)
    else:
        query = (
            *linear("q_a_proj", query_rank, size, bias=bias),
            *norm("q_a_layernorm", query_rank),
            *linear("q_b_proj", query_size, query_rank),
        )
    return under(
        "self_attn",
        query,
        linear("kv_a_proj_with_mqa", rank + rope, size, bias=bias),
        norm("kv_a_layernorm", rank),
        linear("kv_b_proj", count * (nope + value), rank),
        linear("o_proj", size, count * value, bias=bias),
    )


def _divided_attention(config: Config) -> Parts:
    """MiniCPM3 leaves ``v_head_dim`` out: its values are as wide as hidden / heads."""
    if config.value("v_head_dim") is None:
        count = config.integer("num_attention_heads", low=1)
        config = config.with_values({"v_head_dim": hidden(config) // count})
    return latent_attention(config)


def indexer(config: Config) -> Parts:
    """DeepSeek sparse attention: what scores the tokens that a query attends to."""
    count, each = config.integer("index_n_heads", low=1), config.integer("index_head_dim", low=1)
    return under(
        "self_attn.indexer",
        linear("wq_b", count * each, config.integer("q_lora_rank", low=1)),
        linear("wk", each, hidden(config)),
        norm("k_norm", each, bias=True),
        weight("weights_proj", count, hidden(config)),
    )


def _indexed(config: Config) -> Parts:
    return (*latent_attention(config), *indexer(config))


def _own_indexers(config: Config) -> Parts:
    """GLM-5.2: only layers of the type ``full`` score; the others read the scores of the one
    before. The layers for multi-token prediction have their own."""
    return layers("model.layers", scoring(config), indexer(config))


def scoring(config: Config) -> Iterable[int]:
    """The layers with an indexer of their own, drafts included."""
    count = layer_count(config)
    extra = config.integer_or_none("num_nextn_predict_layers", high=MAX_LAYERS) or 0
    drafts = range(count, count + (extra if config.has("num_nextn_predict_layers") else 0))
    types = config.text_list("indexer_types")
    if types is None:
        return range(drafts.stop)
    return [*(n for n, kind in enumerate(types[:count]) if kind == "full"), *drafts]


def _moe(*, correction: str | None = _CORRECTION, first: int = 0) -> Style:
    return Style(
        attention=latent_attention,
        routed=routed(correction=correction, shared=_SHARED),
        sparse=after("first_k_dense_replace", first),
        draft=prediction_layer,
    )


def deepseek(config: Config) -> Parts | None:
    """DeepSeek-V2 and V3, Kimi K2, Moonlight: dense layers first, shared experts.

    The layers for multi-token prediction follow the decoder's own number, as published: V3's is
    layer 61.
    """
    if config.integer_or_none("moe_layer_freq", low=1) not in (None, 1):
        return None
    v2 = config.model_type == "deepseek_v2"
    # V3's own code has the bias with noaux_tc only, and transformers' class has it always.
    corrected = not v2 and config.text("topk_method") in (None, "noaux_tc")
    correction = _CORRECTION if corrected else None
    return Style(
        attention=latent_attention,
        mlp=gated(bias="mlp_bias" if v2 else False),
        routed=routed(correction=correction, shared=_BIASED if v2 else _SHARED),
        sparse=after("first_k_dense_replace"),
        draft=prediction_layer,
    )(config)


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("deepseek_v2", "deepseek_v3", "kimi_k2"),
        classes=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
        parts=deepseek,
        source="deepseek_v3/modeling_deepseek_v3.py, names as published (README_WEIGHTS.md)",
        scheme="fp8",
    ),
    Family(
        model_types=("deepseek_v32",),
        classes=("DeepseekV32ForCausalLM",),
        parts=Style(
            attention=_indexed,
            routed=routed(correction=_CORRECTION, shared=_SHARED),
            sparse=after("first_k_dense_replace"),
            draft=prediction_layer,
        ),
        source="deepseek_v32/modeling_deepseek_v32.py, names as published",
    ),
    Family(
        model_types=("glm_moe_dsa",),
        classes=("GlmMoeDsaForCausalLM",),
        parts=Style(
            attention=latent_attention,
            beside=_own_indexers,
            routed=routed(correction=_CORRECTION, shared=_SHARED),
            sparse=after("first_k_dense_replace"),
            draft=lean_prediction_layer,
        ),
        source="glm_moe_dsa/modeling_glm_moe_dsa.py, names as published",
    ),
    Family(
        model_types=("glm4_moe_lite",),
        classes=("Glm4MoeLiteForCausalLM",),
        parts=_moe(first=1),
        source="glm4_moe_lite/modeling_glm4_moe_lite.py, names as published",
    ),
    Family(
        model_types=("mistral4",),
        classes=("Mistral4ForCausalLM",),
        parts=_moe(),
        source="mistral4/modeling_mistral4.py, names as published",
    ),
    Family(
        model_types=("minicpm3", "youtu"),
        classes=("MiniCPM3ForCausalLM", "YoutuForCausalLM"),
        parts=Style(attention=_divided_attention, mlp=gated(bias="mlp_bias")),
        source="minicpm3/modeling_minicpm3.py, youtu/modeling_youtu.py",
    ),
)
"""Families, one row each."""
