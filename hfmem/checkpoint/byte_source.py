"""A file that is read in pieces, wherever it lies."""

from __future__ import annotations

from typing import Protocol


class ByteSource(Protocol):
    """Reads ``[start, stop)`` of one file; the answer is exactly that long, or it raises."""

    def __call__(self, start: int, stop: int) -> bytes: ...
