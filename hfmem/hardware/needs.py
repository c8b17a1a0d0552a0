"""How a need grows with context and with batch, and how far it may."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from hfmem.gpu import GpuGroup
from hfmem.hardware.smallest import kinds
from hfmem.memory.cards import device_of
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import Runtime


class Line:
    """A need that never falls, at the points where it was asked for."""

    def __init__(self, need: Callable[[int], int]) -> None:
        self._need = need
        self._known: dict[int, int] = {}

    def at(self, number: int) -> int:
        """The bytes that ``number`` tokens or sequences need."""
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._need(number)
        return found

    def largest(self, *, usable: int, limit: int) -> int:
        """The largest n from 0 to ``limit`` whose need is usable, exact.

        Need is close to a line, or to two, so the next point is where the line through the last two
        meets ``usable``; every fourth step halves the interval instead, which bounds the steps for
        any curve. What other cards have asked for narrows the interval before the first step.
        """
        if self.at(1) > usable:
            return 0
        if self.at(limit) <= usable:
            return limit
        within = [n for n in self._known if n < limit]
        low = max(n for n in within if self._known[n] <= usable)
        high = min((n for n in within if self._known[n] > usable), default=limit)
        last, here = (high, self.at(high)), (low, self.at(low))
        steps = 0
        while high - low > 1:
            steps += 1
            middle = (low + high) // 2
            if steps % 4:
                rise = (here[1] - last[1]) * (1 if here[0] > last[0] else -1)
                ahead = (usable - here[1]) * abs(here[0] - last[0]) // max(1, rise)
                middle = min(max(here[0] + ahead, low + 1), high - 1)
            last, here = here, (middle, self.at(middle))
            low, high = (middle, high) if here[1] <= usable else (low, middle)
        return low


class Needs:
    """What a workload needs on the cards of a question; those of one kind share every point."""

    def __init__(self, model: Model, workload: Workload, runtime: Runtime) -> None:
        self._asked = model, workload, runtime
        self._kind = kinds(model, workload)
        self._lines: dict[object, Line] = {}

    def over_ctx(self, group: GpuGroup) -> Line:
        """By tokens of context, at the batch that was asked for."""
        return self._line(group, "ctx")

    def over_batch(self, group: GpuGroup, *, ctx: int) -> Line:
        """By sequences of ``ctx`` tokens."""
        return self._line(group, "batch", ctx=ctx)

    def _line(self, group: GpuGroup, name: str, **fixed: int) -> Line:
        model, workload, runtime = self._asked
        kind = self._kind(group.gpu) if runtime.by_class else group.gpu.id
        key = (kind, group.count, name, *fixed.items())
        if key not in self._lines:
            asked = replace(workload, device=device_of(group.gpu), **fixed)
            self._lines[key] = Line(
                lambda number: (
                    runtime.estimate(model, replace(asked, **{name: number}), group).need_bytes
                )
            )
        return self._lines[key]
