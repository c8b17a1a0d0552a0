"""Runs of tensors: lossless folding, counting and cutting."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.checkpoint.tensor import Tensor, TensorRun, brace_count, runs, template, total_bytes


def tensor(name: str, *shape: int) -> Tensor:
    return Tensor(name, "BF16", shape, 2 * prod(shape))


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (["lm_head.weight"], ["lm_head.weight"]),
        (["layers.0.q", "layers.1.q", "layers.2.q"], ["layers.{0..2}.q"]),
        (["layers.0.q", "layers.2.q", "layers.3.q"], ["layers.{0..0}.q", "layers.{2..3}.q"]),
        # DeepSeek: experts of layers 3 and 4, two each.
        (
            [f"layers.{layer}.experts.{e}.w" for layer in (3, 4) for e in (0, 1)],
            ["layers.{3..4}.experts.{0..1}.w"],
        ),
        # A layer with fewer experts is a box of its own.
        (
            ["layers.0.experts.0.w", "layers.0.experts.1.w", "layers.1.experts.0.w"],
            ["layers.{0..0}.experts.{0..1}.w", "layers.{1..1}.experts.{0..0}.w"],
        ),
        # A leading zero is another name, and a number inside a word is no index.
        (["layers.01.q", "w1.weight", "w2.weight"], ["layers.01.q", "w1.weight", "w2.weight"]),
        (["a{0..9}.w"], ["a%7B0..9%7D.w"]),
    ],
)
def test_runs(names: list[str], folded: list[str]) -> None:
    assert [run.name for run in runs(tensor(name, 2, 3) for name in names)] == folded


def test_shapes_and_types_are_kept_apart() -> None:
    found = runs(
        [tensor("layers.0.k", 8), tensor("layers.1.k", 4), Tensor("layers.2.k", "F32", (4,), 16)]
    )
    assert [(run.name, run.dtype, run.shape, run.count) for run in found] == [
        ("layers.{0..0}.k", "BF16", (8,), 1),
        ("layers.{1..1}.k", "BF16", (4,), 1),
        ("layers.{2..2}.k", "F32", (4,), 1),
    ]


names = st.lists(
    st.tuples(
        st.sampled_from(["layers", "blocks"]),
        st.integers(0, 6),
        st.sampled_from(["experts", "heads"]),
        st.integers(0, 4),
    ).map(lambda parts: ".".join(map(str, parts))),
    unique=True,
)


@given(names)
def test_folding_loses_nothing(stored: list[str]) -> None:
    folded = runs(tensor(name, 4) for name in stored)
    assert sorted(name for run in folded for name in run.names()) == sorted(stored)
    assert sum(run.count for run in folded) == len(stored)
    assert all(brace_count(run.name) == run.count for run in folded)
    assert total_bytes(folded) == 8 * len(stored)


def run(name: str, *, count: int) -> TensorRun:
    return TensorRun(name=name, dtype="BF16", shape=(2, 3), bytes=12, count=count)


@pytest.mark.parametrize(
    ("keep", "name", "count"),
    [
        (range(61), "layers.{3..60}.experts.{0..255}.w", 58 * 256),
        (range(61, 62), "layers.{61..61}.experts.{0..255}.w", 256),
        (range(3), None, 0),
    ],
)
def test_restricted(keep: range, name: str | None, count: int) -> None:
    whole = run("layers.{3..61}.experts.{0..255}.w", count=59 * 256)
    part = whole.restricted(keep)
    assert (part and part.name, part.count if part else 0) == (name, count)


def test_a_single_tensor_is_in_every_part() -> None:
    head = run("lm_head.weight", count=1)
    assert head.restricted(range(0)) is head
    assert head.indices() is None


def test_indices_and_template() -> None:
    whole = run("layers.{3..61}.experts.{0..255}.w", count=59 * 256)
    assert whole.indices() == range(3, 62)
    assert template(whole.name) == "layers.{}.experts.{}.w"
    assert (whole.elements, whole.total_bytes) == (6, 12 * 59 * 256)
