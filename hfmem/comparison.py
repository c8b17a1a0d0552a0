"""The runtimes side by side for one workload."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import HfmemError
from hfmem.flags import flags_for
from hfmem.gpu import GpuGroup
from hfmem.hardware.fit import Fit, judge
from hfmem.memory.cards import device_of
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import RUNTIMES, Runtime


class Compared(Struct, frozen=True, kw_only=True):
    """One runtime's answer to the common question."""

    runtime: str
    memory: MemoryEstimate | None
    """None where the runtime refuses the question."""
    fit: tuple[Fit, ...]
    refusal: str
    """Why it does, or why it would not start on the first card; else empty."""


def compare(model: Model, workload: Workload, groups: tuple[GpuGroup, ...]) -> tuple[Compared, ...]:
    """Every runtime's figures for one workload, each with those of the flags that it takes."""
    return tuple(_one(runtime, model, workload, groups) for runtime in RUNTIMES.values())


def _one(
    runtime: Runtime, model: Model, workload: Workload, groups: tuple[GpuGroup, ...]
) -> Compared:
    own = {flag.name for flag in flags_for(runtime.name)}
    others = {name: None for name, _ in workload.flags.given if name not in own}
    asked = replace(workload, runtime=runtime.name, flags=workload.flags.but(**others))
    if asked.kv_dtype not in runtime.kv_dtypes:
        message = f"{runtime.name} has no KV cache type {asked.kv_dtype!r:.60}."
        return Compared(runtime=runtime.name, memory=None, fit=(), refusal=message)
    try:
        first = groups[0] if groups else None
        placed = asked if first is None else replace(asked, device=device_of(first.gpu))
        memory = runtime.estimate(model, placed, first)
        return Compared(
            runtime=runtime.name,
            memory=memory,
            fit=tuple(
                judge(group, model=model, workload=asked, runtime=runtime) for group in groups
            ),
            refusal=memory.refusal or "",
        )
    except HfmemError as error:
        return Compared(runtime=runtime.name, memory=None, fit=(), refusal=error.message)
