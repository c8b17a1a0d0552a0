"""What one decoding step reads, and what a prompt computes: bytes and operations, no times."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Literal, get_args

from msgspec import Struct

from hfmem.hardware.cache_reads import cache_reads, kv_bits
from hfmem.memory.term import Term
from hfmem.memory.weights import loaded_bytes
from hfmem.memory.workload import Workload
from hfmem.model.components import Component
from hfmem.model.model import Model
from hfmem.model.parameters import routing

Packing = Literal["float", "fp8", "int8", "int4"]

_DECODING: frozenset[str] = frozenset({"language", "experts", "head", "other", "adapter"})
"""Components that a decoding step reads; the embedding is one row a token, towers ran before."""
_COMPONENTS = frozenset(get_args(Component))


class Traffic(Struct, frozen=True, kw_only=True):
    """One step of ``batch`` sequences, on one replica of the model."""

    dense_bytes: int
    """Weights that every token reads; the head counts, also where it is the embedding."""
    expert_bytes: int
    """Routed experts that at least one sequence goes through."""
    stored_expert_bytes: int
    """All of them."""
    cache_bytes: int
    """Keys, values, latents and indexer keys at this context, read once."""
    replicated_bytes: int
    """Of ``cache_bytes``, what every rank of a tensor parallel group reads whole (latents)."""
    state_bytes: int
    """Recurrent state, read and written."""
    layers: int
    routed_layers: int
    """Of them, those with routed experts."""
    active_parameters: int
    """That one token multiplies with, without the embedding, with the head."""
    head_parameters: int
    """Of them, the head's: a prompt needs it for its last token only."""
    attention_operations: int
    """Of one token at this context: 4 × heads × head_dim × tokens seen, over all layers."""
    prompt_operations: int
    """Of the attention of one whole prompt, causal."""
    packing: Packing
    method: str
    """What quantized them, as the checkpoint or the question names it; empty where nothing did."""

    @property
    def bytes(self) -> int:
        """Everything that moves."""
        return self.dense_bytes + self.expert_bytes + self.cache_bytes + self.state_bytes


def touched(experts: int, chosen: int, batch: int) -> Fraction:
    """Experts of a layer that a step goes through, routing being uniform: E(1 − (1 − k/E)^B).

    ``float(touched(128, 8, 1)) == 8.0``; 32 sequences touch 111.8 of 128.
    """
    missed = Fraction(experts - chosen, experts)
    # Far beyond this all are touched, and the exact fraction would grow without bound.
    return Fraction(experts) * (1 - missed ** min(batch, 512))


def traffic(
    model: Model,
    *,
    weights: Term,
    workload: Workload,
    ctx: int,
    batch: int,
    kv_dtype: str,
    replicas: int = 1,
    routed: int | None = None,
) -> Traffic | None:
    """What a step moves and computes; None where weights, cache or sizes are not known.

    ``weights`` is what the runtime holds, ``replicas`` how often it holds them (data parallel).
    With ``routed``, the sequences of all replicas, they share one set of experts. Llama-3.1-8B in
    bf16 at 8,192 tokens: 15.01 GB of weights without the embedding, and 1.07 GB of cache.
    """
    counts = _parameters(model)
    if model.weights is None or counts is None or not model.cache_known or not model.decoder.layers:
        return None
    dtype = workload.dtype or model.dtype
    sizes = {
        name: size // (1 if routed and name == "experts" else replicas)
        for name, size in component_bytes(model, weights, dtype=dtype).items()
    }
    if "head" not in sizes:
        sizes["head"] = sizes.get("embedding", 0)
        counts["head"] = counts.get("embedding", 0)
    router = routing(model.decoder.text)
    experts = sizes.get("experts", 0)
    if experts and router is None:
        return None
    share = (
        touched(router.experts, router.chosen, routed or batch) / router.experts if router else 1
    )
    dense = sum(size for name, size in sizes.items() if name in _DECODING and name != "experts")
    active = sum(n for name, n in counts.items() if name in _DECODING and name != "experts")
    if router:
        active += counts.get("experts", 0) * router.chosen // router.experts
    cache = cache_reads(model, workload, ctx=ctx, bits=kv_bits(kv_dtype, dtype))
    return Traffic(
        dense_bytes=dense,
        expert_bytes=int(experts * share),
        stored_expert_bytes=experts,
        cache_bytes=batch * cache.read,
        replicated_bytes=batch * cache.latent,
        state_bytes=batch * 2 * cache.state,
        layers=len(model.decoder.layers),
        routed_layers=_routed_layers(model),
        active_parameters=active,
        head_parameters=counts.get("head", 0),
        attention_operations=cache.operations,
        prompt_operations=cache.prompt_operations,
        packing=packing(model, workload, sizes, counts),
        method=workload.quantize or model.quantization or "",
    )


def _routed_layers(model: Model) -> int:
    numbers = {
        number
        for weight in model.weights or ()
        if weight.component == "experts" and weight.loaded
        for number in weight.run.indices() or range(len(model.decoder.layers))
    }
    return min(len(numbers), len(model.decoder.layers))


def _parameters(model: Model) -> dict[str, int] | None:
    if model.parameters is None or model.parameters.total is None:
        return None
    return dict(model.parameters.by_component)


def component_bytes(model: Model, weights: Term, *, dtype: str) -> dict[str, int]:
    """Bytes by component of a weights term; what it does not tell apart is shared as stored."""
    held = dict[str, int]()
    for name, size in _named(weights):
        held[name] = held.get(name, 0) + size
    if "language" in held or "experts" in held:
        return held
    stored = dict[str, int]()
    for run in model.weights or ():
        size = loaded_bytes(run, dtype=dtype, model_type=model.model_type)
        stored[run.component] = stored.get(run.component, 0) + size
    whole = max(1, sum(stored.values()))
    return {name: size * weights.bytes // whole for name, size in stored.items()}


def _named(term: Term) -> Iterator[tuple[str, int]]:
    for part in term.parts:
        name = "head" if part.name == "output" else part.name
        if name in _COMPONENTS:
            yield name, part.bytes
        else:
            yield from _named(part)


def packing(
    model: Model, workload: Workload, sizes: Mapping[str, int], counts: Mapping[str, int]
) -> Packing:
    """How most weights of the layers are held: by their bits, 8 of them being FP8 or integers."""
    layers = ("language", "experts")
    elements = sum(counts.get(name, 0) for name in layers)
    held = sum(sizes.get(name, 0) for name in layers)
    bits = Fraction(8 * held, elements) if elements else Fraction(16)
    if bits > 12:
        return "float"
    if bits <= 7:
        return "int4"
    if workload.quantize is not None:
        return "fp8" if "fp8" in workload.quantize else "int8"
    stored = {run.run.dtype for run in model.weights or () if run.packed}
    return "fp8" if any(name.startswith("F8_E4") for name in stored) else "int8"
