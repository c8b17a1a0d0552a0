"""The vocabulary of the activation model: a step, an instant of it, and what is alive then."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

TRANSFORMERS: Final = "transformers 5.23"
"""Whose code every instant was read from."""


class Part(Struct, frozen=True, kw_only=True):
    """One kind of tensor that is alive at an instant."""

    name: str
    bytes: int
    what: str
    """In words, what the elements are, or the whole reason where there is no formula."""
    rows: int = 0
    elements: int = 0
    """Of each row."""
    width: int = 0
    """Bytes of an element; 0 where ``bytes`` is no product."""
    source: str = ""
    """The code that holds it; empty where it is the family's own modeling file."""

    @property
    def because(self) -> str:
        """The formula with its numbers; put into words only for the instant that is shown."""
        if not self.width:
            return self.what
        formula = f"{self.rows:,} rows × {self.elements:,} elements × {self.width} bytes"
        return f"{formula}: {self.what}"


class Instant(Struct, frozen=True, kw_only=True):
    """A moment of a layer and what it holds beside the whole pass's inputs."""

    name: str
    parts: tuple[Part, ...]
    stored: bool = True
    """Whether the layer's own keys and values are in the cache by then."""


class Step(Struct, frozen=True, kw_only=True):
    """One call of the model."""

    queries: int
    """New tokens of a sequence: the prompt, or 1."""
    keys: int
    """Tokens of a sequence after the call."""
    batch: int
    width: int
    """Bytes of an element in the model's dtype."""
    attention: Literal["sdpa", "flash", "eager"]
    device: Literal["cuda", "rocm", "mps", "cpu"]
    fused_recurrence: bool

    @property
    def rows(self) -> int:
        """New tokens of all sequences."""
        return self.batch * self.queries

    @property
    def pairs(self) -> int:
        """Query and key pairs of one head, of all sequences."""
        return self.batch * self.queries * self.keys


def part(name: str, rows: int, elements: int, width: int, what: str, *, source: str = "") -> Part:
    """``part("logits", 1, 128_256, 2, "…").bytes == 256_512``; rows × elements × bytes."""
    return Part(
        name=name,
        bytes=rows * elements * width,
        what=what,
        rows=rows,
        elements=elements,
        width=width,
        source=source,
    )
