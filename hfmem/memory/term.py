"""The shape of every number: a tree of bytes, each with how sure it is and why.

A total is exactly the sum of its parts. ``--explain``, the table, the JSON and a diff are each one
walk over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Basis = Literal["exact", "measured", "derived", "assumed"]

_SURENESS: dict[Basis, int] = {"exact": 0, "derived": 1, "measured": 2, "assumed": 3}


class Term(Struct, frozen=True, kw_only=True):
    """An amount of memory: what it is, how many bytes, how that is known."""

    name: str
    """A slug such as ``kv_cache``; parts are named inside of it."""
    bytes: int
    basis: Basis
    """exact: from headers, or a formula that the reference implementation confirms. measured: a
    constant fitted to measurements. derived: arithmetic on exact facts whose result depends on an
    implementation's detail. assumed: a stated assumption."""
    because: str
    """The formula with its numbers put in, and its source."""
    low: int | None = None
    """The least it can be; None is ``bytes``."""
    high: int | None = None
    """The most it can be; None is ``bytes``."""
    parts: tuple[Term, ...] = ()

    @property
    def range_bytes(self) -> tuple[int, int]:
        """Least and most."""
        return (
            self.bytes if self.low is None else self.low,
            self.bytes if self.high is None else self.high,
        )


def total(name: str, parts: Iterable[Term], *, because: str) -> Term:
    """The sum of parts, as sure as its weakest large part (one that holds a twentieth of the
    whole).

    ``total("memory", (weights, cache), because="…").bytes == weights.bytes + cache.bytes``.
    """
    kept = tuple(parts)
    size = low = high = 0
    # One walk: a judgement on a card adds up hundreds of these.
    for part in kept:
        size += part.bytes
        low += part.bytes if part.low is None else part.low
        high += part.bytes if part.high is None else part.high
    basis: Basis = "exact"
    for part in kept:
        if part.bytes * 20 >= size and _SURENESS[part.basis] > _SURENESS[basis]:
            basis = part.basis
    return Term(name=name, bytes=size, basis=basis, because=because, low=low, high=high, parts=kept)
