"""How each family's modeling code lays out a layer: one small entry a family.

Read from transformers 5.23. A family that is not here has no forward pass, and its activations are
unknown: what a layer holds follows from its code and from nothing in config.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from hfmem.model.forward_shapes import EagerScores, NormKind, Rotary

ACTIVATION_COPIES: Mapping[str, int] = {
    "linear": 1,
    "gelu": 2,
    "gelu_pytorch_tanh": 2,
    "hardswish": 2,
    "leaky_relu": 2,
    "mish": 2,
    "relu": 2,
    "relu6": 2,
    "sigmoid": 2,
    "silu": 2,
    "swish": 2,
    "tanh": 2,
    "gelu_10": 3,
    "quick_gelu": 3,
    "relu2": 3,
    "sqrtsoftplus": 3,
    "gelu_accurate": 4,
    "gelu_new": 4,
    "gelu_python": 4,
    "gelu_python_tanh": 4,
    "laplace": 4,
    "gelu_fast": 5,
}
"""Tensors alive at an activation's peak, input included: 2 where torch has one kernel for it, more
where it is spelled out in Python (activations.py: NewGELUActivation, FastGELUActivation…)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertsFamily:
    """How a family routes."""

    fp32_weights: bool = False
    """The router returns fp32 weights, so the weighted expert outputs are fp32."""
    shared_first: bool = False
    gated: bool = True
    gate_copies: int = 2
    """Activated gate and product; more where the gate is clamped out of place."""
    bias: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Layer code that several model types share."""

    model_types: tuple[str, ...]
    source: str
    mixer_residents: int = 3
    """Embeddings, layer input and normed input."""
    mlp_residents: int = 4
    """Embeddings, layer input, sum after attention, normed sum."""
    mlp: Literal["gated", "fused", "plain"] = "gated"
    width_multiple: int | None = None
    """Of the hidden size, where the configuration leaves the width out."""
    activation: str = "hidden_act"
    """Key of the activation's name."""
    norm: NormKind = "rms"
    qk_norm: bool = False
    rotary: Rotary = "model"
    output_gate: bool = False
    fused_qkv: bool = False
    keeps_unrotated: bool = False
    """The layer splits query and keys into a rotated and an unrotated part itself."""
    eager_scores: EagerScores = "fp32"
    position_embeddings: bool = False
    half_rope: bool = False
    """Cosine and sine are kept once a pair of dimensions."""
    rope_tables: int = 1
    always_masked: bool = False
    idle_masks: int = 0
    """Masks that are built although no layer takes them."""
    logits_copies: int = 1
    experts: ExpertsFamily | None = None
    flags: frozenset[str] = field(default_factory=frozenset)
    """What one family's code does and no other's: ``falcon``, ``gemma4``, ``stablelm``,
    ``nemotron_h``, ``fused_delta`` (one projection for query, keys, values and gate)."""


_DEEPSEEK = ExpertsFamily(fp32_weights=True)
_MODEL_WEIGHTS = ExpertsFamily()
_FP32_WEIGHTS = ExpertsFamily(fp32_weights=True)
_SHARED_FIRST = ExpertsFamily(shared_first=True)

FAMILIES: tuple[Family, ...] = (
    Family(
        model_types=(
            "llama",
            "mistral",
            "ministral",
            "ministral3",
            "gemma",
            "helium",
            "hyperclovax",
            "qwen2",
            "qwen2_vl_text",
            "qwen2_5_vl_text",
            "qwen2_5_omni_text",
            "smollm3",
            "seed_oss",
            "cwm",
            "mllama_text_model",
        ),
        source="models/llama/modeling_llama.py: LlamaDecoderLayer, LlamaMLP",
    ),
    Family(
        model_types=("arcee", "jais2"),
        mlp="plain",
        source="models/arcee/modeling_arcee.py: ArceeMLP; models/jais2: norms are torch's",
    ),
    Family(
        model_types=("nemotron",),
        mlp="plain",
        norm="fused",
        source="models/nemotron/modeling_nemotron.py: NemotronMLP, NemotronLayerNorm1P",
    ),
    Family(
        model_types=("olmo",),
        rotary="fp32_tables",
        source="models/olmo/modeling_olmo.py: OlmoLayerNorm in fp32, OlmoRotaryEmbedding in fp32",
    ),
    Family(
        model_types=("opt",),
        mlp="plain",
        activation="activation_function",
        norm="fused",
        rotary="none",
        source="models/opt/modeling_opt.py: OPTDecoderLayer",
    ),
    Family(
        model_types=("ernie4_5",),
        rotary="fp32_tables",
        source="models/ernie4_5/modeling_ernie4_5.py: Ernie4_5RotaryEmbedding returns fp32",
    ),
    Family(
        model_types=("granite",),
        logits_copies=2,
        source="models/granite/modeling_granite.py: GraniteDecoderLayer, logits_scaling",
    ),
    Family(
        model_types=("qwen3", "qwen3_vl_text", "hunyuan_v1_dense"),
        qk_norm=True,
        source="models/qwen3/modeling_qwen3.py: Qwen3DecoderLayer, Qwen3Attention",
    ),
    Family(
        model_types=("gemma2",),
        logits_copies=2,
        source="models/gemma2/modeling_gemma2.py: Gemma2DecoderLayer, final_logit_softcapping",
    ),
    Family(
        model_types=("gemma3_text",),
        qk_norm=True,
        rope_tables=2,
        source="models/gemma3/modeling_gemma3.py: Gemma3DecoderLayer, a rope table a layer type",
    ),
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
        model_types=("olmo2",),
        mixer_residents=2,
        mlp_residents=3,
        rotary="fp32_tables",
        qk_norm=True,
        source="models/olmo2/modeling_olmo2.py: Olmo2DecoderLayer norms after the MLP",
    ),
    Family(
        model_types=("exaone4",),
        mixer_residents=2,
        mlp_residents=3,
        qk_norm=True,
        source="models/exaone4/modeling_exaone4.py: Exaone4DecoderLayer norms after the MLP",
    ),
    Family(
        model_types=("olmo3",),
        mixer_residents=2,
        mlp_residents=3,
        rotary="fp32_tables",
        rope_tables=2,
        qk_norm=True,
        source="models/olmo3/modeling_olmo3.py: Olmo3DecoderLayer norms after the MLP",
    ),
    Family(
        model_types=("glm", "glm4"),
        mlp="fused",
        source="models/glm4/modeling_glm4.py: Glm4MLP.gate_up_proj",
    ),
    Family(
        model_types=("phi3",),
        mlp="fused",
        fused_qkv=True,
        source="models/phi3/modeling_phi3.py: Phi3MLP.gate_up_proj",
    ),
    Family(
        model_types=("cohere", "cohere2"),
        rotary="fp32",
        norm="mean_variance",
        logits_copies=2,
        source="models/cohere/modeling_cohere.py: CohereDecoderLayer, attention beside the MLP",
    ),
    Family(
        model_types=("stablelm",),
        keeps_unrotated=True,
        mlp_residents=6,
        norm="fused",
        flags=frozenset({"stablelm"}),
        source="models/stablelm/modeling_stablelm.py: StableLmDecoderLayer keeps two norms",
    ),
    Family(
        model_types=("phi",),
        keeps_unrotated=True,
        mlp="plain",
        norm="fused",
        source="models/phi/modeling_phi.py: PhiDecoderLayer, attention beside the MLP",
    ),
    Family(
        model_types=("gpt_neox",),
        mlp="plain",
        norm="fused",
        fused_qkv=True,
        source="models/gpt_neox/modeling_gpt_neox.py: GPTNeoXLayer",
    ),
    Family(
        model_types=("starcoder2",),
        mlp="plain",
        norm="fused",
        source="models/starcoder2/modeling_starcoder2.py: Starcoder2DecoderLayer",
    ),
    Family(
        model_types=("gpt_bigcode",),
        mlp_residents=5,
        position_embeddings=True,
        mlp="plain",
        width_multiple=4,
        activation="activation_function",
        norm="fused",
        rotary="none",
        fused_qkv=True,
        source="models/gpt_bigcode/modeling_gpt_bigcode.py: GPTBigCodeBlock keeps attn_output",
    ),
    Family(
        model_types=("gpt2",),
        eager_scores="twice",
        mlp_residents=5,
        position_embeddings=True,
        mlp="plain",
        width_multiple=4,
        activation="activation_function",
        norm="fused",
        rotary="none",
        fused_qkv=True,
        source="models/gpt2/modeling_gpt2.py: GPT2Block keeps its attention output",
    ),
    Family(
        model_types=("falcon",),
        eager_scores="returned",
        mlp="plain",
        width_multiple=4,
        activation="activation",
        norm="fused",
        fused_qkv=True,
        always_masked=True,
        flags=frozenset({"falcon"}),
        source="models/falcon/modeling_falcon.py: FalconDecoderLayer; the mask is always built",
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
        model_types=("granitemoe",),
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
)

BY_MODEL_TYPE: Mapping[str, Family] = {
    name: family for family in FAMILIES for name in family.model_types
}
