"""The table of several models."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.gpu import Gpu
from hfmem.hardware.fit import Fit
from hfmem.memory.workload import Workload
from hfmem.report.rows import render
from hfmem.report.screen import Screen, draw


def text_of(answers: list[Estimate | Failure], width: int | None = None) -> str:
    screen = Screen(width=width)
    return draw(render(answers, Workload(ctx=8192), screen), screen)


def test_golden(
    make_estimate: Callable[..., Estimate],
    make_failure: Callable[..., Failure],
    make_fit: Callable[..., Fit],
) -> None:
    answers = [
        make_estimate("org/a", fit=(make_fit("fits"),)),
        make_failure("org/b", message="org/b is gated.", hint="hf auth login"),
        make_estimate("org/c", fit=(make_fit("no"),)),
    ]
    assert text_of(answers) == (
        "8,192 tokens · 1 sequence · transformers\n"
        "\n"
        "model  parameters  dtype    weights  KV cache  activations  overhead      total"
        "  rtx-4090\n"
        "org/a      7.62 B  BF16   14.00 GiB  0.44 GiB     1.00 GiB  0.56 GiB  16.00 GiB  fits\n"
        "org/c      7.62 B  BF16   14.00 GiB  0.44 GiB     1.00 GiB  0.56 GiB  16.00 GiB  no\n"
        "\n"
        "failed  org/b  gated_model\n"
        "        org/b is gated.\n"
        "        hf auth login\n"
        "\n"
        "2 models · 32.00 GiB together · 1 of 2 fit rtx-4090 · 1 failed\n"
    )


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (60, "model weights total"),
        (80, "model weights KV cache activations total"),
        (120, "model parameters dtype weights KV cache activations overhead total"),
    ],
)
def test_columns_by_width(
    width: int, headings: str, make_estimate: Callable[..., Estimate]
) -> None:
    text = text_of([make_estimate("org/" + "long-" * 20 + "name")], width)
    lines = text.splitlines()
    assert " ".join(lines[2].split()) == headings
    assert max(map(len, lines)) <= width
    assert "…" not in text


def test_a_lower_bound_is_marked(make_estimate: Callable[..., Estimate]) -> None:
    text = text_of([make_estimate("org/a"), make_estimate("org/b", unknown=("weights",))])
    assert "> 2.00 GiB" in text
    assert "at least 18.00 GiB together" in text


def test_only_failures(make_failure: Callable[..., Failure]) -> None:
    assert text_of([make_failure()]).endswith("\n0 models · 1 failed\n")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_no_screen_is_too_narrow_for_the_names_of_the_gpus(
    width: int,
    groups: int,
    make_estimate: Callable[..., Estimate],
    make_fit: Callable[..., Fit],
    make_gpu: Callable[..., Gpu],
) -> None:
    names = [f"rtx-pro-{number}000-blackwell" for number in range(groups)]
    fits = [make_fit("offload", card=make_gpu(name, gpu_id=name)) for name in names]
    text = text_of([make_estimate("org/name", fit=tuple(fits))], width)
    assert max(map(len, text.splitlines())) <= width
    table = text.split("\n\n")[1]
    lines = table.splitlines()
    # Whole, or folded within its own column, which is the last one.
    folded = "".join(line[lines[0].rindex("  ") + 2 :].strip() for line in lines)
    for name in names:
        assert name in table or name in folded
    assert table.count("offload") == groups
