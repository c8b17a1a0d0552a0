"""The command line with the arithmetic and the network taken out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hfmem import auditing
from hfmem.answer import Estimate, Failure

_REPORT = Path(__file__).parent.parent / "report" / "conftest.py"
_spec = importlib.util.spec_from_file_location("answers_by_hand", _REPORT)
assert _spec is not None
assert _spec.loader is not None
by_hand = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(by_hand)

make_estimate = by_hand.make_estimate
make_failure = by_hand.make_failure
make_fit = by_hand.make_fit
make_gpu = by_hand.make_gpu


@dataclass
class Desk:
    """What was asked, and what is answered."""

    answers: dict[str, Estimate | Failure | BaseException] = field(default_factory=dict)
    """By model; a model that is not in it gets an estimate."""
    asked: list[tuple[tuple[str, ...], auditing.Options]] = field(default_factory=list)

    def run(
        self, items: Iterable[auditing.ListItem | Failure], options: auditing.Options
    ) -> Iterator[Estimate | Failure]:
        kept = tuple(items)
        self.asked.append((tuple(item.model for item in kept), options))
        return self._stream(kept, options)

    def completed(
        self,
        items: Iterable[tuple[int, auditing.ListItem | Failure]],
        options: auditing.Options,
        **_: object,
    ) -> Iterator[tuple[int, Estimate | Failure]]:
        numbers, kept = zip(*items, strict=True) if (items := tuple(items)) else ((), ())
        self.asked.append((tuple(item.model for item in kept), options))
        return zip(numbers, self._stream(kept, options), strict=False)

    def _stream(
        self, items: tuple[auditing.ListItem | Failure, ...], options: auditing.Options
    ) -> Iterator[Estimate | Failure]:
        for item in items:
            if isinstance(item, Failure):
                yield item
                continue
            answer = self.answers.get(item.model)
            if answer is None:
                answer = by_hand.estimate(item.model, workload=options.workload, columns=item.input)
            if isinstance(answer, BaseException):
                raise answer
            yield answer


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Stands where ``auditing.run`` is."""
    desk = Desk()
    monkeypatch.setattr(auditing, "run", desk.run)
    monkeypatch.setattr(auditing, "audit", lambda items, options, **_: desk.run(items, options))
    monkeypatch.setattr(auditing, "completed", desk.completed)
    return desk


@dataclass(frozen=True)
class Outcome:
    """What a command line printed and returned."""

    code: int
    out: str
    err: str


@pytest.fixture
def hfmem(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Runs a command line in this process; a bug is raised."""
    from hfmem.cli import main

    monkeypatch.setenv("HF_DEBUG", "1")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> Outcome:
        code = main(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def _nothing_begins_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts come from the desk; what would be fetched ahead is not."""
    monkeypatch.setattr("hfmem.cli.early.begin", lambda model, access: None)
