"""What an entry of the table of architectures is, and what resolving one gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

from hfmem.checkpoint.snapshot import Note
from hfmem.model.config import Config
from hfmem.model.layers import Layer, kind_name

CacheRule = Callable[[Config], tuple[Layer, ...]]
"""From the decoder's section to what each of its layers keeps."""


class Architecture(Struct, frozen=True, kw_only=True):
    """A family: the model types that share a rule, and where the rule was read."""

    model_types: tuple[str, ...]
    cache: CacheRule
    source: str
    """File and symbol, such as ``transformers/models/gemma3/configuration_gemma3.py: layer_types``.
    """


class Decoder(Struct, frozen=True, kw_only=True):
    """The part of a model that generates: one cache layer per decoder layer, and the sizes that go
    with them."""

    layers: tuple[Layer, ...]
    text: Config
    """The decoder's own section."""
    model_type: str | None
    """Of the section, or as its class name implies."""
    hidden_size: int | None
    attention_heads: int | None
    """Of the first layer that attends; None where none does (Mamba)."""
    kv_heads: int | None
    head_dim: int | None
    max_context: int | None
    """Tokens; None when the configuration does not bound them."""
    vocab_size: int | None
    resolved_by: Literal["entry", "generic"]
    source: str
    """Of the rule: the entry's, or the keys that the generic rule read."""
    notes: tuple[Note, ...] = ()

    def cache_kinds(self) -> Mapping[str, int]:
        """How many layers keep each kind: ``{"full": 10, "sliding": 52}`` for Gemma-3-27B."""
        return Counter(kind_name(kind) for layer in self.layers for kind in layer)
