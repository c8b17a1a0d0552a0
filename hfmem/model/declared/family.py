"""What a family of declared tensors is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from hfmem.model.config import Config
from hfmem.model.declared.blocks import Parts

Scheme = Literal["fp8", "mxfp4"]


class Family(Struct, frozen=True, kw_only=True):
    """How the tensors of some model types follow from a configuration."""

    model_types: tuple[str, ...]
    classes: tuple[str, ...]
    """First of ``architectures``; another class has another head, so its tensors are not these."""
    parts: Callable[[Config], Parts | None]
    source: str
    """Below transformers/models in transformers 5.23.0, unless it says otherwise."""
    scheme: Scheme | None = None
    """The one quantization in which the publisher's own files are known to the tensor."""
    dtype: str | None = None
    """What the publisher stores where the configuration does not say."""
