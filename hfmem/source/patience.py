"""How long the network may take, with a clock that tests can turn."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct


class Clock(Struct, frozen=True, kw_only=True):
    """The time, and the waiting."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Patience(Struct, frozen=True, kw_only=True):
    """Limits in seconds, unless they say otherwise; the defaults keep a failing estimate below half
    a minute and an absent network below three seconds.
    """

    total: float = 25.0
    """For one model, before what its size adds (``bytes_per_second``)."""
    connect: float = 2.0
    """To open a connection."""
    contact: float = 2.3
    """Until the first connection stands, the name's look-up included, which has no time limit of
    its own.
    """
    silence: float = 6.0
    """Without a byte, on an open connection."""
    grace: float = 4.0
    """Of an answer's transfer before ``slowest_bytes_per_second`` counts."""
    slowest_bytes_per_second: float = 2_000.0
    """An answer slower than this is given up; 20 of them at a time share a line of 40 kB/s."""
    bytes_per_second: float = 250_000.0
    """What a model's headers are expected to come in at; more time is allowed accordingly."""
    tries: int = 4
    """Of one question, the first included."""
    backoff: float = 0.3
    """Before the second try; it doubles."""
    hedge: float = 0.8
    """Until the headers are read file by file because the Hub's summary of them has not begun."""


class Deadline(Struct, kw_only=True):
    """The moment at which a model is given up."""

    clock: Clock
    at: float

    @classmethod
    def after(cls, seconds: float, *, clock: Clock) -> Deadline:
        """A deadline ``seconds`` from now."""
        return cls(clock=clock, at=clock.now() + seconds)

    def left(self) -> float:
        """Seconds that are left; negative when it has passed."""
        return self.at - self.clock.now()

    def margin(self) -> float:
        """Seconds to wait for an answer in another thread: one more, for its own error to come."""
        return max(0.0, self.left()) + 1.0

    def extend(self, seconds: float) -> None:
        """Allow for an amount of work that is only known now."""
        self.at += seconds
