"""SGLang: the defaults of a card, the pools, the fraction. Sources: SGLang 0.5.23."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import LatentAttention
from hfmem.model.model import Model
from hfmem.runtimes.sglang import estimate
from hfmem.runtimes.sglang_command import launch_server
from hfmem.runtimes.sglang_pools import Cells, claim
from hfmem.runtimes.sglang_settings import (
    capacity_defaults,
    prefill_sizes,
    reserved_mib,
    vision_factor,
)
from hfmem.runtimes.sglang_settings import settings as resolved
from hfmem.source.recorded import bundled
from hfmem.units import GIB, MIB

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
OSS = "openai/gpt-oss-20b"
GEMMA = "google/gemma-3-27b-it"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def run(name: str, *, ctx: int, gpu: str = "", count: int = 1, **flags: Any) -> MemoryEstimate:
    batch, kv = flags.pop("batch", 1), flags.pop("kv_dtype", "auto")
    asked = workload(
        ctx=ctx,
        batch=batch,
        runtime="sglang",
        kv_dtype=kv,
        flags=flags_of(flags, runtime="sglang"),
    )
    group = GpuGroup(gpu=find(gpu), count=count) if gpu else None
    return estimate(model(name), asked, group)


# model_runner_components/load_model_utils.py: maybe_downgrade_dtype_for_legacy_gpu.
@pytest.mark.parametrize(
    ("gpu", "cache", "refused"),
    [("t4", "float16", False), ("v100-32gb", "float16", True), ("a100-40gb", "bfloat16", False)],
)
def test_older_cards(gpu: str, cache: str, refused: bool) -> None:
    found = run(LLAMA, ctx=512, gpu=gpu)
    assert found.kv_dtype == cache
    assert ("7.5" in (found.refusal or "")) == refused


# arg_groups/overrides.py: the cache of DeepSeek DSA by the card's major capability.
@pytest.mark.parametrize(
    ("gpu", "asked", "held"),
    [
        ("h200", "auto", "auto"),
        ("b200", "auto", "fp8_e4m3"),
        ("b200", "bfloat16", "bfloat16"),
        ("h200", "fp8_e4m3", "fp8_e4m3"),
        ("h200", "fp8_e5m2", None),
    ],
)
def test_the_cache_of_sparse_latent_attention(gpu: str, asked: str, held: str | None) -> None:
    plain = model(DEEPSEEK)
    layers = tuple(
        tuple(
            replace(kind, indexer_dim=128) if isinstance(kind, LatentAttention) else kind
            for kind in kinds
        )
        for kinds in plain.decoder.layers
    )
    sparse = replace(plain, decoder=replace(plain.decoder, layers=layers))
    group = GpuGroup(gpu=find(gpu))
    given = workload(ctx=512, runtime="sglang", kv_dtype=asked)
    if held is None:
        with pytest.raises(UsageError, match="fp8_e5m2"):
            resolved(sparse, given, group)
    else:
        assert resolved(sparse, given, group).kv_dtype == held


# srt/arg_groups/memory_hook.py: handle_gpu_memory_settings.
@pytest.mark.parametrize(
    ("gib", "tp", "expected"),
    [
        (16, 1, (2048, 8)),
        (24, 1, (4096, 48)),
        (24, 4, (4096, 160)),
        (48, 2, (4096, 32)),
        (48, 8, (4096, 160)),
        (80, 1, (8192, 256)),
        (141, 4, (8192, 512)),
        (180, 1, (16384, 512)),
    ],
)
def test_defaults_of_a_card(gib: int, tp: int, expected: tuple[int, int]) -> None:
    assert capacity_defaults(gib * GIB, tp=tp) == expected


# srt/arg_groups/cuda_graph_hook.py: generate_prefill_cuda_graph_batch_sizes.
@pytest.mark.parametrize(("most", "count"), [(32, 8), (256, 22), (512, 30), (4096, 50), (8192, 58)])
def test_prefill_graphs(most: int, count: int) -> None:
    assert len(prefill_sizes(most)) == count


# 512 + 1.5 × chunk + 128 a rank + 2 a captured sequence + 8 a prefill graph (1,536 with MLA).
@pytest.mark.parametrize(
    ("total_mib", "chunk", "batch", "graphs", "ranks", "latent", "expected"),
    [
        (81559, 8192, 256, 58, 1, False, 512 + 12288 + 128 + 512 + 464),
        (24564, 4096, 48, 50, 1, False, 512 + 6144 + 128 + 96 + 400),
        (81559, 2048, 8, 42, 1, False, 10240),
        (143771, 8192, 512, 58, 8, True, 512 + 12288 + 1024 + 1024 + 1536),
    ],
)
def test_reserve(
    total_mib: int, chunk: int, batch: int, graphs: int, ranks: int, latent: bool, expected: float
) -> None:
    found = reserved_mib(
        total_mib,
        chunk=chunk,
        graph_batch=batch,
        prefill_graphs=graphs,
        ranks=ranks,
        latent=latent,
    )
    assert found == expected


# adjust_mem_fraction_for_vlm: 0.95, a tenth less for every ViT-L more, from 0.8 to 1.05 of it.
@pytest.mark.parametrize(
    ("layers", "hidden", "expected"),
    [
        (24, 1024, Fraction(95, 100)),
        (48, 1024, Fraction(95, 100) * Fraction(9, 10)),
        (96, 4096, Fraction(95, 100) * Fraction(8, 10)),
        (6, 512, Fraction(95, 100) * Fraction(105, 100)),
    ],
)
def test_vision_takes_some_off(layers: int, hidden: int, expected: Fraction) -> None:
    assert vision_factor(layers, hidden) == expected


def test_the_automatic_fraction_of_an_h100() -> None:
    asked = workload(ctx=8192, runtime="sglang")
    found = resolved(model(LLAMA), asked, GpuGroup(gpu=find("h100-sxm")))
    # round((81,559 − 13,904) / 81,559, 3)
    assert found.fraction == Fraction(830, 1000)


# Bytes a token: heads × (dk + dv) × bytes × layers; MLA 576 × 61 × 2 on every rank
# (pool_configurator.py: _compute_cell_size).
@pytest.mark.parametrize(
    ("name", "flags", "per_token"),
    [
        (LLAMA, {}, 131_072),
        (LLAMA, {"kv_dtype": "fp8_e4m3"}, 65_536),
        (LLAMA, {"kv_dtype": "mxfp8"}, 65_536 + 65_536 // 32),
        (DEEPSEEK, {}, 70_272),
        # 12 full layers, and 0.8 tokens of 12 sliding ones, of 2,048 bytes.
        (OSS, {}, 24_576 * 9 // 5),
        # Not on SGLang's list: every token in all 62 layers.
        (GEMMA, {}, 62 * 8192),
    ],
)
def test_bytes_of_a_token(name: str, flags: dict[str, Any], per_token: int) -> None:
    assert run(name, ctx=8192, **flags).bytes_per_token == per_token


def test_a_latent_cache_is_on_every_rank() -> None:
    one, two = run(DEEPSEEK, ctx=8192), run(DEEPSEEK, ctx=8192, tp=2)
    held = [phase.part("kv_cache").bytes for phase in (one.phases[0], two.phases[0])]
    assert held[1] == 2 * held[0] == 2 * 8192 * 70_272


def test_state_and_tokens_share_the_pool() -> None:
    asked = workload(ctx=8192, runtime="sglang")
    chosen = resolved(model(LLAMA), asked, None)
    size = Cells(full=24_576, sliding=0, window=0, state=77_266_944)
    found = claim(size, chosen, sequences=4, tokens=8192)
    parts = {part.name: part.bytes for part in found.parts}
    # 4 requests × 5 slots, and two of padding; tokens get 1 / 0.9 of what states get.
    assert parts["recurrent"] == 22 * 77_266_944
    assert found.bytes == int(22 * 77_266_944 * Fraction(19, 9))


def test_a_short_context_still_needs_a_window() -> None:
    asked = workload(ctx=8192, runtime="sglang")
    chosen = resolved(model(OSS), asked, None)
    size = Cells(full=1000, sliding=1000, window=128, state=0)
    # 130 tokens of sliding layers at 0.8 for each full one (validate_swa_pool_size).
    assert claim(size, chosen, sequences=1, tokens=10).parts[0].bytes == 163 * 1800


def test_the_pool_takes_the_rest() -> None:
    found = run(LLAMA, ctx=8192, gpu="h100-sxm", mem_fraction_static="0.8")
    assert found.pool is not None
    assert found.budget_bytes is not None
    rest = found.budget_bytes - found.phases[0].part("weights").bytes
    assert found.pool.tokens == rest // 131_072
    assert found.pool.concurrency == Fraction(found.pool.tokens, 8192)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"tp": 3}, "32 attention heads"),
        ({"tp": 2, "ep": 4}, "expert parallel"),
        ({"pp": 64}, "64"),
    ],
)
def test_refused_layouts(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(LLAMA, ctx=8192, **flags)


@settings(max_examples=25, deadline=None)
@given(ctx=st.integers(1, 200_000), more=st.integers(1, 50_000), batch=st.integers(1, 64))
def test_more_context_never_takes_less(ctx: int, more: int, batch: int) -> None:
    less = run(OSS, ctx=ctx, batch=batch).need_bytes
    assert run(OSS, ctx=ctx + more, batch=batch).need_bytes >= less


def test_command() -> None:
    group = GpuGroup(gpu=find("h100-sxm"), count=2)
    flags = flags_of({"mem_fraction_static": "0.85"}, runtime="sglang")
    asked = workload(ctx=8192, runtime="sglang", kv_dtype="fp8_e4m3", flags=flags)
    chosen = model(LLAMA)
    assert launch_server(chosen, asked, group, estimate(chosen, asked, group)) == (
        f"python -m sglang.launch_server --model-path {LLAMA} --context-length 8192 --tp-size 2 "
        "--kv-cache-dtype fp8_e4m3 --mem-fraction-static 0.85"
    )


def test_the_reserve_is_what_sglang_sets_aside() -> None:
    found = run(LLAMA, ctx=8192, gpu="h100-sxm").phases[0].part("activations")
    assert found.bytes == (12288 + 512) * MIB


def test_other_machines_fill_by_other_rules() -> None:
    for name in ("apple-m4-max-64gb", "h100-sxm", "mi300x"):
        found = run(LLAMA, ctx=8192, gpu=name)
        assert (found.refusal is None) is not name.startswith("apple")


def test_without_a_card_its_defaults_are_said() -> None:
    asked = workload(ctx=8192, runtime="sglang")
    codes = [note.code for note in estimate(model(LLAMA), asked, None).notes]
    assert codes == ["assumed_card"]
