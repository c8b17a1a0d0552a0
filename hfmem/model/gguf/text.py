"""The configuration that a GGUF file stands for, in the keys of transformers.

It tells what one forward pass computes; the cache is read from the file's own keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hfmem.model.config import Config, of_class
from hfmem.model.gguf.keys import Keys

MODEL_TYPES: Final[Mapping[str, str]] = {
    "bloom": "bloom",
    "cohere2": "cohere2",
    "command-r": "cohere",
    "deepseek2": "deepseek_v3",
    "falcon": "falcon",
    "falcon-h1": "falcon_h1",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "glm4": "glm4",
    "glm4moe": "glm4_moe",
    "gpt-oss": "gpt_oss",
    "gpt2": "gpt2",
    "gptneox": "gpt_neox",
    "granite": "granite",
    "granitemoe": "granitemoe",
    "lfm2": "lfm2",
    "llama": "llama",
    "mamba": "mamba",
    "mamba2": "mamba2",
    "minimax-m2": "minimax_m2",
    "mistral3": "ministral3",
    "nemotron": "nemotron",
    "olmo": "olmo",
    "olmo2": "olmo2",
    "olmoe": "olmoe",
    "phi2": "phi",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2_moe",
    "qwen3": "qwen3",
    "qwen35": "qwen3_5_text",
    "qwen35moe": "qwen3_5_moe_text",
    "qwen3moe": "qwen3_moe",
    "qwen3next": "qwen3_next",
    "seed_oss": "seed_oss",
    "smollm3": "smollm3",
    "stablelm": "stablelm",
    "starcoder2": "starcoder2",
}
"""The model type of transformers for an architecture of llama.cpp; the converter's own table is
conversion/*.py: register."""

_NAMES: Final[Mapping[str, str]] = {
    "embedding_length": "hidden_size",
    "context_length": "max_position_embeddings",
    "attention.key_length": "head_dim",
    "attention.sliding_window": "sliding_window",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.q_lora_rank": "q_lora_rank",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "ssm.state_size": "state_size",
    "ssm.conv_kernel": "conv_kernel",
}
_MIXTURE_OF_LLAMA: Final = "mixtral"


def text_config(keys: Keys, *, tied: bool) -> Config:
    """The decoder's section, with the defaults of its class behind what the file says."""
    model_type = MODEL_TYPES.get(keys.architecture)
    if model_type == "llama" and keys.own.integer_or_none("expert_count"):
        model_type = _MIXTURE_OF_LLAMA
    values: dict[str, object] = {
        "model_type": model_type,
        "num_hidden_layers": keys.layers,
        "tie_word_embeddings": tied,
    }
    if keys.vocab_size is not None:
        values["vocab_size"] = keys.vocab_size
    for theirs, ours in _NAMES.items():
        found = keys.own.value(theirs)
        if isinstance(found, int) and not isinstance(found, bool):
            values[ours] = found
    values |= _most(keys)
    if model_type == _MIXTURE_OF_LLAMA:
        values["num_local_experts"] = values["num_experts"]
    _latent(keys, values)
    return of_class(values, model_type, where="The GGUF header")


def _most(keys: Keys) -> dict[str, object]:
    """Numbers that may differ from layer to layer: the largest."""
    values: dict[str, object] = {}
    for theirs, ours in (
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("feed_forward_length", "intermediate_size"),
    ):
        if keys.own.value(theirs) is not None and (most := max(keys.per_layer(theirs), default=0)):
            values[ours] = most
    return values


def _latent(keys: Keys, values: dict[str, object]) -> None:
    """The parts of a latent head, which the file states whole."""
    rank = keys.own.integer_or_none("attention.kv_lora_rank")
    key, value = (
        keys.own.integer_or_none(f"attention.{name}_length_mla") for name in ("key", "value")
    )
    width = keys.own.integer_or_none("attention.key_length")
    if rank and key and value and width and rank < width < rank + key:
        values.pop("head_dim", None)
        values["qk_rope_head_dim"] = width - rank
        values["qk_nope_head_dim"] = key - (width - rank)
        values["v_head_dim"] = value
