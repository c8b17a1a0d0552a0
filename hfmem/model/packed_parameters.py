"""What the packed part of a checkpoint holds: parameters, bits a weight, scales apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from msgspec import Struct

from hfmem.checkpoint.ggml import is_block_type
from hfmem.model.components import Component
from hfmem.model.weights import WeightRun


class PackedPart(Struct, frozen=True, kw_only=True):
    """The packed weights of one component, as stored."""

    component: Component
    formats: tuple[str, ...]
    parameters: int | None
    """None where a format does not tell."""
    weights_bytes: int
    """Of the packed tensors themselves."""
    scales_bytes: int
    """Of their scales, zero points, tables and bookkeeping."""

    @property
    def bits_per_weight(self) -> float | None:
        """Stored bits of a parameter, scales included: 4.25 for MXFP4."""
        return bits_per_weight((self,))


def packed_parts(runs: Iterable[WeightRun]) -> tuple[PackedPart, ...]:
    """The components that have packed weights, the largest first.

    gpt-oss-20b: one, its experts, 19,110,297,600 parameters in 9,555,148,800 bytes with
    597,196,800 bytes of scales, 4.25 bits a weight.
    """
    groups: dict[Component, list[WeightRun]] = defaultdict(list)
    for weight in runs:
        if weight.packed or is_block_type(weight.run.dtype):
            groups[weight.component].append(weight)
    parts = [_part(component, held) for component, held in groups.items()]
    return tuple(sorted(parts, key=lambda part: -part.weights_bytes))


def bits_per_weight(parts: Iterable[PackedPart]) -> float | None:
    """Of several components together; None where a count is unknown or there is nothing."""
    kept = tuple(parts)
    counts = [part.parameters for part in kept]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts) or not sum(known):
        return None
    return sum(part.weights_bytes + part.scales_bytes for part in kept) * 8 / sum(known)


def _part(component: Component, held: list[WeightRun]) -> PackedPart:
    weights = [
        weight for weight in held if weight.role == "weight" or is_block_type(weight.run.dtype)
    ]
    serving = [weight for weight in held if weight not in weights]
    known = all(weight.logical is not None for weight in weights)
    return PackedPart(
        component=component,
        formats=tuple(sorted({weight.format or weight.run.dtype for weight in weights})),
        parameters=sum((weight.logical or 0) * weight.run.count for weight in weights)
        if known
        else None,
        weights_bytes=sum(weight.run.total_bytes for weight in weights),
        scales_bytes=sum(weight.run.total_bytes for weight in serving),
    )
