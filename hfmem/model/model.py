"""A model: what a snapshot says, read once, in the terms of the arithmetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note, SourceName
from hfmem.model.architectures import Decoder
from hfmem.model.forward import ForwardPass
from hfmem.model.parameters import Parameters
from hfmem.model.weights import WeightRun

if TYPE_CHECKING:
    from hfmem.checkpoint.gguf_files import GgufListing
    from hfmem.model.media import EncoderPass


class Model(Struct, frozen=True, kw_only=True, eq=False):
    """Everything that the equation reads. Built by ``hfmem.model.describe``.

    Equal to itself alone, so that what follows from a model is remembered by it.
    """

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
    encoders: tuple[EncoderPass, ...] = ()
    """Passes that every sequence takes before the decoder, whatever it brings: Whisper's over 30
    seconds. Empty too where their code is not described."""
    weights: tuple[WeightRun, ...] | None
    """The checkpoint's tensors, classified; None where neither files nor configuration tell
    them."""
    unpacked: tuple[WeightRun, ...] | None = None
    """The tensors as they were before any packing: ``weights`` itself where nothing is packed, the
    declared ones where they are known, else None."""
    pipeline: str | None = None
    """The class of a diffusers pipeline, whose weights are its components'; None for a model."""
    quantization: str | None = None
    """``quant_method`` of a packed checkpoint, as written."""
    kv_scheme: str | None = None
    """The type that a quantized checkpoint asks for its KV cache: ``fp8``, ``nvfp4``."""
    parameters: Parameters | None
    gguf_architecture: str | None = None
    """``general.architecture`` of a GGUF file; None for other formats."""
    gguf_listing: GgufListing | None = None
    """What the repository of a GGUF file offers; None for other formats."""
    checkpoint_bytes: int | None
    loaded_files: tuple[str, ...]
    reconstructed: bool = False
    """As the snapshot says of its facts."""
    notes: tuple[Note, ...]

    @property
    def is_read(self) -> bool:
        """Whether the tensors were read from files, and not put together from a configuration."""
        return bool(self.loaded_files) and not self.reconstructed
