"""The precision ladder: what the weights would take in each of the schemes that loaders offer."""

from __future__ import annotations

from msgspec import Struct


class Rung(Struct, frozen=True, kw_only=True):
    """The weights in one scheme, by the loader's rules from the tensors' shapes."""

    scheme: str
    """``as published``, ``bf16``, or a scheme's name."""
    weights_bytes: int
    """On the device; llama.cpp leaves the input embedding with the host."""
    total_bytes: int
    """With the rest of the workload's peak."""
    bits_per_weight: float
    """Of all weights, scales and what stays in 16 bits included."""
    smallest_gpu: str | None = None
    """Id of the smallest card of today that holds it; None when none does."""
    smallest_count: int | None = None
    """How many of ``smallest_gpu``; 1 when a single card holds it."""
    note: str = ""
    """What the scheme leaves alone, or on what it depends."""
