"""The precision ladder of a model: each scheme's bytes and the smallest hardware that holds it."""

from __future__ import annotations

import re

from hfmem.checkpoint.tensor import template
from hfmem.dtypes import FLOATS
from hfmem.gpu import Gpu, GpuGroup
from hfmem.hardware.smallest import smallest
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.parallel import layer_split
from hfmem.memory.precision import (
    SCHEMES,
    LinearKind,
    LinearWeight,
    Rung,
    Scheme,
    converted,
)
from hfmem.model.components import Component
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun

_KINDS: dict[Component, LinearKind] = {
    "language": "linear",
    "encoder": "linear",
    "experts": "experts",
    "vision": "tower",
    "audio": "tower",
    "projector": "tower",
}
# Routers are parameters of classes of their own in transformers 5; a convolution is no linear
# layer.
_NOT_LINEAR = re.compile(r"(?:router|\.gate|norm\w*|embed\w*|conv\w*|\.A_log)\.(?:weight|bias)$")


def linear_weights(model: Model) -> tuple[LinearWeight, ...] | None:
    """The weights that a loader would convert; None for a checkpoint that is packed already."""
    found: list[LinearWeight] = []
    for weight in model.weights or ():
        if not weight.loaded:
            continue
        if weight.packed:
            return None
        linear = _linear(weight)
        if linear is not None:
            found.append(linear)
    return tuple(found)


def _linear(weight: WeightRun) -> LinearWeight | None:
    run, kind = weight.run, _KINDS.get(weight.component)
    if kind is None or run.dtype not in FLOATS or _NOT_LINEAR.search(template(run.name)):
        return None
    if len(run.shape) == 2 and run.name.endswith(".weight"):
        return LinearWeight(kind, run.shape[0], run.shape[1], run.count)
    if len(run.shape) == 3 and kind == "experts":
        return LinearWeight(kind, run.shape[1], run.shape[2], run.count * run.shape[0])
    return None


def ladder(
    model: Model, estimate: MemoryEstimate, *, cards: tuple[GpuGroup, ...]
) -> tuple[Rung, ...]:
    """As published, in bf16, and in each scheme that the shapes allow.

    LLaVA-Video-72B: 146.4 GB as published and in bf16, 42 GB in NF4. A checkpoint whose weights are
    packed already gets the first two rungs only: the schemes start from 16-bit weights.
    """
    parameters = model.parameters
    if parameters is None or not parameters.total or model.weights is None:
        return ()
    logical = sum((run.logical or 0) * run.run.count for run in model.weights if run.loaded)
    peak = estimate.peak
    published = peak.part("weights").bytes
    sizes = [("as published", published, "", cards), ("bf16", 2 * logical, "", cards)]
    linears = linear_weights(model)
    for scheme in SCHEMES if linears else ():
        size = converted(scheme, linears=linears or (), total_elements=logical)
        sizes.append((scheme.name, size, _note(scheme, linears or ()), _able(scheme, cards)))
    return tuple(
        _rung(name, size, note, model=model, estimate=estimate, cards=able)
        for name, size, note, able in sizes
    )


def _note(scheme: Scheme, linears: tuple[LinearWeight, ...]) -> str:
    """The scheme's note, and what of this model it leaves in 16 bits."""
    left = sorted({weight.kind for weight in linears} - scheme.kinds)
    stays = [f"{_STAYS[kind]} stay in 16 bits" for kind in left]
    return "; ".join(part for part in (scheme.note, *stays) if part)


_STAYS: dict[LinearKind, str] = {
    "linear": "linear layers",
    "experts": "routed experts",
    "tower": "the encoders of pictures and sound",
}


def _able(scheme: Scheme, cards: tuple[GpuGroup, ...]) -> tuple[GpuGroup, ...]:
    """The cards that a scheme's kernels run on."""
    return tuple(
        group
        for group in cards
        if group.gpu.vendor in scheme.vendors
        and (group.gpu.vendor != "nvidia" or _capability(group.gpu) >= scheme.capability)
    )


def _capability(gpu: Gpu) -> tuple[int, int]:
    major, _, minor = gpu.compute_capability.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _rung(
    name: str,
    size: int,
    note: str,
    *,
    model: Model,
    estimate: MemoryEstimate,
    cards: tuple[GpuGroup, ...],
) -> Rung:
    def need(group: GpuGroup) -> int:
        return layer_split(estimate, model=model, count=group.count, weights_bytes=size).bytes

    logical = sum((run.logical or 0) * run.run.count for run in model.weights or () if run.loaded)
    peak = estimate.peak
    found = smallest(cards, need)
    return Rung(
        scheme=name,
        weights_bytes=size,
        total_bytes=peak.memory.bytes - peak.part("weights").bytes + size,
        bits_per_weight=round(size * 8 / logical, 3) if logical else 0.0,
        smallest_gpu=found[0] if found else None,
        smallest_count=found[1] if found else None,
        note=note,
    )
