"""When Python looks for cycles of objects that nothing else refers to: hfmem makes next to none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG = 50_000
"""New objects that are left over before the youngest are searched; Python's own figure is 700."""


@contextmanager
def paused() -> Iterator[None]:
    """For the making of very many tuples: a search among them takes longer than reading them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def seldom() -> None:
    """For a process that goes on: often enough for memory to stay flat, and no tenth of the run."""
    gc.set_threshold(_YOUNG, 20, 20)
    gc.enable()
