"""How far a run is, in words."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hfmem.cli.pace import EVERY, Pace, span


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    pace = Pace(total=1000, done=100, clock=clock)
    for _ in range(600):
        clock.seconds += 0.5
        pace.advance(failed=pace.done == 100)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 300 / EVERY
    # 120 rows in 60 s; 780 are left.
    assert lines[0] == "220 of 1,000 models, 2.0 a second, 6 min 30 s left, 1 failed"


def test_the_rate_is_of_the_last_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    pace = Pace(total=100_000, done=0, clock=clock)
    for seconds in (*[1.0] * 600, *[0.1] * 6000):
        clock.seconds += seconds
        pace.advance(failed=False)
    assert "10.0 a second" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (3725, "1 h 02 min"), (-3, "0 s")],
)
def test_span(seconds: float, words: str) -> None:
    assert span(seconds) == words
