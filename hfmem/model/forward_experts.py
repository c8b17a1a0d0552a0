"""Decoders with experts, latent attention or recurrent layers."""

from __future__ import annotations

from hfmem.model.forward_family import ExpertsFamily, Family

_DEEPSEEK = ExpertsFamily(fp32_weights=True)
_MODEL_WEIGHTS = ExpertsFamily()
_FP32_WEIGHTS = ExpertsFamily(fp32_weights=True)
_SHARED_FIRST = ExpertsFamily(shared_first=True)

EXPERTS: tuple[Family, ...] = (
    Family(
        model_types=("gemma4_text",),
        qk_norm=True,
        rope_tables=2,
        logits_copies=2,
        experts=_FP32_WEIGHTS,
        flags=frozenset({"gemma4"}),
        source="models/gemma4/modeling_gemma4.py: Gemma4TextDecoderLayer",
    ),
    Family(
        model_types=("mixtral",),
        experts=_FP32_WEIGHTS,
        source="models/mixtral/modeling_mixtral.py: MixtralTopKRouter",
    ),
    Family(
        model_types=("phimoe",),
        norm="fused",
        experts=_MODEL_WEIGHTS,
        source="models/phimoe/modeling_phimoe.py: PhimoeDecoderLayer",
    ),
    Family(
        model_types=("minimax_m2",),
        qk_norm=True,
        experts=_FP32_WEIGHTS,
        source="models/minimax_m2/modeling_minimax_m2.py: MiniMaxM2TopKRouter",
    ),
    Family(
        model_types=("qwen3_moe", "qwen3_vl_moe_text"),
        qk_norm=True,
        experts=_MODEL_WEIGHTS,
        source="models/qwen3_moe/modeling_qwen3_moe.py: Qwen3MoeTopKRouter",
    ),
    Family(
        model_types=("olmoe",),
        qk_norm=True,
        experts=_MODEL_WEIGHTS,
        source="models/olmoe/modeling_olmoe.py: OlmoeTopKRouter",
    ),
    Family(
        model_types=("qwen2_moe",),
        idle_masks=1,
        experts=_SHARED_FIRST,
        source="models/qwen2_moe/modeling_qwen2_moe.py: Qwen2MoeModel builds a sliding mask always",
    ),
    Family(
        model_types=("granitemoe", "granitemoeshared"),
        logits_copies=2,
        experts=_MODEL_WEIGHTS,
        source="models/granitemoe/modeling_granitemoe.py: GraniteMoeMoE",
    ),
    Family(
        model_types=("gpt_oss",),
        eager_scores="sinks",
        half_rope=True,
        experts=ExpertsFamily(bias=True, gate_copies=5),
        source="models/gpt_oss/modeling_gpt_oss.py: eager_attention_forward, GptOssExperts",
    ),
    Family(
        model_types=("deepseek_v2", "deepseek_v3", "glm4_moe_lite"),
        experts=_DEEPSEEK,
        source="models/deepseek_v3/modeling_deepseek_v3.py: DeepseekV3Attention, DeepseekV3MoE",
    ),
    Family(
        model_types=("deepseek_v32", "glm_moe_dsa"),
        experts=_DEEPSEEK,
        always_masked=True,
        source="models/glm_moe_dsa/modeling_glm_moe_dsa.py: GlmMoeDsaIndexer, GlmMoeDsaAttention",
    ),
    Family(
        model_types=("glm4_moe", "dots1", "solar_open", "exaone_moe"),
        qk_norm=True,
        experts=_DEEPSEEK,
        source="models/glm4_moe/modeling_glm4_moe.py: Glm4MoeMoE",
    ),
    Family(
        model_types=("qwen3_next",),
        qk_norm=True,
        output_gate=True,
        experts=_SHARED_FIRST,
        flags=frozenset({"fused_delta"}),
        source="models/qwen3_next/modeling_qwen3_next.py: torch_chunk_gated_delta_rule",
    ),
    Family(
        model_types=("qwen3_5_text", "qwen3_5_moe_text"),
        qk_norm=True,
        output_gate=True,
        experts=_SHARED_FIRST,
        source="models/qwen3_5/modeling_qwen3_5.py: torch_chunk_gated_delta_rule",
    ),
    Family(
        model_types=("nemotron_h",),
        mlp_residents=3,
        mlp="plain",
        activation="mlp_hidden_act",
        rotary="none",
        experts=ExpertsFamily(fp32_weights=True, gated=False, gate_copies=2),
        flags=frozenset({"nemotron_h"}),
        source="models/nemotron_h/modeling_nemotron_h.py: mamba2_chunk_scan, NemotronHMoE",
    ),
    Family(
        model_types=("ernie4_5_moe",),
        mlp_residents=5,
        rotary="fp32_tables",
        experts=_MODEL_WEIGHTS,
        source="models/ernie4_5_moe/modeling_ernie4_5_moe.py: the shared expert's output is kept",
    ),
)
