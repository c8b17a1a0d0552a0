"""Figures and words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hfmem.answer import Estimate
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.fit import Fit
from hfmem.memory.workload import Workload
from hfmem.model.parameters import Parameters
from hfmem.report import phrases
from hfmem.units import GIB, MIB


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (57_344, "56.0 KiB"),
        (32 * MIB, "32.0 MiB"),
        (2_684_354_560, "2.50 GiB"),
        (-GIB, "-1.00 GiB"),
        (1500 * GIB, "1,500.0 GiB"),
    ],
)
def test_size(amount: int, text: str) -> None:
    assert phrases.size(amount) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0%"), (1, 3, "33%"), (1, 1000, "<1%"), (5, 5, "100%"), (0, 0, "0%")],
)
def test_share(part: int, whole: int, text: str) -> None:
    assert phrases.share(part, whole) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (16 * GIB, 32 * GIB, "16.00 to 32.00 GiB"),
        (28 * MIB, 38 * MIB, "28.0 MiB to 38.0 MiB"),
        (MIB, 2 * GIB, "0.00 to 2.00 GiB"),
    ],
)
def test_span(low: int, high: int, text: str) -> None:
    assert phrases.span(low, high) == text


@pytest.mark.parametrize(
    ("revision", "text"),
    [
        (None, None),
        ("a09a35458c702b33eeacc393d103063234e8bc28", "a09a3545"),
        ("main", "main"),
        ("refs/pr/1", "refs/pr/1"),
    ],
)
def test_revision(
    revision: str | None, text: str | None, make_estimate: Callable[..., Estimate]
) -> None:
    assert phrases.revision(make_estimate(revision=revision)) == text


@pytest.mark.parametrize(
    ("by_dtype", "text"),
    [
        ({}, "BF16"),
        ({"BF16": 1, "F8_E4M3": 9}, "F8_E4M3 + BF16"),
        ({"A": 4, "B": 3, "C": 2, "D": 1}, "A + B + C + …"),
    ],
)
def test_stored_dtypes(
    by_dtype: dict[str, int], text: str, make_estimate: Callable[..., Estimate]
) -> None:
    parameters = Parameters(total=10, active=None, by_dtype=by_dtype, by_component={})
    assert phrases.stored_dtypes(make_estimate(parameters=parameters)) == text


@pytest.mark.parametrize(
    ("total", "active", "words"),
    [
        (30_532_122_624, 3_353_000_000, ["30.53 B parameters", "3.35 B active"]),
        (7_615_616_512, 7_615_616_512, ["7.62 B parameters"]),
        (7_615_616_512, None, ["7.62 B parameters"]),
        (None, None, []),
    ],
)
def test_parameter_words(
    total: int | None,
    active: int | None,
    words: list[str],
    make_estimate: Callable[..., Estimate],
) -> None:
    parameters = Parameters(total=total, active=active, by_dtype={}, by_component={})
    assert phrases.parameter_words(make_estimate(parameters=parameters)) == words


def test_question() -> None:
    asked = Workload(batch=4, dtype="F16", kv_dtype="fp8", attention="eager", device="cpu")
    assert phrases.question(asked, ctx=131072) == (
        "131,072 tokens · 4 sequences · transformers · loaded as F16 · KV cache in fp8 · "
        "eager attention · cpu"
    )


def test_one_more_sequence_is_the_steady_cache(make_estimate: Callable[..., Estimate]) -> None:
    assert phrases.bytes_per_sequence(make_estimate(workload=Workload(batch=4))) == 112 * MIB


def test_notes_say_how_a_gpu_was_read(
    make_estimate: Callable[..., Estimate],
    make_fit: Callable[..., Fit],
    make_gpu: Callable[..., Gpu],
) -> None:
    from msgspec.structs import replace

    group = GpuGroup(gpu=make_gpu(), count=1, note="4090 is read as rtx-4090")
    fit = replace(make_fit(), group=group)
    assert phrases.note_messages(make_estimate(fit=(fit, fit))) == ["4090 is read as rtx-4090"]
