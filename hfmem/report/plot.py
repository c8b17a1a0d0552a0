"""Memory against context: what a picture shows, before anything draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from hfmem.answer import Estimate
from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.hardware.fit import Fit
from hfmem.memory.cards import device_of
from hfmem.memory.estimate import PARTS, MemoryEstimate
from hfmem.report.phrases import gpu_label
from hfmem.runtimes import RUNTIMES

_POINTS = 64
_CARDS = 4
"""Lines of cards that nobody named, at most."""


class Point(Struct, frozen=True, kw_only=True):
    """What one context takes."""

    ctx: int
    parts: Mapping[str, int]
    """Bytes of the four parts at the largest instant."""

    @property
    def total(self) -> int:
        """All of it in bytes."""
        return sum(self.parts.values())


class Limit(Struct, frozen=True, kw_only=True):
    """What a group of GPUs can hold."""

    label: str
    bytes: int


class Curve(Struct, frozen=True, kw_only=True):
    """Memory of a model in a runtime over contexts, all devices together."""

    points: tuple[Point, ...]
    """Ascending; the asked context is one of them."""
    asked: Point
    limits: tuple[Limit, ...]
    """Ascending."""
    max_context: int | None
    """The model's own."""


def curve(estimate: Estimate) -> Curve:
    """The runtime's figures from one token to beyond what was asked.

    Every point is an estimate of its own at that context. Raises UsageError where the context does
    not change what the runtime needs because its parts are not known.
    """
    if estimate.memory.unknown:
        raise UsageError(
            f"There is nothing to plot: {' and '.join(estimate.memory.unknown)} not known.",
            hint="--explain shows what is known.",
        )
    asked = _point(estimate.memory.ctx, estimate.memory)
    limits = _limits(estimate, asked)
    last = _last(estimate)
    contexts = {1, asked.ctx, last, *(max(1, last * n // _POINTS) for n in range(_POINTS + 1))}
    group = estimate.fit[0].group if estimate.fit else None
    points = tuple(
        asked if ctx == asked.ctx else _at(estimate, ctx, group) for ctx in sorted(contexts)
    )
    return Curve(
        points=points,
        asked=asked,
        limits=limits,
        max_context=estimate.model.decoder.max_context,
    )


def _at(estimate: Estimate, ctx: int, group: GpuGroup | None) -> Point:
    workload = replace(estimate.workload, ctx=ctx)
    if group is not None:
        workload = replace(workload, device=device_of(group.gpu))
    found = RUNTIMES[workload.runtime].estimate(estimate.model, workload, group)
    return _point(ctx, found)


def _point(ctx: int, memory: MemoryEstimate) -> Point:
    return Point(ctx=ctx, parts={name: memory.peak.part(name).bytes for name in PARTS})


def _last(estimate: Estimate) -> int:
    """The right edge: the model's maximum, but not far beyond where the last GPU is full."""
    asked, most = estimate.memory.ctx, estimate.model.decoder.max_context
    edge = max(most or 4 * asked, asked)
    reached = [fit.max_ctx for fit in estimate.fit if fit.max_ctx is not None]
    if reached:
        edge = min(edge, max(max(reached), asked) * 3 // 2)
    return max(edge, asked + asked // 4, 2)


def _limits(estimate: Estimate, asked: Point) -> tuple[Limit, ...]:
    """The named groups; else the common cards next above and below what was asked."""
    fits: Sequence[Fit] = estimate.fit
    if not fits:
        near = sorted(estimate.cards, key=lambda fit: abs(fit.usable_bytes - asked.total))
        fits = near[:_CARDS]
    found = {Limit(label=gpu_label(fit), bytes=fit.usable_bytes) for fit in fits}
    return tuple(sorted(found, key=lambda one: (one.bytes, one.label)))
