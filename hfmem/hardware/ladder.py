"""The precision ladder of a model: each scheme's bytes and the smallest hardware that holds it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from hfmem.gpu import GpuGroup
from hfmem.hardware.smallest import Need, smallest
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.precision import Rung
from hfmem.memory.quantize import Kind, Matrix, Scheme, convert, matrices, scheme
from hfmem.memory.quantize.schemes import LADDER, refusal
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun


def ladder(
    model: Model,
    estimate: MemoryEstimate,
    *,
    cards: tuple[GpuGroup, ...],
    on: Callable[[GpuGroup], Need | None],
    runtime: str = "transformers",
) -> tuple[Rung, ...]:
    """As published, in bf16, and in each scheme that the shapes allow.

    LLaVA-Video-72B: 146.4 GB as published and in bf16, 42 GB in NF4. Of a checkpoint that is packed
    already the schemes start from the 16-bit shapes, where those are known.
    """
    parameters = model.parameters
    if parameters is None or not parameters.total or model.weights is None:
        return ()
    logical = sum((run.logical or 0) * run.run.count for run in model.weights if run.loaded)
    published = estimate.peak.part("weights").bytes
    sizes = [("as published", published, "", cards), ("bf16", 2 * logical, "", cards)]
    found = matrices(model) or ()
    if any(matrix.kind in _LINEAR for _, matrix in found):
        for name in LADDER:
            one = scheme(name, runtime=runtime)
            held = convert(model, one, dtype="BF16")
            if not held.converted:
                continue
            size = held.weights.bytes
            sizes.append((name, size, _note(one, found), _able(one, cards)))
    known = cache(on)
    return tuple(
        _rung(name, size, note, model=model, estimate=estimate, cards=able, on=known)
        for name, size, note, able in sizes
    )


_LINEAR: frozenset[Kind] = frozenset({"linear", "experts", "tower"})


def _note(scheme: Scheme, found: tuple[tuple[WeightRun, Matrix], ...]) -> str:
    """The scheme's note, and what of this model it leaves in 16 bits."""
    left = sorted(({matrix.kind for _, matrix in found} & _LINEAR) - scheme.kinds)
    made = ("needs a checkpoint made so",) if scheme.made else ()
    stays = [f"{_STAYS[kind]} stay in 16 bits" for kind in left]
    return "; ".join(part for part in (scheme.note, *made, *stays) if part)


_STAYS: dict[Kind, str] = {
    "linear": "linear layers",
    "experts": "routed experts",
    "tower": "the encoders of pictures and sound",
}


def _able(scheme: Scheme, cards: tuple[GpuGroup, ...]) -> tuple[GpuGroup, ...]:
    """The cards that a scheme's kernels run on."""
    return tuple(group for group in cards if refusal(scheme, group.gpu) is None)


def _rung(
    name: str,
    size: int,
    note: str,
    *,
    model: Model,
    estimate: MemoryEstimate,
    cards: tuple[GpuGroup, ...],
    on: Callable[[GpuGroup], Need | None],
) -> Rung:
    peak = estimate.peak
    more = size - peak.part("weights").bytes

    def spare(group: GpuGroup) -> int | None:
        need = on(group)
        return None if need is None else need.spare_bytes - int(more * need.share)

    logical = sum((run.logical or 0) * run.run.count for run in model.weights or () if run.loaded)
    found = smallest(cards, spare) if cards else None
    return Rung(
        scheme=name,
        weights_bytes=size,
        total_bytes=peak.memory.bytes - peak.part("weights").bytes + size,
        bits_per_weight=round(size * 8 / logical, 3) if logical else 0.0,
        smallest_gpu=found[0] if found else None,
        smallest_count=found[1] if found else None,
        note=note,
    )
