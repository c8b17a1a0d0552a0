"""The precision ladder of a model: each scheme's bytes and the smallest hardware that holds it."""

from __future__ import annotations

from functools import cache

from msgspec import Struct
from msgspec.structs import replace

from hfmem.gpu import Gpu
from hfmem.hardware.catalogue import current
from hfmem.hardware.smallest import Asked, smallest
from hfmem.memory.estimate import MemoryEstimate
from hfmem.memory.precision import Rung
from hfmem.memory.quantize import Converted, Kind, Matrix, Scheme, convert, matrices, scheme
from hfmem.memory.quantize.schemes import refusal
from hfmem.memory.workload import Workload
from hfmem.model.model import Model
from hfmem.model.weights import WeightRun
from hfmem.runtimes import RUNTIMES, Runtime
from hfmem.units import gib

_SPREADING = (
    *("tp", "pp", "dp", "ep", "enable_expert_parallel", "dcp"),
    *("cpu_offload_gb", "max_memory_bytes"),
)
"""Flags that put the weights on several devices, or elsewhere."""


class _Size(Struct, frozen=True, kw_only=True):
    """The weights in one scheme, before it is known where they fit."""

    scheme: str
    device: int
    file: int
    cards: tuple[Gpu, ...]
    note: str = ""


def apart(workload: Workload) -> Workload:
    """The workload of one copy on one GPU, as the file is: no scheme, no layout, no offload."""
    return replace(workload, quantize=None, flags=workload.flags.but(**dict.fromkeys(_SPREADING)))


def ladder(
    model: Model,
    estimate: MemoryEstimate,
    *,
    workload: Workload,
    runtime: Runtime,
    spread: MemoryEstimate | None = None,
) -> tuple[Rung, ...]:
    """As published, in 16 bits, and in each scheme that the engine loads and the shapes allow.

    ``estimate`` is of one copy on one device (``apart``), without a card; ``spread`` is what was
    asked about, where that is the same weights otherwise. LLaVA-Video-72B: 146.4 GB as published
    and in bf16, 42 GB in NF4. Of a checkpoint that is packed already the schemes start from the
    16-bit shapes, where those are known. The hardware is the smallest of the catalogue's current
    cards (``hfmem.hardware.catalogue.current``), or the fewest of the largest one.
    """
    parameters = model.parameters
    if parameters is None or not parameters.total or model.weights is None:
        return ()
    peak = estimate.peak
    weights = peak.part("weights").bytes
    logical = sum((run.logical or 0) * run.run.count for run in model.weights if run.loaded)
    asked = Asked(model, workload, runtime)
    rungs = []
    for size in _sizes(model, weights, workload, logical=logical, runtime=runtime):
        rest = peak.memory.bytes - weights
        found = smallest(size.cards, asked, weights=size.device, more=size.device - weights)
        rungs.append(
            Rung(
                scheme=size.scheme,
                weights_bytes=size.device,
                total_bytes=rest + size.device,
                bits_per_weight=round(max(size.file, size.device) * 8 / logical, 3)
                if logical
                else 0.0,
                smallest_gpu=found[0] if found else None,
                smallest_count=found[1] if found else None,
                note=size.note,
            )
        )
    told = "" if spread is None else _spread(spread, weights)
    return (replace(rungs[0], note=told), *rungs[1:]) if told else tuple(rungs)


def _spread(asked: MemoryEstimate, whole: int) -> str:
    """On what the rows stand, where the question was about several devices, or a part of them."""
    held = asked.peak.part("weights").bytes
    if asked.unknown or (asked.count == 1 and held == whole):
        return ""
    asked_for = "" if held == whole else f"; as asked {gib(held)} of weights"
    return f"the rows are of one copy on one GPU{asked_for}"


def _sizes(
    model: Model, published: int, workload: Workload, *, logical: int, runtime: Runtime
) -> list[_Size]:
    cards = current(runtime.vendors)
    if runtime.held is None:
        return [
            _Size(scheme="as published", device=published, file=published, cards=cards),
            _Size(scheme="bf16", device=2 * logical, file=2 * logical, cards=cards),
            *_converted(model, runtime),
        ]
    _, file = runtime.held(model, None, workload)
    sizes = [_Size(scheme="as published", device=published, file=file, cards=cards)]
    if matrices(model) is None:
        return sizes
    for name in ("bf16", *runtime.ladder):
        device, file = runtime.held(model, name, workload)
        note = "" if name == "bf16" else _group(scheme(name, runtime=runtime.name))
        sizes.append(_Size(scheme=name, device=device, file=file, cards=cards, note=note))
    return sizes


def _converted(model: Model, runtime: Runtime) -> list[_Size]:
    """The schemes of a loader that converts matrix by matrix."""
    found = matrices(model) or ()
    if not any(matrix.kind in _LINEAR for _, matrix in found):
        return []
    sizes = []
    packed = any(run.packed and run.loaded for run in model.weights or ())
    for name in runtime.ladder:
        one = scheme(name, runtime=runtime.name)
        held = convert(model, one, dtype="BF16")
        size, note = held.weights.bytes, "takes no weight of this model: none divides into it"
        if held.converted:
            note = _note(held, found, packed=packed)
        cards = _able(name, runtime.name, runtime.vendors)
        sizes.append(_Size(scheme=name, device=size, file=size, cards=cards, note=note))
    return sizes


@cache
def _able(name: str, runtime: str, vendors: frozenset[str]) -> tuple[Gpu, ...]:
    """The cards of today that run a scheme."""
    one, unrun = scheme(name, runtime=runtime), RUNTIMES[runtime].unrun
    return tuple(
        gpu
        for gpu in current(vendors)
        if refusal(one, gpu) is None and (unrun is None or unrun(name, gpu) is None)
    )


def _group(one: Scheme) -> str:
    """What of a scheme's note is not said by the engine."""
    return "" if one.file_type else one.note.partition(";")[0]


_LINEAR: frozenset[Kind] = frozenset({"linear", "experts", "tower"})
_STAYS: dict[Kind, str] = {
    "linear": "linear layers",
    "experts": "routed experts",
    "tower": "the encoders of pictures and sound",
}


def _note(held: Converted, found: tuple[tuple[WeightRun, Matrix], ...], *, packed: bool) -> str:
    """The scheme's note, what it starts from, and what of this model it leaves in 16 bits."""
    scheme = held.scheme
    left = sorted(({matrix.kind for _, matrix in found} & _LINEAR) - scheme.kinds)
    made = ("needs a checkpoint made so",) if scheme.made else ()
    if packed and not scheme.made:
        made = ("needs the weights in 16 bits",)
    stays = [f"{_STAYS[kind]} stay in 16 bits" for kind in left]
    percent = held.converted * 100 // (held.converted + held.left)
    if percent < 50:
        stays.append(f"it takes {percent} % of the parameters")
    return "; ".join(part for part in (scheme.note, *made, *stays) if part)
