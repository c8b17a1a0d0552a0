"""What of a model's weights a step finds in the host's memory, and how fast it gets there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from hfmem.hardware.efficiency import Span
from hfmem.hardware.fit import Fit
from hfmem.hardware.traffic import Traffic, component_bytes
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes.llama_cpp_weights import stored
from hfmem.runtimes.serving import Serving

# PCIe packets of 256 bytes carry 24 to 28 of headers: 0.9 of the lanes at best. A copy out of
# pageable memory goes through a pinned buffer and gets about half of them.
LINK_SHARE: Span = (0.5, 0.85)
# Two channels of DDR4-3200 (51.2 GB/s) to DDR5-6400 (102.4 GB/s), at 0.8 of the peak.
HOST_MEMORY: Span = (0.8 * 51.2e9, 0.8 * 102.4e9)


class Host(Struct, frozen=True, kw_only=True):
    """The part of a step that is not on the cards, over all ranks."""

    read_bytes: int = 0
    """Of what the step reads, not on a card."""
    moved_bytes: int = 0
    """What comes out of the host's memory for it."""
    held_bytes: int = 0
    """All that lies there: what a prompt reads in every pass, since it goes through all experts."""
    rate: Span = (1.0, 1.0)
    """Bytes per second, least and most."""
    limit: Literal["host link", "host memory"] = "host link"


def whole_weights(model: Model, workload: Workload, weights: Term, serving: Serving) -> Term:
    """All weights that a step reads, wherever they lie; ``weights`` are those on the devices."""
    if serving.host != "computed":
        return weights
    file = stored(model, workload.quantize, workload.dtype)
    if file is None:
        return weights
    sizes = {"language": sum(file.layers), "experts": sum(file.experts), "head": file.output}
    parts = (
        Term(name=name, bytes=size, basis=file.basis, because=file.because)
        for name, size in sizes.items()
        if size
    )
    return total("weights", parts, because=file.because)


def host_part(
    fit: Fit,
    *,
    model: Model,
    workload: Workload,
    memory: MemoryEstimate,
    found: Traffic,
    serving: Serving,
) -> Host | str:
    """Where the weights lie that the cards do not hold, or why their speed is not known."""
    gpu = fit.group.gpu
    if fit.refusal is not None:
        return f"{workload.runtime} would not start on {gpu.name}"
    if fit.verdict not in ("fits", "tight", "offload"):
        return f"it does not fit on {gpu.name}"
    if workload.flags.switch("no_kv_offload"):
        return "attention runs in the host, whose speed is not known"
    told = _told_apart(model, workload, memory, serving)
    away = _away(fit, memory, told=told, serving=serving)
    if away <= 0:
        return Host()
    if gpu.unified_memory:
        return f"not all of it fits on {gpu.name}, and how fast its CPU computes is not known"
    read = _read_of(away, told, found)
    if serving.host == "computed":
        return Host(
            read_bytes=read,
            moved_bytes=read,
            held_bytes=away,
            rate=HOST_MEMORY,
            limit="host memory",
        )
    if gpu.host_bytes_per_second is None:
        return f"how {gpu.name} is connected to its host is not known"
    low, high = (gpu.host_bytes_per_second * one for one in LINK_SHARE)
    moved = read if serving.host == "read" else away
    return Host(read_bytes=read, moved_bytes=moved, held_bytes=away, rate=(low, high))


def _away(fit: Fit, memory: MemoryEstimate, *, told: Mapping[str, int], serving: Serving) -> int:
    """Bytes of the weights that the cards do not hold: as asked, and for want of room."""
    held = memory.phases[-1].part("weights").parts
    asked = -sum(part.bytes for part in held if part.name == "offloaded")
    if serving.host == "computed":
        asked = sum(told.values())
    if fit.verdict != "offload":
        return asked
    if fit.offload is not None:
        return fit.offload.host_bytes
    return asked + max(0, -(fit.headroom_bytes or 0))


def _read_of(away: int, told: Mapping[str, int], found: Traffic) -> int:
    """Of the bytes in the host, what a step reads: chosen experts only; what no flag told apart is
    a share of everything."""
    dense, touched, stored_experts = (
        found.dense_bytes,
        found.expert_bytes,
        found.stored_expert_bytes,
    )
    experts = told.get("experts", 0)
    named = sum(told.values())
    rest = max(0, away - named) * (dense + touched) // max(1, dense + stored_experts)
    return named - experts + experts * touched // max(1, stored_experts) + rest


def _told_apart(
    model: Model, workload: Workload, memory: MemoryEstimate, serving: Serving
) -> dict[str, int]:
    """By component, what ``-ngl`` and ``--n-cpu-moe`` leave in the host; empty where nothing is."""
    if serving.host != "computed":
        return {}
    term = memory.phases[-1].part("weights")
    dtype = workload.dtype or model.dtype
    here = component_bytes(model, term, dtype=dtype)
    everything = component_bytes(model, whole_weights(model, workload, term, serving), dtype=dtype)
    gone = {name: size - here.get(name, 0) for name, size in everything.items()}
    return {name: size for name, size in gone.items() if size > 0}
