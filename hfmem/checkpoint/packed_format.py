"""What is to be said of a format of quantized weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from msgspec import Struct

from hfmem.checkpoint.quantization import Quantization
from hfmem.checkpoint.tensor import TensorRun

Role = Literal["weight", "scale", "zero_point", "bookkeeping", "plain"]


class Family(Struct, frozen=True, kw_only=True):
    """A packed weight with what belongs to it."""

    weight: TensorRun
    parts: Mapping[str, TensorRun]
    """By the suffix of the format."""
    module: str
    """The weight's module, with the first numbers put in."""
    settings: Quantization


class Format(Struct, frozen=True, kw_only=True):
    """One way to pack weights."""

    name: str
    weight: str
    """Suffix of the packed tensor; the parts have theirs in its place."""
    dtypes: frozenset[str]
    """Stored types of the packed tensor."""
    needs: tuple[str, ...]
    """Parts of which one must be there, or it is another format."""
    parts: Mapping[str, Role]
    logical: Callable[[Family], int | None]
    """Parameters of one packed tensor; None where neither shapes nor settings tell."""
    source: str
