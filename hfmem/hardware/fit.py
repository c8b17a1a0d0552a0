"""Does it fit: the verdict, the largest context and the largest batch on a group of GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.hardware.needs import Needs
from hfmem.hardware.smallest import fewest
from hfmem.memory.cards import device_of
from hfmem.memory.estimate import PARTS, MemoryEstimate, Pool
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.runtimes import Runtime

if TYPE_CHECKING:
    from hfmem.hardware.advice import Advice
    from hfmem.memory.offload import DeviceMap

Verdict = Literal["fits", "tight", "offload", "no"]

TIGHT_PERCENT = 95
"""Above this share of what is usable a fit is called tight: the allocator's slack alone can be 5
%."""
SEARCH_CTX = 2**24
"""Where the search for a context ends when the model has no maximum."""
SEARCH_BATCH = 2**20


class Fit(Struct, frozen=True, kw_only=True):
    """The judgement on one group of GPUs."""

    group: GpuGroup
    verdict: Verdict | None
    """None where the total is not known; ``no`` where the engine would not start, known or not."""
    decided_by: str | None
    """The part that takes the most: ``weights``, ``kv_cache``, ``activations`` or ``overhead``;
    None where the engine would not start."""
    usable_bytes: int
    """Of the group's cards that the engine takes: what it lets itself use, or all that other
    processes leave."""
    headroom_bytes: int | None
    """Usable less needed, of the group; negative when it does not fit, None where the engine would
    not start."""
    per_gpu_bytes: int | None
    """Held on the most loaded GPU, with what lies outside of the engine's budget."""
    max_ctx: int | None
    """Largest context at this batch; 0 when not even one token fits, None where unknown."""
    max_batch: int | None
    """Largest batch at this context, of those that the engine runs at once."""
    pool: Pool | None = None
    """The engine's KV pool on this group; None for engines whose cache grows."""
    offload: DeviceMap | None = None
    """What stays on the GPUs and what goes to the host, where the verdict is ``offload`` and the
    engine streams layers."""
    refusal: str | None = None
    """Why the engine would not start here; None where it would."""
    smallest_count: int | None = None
    """The fewest of this card that hold it, in the runtime's usual split; None where none do, and
    of a group that was not named."""
    advice: tuple[Advice, ...] = ()
    """What runs it, or every single change that makes it fit; of a group that was named."""

    @property
    def fits(self) -> bool:
        """Fits without offload; a tight fit is a fit."""
        return self.verdict in ("fits", "tight")


def judge(
    group: GpuGroup,
    *,
    model: Model,
    workload: Workload,
    runtime: Runtime,
    needs: Needs | None = None,
) -> Fit:
    """Whether the workload fits on a group, and how far it could go.

    Need is monotone in context and in batch, so both limits are found exactly, to the token and to
    the sequence. ``needs`` is what groups of one question share. Raises UsageError for a layout
    that the runtime refuses.
    """
    asked = replace(workload, device=device_of(group.gpu))
    needs = needs or Needs(model, workload, runtime)
    estimate = runtime.estimate(model, asked, group)
    usable = estimate.usable_bytes(group)
    refused = estimate.refusal is not None
    count = min(group.count, estimate.count)  # An engine may leave cards out.
    if estimate.unknown or refused:
        return Fit(
            group=group,
            verdict="no" if refused else None,
            decided_by=None,
            usable_bytes=usable * count,
            headroom_bytes=None,
            per_gpu_bytes=None if estimate.unknown else estimate.largest.memory.bytes,
            max_ctx=0 if refused else None,
            max_batch=0 if refused else None,
            refusal=estimate.refusal,
        )
    ctx = estimate.ctx
    peak = estimate.largest
    verdict = _verdict(estimate, usable)
    return Fit(
        group=group,
        verdict=verdict,
        offload=runtime.placed(
            model,
            estimate,
            dtype=workload.dtype or model.dtype,
            free_bytes=usable,
            count=group.count,
        )
        if verdict == "offload" and runtime.placed is not None
        else None,
        decided_by=max(PARTS, key=lambda name: peak.part(name).bytes),
        usable_bytes=usable * count,
        headroom_bytes=(usable - estimate.need_bytes) * count,
        per_gpu_bytes=peak.memory.bytes,
        max_ctx=needs.over_ctx(group).largest(
            usable=usable,
            limit=max(
                1,
                ctx if verdict in ("fits", "tight") else 0,
                (model.decoder.max_context or SEARCH_CTX) - workload.media_tokens,
            ),
        ),
        max_batch=needs.over_batch(group, ctx=ctx).largest(
            usable=usable, limit=estimate.most_sequences or SEARCH_BATCH
        ),
        pool=estimate.pool,
    )


def verdict_on(
    group: GpuGroup, *, model: Model, workload: Workload, runtime: Runtime
) -> Verdict | None:
    """The verdict alone; None where the total is not known or the layout is refused."""
    try:
        found = runtime.estimate(model, replace(workload, device=device_of(group.gpu)), group)
    except UsageError:
        return None
    if found.refusal is not None:
        return "no"
    return None if found.unknown else _verdict(found, found.usable_bytes(group))


def advised(fit: Fit, *, model: Model, workload: Workload, runtime: Runtime) -> Fit:
    """The judgement with its advice."""
    if fit.per_gpu_bytes is None:
        return fit
    from hfmem.hardware.advice import Limits, advise

    count = fewest(fit.group, model=model, workload=workload, runtime=runtime)
    limits = Limits(
        fits=fit.fits, max_ctx=fit.max_ctx, max_batch=fit.max_batch, smallest_count=count
    )
    return replace(
        fit,
        smallest_count=count,
        advice=advise(fit.group, limits, model=model, workload=workload, runtime=runtime),
    )


def _verdict(estimate: MemoryEstimate, usable: int) -> Verdict:
    """Fits, tight, or what is left on the card when weights move to the host."""
    needed, offloaded = estimate.need_bytes, estimate.offloaded_bytes
    if needed * 100 <= usable * TIGHT_PERCENT:
        return "fits"
    if needed <= usable:
        return "tight"
    return "offload" if offloaded is not None and offloaded <= usable else "no"
