"""The exit code that one answer asks for; a run's is the largest."""

from __future__ import annotations

from hfmem.answer import Estimate, Failure

FITS, EXCEEDED, UNANSWERED, INTERRUPTED = 0, 1, 2, 130


def verdict(answer: Estimate | Failure, limit: int | None) -> int:
    """0 where all that was asked holds, 1 where a limit or a GPU does not, 2 where nobody knows.

    ``limit`` is in bytes. A total that is only a lower bound exceeds a limit below it, and is
    unanswered for a limit above.
    """
    if isinstance(answer, Failure):
        return UNANSWERED
    codes = [FITS]
    if limit is not None:
        if answer.memory.peak.memory.bytes > limit:
            codes.append(EXCEEDED)
        elif answer.memory.unknown:
            codes.append(UNANSWERED)
    for fit in answer.fit:
        if fit.verdict is None:
            codes.append(UNANSWERED)
        elif not fit.fits:
            codes.append(EXCEEDED)
    return max(codes)
