"""The precision ladder: what the weights would take in each of the schemes that loaders offer."""

from __future__ import annotations

from dataclasses import dataclass

from hfmem.memory.quantize.matrices import Kind as LinearKind
from hfmem.memory.quantize.schemes import LADDER, Scheme, scheme

__all__ = ["SCHEMES", "LinearKind", "Rung", "Scheme"]

SCHEMES: tuple[Scheme, ...] = tuple(scheme(name) for name in LADDER)
"""The rungs, by the rules of transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """The weights in one scheme, by the loader's rules from the tensors' shapes."""

    scheme: str
    """``as published``, ``bf16``, or a scheme's name."""
    weights_bytes: int
    total_bytes: int
    """With the rest of the workload's peak."""
    bits_per_weight: float
    smallest_gpu: str | None = None
    """Id of the smallest common card that holds it; None when none does."""
    smallest_count: int | None = None
    """How many of ``smallest_gpu``; 1 when a single card holds it."""
    note: str = ""
    """What the scheme leaves alone, or on what it depends."""
