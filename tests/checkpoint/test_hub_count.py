"""The Hub's count of parameters beside the headers'."""

from __future__ import annotations

import pytest

from hfmem.checkpoint.hub_count import disagreement
from hfmem.checkpoint.tensor import TensorRun

# Qwen2-0.5B: 494,032,768 by the Hub; the layers as one matrix each.
EMBEDDING = TensorRun(name="embed", dtype="BF16", shape=(151936, 896), bytes=272_269_312, count=1)
LAYERS = TensorRun(
    name="layers.{0..23}", dtype="BF16", shape=(14912334,), bytes=29_824_668, count=24
)
PACKED = TensorRun(name="packed", dtype="U8", shape=(8, 8), bytes=64, count=1)


@pytest.mark.parametrize(
    ("runs", "told", "because"),
    [
        ((EMBEDDING, LAYERS), 494_030_672, "the same number"),
        ((EMBEDDING, LAYERS), 494_032_768, "a norm more"),
        ((EMBEDDING, LAYERS), None, "no count"),
        ((EMBEDDING, LAYERS), 0, "an empty count"),
        ((EMBEDDING, PACKED), 1, "packed bytes are counted in more ways than one"),
        ((), 494_032_768, "no tensors"),
    ],
)
def test_what_needs_no_word(runs: tuple[TensorRun, ...], told: int | None, because: str) -> None:
    assert disagreement(runs, told) is None, because


@pytest.mark.parametrize("told", [357_898_112, 630_167_424, 10**15])
def test_another_number_is_told(told: int) -> None:
    note = disagreement((EMBEDDING, LAYERS), told)
    assert note is not None
    assert note.code == "hub_count_differs"
    assert f"{told:,}" in note.message
    assert "494,030,672" in note.message
