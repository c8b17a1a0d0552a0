"""What every engine for GPUs promises: parts add up, needs grow, and limits are where they are."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.flags import flags_of
from hfmem.gpu import GpuGroup
from hfmem.hardware.catalogue import find
from hfmem.hardware.fit import judge
from hfmem.memory.estimate import PARTS, MemoryEstimate
from hfmem.memory.workload import Workload, workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES
from hfmem.source.recorded import bundled

ENGINES = ("vllm", "transformers", "sglang")
MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct",
    "google/gemma-3-27b-it",
    "deepseek-ai/DeepSeek-V3",
    "openai/gpt-oss-20b",
    "Qwen/Qwen3-30B-A3B",
)
LAYOUTS = ({}, {"tp": 2}, {"pp": 2}, {"tp": 2, "pp": 2}, {"dp": 2})
BLOCK = 16
"""Tokens of vLLM's block; the others keep tokens one by one."""


@cache
def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def asked(engine: str, *, ctx: int, batch: int, layout: dict[str, int]) -> Workload:
    flags = {} if engine == "transformers" else layout
    return workload(ctx=ctx, batch=batch, runtime=engine, flags=flags_of(flags, runtime=engine))


def estimate(engine: str, name: str, work: Workload, group: GpuGroup) -> MemoryEstimate | None:
    try:
        return RUNTIMES[engine].estimate(model(name), work, group)
    except UsageError:
        return None


@settings(max_examples=60, deadline=None)
@given(
    engine=st.sampled_from(ENGINES),
    name=st.sampled_from(MODELS),
    layout=st.sampled_from(LAYOUTS),
    ctx=st.integers(1, 150_000),
    batch=st.integers(1, 64),
    more=st.integers(1, 5000),
)
def test_parts_add_up_on_every_rank_and_more_never_needs_less(
    engine: str, name: str, layout: dict[str, int], ctx: int, batch: int, more: int
) -> None:
    count = layout.get("tp", 1) * layout.get("pp", 1) * layout.get("dp", 1)
    group = GpuGroup(gpu=find("h200-sxm"), count=count)
    found, longer, wider = (
        estimate(engine, name, asked(engine, ctx=tokens, batch=sequences, layout=layout), group)
        for tokens, sequences in ((ctx, batch), (ctx + more, batch), (ctx, batch + more % 7 + 1))
    )
    if found is None or longer is None or wider is None:
        return
    for phase in (*found.phases, *found.most_loaded):
        assert phase.memory.bytes == sum(phase.part(part).bytes for part in PARTS)
        for part in PARTS:
            term = phase.part(part)
            assert not term.parts or term.bytes == sum(one.bytes for one in term.parts)
            low, high = term.range_bytes
            assert low <= term.bytes <= high
    assert found.count == count
    assert found.need_bytes <= longer.need_bytes
    assert found.need_bytes <= wider.need_bytes


@settings(max_examples=25, deadline=None)
@given(
    engine=st.sampled_from(ENGINES),
    name=st.sampled_from(MODELS),
    gpu=st.sampled_from(["rtx-4090", "h100-sxm", "a100-80gb-sxm", "b200-sxm"]),
    count=st.sampled_from([1, 2, 8]),
    ctx=st.sampled_from([512, 4096, 30_000]),
    batch=st.integers(1, 40),
)
def test_the_largest_context_fits_and_a_block_more_does_not(
    engine: str, name: str, gpu: str, count: int, ctx: int, batch: int
) -> None:
    group = GpuGroup(gpu=find(gpu), count=count)
    work = asked(engine, ctx=ctx, batch=batch, layout={})
    try:
        found = judge(group, model=model(name), workload=work, runtime=RUNTIMES[engine])
    except UsageError:
        return
    if found.refusal is not None:
        return
    free = group.usable_bytes // count

    def fits(tokens: int, sequences: int) -> bool:
        one = estimate(engine, name, replace(work, ctx=tokens, batch=sequences), group)
        assert one is not None
        return one.need_bytes <= (free if one.budget_bytes is None else one.budget_bytes)

    limit = model(name).decoder.max_context
    assert found.max_ctx is not None
    assert found.max_batch is not None
    assert limit is not None
    if found.max_ctx:
        assert fits(found.max_ctx, batch)
    if found.max_ctx < limit:
        assert not fits(found.max_ctx + BLOCK, batch)
    if found.max_batch:
        assert fits(ctx, found.max_batch)
    assert not fits(ctx, found.max_batch + 1)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_a_layout_that_is_not_the_group_is_refused(engine: str) -> None:
    work = asked(engine, ctx=1024, batch=1, layout={"tp": 4})
    with pytest.raises(UsageError, match="is 4 GPUs"):
        RUNTIMES[engine].estimate(model(MODELS[0]), work, GpuGroup(gpu=find("h100-sxm"), count=8))
