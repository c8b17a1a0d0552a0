"""The shape of an answer in bytes: what is held at each instant, and which instant is the
largest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hfmem.checkpoint.snapshot import Note
from hfmem.memory.term import Term

PhaseName = Literal["loading", "prefill", "decode"]
PARTS = ("weights", "kv_cache", "activations", "overhead")
"""The names of a phase's four terms, in the order in which they are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What the device holds at one instant."""

    name: PhaseName
    memory: Term
    """Exactly the sum of its four parts, named as in ``PARTS``."""

    def part(self, name: str) -> Term:
        """One of the four parts."""
        return next(part for part in self.memory.parts if part.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """What a runtime needs for a workload on one device, instant by instant."""

    phases: tuple[Phase, ...]
    ctx: int
    """The context that was computed, defaults resolved."""
    kv_dtype: str
    """Type of the cache's elements, as torch or the engine spells it."""
    bytes_per_token: int
    """What one more token adds to the state of one sequence at this context."""
    unknown: tuple[str, ...] = ()
    """Parts that are not known (``weights``, ``activations``); their bytes are 0 and the total is a
    lower bound."""
    notes: tuple[Note, ...] = ()

    @property
    def need_bytes(self) -> int:
        """What the device must have: the largest of all instants, for judging a fit."""
        return max(phase.memory.bytes for phase in self.phases)

    @property
    def peak(self) -> Phase:
        """The largest instant, the one that is shown.

        Loading and use cannot be told apart while one lies within the range of the other; the
        instant of use is shown then, because it holds the cache that was asked for. DeepSeek-V3 at
        8,192 tokens: merging a layer's experts takes 7.5 GB, its prefill 6.7 GB with a range to 9.
        """
        loading = [phase for phase in self.phases if phase.name == "loading"]
        used = [phase for phase in self.phases if phase.name != "loading"]
        largest = max(used or loading, key=lambda phase: phase.memory.bytes)
        for phase in loading:
            if phase.memory.bytes > largest.memory.range_bytes[1]:
                largest = phase
        return largest
