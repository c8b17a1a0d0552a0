"""Who holds what when a model is spread over several devices."""

from __future__ import annotations

from hfmem.memory.estimate import Phase
from hfmem.memory.term import Term, total
from hfmem.model.model import Model


def layer_split(
    phase: Phase, *, model: Model, count: int, weights_bytes: int | None = None
) -> Phase:
    """The most loaded of ``count`` devices when whole layers are dealt out in order.

    This is what ``device_map="auto"`` does (accelerate 1.15 utils/modeling.py:
    get_balanced_memory, infer_auto_device_map): weights and the cache of a layer stay together, so
    a device holds at most its even share and one layer more; the activations pass from device to
    device, so each must have room for their peak. 80 layers of 1.8 GB on 2 devices: 40 layers and
    at most one more. ``weights_bytes`` asks what if the weights took another size.
    """
    layers = max(1, len(model.decoder.layers))
    share = layers if count == 1 else min(layers, -(-layers // count) + 1)
    weights = phase.part("weights")
    if weights_bytes is not None and weights_bytes != weights.bytes:
        weights = Term(
            name="weights", bytes=weights_bytes, basis="derived", because="in another precision"
        )
    held = tuple(
        _scaled(term, share=share, layers=layers) for term in (weights, phase.part("kv_cache"))
    )
    return Phase(
        name=phase.name,
        memory=total(
            "memory",
            (*held, phase.part("activations"), phase.part("overhead")),
            because=f"{share} of {layers} layers on the most loaded device, peak of {phase.name}",
        ),
    )


def replicated(phase: Phase, *, rank: Phase, count: int) -> Phase:
    """All devices together: weights and cache once, activations and overhead on each.

    ``phase`` is the model on one device, ``rank`` the most loaded of ``count``.
    """
    if count == 1:
        return phase
    return Phase(
        name=phase.name,
        memory=total(
            "memory",
            (
                phase.part("weights"),
                phase.part("kv_cache"),
                times(rank.part("activations"), count),
                times(rank.part("overhead"), count),
            ),
            because=f"{phase.memory.because}, on {count} devices",
        ),
    )


def times(term: Term, count: int) -> Term:
    """A term that ``count`` devices hold each: its parts too."""
    if count == 1:
        return term
    low, high = term.range_bytes
    return Term(
        name=term.name,
        bytes=term.bytes * count,
        basis=term.basis,
        because=f"{count} × ({term.because})",
        low=low * count,
        high=high * count,
        parts=tuple(times(part, count) for part in term.parts),
    )


def _scaled(term: Term, *, share: int, layers: int) -> Term:
    if share == layers:
        return term
    low, high = term.range_bytes
    return Term(
        name=term.name,
        bytes=-(-term.bytes * share // layers),
        basis="derived",
        because=f"{share} of {layers} layers of {term.bytes:,} bytes",
        low=low * share // layers,
        high=-(-high * share // layers),
    )
