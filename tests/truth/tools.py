"""Models that other tools size wrongly, with the right number in MiB, at 32,768 tokens in bf16.

``attention`` is what full, sliding, chunked and latent layers keep, ``state`` what recurrent layers
keep; an indexer's keys are apart. Derived by hand from the published sizes: a full layer keeps 2 ×
heads × size × 2 bytes a token, a latent one (rank + rope) × 2, a sliding one its window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from hfmem.memory.kv_cache import bytes_by_kind, cache_bytes, cell_elements, group
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.model.layers import RecurrentState, SlidingWindow
from tests.truth.caches import published_config
from tests.truth.row import Row

MIB = 2**20
CTX = 32768


class Fact(Struct, frozen=True, kw_only=True):
    """A right number and how it comes about."""

    model: str
    config: Mapping[str, object] | None = None
    """The keys that matter, as published; None takes the corpus's file."""
    attention: int
    state: int = 0
    why: str
    whole: bool = True
    """The figure counts a whole window, of which transformers keeps all but one token. MiMo-V2's
    class adds the token itself to its window, and then takes it off again."""
    indexer: int = 0
    """Of the indexer's bf16 keys, which transformers keeps beside the latent."""


FACTS: tuple[Fact, ...] = (
    Fact(model="deepseek-ai/DeepSeek-V3", attention=2196, why="61 × (512 + 64) × 2"),
    Fact(model="deepseek-ai/DeepSeek-R1", attention=2196, why="61 × (512 + 64) × 2"),
    Fact(model="moonshotai/Kimi-K2-Instruct", attention=2196, why="61 × (512 + 64) × 2"),
    Fact(model="nvidia/Kimi-K2.5-NVFP4", attention=2196, why="MLA inside text_config"),
    Fact(model="nvidia/DeepSeek-V3.1-NVFP4", attention=2196, why="61 × (512 + 64) × 2"),
    Fact(
        model="deepseek-ai/DeepSeek-V3.2", attention=2196, indexer=488, why="and 61 × 128 × 2 more"
    ),
    Fact(model="zai-org/GLM-5", attention=2808, indexer=624, why="78 × (512 + 64) × 2"),
    Fact(model="nvidia/GLM-5.1-NVFP4", attention=2808, indexer=624, why="as GLM-5"),
    Fact(model="zai-org/GLM-5.2", attention=2808, indexer=168, why="21 of 78 layers score"),
    Fact(model="moonshotai/Kimi-K3", attention=864, state=0, why="24 MLA layers of 93"),
    Fact(model="nvidia/Qwen3.6-27B-NVFP4", attention=2048, state=147, why="16 of 64 are full"),
    Fact(model="nvidia/Qwen3.6-35B-A3B-NVFP4", attention=640, state=61, why="10 of 40 are full"),
    Fact(model="nvidia/Qwen3.5-122B-A10B-NVFP4", attention=768, state=147, why="12 of 48"),
    Fact(model="Qwen/Qwen3.5-397B-A17B", attention=960, state=183, why="15 of 60"),
    Fact(
        model="nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        attention=192,
        state=47,
        why="6 of 52 attend, 23 are Mamba 2",
    ),
    Fact(
        model="nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4",
        attention=256,
        state=162,
        why="8 of 88 attend",
    ),
    Fact(model="nvidia/Nemotron-H-56B-Base-8K", attention=1280, state=870, why="10 of 118 attend"),
    Fact(
        model="nvidia/NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16",
        attention=384,
        state=389,
        why="no num_hidden_layers: the length of layers_block_type",
    ),
    Fact(
        model="nvidia/Llama-3_3-Nemotron-Super-49B-v1",
        attention=6272,
        why="49 of 80 layers attend, with their own heads",
    ),
    Fact(model="google/gemma-4-26B-A4B", attention=840, why="5 full of 2 × 512, 25 sliding"),
    Fact(model="google/gemma-3-27b-it", attention=2976, why="10 of 62 are full"),
    Fact(model="openai/gpt-oss-120b", attention=1156, why="18 full, 18 of a window of 128"),
    Fact(model="openai/gpt-oss-20b", attention=771, why="12 full, 12 of a window of 128"),
    Fact(
        model="XiaomiMiMo/MiMo-V2-Flash",
        attention=744,
        whole=False,
        why="9 full, 39 of a window of 128",
    ),
    Fact(model="Qwen/Qwen3-32B-FP8", attention=8192, why="fp8 weights keep a bf16 cache"),
    Fact(model="nvidia/MiniMax-M2.5-NVFP4", attention=7936, why="62 × 8 × 256 × 2"),
    Fact(model="Qwen/Qwen3-0.6B", attention=3584, why="28 × 8 × 256 × 2"),
    Fact(model="Qwen/Qwen3-VL-8B-Instruct", attention=4608, why="36 × 8 × 256 × 2"),
    Fact(model="Qwen/Qwen3-32B", attention=8192, why="64 × 8 × 256 × 2"),
    Fact(model="meta-llama/Llama-3.1-8B-Instruct", attention=4096, why="32 × 8 × 256 × 2"),
    Fact(model="meta-llama/Llama-3.1-70B-Instruct", attention=10240, why="80 × 8 × 256 × 2"),
    Fact(
        model="meta-llama/Llama-4-Scout-17B-16E-Instruct",
        config={"model_type": "llama4", "text_config": {"num_hidden_layers": 48}},
        attention=2688,
        why="every fourth layer is full, 36 are chunked at 8,192",
    ),
    Fact(
        model="google/gemma-4-31B-it",
        config={
            "model_type": "gemma4",
            "text_config": {
                "num_hidden_layers": 60,
                "hidden_size": 5376,
                "num_attention_heads": 32,
                "num_key_value_heads": 16,
                "head_dim": 256,
                "num_global_key_value_heads": 4,
                "global_head_dim": 512,
                "attention_k_eq_v": True,
                "sliding_window": 1024,
                "num_kv_shared_layers": 0,
                "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
            },
        },
        attention=3360,
        why="10 full of 4 × 512, 50 sliding of 16 × 256",
    ),
    Fact(
        model="google/gemma-3-12b-it",
        config={
            "model_type": "gemma3",
            "text_config": {
                "hidden_size": 3840,
                "num_hidden_layers": 48,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "sliding_window": 1024,
            },
        },
        attention=2368,
        why="no head_dim: the class's 256, not 3840 / 16; no pattern: the class's 6",
    ),
    Fact(
        model="google/gemma-3-4b-it",
        config={
            "model_type": "gemma3",
            "text_config": {"hidden_size": 2560, "num_hidden_layers": 34, "sliding_window": 1024},
        },
        attention=756,
        why="heads, their size and the pattern are the class's defaults",
    ),
    Fact(model="ybelkada/falcon-7b-sharded-bf16", attention=256, why="multi_query: one head"),
)


def facts(shared: Path) -> Iterator[Row]:
    """Every fact whose configuration is in the corpus or written here."""
    for fact in FACTS:
        values = fact.config or published_config(shared, fact.model)
        if values is not None:
            yield from compared(fact, values)


def compared(fact: Fact, values: Mapping[str, object]) -> Iterator[Row]:
    """A fact beside what hfmem reads from a configuration."""
    groups = group(layers(read(values)).layers)
    kinds = bytes_by_kind(cache_bytes(groups, ctx=CTX, kv_dtype="BF16", model_dtype="BF16"))
    state = kinds.get("recurrent", 0)
    window = sum(
        one.count * cell_elements(one.kind) * 2
        for one in groups
        if isinstance(one.kind, SlidingWindow) and fact.whole
    )
    attention = sum(kinds.values()) - state + window
    yield _row(fact, "attention", fact.attention + fact.indexer, attention)
    if fact.state:
        # The figures are vLLM's, whose convolution keeps one column less than transformers.
        columns = sum(
            one.count * one.kind.conv_elements // one.kind.conv_kernel * 2
            for one in groups
            if isinstance(one.kind, RecurrentState) and one.kind.conv_kernel
        )
        yield _row(fact, "state", fact.state, state - columns)


def _row(fact: Fact, part: str, mib: int, found: int) -> Row:
    rounded = 2 * abs(found - mib * MIB) <= MIB
    return Row(
        table="cache, where tools err",
        name=f"{fact.model}: {part} ({fact.why})",
        expected=mib * MIB,
        found=mib * MIB if rounded else found,
        tolerance=0.01,
    )
