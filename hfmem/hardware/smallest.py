"""The smallest hardware that holds a given amount."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.gpu import Gpu, GpuGroup
from hfmem.memory.cards import class_of, device_of
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
    room = found.usable_bytes(group)
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


def kinds(model: Model, workload: Workload) -> Callable[[Gpu], object]:
    """What cards of one kind share: to an engine that goes by their class they differ in size only.

    Old ones unpack what new ones take as it is, and read fewer types of cache.
    """
    packed = any(run.packed and run.loaded for run in model.weights or ())
    by_capability = packed or workload.kv_dtype != "auto" or model.kv_scheme is not None
    return lambda gpu: (
        device_of(gpu),
        class_of(gpu),
        gpu.compute_capability if by_capability else "",
    )


class Asked:
    """What an engine needs on the groups that a search comes by, each asked once."""

    def __init__(self, model: Model, workload: Workload, runtime: Runtime) -> None:
        self._asked = model, workload, runtime
        self.kind = kinds(model, workload)
        self._known: dict[object, tuple[int, Need | None]] = {}

    def need(self, gpu: Gpu, count: int) -> Need | None:
        """What ``count`` of a card would have left; None where the engine refuses them."""
        model, workload, runtime = self._asked
        if count > 1 and not runtime.many:
            return None
        key = (self.kind(gpu) if runtime.by_class else gpu.id, count)
        if key not in self._known:
            group = GpuGroup(gpu=gpu, count=count)
            found = on_group(group, model=model, workload=workload, runtime=runtime)
            self._known[key] = gpu.usable_bytes, found
        size, known = self._known[key]
        if known is None or size == gpu.usable_bytes:
            return known
        return replace(known, spare_bytes=known.spare_bytes + gpu.usable_bytes - size)


def smallest(
    cards: tuple[Gpu, ...], asked: Asked, *, weights: int, more: int
) -> tuple[str, int] | None:
    """The first of the cards that holds the weights alone, else the fewest of the largest card.

    ``cards`` come in the order in which they are preferred; ``more`` is what these ``weights`` take
    beyond those that ``asked`` counts. None when even ``MAX_CARDS`` of the largest do not hold
    them.
    """

    def holds(gpu: Gpu, count: int) -> bool:
        need = asked.need(gpu, count)
        return need is not None and need.spare_bytes >= int(more * need.share)

    full: dict[object, int] = {}
    for gpu in cards:
        kind = asked.kind(gpu)
        if gpu.usable_bytes < weights or gpu.usable_bytes <= full.get(kind, 0):
            continue
        if holds(gpu, 1):
            return gpu.id, 1
        full[kind] = gpu.usable_bytes
    if not cards:
        return None
    largest = max(cards, key=lambda gpu: gpu.usable_bytes)
    for count in range(max(2, -(-weights // largest.usable_bytes)), MAX_CARDS + 1):
        if holds(largest, count):
            return largest.id, count
    return None
