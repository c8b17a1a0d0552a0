"""Memory against context: the estimate of one model at a few contexts."""

from __future__ import annotations

from msgspec.structs import replace

from hfmem.answer import Estimate
from hfmem.errors import HfmemError
from hfmem.memory.cards import device_of
from hfmem.memory.estimate import PARTS
from hfmem.runtimes import RUNTIMES

Point = tuple[int, ...]
"""A context in tokens, and the bytes of the four parts at the peak."""

_FIRST, _MOST = 1024, 2**20


def curve(estimate: Estimate) -> list[Point]:
    """Points from 1,024 tokens to the model's maximum, each twice the one before.

    The engine itself is asked at each; nothing is interpolated. Empty where a part is not known or
    the engine refuses a context.
    """
    if estimate.memory.unknown:
        return []
    group = estimate.fit[0].group if estimate.fit else None
    workload = estimate.workload
    if group is not None:
        workload = replace(workload, device=device_of(group.gpu))
    runtime, points = RUNTIMES[workload.runtime], list[Point]()
    try:
        for ctx in contexts(asked=estimate.memory.ctx, most=estimate.model.decoder.max_context):
            memory = runtime.estimate(estimate.model, replace(workload, ctx=ctx), group)
            points.append((ctx, *(memory.peak.part(name).bytes for name in PARTS)))
    except HfmemError:
        return []
    return points


def contexts(*, asked: int, most: int | None) -> list[int]:
    """``contexts(asked=8192, most=32768) == [1024, 2048, 4096, 8192, 16384, 32768]``."""
    last = min(max(asked, most or 4 * asked), max(_MOST, asked))
    found = {asked, last}
    ctx = min(_FIRST, last)
    while ctx < last:
        found.add(ctx)
        ctx *= 2
    return sorted(found)
