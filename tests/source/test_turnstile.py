"""Waiting for the Hub's quotas, by a clock that the tests turn."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from hfmem.source.patience import Clock
from hfmem.source.turnstile import NEEDS, Turnstile, words
from hfmem.source.wire import Quota


@dataclass
class Desk:
    """A clock, the quotas, and what was announced."""

    seconds: float = 1000.0
    quotas: dict[str, Quota] = field(default_factory=dict)
    said: list[tuple[str, float]] = field(default_factory=list)

    def turnstile(self) -> Turnstile:
        return Turnstile(
            quotas=lambda: self.quotas,
            announce=lambda bucket, seconds: self.said.append((bucket, seconds)),
            clock=Clock(now=lambda: self.seconds),
        )

    def left(self, bucket: str, remaining: int, *, resets_in: int = 100) -> None:
        self.quotas[bucket] = Quota(
            bucket=bucket, remaining=remaining, resets_in=resets_in, limit=500, seen=self.seconds
        )


def enters(turnstile: Turnstile) -> bool:
    """Whether somebody is let in within a moment; who waits on is sent home."""
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(turnstile.enter()), daemon=True)
    thread.start()
    thread.join(0.15)
    return bool(done)


def test_nobody_waits_without_a_quota() -> None:
    assert enters(Desk().turnstile())


@pytest.mark.parametrize(
    ("api", "resolvers", "free"),
    [(100, 100, True), (1, 4, True), (0, 100, False), (100, 3, False), (0, 0, False)],
)
def test_room_for_one(api: int, resolvers: int, free: bool) -> None:
    desk = Desk()
    desk.left("api", api)
    desk.left("resolvers", resolvers)
    turnstile = desk.turnstile()
    assert enters(turnstile) is free
    assert bool(desk.said) is not free
    turnstile.stop()


def test_what_is_under_way_is_paid_for_first() -> None:
    desk = Desk()
    desk.left("resolvers", 2 * NEEDS["resolvers"])
    turnstile = desk.turnstile()
    assert enters(turnstile)
    assert enters(turnstile)
    assert not enters(turnstile)
    assert desk.said == []
    turnstile.stop()


def test_the_next_window_opens_the_way() -> None:
    desk = Desk()
    desk.left("api", 0, resets_in=100)
    turnstile = desk.turnstile()
    assert not enters(turnstile)
    assert desk.said == [("api", 101.0)]
    assert turnstile.waits == 101.0
    desk.seconds += 102
    assert turnstile.waits == 0
    assert enters(turnstile)
    turnstile.stop()


def test_a_refusal_closes_for_all_where_a_quota_is_used_up() -> None:
    desk = Desk()
    turnstile = desk.turnstile()
    assert enters(turnstile)
    desk.left("resolvers", 0, resets_in=30)
    assert turnstile.refused(times=1)
    turnstile.leave()
    assert desk.said == [("resolvers", 31.0)]
    assert not enters(turnstile)
    assert turnstile.refused(times=7)
    assert not turnstile.refused(times=8)
    turnstile.stop()


def test_a_refusal_that_no_quota_explains_is_given_up() -> None:
    turnstile = Desk().turnstile()
    assert not turnstile.refused(times=3)
    assert enters(turnstile)


def test_stop_sends_everybody_home() -> None:
    desk = Desk()
    desk.left("api", 0)
    turnstile = desk.turnstile()
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(turnstile.enter()))
    thread.start()
    turnstile.stop()
    thread.join(5)
    assert done == [False]


def test_words() -> None:
    assert words("api", 172).startswith("The Hub's api quota is used up: waiting 2 min 52 s, until")
