"""transformers: weights as loaded, a cache that grows, activations of one forward pass.

Three instants. Loading holds the weights and what converting them needs; prefill runs the whole
prompt in one pass (generate does not chunk by default); decode appends a token to every layer's
cache. What is asked for is the largest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import torch_name, width
from hfmem.errors import InvalidValueError, MissingKeyError
from hfmem.gpu import GpuGroup
from hfmem.memory.cards import class_of
from hfmem.memory.estimate import MemoryEstimate, Phase, PhaseName
from hfmem.memory.host import while_loading
from hfmem.memory.instants import TRANSFORMERS
from hfmem.memory.kv_cache import LayerGroup
from hfmem.memory.kv_cache import group as folded
from hfmem.memory.loading import Held, held
from hfmem.memory.overhead import GpuClass, overhead
from hfmem.memory.packed_loading import Place, place, rule_of
from hfmem.memory.parallel import layer_split, replicated
from hfmem.memory.quantize import matrices
from hfmem.memory.quantize.schemes import refusal, scheme
from hfmem.memory.term import Term, total
from hfmem.memory.workload import DEFAULT_CTX, Device, Workload
from hfmem.model.forward import picture_positions
from hfmem.model.model import Model
from hfmem.runtimes.transformers_activations import decode_term, kernels_note, prefill_term
from hfmem.runtimes.transformers_cache import (
    cache_term,
    encoder_note,
    encoder_output,
    encoder_passes,
    token_bytes,
)


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What transformers needs for a workload; several devices share it layer by layer.

    Raises UsageError for a quantized cache that the model's layers do not take.
    """
    card = group.gpu if group and rule_of(model) else None
    where, gpu_class = place(workload.device, card), class_of(group.gpu if group else None)
    found = _tensors(model, workload, where)
    whole = rank = _phases(model, workload, where, gpu_class)
    count = group.count if group else 1
    if count > 1:
        rank = tuple(layer_split(phase, model=model, count=count) for phase in whole)
        whole = tuple(
            replicated(phase, rank=one, count=count) for phase, one in zip(whole, rank, strict=True)
        )
    return MemoryEstimate(
        phases=whole,
        rank=rank if count > 1 else (),
        count=count,
        refusal=_refusal(workload, group),
        offloaded_bytes=_offloaded(rank, layers=len(model.decoder.layers)),
        ctx=found.ctx,
        kv_dtype=found.kv_dtype,
        bytes_per_token=found.bytes_per_token,
        unknown=found.unknown,
        notes=found.notes,
        host=None if workload.device in ("cpu", "mps") else found.host,
    )


class _Tensors(Struct, frozen=True, kw_only=True):
    """What is held at each instant, whatever the card beside it costs."""

    instants: tuple[tuple[PhaseName, Term, Term, Term], ...]
    """Weights, cache and activations."""
    ctx: int
    kv_dtype: str
    bytes_per_token: int
    unknown: tuple[str, ...]
    notes: tuple[Note, ...]
    host: Term | None


# A verdict asks for the same contexts and batches on card after card.
@lru_cache(maxsize=256)
def _tensors(model: Model, workload: Workload, where: Place) -> _Tensors:
    dtype = workload.dtype or model.dtype
    ctx, notes = _context(model, workload)
    standing = _standing(model, where, workload.quantize, workload.dtype)
    groups, weights = standing.groups, standing.weights
    tokens = ctx + workload.media_tokens
    cache = cache_term(groups, ctx=tokens, workload=workload, dtype=dtype)
    unknown = [] if weights else ["weights"]
    if not model.cache_known:
        unknown.append("kv_cache")
    beside = encoder_output(model, groups, ctx=tokens, workload=workload, dtype=dtype)
    prefill = prefill_term(model, workload, ctx=tokens, dtype=dtype, cache=cache, beside=beside)
    decode = decode_term(model, workload, ctx=tokens, dtype=dtype, cache=cache, beside=beside)
    if prefill is None or decode is None:
        unknown.append("activations")
    used = standing.used
    instants: tuple[tuple[PhaseName, Term, Term, Term], ...] = (
        ("loading", standing.loaded, _NO_CACHE, standing.conversion),
        *(("encoding", used, _NO_CACHE, each) for each in _encoding(model, workload, dtype)),
        ("prefill", used, cache, prefill or _UNKNOWN_ACTIVATIONS),
        ("decode", used, cache, decode or _UNKNOWN_ACTIVATIONS),
    )
    return _Tensors(
        instants=instants,
        ctx=ctx,
        kv_dtype=torch_name(dtype) if workload.kv_dtype == "auto" else workload.kv_dtype,
        bytes_per_token=token_bytes(groups, ctx=tokens, workload=workload, dtype=dtype),
        unknown=tuple(unknown),
        notes=(
            *notes,
            *(weights.notes if weights else ()),
            *kernels_note(model, workload, ctx=tokens, dtype=dtype),
            *encoder_note(groups, ctx=tokens, workload=workload),
        ),
        host=standing.host,
    )


class _Standing(Struct, frozen=True, kw_only=True):
    """What no context and no batch changes."""

    groups: tuple[LayerGroup, ...]
    weights: Held | None
    loaded: Term
    used: Term
    conversion: Term
    host: Term | None


@lru_cache(maxsize=64)
def _standing(model: Model, where: Place, quantize: str | None, asked: str | None) -> _Standing:
    dtype = asked or model.dtype
    weights = held(model, dtype=dtype, where=where, quantize=quantize, asked=asked)
    return _Standing(
        groups=folded(model.decoder.layers),
        weights=weights,
        loaded=weights.loading if weights else _UNKNOWN_WEIGHTS,
        used=_dequantizing(weights.used, model, quantize, dtype) if weights else _UNKNOWN_WEIGHTS,
        conversion=_conversion(weights),
        host=while_loading(model, dtype=dtype, quantized=quantize is not None),
    )


_NO_CACHE = Term(name="kv_cache", bytes=0, basis="exact", because="no token is processed yet")

_UNKNOWN_WEIGHTS = Term(
    name="weights",
    bytes=0,
    basis="assumed",
    because="unknown: there are no headers, and config.json does not declare every shape",
)
_UNKNOWN_ACTIVATIONS = Term(
    name="activations",
    bytes=0,
    basis="assumed",
    because="unknown: config.json does not say how wide the layers are",
)


def _encoding(model: Model, workload: Workload, dtype: str) -> tuple[Term, ...]:
    """What the encoders of pictures and sound hold, before the decoder's first layer.

    One whose length the model fixes runs whatever is said: Whisper's over 30 seconds, filled up.
    """
    media = workload.media
    passes = encoder_passes(model, workload) if media is None else media.encoders
    if not passes:
        return ()
    from hfmem.memory.encoder_activations import encoder_activations

    term = encoder_activations(passes, batch=workload.batch, dtype_bytes=width(dtype))
    return () if term is None else (term,)


@lru_cache(maxsize=64)
def _picture_context(model: Model) -> tuple[int, tuple[Note, ...]] | None:
    """The positions of one picture, whatever context was asked for; None for a model of text."""
    try:
        positions = picture_positions(model.decoder.text)
    except (MissingKeyError, InvalidValueError):
        return None
    if positions is None:
        return None
    message = (
        f"A picture is {positions:,} positions (config.json: image_size, patch_size); --batch is "
        "the number of pictures, and --ctx changes nothing."
    )
    return positions, (Note(code="picture_positions", message=message),)


def _context(model: Model, workload: Workload) -> tuple[int, tuple[Note, ...]]:
    if (fixed := _picture_context(model)) is not None:
        return fixed
    limit = model.decoder.max_context
    notes: list[Note] = []
    ctx = workload.ctx
    if ctx is None:
        ctx = min(DEFAULT_CTX, limit or DEFAULT_CTX)
        message = f"No context was given: {ctx:,} tokens are assumed."
        notes.append(Note(code="default_ctx", message=message))
    tokens = ctx + workload.media_tokens
    if limit is not None and tokens > limit:
        message = (
            f"{tokens:,} tokens are more than the model's maximum of {limit:,}; computed as asked."
        )
        notes.append(Note(code="beyond_max_context", message=message))
    return ctx, tuple(notes)


@lru_cache(maxsize=256)
def _phases(
    model: Model, workload: Workload, where: Place, gpu_class: GpuClass
) -> tuple[Phase, ...]:
    """Every instant on one device, with what the process holds beside the tensors."""
    return tuple(
        _phase(name, tensors, device=workload.device, gpu_class=gpu_class)
        for name, *tensors in _tensors(model, workload, where).instants
    )


def _phase(
    name: PhaseName, tensors: Sequence[Term], *, device: Device, gpu_class: GpuClass
) -> Phase:
    outside = overhead(
        device=device,
        gpu_class=gpu_class,
        weights_bytes=tensors[0].bytes,
        dynamic_bytes=tensors[1].bytes + tensors[2].bytes,
    )
    return Phase(
        name=name,
        memory=total("memory", (*tensors, outside), because=f"held together at the peak of {name}"),
    )


def _refusal(workload: Workload, group: GpuGroup | None) -> str | None:
    if workload.quantize is None or group is None:
        return None
    return refusal(scheme(workload.quantize), group.gpu)


def _offloaded(phases: tuple[Phase, ...], *, layers: int) -> int:
    """What a device keeps when accelerate streams the weights from the host: the cache, the
    activations, and one layer beside the next (accelerate 1.15 hooks.py: AlignDevicesHook)."""
    kept = []
    for phase in phases:
        if phase.name != "loading":
            weights = phase.part("weights").bytes
            kept.append(phase.memory.bytes - weights + 2 * weights // max(1, layers))
    return max(kept)


def _dequantizing(weights: Term, model: Model, quantize: str | None, dtype: str) -> Term:
    """Quantized weights with room in their range for a matrix that is expanded while it is used.

    Kernels differ: none in some, the matrix and its product in others (Qwen's tables of GPTQ and
    AWQ are up to twice the largest matrix above the tensors).
    """
    packed = quantize is not None or any(run.packed and run.loaded for run in model.weights or ())
    found = matrices(model) or () if packed else ()
    sizes = [one.elements for _, one in found if one.kind == "linear"]
    if not sizes:
        return weights
    return replace(weights, high=weights.range_bytes[1] + 2 * max(sizes) * width(dtype))


def _conversion(weights: Held | None) -> Term:
    """What loading holds beside the weights."""
    size = weights.beside if weights else 0
    what = (
        f"{weights.beside_what}: {size:,} bytes beside the weights"
        if weights and size
        else ("nothing is converted")
    )
    return Term(
        name="activations",
        bytes=size,
        basis="derived",
        because=f"{what} ({TRANSFORMERS} core_model_loading.py)",
    )
