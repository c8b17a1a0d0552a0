"""How far a long run is: a bar on a terminal, a line a minute elsewhere, both on standard error."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from msgspec import Struct, field

from hfmem.cli.errors import remark

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 60.0
"""Seconds between two lines."""
_RECENT = 300.0
"""Seconds over which the rate is taken: a window of the Hub's quotas."""


class Pace(Struct, kw_only=True):
    """Rows done, the rate, and the time that is left."""

    total: int
    done: int
    failed: int = 0
    clock: Callable[[], float] = time.monotonic
    bar: tuple[Progress, TaskID] | None = None
    _marks: list[tuple[float, int]] = field(default_factory=list)
    _next_line: float = 0.0

    def __post_init__(self) -> None:
        now = self.clock()
        self._marks.append((now, self.done))
        self._next_line = now + EVERY

    def advance(self, *, failed: bool) -> None:
        """One row more."""
        self.done += 1
        self.failed += failed
        now = self.clock()
        if now - self._marks[-1][0] >= 1.0:
            self._marks.append((now, self.done))
            if now - self._marks[0][0] > _RECENT and len(self._marks) > 2:
                del self._marks[0]
        if self.bar is not None:
            progress, task = self.bar
            progress.update(task, completed=self.done, words=self._words(now))
        elif now >= self._next_line and self.done < self.total:
            self._next_line = now + EVERY
            remark(f"{self.done:,} of {self.total:,} models, {self._words(now)}")

    def _words(self, now: float) -> str:
        since, before = self._marks[0]
        if now - since < 1.0 or self.done == before:
            rate = ""
        else:
            per_second = (self.done - before) / (now - since)
            left = (self.total - self.done) / per_second
            rate = f"{per_second:.1f} a second, {span(left)} left"
        failures = f"{self.failed:,} failed" if self.failed else ""
        return ", ".join(filter(None, (rate, failures))) or "the first are under way"


def span(seconds: float) -> str:
    """A duration in two units: ``span(3_725) == "1 h 02 min"``."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    if whole >= 60:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole} s"


@contextmanager
def paced(*, total: int, done: int) -> Iterator[Pace]:
    """The pace of a run, shown while the block lasts; other lines come above the bar."""
    quiet = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in {"1", "ON", "YES", "TRUE"}
    if quiet or total < 2 or sys.stderr is None or not sys.stderr.isatty():
        yield Pace(total=total, done=done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[words]}", style="dim", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("models", total=total, completed=done, words="")
        yield Pace(total=total, done=done, bar=(progress, task))
