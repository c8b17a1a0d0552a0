"""What a model that sees or hears is made of: a decoder, and what stands beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from hfmem.model.config import Config
from hfmem.model.declared import towers, vision
from hfmem.model.declared.blocks import (
    NotDeclaredError,
    Parts,
    linear,
    under,
)
from hfmem.model.declared.families import text_parts
from hfmem.model.declared.style import Rule
from hfmem.model.tying import tied

TOWERS: Mapping[str, Rule] = {
    "clip_vision_model": vision.clip,
    "siglip_vision_model": vision.siglip,
    "siglip2_vision_model": vision.siglip2,
    "pixtral": towers.pixtral,
    "internvl_vision": towers.internvl,
}
"""What a wrapper of any tower may hold, by the tower's model type."""


def section(config: Config, key: str) -> Config:
    """A section that the family cannot do without."""
    found = config.section(key)
    if found is None:
        raise NotDeclaredError
    return found


def width(config: Config, key: str = "text_config") -> int:
    """The decoder's hidden size."""
    return section(config, key).integer("hidden_size", low=1)


def tower(config: Config, key: str = "vision_config") -> Parts:
    """The tower that a section's model type names."""
    found = section(config, key)
    build = TOWERS.get(found.model_type or "")
    if build is None:
        raise NotDeclaredError
    return build(found)


def decoder(config: Config, *, key: str = "text_config") -> Parts:
    """The decoder of a wrapper, named as if it stood alone."""
    text = section(config, key)
    found = text_parts(text.with_values({"tie_word_embeddings": tied(config, text)}))
    if found is None:
        raise NotDeclaredError
    return found


class Wrapper(Struct, frozen=True, kw_only=True):
    """A decoder with something beside it; calling it gives the tensors."""

    beside: Rule
    inside: bool = True
    """Named as transformers 5 saves: below ``model.language_model``, the head outside. Otherwise
    the whole decoder is below ``language_model``."""

    def __call__(self, config: Config) -> Parts:
        """The decoder, renamed, and what stands beside it."""
        own = decoder(config)
        named = inner(own) if self.inside else under("language_model", own)
        return (*named, *self.beside(config))


def inner(parts: Parts) -> Parts:
    """``model.`` becomes ``model.language_model.``; a head stays outside."""
    return tuple(
        part._replace(name=re.sub(r"^(?:model|backbone)\.", "model.language_model.", part.name))
        for part in parts
    )


def two_layers(config: Config, entry: int, *, bias: bool) -> Parts:
    """A projector of two linear layers, from ``entry`` to the language model's width."""
    output = width(config)
    return (
        *linear("linear_1", output, entry, bias=bias),
        *linear("linear_2", output, output, bias=bias),
    )
