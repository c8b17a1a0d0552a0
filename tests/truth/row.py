"""One comparison, and what a table of them says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Outcome = Literal["equal", "near", "wrong", "explained", "refused"]
OUTCOMES: tuple[Outcome, ...] = ("equal", "near", "explained", "refused", "wrong")

NEAR = 0.02
"""A relative difference up to here is near."""


class Row(Struct, frozen=True, kw_only=True):
    """A published or measured number and ours."""

    table: str
    name: str
    expected: int
    found: int | None
    """None where hfmem says that it does not know."""
    reason: str = ""
    """Why they differ, or why it is not known."""
    tolerance: float = NEAR
    """What is near in this table."""

    @property
    def outcome(self) -> Outcome:
        """Equal to the unit, near, different for a stated reason, refused, or wrong."""
        if self.found is None:
            return "refused"
        if self.found == self.expected:
            return "equal"
        if abs(self.found - self.expected) <= self.tolerance * abs(self.expected):
            return "near"
        return "explained" if self.reason else "wrong"


def counts(rows: Iterable[Row]) -> dict[str, Counter[str]]:
    """Outcomes by table."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        found.setdefault(row.table, Counter())[row.outcome] += 1
    return found
