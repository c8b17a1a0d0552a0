"""The tensors behind the weights: grouped, the largest first, to the byte."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfmem.answer import Estimate
from hfmem.checkpoint.tensor import Tensor, runs
from hfmem.model.describe import describe
from hfmem.model.weights import WeightRun
from hfmem.report.explain import render
from hfmem.report.markdown import document
from hfmem.report.screen import Screen, draw
from hfmem.report.tensors import rest_words, shape_words, stored
from hfmem.source import recorded


def weight(name: str, shape: tuple[int, ...], *, loaded: bool = True) -> tuple[WeightRun, ...]:
    """One tensor of bfloat16, or a run of them in brace notation."""
    size = 2
    for dimension in shape:
        size *= dimension
    return tuple(
        WeightRun(
            run=run,
            component="language",
            logical=size // 2,
            packed=False,
            loaded=loaded,
        )
        for run in runs([Tensor(name, "BF16", shape, size)])
    )


# Count and sum of the index of the safetensors files on the Hub (weight_map, metadata.total_size);
# the group is intermediate_size × hidden_size of config.json, once a layer, of 2 bytes.
@pytest.mark.parametrize(
    ("name", "count", "total", "group", "group_bytes"),
    [
        (
            "Qwen/Qwen3-8B",
            399,
            16_381_470_720,
            "36 × BF16 [12288, 4096]",
            36 * 12288 * 4096 * 2,
        ),
        (
            "meta-llama/Llama-3.1-8B-Instruct",
            291,
            16_060_522_496,
            "32 × BF16 [14336, 4096]",
            32 * 14336 * 4096 * 2,
        ),
    ],
)
def test_published_models(name: str, count: int, total: int, group: str, group_bytes: int) -> None:
    facts = recorded.bundled(name)
    assert facts is not None
    found = stored(describe(facts))
    assert found is not None
    assert (found.count, found.bytes) == (count, total)
    assert (shape_words(found.groups[0]), found.groups[0].bytes) == (group, group_bytes)
    assert sum(one.bytes for one in found.groups) + found.rest_bytes + found.left_bytes == total


def test_numbers_that_are_no_run_are_one_group(make_model: Callable[..., object]) -> None:
    weights = weight("h.0.w", (4, 4)) + weight("h.7.w", (4, 4)) + weight("h.7.v", (4, 4))
    found = stored(make_model(weights=weights))
    assert found is not None
    assert [(one.name, one.count, one.bytes) for one in found.groups] == [
        ("h.*.w", 2, 64),
        ("h.{7..7}.v", 1, 32),
    ]


def test_what_is_not_loaded_is_apart(make_model: Callable[..., object]) -> None:
    weights = weight("w", (4, 4)) + weight("draft.0.w", (2, 4), loaded=False) + weight("v", (2,))
    found = stored(make_model(weights=weights), most=1)
    assert found is not None
    assert [one.name for one in found.groups] == ["w"]
    assert (found.rest_bytes, found.left_bytes, found.bytes) == (4, 16, 52)
    assert rest_words(found) == (
        "1 smaller group  4 B  4 B",
        "not loaded: 1 tensor  16 B  16 B",
    )


def test_a_model_without_known_tensors_has_none(make_model: Callable[..., object]) -> None:
    assert stored(make_model(weights=None)) is None


@given(
    st.dictionaries(
        st.from_regex(r"[a-c](\.[0-9]{1,2}){0,2}\.[wv]", fullmatch=True),
        st.tuples(st.lists(st.integers(0, 5), max_size=3), st.booleans()),
        max_size=20,
    ),
    st.integers(0, 5),
)
def test_nothing_is_lost(
    make_model: Callable[..., object],
    tensors: dict[str, tuple[list[int], bool]],
    most: int,
) -> None:
    weights = tuple(
        one
        for name, (shape, loaded) in tensors.items()
        for one in weight(name, tuple(shape), loaded=loaded)
    )
    found = stored(make_model(weights=weights), most=most)
    assert found is not None
    assert found.bytes == sum(one.run.total_bytes for one in weights)
    listed = sum(one.bytes for one in found.groups)
    assert listed + found.rest_bytes + found.left_bytes == found.bytes
    assert found.count == len(tensors)


def test_explain_lists_them(make_estimate: Callable[..., Estimate]) -> None:
    weights = weight("model.layers.3.mlp.w", (1024, 1024)) + weight("[x](y)\x1b", (1,))
    estimate = make_estimate(weights=weights)
    text = draw(render(estimate), Screen(width=120))
    assert "tensors  2.0 MiB  2,097,154 B in 2 tensors" in text
    assert "model.layers.{3..3}.mlp.w  2.0 MiB  2,097,152 B  1 × BF16 [1024, 1024]" in text
    assert "\x1b" not in text
    written = document((estimate,), estimate.workload, explain=True)
    assert "model.layers.{3..3}.mlp.w: 2,097,152 B, 1 × BF16 &#91;1024, 1024&#93;" in written
    assert "[x](y)" not in written
    assert "tensors" not in document((estimate,), estimate.workload, explain=False)
