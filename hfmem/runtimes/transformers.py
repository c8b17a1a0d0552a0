"""transformers: weights as loaded, a cache that grows, activations of one forward pass.

Three instants. Loading holds the weights and what converting them needs; prefill runs the whole
prompt in one pass (generate does not chunk by default); decode appends a token to every layer's
cache. What is asked for is the largest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import torch_name, width
from hfmem.errors import UsageError
from hfmem.gpu import GpuGroup
from hfmem.memory.activations import Peak, decode_activations, prefill_activations
from hfmem.memory.cards import class_of
from hfmem.memory.estimate import MemoryEstimate, Phase, PhaseName
from hfmem.memory.kv_cache import (
    GroupBytes,
    LayerGroup,
    bytes_per_token,
    cache_bytes,
    cell_elements,
    dynamic_cells,
)
from hfmem.memory.kv_cache import group as folded
from hfmem.memory.loading import Held, held
from hfmem.memory.overhead import overhead
from hfmem.memory.packed_loading import Place, place, rule_of
from hfmem.memory.parallel import layer_split, replicated
from hfmem.memory.quantize import matrices
from hfmem.memory.quantize.schemes import refusal, scheme
from hfmem.memory.term import Term, total
from hfmem.memory.workload import DEFAULT_CTX, Workload
from hfmem.model.layers import CrossAttention, FullAttention, kind_name
from hfmem.model.model import Model

VERSION = "5.23"

# Bits of a cached element: transformers 5.23 cache_utils.py. QuantizedLayer groups 64 elements
# under a scale and a zero point in the compute type; Fp8QuantizedLayer scales a whole tensor. HQQ
# packs ten 3-bit values into 32 bits (hqq core/bitpack.py: pack_3bit_32).
_GROUP_OVERHEAD = Fraction(2 * 16, 64)
_QUANTIZED_BITS: dict[str, Fraction] = {
    "fp8": Fraction(8),
    "quanto-int4": 4 + _GROUP_OVERHEAD,
    "quanto-int2": 2 + _GROUP_OVERHEAD,
    "hqq-int8": 8 + _GROUP_OVERHEAD,
    "hqq-int4": 4 + _GROUP_OVERHEAD,
    "hqq-int3": Fraction(32, 10) + _GROUP_OVERHEAD,
    "hqq-int2": 2 + _GROUP_OVERHEAD,
    "hqq-int1": 1 + _GROUP_OVERHEAD,
}
KV_DTYPES = ("auto", *_QUANTIZED_BITS)
"""``auto`` is the compute type; the others are the backends of QuantizedCache with their bits."""


def estimate(model: Model, workload: Workload, group: GpuGroup | None) -> MemoryEstimate:
    """What transformers needs for a workload; several devices share it layer by layer.

    Raises UsageError for a quantized cache that the model's layers do not take.
    """
    card = group.gpu if group and rule_of(model) else None
    found = _tensors(model, workload, place(workload.device, card))
    phases = tuple(
        _phase(name, tensors, workload=workload, group=group) for name, *tensors in found.instants
    )
    count = group.count if group else 1
    rank = tuple(layer_split(phase, model=model, count=count) for phase in phases)
    return MemoryEstimate(
        phases=tuple(
            replicated(phase, rank=one, count=count)
            for phase, one in zip(phases, rank, strict=True)
        ),
        rank=rank if count > 1 else (),
        count=count,
        refusal=_refusal(workload, group),
        offloaded_bytes=_offloaded(rank, layers=len(model.decoder.layers)),
        ctx=found.ctx,
        kv_dtype=found.kv_dtype,
        bytes_per_token=found.bytes_per_token,
        unknown=found.unknown,
        notes=found.notes,
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


# A verdict asks for the same contexts and batches on card after card.
@lru_cache(maxsize=256)
def _tensors(model: Model, workload: Workload, where: Place) -> _Tensors:
    dtype = workload.dtype or model.dtype
    ctx, notes = _context(model, workload)
    groups = folded(model.decoder.layers)
    tokens = ctx + workload.media_tokens
    cache = _cache(groups, ctx=tokens, workload=workload, dtype=dtype)
    weights = held(
        model, dtype=dtype, where=where, quantize=workload.quantize, asked=workload.dtype
    )
    unknown = [] if weights else ["weights"]
    if not model.cache_known:
        unknown.append("kv_cache")
    beside = _encoder_output(model, groups, ctx=tokens, workload=workload, dtype=dtype)
    prefill = _prefill(model, workload, ctx=tokens, dtype=dtype, cache=cache, beside=beside)
    decode = _decode(model, workload, ctx=tokens, dtype=dtype, cache=cache, beside=beside)
    if prefill is None or decode is None:
        unknown.append("activations")
    nothing = Term(name="kv_cache", bytes=0, basis="exact", because="no token is processed yet")
    loaded = weights.loading if weights else _UNKNOWN_WEIGHTS
    used = _dequantizing(weights.used, model, workload, dtype) if weights else _UNKNOWN_WEIGHTS
    instants: tuple[tuple[PhaseName, Term, Term, Term], ...] = (
        ("loading", loaded, nothing, _conversion(weights)),
        *(("encoding", used, nothing, each) for each in _encoding(model, workload, dtype)),
        ("prefill", used, cache, prefill or _UNKNOWN_ACTIVATIONS),
        ("decode", used, cache, decode or _UNKNOWN_ACTIVATIONS),
    )
    return _Tensors(
        instants=instants,
        ctx=ctx,
        kv_dtype=torch_name(dtype) if workload.kv_dtype == "auto" else workload.kv_dtype,
        bytes_per_token=_bytes_per_token(groups, ctx=tokens, workload=workload, dtype=dtype),
        unknown=tuple(unknown),
        notes=(*notes, *(weights.notes if weights else ())),
    )


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

    Whisper's runs whatever is said: over 30 seconds, filled up.
    """
    whisper = model.decoder.model_type == "whisper"
    if workload.media is None and not whisper:
        return ()
    from hfmem.memory.encoder_activations import encoder_activations
    from hfmem.model.vision_towers import whisper_passes

    if workload.media is not None:
        passes = workload.media.encoders
    else:
        passes = whisper_passes(model.decoder.text)
    term = encoder_activations(passes, batch=workload.batch, dtype_bytes=width(dtype))
    return () if term is None else (term,)


def _encoder_output(
    model: Model, groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload, dtype: str
) -> tuple[Term, ...]:
    """An encoder-decoder's encoder output, which ``generate`` holds to its end."""
    crossing = [one for one in groups if isinstance(one.kind, CrossAttention)]
    own = sum(one.count for one in groups) - sum(one.count for one in crossing)
    hidden = model.decoder.hidden_size
    if hidden is None or not crossing or own != sum(one.count for one in crossing):
        return ()
    fixed = crossing[0].kind
    tokens = fixed.source_tokens if isinstance(fixed, CrossAttention) else None
    tokens = tokens or _encoder_ctx(groups, ctx=ctx, workload=workload)
    return (
        Term(
            name="encoder output",
            bytes=workload.batch * tokens * hidden * width(dtype),
            basis="derived",
            because=f"{workload.batch} × {tokens:,} tokens × {hidden:,} × {width(dtype)} bytes, "
            f"held until generate returns (transformers {VERSION} generation/utils.py: "
            "_prepare_encoder_decoder_kwargs_for_generation)",
        ),
    )


def _context(model: Model, workload: Workload) -> tuple[int, tuple[Note, ...]]:
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


def _phase(
    name: PhaseName,
    tensors: Sequence[Term],
    *,
    workload: Workload,
    group: GpuGroup | None,
) -> Phase:
    outside = overhead(
        device=workload.device,
        gpu_class=class_of(group.gpu if group else None),
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
    used = [phase for phase in phases if phase.name != "loading"]
    return max(
        phase.memory.bytes
        - phase.part("weights").bytes
        + 2 * phase.part("weights").bytes // max(1, layers)
        for phase in used
    )


def _dequantizing(weights: Term, model: Model, workload: Workload, dtype: str) -> Term:
    """Quantized weights with room in their range for a matrix that is expanded while it is used.

    Kernels differ: none in some, the matrix and its product in others (Qwen's tables of GPTQ and
    AWQ are up to twice the largest matrix above the tensors).
    """
    packed = workload.quantize is not None or any(
        run.packed and run.loaded for run in model.weights or ()
    )
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
        because=f"{what} (transformers {VERSION} core_model_loading.py)",
    )


def _encoder_ctx(groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload) -> int:
    """Tokens that cross-attention sees: the decoder's context for an encoder-decoder model.

    Cross-attention over pictures (Llama 3.2 Vision) sees none until one is given; such a decoder
    has
    fewer cross layers than layers of its own.
    """
    if workload.encoder_ctx is not None:
        return workload.encoder_ctx
    if workload.media is not None and workload.media.encoder_tokens:
        return workload.media.encoder_tokens
    crossing = sum(one.count for one in groups if isinstance(one.kind, CrossAttention))
    own = sum(one.count for one in groups) - crossing
    return ctx if crossing == own else 0


def _cache(groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload, dtype: str) -> Term:
    parts = _quantized_cache(groups, ctx=ctx, workload=workload) or tuple(
        _cache_term(one, ctx=ctx, workload=workload, dtype=dtype)
        for one in cache_bytes(
            groups,
            ctx=ctx,
            batch=workload.batch,
            kv_dtype=dtype,
            model_dtype=dtype,
            encoder_ctx=_encoder_ctx(groups, ctx=ctx, workload=workload),
        )
    )
    return total(
        "kv_cache",
        parts,
        because=f"DynamicCache of {workload.batch} × {ctx:,} tokens (transformers {VERSION} "
        "cache_utils.py)",
    )


def _cache_term(one: GroupBytes, *, ctx: int, workload: Workload, dtype: str) -> Term:
    kind, count = one.group.kind, one.group.count
    name = kind_name(kind)
    cells, elements = dynamic_cells(kind, ctx), cell_elements(kind)
    if cells and elements and one.bytes == cells * elements * width(dtype) * count * workload.batch:
        because = (
            f"{count} layers × batch {workload.batch} × {cells:,} tokens × "
            f"{elements:,} elements × {width(dtype)} bytes"
        )
    else:
        because = f"{count} layers of {kind}, batch {workload.batch}, {ctx:,} tokens"
    return Term(name=name, bytes=one.bytes, basis="exact", because=because)


def _quantized_cache(
    groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload
) -> tuple[Term, ...] | None:
    bits = _QUANTIZED_BITS.get(workload.kv_dtype)
    if bits is None:
        return None
    others = sorted(
        {kind_name(one.kind) for one in groups if not isinstance(one.kind, FullAttention)}
    )
    if others:
        raise UsageError(
            f"transformers quantizes the cache of full attention only; this model has {others[0]} "
            "layers.",
            hint="Leave --kv-dtype at auto (transformers 5.23 cache_utils.py: QuantizedCache).",
        )
    terms = []
    for one in groups:
        elements = ctx * cell_elements(one.kind) * one.count * workload.batch
        # Per-tensor scales of fp8: one fp32 for the keys and one for the values of a layer.
        scales = 2 * 4 * one.count if workload.kv_dtype == "fp8" else 0
        terms.append(
            Term(
                name=kind_name(one.kind),
                bytes=-(-elements * bits.numerator // (8 * bits.denominator)) + scales,
                basis="derived",
                because=f"{elements:,} elements × {float(bits):g} bits in {workload.kv_dtype}",
            )
        )
    return tuple(terms)


def _bytes_per_token(
    groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload, dtype: str
) -> int:
    quantized = _quantized_cache(groups, ctx=1, workload=replace(workload, batch=1))
    if quantized is not None:
        return sum(term.bytes for term in quantized)
    return bytes_per_token(groups, ctx=ctx, kv_dtype=dtype, model_dtype=dtype)


def _prefill(
    model: Model,
    workload: Workload,
    *,
    ctx: int,
    dtype: str,
    cache: Term,
    beside: tuple[Term, ...],
) -> Term | None:
    if model.forward is None:
        return _unread(model, tokens=ctx * workload.batch, dtype=dtype)
    return _activations(
        prefill_activations(
            model.forward,
            tokens=ctx,
            batch=workload.batch,
            dtype_bytes=width(dtype),
            attention=workload.attention,
            device=workload.device,
        ),
        cache,
        beside=beside,
        share=PREFILL_LOW,
    )


def _decode(
    model: Model,
    workload: Workload,
    *,
    ctx: int,
    dtype: str,
    cache: Term,
    beside: tuple[Term, ...],
) -> Term | None:
    if model.forward is None:
        return _unread(model, tokens=workload.batch, dtype=dtype)
    return _activations(
        decode_activations(
            model.forward,
            context=ctx,
            batch=workload.batch,
            dtype_bytes=width(dtype),
            attention=workload.attention,
            device=workload.device,
            first_step=False,
        ),
        cache,
        beside=beside,
        share=DECODE_LOW,
    )


def _activations(peak: Peak, cache: Term, *, beside: tuple[Term, ...], share: Fraction) -> Term:
    """The peak beside the cache that stays; a layer that comes later has not stored its own yet."""
    parts = [
        Term(
            name=part.name,
            bytes=part.bytes,
            basis="derived",
            because=f"{part.because} ({part.source})",
        )
        for part in peak.parts
    ]
    parts.extend(beside)
    # Keys of an encoder's output are not counted layer by layer; they are there from the start.
    grown = sum(part.bytes for part in cache.parts if part.name != "cross")
    missing = grown - peak.cache_bytes
    if missing:
        parts.append(
            Term(
                name="cache not yet stored",
                bytes=-missing,
                basis="derived",
                because=f"the peak lies before the last layers have stored {missing:,} bytes "
                f"({peak.source})",
            )
        )
    found = total(
        "activations",
        parts,
        because=f"the {peak.instant} instant of the layer that holds most ({peak.source})",
    )
    return replace(found, low=int(found.bytes * share), high=found.bytes)


# Qwen's tables of transformers 4.46 and 4.51: the peak of a prefill is met, or up to 5 % less where
# several cards share it; of a decoding step, which copies one layer's cache, about half was seen.
PREFILL_LOW, DECODE_LOW = Fraction(19, 20), Fraction(2, 5)
FALLBACK_LOW, FALLBACK_HIGH = Fraction(1, 2), 4


def _unread(model: Model, *, tokens: int, dtype: str) -> Term | None:
    """Activations of a family whose forward pass is not described: a gated decoder's, with a wide
    range."""
    hidden = model.decoder.hidden_size
    if hidden is None:
        return None
    wide = model.decoder.text.integer_or_none("intermediate_size") or 4 * hidden
    size = tokens * width(dtype) * (4 * hidden + 3 * wide)
    return Term(
        name="activations",
        bytes=size,
        basis="assumed",
        because="this family's forward pass is not described; a gated decoder's would hold "
        f"{tokens:,} tokens × {width(dtype)} bytes × (4 × {hidden:,} + 3 × {wide:,})",
        low=int(size * FALLBACK_LOW),
        high=size * FALLBACK_HIGH,
    )
