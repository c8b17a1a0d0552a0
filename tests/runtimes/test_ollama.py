"""Ollama's defaults, and what it hands to llama-server. Sources: ollama at commit fb30760."""

from __future__ import annotations

from typing import Any

import pytest

from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload, workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp import estimate as llama_cpp
from hfmem.runtimes.ollama import as_llama_server, batch_for, default_ctx, estimate, serve_and_run
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
