"""Training estimates against published measurements: the median of every recipe, the worst rows."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from tests.benchmarks.accuracy_training import EXPLAINED, rows

pytestmark = pytest.mark.shared


def test_medians_and_outliers(shared: Path) -> None:
    found = list(rows(shared))
    by_recipe: dict[str, list[float]] = {}
    for row in found:
        if row.error is not None:
            by_recipe.setdefault(row.recipe, []).append(abs(row.error))
    assert set(by_recipe) == {
        *("torchtune", "torchtitan", "fms-acceleration", "peft-metamath", "litgpt-train")
    }
    for recipe, errors in by_recipe.items():
        assert median(errors) < 0.08, recipe
    for row in found:
        if row.error is not None and abs(row.error) > 0.08:
            assert any(part in row.id for part, _ in EXPLAINED), row
    assert len(found) == 193
    assert all(row.error is not None or row.why_not for row in found)
