"""The plans of both GPU scripts, without a GPU."""

from __future__ import annotations

import json

import pytest

from tests.gpu import prefill_decode, train_steps
from tests.gpu.comparing import Compared
from tests.gpu.shapes import SHAPES


@pytest.mark.parametrize(
    ("main", "words", "lines"),
    [
        (train_steps.main, ("--dry", "--shapes", "llama-1b", "qwen3-4b"), 2 * 3 * 2 * 4),
        (prefill_decode.main, ("--dry", "--prompts", "512"), 3 * len(SHAPES)),
    ],
)
def test_every_case_is_planned_with_an_estimate(
    capsys: pytest.CaptureFixture[str], main: object, words: tuple[str, ...], lines: int
) -> None:
    assert callable(main)
    assert main(words) == 0
    planned = [line for line in capsys.readouterr().out.splitlines() if "dry run" in line]
    assert len(planned) == lines
    assert all("GiB" in line for line in planned)


def test_names_of_cases_are_read_back() -> None:
    for case in train_steps.cases(("llama-8b",), tokens=2048, batch=2):
        assert train_steps.parsed(case.name) == case
    one = prefill_decode.Case(shape="gemma3-1b", prompt=8192, batch=3)
    assert prefill_decode.parsed(one.name) == one


def test_checkpointing_and_adapters_take_less() -> None:
    need = {
        (case.method, case.checkpointed): train_steps.ours(case)[-1].ours
        for case in train_steps.cases(("llama-8b",), tokens=2048, batch=1)
    }
    assert need["full", True] < need["full", False]
    assert need["qlora", True] < need["lora", True] < need["full", True]


def test_a_case_that_cannot_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_steps.main(("--measure", "llama-1b:qlora:kept:8:1")) == 0
    assert "error" in json.loads(capsys.readouterr().out.strip())


def test_the_error_is_relative_to_what_was_measured() -> None:
    one = Compared(case="a", amount="step", ours=103, measured=100)
    assert one.error == pytest.approx(0.03)
    assert Compared(case="a", amount="step", ours=103).error is None
