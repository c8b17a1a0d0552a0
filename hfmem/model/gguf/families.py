"""What llama.cpp knows of its architectures beyond the keys of their files.

Read in llama.cpp 2026-11 (vendored in llama-cpp-python 0.3.36): src/llama-model.cpp
(load_hparams, create_memory), src/llama-arch.cpp (llm_arch_is_recurrent, llm_arch_is_hybrid) and
src/models/*.cpp (load_arch_hparams).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

SOURCE = "llama.cpp src/llama-model.cpp: load_hparams, create_memory; src/models/*.cpp"


class Sliding(Struct, frozen=True, kw_only=True):
    """Layers that keep a window of tokens, between layers that keep all."""

    period: int
    """One full layer in so many, the last of them; 0 where the file has to list the layers."""
    dense_first: bool = False
    """The first of a period is full, instead of the last."""
    window: int | None = None
    """Where the file names none; None is no default."""
    optional: bool = False
    """Without a window in the file all layers are full."""


SLIDING: Mapping[str, Sliding] = {
    "afmoe": Sliding(period=4, optional=True),
    "cohere2": Sliding(period=4),
    "cohere2moe": Sliding(period=4, dense_first=True),
    "dots3note": Sliding(period=0),
    "exaone-moe": Sliding(period=4),
    "gemma2": Sliding(period=2, window=4096),
    "gemma3": Sliding(period=6, optional=True),
    "gemma3n": Sliding(period=5),
    "gemma4": Sliding(period=0),
    "gpt-oss": Sliding(period=2),
    "granite_swa": Sliding(period=0),
    "laguna": Sliding(period=4, dense_first=True, optional=True),
    "maple": Sliding(period=0),
    "mellum": Sliding(period=4, optional=True),
    "mimo2": Sliding(period=0),
    "muse-glimmer": Sliding(period=4),
    "olmo2": Sliding(period=4, optional=True),
    "plamo3": Sliding(period=8, optional=True),
    "spark2_5": Sliding(period=0),
    "step35": Sliding(period=0),
}

EXAONE4_LAYERS = 64
EXAONE4 = Sliding(period=4, window=4096)
"""exaone4 slides in the model of 64 layers only."""
SMALLTHINKER = Sliding(period=4, dense_first=True, optional=True)
SMALLTHINKER_WINDOW = 4096
"""Whatever window its file names."""
LLAMA4_PERIOD = 4
LLAMA4_CHUNK = 8192
GEMMA3N_OWN_CACHES = 20
"""Layers of gemma3n that keep a cache; the others read one of theirs."""

RECURRENT = frozenset({"mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"})
"""Every layer keeps a state and nothing else."""

Hybrid = Literal["no_kv_heads", "no_kv_heads_nor_ff", "interval", "both"]

HYBRID: Mapping[str, Hybrid] = {
    "bailingmoe3": "no_kv_heads",
    "falcon-h1": "both",
    "granitehybrid": "no_kv_heads",
    "jamba": "no_kv_heads",
    "kimi-k3": "no_kv_heads",
    "kimi-linear": "no_kv_heads",
    "lfm2": "no_kv_heads",
    "lfm2moe": "no_kv_heads",
    "minimax-01": "interval",
    "nemotron_h": "no_kv_heads_nor_ff",
    "nemotron_h_moe": "no_kv_heads_nor_ff",
    "plamo2": "no_kv_heads",
    "qwen35": "interval",
    "qwen35moe": "interval",
    "qwen3next": "interval",
}
"""How a layer with a state is told: it has no key heads, or it is not the last of an interval."""

INTERVALS: Mapping[str, int] = {"minimax-01": 8}
INTERVAL = 4
"""``full_attention_interval`` where a file lacks it."""

INDEXED = frozenset({"deepseek32", "glm-dsa", "minimax-m3", "dots3note"})
"""Attention with an indexer, whose keys are cached beside the others."""
GLM_INDEX_PERIOD_CTX = 2**20
"""From this context on, glm-dsa has layers without an indexer, which the file then has to list."""

ENCODERS = frozenset(
    {"bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "neo-bert", "jina-bert-v2"}
    | {"jina-bert-v3", "eurobert", "gemma-embedding", "t5encoder", "wavtokenizer-dec"}
    | {"dream", "llada", "llada-moe", "rnd1"}
)
"""They read the whole input at once, every time, and keep nothing."""

BESIDE: Mapping[str, str] = {
    "clip": "a projector for pictures or sound (mmproj)",
    "dflash": "a draft model",
    "eagle3": "a draft model",
    "gemma4-assistant": "a draft model",
}
"""Files that are loaded beside a model and never as one."""

PLAIN = frozenset(
    {"apertus", "arcee", "arctic", "baichuan", "bailingmoe", "bailingmoe2", "bitnet", "bloom"}
    | {"chameleon", "chatglm", "codeshell", "cogvlm", "command-r", "dbrx", "deci", "deepseek"}
    | {"deepseek2", "deepseek2-ocr", "dots1", "ernie4_5", "ernie4_5-moe", "exaone", "exaone4"}
    | {"falcon", "gemma", "glm4", "glm4moe", "gpt2", "gptj", "gptneox", "granite", "granitemoe"}
    | {"grok", "grovemoe", "hrm_text", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "hy_v3"}
    | {"internlm2", "jais", "jais2", "llama", "llama-embed", "maincoder", "minicpm", "minicpm3"}
    | {"minimax-m2", "mistral3", "mistral4", "mpt", "nemotron", "olmo", "olmoe", "openelm"}
    | {"orion", "paddleocr", "pangu-embedded", "phi2", "phi3", "phimoe", "plamo", "plm", "qwen"}
    | {"qwen2", "qwen2moe", "qwen2vl", "qwen3", "qwen3moe", "qwen3tts", "qwen3vl", "qwen3vlmoe"}
    | {"refact", "seed_oss", "smollm3", "stablelm", "starcoder", "starcoder2", "talkie", "xverse"}
)
"""Keys and values of every token in every layer; phi3's window is not applied by llama.cpp."""
