"""What an engine does with memory. One file an engine; each rule cites the engine's file and
version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.overhead import GpuClass
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes.transformers import KV_DTYPES as TRANSFORMERS_KV_DTYPES
from hfmem.runtimes.transformers import estimate as transformers


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """An engine: its name, what it takes, and its arithmetic."""

    name: str
    kv_dtypes: tuple[str, ...]
    """Names that ``--kv-dtype`` takes, ``auto`` first."""
    estimate: Callable[[Model, Workload, GpuClass], MemoryEstimate]
    """Raises InvalidValueError and UsageError."""


RUNTIMES: Mapping[str, Runtime] = {
    "transformers": Runtime(
        name="transformers", kv_dtypes=TRANSFORMERS_KV_DTYPES, estimate=transformers
    ),
}
