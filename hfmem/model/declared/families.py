"""The families whose tensors are known: which module has the row of a model type.

The modules are read when one of their types is asked for: a plain estimate needs one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module

from hfmem.model.config import Config
from hfmem.model.declared.blocks import Parts
from hfmem.model.declared.family import Family

__all__ = ["families", "of_type", "text_parts"]

_HOMES: Mapping[str, str] = {
    "dense": "llama internlm3 iquestcoder granite smollm3 granite_swa hyperclovax"
    " cwm arcee apertus bitnet diffllama mistral ministral ministral3 qwen2"
    " qwen2_vl_text qwen2_5_vl_text qwen2_5_omni_text qwen3 qwen3_vl_text"
    " gemma vaultgemma hunyuan_v1_dense helium gemma2 gemma3_text phi3 olmo2"
    " olmo3 exaone4 cohere cohere2 stablelm seed_oss ernie4_5 glm glm4v_text"
    " glm4",
    "early": "gptj codegen gpt_neo opt biogpt xglm mpt persimmon olmo nanochat"
    " nemotron jais2 phimoe",
    "biased": "gpt2 gpt-sw3 gpt_bigcode gpt_neox bloom falcon phi starcoder2",
    "moe": "mixtral minimax_m2 qwen2_moe qwen3_moe qwen3_vl_moe_text"
    " qwen3_omni_moe_text olmoe flex_olmo glm4_moe exaone_moe hy_v3"
    " hunyuan_v1_moe dots1 solar_open glm4v_moe_text mellum",
    "experts": "granitemoe granitemoeshared granitemoe_swa gpt_oss llama4_text dbrx"
    " afmoe ernie4_5_moe",
    "latent": "deepseek_v2 deepseek_v3 kimi_k2 deepseek_v32 glm_moe_dsa glm4_moe_lite"
    " mistral4 minicpm3 youtu",
    "recurrent": "mamba falcon_mamba mamba2 bamba granitemoehybrid falcon_h1 jamba rwkv",
    "delta": "qwen3_next qwen3_5_text qwen3_5_moe_text lfm2 lfm2_moe minimax"
    " olmo_hybrid kimi_linear",
    "nemotron": "nemotron_h",
    "gemma": "gemma3n_text gemma4_text",
    "mixed": "mllama_text_model mimo_v2_flash minimax_m3_vl_text deepseek_v4",
    "encoders": "bert roberta xlm-roberta camembert data2vec-text electra mpnet"
    " distilbert modernbert",
    "encoder_decoder": "t5 mt5 umt5 bart mvp plbart mbart blenderbot pegasus blenderbot-small"
    " marian m2m_100 whisper",
    "remote": "Yi baichuan internlm2 internlm qwen chatglm mimo minicpm phi3small exaone",
    "nas": "nemotron-nas deci",
    "remote_seeing": "minicpmv internvl_chat",
    "llava": "gemma3 llava llava_next llava_next_video llava_onevision video_llava"
    " vipllava llava_qwen qwen2 paligemma mistral3 internvl aya_vision"
    " cohere2_vision lfm2_vl",
    "kimi_k3": "kimi_k3",
    "wrappers": "idefics2 idefics3 smolvlm mllama llama4 kimi_k25 minimax_m3_vl"
    " minicpmv4_6 gemma3n gemma4 qwen2_vl qwen2_5_vl qwen3_vl qwen3_vl_moe"
    " qwen3_5 qwen3_5_moe glm4v_moe glm4v",
    "listening": "qwen2_audio voxtral qwen2_5_omni_thinker qwen3_omni_moe_thinker",
    "omni": "qwen2_5_omni",
}
"""Module to the model types of its rows; a type with classes of its own in two modules is in
both."""


def of_type(model_type: str | None) -> tuple[Family, ...]:
    """The families of a model type, the more particular class first."""
    return tuple(
        family
        for module, types in _HOMES.items()
        if model_type in types.split()
        for family in rows(module)
        if model_type in family.model_types
    )


def text_parts(config: Config) -> Parts | None:
    """The tensors of a decoder inside a wrapper, named as if it stood alone; None for a family that
    is not known."""
    found = of_type(config.model_type)
    return found[0].parts(config) if found else None


def families() -> Iterable[Family]:
    """Every family."""
    return tuple(family for module in _HOMES for family in rows(module))


@cache
def rows(module: str) -> tuple[Family, ...]:
    """The families of one module, in its order."""
    found: tuple[Family, ...] = import_module(f"hfmem.model.declared.{module}").ROWS
    return found
