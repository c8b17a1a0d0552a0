"""Decoders with grouped attention and routed experts, named as the published checkpoints name them:
one set of tensors an expert."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Part,
    Parts,
    embedding,
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
    prediction_layer,
    routed,
    shared_experts,
    sinks,
)

_MIXTRAL = ("w1", "w3", "w2")
_CORRECTION = "gate.e_score_correction_bias"


def stepped(config: Config) -> Iterable[int]:
    """Every ``decoder_sparse_step``-th layer that ``mlp_only_layers`` does not name."""
    every = config.integer("decoder_sparse_step", low=1)
    dense = set(config.integer_list("mlp_only_layers") or ())
    return [
        number
        for number in range(layer_count(config))
        if number not in dense and not (number + 1) % every
    ]


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


def _glm4_norms(config: Config) -> Parts:
    if not config.flag("use_qk_norm"):
        return ()
    return under("self_attn", norms("q_norm", "k_norm", size=heads(config).head_dim))


def _afmoe_gate(config: Config) -> Parts:
    size = heads(config)
    return weight("self_attn.gate_proj", size.query_size, size.hidden)


def _afmoe_experts(config: Config) -> Parts:
    return (
        *routed(gate="router.gate", shared=shared_experts("num_shared_experts"))(config),
        Part("mlp.expert_bias", (expert_count(config),), dtype="F32"),
    )


def _shared_hy(config: Config) -> Parts:
    if not config.integer_or_none("num_shared_experts"):
        raise NotDeclaredError
    return shared_experts("num_shared_experts", bias="mlp_bias")(config)


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
        return ()
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


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("mixtral",),
        classes=("MixtralForCausalLM",),
        parts=Style(
            qkv_bias=False,
            output_bias=False,
            routed=routed(name="block_sparse_moe", size="intermediate_size", names=_MIXTRAL),
        ),
        source="mixtral/modeling_mixtral.py, names as published",
    ),
    Family(
        model_types=("minimax_m2",),
        classes=("MiniMaxM2ForCausalLM",),
        parts=Style(
            qkv_bias=False,
            output_bias=False,
            head_norms="all",
            routed=routed(
                name="block_sparse_moe",
                size="intermediate_size",
                names=_MIXTRAL,
                correction="e_score_correction_bias",
            ),
        ),
        source="minimax_m2/modeling_minimax_m2.py, names as published",
    ),
    Family(
        model_types=("qwen2_moe",),
        classes=("Qwen2MoeForCausalLM",),
        parts=Style(
            qkv_bias="qkv_bias",
            output_bias=False,
            routed=routed(
                shared=shared_experts(
                    None,
                    size="shared_expert_intermediate_size",
                    name="shared_expert",
                    gate="shared_expert_gate",
                )
            ),
            sparse=stepped,
        ),
        source="qwen2_moe/modeling_qwen2_moe.py, names as published",
    ),
    Family(
        model_types=("qwen3_moe",),
        classes=("Qwen3MoeForCausalLM",),
        parts=Style(head_norms="head", routed=routed(), sparse=stepped),
        source="qwen3_moe/modeling_qwen3_moe.py, names as published",
    ),
    Family(
        model_types=("olmoe",),
        classes=("OlmoeForCausalLM",),
        parts=Style(head_norms="all", routed=routed(size="intermediate_size")),
        source="olmoe/modeling_olmoe.py, names as published",
    ),
    Family(
        model_types=("flex_olmo",),
        classes=("FlexOlmoForCausalLM",),
        parts=Style(
            norms=("post_attention_layernorm", "post_feedforward_layernorm"),
            head_norms="all",
            routed=routed(size="intermediate_size"),
        ),
        source="flex_olmo/modeling_flex_olmo.py, names as published",
    ),
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
        model_types=("dbrx",),
        classes=("DbrxForCausalLM",),
        parts=_dbrx,
        source="dbrx/modeling_dbrx.py",
    ),
    Family(
        model_types=("glm4_moe",),
        classes=("Glm4MoeForCausalLM",),
        parts=Style(
            output_bias=False,
            extra=_glm4_norms,
            routed=routed(correction=_CORRECTION, shared=shared_experts()),
            sparse=after("first_k_dense_replace"),
            draft=prediction_layer,
        ),
        source="glm4_moe/modeling_glm4_moe.py, names as published",
    ),
    Family(
        model_types=("exaone_moe",),
        classes=("ExaoneMoeForCausalLM",),
        parts=Style(
            qkv_bias=False,
            output_bias=False,
            head_norms="head",
            routed=routed(
                correction="e_score_correction_bias", shared=shared_experts("num_shared_experts")
            ),
            sparse=after("first_k_dense_replace"),
        ),
        source="exaone_moe/modeling_exaone_moe.py",
    ),
    Family(
        model_types=("hy_v3",),
        classes=("HYV3ForCausalLM",),
        parts=Style(
            head_norms="head",
            mlp=gated(bias="mlp_bias"),
            routed=routed(
                correction="e_score_correction_bias", shared=_shared_hy
            ),
            sparse=after("first_k_dense_replace", 1),
        ),
        source="hy_v3/modeling_hy_v3.py",
    ),
    Family(
        model_types=("mellum",),
        classes=("MellumForCausalLM",),
        parts=Style(head_norms="head", routed=routed()),
        source="mellum/modeling_mellum.py",
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
