"""Which configuration a measured row's model has: bundled, beside the data, or a few facts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import HfmemError
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.source.recorded import bundled

# hidden, layers, heads, KV heads, feed-forward, vocabulary, positions, tied: as published.
_SIZES: dict[str, tuple[str, int, int, int, int, int, int, int, bool]] = {
    "Qwen2.5-0.5B": ("qwen2", 896, 24, 14, 2, 4864, 151936, 32768, True),
    "Qwen2.5-1.5B": ("qwen2", 1536, 28, 12, 2, 8960, 151936, 32768, True),
    "Qwen2.5-3B": ("qwen2", 2048, 36, 16, 2, 11008, 151936, 32768, True),
    "Qwen2.5-7B": ("qwen2", 3584, 28, 28, 4, 18944, 152064, 32768, False),
    "Qwen2.5-14B": ("qwen2", 5120, 48, 40, 8, 13824, 152064, 32768, False),
    "Qwen2.5-32B": ("qwen2", 5120, 64, 40, 8, 27648, 152064, 32768, False),
    "Qwen2.5-72B": ("qwen2", 8192, 80, 64, 8, 29568, 152064, 32768, False),
    "Kimi-Dev-72B": ("qwen2", 8192, 80, 64, 8, 29568, 152064, 131072, False),
    "DeepSeek-R1-Distill-Qwen-14B": ("qwen2", 5120, 48, 40, 8, 13824, 152064, 131072, False),
    "DeepSeek-R1-Distill-Qwen-32B": ("qwen2", 5120, 64, 40, 8, 27648, 152064, 131072, False),
    "Qwen3-0.6B": ("qwen3", 1024, 28, 16, 8, 3072, 151936, 40960, True),
    "Qwen3-1.7B": ("qwen3", 2048, 28, 16, 8, 6144, 151936, 40960, True),
    "Qwen3-4B": ("qwen3", 2560, 36, 32, 8, 9728, 151936, 40960, True),
    "Qwen3-8B": ("qwen3", 4096, 36, 32, 8, 12288, 151936, 40960, False),
    "Qwen3-14B": ("qwen3", 5120, 40, 40, 8, 17408, 151936, 40960, False),
    "Qwen3-32B": ("qwen3", 5120, 64, 64, 8, 25600, 151936, 40960, False),
    "gemma-2-2b-it": ("gemma2", 2304, 26, 8, 4, 9216, 256000, 8192, True),
    "gemma-2-9b-it": ("gemma2", 3584, 42, 16, 8, 14336, 256000, 8192, True),
    "gemma-2-27b-it": ("gemma2", 4608, 46, 32, 16, 36864, 256000, 8192, True),
    "gemma-7b": ("gemma", 3072, 28, 16, 16, 24576, 256000, 8192, True),
    "granite-3.1-2b-instruct": ("granite", 2048, 40, 32, 8, 8192, 49155, 131072, True),
    "granite-3.1-8b-instruct": ("granite", 4096, 40, 32, 8, 12800, 49155, 131072, True),
    "granite-3.3-8b-instruct": ("granite", 4096, 40, 32, 8, 12800, 49159, 131072, True),
    "phi-2": ("phi", 2560, 32, 32, 32, 10240, 51200, 2048, False),
    "phi-4": ("phi3", 5120, 40, 40, 10, 17920, 100352, 16384, False),
    "CodeLlama-7b-hf": ("llama", 4096, 32, 32, 32, 11008, 32016, 16384, False),
    "Meta-Llama-3-8B": ("llama", 4096, 32, 32, 8, 14336, 128256, 8192, False),
}
_CLASSES = {
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "granite": "GraniteForCausalLM",
    "phi": "PhiForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "llama": "LlamaForCausalLM",
}
_HEAD_DIM = {"qwen3": 128, "gemma": 256, "gemma-2-2b-it": 256, "gemma-2-9b-it": 256}
_HEAD_DIM["gemma-2-27b-it"] = 128
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
}


def _gemma3(hidden: int, layers: int, heads: int, kv: int, wide: int) -> dict[str, object]:
    return {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "torch_dtype": "bfloat16",
        "mm_tokens_per_image": 256,
        "text_config": {
            "model_type": "gemma3_text",
            "hidden_size": hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv,
            "head_dim": 256,
            "intermediate_size": wide,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "rope_theta": 1000000.0,
            "rope_local_base_freq": 10000.0,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0},
            "sliding_window": 1024,
        },
        "vision_config": _SIGLIP,
    }


_MISTRAL_SMALL: dict[str, object] = {
    "architectures": ["Mistral3ForConditionalGeneration"],
    "model_type": "mistral3",
    "torch_dtype": "bfloat16",
    "spatial_merge_size": 2,
    "multimodal_projector_bias": False,
    # The published files hold a head of their own.
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "mistral",
        "hidden_size": 5120,
        "num_hidden_layers": 40,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 32768,
        "vocab_size": 131072,
        "max_position_embeddings": 131072,
        "rope_theta": 1000000000.0,
        "sliding_window": None,
    },
    "vision_config": {
        "model_type": "pixtral",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "head_dim": 64,
        "image_size": 1540,
        "patch_size": 14,
    },
}
_WHOLE: dict[str, dict[str, object]] = {
    "gemma-3-4b-it": _gemma3(2560, 34, 8, 4, 10240),
    "gemma-3-12b-it": _gemma3(3840, 48, 16, 8, 15360),
    "Mistral-Small-3.1-24B-Instruct-2503": _MISTRAL_SMALL,
    "Mistral-Small-3.2-24B-Instruct-2506": _MISTRAL_SMALL,
}
_BUNDLED = {
    "Llama-3.1-8B-Instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "Llama-3.3-70B-Instruct": "meta-llama/Llama-3.1-70B-Instruct",
    "gemma-3-27b-it": "google/gemma-3-27b-it",
    "Qwen3-30B-A3B": "Qwen/Qwen3-30B-A3B",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "Qwen3-8B": "Qwen/Qwen3-8B",
}
_QUANTIZED = re.compile(
    r"[-.](?:fp8-dynamic|FP8-dynamic|quantized\.w\w+|FP8|AWQ|GPTQ-Int\d|AWQ-INT4|Int[48])$"
)
_SCHEMES = (
    (r"fp8-dynamic$|FP8-dynamic$|-FP8$", "fp8"),
    (r"quantized\.w8a8$", "int8"),
    (r"quantized\.w4a16$", "gptq-4bit"),
    (r"GPTQ-Int4$", "gptq-4bit"),
    (r"AWQ$|AWQ-INT4$", "awq-4bit"),
    (r"GPTQ-Int8$", "gptq-8bit"),
)


def scheme_of(name: str) -> str | None:
    """The scheme that a quantized repository's name says; None for a name that says none."""
    return next((scheme for ending, scheme in _SCHEMES if re.search(ending, name)), None)


_OWN_HEAD = re.compile(r"^Qwen3-.*-FP8$")
"""Checkpoints of tied models that load a head of their own: Qwen3-0.6B, 1.7B and 4B in FP8 take
0.27, 0.55 and 0.76 GiB more than embedding and layers, at every length."""
_ALIASES = {"Meta-Llama-3.1-8B-Instruct": "Llama-3.1-8B-Instruct"}
_FILES = {"deepseek-ai/DeepSeek-V4-Flash": "sgl-project--DeepSeek-V4-Flash-FP8"}
"""Configurations that stand under another owner's name."""


def _facts(name: str) -> dict[str, object] | None:
    if name in _WHOLE:
        return _WHOLE[name]
    key = re.sub(r"^Qwen2-", "Qwen2.5-", re.sub(r"-(?:Instruct|Chat)$", "", name))
    found = _SIZES.get(name) or _SIZES.get(key)
    if found is None:
        return None
    kind, hidden, layers, heads, kv, wide, vocabulary, positions, tied = found
    facts: dict[str, object] = {
        "architectures": [_CLASSES[kind]],
        "model_type": kind,
        "torch_dtype": "float16" if kind == "phi" else "bfloat16",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": wide,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "tie_word_embeddings": tied,
        "rope_theta": 10000.0,
    }
    head_dim = _HEAD_DIM.get(name) or _HEAD_DIM.get(kind)
    if head_dim is not None:
        facts["head_dim"] = head_dim
    if kind == "phi":
        facts["partial_rotary_factor"] = 0.4
    if kind in {"qwen2", "phi3"}:
        facts |= {"use_sliding_window": False, "sliding_window": None}
    return facts


@cache
def model_of(name: str, data: Path) -> tuple[Model | None, bool]:
    """The model of a row, and whether its weights are those that the row loaded.

    A quantized repository whose configuration is not at hand is its base model with other weights.
    """
    short = name.split("/")[-1]
    base = _QUANTIZED.sub("", short)
    base = _ALIASES.get(base, base)
    file = _FILES.get(name, name.replace("/", "--"))
    own = data.parent / "corpus" / "configs" / f"{file}.json"
    if short == base and base in _BUNDLED and (snapshot := bundled(_BUNDLED[base])) is not None:
        return describe(snapshot), True
    whole = own.with_name(f"{name.split('/')[0]}--{base}.json")
    for path in (own, whole):
        if path.is_file():
            config = json.loads(path.read_text(encoding="utf-8"))
            told = whole.is_file() or base in _BUNDLED
            if path == own and base != short and "quantization_config" in config and told:
                continue  # what it declares of its packed tensors is less than its base's shapes
            if path != own and _OWN_HEAD.search(short):
                config["tie_word_embeddings"] = False
            return _model(name, config), path == own
    if base in _BUNDLED and (snapshot := bundled(_BUNDLED[base])) is not None:
        return describe(snapshot), short == base
    facts = _facts(base)
    if facts is not None and _OWN_HEAD.search(short):
        facts["tie_word_embeddings"] = False
    return (None, False) if facts is None else (_model(name, facts), short == base)


def _model(name: str, config: Mapping[str, object]) -> Model | None:
    snapshot = Snapshot(
        model=name,
        revision=None,
        source="recorded",
        config=config,
        documents={},
        files=(),
        checkpoint=None,
    )
    try:
        return describe(snapshot)
    except HfmemError:
        return None
