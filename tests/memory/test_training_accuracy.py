"""Training estimates against published measurements: the median of every recipe, the worst rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.accuracy.training import EXPLAINED, median_error, rows
from tests.accuracy.training_readers import READERS, REFUSED

pytestmark = pytest.mark.shared


def test_medians_and_outliers(shared: Path) -> None:
    found = list(rows(shared / "measured"))
    assert len(found) == 193
    assert sum(row.error is not None for row in found) == 128
    for recipe in READERS:
        error = median_error(found, recipe)
        assert error is not None, recipe
        assert error < 0.08, recipe
    for row in found:
        if row.error is not None and abs(row.error) > 0.08:
            assert any(part in row.id for part, _ in EXPLAINED), row


def test_what_is_not_modelled_is_listed_with_a_reason(shared: Path) -> None:
    refused = [row for row in rows(shared / "measured") if row.error is None]
    assert all(row.why_not for row in refused)
    assert {row.recipe for row in refused} >= set(REFUSED)
