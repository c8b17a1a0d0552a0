"""When Python looks for cycles of objects that nothing else refers to: hfmem makes next to none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 50_000
"""New objects that are left over before the youngest are searched; Python's own figure is 700."""


@contextmanager
def paused() -> Iterator[None]:
    """For objects that stay, such as very many tuples or a program's modules: a search among them
    takes longer than making them."""
    enabled, threshold = gc.isenabled(), gc.get_threshold()
    gc.disable()
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        # Never off again: another thread may have paused it, and gone on since.
        if enabled:
            gc.enable()


def seldom() -> None:
    """For a process that goes on: often enough for memory to stay flat, and no tenth of the run."""
    gc.set_threshold(_YOUNG, 20, 20)
    gc.enable()
