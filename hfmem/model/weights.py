"""A checkpoint's tensors in the terms of the arithmetic: component, logical size, what is
loaded."""

from __future__ import annotations

from msgspec import Struct

from hfmem.checkpoint.packed_format import Role
from hfmem.checkpoint.tensor import TensorRun
from hfmem.model.components import Component

ADAPTER = "adapter"
"""The module of a PEFT adapter's tensors."""


class WeightRun(Struct, frozen=True, kw_only=True):
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
    format: str | None = None
    """The name of the packed format that it is part of; None for a plain tensor."""
    role: Role = "plain"
    """What it is in that format: the packed weight, its scales, zero points, bookkeeping."""
    module: str = ""
    """The pipeline component, sentence-transformers module or adapter that holds it; empty for the
    model itself."""


def module_of(name: str) -> str:
    """The folder of a pipeline's or a sentence-transformers model's part, from a tensor's name.

    ``module_of("unet/conv_in.weight") == "unet"``; a tensor of the model itself has none.
    """
    folder, slash, _ = name.rpartition("/")
    return folder if slash else ""
