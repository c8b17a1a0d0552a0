"""Activations of transformers as terms: prefill and decode, known or supposed."""

from __future__ import annotations

from fractions import Fraction

from msgspec.structs import replace

from hfmem.checkpoint.snapshot import Note
from hfmem.dtypes import width
from hfmem.errors import InvalidValueError, MissingKeyError
from hfmem.memory.activations import Peak, decode_activations, prefill_activations
from hfmem.memory.term import Term, total
from hfmem.memory.workload import Workload
from hfmem.model.forward import ForwardPass, supposed_pass
from hfmem.model.forward_shapes import GatedDelta, Listed, Mamba2
from hfmem.model.model import Model
from hfmem.units import GIB


def prefill_term(
    model: Model,
    workload: Workload,
    *,
    ctx: int,
    dtype: str,
    cache: Term,
    beside: tuple[Term, ...],
) -> Term | None:
    """What prefill holds beside weights and cache; None where no size is known.

    Its range reaches down to what recurrent layers hold with fused kernels.
    """
    forward = model.forward or _supposed(model)
    if forward is None:
        return _unread(model, tokens=ctx * workload.batch, dtype=dtype)
    peak = _prefill_peak(forward, workload, ctx=ctx, dtype=dtype)
    found = _activations(peak, cache, beside=beside, share=PREFILL_LOW)
    if model.forward is None:
        return _guessed(found)
    fused = _fused_peak(forward, workload, ctx=ctx, dtype=dtype)
    if fused is None or fused.total_bytes >= peak.total_bytes:
        return found
    saved = peak.total_bytes - fused.total_bytes
    return replace(found, low=int((found.bytes - saved) * PREFILL_LOW))


def _prefill_peak(
    forward: ForwardPass, workload: Workload, *, ctx: int, dtype: str, fused: bool = False
) -> Peak:
    return prefill_activations(
        forward,
        tokens=ctx,
        batch=workload.batch,
        dtype_bytes=width(dtype),
        attention=workload.attention,
        device=workload.device,
        fused_recurrence=fused,
    )


def _fused_peak(forward: ForwardPass, workload: Workload, *, ctx: int, dtype: str) -> Peak | None:
    """The peak with the kernels of fla or mamba-ssm; None where no layer has one."""
    mixers = [kind.shape.mixer for kind in forward.kinds]
    scans = any(
        isinstance(mixer, GatedDelta | Mamba2)
        or (isinstance(mixer, Listed) and any(one.path == "fused" for one in mixer.instants))
        for mixer in mixers
    )
    return _prefill_peak(forward, workload, ctx=ctx, dtype=dtype, fused=True) if scans else None


def kernels_note(model: Model, workload: Workload, *, ctx: int, dtype: str) -> tuple[Note, ...]:
    """What fused kernels change, where recurrent layers decide the peak on PyTorch's own path."""
    if model.forward is None:
        return ()
    fused = _fused_peak(model.forward, workload, ctx=ctx, dtype=dtype)
    if fused is None:
        return ()
    peak = _prefill_peak(model.forward, workload, ctx=ctx, dtype=dtype)
    if fused.total_bytes >= peak.total_bytes:
        return ()
    saved = (peak.total_bytes - fused.total_bytes) / GIB
    message = (
        f"Recurrent layers are counted on PyTorch's own path. With the kernels of fla or mamba-ssm "
        f"installed a prefill of {ctx:,} tokens holds up to {saved:.2f} GiB less; what those "
        "kernels use inside was not measured."
    )
    return (Note(code="recurrent_kernels", message=message),)


def decode_term(
    model: Model,
    workload: Workload,
    *,
    ctx: int,
    dtype: str,
    cache: Term,
    beside: tuple[Term, ...],
) -> Term | None:
    """What a decoding step holds beside weights and cache; None where no size is known."""
    forward = model.forward or _supposed(model)
    if forward is None:
        return _unread(model, tokens=workload.batch, dtype=dtype)
    found = _activations(
        decode_activations(
            forward,
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
    return found if model.forward is not None else _guessed(found)


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


def _supposed(model: Model) -> ForwardPass | None:
    """What a family of ordinary layers would compute; None where the sizes do not tell that."""
    try:
        return supposed_pass(model.decoder.text, model.decoder.layers)
    except (MissingKeyError, InvalidValueError):
        return None


def _guessed(term: Term) -> Term:
    """Activations of a supposed pass: a guess, with a wide range."""
    return replace(
        term,
        basis="assumed",
        because=f"this family's forward pass is not described; supposed is {term.because}",
        low=int(term.bytes * FALLBACK_LOW),
        high=term.bytes * FALLBACK_HIGH,
        parts=tuple(replace(part, basis="assumed") for part in term.parts),
    )


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
