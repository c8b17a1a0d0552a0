"""What other tools size wrongly, with the right number: MiB at 32,768 tokens in bf16 unless said.

The numbers follow from the published sizes by hand; each says how. ``fixtures/cache_configs.json``
has the keys of the published files that the cache follows from, the misleading ones with them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hfmem.memory.kv_cache import bytes_by_kind, cache_bytes, group, total_bytes
from hfmem.model.architectures import layers
from hfmem.model.config import read
from hfmem.runtimes.vllm_cache import plan
from tests.runtimes.test_vllm_cache import chosen
from tests.truth.tools import CTX, FACTS, MIB, Fact, compared

FIXTURE = Path(__file__).parents[2] / "fixtures" / "cache_configs.json"
CONFIGS: dict[str, Any] = json.loads(FIXTURE.read_text(encoding="utf-8"))["models"]
CONFIGS |= {fact.model: fact.config for fact in FACTS if fact.config is not None}

# Sizes of the families whose keys have names of their own.
NAMED: dict[str, dict[str, object]] = {
    "google/flan-t5-base": {
        "model_type": "t5",
        "is_encoder_decoder": True,
        "d_model": 768,
        "d_kv": 64,
        "num_heads": 12,
        "num_layers": 12,
        "num_decoder_layers": 12,
    },
    "openai/whisper-large-v3": {
        "model_type": "whisper",
        "d_model": 1280,
        "decoder_layers": 32,
        "decoder_attention_heads": 20,
        "encoder_layers": 32,
        "max_source_positions": 1500,
    },
    "facebook/bart-large-cnn": {
        "model_type": "bart",
        "d_model": 1024,
        "decoder_layers": 12,
        "decoder_attention_heads": 16,
    },
    "openai-community/gpt2": {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12},
    "mosaicml/mpt-7b": {"model_type": "mpt", "d_model": 4096, "n_heads": 32, "n_layers": 32},
}


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: fact.model)
def test_attention_and_state_of_a_model(fact: Fact) -> None:
    for row in compared(fact, CONFIGS[fact.model]):
        assert row.found == row.expected, row.name


@pytest.mark.parametrize(
    ("model", "ctx", "mib", "why"),
    [
        ("ybelkada/falcon-7b-sharded-bf16", 2048, 16, "32 layers x one head of 64, twice"),
        ("meta-llama/Llama-3.1-70B-Instruct", 8192, 2560, "80 x 8 x 256 x 2"),
        ("meta-llama/Llama-2-7b-hf", 4096, 2048, "32 x 32 x 256 x 2"),
        ("meta-llama/Llama-3.1-8B-Instruct", 131_072, 16_384, "32 x 8 x 256 x 2"),
        ("google/gemma-3-27b-it", CTX, 2975.5, "10 full; 52 keep 1,023 tokens of a window"),
        (
            "TheBloke/Llama-2-13B-chat-GPTQ",
            8192,
            6400,
            "GPTQ keeps the model's type: 40 x 40 x 256",
        ),
        ("TechxGenus/c4ai-command-r-v01-AWQ", 8192, 10_240, "AWQ too: 40 x 64 x 256 x 2"),
        ("THUDM/glm-4-9b-chat", CTX, 1280, "40 x 2 groups x 256 x 2"),
        ("OpenGVLab/InternVL2-2B", CTX, 3072, "24 x 8 x 256 x 2, in llm_config"),
        ("Qwen/Qwen2.5-Omni-7B-AWQ", CTX, 1792, "28 x 4 x 256 x 2, two sections down"),
        ("openai-community/gpt2", 1024, 36, "12 x 12 x 128 x 2"),
        ("mosaicml/mpt-7b", 2048, 1024, "32 x 32 x 256 x 2"),
    ],
)
def test_cache_at_a_context(model: str, ctx: int, mib: float, why: str) -> None:
    config = CONFIGS.get(model) or NAMED[model]
    groups = group(layers(read(config)).layers)
    found = total_bytes(groups, ctx=ctx, kv_dtype="BF16", model_dtype="BF16")
    tolerance = 0.5 if mib != round(mib) else 0
    assert abs(found / MIB - mib) <= tolerance, why


@pytest.mark.parametrize(
    ("model", "ctx", "encoder", "own", "cross"),
    [
        # Twice layers x width x tokens x 2 bytes.
        ("google/flan-t5-base", 512, 512, 12 * 768, 12 * 768),
        ("openai/whisper-large-v3", 448, 1500, 32 * 1280, 32 * 1280),
        ("facebook/bart-large-cnn", 1024, 1024, 12 * 1024, 12 * 1024),
        ("MBZUAI/LaMini-Flan-T5-783M", 512, 512, 24 * 1024, 24 * 1024),
    ],
)
def test_both_caches_of_an_encoder_decoder(
    model: str, ctx: int, encoder: int, own: int, cross: int
) -> None:
    groups = group(layers(read(CONFIGS.get(model) or NAMED[model])).layers)
    parts = cache_bytes(groups, ctx=ctx, kv_dtype="BF16", model_dtype="BF16", encoder_ctx=encoder)
    kinds = bytes_by_kind(parts)
    assert kinds["cross"] == 4 * cross * encoder
    assert sum(kinds.values()) - kinds["cross"] == 4 * own * ctx


@pytest.mark.parametrize(
    ("model", "mib"),
    [
        ("openai/gpt-oss-120b", 1445),
        ("openai/gpt-oss-20b", 963),
        ("google/gemma-4-31B-it", 9772),
        ("google/gemma-4-26B-A4B", 2443),
    ],
)
def test_first_chunk_of_vllm(model: str, mib: int) -> None:
    """vLLM 0.24 with --max-num-batched-tokens 8192: a sliding layer claims its window and the
    whole chunk."""
    asked = chosen(ctx=CTX, step=8192, version="0.24")
    stack = layers(read(CONFIGS[model])).layers
    found = plan(stack, asked, hybrid=True)
    size = found.request_blocks(asked) * found.bytes_per_block(range(len(stack)))
    assert round(size / MIB) == mib


def test_a_gemma_4_token_as_the_engine_printed_it() -> None:
    """gemma-4-31B at 262,144 tokens: 108.2 KiB a token in the log, in blocks of 16."""
    asked = chosen(ctx=262_144, step=8192, version="0.24")
    stack = layers(read(CONFIGS["google/gemma-4-31B-it"])).layers
    found = plan(stack, asked, hybrid=True)
    size = found.request_blocks(asked) * found.bytes_per_block(range(len(stack)))
    assert round(size / 262_144 / 1024, 1) == 108.2
