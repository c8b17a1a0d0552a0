"""Ollama's defaults, and what it hands to llama-server. Sources: ollama at commit fb30760."""

from __future__ import annotations

from typing import Any

import pytest

from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.hardware.fit import judge
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload, workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.llama_cpp import estimate as llama_cpp
from hfmem.runtimes.ollama import (
    as_llama_server,
    batch_for,
    default_ctx,
    estimate,
    held,
    predicted_bytes,
    serve_and_run,
)
from hfmem.source.recorded import bundled
from hfmem.units import GIB, MIB

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GEMMA = "google/gemma-3-27b-it"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def asked(*, ctx: int | None = None, batch: int = 1, **flags: Any) -> Workload:
    kv, quantize = flags.pop("kv_dtype", "auto"), flags.pop("quantize", None)
    return workload(
        ctx=ctx,
        batch=batch,
        runtime="ollama",
        kv_dtype=kv,
        quantize=quantize,
        flags=flags_of(flags, runtime="ollama"),
    )


def run(name: str, gpu: str = "", **given: Any) -> MemoryEstimate:
    return estimate(model(name), asked(**given), GpuGroup(gpu=find(gpu)) if gpu else None)


# server/routes.go (Serve): 47 and 23 GiB of all GPUs.
@pytest.mark.parametrize(
    ("mib", "ctx"),
    [
        (0, 4096),
        (22 * 1024, 4096),
        (23 * 1024 - 1, 4096),
        (23 * 1024, 32_768),
        (47 * 1024 - 1, 32_768),
        (47 * 1024, 262_144),
    ],
)
def test_context_by_memory(mib: int, ctx: int) -> None:
    assert default_ctx(mib * MIB) == ctx


@pytest.mark.parametrize(
    ("gpu", "count", "ctx"),
    [("rtx-4060", 1, 4096), ("rtx-4090", 1, 32_768), ("rtx-4090", 2, 131_072), ("", 1, 4096)],
)
def test_context_of_a_group_up_to_the_models(gpu: str, count: int, ctx: int) -> None:
    group = GpuGroup(gpu=find(gpu), count=count) if gpu else None
    # Two RTX 4090 are 47.3 GiB and would take 262,144 tokens, Llama-3.1 stops at 131,072.
    assert as_llama_server(model(LLAMA), asked(), group).ctx == ctx


# server/sched.go: generationBatchForContext, generationBatchFits; GiB.
@pytest.mark.parametrize(
    ("cells", "predicted", "available", "batch"),
    [
        (4096, 0, 0, 512),
        (4097, 0, 0, 1024),
        (32_768, 10, 100, 1024),
        (32_769, 60, 100, 2048),
        (32_769, 61, 100, 1024),
        (32_769, 76, 100, 512),
        (8192, 75, 100, 1024),
        (8192, 76, 100, 512),
        (32_769, 3, 6, 1024),  # 1.8 GiB below 80 %
        (8192, 4, 5.5, 512),  # 0.4 GiB
    ],
)
def test_batch(cells: int, predicted: float, available: float, batch: int) -> None:
    found = batch_for(cells, predicted=int(predicted * GIB), available=int(available * GIB))
    assert found == batch


# llm/llama_server.go: -c NumCtx × parallel -np parallel; OLLAMA_NUM_PARALLEL is 1 by default.
@pytest.mark.parametrize(
    ("given", "gib"),
    [
        ({"ctx": 8192}, 1.0),
        ({"ctx": 8192, "batch": 4}, 4.0),
        ({"ctx": 8192, "parallel": 4}, 4.0),
        ({"ctx": 8192, "kv_dtype": "q8_0"}, 544 / 1024),
        ({"ctx": 8192, "kv_dtype": "q4_0"}, 288 / 1024),
    ],
)
def test_cache(given: dict[str, Any], gib: float) -> None:
    assert run(LLAMA, **given).phases[0].part("kv_cache").bytes == gib * GIB


def test_every_request_has_a_window_of_its_own() -> None:
    # 10 full layers of 32,768 cells and 52 of pad256(1,024 + 1,024) with batches of 1,024 tokens,
    # of 8,192 bytes.
    found = run(GEMMA, ctx=32_768)
    assert found.phases[0].part("kv_cache").bytes == (10 * 32_768 + 52 * 2048) * 8192


def test_the_rest_is_llama_server() -> None:
    chosen, group = model(LLAMA), GpuGroup(gpu=find("rtx-4090"))
    given = asked(ctx=8192)
    handed = as_llama_server(chosen, given, group)
    theirs, ours = llama_cpp(chosen, handed, group), estimate(chosen, given, group)
    assert ours.phases == theirs.phases


def test_a_small_card_without_flash_attention() -> None:
    group = GpuGroup(gpu=find("rtx-4060"))
    handed = as_llama_server(model(LLAMA), asked(ctx=8192, flash_attn="off"), group)
    assert handed.flags.whole("ubatch_size") == 256


# llm/llama_server.go (PredictServerVRAM): the file, and 2 × layers × KV heads × hidden / heads ×
# cells × 2 bytes: Llama-3.1-8B 32 × 8 × 128, Gemma-3-27B 62 × 16 × (5,376 / 32 = 168, where its
# heads have 128), DeepSeek-V3 61 × 1 (a latent) × 56.
@pytest.mark.parametrize(
    ("name", "given", "cache"),
    [
        (LLAMA, {"ctx": 8192}, 2 * 32 * 8 * 128 * 8192 * 2),
        (LLAMA, {"ctx": 8192, "batch": 4}, 4 * 2 * 32 * 8 * 128 * 8192 * 2),
        (LLAMA, {"ctx": 8192, "kv_dtype": "q4_0"}, 2 * 32 * 8 * 128 * 8192 * 2),
        (GEMMA, {"ctx": 4096}, 2 * 62 * 16 * 168 * 4096 * 2),
        ("deepseek-ai/DeepSeek-V3", {"ctx": 4096}, 2 * 61 * 1 * 56 * 4096 * 2),
    ],
)
def test_what_it_expects(name: str, given: dict[str, Any], cache: int) -> None:
    chosen = model(name)
    once, twice = (
        predicted_bytes(chosen, as_llama_server(chosen, asked(**{**given, "ctx": ctx}), None))
        for ctx in (given["ctx"], 2 * given["ctx"])
    )
    assert once is not None
    assert twice is not None
    assert twice - once == cache


# server/sched.go (bestSingleGPUFit): one card alone where 80 % of its free memory are enough for
# 16.06 GB of weights and 1 GiB of cache for every 8,192 tokens: 18.91 GiB of an RTX 4090's 23.64,
# which 14.96 + 3 are and 14.96 + 4 are not.
@pytest.mark.parametrize(
    ("ctx", "count", "cards"),
    [(8192, 1, 1), (8192, 2, 1), (8192, 4, 1), (24_576, 2, 1), (32_768, 2, 2), (32_768, 1, 1)],
)
def test_one_card_where_one_is_enough(ctx: int, count: int, cards: int) -> None:
    group = GpuGroup(gpu=find("rtx-4090"), count=count)
    found = estimate(model(LLAMA), asked(ctx=ctx), group)
    assert found.count == cards
    assert ("one_card_taken" in [note.code for note in found.notes]) == (cards < count)


def test_a_card_left_out_gives_no_headroom() -> None:
    runtime, chosen, given = RUNTIMES["ollama"], model(LLAMA), asked(ctx=8192)
    one, two = (
        judge(
            GpuGroup(gpu=find("rtx-4090"), count=n), model=chosen, workload=given, runtime=runtime
        )
        for n in (1, 2)
    )
    assert (two.headroom_bytes, two.usable_bytes) == (one.headroom_bytes, one.usable_bytes)
    assert one.max_ctx is not None
    assert two.max_ctx is not None
    assert two.max_ctx > one.max_ctx


# server/create.go (createModel): a checkpoint in FP8 becomes Q8_0 unless --quantize names another.
@pytest.mark.parametrize(
    ("name", "quantize", "made"),
    [
        ("deepseek-ai/DeepSeek-V3", None, "q8_0"),
        ("deepseek-ai/DeepSeek-V3", "q4_k_m", "q4_k_m"),
        (LLAMA, None, "bf16"),
    ],
)
def test_what_it_makes(name: str, quantize: str | None, made: str) -> None:
    chosen, given = model(name), asked(ctx=4096, quantize=quantize)
    weights = estimate(chosen, given, None).phases[0].part("weights").bytes
    assert weights == held(chosen, made, given)[0] == held(chosen, quantize, given)[0]


def test_commands() -> None:
    chosen, group = model(LLAMA), GpuGroup(gpu=find("rtx-4090"))
    given = asked(ctx=8192, batch=2, kv_dtype="q8_0", quantize="q4_k_m")
    lines = serve_and_run(chosen, given, group, estimate(chosen, given, group)).splitlines()
    assert lines == [
        "OLLAMA_CONTEXT_LENGTH=8192 OLLAMA_NUM_PARALLEL=2 OLLAMA_KV_CACHE_TYPE=q8_0 "
        "OLLAMA_FLASH_ATTENTION=1 ollama serve &",
        f"hf download {LLAMA} --local-dir llama-3.1-8b-instruct",
        "echo 'FROM ./llama-3.1-8b-instruct' > Modelfile",
        "ollama create llama-3.1-8b-instruct -f Modelfile --quantize q4_k_m",
        "ollama run llama-3.1-8b-instruct",
    ]
