"""Decoders with routed experts in a shape of their own: one tensor for all of a layer, other
routers."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    embedding,
    gated_mlp,
    head,
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
    routed,
    shared_experts,
    sinks,
)


def _ernie_layers(config: Config) -> Iterable[int]:
    count = layer_count(config)
    first = config.integer("moe_layer_start_index")
    every = config.integer("moe_layer_interval", low=1)
    last = config.value("moe_layer_end_index")
    stop = count - 1 if last in (None, -1) else config.integer("moe_layer_end_index")
    return [n for n in range(count) if not (n + 1) % every and first <= n <= stop]


def _granite_experts(config: Config) -> Parts:
    """An expert's gate and up are one matrix, and all experts of a layer are one tensor."""
    inner, count, outer = config.integer("intermediate_size", low=1), expert_count(config), hidden
    return under(
        "block_sparse_moe",
        weight("input_linear", count, 2 * inner, outer(config)),
        weight("output_linear", count, outer(config), inner),
        weight("router.layer", count, outer(config)),
    )


def shared_granite(config: Config) -> Parts:
    """Granite's shared MLP beside the experts, gate and up in one matrix; nothing at 0."""
    inner = config.integer_or_none("shared_intermediate_size") or 0
    if not inner:
        return ()
    return under(
        "shared_mlp",
        weight("input_linear", 2 * inner, hidden(config)),
        weight("output_linear", hidden(config), inner),
    )


def granite_moe(config: Config) -> Parts:
    """Granite's routed experts and its shared MLP."""
    return (*_granite_experts(config), *shared_granite(config))


def _gpt_oss_experts(config: Config) -> Parts:
    size, inner = hidden(config), config.integer("intermediate_size", low=1)
    count = expert_count(config)
    fused = (
        Part("gate_up_proj", (count, size, 2 * inner), "fused_experts"),
        Part("gate_up_proj_bias", (count, 2 * inner)),
        Part("down_proj", (count, inner, size), "fused_experts"),
        Part("down_proj_bias", (count, size)),
    )
    router = (*weight("router", count, size), Part("router.bias", (count,)))
    return (*under("mlp", router), *under("mlp.experts", fused))


def _afmoe_gate(config: Config) -> Parts:
    size = heads(config)
    return weight("self_attn.gate_proj", size.query_size, size.hidden)


def _afmoe_experts(config: Config) -> Parts:
    return (
        *routed(gate="router.gate", shared=shared_experts("num_shared_experts"))(config),
        Part("mlp.expert_bias", (expert_count(config),), dtype="F32"),
    )


def _ernie_experts(config: Config) -> Parts:
    """The router's bias is a parameter of the class here."""
    if config.flag("use_bias"):
        raise NotDeclaredError
    shared = shared_experts("moe_num_shared_experts")
    return (
        *routed(shared=shared)(config),
        Part("mlp.moe_statics.e_score_correction_bias", (1, expert_count(config)), dtype="F32"),
    )


def _dbrx(config: Config) -> Parts:
    """DBRX: sizes in two sections, experts one below the other in three tensors."""
    attention, ffn = config.section("attn_config"), config.section("ffn_config")
    if attention is None or ffn is None:
        raise NotDeclaredError
    size, count = hidden(config), layer_count(config)
    head_dim = size // config.integer("n_heads", low=1)
    kv = attention.integer("kv_n_heads", low=1) * head_dim
    inner = ffn.integer("ffn_hidden_size", low=1)
    number = ffn.integer("num_experts", low=1)
    return _dbrx_parts(config, count, size=size, kv=kv, inner=inner, number=number)


def _dbrx_parts(
    config: Config, count: int, *, size: int, kv: int, inner: int, number: int
) -> Parts:
    return (
        *embedding(config, "transformer.wte"),
        *layers(
            "transformer.blocks",
            range(count),
            under(
                "norm_attn_norm",
                linear("attn.Wqkv", size + 2 * kv, size),
                linear("attn.out_proj", size, size),
                norms("norm_1", "norm_2", size=size),
            ),
            weight("ffn.router.layer", number, size),
            under(
                "ffn.experts.mlp",
                tuple(Part(name, (number * inner, size)) for name in ("w1", "v1", "w2")),
            ),
        ),
        *norm("transformer.norm_f", size),
        *head(config),
    )


def _llama4_sparse(config: Config) -> Iterable[int]:
    listed = config.integer_list("moe_layers")
    if listed is not None:
        return sorted(set(listed) & set(range(layer_count(config))))
    step = config.integer("interleave_moe_layer_step", low=1)
    return range(step - 1, layer_count(config), step)


def _llama4_experts(config: Config) -> Parts:
    """Llama 4: all experts of a layer in two tensors of [experts, in, out]."""
    size, count = hidden(config), expert_count(config)
    inner = config.integer("intermediate_size", low=1)
    return under(
        "feed_forward",
        (
            Part("experts.gate_up_proj", (count, size, 2 * inner)),
            Part("experts.down_proj", (count, inner, size)),
        ),
        weight("router", count, size),
        under("shared_expert", gated_mlp(size, inner)),
    )


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("granitemoe", "granitemoeshared"),
        classes=("GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM"),
        parts=Style(routed=granite_moe),
        source="granitemoe/modeling_granitemoe.py, names as published",
    ),
    Family(
        model_types=("granitemoe_swa",),
        classes=("GraniteMoeSWAForCausalLM",),
        parts=Style(routed=granite_moe, extra=sinks),
        source="granitemoe_swa/modeling_granitemoe_swa.py",
    ),
    Family(
        model_types=("gpt_oss",),
        classes=("GptOssForCausalLM",),
        parts=Style(routed=_gpt_oss_experts, extra=sinks),
        source="gpt_oss/modeling_gpt_oss.py, names as published",
        scheme="mxfp4",
        # openai/gpt-oss gpt_oss/torch/model.py declares every unquantized parameter as bfloat16.
        dtype="BF16",
    ),
    Family(
        model_types=("llama4_text",),
        classes=("Llama4ForCausalLM",),
        parts=Style(
            mlp=gated(name="feed_forward", size="intermediate_size_mlp"),
            routed=_llama4_experts,
            sparse=_llama4_sparse,
        ),
        source="llama4/modeling_llama4.py",
    ),
    Family(
        model_types=("dbrx",),
        classes=("DbrxForCausalLM",),
        parts=_dbrx,
        source="dbrx/modeling_dbrx.py",
    ),
    Family(
        model_types=("afmoe",),
        classes=("AfmoeForCausalLM",),
        parts=Style(
            norms=(*PRE_NORMS, "pre_mlp_layernorm", "post_mlp_layernorm"),
            head_norms="head",
            extra=_afmoe_gate,
            routed=_afmoe_experts,
            sparse=after("num_dense_layers"),
        ),
        source="afmoe/modeling_afmoe.py",
    ),
    Family(
        model_types=("ernie4_5_moe",),
        classes=("Ernie4_5_MoeForCausalLM",),
        parts=Style(
            qkv_bias="use_bias",
            output_bias="use_bias",
            mlp=gated(bias="use_bias"),
            routed=_ernie_experts,
            sparse=_ernie_layers,
        ),
        source="ernie4_5_moe/modeling_ernie4_5_moe.py, names as published",
    ),
)
"""Families, one row each."""
