"""Errors on standard error: one line that says what is wrong, one that says what to do."""

from __future__ import annotations

import sys
from contextlib import suppress

from hfmem.errors import HfmemError
from hfmem.text import clean


def complain(message: str, hint: str = "") -> None:
    """Print an ``error:`` line and, where there is one, a ``hint:`` line."""
    _print(f"error: {clean(message, limit=2000)}")
    if hint:
        _print(f"hint: {clean(hint, limit=2000)}")


def complain_of(error: HfmemError, *, about: str = "") -> None:
    """Print a failure; ``about`` names the model where the message alone does not."""
    prefix = f"{about}: " if about and about not in error.message else ""
    complain(f"{prefix}{error.message}", hint=error.hint)


def remark(message: str) -> None:
    """Print a line that is no error."""
    _print(clean(message, limit=2000))


def _print(line: str) -> None:
    stream = sys.stderr
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    # Where errors cannot be written either, the exit code tells.
    with suppress(OSError):
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()
