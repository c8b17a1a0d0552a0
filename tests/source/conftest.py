"""A Hub on the loopback interface, and caches of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants
from msgspec import Struct, field

from hfmem.source.patience import Clock
from tests.loopback import LoopbackHub, Running


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    """A Hub without repositories, which is the endpoint of the test."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    with Running() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        yield hub


class StoppedClock(Struct):
    """Time that passes by sleeping alone."""

    seconds: float = 0.0
    waits: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        """Pass the time at once."""
        self.waits.append(seconds)
        self.seconds += seconds

    def clock(self) -> Clock:
        """This clock as the product takes it."""
        return Clock(now=lambda: self.seconds, sleep=self.sleep)


@pytest.fixture
def stopped() -> StoppedClock:
    """A clock that no test waits for."""
    return StoppedClock()
