"""llama.cpp: caches, placement, weights, refusals, and measured rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.hardware.fit import judge
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.layers import RecurrentState
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.llama_cpp import estimate
from hfmem.runtimes.llama_cpp_cache import layer_bytes
from hfmem.runtimes.llama_cpp_command import llama_server, to_host
from hfmem.runtimes.llama_cpp_placement import Place, places
from hfmem.runtimes.llama_cpp_settings import settings as resolved
from hfmem.source.recorded import bundled
from hfmem.units import GIB, MIB
from tests.accuracy.llama_cpp import figures

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GEMMA = "google/gemma-3-27b-it"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
MOE = "Qwen/Qwen3-30B-A3B"
OSS_20B = "openai/gpt-oss-20b"


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def gpt_oss_120b() -> Model:
    """gpt-oss-20b's configuration with the 36 layers and 128 experts of its larger sibling."""
    snapshot = bundled(OSS_20B)
    assert snapshot is not None
    assert snapshot.config is not None
    config = dict(snapshot.config)
    config |= {
        "num_hidden_layers": 36,
        "num_local_experts": 128,
        "layer_types": ["sliding_attention", "full_attention"] * 18,
    }
    return describe(
        Snapshot(
            model="openai/gpt-oss-120b",
            revision=None,
            source="recorded",
            config=config,
            documents={},
            files=(),
            checkpoint=None,
        )
    )


def run(
    what: Model | str, *, ctx: int, gpu: str = "", count: int = 1, batch: int = 1, **flags: Any
) -> MemoryEstimate:
    chosen = model(what) if isinstance(what, str) else what
    kv, quantize = flags.pop("kv_dtype", "auto"), flags.pop("quantize", None)
    asked = workload(
        ctx=ctx,
        batch=batch,
        runtime="llama.cpp",
        kv_dtype=kv,
        quantize=quantize,
        flags=flags_of(flags, runtime="llama.cpp"),
    )
    group = GpuGroup(gpu=find(gpu), count=count) if gpu else None
    return estimate(chosen, asked, group)


def part(found: MemoryEstimate, name: str) -> int:
    return found.phases[0].part(name).bytes


# Blocks of 32 elements: f32 128 bytes, f16 64, q8_0 34, q5_1 24, q5_0 22, q4_1 20, q4_0 and iq4_nl
# 18 (ggml/src/ggml-common.h), × 2,048 elements × 32 layers × 8,192 cells.
@pytest.mark.parametrize(
    ("name", "mib"),
    [
        ("f32", 2048),
        ("f16", 1024),
        ("bf16", 1024),
        ("q8_0", 544),
        ("q5_1", 384),
        ("q5_0", 352),
        ("q4_1", 320),
        ("q4_0", 288),
        ("iq4_nl", 288),
    ],
)
def test_cache_types(name: str, mib: int) -> None:
    assert part(run(LLAMA, ctx=8192, kv_dtype=name), "kv_cache") == mib * MIB


def test_k_and_v_apart() -> None:
    # As printed for ctx 1,024: K (iq4_nl) 18.00 MiB, V (f16) 64.00 MiB.
    found = run(LLAMA, ctx=1024, cache_type_k="iq4_nl", flash_attn="off")
    assert part(found, "kv_cache") == 82 * MIB


# 8,192 bytes a cell and layer, 10 full and 52 sliding layers; 1,536 cells for one slot, 4,608 for
# four that share a cache (src/llama-kv-cache-iswa.cpp).
@pytest.mark.parametrize(
    ("flags", "ctx", "gib"),
    [
        ({"parallel": 1}, 8192, 1.234),
        ({"parallel": 1}, 32768, 3.109),
        ({"parallel": 1}, 131072, 10.609),
        ({}, 8192, 2.453),
        ({}, 32768, 4.328),
        ({}, 131072, 11.828),
        ({"swa_full": True}, 8192, 3.875),
        ({"swa_full": True}, 131072, 62.0),
    ],
)
def test_sliding_cells_of_gemma_3(flags: dict[str, Any], ctx: int, gib: float) -> None:
    assert round(part(run(GEMMA, ctx=ctx, **flags), "kv_cache") / GIB, 3) == gib


def test_sliding_cells_of_gpt_oss() -> None:
    # 18 × 131,072 and 18 × 768 cells of 2,048 bytes.
    found = run(gpt_oss_120b(), ctx=131072, parallel=1)
    assert round(part(found, "kv_cache") / GIB, 3) == 4.526


def test_latent_cache_has_no_v() -> None:
    # c^KV (f16) of DeepSeek-R1 at 32,768 tokens is printed as 2,196.00 MiB.
    assert part(run(DEEPSEEK, ctx=32768), "kv_cache") == 2196 * MIB


# (conv without its newest column + state) × float32 × layers: src/llama-hparams.cpp n_embd_r and
# n_embd_s, with the published sizes.
@pytest.mark.parametrize(
    ("conv", "kernel", "state", "layers", "mib"),
    [
        (4 * 10240, 4, 1_048_576, 64, 263.5),  # Codestral-7B: 8,192 + 2 × 8 × 128 channels
        (4 * 8192, 4, 524_288, 36, 75.375),  # Qwen3-Next-80B
        (4 * 8192, 4, 8192 * 16, 28, 16.625),  # Jamba-v0.1
        (4 * 5376, 4, 80 * 64 * 128, 64, 163.9375),  # mamba2-2.7b
    ],
)
def test_recurrent_state(conv: int, kernel: int, state: int, layers: int, mib: float) -> None:
    kind = RecurrentState(
        conv_elements=conv,
        state_elements=state,
        conv_dtype=None,
        state_dtype=None,
        conv_kernel=kernel,
    )
    asked = workload(
        ctx=4096, runtime="llama.cpp", flags=flags_of({"parallel": 1}, runtime="llama.cpp")
    )
    found = layer_bytes((kind,), resolved(model(LLAMA), asked), widest_value=0)
    assert found is not None
    assert found.bytes * layers / MIB == mib


@pytest.mark.parametrize(
    ("ctx", "batch", "flags", "cells", "streams", "slots"),
    # tools/server/server.cpp: -np unset is 4 slots of one cache; src/llama-context.cpp: padding.
    [
        (1000, 1, {}, 1024, 1, 4),
        (1000, 3, {}, 3072, 1, 4),
        (1000, 6, {}, 6144, 1, 6),
        (1000, 2, {"parallel": 2}, 1024, 2, 2),
        (1000, 2, {"parallel": 2, "kv_unified": True}, 2048, 1, 2),
        (1000, 4, {"parallel": 2}, 1024, 4, 4),
    ],
)
def test_slots(
    ctx: int, batch: int, flags: dict[str, Any], cells: int, streams: int, slots: int
) -> None:
    asked = workload(
        ctx=ctx, batch=batch, runtime="llama.cpp", flags=flags_of(flags, runtime="llama.cpp")
    )
    found = resolved(model(LLAMA), asked)
    assert (found.cells, found.streams, found.slots) == (cells, streams, slots)


@pytest.mark.parametrize(
    ("count", "layers", "gpu_layers", "expected"),
    # src/llama-model.cpp: load_tensors; upper_bound of (layer − first) / units over equal splits.
    [
        (1, 32, None, [(0, 32, True)]),
        (2, 32, None, [(0, 17, False), (17, 32, True)]),
        (1, 32, 10, [(23, 32, True)]),
        (1, 32, 0, [(0, 0, False)]),
        (3, 4, None, [(0, 2, False), (2, 4, False), (0, 0, True)]),
    ],
)
def test_places(
    count: int, layers: int, gpu_layers: int | None, expected: Sequence[tuple[int, int, bool]]
) -> None:
    found = places(count, layers=layers, gpu_layers=gpu_layers)
    assert found == tuple(
        Place(layers=range(first, end), head=head) for first, end, head in expected
    )


def test_the_embedding_stays_with_the_host() -> None:
    # 525,336,576 parameters of 2 bytes; norms are float32 in a GGUF file: 65 × 4,096 × 2 bytes
    # more.
    weights = part(run(LLAMA, ctx=8192), "weights")
    assert weights == 16_060_522_496 - 2 * 525_336_576 + 65 * 4096 * 2


def test_a_tied_embedding_is_on_the_device_too() -> None:
    found = run(GEMMA, ctx=8192, parallel=1)
    names = {one.name: one.bytes for one in found.phases[0].part("weights").parts}
    assert names["output"] >= 262_208 * 5376 * 2


def test_experts_on_the_host_leave_a_copy() -> None:
    whole, moved = run(MOE, ctx=8192), run(MOE, ctx=8192, cpu_moe=True)
    tensor = 128 * 768 * 2048 * 2
    assert part(whole, "weights") - part(moved, "weights") == 48 * 3 * tensor
    grown = part(moved, "activations") - part(whole, "activations")
    # What else the buffer holds beside is partly where the copy was.
    assert tensor * 9 // 10 <= grown <= 2 * tensor


# ggml/src/ggml-backend.cpp (ggml_backend_sched_backend_id_from_cur), ggml-cuda.cu (offload_op): in
# batches of 32 rows and more the device multiplies with what lies in the host, matrix by matrix.
@pytest.mark.parametrize(
    ("flags", "held"),
    [
        ({"n_gpu_layers": 0}, True),
        ({"n_gpu_layers": 1}, True),  # the head alone
        ({"n_gpu_layers": 16}, True),
        ({"n_gpu_layers": 33}, False),
        ({"n_gpu_layers": 0, "ubatch_size": 31}, False),
    ],
)
def test_a_device_multiplies_for_the_host(flags: dict[str, Any], held: bool) -> None:
    matrix = 2 * 4096 * 14336  # the largest of a layer, in BF16
    buffer = part(run(LLAMA, ctx=8192, **flags), "activations")
    whole = part(run(LLAMA, ctx=8192), "activations")
    assert (buffer > whole) == held
    assert buffer <= whole + matrix


def test_a_long_cache_of_the_host_is_copied() -> None:
    short, long = (
        part(run(LLAMA, ctx=ctx, n_gpu_layers=0), "activations") for ctx in (65_536, 131_072)
    )
    # Once it is the largest: 4 KiB of cache a cell and 2 bytes of mask for each of 512 tokens.
    assert long - short == 65_536 * (4096 + 2 * 512)


def test_several_devices_that_hold_all_multiply_for_none() -> None:
    whole, two = (run(LLAMA, ctx=8192, gpu="rtx-3090", count=count) for count in (1, 2))
    largest = max(one.bytes for one in two.phases[0].part("activations").parts)
    assert largest < part(whole, "activations") + 2 * 4096 * 14336


@pytest.mark.parametrize("flags", [{}, {"n_gpu_layers": 0}, {"parallel": 2}])
def test_no_batch_beyond_the_slots(flags: dict[str, Any]) -> None:
    work = workload(ctx=16, runtime="llama.cpp", flags=flags_of(flags, runtime="llama.cpp"))
    group = GpuGroup(gpu=find("h200"))
    found = judge(group, model=model("Qwen/Qwen3-8B"), workload=work, runtime=RUNTIMES["llama.cpp"])
    assert found.max_batch == 256  # src/llama-cparams.h: LLAMA_MAX_SEQ


def test_the_cache_can_stay_with_the_host() -> None:
    assert part(run(LLAMA, ctx=8192, no_kv_offload=True), "kv_cache") == 0


def test_devices_hold_what_one_does() -> None:
    one, two = run(LLAMA, ctx=8192, gpu="rtx-3090"), run(LLAMA, ctx=8192, gpu="rtx-3090", count=2)
    for name in ("weights", "kv_cache"):
        assert part(two, name) == part(one, name)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"cache_type_v": "q8_0", "flash_attn": "off"}, "flash attention"),
        ({"quantize": "nf4"}, "no file type"),
    ],
)
def test_refusals(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        run(LLAMA, ctx=8192, **flags)


def test_a_head_that_a_block_does_not_divide() -> None:
    snapshot = bundled(LLAMA)
    assert snapshot is not None
    assert snapshot.config is not None
    odd = describe(
        Snapshot(
            model="odd/heads",
            revision=None,
            source="recorded",
            config={**snapshot.config, "head_dim": 80},
            documents={},
            files=(),
            checkpoint=None,
        )
    )
    with pytest.raises(UsageError, match="80 elements"):
        run(odd, ctx=8192, kv_dtype="q8_0")


@settings(max_examples=25, deadline=None)
@given(ctx=st.integers(512, 200_000), more=st.integers(256, 50_000), batch=st.integers(1, 16))
def test_more_context_never_takes_less(ctx: int, more: int, batch: int) -> None:
    less = run(LLAMA, ctx=ctx, batch=batch).need_bytes
    assert run(LLAMA, ctx=ctx + more, batch=batch).need_bytes >= less


@pytest.mark.parametrize(
    ("flags", "what", "size"),
    # 32 of 33 units on the device: the first layer, its cache and the embedding stay.
    [
        ({"n_gpu_layers": 32}, "KV cache", 32 * MIB),
        ({"n_gpu_layers": 32}, "layers", 2 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)),
        ({"no_kv_offload": True}, "KV cache", 1024 * MIB),
        ({}, "embedding", 2 * 128_256 * 4096),
        # The mask, and embeddings that are given and that are looked up.
        ({}, "inputs", 2 * 8192 * 512 + 2 * 4 * 512 * 4096),
        ({}, "logits", 4 * 4 * 128_256),
    ],
)
def test_what_the_host_holds_is_told(flags: dict[str, Any], what: str, size: int) -> None:
    host = run(LLAMA, ctx=8192, **flags).host
    assert host is not None
    held = {part.name: part.bytes for part in host.parts}
    norms = 2 * 4 * 4096  # in float32
    assert held[what] in (size, size + norms)
    assert host.bytes == sum(held.values())
    assert host.range_bytes[1] - host.bytes == 8192 * MIB


def test_command() -> None:
    group = GpuGroup(gpu=find("rtx-4090"))
    flags = flags_of({"n_cpu_moe": 12, "ubatch_size": 1024}, runtime="llama.cpp")
    asked = workload(ctx=8192, runtime="llama.cpp", quantize="q4_k_m", kv_dtype="q8_0", flags=flags)
    chosen = model(MOE)
    assert llama_server(chosen, asked, group, estimate(chosen, asked, group)) == (
        "hf download Qwen/Qwen3-30B-A3B --local-dir Qwen3-30B-A3B\n"
        "python convert_hf_to_gguf.py Qwen3-30B-A3B --outtype bf16 "
        "--outfile Qwen3-30B-A3B-BF16.gguf\n"
        "llama-quantize Qwen3-30B-A3B-BF16.gguf Qwen3-30B-A3B-Q4_K_M.gguf Q4_K_M\n"
        "llama-server -m Qwen3-30B-A3B-Q4_K_M.gguf -c 8192 -ngl 99 -ctk q8_0 -ctv q8_0 "
        "--n-cpu-moe 12 -ub 1024"
    )


# convert_hf_to_gguf.py makes these itself; MXFP4 of gpt-oss it keeps.
@pytest.mark.parametrize(
    ("name", "quantize", "out", "file"),
    [
        (LLAMA, None, "bf16", "Llama-3.1-8B-Instruct-BF16.gguf"),
        (LLAMA, "q8_0", "q8_0", "Llama-3.1-8B-Instruct-Q8_0.gguf"),
        ("openai/gpt-oss-20b", None, "auto", "gpt-oss-20b-MXFP4.gguf"),
    ],
)
def test_a_conversion_of_one_step(name: str, quantize: str | None, out: str, file: str) -> None:
    group, chosen = GpuGroup(gpu=find("h100")), model(name)
    asked = workload(ctx=8192, runtime="llama.cpp", quantize=quantize)
    lines = llama_server(chosen, asked, group, estimate(chosen, asked, group)).splitlines()
    assert lines[1].endswith(f"--outtype {out} --outfile {file}")
    assert lines[2] == f"llama-server -m {file} -c 8192 -ngl 99"
    assert len(lines) == 3


@pytest.mark.parametrize(("name", "quantize"), [(MOE, "q8_0"), (LLAMA, None), (MOE, None)])
def test_what_moves_to_the_host_makes_room(name: str, quantize: str | None) -> None:
    chosen = model(name)
    asked = workload(ctx=8192, runtime="llama.cpp", quantize=quantize)
    before = estimate(chosen, asked, None)
    missing = part(before, "weights") // 3
    _, changed = to_host(chosen, asked, before, missing)
    after = estimate(chosen, changed, None)
    assert before.largest.memory.bytes - after.largest.memory.bytes >= missing


# src/llama.cpp: llama_max_devices.
@pytest.mark.parametrize(("count", "refused"), [(16, False), (17, True)])
def test_at_most_sixteen_devices(count: int, refused: bool) -> None:
    found = run(LLAMA, ctx=4096, gpu="rtx-3090", count=count)
    assert (found.refusal is not None) == refused
    assert found.refusal is None or "16 devices" in found.refusal


@pytest.mark.shared
def test_measured_rows(shared: Path) -> None:
    data = shared / "measured"
    lines = (data / "cases.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    found = [
        figure
        for row in rows
        if row["engine"] == "llama.cpp" and "kv_bytes_per_token" in row["measured"]
        for figure in figures(row, data)
    ]
    caches = [abs(one.error) for one in found if one.quantity == "kv"]
    buffers = [abs(one.error) for one in found if one.quantity == "compute"]
    assert len(caches) >= 6
    assert max(caches) < 1e-3
    assert len(buffers) >= 6
    assert median(buffers) < 0.03
