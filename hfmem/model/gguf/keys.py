"""The keys of a GGUF header, read with the types and ranges that a configuration is read with."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from hfmem.errors import MissingKeyError
from hfmem.model.config import MAX_LAYERS, Config

VOCABULARY = "tokenizer.ggml.tokens"
"""Holds the length of that array, whose items are not kept."""


class Keys(Struct, frozen=True, kw_only=True):
    """The keys of one architecture, named without its prefix: ``attention.head_count``."""

    architecture: str
    own: Config
    blocks: int
    """Layers of the file, those for multi-token prediction included."""
    layers: int
    """Layers that generate."""
    vocab_size: int | None

    def per_layer(self, key: str, default: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """A number for every block: one for all, or an array (llama.cpp: get_key_or_arr).

        Raises MissingKeyError and InvalidValueError.
        """
        found = self.own.value(key)
        if found is None and default is not None:
            return default
        if not isinstance(found, list):
            return (self.own.integer(key, high=2**32),) * self.blocks
        numbers = self.own.integer_list(key, high=2**32) or ()
        if len(numbers) != self.blocks:
            raise self.own.invalid(key, found, f"a list of {self.blocks:,} numbers")
        return numbers

    def flags(self, key: str) -> tuple[bool, ...] | None:
        """A list of true and false, or of 0 and 1, for every layer; None where it is no list."""
        found = self.own.value(key)
        if not isinstance(found, list):
            return None
        if len(found) < self.layers:
            raise self.own.invalid(key, found, f"a list of {self.layers:,}")
        return tuple(bool(item) for item in found[: self.layers])


def read_keys(document: Mapping[str, object]) -> Keys:
    """The keys of the file's architecture. Raises MissingKeyError and InvalidValueError."""
    everything = Config(values=document, model_type="GGUF", where="The GGUF header")
    architecture = everything.text("general.architecture")
    if not architecture:
        raise MissingKeyError(
            "The GGUF header has no general.architecture.",
            hint="The file was not written by a converter of llama.cpp.",
        )
    prefix = f"{architecture}."
    own = Config(
        values={
            key.removeprefix(prefix): value
            for key, value in document.items()
            if key.startswith(prefix)
        },
        model_type=architecture,
        where="The GGUF header",
    )
    vocabulary = everything.integer_or_none(VOCABULARY)
    blocks = own.integer_or_none("block_count", low=1, high=MAX_LAYERS) or 0
    ahead = own.integer_or_none("nextn_predict_layers", high=blocks) or 0
    return Keys(
        architecture=architecture,
        own=own,
        blocks=blocks,
        layers=blocks - ahead,
        vocab_size=own.integer_or_none("vocab_size") or vocabulary,
    )
