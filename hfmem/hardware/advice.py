"""The nearest change that fits, and the command that runs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.flag import Flags
from hfmem.gpu import GpuGroup
from hfmem.memory.cards import device_of
from hfmem.memory.quantize.schemes import scheme
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import Runtime
from hfmem.runtimes.nodes import NODE
from hfmem.runtimes.requantized import loads

Change = Literal["none", "ctx", "batch", "kv_dtype", "quantize", "gpus", "offload"]

COUNTS = (2, 4, 8, 16, 32, 64)
LEAST_CTX = 512
"""A context below it is no answer."""


class Advice(Struct, frozen=True, kw_only=True):
    """A change after which the workload fits, what it takes then, and how to run it."""

    change: Change
    """``none``: it fits as asked."""
    label: str
    """The change in words: ``context of 12,288 tokens``."""
    gpu: str
    count: int
    total_bytes: int
    """On all GPUs together."""
    per_gpu_bytes: int
    command: str | None
    """A shell command or lines of Python; None where the engine has none here."""


class Limits(Struct, frozen=True, kw_only=True):
    """What the judgement on a group found."""

    fits: bool
    max_ctx: int | None
    max_batch: int | None
    smallest_count: int | None
    """The fewest of the card that hold it; None where none do."""


def advise(
    group: GpuGroup, limits: Limits, *, model: Model, workload: Workload, runtime: Runtime
) -> tuple[Advice, ...]:
    """What runs a workload that fits, or every single change that makes it fit.

    Changes are tried alone: a shorter context, fewer sequences, a smaller cache type, a
    quantization, more GPUs, weights in the host's memory.
    """
    asked = replace(workload, device=device_of(group.gpu))
    if limits.fits:
        found = _tried("none", "as asked", asked, group, model=model, runtime=runtime)
        return () if found is None else (found,)
    candidates = (
        *_smaller(asked, limits, runtime=runtime),
        *_offloaded(asked, group, model=model, runtime=runtime),
    )
    advice = [
        found
        for change, label, changed in candidates
        if (found := _tried(change, label, changed, group, model=model, runtime=runtime))
    ]
    advice += _placed(asked, group, model=model, runtime=runtime)
    advice += _first(_quantized(asked, model, runtime), group, model=model, runtime=runtime)
    counts = _counts(limits, group, runtime=runtime)
    advice += _more_gpus(asked, group, counts, model=model, runtime=runtime)
    return tuple(advice)


_Candidate = tuple[Change, str, Workload]


def _smaller(asked: Workload, limits: Limits, *, runtime: Runtime) -> Iterator[_Candidate]:
    if limits.max_ctx and (asked.ctx is None or limits.max_ctx < asked.ctx):
        ctx = limits.max_ctx // 16 * 16
        if ctx >= LEAST_CTX:
            yield "ctx", f"context of {ctx:,} tokens", replace(asked, ctx=ctx)
    if limits.max_batch and limits.max_batch < asked.batch:
        several = "s" if limits.max_batch > 1 else ""
        label = f"{limits.max_batch:,} sequence{several} at once"
        yield "batch", label, replace(asked, batch=limits.max_batch)
    if runtime.small_kv_dtype is not None and asked.kv_dtype == "auto":
        label = f"KV cache in {runtime.small_kv_dtype}"
        yield "kv_dtype", label, replace(asked, kv_dtype=runtime.small_kv_dtype)


def _offloaded(
    asked: Workload, group: GpuGroup, *, model: Model, runtime: Runtime
) -> Iterator[_Candidate]:
    if runtime.offload is None:
        return
    found = runtime.estimate(model, asked, group)
    missing = found.need_bytes - found.usable_bytes(group)
    weights = found.largest.part("weights").bytes
    if found.refusal is None and 0 < missing < weights * 95 // 100:
        label, changed = runtime.offload(model, asked, found, missing)
        yield "offload", label, changed


def _placed(asked: Workload, group: GpuGroup, *, model: Model, runtime: Runtime) -> list[Advice]:
    """Whole layers in the host's memory, where the engine places modules."""
    if runtime.placed is None:
        return []
    found = runtime.estimate(model, asked, group)
    free = group.usable_bytes // group.count
    beside = found.offloaded_bytes
    if found.refusal is not None or beside is None or beside > free:
        return []
    dtype = asked.dtype or model.dtype
    placed = runtime.placed(model, found, dtype=dtype, free_bytes=free, count=group.count)
    if placed is None or not placed.host_bytes:
        return []
    changed = replace(asked, flags=asked.flags.but(max_memory_bytes=placed.max_memory_bytes))
    away = placed.layers - placed.gpu_layers
    return [
        Advice(
            change="offload",
            label=f"{away} of {placed.layers} layers in the host's memory",
            gpu=group.gpu.id,
            count=group.count,
            total_bytes=found.peak.memory.bytes - placed.host_bytes,
            per_gpu_bytes=min(free, found.need_bytes),
            command=runtime.command(model, changed, group, found) if runtime.command else None,
        )
    ]


def _quantized(asked: Workload, model: Model, runtime: Runtime) -> Iterator[_Candidate]:
    """The engine's schemes for the weights, from the mildest on; of a packed checkpoint only those
    that are checkpoints of their own, because no loader quantizes what is quantized already."""
    packed = any(run.packed and run.loaded for run in model.weights or ())
    if asked.quantize is None:
        for name in runtime.ladder:
            changed = replace(asked, quantize=name)
            made = scheme(name, runtime=runtime.name).made
            if (not packed or made) and loads(model, changed):
                yield "quantize", f"weights in {name}", changed


def _first(
    candidates: Iterator[_Candidate], group: GpuGroup, *, model: Model, runtime: Runtime
) -> list[Advice]:
    for change, label, changed in candidates:
        found = _tried(change, label, changed, group, model=model, runtime=runtime)
        if found is not None:
            return [found]
    return []


def _more_gpus(
    asked: Workload, group: GpuGroup, counts: tuple[int, ...], *, model: Model, runtime: Runtime
) -> list[Advice]:
    for count in counts:
        more = replace(group, count=count)
        label = f"{count} × {group.gpu.id}"
        for flags in _layouts(asked, count, runtime):
            changed = replace(asked, flags=flags)
            found = _tried("gpus", label, changed, more, model=model, runtime=runtime)
            if found is not None:
                return [found]
    return []


def _counts(limits: Limits, group: GpuGroup, *, runtime: Runtime) -> tuple[int, ...]:
    """Counts beyond the group's: the fewest where whole layers are dealt out, which takes any
    number, else those that usually divide a model's heads."""
    if runtime.spans_nodes:
        return tuple(one for one in COUNTS if one > group.count)
    count = limits.smallest_count
    return (count,) if count is not None and count > group.count else ()


def _layouts(asked: Workload, count: int, runtime: Runtime) -> Iterator[Flags]:
    """The usual split of so many GPUs; then with ever more stages, for heads that it cannot
    divide."""
    plain = asked.flags.but(tp=None, pp=None, dp=None, ep=None)
    if not runtime.spans_nodes:
        yield plain
        return
    most = min(count, NODE)
    yield plain if count == most else plain.but(tp=most, pp=count // most)
    while (most := most // 2) > 1:
        yield plain.but(tp=most, pp=count // most)


def _tried(
    change: Change,
    label: str,
    changed: Workload,
    group: GpuGroup,
    *,
    model: Model,
    runtime: Runtime,
) -> Advice | None:
    """The advice where the changed workload fits; None where it does not, or is refused."""
    try:
        found = runtime.estimate(model, changed, group)
    except UsageError:
        return None
    room = found.usable_bytes(group)
    if found.unknown or found.refusal is not None or found.need_bytes > room:
        return None
    command = None
    if runtime.command is not None:
        shown = replace(changed, ctx=found.ctx)
        command = runtime.command(model, shown, group, found)
    return Advice(
        change=change,
        label=label,
        gpu=group.gpu.id,
        count=group.count,
        total_bytes=found.peak.memory.bytes,
        per_gpu_bytes=found.largest.memory.bytes,
        command=command,
    )
