"""What holds for every answer, whatever the question: sums, growth, splitting."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmem.hardware.catalogue import parse_gpu
from hfmem.memory.estimate import PARTS, MemoryEstimate
from hfmem.memory.workload import workload
from hfmem.model.describe import describe
from hfmem.model.model import Model
from hfmem.runtimes.transformers import estimate
from hfmem.source.recorded import bundled

NAMES = (
    "lmms-lab/LLaVA-Video-72B-Qwen2",
    "google/gemma-3-27b-it",
    "deepseek-ai/DeepSeek-V3",
    "openai/gpt-oss-20b",
)
CONTEXTS = st.integers(1, 40_000)
BATCHES = st.integers(1, 40)
MODELS = st.sampled_from(NAMES)


@cache
def model(name: str) -> Model:
    snapshot = bundled(name)
    assert snapshot is not None
    return describe(snapshot)


def needed(name: str, *, ctx: int, batch: int, count: int | None = None) -> MemoryEstimate:
    group = None if count is None else parse_gpu(f"h100-sxm:{count}")
    return estimate(model(name), workload(ctx=ctx, batch=batch), group)


@settings(max_examples=25, deadline=None)
@given(name=MODELS, ctx=CONTEXTS, batch=BATCHES, count=st.integers(1, 8))
def test_splitting_over_gpus_never_makes_the_sum_smaller(
    name: str, ctx: int, batch: int, count: int
) -> None:
    alone = needed(name, ctx=ctx, batch=batch, count=1)
    split = needed(name, ctx=ctx, batch=batch, count=count)
    for one, many in zip(alone.phases, split.phases, strict=True):
        assert one.name == many.name
        for part in PARTS:
            assert many.part(part).bytes >= one.part(part).bytes
        assert many.memory.bytes == sum(part.bytes for part in many.memory.parts)
    for whole, largest in zip(split.phases, split.rank, strict=False):
        assert largest.memory.bytes <= whole.memory.bytes
        assert largest.memory.bytes * count >= whole.memory.bytes


@settings(max_examples=25, deadline=None)
@given(name=MODELS, ctx=CONTEXTS, batch=BATCHES, more=st.integers(1, 5000))
def test_more_context_and_more_sequences_never_need_less(
    name: str, ctx: int, batch: int, more: int
) -> None:
    least = needed(name, ctx=ctx, batch=batch)
    for other in (
        needed(name, ctx=ctx + more, batch=batch),
        needed(name, ctx=ctx, batch=batch + more),
    ):
        assert other.need_bytes >= least.need_bytes
        for one, grown in zip(least.phases, other.phases, strict=True):
            assert grown.part("kv_cache").bytes >= one.part("kv_cache").bytes
            assert grown.part("weights").bytes == one.part("weights").bytes


@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_the_sum_of_its_parts(name: str) -> None:
    terms = [phase.memory for phase in needed(name, ctx=9000, batch=3).phases]
    while terms:
        term = terms.pop()
        if term.parts:
            assert term.bytes == sum(part.bytes for part in term.parts)
            terms.extend(term.parts)
