"""Who may ask the Hub now: a run of many models keeps within the Hub's quotas by waiting.

The Hub counts two kinds of requests in windows of five minutes, ``api`` (listings) and
``resolvers`` (files), and announces with every answer what is left of each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Condition

from msgspec import Struct, field

from hfmem.source.patience import Clock
from hfmem.source.wire import Quota

NEEDS: Mapping[str, int] = {"api": 1, "resolvers": 4}
"""Requests that a model in one file makes at most; a redirect counts as one."""
_SLACK = 1.0
_WINDOWS = 8
"""Windows that a model may find used up; others may spend the same quota."""
_TRIES_ALONE = 3
_ALONE = 2.0
"""Seconds of the first wait for a refusal that no quota explains, doubled each time."""


class Turnstile(Struct, kw_only=True):
    """Lets a model begin while the quotas have room for it and for those that are under way."""

    quotas: Callable[[], Mapping[str, Quota]]
    announce: Callable[[str, float], None]
    """Told the bucket and the seconds, once a wait."""
    clock: Clock = field(default_factory=Clock)
    _under_way: int = 0
    _closed_until: float = 0.0
    _stopped: bool = False
    _changed: Condition = field(default_factory=Condition)

    def enter(self) -> bool:
        """Wait for room; False when the run has been stopped."""
        with self._changed:
            while not self._stopped:
                left = self._closed_until - self.clock.now()
                if left <= 0 and self._has_room():
                    self._under_way += 1
                    return True
                self._changed.wait(min(left, 1.0) if left > 0 else 0.05)
            return False

    def leave(self) -> None:
        """One that entered is done."""
        with self._changed:
            self._under_way -= 1
            self._changed.notify_all()

    def refused(self, *, times: int) -> bool:
        """The Hub has refused a model for the ``times``-th time: whether it may try once more.

        Where a quota is used up, nobody enters before its window ends. Where none is, the refusal
        was for this model, which waits alone.
        """
        with self._changed:
            spent = [quota for quota in self._open() if quota.remaining == 0]
            if spent:
                last = max(spent, key=lambda quota: quota.seen + quota.resets_in)
                if self._closed_until <= self.clock.now():
                    self._close(last.bucket, last.seen + last.resets_in)
                return times < _WINDOWS
            if times < _TRIES_ALONE and self._closed_until <= self.clock.now():
                until = self.clock.now() + _ALONE * 2**times
                while not self._stopped and (left := until - self.clock.now()) > 0:
                    self._changed.wait(left)
            return times < _TRIES_ALONE

    def stop(self) -> None:
        """Let everybody go home."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    @property
    def waits(self) -> float:
        """Seconds until somebody may enter again; 0 while the way is free."""
        return max(0.0, self._closed_until - self.clock.now())

    def _has_room(self) -> bool:
        """Whether one more model can be paid for; closes where not even one alone could."""
        for quota in self._open():
            needs = NEEDS.get(quota.bucket, 0)
            if quota.remaining < needs:
                if self._under_way == 0 or quota.remaining == 0:
                    self._close(quota.bucket, quota.seen + quota.resets_in)
                return False
            # What is under way may not have been counted yet.
            if self._under_way and quota.remaining < needs * (self._under_way + 1):
                return False
        return True

    def _open(self) -> list[Quota]:
        """The quotas whose window has not ended."""
        now = self.clock.now()
        return [q for q in tuple(self.quotas().values()) if q.seen + q.resets_in > now]

    def _close(self, bucket: str, until: float) -> None:
        self._closed_until = until + _SLACK
        self.announce(bucket, self._closed_until - self.clock.now())


def quietly(_bucket: str, _seconds: float) -> None:
    """Announce nothing."""


def words(bucket: str, seconds: float) -> str:
    """A wait in words: ``words("api", 172)`` ends in ``waiting 2 min 52 s``."""
    minutes, rest = divmod(round(seconds), 60)
    span = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    until = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    return f"The Hub's {bucket} quota is used up: waiting {span}, until {until}."
