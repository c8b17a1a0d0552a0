"""The smallest hardware that holds a given amount."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.memory.cards import device_of
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import Runtime

MAX_CARDS = 64
"""Beyond this a count is no answer for one process."""


class Need(Struct, frozen=True, kw_only=True):
    """What an engine needs of a group, and what would change with other weights."""

    spare_bytes: int
    """Of the most loaded device: what it may use less what it needs."""
    share: float
    """Of the whole weights that this device holds."""


def on_group(group: GpuGroup, *, model: Model, workload: Workload, runtime: Runtime) -> Need | None:
    """A workload's need on a group; None where the engine refuses the layout or the card."""
    sizes = [workload.flags.whole(name) or 1 for name in ("tp", "pp", "dp")]
    if prod(sizes) != group.count:
        workload = replace(workload, flags=workload.flags.but(tp=None, pp=None, dp=None, ep=None))
    try:
        asked = replace(workload, device=device_of(group.gpu))
        found = runtime.estimate(model, asked, group)
    except UsageError:
        return None
    if found.refusal is not None:
        return None
    free = group.usable_bytes // group.count
    room = free if found.budget_bytes is None else found.budget_bytes
    whole = found.peak.part("weights").bytes
    held = found.largest.part("weights").bytes
    return Need(spare_bytes=room - found.need_bytes, share=held / whole if whole else 1.0)


def fewest(group: GpuGroup, *, model: Model, workload: Workload, runtime: Runtime) -> int | None:
    """The smallest count of a card that holds a workload; None up to ``MAX_CARDS``."""
    for count in range(1, MAX_CARDS + 1):
        need = on_group(
            replace(group, count=count), model=model, workload=workload, runtime=runtime
        )
        if need is not None and need.spare_bytes >= 0:
            return count
    return None


def smallest(
    cards: tuple[GpuGroup, ...], spare: Callable[[GpuGroup], int | None]
) -> tuple[str, int] | None:
    """The smallest card that holds what is needed alone, else the fewest of the largest card.

    ``spare`` gives what is left on the most loaded GPU of a group, None where the engine refuses
    it. None when even ``MAX_CARDS`` of the largest do not hold it.
    """
    by_size = sorted(cards, key=lambda group: group.gpu.usable_bytes)
    for group in by_size:
        left = spare(replace(group, count=1))
        if left is not None and left >= 0:
            return group.gpu.id, 1
    largest = by_size[-1].gpu
    for count in range(2, MAX_CARDS + 1):
        left = spare(GpuGroup(gpu=largest, count=count))
        if left is not None and left >= 0:
            return largest.id, count
    return None
