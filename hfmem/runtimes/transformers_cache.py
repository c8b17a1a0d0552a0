"""What transformers keeps between two tokens: DynamicCache, QuantizedCache, an encoder's output."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import width
from hfmem.errors import UsageError
from hfmem.memory.instants import TRANSFORMERS
from hfmem.memory.kv_cache import (
    GroupBytes,
    LayerGroup,
    bytes_per_token,
    cache_bytes,
    cell_elements,
    dynamic_cells,
    group,
)
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.layers import CrossAttention, FullAttention, kind_name
from hfmem.model.model import Model

if TYPE_CHECKING:
    from hfmem.model.media import EncoderPass

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


def cache_term(groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload, dtype: str) -> Term:
    """The cache of ``ctx`` tokens in bytes, a part for each kind of layer.

    Llama-3.1-8B at 8,192 tokens in bf16: 32 layers of 8,192 cells of 2,048 elements of 2 bytes are
    1,073,741,824 bytes. Raises UsageError for a quantized cache that the layers do not take.
    """
    parts = _quantized_cache(groups, ctx=ctx, workload=workload) or tuple(
        _group_term(one, ctx=ctx, workload=workload, dtype=dtype)
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
        because=f"DynamicCache of {workload.batch} × {ctx:,} tokens ({TRANSFORMERS} "
        "cache_utils.py)",
    )


def _group_term(one: GroupBytes, *, ctx: int, workload: Workload, dtype: str) -> Term:
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


def token_bytes(groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload, dtype: str) -> int:
    """Bytes that one more token of one sequence takes: 131,072 for Llama-3.1-8B in bf16."""
    quantized = _quantized_cache(groups, ctx=1, workload=replace(workload, batch=1))
    if quantized is not None:
        return sum(term.bytes for term in quantized)
    return bytes_per_token(groups, ctx=ctx, kv_dtype=dtype, model_dtype=dtype)


def encoder_output(
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
    given = sum(one.output for one in encoder_passes(model, workload))
    what = f"{given:,} values" if given else f"{tokens:,} tokens × {hidden:,}"
    return (
        Term(
            name="encoder output",
            bytes=workload.batch * (given or tokens * hidden) * width(dtype),
            basis="derived",
            because=f"{workload.batch} × {what} × {width(dtype)} bytes, held until "
            f"generate returns ({TRANSFORMERS} generation/utils.py: "
            "_prepare_encoder_decoder_kwargs_for_generation)",
        ),
    )


def _encoder_ctx(groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload) -> int:
    """Tokens that cross-attention sees: the decoder's context for an encoder-decoder model.

    Cross-attention over pictures (Llama 3.2 Vision) sees none until one is given; such a decoder
    has fewer cross layers than layers of its own.
    """
    if workload.encoder_ctx is not None:
        return workload.encoder_ctx
    if workload.media is not None and workload.media.encoder_tokens:
        return workload.media.encoder_tokens
    usual = _usual_encoder_ctx(groups)
    return (ctx if _reads_text(groups) else 0) if usual is None else usual


def encoder_passes(model: Model, workload: Workload) -> tuple[EncoderPass, ...]:
    """The passes that every sequence takes, of the length that was asked for."""
    if not model.encoders or workload.encoder_ctx is None:
        return model.encoders
    usual = _usual_encoder_ctx(group(model.decoder.layers))
    if not usual:
        return model.encoders
    from hfmem.model.encoder_runs import of_length

    tokens = workload.encoder_ctx
    return tuple(of_length(one, tokens=tokens, usual=usual) for one in model.encoders)


def _usual_encoder_ctx(groups: tuple[LayerGroup, ...]) -> int | None:
    """What the processor gives the encoder, where that is known and a call may change it."""
    kinds = (one.kind for one in groups)
    return next((kind.usual_tokens for kind in kinds if isinstance(kind, CrossAttention)), None)


def encoder_note(
    groups: tuple[LayerGroup, ...], *, ctx: int, workload: Workload
) -> tuple[Note, ...]:
    """That the encoder's length is assumed, where neither question, model nor processor tells."""
    kinds = [one.kind for one in groups if isinstance(one.kind, CrossAttention)]
    told = workload.encoder_ctx is not None or workload.media is not None
    if told or not kinds or not _reads_text(groups):
        return ()
    if kinds[0].source_tokens is not None or kinds[0].usual_tokens is not None:
        return ()
    message = (
        f"No length of the encoder's input was given: {ctx:,} positions are assumed, as many as "
        "the decoder's; --encoder-ctx gives another number."
    )
    return (Note(code="default_encoder_ctx", message=message),)


def _reads_text(groups: tuple[LayerGroup, ...]) -> bool:
    crossing = sum(one.count for one in groups if isinstance(one.kind, CrossAttention))
    return 2 * crossing == sum(one.count for one in groups)
