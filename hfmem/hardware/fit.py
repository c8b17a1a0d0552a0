"""Does it fit: the verdict, the largest context and the largest batch on a group of GPUs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from hfmem.gpu import Gpu, GpuGroup
from hfmem.memory.estimate import PARTS, MemoryEstimate
from hfmem.memory.overhead import GpuClass
from hfmem.memory.parallel import layer_split
from hfmem.memory.workload import Device, Workload
from hfmem.model.model import Model
from hfmem.runtimes import Runtime

Verdict = Literal["fits", "tight", "offload", "no"]

TIGHT_PERCENT = 95
"""Above this share of what is usable a fit is called tight: the allocator's slack alone can be 5
%."""
SEARCH_CTX = 2**24
"""Where the search for a context ends when the model has no maximum."""
SEARCH_BATCH = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The judgement on one group of GPUs."""

    group: GpuGroup
    verdict: Verdict | None
    """None where the total is not known."""
    decided_by: str | None
    """The part that takes the most: ``weights``, ``kv_cache``, ``activations`` or ``overhead``."""
    usable_bytes: int
    """Of the group, after other processes."""
    headroom_bytes: int | None
    """Usable less needed, of the group; negative when it does not fit."""
    per_gpu_bytes: int | None
    """Needed on the most loaded GPU."""
    max_ctx: int | None
    """Largest context at this batch; 0 when not even one token fits, None where unknown."""
    max_batch: int | None
    """Largest batch at this context."""

    @property
    def fits(self) -> bool:
        """Fits without offload; a tight fit is a fit."""
        return self.verdict in ("fits", "tight")


def device_of(gpu: Gpu) -> Device:
    """Which PyTorch backend drives a card."""
    match gpu.vendor:
        case "amd":
            return "rocm"
        case "apple":
            return "mps"
        case "cpu":
            return "cpu"
        case _:
            return "cuda"


def class_of(gpu: Gpu) -> GpuClass:
    """How large a driver context to expect of a card."""
    match gpu.kind:
        case "consumer" | "laptop" | "integrated":
            return "consumer"
        case "datacenter" | "workstation":
            return "datacenter"
        case _:
            return "unknown"


def judge(group: GpuGroup, *, model: Model, workload: Workload, runtime: Runtime) -> Fit:
    """Whether the workload fits on a group, and how far it could go.

    Need is monotone in context and in batch, so both limits are found by bisection, exact to the
    token and to the sequence.
    """
    asked = replace(workload, device=device_of(group.gpu))
    gpu_class = class_of(group.gpu)
    usable = group.usable_bytes // group.count
    memo: dict[tuple[int, int], int] = {}

    def need(ctx: int, batch: int) -> int:
        key = (ctx, batch)
        if key not in memo:
            estimate = runtime.estimate(model, replace(asked, ctx=ctx, batch=batch), gpu_class)
            memo[key] = layer_split(estimate, model=model, count=group.count).bytes
        return memo[key]

    estimate = runtime.estimate(model, asked, gpu_class)
    if estimate.unknown:
        return Fit(
            group=group,
            verdict=None,
            decided_by=None,
            usable_bytes=group.usable_bytes,
            headroom_bytes=None,
            per_gpu_bytes=None,
            max_ctx=None,
            max_batch=None,
        )
    ctx, batch = estimate.ctx, workload.batch
    needed = need(ctx, batch)
    peak = estimate.peak
    return Fit(
        group=group,
        verdict=_verdict(needed, usable, estimate=estimate, model=model),
        decided_by=max(PARTS, key=lambda name: peak.part(name).bytes),
        usable_bytes=group.usable_bytes,
        headroom_bytes=(usable - needed) * group.count,
        per_gpu_bytes=needed,
        max_ctx=_largest(
            lambda tokens: need(tokens, batch) <= usable,
            start=ctx,
            limit=model.decoder.max_context or SEARCH_CTX,
        ),
        max_batch=_largest(
            lambda sequences: need(ctx, sequences) <= usable, start=batch, limit=SEARCH_BATCH
        ),
    )


def _verdict(needed: int, usable: int, *, estimate: MemoryEstimate, model: Model) -> Verdict:
    """Fits, tight, or what offloading the weights would leave on the card.

    With accelerate's CPU offload the card keeps the cache, the activations and one streamed layer
    beside a resident one (accelerate 1.15 hooks.py: AlignDevicesHook).
    """
    if needed * 100 <= usable * TIGHT_PERCENT:
        return "fits"
    if needed <= usable:
        return "tight"
    peak = estimate.peak
    weights = peak.part("weights").bytes
    streamed = 2 * weights // max(1, len(model.decoder.layers))
    resident = sum(peak.part(name).bytes for name in PARTS if name != "weights")
    return "offload" if resident + streamed <= usable else "no"


def _largest(holds: Callable[[int], bool], *, start: int, limit: int) -> int:
    """The largest n from 0 to ``limit`` for which a monotone condition holds, by bisection."""
    if not holds(1):
        return 0
    low, high = 1, limit + 1
    if 1 < start <= limit:
        low, high = (start, high) if holds(start) else (low, start)
    while low * 2 < high and holds(low * 2):
        low *= 2
    high = min(high, low * 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
