"""The smallest hardware that holds a given amount."""

from __future__ import annotations

from collections.abc import Callable

from hfmem.gpu import GpuGroup

MAX_CARDS = 64
"""Beyond this a count is no answer for one process."""


def smallest(
    cards: tuple[GpuGroup, ...], need: Callable[[GpuGroup], int]
) -> tuple[str, int] | None:
    """The smallest card that holds what is needed alone, else the fewest of the largest card.

    ``need`` gives the bytes on the most loaded GPU of a group. None when even ``MAX_CARDS`` of the
    largest do not hold it.
    """
    by_size = sorted(cards, key=lambda group: group.gpu.usable_bytes)
    for group in by_size:
        if need(group) <= group.gpu.usable_bytes:
            return group.gpu.id, 1
    largest = by_size[-1].gpu
    for count in range(2, MAX_CARDS + 1):
        if need(GpuGroup(gpu=largest, count=count)) <= largest.usable_bytes:
            return largest.id, count
    return None
