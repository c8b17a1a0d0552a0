"""Hybrids of attention with delta nets and short convolutions: Qwen3-Next, Kimi Linear, LFM2."""

from __future__ import annotations

from hfmem.model.config import MAX_LAYERS, Config
from hfmem.model.declared.blocks import (
    W1_W3_W2,
    NotDeclaredError,
    Part,
    Parts,
    attention,
    gated_mlp,
    heads,
    layers,
    linear,
    norm,
    norms,
    under,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.latent import latent_attention
from hfmem.model.declared.mixers import delta_net, kimi_delta, olmo_delta, short_convolution
from hfmem.model.declared.moe import stepped
from hfmem.model.declared.recurrent import recurrent
from hfmem.model.declared.style import (
    Rule,
    Style,
    after,
    expert_count,
    gated,
    hidden,
    routed,
    shared_experts,
)
from hfmem.model.layers import Layer


def _gated_attention(config: Config) -> Parts:
    """Qwen3-Next: the query's projection is twice as wide, its other half a gate."""
    size, bias = heads(config), config.flag("attention_bias")
    return under(
        "self_attn",
        linear("q_proj", 2 * size.query_size, size.hidden, bias=bias),
        linear("k_proj", size.kv_size, size.hidden, bias=bias),
        linear("v_proj", size.kv_size, size.hidden, bias=bias),
        linear("o_proj", size.hidden, size.query_size, bias=bias),
        norms("q_norm", "k_norm", size=size.head_dim),
    )


def _qwen_layer(config: Config, layer: Layer) -> Parts:
    if not recurrent(layer):
        return _gated_attention(config)
    # Qwen3-Next joins in two matrices what Qwen3.5 keeps in four; the sizes are the same.
    return under("linear_attn", delta_net(config, joined=config.model_type == "qwen3_next"))


def _qwen_prediction(config: Config) -> Parts:
    """Qwen3.5's layers for multi-token prediction, where the file says how many."""
    if not config.has("mtp_num_hidden_layers"):
        return ()
    size, count = hidden(config), config.integer("mtp_num_hidden_layers", high=MAX_LAYERS)
    sparse = config.value("num_experts") is not None
    feed_forward = _QWEN_EXPERTS(config) if sparse else gated()(config)
    return under(
        "mtp",
        linear("fc", size, 2 * size),
        norms("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden", size=size),
        layers(
            "layers",
            range(count),
            _gated_attention(config),
            norms("input_layernorm", "post_attention_layernorm", size=size),
            feed_forward,
        ),
    )


_QWEN_EXPERTS: Rule = routed(
    shared=shared_experts(
        None,
        size="shared_expert_intermediate_size",
        name="shared_expert",
        gate="shared_expert_gate",
    )
)


def _lfm2_layer(config: Config, layer: Layer) -> Parts:
    if recurrent(layer):
        return under("conv", short_convolution(config))
    size = heads(config)
    return (
        *attention(size, output="out_proj"),
        *under("self_attn", norms("q_layernorm", "k_layernorm", size=size.head_dim)),
    )


def _lfm2_feed_forward(config: Config) -> Parts:
    """Two thirds of the size that the file says, times a factor, rounded up to a multiple."""
    inner = config.integer_or_none("block_ff_dim", low=1) or config.integer(
        "intermediate_size", low=1
    )
    if config.flag("block_auto_adjust_ff_dim"):
        inner = int(2 * inner / 3)
        factor = config.number("block_ffn_dim_multiplier")
        if factor is not None:
            multiple = config.integer("block_multiple_of", low=1)
            inner = multiple * -(-int(factor * inner) // multiple)
    return under("feed_forward", gated_mlp(hidden(config), inner, names=W1_W3_W2))


def _lfm2_experts(config: Config) -> Parts:
    biased = (Part("feed_forward.expert_bias", (expert_count(config),), dtype="F32"),)
    return (
        *routed(name="feed_forward", names=W1_W3_W2)(config),
        *(biased if config.flag("use_expert_bias") else ()),
    )


def _lightning_layer(config: Config, layer: Layer) -> Parts:
    """MiniMax-Text-01: seven layers of lightning attention to one of softmax."""
    size = heads(config)
    if not recurrent(layer):
        return attention(size)
    return under(
        "self_attn",
        linear("qkv_proj", 3 * size.query_size, size.hidden),
        linear("out_proj", size.hidden, size.query_size),
        linear("output_gate", size.query_size, size.hidden),
        norm("norm", size.query_size),
    )


def _olmo_layer(config: Config, layer: Layer) -> Parts:
    """OLMo Hybrid: norms before the halves of a delta layer, behind those of an attention layer."""
    size, bias = heads(config), config.flag("attention_bias")
    if recurrent(layer):
        names = ("input_layernorm", "post_attention_layernorm")
        return (*under("linear_attn", olmo_delta(config)), *norms(*names, size=size.hidden))
    names = ("post_attention_layernorm", "post_feedforward_layernorm")
    return (
        *attention(size, bias=bias, output_bias=bias),
        *norm("self_attn.q_norm", size.query_size),
        *norm("self_attn.k_norm", size.kv_size),
        *norms(*names, size=size.hidden),
    )


def _kimi_layer(config: Config, layer: Layer) -> Parts:
    if recurrent(layer):
        return under("self_attn", kimi_delta(config))
    return latent_attention(config)


_KIMI = Style(
    by_cache=_kimi_layer,
    routed=routed(
        name="block_sparse_moe",
        names=W1_W3_W2,
        correction="gate.e_score_correction_bias",
        shared=shared_experts(),
    ),
    sparse=after("first_k_dense_replace", 1),
)


def kimi_linear(config: Config) -> Parts:
    """Kimi Linear: three delta layers to one of latent attention; the class never ties the
    head. None for the gates and norms that K3 has and the class does not know."""
    nested = config.section("linear_attn_config") or config
    newer = ("mla_use_output_gate", "latent_moe_use_norm", "routed_expert_hidden_size")
    if any(config.value(key) for key in newer) or nested.value("use_full_rank_gate"):
        raise NotDeclaredError
    return _KIMI(
        config.with_values(
            {
                "tie_word_embeddings": False,
                "n_shared_experts": config.values.get(
                    "n_shared_experts", config.values.get("num_shared_experts", 1)
                ),
            }
        )
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("qwen3_next",),
        classes=("Qwen3NextForCausalLM",),
        parts=Style(by_cache=_qwen_layer, routed=_QWEN_EXPERTS, sparse=stepped),
        source="qwen3_next/modeling_qwen3_next.py, names as published",
    ),
    Family(
        model_types=("qwen3_5_text",),
        classes=("Qwen3_5ForCausalLM",),
        parts=Style(by_cache=_qwen_layer, beside=_qwen_prediction),
        source="qwen3_5/modeling_qwen3_5.py",
    ),
    Family(
        model_types=("qwen3_5_moe_text",),
        classes=("Qwen3_5MoeForCausalLM",),
        parts=Style(by_cache=_qwen_layer, routed=_QWEN_EXPERTS, beside=_qwen_prediction),
        source="qwen3_5_moe/modeling_qwen3_5_moe.py, names as published",
    ),
    Family(
        model_types=("lfm2",),
        classes=("Lfm2ForCausalLM",),
        parts=Style(
            norms=("operator_norm", "ffn_norm"),
            by_cache=_lfm2_layer,
            mlp=_lfm2_feed_forward,
            last_norm="model.embedding_norm",
        ),
        source="lfm2/modeling_lfm2.py",
    ),
    Family(
        model_types=("lfm2_moe",),
        classes=("Lfm2MoeForCausalLM",),
        parts=Style(
            norms=("operator_norm", "ffn_norm"),
            by_cache=_lfm2_layer,
            mlp=gated(name="feed_forward", names=W1_W3_W2),
            routed=_lfm2_experts,
            sparse=after("num_dense_layers"),
            last_norm="model.embedding_norm",
        ),
        source="lfm2_moe/modeling_lfm2_moe.py, names as published",
    ),
    Family(
        model_types=("minimax",),
        classes=("MiniMaxForCausalLM",),
        parts=Style(
            by_cache=_lightning_layer,
            routed=routed(name="block_sparse_moe", size="intermediate_size", names=W1_W3_W2),
        ),
        source="minimax/modeling_minimax.py, names as published",
    ),
    Family(
        model_types=("olmo_hybrid",),
        classes=("OlmoHybridForCausalLM",),
        parts=Style(norms=(), by_cache=_olmo_layer),
        source="olmo_hybrid/modeling_olmo_hybrid.py",
    ),
    Family(
        model_types=("kimi_linear",),
        classes=("KimiLinearForCausalLM",),
        parts=kimi_linear,
        source="kimi_linear/modeling_kimi_linear.py, names as published",
    ),
)
"""Families, one row each."""
