"""What all questions to the Hub share, over any number of models."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import BoundedSemaphore, Event
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from hfmem.source.patience import Clock, Patience

UNDER_WAY: Final = Event()
"""Set once the process's first question goes out, or the sources have ended without one."""
LANES: Final = 32
"""More wait for Python, not for the network; fewer cost a model of thirty files a round trip."""
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
    spent: int = 0
    """Requests of this process in the window; others may spend the same quota."""
    pays_for_files: bool = False
    """Small files that were asked for without a redirect, or behind one, were counted here."""

    @property
    def ends(self) -> float:
        """When its window ends, by the clock of the wire."""
        return self.seen + self.resets_in

    def share(self, part: float) -> Quota:
        """What this process may still spend of it when it is entitled to a part: of 3,000 requests
        of which it made 700, ``share(0.25)`` leaves 50 while all have more than that left.
        """
        if part >= 1.0 or self.limit is None:
            return self
        own = max(0, int(self.limit * part) - self.spent)
        return replace(self, remaining=min(self.remaining, own))


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
    lanes: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(LANES))
    """Questions under way at a time, over all models."""
    contact: Future[None] = field(default_factory=Future)
    """Done once a connection stands."""

    def touch(self) -> None:
        """Tell ``contact`` that a connection stands."""
        with suppress(InvalidStateError):
            self.contact.set_result(None)
