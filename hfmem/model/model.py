"""A model: what a snapshot says, read once, in the terms of the arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from hfmem.checkpoint.snapshot import Note, SourceName
from hfmem.model.architectures import Decoder
from hfmem.model.forward import ForwardPass
from hfmem.model.parameters import Parameters
from hfmem.model.weights import WeightRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Everything that the equation reads. Built by ``hfmem.model.describe``."""

    name: str
    revision: str | None
    source: SourceName
    model_type: str | None
    class_name: str | None
    """First of ``architectures`` in config.json."""
    dtype: str
    """What transformers loads it in by default, as safetensors spells it."""
    decoder: Decoder
    """Cache layers, heads and sizes; of a model without a decoder its layers keep nothing."""
    cache_known: bool
    """False where there is no configuration to tell it."""
    forward: ForwardPass | None
    """What one forward pass computes; None where it is not known."""
    weights: tuple[WeightRun, ...] | None
    """The checkpoint's tensors, classified; None where neither files nor configuration tell
    them."""
    parameters: Parameters | None
    checkpoint_bytes: int | None
    loaded_files: tuple[str, ...]
    notes: tuple[Note, ...]
