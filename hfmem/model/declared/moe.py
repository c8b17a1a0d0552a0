"""Decoders with grouped attention and routed experts, named as the published checkpoints name them:
one set of tensors an expert."""

from __future__ import annotations

from collections.abc import Iterable

from hfmem.model.config import Config
from hfmem.model.declared.blocks import (
    W1_W3_W2,
    NotDeclaredError,
    Parts,
    heads,
    layer_count,
    norms,
    under,
)
from hfmem.model.declared.family import Family
from hfmem.model.declared.style import (
    Style,
    after,
    gated,
    hunyuan_norms,
    prediction_layer,
    routed,
    shared_experts,
)

CORRECTION = "gate.e_score_correction_bias"


def stepped(config: Config) -> Iterable[int]:
    """Every ``decoder_sparse_step``-th layer that ``mlp_only_layers`` does not name."""
    every = config.integer("decoder_sparse_step", low=1)
    dense = set(config.integer_list("mlp_only_layers") or ())
    return [
        number
        for number in range(layer_count(config))
        if number not in dense and not (number + 1) % every
    ]


def _glm4_norms(config: Config) -> Parts:
    if not config.flag("use_qk_norm"):
        return ()
    return under("self_attn", norms("q_norm", "k_norm", size=heads(config).head_dim))


def _shared_hy(config: Config) -> Parts:
    if not config.integer_or_none("num_shared_experts"):
        raise NotDeclaredError
    return shared_experts("num_shared_experts", bias="mlp_bias")(config)


ROWS: tuple[Family, ...] = (
    Family(
        model_types=("mixtral",),
        classes=("MixtralForCausalLM",),
        parts=Style(
            qkv_bias=False,
            output_bias=False,
            routed=routed(name="block_sparse_moe", size="intermediate_size", names=W1_W3_W2),
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
                names=W1_W3_W2,
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
        model_types=("qwen3_moe", "qwen3_vl_moe_text", "qwen3_omni_moe_text"),
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
        model_types=("glm4_moe",),
        classes=("Glm4MoeForCausalLM",),
        parts=Style(
            output_bias=False,
            extra=_glm4_norms,
            routed=routed(correction=CORRECTION, shared=shared_experts()),
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
            routed=routed(correction="e_score_correction_bias", shared=_shared_hy),
            sparse=after("first_k_dense_replace", 1),
        ),
        source="hy_v3/modeling_hy_v3.py",
    ),
    Family(
        model_types=("hunyuan_v1_moe",),
        classes=("HunYuanMoEV1ForCausalLM",),
        parts=Style(
            extra=hunyuan_norms,
            routed=routed(
                gate="gate.wg",
                size="intermediate_size",
                shared=shared_experts(None, size="intermediate_size", name="shared_mlp"),
            ),
        ),
        source="hunyuan_v1_moe/modeling_hunyuan_v1_moe.py, names as published",
    ),
    Family(
        model_types=("dots1",),
        classes=("Dots1ForCausalLM",),
        parts=Style(
            head_norms="head",
            routed=routed(correction=CORRECTION, shared=shared_experts()),
            sparse=after("first_k_dense_replace"),
        ),
        source="dots1/modeling_dots1.py, names as published",
    ),
    Family(
        model_types=("solar_open",),
        classes=("SolarOpenForCausalLM",),
        parts=Style(
            output_bias=False,
            routed=routed(correction=CORRECTION, shared=shared_experts()),
        ),
        source="solar_open/modeling_solar_open.py, names as published",
    ),
    Family(
        model_types=("glm4v_moe_text",),
        classes=(),
        parts=Style(
            output_bias=False,
            routed=routed(correction=CORRECTION, shared=shared_experts()),
            sparse=after("first_k_dense_replace"),
        ),
        source="glm4v_moe/modeling_glm4v_moe.py, names as published",
    ),
    Family(
        model_types=("mellum",),
        classes=("MellumForCausalLM",),
        parts=Style(head_norms="head", routed=routed()),
        source="mellum/modeling_mellum.py",
    ),
)
"""Families, one row each."""
