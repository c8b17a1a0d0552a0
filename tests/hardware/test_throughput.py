"""Rates: the roofline at its peaks, layouts, what is unknown, and measured rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.flag import Flags
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.catalogue import find, gpus
from hfmem.hardware.efficiency import (
    ROWS,
    SPREAD,
    Efficiency,
    efficiency,
)
from hfmem.hardware.fit import judge
from hfmem.hardware.host import HOST_MEMORY, LINK_SHARE, Host, host_part
from hfmem.hardware.prompt_efficiency import PROMPT_ROWS, prompt_efficiency
from hfmem.hardware.step import Step
from hfmem.hardware.throughput import Throughput, throughput
from hfmem.hardware.traffic import traffic
from hfmem.memory.weights import weights
from hfmem.memory.workload import Workload, workload
from hfmem.model.describe import describe
from hfmem.model.layers import NoCache
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.runtimes.serving import Serving
from hfmem.source.recorded import bundled
from tests.accuracy_speed.__main__ import collect, share, widest
from tests.accuracy_speed.rates import ENGINES


def model_of(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


LLAMA = model_of("meta-llama/Llama-3.1-8B-Instruct")
MIXTRAL = model_of("mistralai/Mixtral-8x7B-Instruct-v0.1")
IDEAL = Efficiency(
    engine="ideal",
    packings=("float",),
    layer_us=(0.0, 0.0),
    bandwidth=(1.0, 1.0),
    measured_on=(),
    source="the roofline itself",
)


def step(
    gpu: Gpu,
    *,
    model: Model = LLAMA,
    row: Efficiency = IDEAL,
    ctx: int = 8192,
    batch: int = 1,
    tp: int = 1,
    host: Host = Host(),  # noqa: B008
) -> Step:
    asked = workload(ctx=ctx, batch=batch)
    held = weights(model.weights or (), dtype=model.dtype, model_type=model.model_type)
    found = traffic(model, weights=held, workload=asked, ctx=ctx, batch=batch, kv_dtype="auto")
    assert found is not None
    return Step(
        traffic=found,
        row=row,
        gpu=gpu,
        serving=Serving(tp=tp),
        batch=batch,
        host=host,
        model=model,
    )


def rates(model: Model, asked: Workload, group: GpuGroup) -> Throughput:
    runtime = RUNTIMES[asked.runtime]
    fit = judge(group, model=model, workload=asked, runtime=runtime)
    memory = runtime.estimate(model, asked, group)
    return throughput(fit, model=model, workload=asked, memory=memory)


def test_the_roofline_at_its_peak() -> None:
    # (15.01 + 1.07 GB) at 1,008 GB/s: 62.7 tokens per second.
    fast, slow = step(find("rtx-4090")).seconds()
    assert 1 / fast == 1 / slow == pytest.approx(62.7, abs=0.05)


def test_arithmetic_bounds_a_large_batch() -> None:
    gpu = replace(find("rtx-4090"), bf16_flops=10**12)
    found = step(gpu, batch=64, ctx=16)
    assert found.limit() == "arithmetic"
    operations = 64 * (2 * (8_030_261_248 - 128_256 * 4096) + 32 * 4 * 32 * 128 * 16)
    assert found.seconds()[0] == pytest.approx(operations / 10**12, rel=1e-6)


def test_launches_bound_a_small_model_in_eager_mode() -> None:
    eager = replace(IDEAL, layer_us=(800.0, 1000.0), overlaps=True)
    found = step(find("h100-sxm"), row=eager)
    assert found.limit() == "launches"
    assert found.seconds() == pytest.approx((32 * 800e-6, 32 * 1000e-6))
    # Elsewhere they come on top.
    apart = step(find("h100-sxm"), row=replace(eager, overlaps=False))
    assert apart.seconds()[0] > found.seconds()[0]


def test_tensor_parallel_divides_the_bytes_and_adds_the_sums() -> None:
    gpu = find("h100-sxm")
    one, four = step(gpu), step(gpu, tp=4)
    assert four.weight_bytes == one.weight_bytes / 4
    assert four.cache_bytes == one.cache_bytes / 4
    assert step(gpu, tp=16).cache_bytes == one.cache_bytes / 8, "8 KV heads are held twice"
    assert four.exchange_seconds(0) > one.exchange_seconds(0) == 0
    # No link but PCIe starts slower.
    assert step(find("l40s"), tp=4).exchange_seconds(0) > four.exchange_seconds(0)


def test_what_lies_in_the_host_comes_over_the_link() -> None:
    gpu = find("rtx-4090")
    away = 4 * 10**9
    # PCIe 4.0: 16 lanes of 16 GT/s in the code 128b/130b.
    assert gpu.host_bytes_per_second == pytest.approx(16 * 16e9 * 128 / 130 / 8)
    found = step(gpu, host=Host(read_bytes=away, moved_bytes=away, rate=(16e9, 27e9)))
    assert found.host_seconds(0) == away / 27e9
    assert found.host_seconds(1) == away / 16e9
    assert found.weight_bytes == step(gpu).weight_bytes - away
    assert found.limit() == "host link"


@given(
    st.sampled_from(["rtx-4090", "h100-sxm", "a100-80gb-sxm", "apple-m4-max-64gb", "mi300x"]),
    st.sampled_from(["transformers", "vllm", "sglang", "llama.cpp"]),
    st.integers(1, 100_000),
    st.integers(1, 300),
)
def test_time_grows_with_context_and_batch_and_is_a_range(
    name: str, engine: str, ctx: int, batch: int
) -> None:
    gpu = find(name)
    row = efficiency(engine, "float", "", gpu)
    assert row is not None
    here = step(gpu, row=row, model=MIXTRAL, ctx=ctx, batch=batch).seconds()
    assert 0 < here[0] <= here[1]
    for more in ({"ctx": ctx + 100, "batch": batch}, {"ctx": ctx, "batch": batch + 1}):
        later = step(gpu, row=row, model=MIXTRAL, **more).seconds()
        assert here[0] <= later[0]
        assert here[1] <= later[1]


def test_every_range_of_a_row_is_narrow_and_below_the_peak() -> None:
    for row in ROWS:
        for low, high in (row.layer_us, row.bandwidth, row.compute, row.routed_us):
            assert low <= high <= low * SPREAD**2 * 1.000001
        assert row.bandwidth[1] <= 1
        assert row.source
    assert all(row.compute[1] <= 1 for row in PROMPT_ROWS)


@pytest.mark.parametrize(
    ("engine", "packing", "method", "gpu", "basis"),
    [
        ("transformers", "float", "", "a100-80gb-sxm", "measured"),
        ("transformers", "float", "", "h100-sxm", "measured"),
        ("transformers", "float", "", "rtx-4090", "assumed"),
        ("transformers", "int4", "awq-4bit", "a100-80gb-sxm", "measured"),
        ("vllm", "int4", "gptq", "a100-80gb-sxm", "measured"),
        ("vllm", "float", "", "mi300x", "assumed"),
        ("llama.cpp", "int4", "q4_k_m", "rtx-4090", "measured"),
        ("llama.cpp", "int4", "q4_k_m", "apple-m4-max-64gb", "assumed"),
        ("ollama", "int4", "q4_k_m", "rtx-4090", "assumed"),
    ],
)
def test_what_was_not_measured_says_so(
    engine: str, packing: str, method: str, gpu: str, basis: str
) -> None:
    row = efficiency(engine, packing, method, find(gpu))
    assert row is not None
    assert row.basis == basis


@pytest.mark.parametrize(
    ("engine", "model", "basis"),
    [
        ("sglang", MIXTRAL, "measured"),
        ("vllm", MIXTRAL, "assumed"),
        ("transformers", MIXTRAL, "assumed"),
        ("transformers", LLAMA, "measured"),
    ],
)
def test_routed_experts_were_measured_in_one_engine(engine: str, model: Model, basis: str) -> None:
    gpu = find("h100-sxm")
    row = efficiency(engine, "float", "", gpu)
    assert row is not None
    assert step(gpu, row=row, model=model).basis == basis


def test_an_engine_without_rows_is_unknown() -> None:
    assert efficiency("other", "float", "", find("h100-sxm")) is None
    assert prompt_efficiency("other", find("h100-sxm")) is None


def test_awq_in_transformers_has_its_own_row() -> None:
    gpu = find("a100-80gb-sxm")
    awq, gptq = (efficiency("transformers", "int4", name, gpu) for name in ("awq", "gptq"))
    assert awq is not None
    assert gptq is not None
    assert awq.layer_us > gptq.layer_us


@pytest.mark.parametrize("engine", sorted(RUNTIMES))
def test_every_card_gets_a_range_or_a_reason(engine: str) -> None:
    asked = workload(ctx=4096, runtime=engine)
    for gpu in (*gpus()[::9], *map(find, ("gtx-1080-ti", "apple-m5-max-128gb", "p40"))):
        found = rates(LLAMA, asked, GpuGroup(gpu=gpu))
        if found.decode is None:
            assert found.note is not None
            assert found.prefill is found.first_token_seconds is found.band is None
        else:
            assert 0 < found.decode[0] <= found.decode[1]
            assert found.per_sequence == found.decode
            assert found.band in ("slow", "acceptable", "smooth")
            assert (found.prefill is None) == (found.note is not None)


def test_a_bare_size_has_no_speed() -> None:
    gpu = Gpu(id="24GiB", name="24GiB", usable_bytes=24 * 2**30, usable_basis="given")
    found = rates(LLAMA, workload(ctx=4096), GpuGroup(gpu=gpu))
    assert found.decode is found.step_bytes is None
    assert found.note is not None
    assert "bandwidth of 24GiB is not known" in found.note.message


def test_what_does_not_fit_has_no_speed() -> None:
    found = rates(LLAMA, workload(ctx=131_072, batch=64), GpuGroup(gpu=find("rtx-4090")))
    assert found.decode is None
    assert found.note is not None
    assert "does not fit" in found.note.message


def test_an_unknown_rate_leaves_the_decoding_known() -> None:
    # No figure for its matrix operations has a source.
    found = rates(LLAMA, workload(ctx=4096), GpuGroup(gpu=find("apple-m5-max-128gb")))
    assert found.decode is not None
    assert found.prefill is None
    assert found.note is not None
    assert found.note.code == "prefill_unknown"


def test_layers_in_the_host_slow_it_down() -> None:
    fits, offloads = (
        rates(LLAMA, workload(ctx=4096), GpuGroup(gpu=find(name)))
        for name in ("rtx-4090", "rtx-3060-12gb")
    )
    assert fits.decode is not None
    assert offloads.decode is not None
    assert offloads.limited_by == "host link"
    assert offloads.decode[1] < fits.decode[0]
    assert offloads.band == "slow"


def test_weights_that_vllm_streams_slow_it_down() -> None:
    plain = workload(ctx=4096, runtime="vllm")
    offload = replace(plain, flags=Flags((("cpu_offload_gb", 4 * 2**30),)))
    card = GpuGroup(gpu=find("h100-sxm"))
    without, with_it = (rates(LLAMA, asked, card) for asked in (plain, offload))
    assert without.per_sequence is not None
    assert with_it.per_sequence is not None
    added = 4 * 2**30 / (63_015_384_608 * LINK_SHARE[1])
    assert 1 / with_it.per_sequence[1] > 1 / without.per_sequence[1] + added * 0.7
    assert with_it.basis == "assumed"


def test_vllm_streams_no_more_than_the_layers() -> None:
    plain = workload(ctx=4096, runtime="vllm")
    card = GpuGroup(gpu=find("h100-sxm"))
    all_layers, far_more = (
        rates(LLAMA, replace(plain, flags=Flags((("cpu_offload_gb", size * 2**30),))), card)
        for size in (14, 1000)  # its layers are 13.0 GiB
    )
    assert far_more.per_sequence == all_layers.per_sequence
    assert far_more.first_token_seconds == all_layers.first_token_seconds


# vLLM 0.33 model_executor/offloader/uva.py: the kernels read pinned memory in place, so that of the
# offloaded experts those that tokens go through cross the link; accelerate hooks.py
# (AlignDevicesHook) copies whole modules. Mixtral's experts are 32 × 8 × 3 × 4,096 × 14,336 × 2 =
# 90.2 GB, of which a token goes through 2 of 8; attention and head are 2.95 GB: 25.5 of 93.1.
@pytest.mark.parametrize(
    ("runtime", "gpu", "count", "share"),
    [("vllm", "h100-sxm", 2, 0.27), ("transformers", "h100-sxm", 1, 1.0)],
)
def test_of_offloaded_experts(runtime: str, gpu: str, count: int, share: float) -> None:
    size = 16 * 2**30
    flags = Flags((("cpu_offload_gb", size // 2),) if runtime == "vllm" else ())
    group = GpuGroup(gpu=find(gpu), count=count)
    asked = replace(workload(ctx=512, runtime=runtime), flags=flags)
    memory = RUNTIMES[runtime].estimate(MIXTRAL, asked, group)
    fit = judge(group, model=MIXTRAL, workload=asked, runtime=RUNTIMES[runtime])
    found = traffic(
        MIXTRAL,
        weights=memory.phases[-1].part("weights"),
        workload=asked,
        ctx=512,
        batch=1,
        kv_dtype=memory.kv_dtype,
    )
    assert found is not None
    serving = RUNTIMES[runtime].serving
    away = host_part(
        fit,
        model=MIXTRAL,
        workload=asked,
        memory=memory,
        found=found,
        serving=Serving() if serving is None else serving(MIXTRAL, asked, group),
    )
    assert isinstance(away, Host)
    assert away.moved_bytes / away.held_bytes == pytest.approx(share, abs=0.02)


# The engine's own limit: vLLM queues what is beyond --max-num-seqs, SGLang --max-running-requests.
@pytest.mark.parametrize(
    ("runtime", "flag"), [("vllm", "max_num_seqs"), ("sglang", "max_running_requests")]
)
def test_what_waits_has_no_speed(runtime: str, flag: str) -> None:
    card = GpuGroup(gpu=find("h100-sxm"))
    flags = Flags(((flag, 16),))
    alone, queued = (
        rates(LLAMA, replace(workload(ctx=512, batch=n, runtime=runtime), flags=flags), card)
        for n in (16, 64)
    )
    assert queued.decode == alone.decode
    assert queued.first_token_seconds == alone.first_token_seconds
    assert alone.note is None
    assert queued.note is not None
    assert queued.note.code == "speed_of_running"
    assert "16 sequences" in queued.note.message
    assert "48 wait" in queued.note.message


def test_a_batch_is_faster_together_and_slower_each() -> None:
    card = GpuGroup(gpu=find("h100-sxm"))
    one, many = (rates(LLAMA, workload(ctx=512, batch=n, runtime="vllm"), card) for n in (1, 32))
    assert one.decode is not None
    assert many.decode is not None
    assert many.per_sequence is not None
    assert many.decode[0] > 10 * one.decode[0]
    assert many.per_sequence[1] < one.decode[1]
    assert many.decode[0] == pytest.approx(32 * many.per_sequence[0])


def test_a_prompt_is_bound_by_arithmetic() -> None:
    found = rates(LLAMA, workload(ctx=8192, runtime="vllm"), GpuGroup(gpu=find("h100-sxm")))
    assert found.prefill is not None
    assert found.first_token_seconds is not None
    # 2 × 6.98 B × 8,192 and causal attention 2 × 32 × 32 × 128 × 8,192², at 0.45 of 989 TFLOPS.
    operations = 2 * 6_979_588_096 * 8192 + 2 * 32 * 32 * 128 * 8192**2
    seconds = operations / (0.45 * 989e12)
    assert found.first_token_seconds[0] < seconds < found.first_token_seconds[1]
    assert found.prefill[1] == pytest.approx(8192 / found.first_token_seconds[0])


def test_a_prompt_fetches_what_lies_in_the_host_once_a_pass() -> None:
    card = GpuGroup(gpu=find("h200-sxm"))
    whole, fine = (
        rates(MIXTRAL, flagged(cpu_moe=True, ubatch_size=size), card) for size in (4096, 512)
    )
    assert whole.first_token_seconds is not None
    assert fine.first_token_seconds is not None
    experts = 2 * 32 * 8 * 3 * 4096 * 14336
    assert fine.first_token_seconds[1] > 8 * experts / HOST_MEMORY[0]
    assert fine.first_token_seconds[1] > 5 * whole.first_token_seconds[1]
    assert fine.decode == whole.decode


def test_a_model_that_generates_nothing_has_no_speed() -> None:
    silent = replace(LLAMA, decoder=replace(LLAMA.decoder, layers=((NoCache(),),) * 2))
    found = rates(silent, workload(ctx=512), GpuGroup(gpu=find("h100-sxm")))
    assert found.decode is None


def flagged(**flags: int | bool) -> Workload:
    """llama.cpp with flags of its own."""
    given = Flags(tuple(sorted(flags.items())))
    return replace(workload(ctx=4096, runtime="llama.cpp"), flags=given)


def test_llama_cpp_computes_in_the_host_what_lies_there() -> None:
    card = GpuGroup(gpu=find("rtx-4090"))
    whole, half = (rates(LLAMA, flagged(n_gpu_layers=n), card) for n in (99, 17))
    assert whole.per_sequence is not None
    assert half.per_sequence is not None
    # 17 units from the end are the head and 16 layers: 16 of 32 layers of 436 MB stay behind.
    away = 16 * 2 * 218_112_000
    assert half.limited_by == "host memory"
    assert 1 / half.per_sequence[0] > away / HOST_MEMORY[0]
    assert 1 / half.per_sequence[1] > away / HOST_MEMORY[1]
    assert half.per_sequence[1] < whole.per_sequence[0]
    assert half.basis == "assumed"


def test_experts_in_the_host_are_read_as_far_as_they_are_chosen() -> None:
    card = GpuGroup(gpu=find("h200-sxm"))
    here, there = (
        rates(MIXTRAL, replace(flagged(), flags=Flags(given)), card)
        for given in ((), (("cpu_moe", True),))
    )
    assert here.per_sequence is not None
    assert there.per_sequence is not None
    chosen = 2 * 32 * 2 * 3 * 4096 * 14336
    longest = 1 / there.per_sequence[0]
    assert chosen / HOST_MEMORY[0] < longest < 1.2 * chosen / HOST_MEMORY[0]


def test_a_mac_has_no_other_memory() -> None:
    found = rates(LLAMA, flagged(), GpuGroup(gpu=find("apple-m4-16gb")))
    assert found.decode is None
    assert found.note is not None
    assert "Apple M4" in found.note.message


def test_attention_in_the_host_is_unknown() -> None:
    found = rates(LLAMA, flagged(no_kv_offload=True), GpuGroup(gpu=find("rtx-4090")))
    assert found.decode is None


@pytest.mark.shared
def test_measured_rates_lie_in_our_ranges(shared: Path) -> None:
    found, _ = collect(shared / "measured")
    assert len(found) >= 180
    for engine in ENGINES:
        kept = [one for one in found if one.engine == engine]
        unseen = [one for one in kept if one.held_out]
        assert share(kept) >= 0.8, engine
        assert share(unseen) >= 0.8, engine
        assert widest(kept) <= 1.6, engine
        assert not any(one.assumed for one in kept), engine
