"""vLLM: what its own logs print, rank by rank, and that the limits are the engine's."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.hardware.fit import judge
from hfmem.memory.estimate import PARTS, MemoryEstimate
from hfmem.memory.workload import Workload, workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.commands import vllm_command
from hfmem.runtimes.nodes import usual_split
from hfmem.runtimes.vllm_rank import stage_layers
from hfmem.runtimes.vllm_settings import layout
from hfmem.source.recorded import bundled
from hfmem.units import GIB

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GEMMA = "google/gemma-3-27b-it"
DEEPSEEK = "deepseek-ai/DeepSeek-V3"
VLLM = RUNTIMES["vllm"]
# The card of the measured runs.
H100 = replace(find("h100-sxm"), usable_bytes=int(Fraction("79.19") * GIB))


def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def asked(ctx: int = 8192, *, version: str | None = None, batch: int = 1, **flags: Any) -> Workload:
    core = {name: flags.pop(name) for name in ("kv_dtype", "dtype", "quantize") if name in flags}
    return workload(
        ctx=ctx,
        batch=batch,
        runtime="vllm",
        version=version,
        flags=flags_of(flags, runtime="vllm"),
        **core,
    )


def memory(name: str, work: Workload, *, gpu: Gpu = H100, count: int = 1) -> MemoryEstimate:
    return VLLM.estimate(model(name), work, GpuGroup(gpu=gpu, count=count))


# Printed by vLLM 0.19 on an H100 of 79.19 GiB with --gpu-memory-utilization 0.95
# (llm-d-incubation/llm-d-planner#205): weights and activations of rank 0 in GiB, pool in tokens.
@pytest.mark.parametrize(
    ("name", "flags", "count", "weights", "activations", "tokens"),
    [
        (LLAMA, {}, 1, 14.99, 1.89, 476_016),
        (LLAMA, {"kv_dtype": "fp8"}, 1, 14.99, 1.89, 952_032),
        (LLAMA, {}, 2, 7.51, 1.89, 1_044_688),
        (LLAMA, {}, 4, 3.77, 1.89, 2_209_792),
        (LLAMA, {"dtype": "float32"}, 1, 29.98, 2.21, 175_296),
        (LLAMA, {"pp": 2}, 2, 7.51, None, 1_075_312),
        (GEMMA, {}, 1, 51.45, 3.99, 36_560),
        ("Qwen/Qwen3-8B", {}, 1, 15.27, 2.21, 418_688),
        ("Qwen/Qwen3-30B-A3B", {}, 1, 56.88, 2.68, 168_288),
        ("openai/gpt-oss-20b", {}, 1, 13.64, 2.87, 1_277_184),
    ],
)
def test_measured(
    name: str,
    flags: dict[str, Any],
    count: int,
    weights: float,
    activations: float | None,
    tokens: int,
) -> None:
    found = memory(name, asked(version="0.19", gpu_memory_utilization="0.95", **flags), count=count)
    rank = found.most_loaded[0]
    assert rank.part("weights").bytes / GIB == pytest.approx(weights, rel=0.015)
    if activations is not None:
        assert rank.part("activations").bytes / GIB == pytest.approx(activations, rel=0.06)
    assert found.pool is not None
    assert found.pool.tokens == pytest.approx(tokens, rel=0.015)


# Bytes of one rank for one token: the shapes of the configurations, in the type of the cache.
@pytest.mark.parametrize(
    ("name", "flags", "count", "per_token"),
    [
        (LLAMA, {}, 1, 131_072),
        (LLAMA, {}, 4, 32_768),
        (LLAMA, {"tp": 16}, 16, 16_384),  # eight heads on sixteen ranks: each is held twice
        (LLAMA, {"kv_dtype": "fp8"}, 1, 65_536),
        (LLAMA, {"kv_dtype": "nvfp4"}, 1, 32 * 8 * 2 * 72),
        (DEEPSEEK, {}, 8, 61 * 576 * 2),  # one latent, whole on every rank
        (DEEPSEEK, {"kv_dtype": "fp8_ds_mla"}, 8, 61 * 656),
    ],
)
def test_bytes_per_token(name: str, flags: dict[str, Any], count: int, per_token: int) -> None:
    found = memory(name, asked(**flags), gpu=find("h200-sxm"), count=count)
    assert found.pool is not None
    assert found.pool.bytes / found.count / found.pool.tokens == pytest.approx(per_token, rel=1e-4)


@pytest.mark.parametrize(
    ("version", "utilization"),
    [("0.19", "0.90"), ("0.21", "0.90"), ("0.33", "0.92"), (None, "0.92")],
)
def test_budget_is_a_share_of_the_card(version: str | None, utilization: str) -> None:
    found = memory(LLAMA, asked(version=version))
    whole = Fraction(utilization) * H100.usable_bytes
    assert found.budget_bytes is not None
    assert 0 <= found.budget_bytes - whole < 1


def test_graphs_are_taken_from_the_pool_since_0_21() -> None:
    before, since = (memory(LLAMA, asked(version=version)) for version in ("0.19", "0.21"))
    assert before.pool is not None
    assert since.pool is not None
    graphs = 0.91 * GIB  # measured on an H100
    assert before.pool.bytes - since.pool.bytes == pytest.approx(graphs, rel=0.1)
    eager = memory(LLAMA, asked(version="0.21", enforce_eager=True))
    assert eager.pool == before.pool


def test_sampler_shrank_in_0_17() -> None:
    sizes = [
        memory("Qwen/Qwen3-8B", asked(version=version)).most_loaded[0].part("activations").bytes
        for version in ("0.16", "0.17")
    ]
    # Qwen3-14B, of the same vocabulary: 5.64 GiB in 0.16, 2.23 in 0.17.
    assert [size / GIB for size in sizes] == pytest.approx([5.6, 2.2], rel=0.03)


def test_offload_and_a_given_pool() -> None:
    plain = memory(LLAMA, asked())
    away = memory(LLAMA, asked(cpu_offload_gb="4"))
    assert plain.pool is not None
    assert away.pool is not None
    assert plain.need_bytes - away.need_bytes >= 4 * GIB
    assert away.pool.bytes - plain.pool.bytes == pytest.approx(4 * GIB, rel=0.05)
    given = memory(LLAMA, asked(kv_cache_memory_bytes="8GiB"))
    assert given.pool is not None
    assert 8 * GIB - 2**21 <= given.pool.bytes <= 8 * GIB


# At most what every rank's layers take is offloaded (model_executor/offloader/uva.py wraps layers).
@pytest.mark.parametrize(
    ("gib", "count", "flags", "share"),
    [
        ("1", 1, {}, None),
        ("1", 2, {"tp": 2}, None),
        ("100", 1, {}, 1),
        ("100", 2, {"tp": 2}, 1),
        ("100", 2, {"pp": 2}, 1),
    ],
)
def test_offloads_no_more_than_the_layers(
    gib: str, count: int, flags: dict[str, Any], share: int | None
) -> None:
    found = memory("Qwen/Qwen3-8B", asked(cpu_offload_gb=gib, **flags), count=count)
    assert found.host is not None
    held = sum(part.bytes for part in found.host.parts if part.name == "offloaded")
    # 36 layers of 192,946,432 parameters each, from the config: q, k, v, o of 4,096 with 32 heads
    # and 8 KV heads of 128, an MLP of 12,288, norms; the last norm is not of a layer.
    layers = 36 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 12288) * 2
    assert held == pytest.approx(count * GIB if share is None else layers, rel=0.001)


T4, A100, L4 = (find(name) for name in ("t4", "a100-80gb-sxm", "l4"))


# v1/attention/backends of vLLM 0.33: flashinfer.py: supports_compute_capability (8.0),
# triton_attn.py and mla/triton_mla.py: __init__ (8.9).
@pytest.mark.parametrize(
    ("name", "kv_dtype", "gpu", "version", "says"),
    [
        ("Qwen/Qwen3-8B", "fp8", T4, None, "from compute capability 8.0 on, and Tesla T4 has 7.5"),
        ("Qwen/Qwen3-8B", "fp8_e5m2", T4, None, "--kv-cache-dtype float16"),
        ("Qwen/Qwen3-8B", "fp8", A100, None, None),
        ("Qwen/Qwen3-8B", "fp8_per_token_head", A100, None, "8.9"),
        ("Qwen/Qwen3-8B", "fp8_per_token_head", L4, None, None),
        ("Qwen/Qwen3-8B", "auto", T4, None, None),
        ("Qwen/Qwen3-8B", "fp8", T4, "0.19", None),
        (DEEPSEEK, "fp8", A100, None, "8.9 on, and A100"),
    ],
)
def test_fp8_cache_on_older_cards(
    name: str, kv_dtype: str, gpu: Gpu, version: str | None, says: str | None
) -> None:
    found = memory(name, asked(512, kv_dtype=kv_dtype, version=version), gpu=gpu)
    if says is None:
        assert "KV cache in" not in (found.refusal or "")
    else:
        assert says in (found.refusal or "")


@pytest.mark.parametrize("count", range(1, 65))
def test_a_split_uses_every_gpu(count: int) -> None:
    ranks, nodes = usual_split(count)
    assert ranks * nodes == count
    assert ranks <= 8


# docs/serving/parallelism_scaling.md: as many ranks as a node has GPUs, as many stages as nodes.
@pytest.mark.parametrize(
    ("name", "count", "flags", "split"),
    [
        (DEEPSEEK, 8, {}, (8, 1)),
        (DEEPSEEK, 16, {}, (8, 2)),
        (DEEPSEEK, 32, {}, (8, 4)),
        (DEEPSEEK, 16, {"tp": 16}, (16, 1)),
        (DEEPSEEK, 16, {"tp": 4, "pp": 4}, (4, 4)),
    ],
)
def test_nodes_are_stages(
    name: str, count: int, flags: dict[str, Any], split: tuple[int, int]
) -> None:
    given, card = asked(**flags), GpuGroup(gpu=find("h200-sxm"), count=count)
    found = layout(model(name), given, card)
    assert (found.tp, found.pp) == split
    said = VLLM.estimate(model(name), given, card)
    assert ("nodes" in [note.code for note in said.notes]) == (count > 8 and not flags)
    words = vllm_command(model(name), given, card, said).split()
    assert words[words.index("--tensor-parallel-size") + 1] == str(split[0])
    assert ("--pipeline-parallel-size" in words) == (split[1] > 1)


# config/scheduler.py: verify_max_model_len; engine/arg_utils.py sets the sequences that were not
# given to the tokens of a step at most, and does not raise the tokens for sequences.
@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ({"max_num_batched_tokens": "128", "max_num_seqs": "256"}, True),
        ({"max_num_batched_tokens": "256", "max_num_seqs": "256"}, False),
        ({"max_num_batched_tokens": "128"}, False),
        ({"max_num_seqs": "10000"}, True),
    ],
)
def test_a_step_has_a_token_for_every_sequence(flags: dict[str, Any], refused: bool) -> None:
    found = memory("Qwen/Qwen3-8B", asked(**flags))
    assert ("--max-num-batched-tokens" in (found.refusal or "")) == refused
    alone = VLLM.estimate(model("Qwen/Qwen3-8B"), asked(**flags), None)
    assert ("few_batched_tokens" in {note.code for note in alone.notes}) == refused


# v1/core/sched/scheduler.py: what is beyond max_num_running_reqs waits.
@pytest.mark.parametrize(
    ("batch", "flags", "count", "queued", "most"),
    [
        (16, {"max_num_seqs": "4"}, 1, True, 4),
        (4, {"max_num_seqs": "4"}, 1, False, 4),
        (8, {"max_num_seqs": "4", "dp": 2}, 2, False, 8),
        (9, {"max_num_seqs": "4", "dp": 2}, 2, True, 8),
    ],
)
def test_sequences_beyond_the_limit_wait(
    batch: int, flags: dict[str, Any], count: int, queued: bool, most: int
) -> None:
    group, work = GpuGroup(gpu=H100, count=count), asked(1024, batch=batch, **flags)
    found = VLLM.estimate(model("Qwen/Qwen3-8B"), work, group)
    assert ("queued" in {note.code for note in found.notes}) == queued
    fit = judge(group, model=model("Qwen/Qwen3-8B"), workload=work, runtime=VLLM)
    assert fit.max_batch == most


@pytest.mark.parametrize(
    ("flags", "count", "says"),
    [
        ({"tp": 3}, 3, "32 attention heads"),
        ({"tp": 4}, 8, "is 4 GPUs"),
        ({"tp": 2, "pp": 2, "dp": 2}, 4, "is 8 GPUs"),
        ({"ep": 3}, 1, "not to 3"),
        ({"pp": 33}, 33, "33 stages"),
        ({"dcp": 2}, 1, "decode context parallel"),
        ({"tp": 16, "dcp": 3}, 16, "does not divide"),
        ({"tp": 16, "dcp": 4}, 16, "held 2 times"),
        ({"enable_expert_parallel": True}, 1, "this model has none"),
        ({"kv_dtype": "fp8_ds_mla"}, 1, "latent attention"),
        ({"block_size": 24}, 1, "multiple of 16|24 tokens"),
    ],
)
def test_refused_layouts(flags: dict[str, Any], count: int, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        memory(LLAMA, asked(**flags), count=count)
    assert caught.value.hint


def test_fp8_blocks_are_not_cut() -> None:
    # 18,432 / 32 is 576, four and a half blocks of 128; 64 ranks hold two heads each.
    with pytest.raises(UsageError, match="blocks of 128") as caught:
        memory(DEEPSEEK, asked(tp=32), count=32)
    assert "16" in caught.value.hint
    assert memory(DEEPSEEK, asked(tp=16), count=16).count == 16


@pytest.mark.parametrize(
    ("layers", "stages", "sizes"),
    [(32, 2, [16, 16]), (61, 2, [31, 30]), (61, 4, [15, 15, 16, 15]), (62, 4, [15, 16, 16, 15])],
)
def test_stages(layers: int, stages: int, sizes: list[int]) -> None:
    # distributed/utils.py: get_pp_indices, what is left over before the last stage.
    found = [stage_layers(layers, number, stages) for number in range(stages)]
    assert [len(one) for one in found] == sizes
    assert [layer for one in found for layer in one] == list(range(layers))


def test_gpus_without_a_layout_share_every_layer() -> None:
    assert memory(LLAMA, asked(), count=4) == memory(LLAMA, asked(tp=4), count=4)


def test_replicas_hold_everything_again() -> None:
    one, two = memory(LLAMA, asked()), memory(LLAMA, asked(dp=2), count=2)
    assert two.peak.part("weights").bytes == 2 * one.peak.part("weights").bytes
    assert two.bytes_per_token == one.bytes_per_token


def test_experts_are_shared_by_all_replicas_dealt_out_or_sliced() -> None:
    name = "Qwen/Qwen3-30B-A3B"
    alone = memory(name, asked())
    split = memory(name, asked(tp=2, dp=2), count=4)
    dealt = memory(name, asked(tp=2, dp=2, ep=4), count=4)
    experts = [
        next(p.bytes for p in one.most_loaded[0].part("weights").parts if p.name == "experts")
        for one in (alone, split, dealt)
    ]
    assert experts[0] == 4 * experts[1] == 4 * experts[2]


def test_a_card_that_others_use_or_that_is_no_card_of_vllm() -> None:
    busy = VLLM.estimate(model(LLAMA), asked(), GpuGroup(gpu=H100, used_bytes=20 * GIB))
    assert busy.refusal is not None
    assert "--gpu-memory-utilization" in busy.refusal
    apple = memory(LLAMA, asked(), gpu=find("apple-m4-max-64gb"))
    assert apple.refusal is not None
    assert "Apple" in apple.refusal


def test_without_a_card_there_is_no_pool() -> None:
    found = VLLM.estimate(model(LLAMA), asked(tp=2), None)
    assert (found.pool, found.budget_bytes, found.count) == (None, None, 2)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([LLAMA, GEMMA, DEEPSEEK, "openai/gpt-oss-20b"]),
    st.integers(1, 40_000),
    st.integers(1, 64),
    st.sampled_from([{}, {"tp": 2}, {"pp": 3}, {"tp": 2, "pp": 2}, {"dp": 2}]),
)
def test_parts_add_up_and_more_never_needs_less(
    name: str, ctx: int, batch: int, flags: dict[str, int]
) -> None:
    count = flags.get("tp", 1) * flags.get("pp", 1) * flags.get("dp", 1)
    group = GpuGroup(gpu=find("h200-sxm"), count=count)
    described = model(name)
    found, longer, more = (
        VLLM.estimate(described, asked(tokens, batch=sequences, **flags), group)
        for tokens, sequences in ((ctx, batch), (ctx + 100, batch), (ctx, batch + 1))
    )
    for phase in (*found.phases, *found.most_loaded):
        assert phase.memory.bytes == sum(phase.part(part).bytes for part in PARTS)
        for part in PARTS:
            term = phase.part(part)
            assert not term.parts or term.bytes == sum(one.bytes for one in term.parts)
    assert found.peak.memory.bytes <= count * found.largest.memory.bytes
    assert found.need_bytes <= longer.need_bytes
    assert found.need_bytes <= more.need_bytes


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from([LLAMA, GEMMA, "Qwen/Qwen3-30B-A3B"]),
    st.integers(1, 30),
    st.sampled_from(["h100-sxm", "a100-80gb-sxm", "b200-sxm"]),
)
def test_limits_are_exact_at_the_block(name: str, batch: int, gpu: str) -> None:
    described, group = model(name), GpuGroup(gpu=find(gpu))
    found = judge(group, model=described, workload=asked(4096, batch=batch), runtime=VLLM)

    def fits(ctx: int, sequences: int) -> bool:
        one = VLLM.estimate(described, asked(ctx, batch=sequences), group)
        assert one.budget_bytes is not None
        return one.need_bytes <= one.budget_bytes

    assert found.max_ctx is not None
    assert found.max_batch is not None
    if found.max_ctx:
        assert fits(found.max_ctx, batch)
        if found.max_ctx < (described.decoder.max_context or 0):
            assert found.max_ctx % 16 == 0
            assert not fits(found.max_ctx + 1, batch)
    if found.max_batch:
        assert fits(4096, found.max_batch)
        assert not fits(4096, found.max_batch + 1)
        assert found.pool is not None
        # The pool keeps one block for itself.
        assert found.max_batch in {int(found.pool.concurrency), int(found.pool.concurrency) - 1}


def test_rotary_tables_explain_what_gemma_loads_beyond_its_headers() -> None:
    # 51.45 GiB measured, 51.10 in the files; linear scaling stretches the full layers' table by
    # its factor of eight, sliding layers have one of their own (linear_scaling_rope.py).
    parts = {
        part.name: part.bytes
        for part in memory(GEMMA, asked()).most_loaded[0].part("weights").parts
    }
    assert parts["rotary tables"] == (8 + 1) * 131_072 * 128 * 2
    assert sum(parts.values()) / GIB == pytest.approx(51.45, rel=0.002)


@pytest.mark.parametrize(
    ("flags", "count", "code"),
    [
        ({"tp": 8}, 8, True),
        ({"tp": 8, "dcp": 8}, 8, False),
        ({"dp": 8}, 8, False),
    ],
)
def test_a_repeated_latent_is_said(flags: dict[str, int], count: int, code: bool) -> None:
    found = memory(DEEPSEEK, asked(**flags), gpu=find("h200-sxm"), count=count)
    assert ("replicated_cache" in [note.code for note in found.notes]) is code


def test_without_a_card_its_defaults_are_said() -> None:
    described = model(LLAMA)
    codes = [note.code for note in VLLM.estimate(described, asked(), None).notes]
    assert "assumed_card" in codes
    given = asked(max_num_seqs=64, max_num_batched_tokens=4096)
    assert "assumed_card" not in [note.code for note in VLLM.estimate(described, given, None).notes]


def test_a_packed_latent_is_for_sparse_attention() -> None:
    # v1/attention/backends/mla: fp8_ds_mla stands in the lists of the sparse kernels alone.
    dense = memory(DEEPSEEK, asked(kv_dtype="fp8_ds_mla"), gpu=find("h200-sxm"), count=8)
    assert "sparse attention only" in (dense.refusal or "")
    assert "kv_dtype_unread" in [note.code for note in dense.notes]
    assert dense.bytes_per_token == 8 * 61 * 656
    plain = memory(DEEPSEEK, asked(kv_dtype="fp8"), gpu=find("h200-sxm"), count=8)
    assert plain.refusal is None


@pytest.mark.parametrize(
    ("gpu", "version", "inside"),
    [
        ("rtx-4090", "0.7", 0.25),  # two of them (vllm-project/vllm#13061)
        ("rtx-3090", "0.8", 0.20),  # vllm-project/vllm#14447
        ("h100-sxm", "0.11", 0.55),
        ("h100-sxm", "0.19", 2.1),
        ("a100-80gb-sxm", "0.19", 2.1),
    ],
)
def test_ranks_without_nvlink_hold_smaller_buffers(gpu: str, version: str, inside: float) -> None:
    found = memory(LLAMA, asked(version=version, tp=2), gpu=find(gpu), count=2).most_loaded[0]
    parts = {part.name: part for part in found.part("overhead").parts}
    low, high = parts["libraries"].range_bytes
    assert low / GIB <= inside <= high / GIB
    assert parts["libraries"].bytes / GIB == pytest.approx(inside, abs=0.06)
    # 400 MB before anything is loaded, on eight RTX 3090 (genesis-vllm-patches#24).
    assert (parts["outside of the budget"].bytes < 0.5 * GIB) == gpu.startswith("rtx")
