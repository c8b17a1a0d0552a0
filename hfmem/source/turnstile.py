"""Who may ask the Hub now, and by which route: a run of many models keeps within the Hub's quotas.

The Hub announces with every answer what is left of each quota (``routes.py``). A model begins while
there is room for it and for those under way; where no route has room, all wait for the next window.
A model that needs the list while only that quota is used up waits alone, and the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Condition

from hfmem.source.patience import Clock
from hfmem.source.routes import API, NEEDS, Route, affordable, preferred
from hfmem.source.wire import Quota

_SLACK = 1.0
_WINDOWS = 8
"""Windows that a model may find used up; others may spend the same quota."""
_TRIES_ALONE = 3
_ALONE = 2.0
"""Seconds of the first wait for a refusal that no quota explains, doubled each time."""
_LOOK = 0.05


@dataclass(slots=True, kw_only=True)
class Turnstile:
    """Lets a model begin while the quotas have room for it and for those that are under way."""

    quotas: Callable[[], Mapping[str, Quota]]
    announce: Callable[[str, float], None]
    """Told the bucket and the seconds, once a wait."""
    share: float = 1.0
    """Of the quotas, where other processes spend the rest."""
    models: int | None = None
    """That have not begun; None where nobody knows."""
    clock: Clock = field(default_factory=Clock)
    _under_way: dict[Route, int] = field(default_factory=lambda: dict.fromkeys(NEEDS, 0))
    _closed_until: float = 0.0
    _announced_until: float = 0.0
    _stopped: bool = False
    _changed: Condition = field(default_factory=Condition)

    def enter(self, *, again: bool = False) -> Route | None:
        """Wait for room; None when the run has been stopped.

        A model that comes ``again`` was refused, so it may be one that needs the list.
        """
        with self._changed:
            while not self._stopped:
                left = self._closed_until - self.clock.now()
                route = self._route(again=again) if left <= 0 else None
                if route is not None:
                    self._under_way[route] += 1
                    if self.models and not again:
                        self.models -= 1
                    return route
                self._changed.wait(min(left, 1.0) if left > 0 else _LOOK)
            return None

    def leave(self, route: Route) -> None:
        """One that entered is done."""
        with self._changed:
            self._under_way[route] -= 1
            self._changed.notify_all()

    def refused(self, *, times: int) -> bool:
        """The Hub has refused a model for the ``times``-th time: whether it may try once more.

        Where no route is left, nobody enters before the window ends; where only the list cannot be
        had, or no quota explains the refusal, this model waits alone. Call it after ``leave``.
        """
        with self._changed:
            quotas = self._open()
            spent = [quota for quota in quotas.values() if quota.remaining == 0]
            if spent:
                last = max(spent, key=_end)
                if [quota.bucket for quota in spent] == [API]:
                    self._announce(API, last.ends)
                    self._wait(last.ends + _SLACK)
                elif self._closed_until <= self.clock.now():
                    self._close(last)
                return times < _WINDOWS
            if times < _TRIES_ALONE and self._closed_until <= self.clock.now():
                self._wait(self.clock.now() + _ALONE * 2**times)
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

    def _route(self, *, again: bool) -> Route | None:
        """The route that can be paid for; closes where none could be by anybody."""
        quotas = self._open()
        first: Route = "listed" if again else preferred(quotas, models=self.models)
        routes: tuple[Route, ...] = (first,) if again else (first, "unlisted", "listed")
        for route in routes:
            if affordable(route, quotas, self._under_way):
                return route
        if not affordable("unlisted", quotas, dict.fromkeys(NEEDS, 0)):
            short = [quota for quota in quotas.values() if quota.remaining < _most(quota.bucket)]
            if not sum(self._under_way.values()) or any(not quota.remaining for quota in short):
                self._close(max(short, key=_end))
        return None

    def _open(self) -> dict[str, Quota]:
        """The quotas whose window has not ended, by bucket."""
        now = self.clock.now()
        return {
            quota.bucket: quota.share(self.share)
            for quota in tuple(self.quotas().values())
            if quota.ends > now and quota.bucket in NEEDS["listed"]
        }

    def _close(self, quota: Quota) -> None:
        self._closed_until = quota.ends + _SLACK
        self._announce(quota.bucket, quota.ends)

    def _announce(self, bucket: str, ends: float) -> None:
        if self._announced_until < ends:
            self._announced_until = ends + _SLACK
            self.announce(bucket, ends + _SLACK - self.clock.now())

    def _wait(self, until: float) -> None:
        while not self._stopped and (left := until - self.clock.now()) > 0:
            self._changed.wait(left)


def _end(quota: Quota) -> float:
    return quota.ends


def _most(bucket: str) -> int:
    return max(needs[bucket] for needs in NEEDS.values())


def quietly(_bucket: str, _seconds: float) -> None:
    """Announce nothing."""


def words(bucket: str, seconds: float) -> str:
    """A wait in words: ``words("api", 172)`` ends in ``waiting 2 min 52 s``."""
    minutes, rest = divmod(round(seconds), 60)
    span = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    until = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
    return f"The Hub's {bucket} quota is used up: waiting {span}, until {until}."
