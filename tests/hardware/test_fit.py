"""Fit: verdicts, limits by bisection, layers dealt out to several cards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.fit import Fit, Verdict, judge
from hfmem.memory.cards import class_of, device_of
from hfmem.memory.estimate import PARTS, MemoryEstimate, Phase
from hfmem.memory.parallel import layer_split, replicated
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.architectures import Decoder
from hfmem.model.config import read
from hfmem.model.layers import FullAttention
from hfmem.model.model import Model
from hfmem.runtimes import Runtime

LAYERS = 4
MAX_CONTEXT = 1000

MODEL = Model(
    name="org/model",
    revision=None,
    source="recorded",
    model_type="llama",
    class_name="LlamaForCausalLM",
    dtype="BF16",
    decoder=Decoder(
        layers=((FullAttention(kv_heads=1, head_dim=1, v_head_dim=1),),) * LAYERS,
        text=read({}),
        model_type="llama",
        hidden_size=8,
        attention_heads=1,
        kv_heads=1,
        head_dim=8,
        max_context=MAX_CONTEXT,
        vocab_size=10,
        resolved_by="entry",
        source="a test",
    ),
    cache_known=True,
    forward=None,
    weights=None,
    parameters=None,
    checkpoint_bytes=None,
    loaded_files=(),
    notes=(),
)


def runtime(*, weights: int, per_token: int, activations: int = 0, overhead: int = 0) -> Runtime:
    """An engine whose need is weights + ctx × batch × per_token + a constant."""

    def estimate(_model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
        ctx = workload.ctx or 100
        sizes = (weights, ctx * workload.batch * per_token, activations, overhead)
        parts = [
            Term(name=name, bytes=size, basis="exact", because="a test")
            for name, size in zip(PARTS, sizes, strict=True)
        ]
        phase = Phase(name="decode", memory=total("memory", parts, because="a test"))
        count = group.count if group else 1
        rank = layer_split(phase, model=MODEL, count=count)
        return MemoryEstimate(
            phases=(replicated(phase, rank=rank, count=count),),
            rank=(rank,),
            count=count,
            offloaded_bytes=rank.memory.bytes - rank.part("weights").bytes * (LAYERS - 2) // LAYERS,
            ctx=ctx,
            kv_dtype="bfloat16",
            bytes_per_token=per_token,
        )

    return Runtime(name="test", kv_dtypes=("auto",), estimate=estimate)


def card(size: int, *, count: int = 1) -> GpuGroup:
    gpu = Gpu(id="card", name="card", usable_bytes=size, usable_basis="given")
    return GpuGroup(gpu=gpu, count=count)


def fit(group: GpuGroup, engine: Runtime, *, batch: int = 1, ctx: int = 100) -> Fit:
    return judge(group, model=MODEL, workload=Workload(ctx=ctx, batch=batch), runtime=engine)


@pytest.mark.parametrize(
    ("size", "verdict"),
    [
        (2000, "fits"),
        (1053, "fits"),  # 1,000 of 1,053 is 94.97 %
        (1052, "tight"),
        (1000, "tight"),
        (999, "offload"),  # cache 100, and two of four layers of 900
        (550, "offload"),
        (549, "no"),
    ],
)
def test_verdict(size: int, verdict: Verdict) -> None:
    found = fit(card(size), runtime(weights=900, per_token=1))
    assert found.verdict == verdict
    assert found.fits == (verdict in ("fits", "tight"))
    assert found.headroom_bytes == size - 1000
    assert found.decided_by == "weights"


@given(st.integers(0, 3000), st.integers(1, 9), st.integers(1, 5), st.integers(1, 2 * MAX_CONTEXT))
def test_limits_are_exact(size: int, per_token: int, batch: int, ctx: int) -> None:
    found = fit(card(size), runtime(weights=500, per_token=per_token), batch=batch, ctx=ctx)
    free = size - 500
    fitting = max(0, free // (per_token * batch)) if free >= 0 else 0
    # A context beyond the model's maximum is computed as asked.
    assert found.max_ctx == min(fitting, max(MAX_CONTEXT, ctx) if found.fits else MAX_CONTEXT)
    assert found.max_batch == (max(0, free // (per_token * ctx)) if free >= 0 else 0)


def test_a_need_that_does_not_grow_ends_at_the_limit() -> None:
    found = fit(card(1000), runtime(weights=10, per_token=0))
    assert (found.max_ctx, found.max_batch) == (MAX_CONTEXT, 2**20)


# Five sequences of 100 tokens beside 500.
@pytest.mark.parametrize(("most", "expected"), [(None, 5), (4, 4), (5, 5), (6, 5)])
def test_no_more_sequences_than_the_engine_runs(most: int | None, expected: int) -> None:
    engine = runtime(weights=500, per_token=1)
    known = engine.estimate

    def limited(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
        return replace(known(model, workload, group), most_sequences=most)

    assert fit(card(1000), replace(engine, estimate=limited)).max_batch == expected


@pytest.mark.parametrize(
    ("count", "per_gpu"),
    [
        (1, 400 + 100 + 7 + 3),
        (2, 300 + 75 + 7 + 3),  # two layers of four and at most one more
        (4, 200 + 50 + 7 + 3),
        (8, 200 + 50 + 7 + 3),  # a layer is not divided
    ],
)
def test_layers_are_dealt_out(count: int, per_gpu: int) -> None:
    engine = runtime(weights=400, per_token=1, activations=7, overhead=3)
    assert fit(card(10_000, count=count), engine).per_gpu_bytes == per_gpu


def test_other_processes_take_their_share() -> None:
    engine = runtime(weights=900, per_token=0)
    busy = replace(card(1000), used_bytes=200)
    assert fit(card(1000), engine).fits
    assert not fit(busy, engine).fits


def test_an_unknown_total_is_no_verdict() -> None:
    engine = runtime(weights=0, per_token=1)
    known = engine.estimate

    def unknown(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
        return replace(known(model, workload, group), unknown=("weights",))

    found = fit(card(1000), replace(engine, estimate=unknown))
    assert (found.verdict, found.max_ctx, found.max_batch, found.fits) == (None, None, None, False)


@pytest.mark.parametrize(
    ("vendor", "kind", "device", "gpu_class"),
    [
        ("nvidia", "datacenter", "cuda", "datacenter"),
        ("nvidia", "consumer", "cuda", "consumer"),
        ("amd", "datacenter", "rocm", "datacenter"),
        ("apple", "apple", "mps", "unknown"),
        ("cpu", "cpu", "cpu", "unknown"),
        ("", "unknown", "cuda", "unknown"),
    ],
)
def test_device_and_class(vendor: str, kind: str, device: str, gpu_class: str) -> None:
    gpu = replace(card(1).gpu, vendor=vendor, kind=kind)
    assert (device_of(gpu), class_of(gpu)) == (device, gpu_class)
