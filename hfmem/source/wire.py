"""What all questions to the Hub share, over any number of models."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import BoundedSemaphore, Event
from typing import Final

from msgspec import Struct, field

from hfmem.source.patience import Clock, Patience

LANES: Final = 32
"""More wait for Python, not for the network; fewer cost time over a slow round trip."""


DIRECT: Final = "direct"
"""Addresses of small files without a redirect."""


class Quota(Struct, frozen=True, kw_only=True):
    """What the Hub last said of one of its quotas."""

    bucket: str
    """``api``, ``resolvers`` or ``pages``."""
    remaining: int
    resets_in: int
    """Seconds."""
    limit: int | None
    """Requests per window."""
    seen: float
    """By the clock of the wire."""


class Wire(Struct, frozen=True, kw_only=True):
    """What all questions share."""

    endpoint: str
    headers: Mapping[str, str]
    """With the token, which goes to the endpoint only."""
    patience: Patience = field(default_factory=Patience)
    clock: Clock = field(default_factory=Clock)
    quotas: dict[str, Quota] = field(default_factory=dict)
    """By bucket."""
    lacks: set[str] = field(default_factory=set)
    """What the endpoint turned out not to offer: DIRECT."""
    ranges: Event = field(default_factory=Event)
    """Set once a range of a file has come."""
    lanes: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(LANES))
    """Questions under way at a time, over all models."""
    contact: Future[None] = field(default_factory=Future)
    """Done once a connection stands."""

    def touch(self) -> None:
        """Tell ``contact`` that a connection stands."""
        with suppress(InvalidStateError):
            self.contact.set_result(None)
