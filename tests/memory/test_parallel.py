"""Whole layers on several devices, and all of them together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.memory.estimate import PARTS, Phase
from hfmem.memory.parallel import layer_split, replicated, times
from hfmem.memory.term import Term, total
from hfmem.model.describe import describe
from hfmem.source.recorded import bundled

SNAPSHOT = bundled("meta-llama/Llama-3.1-8B-Instruct")
assert SNAPSHOT is not None
MODEL = describe(SNAPSHOT)


def phase(*sizes: int) -> Phase:
    terms = [
        Term(name=name, bytes=size, basis="exact", because="a test", low=size // 2, high=2 * size)
        for name, size in zip(PARTS, sizes, strict=True)
    ]
    return Phase(name="decode", memory=total("memory", terms, because="a test"))


# 32 layers: the even share and at most one more (accelerate 1.15 get_balanced_memory).
@pytest.mark.parametrize(
    ("count", "layers"), [(1, 32), (2, 17), (3, 12), (8, 5), (32, 2), (100, 2)]
)
def test_share_of_a_device(count: int, layers: int) -> None:
    found = layer_split(phase(3200, 640, 7, 3), model=MODEL, count=count)
    sizes = [found.part(name).bytes for name in PARTS]
    assert sizes == [layers * 100, layers * 20, 7, 3]


def test_weights_of_another_size() -> None:
    found = layer_split(phase(3200, 640, 7, 3), model=MODEL, count=2, weights_bytes=1600)
    assert found.part("weights").bytes == 17 * 50


@given(st.lists(st.integers(0, 10**12), min_size=4, max_size=4), st.integers(1, 64))
def test_together(sizes: list[int], count: int) -> None:
    whole = phase(*sizes)
    rank = layer_split(whole, model=MODEL, count=count)
    found = replicated(whole, rank=rank, count=count)
    assert found.memory.bytes == sum(found.part(name).bytes for name in PARTS)
    assert found.part("weights").bytes == sizes[0]
    assert found.part("activations").bytes == count * sizes[2]
    assert rank.memory.bytes <= whole.memory.bytes
    assert count * rank.memory.bytes >= found.memory.bytes


def test_times_keeps_the_sum() -> None:
    term = total("a", phase(1, 2, 3, 4).memory.parts, because="a test")
    found = times(term, 3)
    assert found.bytes == 30 == sum(part.bytes for part in found.parts)
    assert found.range_bytes == tuple(3 * one for one in term.range_bytes)
