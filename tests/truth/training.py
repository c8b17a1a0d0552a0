"""Training steps: peaks that a tracker of the reference implementation's allocator saw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.memory.test_training_truth import estimated, label, training_rows
from tests.truth.row import Row

_TOLERANCE = 0.03


def training(shared: Path) -> Iterator[Row]:
    """The peak of every step, its states, and how many parameters it trains."""
    for row in training_rows(shared):
        found = estimated(row)
        yield Row(
            table="training, peaks",
            name=label(row),
            expected=int(str(row["peak"])),
            found=max(phase.tensor_bytes for phase in found.phases),
            tolerance=_TOLERANCE,
        )
        yield Row(
            table="training, trained",
            name=label(row),
            expected=int(str(row["trainable"])),
            found=found.trainable,
        )
