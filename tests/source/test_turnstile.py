"""Waiting for the Hub's quotas, by a clock that the tests turn."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest
from msgspec.structs import replace

from hfmem.source.patience import Clock
from hfmem.source.routes import NEEDS, Route, affordable, preferred
from hfmem.source.turnstile import Turnstile, words
from hfmem.source.wire import Quota


@dataclass
class Desk:
    """A clock, the quotas, and what was announced."""

    seconds: float = 1000.0
    quotas: dict[str, Quota] = field(default_factory=dict)
    said: list[tuple[str, float]] = field(default_factory=list)

    def turnstile(self, models: int | None = None) -> Turnstile:
        return Turnstile(
            models=models,
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
    done: list[Route | None] = []
    thread = threading.Thread(target=lambda: done.append(turnstile.enter()), daemon=True)
    thread.start()
    thread.join(0.15)
    return bool(done)


def quota(bucket: str, remaining: int) -> Quota:
    return Quota(bucket=bucket, remaining=remaining, resets_in=100, limit=None, seen=0.0)


# (api and resolvers that are left, models that are left) → the route; None is what nobody said.
@pytest.mark.parametrize(
    ("api", "resolvers", "models", "route"),
    [
        # Whole windows: the plentiful quota first, the list only for a run that it can pay for.
        (500, 3000, 10_000, "unlisted"),
        (500, 3000, None, "unlisted"),
        (500, 3000, 250, "listed"),
        (500, 3000, 251, "unlisted"),
        # From here the rest of both is used up by listed models: 500 api, 1,000 resolvers.
        (500, 1001, 10_000, "unlisted"),
        (500, 1000, 10_000, "listed"),
        (0, 3, 10_000, "unlisted"),
        (0, 0, 10_000, "listed"),
        (None, 3000, 10_000, "listed"),
        (None, None, None, "listed"),
        (500, None, 10_000, "unlisted"),
    ],
)
def test_the_plentiful_quota_is_spent_first(
    api: int | None, resolvers: int | None, models: int | None, route: Route
) -> None:
    left = {"api": api, "resolvers": resolvers}
    quotas = {name: quota(name, number) for name, number in left.items() if number is not None}
    assert preferred(quotas, models=models) == route


def test_files_that_the_lists_quota_pays_for() -> None:
    api = replace(quota("api", 500), pays_for_files=True)
    quotas = {"api": api, "resolvers": quota("resolvers", 900)}
    # 500 lists and 500 files are 500 models without their lists, and half as many with them.
    assert preferred(quotas, models=10_000) == "unlisted"
    assert preferred(quotas, models=166) == "listed"
    assert affordable("unlisted", quotas, {"unlisted": 299})
    spent = {**quotas, "api": replace(api, remaining=0)}
    assert not affordable("unlisted", spent, {})


def test_a_window_has_room_for_about_eleven_hundred_models() -> None:
    """3,000 resolver and 500 api requests: (3,000 - 2 * 500) / 3 + 500, as routes.py counts."""
    left = {"api": 500, "resolvers": 3000}
    spent: dict[Route, dict[str, int]] = {
        "unlisted": {"api": 0, "resolvers": 3},
        "listed": {"api": 1, "resolvers": 2},
    }
    models = 0
    while True:
        quotas = {name: quota(name, number) for name, number in left.items()}
        route = preferred(quotas, models=10_000)
        if any(number < spent[route][name] for name, number in left.items()):
            break
        left = {name: number - spent[route][name] for name, number in left.items()}
        models += 1
    assert models == 1166


def test_what_is_under_way_is_owed() -> None:
    quotas = {"resolvers": quota("resolvers", 6), "api": quota("api", 0)}
    assert affordable("unlisted", quotas, {"unlisted": 1})
    assert not affordable("unlisted", quotas, {"unlisted": 1, "listed": 1})
    assert not affordable("listed", quotas, {})


def test_nobody_waits_without_a_quota() -> None:
    assert enters(Desk().turnstile())


@pytest.mark.parametrize(
    ("api", "resolvers", "free"),
    [
        (100, 100, True),
        (1, 4, True),
        (0, 100, True),
        (100, 3, True),
        (100, 2, False),
        (0, 0, False),
    ],
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
    desk.left("resolvers", 2 * NEEDS["unlisted"]["resolvers"])
    turnstile = desk.turnstile()
    assert enters(turnstile)
    assert enters(turnstile)
    assert not enters(turnstile)
    assert desk.said == []
    turnstile.stop()


def test_the_next_window_opens_the_way() -> None:
    desk = Desk()
    desk.left("resolvers", 0, resets_in=100)
    turnstile = desk.turnstile()
    assert not enters(turnstile)
    assert desk.said == [("resolvers", 101.0)]
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
    turnstile.leave("listed")
    assert turnstile.refused(times=1)
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
    desk.left("resolvers", 0)
    turnstile = desk.turnstile()
    done: list[Route | None] = []
    thread = threading.Thread(target=lambda: done.append(turnstile.enter()))
    thread.start()
    turnstile.stop()
    thread.join(5)
    assert done == [None]


@pytest.mark.parametrize(
    ("part", "limit", "remaining", "spent", "left"),
    [
        (1.0, 3000, 2000, 900, 2000),
        (0.25, 3000, 2000, 700, 50),
        (0.25, 3000, 20, 700, 20),
        (0.25, 3000, 2000, 800, 0),
        (0.25, None, 2000, 800, 2000),
    ],
)
def test_a_share_of_a_quota(
    part: float, limit: int | None, remaining: int, spent: int, left: int
) -> None:
    whole = Quota(
        bucket="api", remaining=remaining, resets_in=1, limit=limit, seen=0.0, spent=spent
    )
    assert whole.share(part).remaining == left


def test_a_share_that_is_used_up_waits_for_the_window() -> None:
    desk = Desk()
    desk.quotas["resolvers"] = Quota(
        bucket="resolvers", remaining=900, resets_in=60, limit=1000, seen=desk.seconds, spent=99
    )
    turnstile = desk.turnstile()
    turnstile.share = 0.1
    assert not enters(turnstile)
    assert desk.said == [("resolvers", 61.0)]
    turnstile.stop()


def test_a_model_that_needs_the_list_waits_alone() -> None:
    desk = Desk()
    turnstile = desk.turnstile()
    desk.left("api", 0, resets_in=100)
    desk.left("resolvers", 1000)
    done: list[bool] = []
    refused = threading.Thread(target=lambda: done.append(turnstile.refused(times=1)), daemon=True)
    refused.start()
    refused.join(0.15)
    assert done == []
    assert desk.said == [("api", 101.0)]
    assert turnstile.waits == 0
    assert enters(turnstile)
    turnstile.stop()
    refused.join(5)
    assert done == [True]


def test_words() -> None:
    assert words("api", 172).startswith("The Hub's api quota is used up: waiting 2 min 52 s, until")
