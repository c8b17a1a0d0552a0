"""The precision ladder of a model: each scheme's bytes and the smallest hardware that holds it."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from hfmem.dtypes import torch_name
from hfmem.errors import UsageError
from hfmem.gpu import Gpu
from hfmem.hardware.catalogue import current
from hfmem.hardware.smallest import Asked, smallest
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.precision import Rung
from hfmem.memory.quantize import Kind, Matrix, Scheme, convert, matrices, scheme
from hfmem.memory.quantize.schemes import refusal
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun
from hfmem.runtimes import Runtime


class _Size(Struct, frozen=True, kw_only=True):
    """The weights in one scheme, before it is known where they fit."""

    scheme: str
    device: int
    file: int
    cards: tuple[Gpu, ...]
    note: str = ""


def ladder(
    model: Model, estimate: MemoryEstimate, *, workload: Workload, runtime: Runtime
) -> tuple[Rung, ...]:
    """As published, in 16 bits, and in each scheme that the engine loads and the shapes allow.

    ``estimate`` is the workload's, without a card. LLaVA-Video-72B: 146.4 GB as published and in
    bf16, 42 GB in NF4. Of a checkpoint that is packed already the schemes start from the 16-bit
    shapes, where those are known. The hardware is the smallest of the catalogue's current cards
    (``hfmem.hardware.catalogue.current``), or the fewest of the largest one.
    """
    parameters = model.parameters
    if parameters is None or not parameters.total or model.weights is None:
        return ()
    cards = current(runtime.vendors)
    peak = estimate.peak
    weights = peak.part("weights").bytes
    logical = sum((run.logical or 0) * run.run.count for run in model.weights if run.loaded)
    asked = Asked(model, workload, runtime)
    rungs = []
    for size in _sizes(model, weights, logical=logical, runtime=runtime, cards=cards):
        rest = peak.memory.bytes - weights
        found = smallest(size.cards, asked, weights=size.device, more=size.device - weights)
        rungs.append(
            Rung(
                scheme=size.scheme,
                weights_bytes=size.device,
                total_bytes=rest + size.device,
                bits_per_weight=round(size.file * 8 / logical, 3) if logical else 0.0,
                smallest_gpu=found[0] if found else None,
                smallest_count=found[1] if found else None,
                note=size.note,
            )
        )
    return tuple(rungs)


def _sizes(
    model: Model, published: int, *, logical: int, runtime: Runtime, cards: tuple[Gpu, ...]
) -> list[_Size]:
    first = _Size(scheme="as published", device=published, file=published, cards=cards)
    if runtime.held is None:
        plain = _Size(scheme="bf16", device=2 * logical, file=2 * logical, cards=cards)
        return [first, plain, *_converted(model, runtime, cards)]
    sizes = []
    for name in runtime.ladder:
        one = scheme(name, runtime=runtime.name)
        try:
            device, file = runtime.held(model, name)
        except UsageError:
            return [first]
        sizes.append(_Size(scheme=name, device=device, file=file, cards=cards, note=_given(one)))
    half = "f16" if model.dtype == "F16" else "bf16"
    whole = 2 * logical
    away = sizes[0].file - sizes[0].device
    return [first, *sizes]


def _given(one: Scheme) -> str:
    return one.note


def _converted(model: Model, runtime: Runtime, cards: tuple[Gpu, ...]) -> list[_Size]:
    """The schemes of a loader that converts matrix by matrix."""
    found = matrices(model) or ()
    if not any(matrix.kind in _LINEAR for _, matrix in found):
        return []
    sizes = []
    for name in runtime.ladder:
        one = scheme(name, runtime=runtime.name)
        held = convert(model, one, dtype="BF16")
        if held.converted:
            able = tuple(gpu for gpu in cards if refusal(one, gpu) is None)
            size = held.weights.bytes
            sizes.append(
                _Size(scheme=name, device=size, file=size, cards=able, note=_note(one, found))
            )
    return sizes
