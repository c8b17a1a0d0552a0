"""What a mixer holds whose tensors are listed, instant by instant, in its family's entry."""

from __future__ import annotations

from collections.abc import Iterator

from hfmem.memory.instants import Instant, Part, Step, part
from hfmem.model.forward_shapes import ForwardPass, Listed, Live, LiveInstant


def listed_instants(
    forward: ForwardPass, shape: Listed, step: Step, *, residents: int
) -> Iterator[Instant]:
    """The instants of one listed mixer that this step goes through."""
    wide = residents * forward.hidden
    stream = part("residual stream", step.rows, wide, step.width, f"{residents} wide")
    for instant in shape.instants:
        if _happens(instant, step):
            tensors = [_part(live, step) for live in instant.tensors]
            yield Instant(name=instant.name, parts=(stream, *tensors), stored=instant.stored)


def _happens(instant: LiveInstant, step: Step) -> bool:
    steps = "decode" if step.queries == 1 else "prefill"
    path = "fused" if step.fused_recurrence else "python"
    return instant.steps in ("any", steps) and instant.path in ("any", path)


def _part(live: Live, step: Step) -> Part:
    match live.per:
        case "row":
            count = step.rows
        case "sequence":
            count = step.batch
        case "square":
            count = step.queries * step.keys
        case "pair":
            pooled = step.keys // live.pooled if live.pooled else 0
            count = step.pairs + step.rows * pooled
    return part(live.name, count, live.elements, live.bytes or step.width, live.what)
