"""The exit code that one answer asks for; a run's is the largest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from hfmem.answer import Estimate, Failure

FITS, EXCEEDED, UNANSWERED, INTERRUPTED = 0, 1, 2, 130


class Judged(Protocol):
    """The judgement on one group of cards."""

    @property
    def verdict(self) -> str | None:
        """None where nobody knows."""

    @property
    def fits(self) -> bool:
        """A tight fit is a fit."""


def verdict(answer: Estimate | Failure, limit: int | None) -> int:
    """What ``judged`` says of an estimate; a failure leaves its question unanswered."""
    if isinstance(answer, Failure):
        return UNANSWERED
    memory = answer.memory
    least = memory.peak.memory.bytes
    return judged(least, unknown=bool(memory.unknown), fits=answer.fit, limit=limit)


def judged(total: int, *, unknown: bool, fits: Iterable[Judged], limit: int | None) -> int:
    """0 where all that was asked holds, 1 where a limit or a GPU does not, 2 where nobody knows.

    ``total`` and ``limit`` are in bytes. A total that is only a lower bound, since a part of it is
    ``unknown``, exceeds a limit below it, and is unanswered for a limit above.
    """
    codes = [FITS]
    if limit is not None:
        if total > limit:
            codes.append(EXCEEDED)
        elif unknown:
            codes.append(UNANSWERED)
    for fit in fits:
        if fit.verdict is None:
            codes.append(UNANSWERED)
        elif not fit.fits:
            codes.append(EXCEEDED)
    return max(codes)
