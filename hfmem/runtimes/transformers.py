"""transformers: weights as loaded, a cache that grows, activations of one forward pass.

Three instants. Loading holds the weights and what converting them needs; prefill runs the whole
prompt in
one pass (generate does not chunk by default); decode appends a token to every layer's cache. What
is
asked for is the largest of them.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from hfmem.checkpoint.snapshot import Note
from hfmem.checkpoint.tensor import template
from hfmem.dtypes import torch_name, width
from hfmem.errors import UsageError
from hfmem.memory.activations import Peak, decode_activations, prefill_activations
from hfmem.memory.estimate import MemoryEstimate, Phase, PhaseName
from hfmem.memory.kv_cache import (
    GroupBytes,
    LayerGroup,
    bytes_per_token,
    cache_bytes,
    cell_elements,
    dynamic_cells,
    group,
)
from hfmem.memory.overhead import GpuClass, overhead
from hfmem.memory.term import Term, total
from hfmem.memory.weights import loaded_dtype, weights
from hfmem.memory.workload import DEFAULT_CTX, Workload
from hfmem.model.layers import CrossAttention, FullAttention, kind_name
from hfmem.model.model import Model

VERSION = "5.23"

# Bits of a cached element: transformers 5.23 cache_utils.py. QuantizedLayer groups 64 elements
# under a
# scale and a zero point in the compute type; Fp8QuantizedLayer scales a whole tensor. HQQ packs ten
# 3-bit values into 32 bits (hqq core/bitpack.py: pack_3bit_32).
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


def estimate(model: Model, workload: Workload, gpu_class: GpuClass) -> MemoryEstimate:
    """What transformers needs for a workload on one device.

    Raises UsageError for a quantized cache that the model's layers do not take.
    """
    dtype = workload.dtype or model.dtype
    ctx, notes = _context(model, workload)
    groups = group(model.decoder.layers)
    cache = _cache(groups, ctx=ctx, workload=workload, dtype=dtype)
    held = _weights(model, dtype)
    unknown = [] if held else ["weights"]
    if not model.cache_known:
        unknown.append("kv_cache")
    prefill = _prefill(model, workload, ctx=ctx, dtype=dtype, cache=cache)
    decode = _decode(model, workload, ctx=ctx, dtype=dtype, cache=cache)
    if prefill is None or decode is None:
        unknown.append("activations")
    nothing = Term(name="kv_cache", bytes=0, basis="exact", because="no token is processed yet")
    instants: tuple[tuple[PhaseName, Term, Term], ...] = (
        ("loading", nothing, _conversion(model, dtype)),
        ("prefill", cache, prefill or _UNKNOWN_ACTIVATIONS),
        ("decode", cache, decode or _UNKNOWN_ACTIVATIONS),
    )
    return MemoryEstimate(
        phases=tuple(
            _phase(
                name,
                (held or _UNKNOWN_WEIGHTS, state, activations),
                workload=workload,
                gpu_class=gpu_class,
            )
            for name, state, activations in instants
        ),
        ctx=ctx,
        kv_dtype=torch_name(dtype) if workload.kv_dtype == "auto" else workload.kv_dtype,
        bytes_per_token=_bytes_per_token(groups, ctx=ctx, workload=workload, dtype=dtype),
        unknown=tuple(unknown),
        notes=notes,
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


def _context(model: Model, workload: Workload) -> tuple[int, tuple[Note, ...]]:
    limit = model.decoder.max_context
    if workload.ctx is None:
        ctx = min(DEFAULT_CTX, limit or DEFAULT_CTX)
        message = f"No context was given: {ctx:,} tokens are assumed."
        return ctx, (Note(code="default_ctx", message=message),)
    if limit is not None and workload.ctx > limit:
        message = (
            f"{workload.ctx:,} tokens are more than the model's maximum of {limit:,}; "
            "computed as asked."
        )
        return workload.ctx, (Note(code="beyond_max_context", message=message),)
    return workload.ctx, ()


def _weights(model: Model, dtype: str) -> Term | None:
    if model.weights is None:
        return None
    return weights(model.weights, dtype=dtype, model_type=model.model_type)


def _phase(
    name: PhaseName,
    tensors: tuple[Term, Term, Term],
    *,
    workload: Workload,
    gpu_class: GpuClass,
) -> Phase:
    outside = overhead(
        device=workload.device,
        gpu_class=gpu_class,
        weights_bytes=tensors[0].bytes,
        dynamic_bytes=tensors[1].bytes + tensors[2].bytes,
    )
    return Phase(
        name=name,
        memory=total("memory", (*tensors, outside), because=f"held together at the peak of {name}"),
    )


_STACKED = re.compile(r"\.experts\.\{\}\.(?:gate_proj|up_proj|w1|w3)\.weight$")


def _conversion(model: Model, dtype: str) -> Term:
    """What loading holds beside the weights.

    Weights go from the file to where they stay. Separate experts are stacked and their gate and up
    halves concatenated, so one layer's merged ``gate_up`` exists twice (core_model_loading.py:
    MergeModulelist, Concatenate); a tensor that is cast exists in both types.
    """
    merged = cast = 0
    for weight in model.weights or ():
        run = weight.run
        if not weight.loaded:
            continue
        if _STACKED.search(template(run.name)):
            merged += run.total_bytes // max(1, len(run.indices() or (0,)))
        target = loaded_dtype(weight, dtype=dtype, model_type=model.model_type)
        if target != run.dtype:
            cast = max(cast, run.bytes)
    size = max(merged, cast)
    what = "one layer's experts, merged" if merged >= cast and merged else "the largest cast tensor"
    return Term(
        name="activations",
        bytes=size,
        basis="derived",
        because=f"{what}: {size:,} bytes beside the weights (transformers {VERSION} "
        "core_model_loading.py)"
        if size
        else f"nothing is converted (transformers {VERSION} core_model_loading.py)",
    )


def _encoder_ctx(groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload) -> int:
    """Tokens that cross-attention sees: the decoder's context for an encoder-decoder model.

    Cross-attention over pictures (Llama 3.2 Vision) sees none until one is given; such a decoder
    has
    fewer cross layers than layers of its own.
    """
    if workload.encoder_ctx is not None:
        return workload.encoder_ctx
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
            f"{count} layers × {workload.batch} sequences × {cells:,} tokens × "
            f"{elements:,} elements × {width(dtype)} bytes"
        )
    else:
        because = f"{count} layers of {kind}, {workload.batch} sequences of {ctx:,} tokens"
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


def _prefill(model: Model, workload: Workload, *, ctx: int, dtype: str, cache: Term) -> Term | None:
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
    )


def _decode(model: Model, workload: Workload, *, ctx: int, dtype: str, cache: Term) -> Term | None:
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
    )


def _activations(peak: Peak, cache: Term) -> Term:
    """The peak beside the cache that stays; a layer that comes later has not stored its own yet."""
    parts = [
        Term(name=part.name, bytes=part.bytes, basis="derived", because=part.because)
        for part in peak.parts
    ]
    missing = cache.bytes - peak.cache_bytes
    if missing:
        parts.append(
            Term(
                name="cache not yet stored",
                bytes=-missing,
                basis="derived",
                because=f"the peak lies before the last layers have stored {missing:,} bytes",
            )
        )
    return total(
        "activations", parts, because=f"the {peak.instant} instant of the layer that holds most"
    )


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
