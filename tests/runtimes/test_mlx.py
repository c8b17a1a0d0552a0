"""MLX: steps of growth, rotating and quantized caches, the working set. Sources: mlx-lm 0.32.2."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import ChunkedAttention, FullAttention, SlidingWindow
from hfmem.model.model import Model
from hfmem.runtimes.mlx import cells, estimate, generate, grown, row_bytes
from hfmem.source.recorded import bundled

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GEMMA = "google/gemma-3-27b-it"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
FULL = FullAttention(kv_heads=8, head_dim=128, v_head_dim=128)
SLIDING = SlidingWindow(kv_heads=8, head_dim=128, v_head_dim=128, window=1024)
CHUNKED = ChunkedAttention(kv_heads=8, head_dim=128, v_head_dim=128, chunk=8192)


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def run(name: str, *, ctx: int, gpu: str = "", batch: int = 1, **flags: Any) -> MemoryEstimate:
    kv, quantize = flags.pop("kv_dtype", "auto"), flags.pop("quantize", None)
    asked = workload(
        ctx=ctx,
        batch=batch,
        runtime="mlx",
        kv_dtype=kv,
        quantize=quantize,
        flags=flags_of(flags, runtime="mlx"),
    )
    return estimate(model(name), asked, GpuGroup(gpu=find(gpu)) if gpu else None)


def cache(found: MemoryEstimate, phase: str) -> int:
    return next(p for p in found.phases if p.name == phase).part("kv_cache").bytes


@pytest.mark.parametrize(("tokens", "held"), [(1, 256), (256, 256), (257, 512), (8192, 8192)])
def test_steps_of_256(tokens: int, held: int) -> None:
    assert grown(tokens) == held


# models/cache.py: KVCache, RotatingKVCache._update_concat and _update_in_place.
@pytest.mark.parametrize(
    ("kind", "tokens", "rotating", "chunk", "held"),
    [
        (FULL, 1000, True, 1, 1024),
        (SLIDING, 100, True, 1, 256),
        (SLIDING, 900, True, 1, 1024),
        (SLIDING, 9000, True, 1, 1024),
        (SLIDING, 9000, True, 2048, 1023 + 2048),
        (SLIDING, 500, True, 500, 500),
        (SLIDING, 9000, False, 1, 9216),
        (CHUNKED, 9000, False, 1, 8192),
    ],
)
def test_cells(
    kind: FullAttention | SlidingWindow | ChunkedAttention,
    tokens: int,
    rotating: bool,
    chunk: int,
    held: int,
) -> None:
    assert cells(kind, tokens, rotating=rotating, chunk=chunk) == held


# models/cache.py: QuantizedKVCache: words of 32 bits, a scale and an offset for 64 elements.
@pytest.mark.parametrize(
    ("elements", "bits", "size"),
    [(128, None, 256), (128, 8, 128 + 8), (128, 4, 64 + 8), (64, 2, 16 + 4)],
)
def test_rows(elements: int, bits: int | None, size: int) -> None:
    assert row_bytes(elements, element=2, bits=bits) == size


@pytest.mark.parametrize(
    ("ctx", "flags", "size"),
    [
        (8192, {}, 2**30),
        (4999, {"kv_bits": 8}, 5120 * 131_072),
        (32_768, {"kv_bits": 8}, 32_768 * 131_072 * 17 // 32),
        (32_768, {"kv_dtype": "q8"}, 32_768 * 131_072 * 17 // 32),
        # Looked at after chunks of 2,048: 6,144 cells before, more than 8,192 in 4 bits.
        (8192, {"kv_dtype": "q4"}, 6144 * 131_072),
        (65_536, {"kv_dtype": "q4"}, 65_536 * 131_072 * 9 // 32),
        (8192, {"kv_dtype": "q4", "quantized_kv_start": 0}, 8192 * 131_072 * 9 // 32),
    ],
)
def test_quantized_from_5000_tokens(ctx: int, flags: dict[str, Any], size: int) -> None:
    assert cache(run(LLAMA, ctx=ctx, **flags), "decode") == size


def test_sliding_layers_of_gemma_3() -> None:
    found = run(GEMMA, ctx=8192)
    assert cache(found, "decode") == (10 * 8192 + 52 * 1024) * 8192
    assert cache(found, "prefill") == (10 * 8192 + 52 * 3071) * 8192


def test_the_latent_is_cached() -> None:
    # models/deepseek_v3.py: cache.update_and_fetch(kv_latent, k_pe).
    assert cache(run(DEEPSEEK, ctx=8192), "decode") == 8192 * 70_272


def test_a_vision_tower_is_left_out() -> None:
    found = run(GEMMA, ctx=8192)
    assert "language_only" in {note.code for note in found.notes}
    assert {part.name for part in found.phases[0].part("weights").parts} == {
        "language",
        "embedding",
    }


def test_a_rotating_cache_is_not_quantized() -> None:
    with pytest.raises(UsageError, match="rotating"):
        run(GEMMA, ctx=8192, kv_dtype="q8")


@pytest.mark.parametrize("bits", [3, 5, 6])
def test_widths_that_words_do_not_hold(bits: int) -> None:
    with pytest.raises(UsageError, match="32 bits"):
        run(LLAMA, ctx=8192, kv_bits=bits)


def test_4_bits_in_groups_of_64() -> None:
    # Every matrix, the embedding and the head at 4.5 bits; norms in bf16.
    found = run(LLAMA, ctx=8192, quantize="mlx-4bit").phases[0].part("weights").bytes
    assert found == (8_030_261_248 - 65 * 4096) * 9 // 16 + 65 * 4096 * 2


def test_near_the_working_set() -> None:
    found = run(LLAMA, ctx=1024, gpu="apple-m4-max-64gb")
    assert "near_working_set" not in {note.code for note in found.notes}
    found = run("meta-llama/Llama-3.1-70B-Instruct", ctx=1024, gpu="apple-m4-max-64gb")
    assert "near_working_set" in {note.code for note in found.notes}


@settings(max_examples=25, deadline=None)
@given(ctx=st.integers(1, 120_000), more=st.integers(1, 50_000), kv=st.sampled_from(["auto", "q4"]))
def test_more_context_never_takes_less(ctx: int, more: int, kv: str) -> None:
    less = run(LLAMA, ctx=ctx, kv_dtype=kv).need_bytes
    assert run(LLAMA, ctx=ctx + more, kv_dtype=kv).need_bytes >= less


def test_commands() -> None:
    chosen, group = model(LLAMA), GpuGroup(gpu=find("apple-m4-max-64gb"))
    asked = workload(ctx=8192, runtime="mlx", quantize="mlx-4bit", kv_dtype="q8")
    assert generate(chosen, asked, group, estimate(chosen, asked, group)).splitlines() == [
        f"mlx_lm.convert --hf-path {LLAMA} --mlx-path Llama-3.1-8B-Instruct-mlx-4bit -q --q-bits 4",
        "mlx_lm.generate --model Llama-3.1-8B-Instruct-mlx-4bit --prompt - --max-tokens 512 "
        "--kv-bits 8",
    ]
