"""A checkpoint's tensors in the terms of the arithmetic: component, logical size, what is
loaded."""

from __future__ import annotations

from dataclasses import dataclass

from hfmem.checkpoint.tensor import TensorRun
from hfmem.model.components import Component


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRun:
    """A run of tensors, read once."""

    run: TensorRun
    component: Component
    logical: int | None
    """Logical parameters of one tensor: 0 for a scale, twice the stored elements of a packed 4-bit
    byte; None where the packing is not understood."""
    packed: bool
    """Part of a quantized weight: no loader casts it."""
    loaded: bool
    """False for what no runtime loads by itself: draft layers, a stored copy of tied weights,
    buffers that the code computes."""
