"""The families whose tensors are known, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from hfmem.model.config import Config
from hfmem.model.declared import biased, dense, moe
from hfmem.model.declared.blocks import Parts

Scheme = Literal["fp8", "mxfp4"]


class Family(Struct, frozen=True, kw_only=True):
    """How the tensors of some model types follow from a configuration."""

    model_types: tuple[str, ...]
    classes: tuple[str, ...]
    """First of ``architectures``; another class has another head, so its tensors are not these."""
    parts: Callable[[Config], Parts | None]
    source: str
    """Below transformers/models in transformers 5.23.0, unless it says otherwise."""
    scheme: Scheme | None = None
    """The one quantization in which the publisher's own files are known to the tensor."""
    dtype: str | None = None
    """What the publisher stores where the configuration does not say."""


_TEXT = (
    Family(
        model_types=("llama",),
        classes=("LlamaForCausalLM", "LLaMAForCausalLM"),
        parts=dense.llama,
        source="llama/modeling_llama.py",
    ),
    Family(
        model_types=("granite", "smollm3"),
        classes=("GraniteForCausalLM", "SmolLM3ForCausalLM"),
        parts=dense.llama,
        source="granite/modeling_granite.py, smollm3/modeling_smollm3.py",
    ),
    Family(
        model_types=("mistral",),
        classes=("MistralForCausalLM",),
        parts=dense.mistral,
        source="mistral/modeling_mistral.py",
    ),
    Family(
        model_types=("qwen2",),
        classes=("Qwen2ForCausalLM",),
        parts=dense.qwen2,
        source="qwen2/modeling_qwen2.py",
    ),
    Family(
        model_types=("qwen3",),
        classes=("Qwen3ForCausalLM",),
        parts=dense.qwen3,
        source="qwen3/modeling_qwen3.py",
    ),
    Family(
        model_types=("gemma",),
        classes=("GemmaForCausalLM",),
        parts=dense.gemma,
        source="gemma/modeling_gemma.py",
    ),
    Family(
        model_types=("gemma2",),
        classes=("Gemma2ForCausalLM",),
        parts=dense.gemma2,
        source="gemma2/modeling_gemma2.py",
    ),
    Family(
        model_types=("gemma3_text",),
        classes=("Gemma3ForCausalLM",),
        parts=dense.gemma3_text,
        source="gemma3/modeling_gemma3.py",
    ),
    Family(
        model_types=("phi3",),
        classes=("Phi3ForCausalLM",),
        parts=dense.phi3,
        source="phi3/modeling_phi3.py",
    ),
    Family(
        model_types=("olmo2", "olmo3"),
        classes=("Olmo2ForCausalLM", "Olmo3ForCausalLM"),
        parts=dense.olmo2,
        source="olmo2/modeling_olmo2.py, olmo3/modeling_olmo3.py",
    ),
    Family(
        model_types=("cohere", "cohere2"),
        classes=("CohereForCausalLM", "Cohere2ForCausalLM"),
        parts=dense.cohere,
        source="cohere/modeling_cohere.py, cohere2/modeling_cohere2.py",
    ),
    Family(
        model_types=("stablelm",),
        classes=("StableLmForCausalLM",),
        parts=dense.stablelm,
        source="stablelm/modeling_stablelm.py",
    ),
    Family(
        model_types=("seed_oss",),
        classes=("SeedOssForCausalLM",),
        parts=dense.seed_oss,
        source="seed_oss/modeling_seed_oss.py",
    ),
    Family(
        model_types=("ernie4_5",),
        classes=("Ernie4_5ForCausalLM",),
        parts=dense.ernie4_5,
        source="ernie4_5/modeling_ernie4_5.py",
    ),
    Family(
        model_types=("glm4",),
        classes=("Glm4ForCausalLM",),
        parts=dense.glm4,
        source="glm4/modeling_glm4.py",
    ),
    Family(
        model_types=("mixtral",),
        classes=("MixtralForCausalLM",),
        parts=moe.mixtral,
        source="mixtral/modeling_mixtral.py, names as published",
    ),
    Family(
        model_types=("qwen2_moe",),
        classes=("Qwen2MoeForCausalLM",),
        parts=moe.qwen2_moe,
        source="qwen2_moe/modeling_qwen2_moe.py, names as published",
    ),
    Family(
        model_types=("qwen3_moe",),
        classes=("Qwen3MoeForCausalLM",),
        parts=moe.qwen3_moe,
        source="qwen3_moe/modeling_qwen3_moe.py, names as published",
    ),
    Family(
        model_types=("olmoe",),
        classes=("OlmoeForCausalLM",),
        parts=moe.olmoe,
        source="olmoe/modeling_olmoe.py, names as published",
    ),
    Family(
        model_types=("granitemoe",),
        classes=("GraniteMoeForCausalLM",),
        parts=moe.granitemoe,
        source="granitemoe/modeling_granitemoe.py, names as published",
    ),
    Family(
        model_types=("gpt_oss",),
        classes=("GptOssForCausalLM",),
        parts=moe.gpt_oss,
        source="gpt_oss/modeling_gpt_oss.py, names as published",
        scheme="mxfp4",
        # openai/gpt-oss gpt_oss/torch/model.py declares every unquantized parameter as bfloat16.
        dtype="BF16",
    ),
    Family(
        model_types=("deepseek_v2", "deepseek_v3", "kimi_k2"),
        classes=("DeepseekV2ForCausalLM", "DeepseekV3ForCausalLM"),
        parts=moe.deepseek,
        source="deepseek_v3/modeling_deepseek_v3.py, names as published (README_WEIGHTS.md)",
        scheme="fp8",
    ),
    Family(
        model_types=("gpt2",),
        classes=("GPT2LMHeadModel",),
        parts=biased.gpt2,
        source="gpt2/modeling_gpt2.py",
    ),
    Family(
        model_types=("gpt_bigcode",),
        classes=("GPTBigCodeForCausalLM",),
        parts=biased.gpt_bigcode,
        source="gpt_bigcode/modeling_gpt_bigcode.py",
    ),
    Family(
        model_types=("gpt_neox",),
        classes=("GPTNeoXForCausalLM",),
        parts=biased.gpt_neox,
        source="gpt_neox/modeling_gpt_neox.py",
    ),
    Family(
        model_types=("bloom",),
        classes=("BloomForCausalLM",),
        parts=biased.bloom,
        source="bloom/modeling_bloom.py",
    ),
    Family(
        model_types=("falcon",),
        classes=("FalconForCausalLM",),
        parts=biased.falcon,
        source="falcon/modeling_falcon.py",
    ),
    Family(
        model_types=("phi",),
        classes=("PhiForCausalLM",),
        parts=biased.phi,
        source="phi/modeling_phi.py",
    ),
    Family(
        model_types=("starcoder2",),
        classes=("Starcoder2ForCausalLM",),
        parts=biased.starcoder2,
        source="starcoder2/modeling_starcoder2.py",
    ),
)

TEXT_FAMILIES = {model_type: family for family in _TEXT for model_type in family.model_types}
"""Decoders by model type; a wrapper's ``text_config`` is looked up here as well."""
