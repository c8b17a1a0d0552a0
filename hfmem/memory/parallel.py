"""Who holds what when a model is spread over several devices."""

from __future__ import annotations

from hfmem.memory.estimate import MemoryEstimate, Phase
from hfmem.memory.term import Term, total
from hfmem.model.model import Model


def layer_split(
    estimate: MemoryEstimate, *, model: Model, count: int, weights_bytes: int | None = None
) -> Term:
    """The most loaded of ``count`` devices when whole layers are dealt out in order.

    This is what ``device_map="auto"`` does (accelerate 1.15 utils/modeling.py:
    get_balanced_memory, infer_auto_device_map): weights and the cache of a layer stay together, so
    a device holds at most its even share and one layer more; the activations pass from device to
    device, so each must have room for their peak. 80 layers of 1.8 GB on 2 devices: 40 layers and
    at most one more. ``weights_bytes`` asks what if the weights took another size.
    """
    layers = max(1, len(model.decoder.layers))
    share = layers if count == 1 else min(layers, -(-layers // count) + 1)
    return max(
        (_on_one(phase, share, layers, weights_bytes) for phase in estimate.phases),
        key=lambda term: term.bytes,
    )


def _on_one(phase: Phase, share: int, layers: int, weights_bytes: int | None) -> Term:
    weights = phase.part("weights")
    if weights_bytes is not None and weights_bytes != weights.bytes:
        weights = Term(
            name="weights", bytes=weights_bytes, basis="derived", because="in another precision"
        )
    held = tuple(
        _scaled(term, share=share, layers=layers) for term in (weights, phase.part("kv_cache"))
    )
    return total(
        "per_gpu",
        (*held, phase.part("activations"), phase.part("overhead")),
        because=f"{share} of {layers} layers on the most loaded device, peak of {phase.name}",
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
