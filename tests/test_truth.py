"""The comparisons that need no reference data, and the table of those that do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.truth.__main__ import main
from tests.truth.row import Outcome, Row
from tests.truth.tools import FACTS, Fact, compared


@pytest.mark.parametrize(
    "fact", [fact for fact in FACTS if fact.config], ids=lambda fact: fact.model
)
def test_where_other_tools_err(fact: Fact) -> None:
    assert fact.config is not None
    assert [row.outcome for row in compared(fact, fact.config)] == ["equal"]


@pytest.mark.parametrize(
    ("expected", "found", "reason", "outcome"),
    [
        (100, 100, "", "equal"),
        (100, 101, "", "near"),
        (100, 103, "", "wrong"),
        (100, 103, "tied", "explained"),
        (100, None, "", "refused"),
    ],
)
def test_outcomes(expected: int, found: int | None, reason: str, outcome: Outcome) -> None:
    row = Row(table="", name="", expected=expected, found=found, reason=reason)
    assert row.outcome == outcome


def test_a_folder_without_reference_data_is_wrong_usage(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2


@pytest.mark.shared
def test_every_bound_is_kept(shared: Path) -> None:
    assert main([str(shared)]) == 0
