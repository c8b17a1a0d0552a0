"""Rows as a spreadsheet and as a program read them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest

from hfmem.answer import Estimate, Failure
from hfmem.hardware.fit import Fit
from hfmem.report.csv import document, safe


def read(*answers: Estimate | Failure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(document(answers), newline="")))


# OWASP, "CSV Injection": cells must not begin with = + - @, tab or carriage return.
@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("org/name", "org/name"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        # An output without Unicode spells these = and -.
        ("━1+1", "'━1+1"),
        ("−1", "'−1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'=1"),
        ("\r=1", "'=1"),
        ("a\x1b[31m", r"a\x1b[31m"),
    ],
)
def test_safe(text: str, cell: str) -> None:
    assert safe(text) == cell


def test_row_of_an_estimate(
    make_estimate: Callable[..., Estimate], make_fit: Callable[..., Fit]
) -> None:
    (row,) = read(make_estimate(fit=(make_fit("no", count=2, headroom=-5),), columns={"team": "a"}))
    assert row["model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert row["total_bytes"] == str(16 * 2**30)
    assert row["rtx-4090:2_verdict"] == "no"
    # A number is no formula: it stays one.
    assert row["rtx-4090:2_headroom_bytes"] == "-5"
    assert row["input_team"] == "a"
    assert row["error_code"] == ""


def test_unknown_is_empty(make_estimate: Callable[..., Estimate]) -> None:
    (row,) = read(make_estimate(unknown=("weights",)))
    assert row["total_bytes"] == row["weights_bytes"] == row["range_high_bytes"] == ""
    assert row["activations_bytes"] == str(2**30)


def test_failures_are_rows(
    make_estimate: Callable[..., Estimate], make_failure: Callable[..., Failure]
) -> None:
    rows = read(make_estimate(), make_failure("=evil()", message="a\nb,c"))
    assert [row["error_code"] for row in rows] == ["", "gated_model"]
    assert rows[1]["model"] == "'=evil()"
    assert rows[1]["error_message"] == "a b,c"
    assert rows[1]["total_bytes"] == ""


def test_nothing_is_a_header() -> None:
    assert document(()).startswith("model,revision,")
    assert document(()).count("\n") == 1
