"""The shape of an answer in bytes: what is held at each instant, and which instant is the
largest."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note
from hfmem.gpu import GpuGroup
from hfmem.memory.term import Term

PhaseName = Literal["loading", "encoding", "prefill", "decode"]
PARTS = ("weights", "kv_cache", "activations", "overhead")
"""The names of a phase's four terms, in the order in which they are shown."""


class Phase(Struct, frozen=True, kw_only=True):
    """What the device holds at one instant."""

    name: PhaseName
    memory: Term
    """Exactly the sum of its four parts, named as in ``PARTS``."""

    def part(self, name: str) -> Term:
        """One of the four parts. Raises KeyError for another name."""
        # Not next() of a generator: a judgement on a card asks thousands of times.
        for part in self.memory.parts:
            if part.name == name:
                return part
        raise KeyError(name)


class Pool(Struct, frozen=True, kw_only=True):
    """What is left for the KV cache when the engine takes its whole budget (vLLM, SGLang)."""

    bytes: int
    """Summed over the group's devices; 0 where nothing is left."""
    tokens: int
    """As the engine prints it at its start."""
    concurrency: Fraction
    """Sequences of this context that the pool holds at once, as the engine prints it."""


class MemoryEstimate(Struct, frozen=True, kw_only=True):
    """What a runtime needs for a workload on a group of equal devices, instant by instant."""

    phases: tuple[Phase, ...]
    """Summed over all devices, replicas included."""
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

    count: int = 1
    """Devices that share it."""
    rank: tuple[Phase, ...] = ()
    """What the most loaded device holds, instant by instant; empty where one device holds all."""
    outside_bytes: int = 0
    """Of the overhead of a device, what the engine's own budget does not cover (vLLM: the driver's
    context and the communicators that exist before it measures)."""
    budget_bytes: int | None = None
    """What the engine lets itself use of one device beside ``outside_bytes``; None is all that is
    free there."""
    offloaded_bytes: int | None = None
    """What the most loaded device still holds when weights move to the host; None where the engine
    cannot do that."""
    pool: Pool | None = None
    """None without a card, and for engines whose cache grows."""
    host: Term | None = None
    """What the host's memory holds beside the devices, at its largest; None where the host is the
    device, and for engines whose share of it is not described."""
    most_sequences: int | None = None
    """How many sequences the engine runs at once at most, whatever the memory; None where nothing
    but memory bounds them."""
    refusal: str | None = None
    """Why the engine would not start on this group whatever the workload; None where it would."""

    @property
    def most_loaded(self) -> tuple[Phase, ...]:
        """The instants of the most loaded device."""
        return self.rank or self.phases

    @property
    def largest(self) -> Phase:
        """The largest instant of the most loaded device."""
        return max(self.most_loaded, key=lambda phase: phase.memory.bytes)

    @property
    def cache_bytes(self) -> int:
        """The state that a run keeps for all sequences, whichever instant is the largest."""
        return max(phase.part("kv_cache").bytes for phase in self.phases)

    @property
    def need_bytes(self) -> int:
        """What the most loaded device must have within the engine's budget, for judging a fit."""
        return self.largest.memory.bytes - self.outside_bytes

    def usable_bytes(self, group: GpuGroup) -> int:
        """What the engine lets itself use of one of these cards: its budget, or all that is
        free."""
        free = group.usable_bytes // group.count
        return free if self.budget_bytes is None else self.budget_bytes

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
