"""Runs of many models: order, completeness, quotas, and what one bug may not do."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from hfmem import auditing
from hfmem.answer import Estimate, Failure
from hfmem.auditing import ListItem, Options
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import ModelNotFoundError, RateLimitedError, UsageError
from hfmem.memory.workload import Workload
from hfmem.source import recorded
from hfmem.source.access import Access

ASKED = Options(workload=Workload(ctx=1024), gpus=("24GiB",))


@pytest.fixture(scope="module")
def facts() -> Snapshot:
    found = recorded.bundled("Qwen/Qwen3-8B")
    assert found is not None
    return found


@pytest.fixture
def hub(facts: Snapshot, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Stands where the Hub is: what a model does when it is asked for, by name."""
    does: dict[str, object] = {}

    def find(model: str, access: Access) -> Snapshot:
        act = does.get(model)
        if callable(act):
            act = act()
        if isinstance(act, BaseException):
            raise act
        return facts

    monkeypatch.setattr(auditing, "find", find)
    monkeypatch.delenv("HF_DEBUG", raising=False)
    # No quota is asked for, so that huggingface_hub stays out.
    monkeypatch.setattr(auditing, "_turnstile", lambda *_: lets_everybody_through())
    return does


def lets_everybody_through() -> auditing.Turnstile:
    return auditing.Turnstile(quotas=dict, announce=lambda bucket, seconds: None)


def items(*models: str) -> list[ListItem]:
    return [ListItem(model=model, input={"at": str(at)}) for at, model in enumerate(models)]


def places(answers: Iterator[Estimate | Failure]) -> list[str]:
    return [answer.input["at"] for answer in answers]


@pytest.mark.parametrize("run", [auditing.run, auditing.audit])
def test_rows_come_in_the_order_of_the_list(
    run: Callable[..., Iterator[Estimate | Failure]], hub: dict[str, object]
) -> None:
    hub["slow"] = lambda: time.sleep(0.2)
    hub["gone"] = ModelNotFoundError("gone", hint="")
    models = ("slow", "gone", *(f"m{number}" for number in range(100)))
    assert places(run(items(*models), ASKED)) == [str(number) for number in range(102)]


def test_a_slow_model_holds_up_nobody_where_order_is_not_asked_for(hub: dict[str, object]) -> None:
    others = threading.Event()
    hub["slow"] = lambda: None if others.wait(20) else AssertionError()
    rows = auditing.completed(
        enumerate(items("slow", *(f"m{number}" for number in range(90)))), ASKED
    )
    seen = []
    for number, _ in rows:
        seen.append(number)
        if len(seen) == 90:
            others.set()
    assert (seen[-1], sorted(seen)) == (0, list(range(91)))


def test_a_list_is_drawn_as_it_is_needed(hub: dict[str, object]) -> None:
    drawn = []

    def endless() -> Iterator[ListItem]:
        number = 0
        while True:
            drawn.append(number)
            yield ListItem(model=f"m{number}")
            number += 1

    rows = auditing.audit(endless(), ASKED)
    assert isinstance(next(rows), Estimate)
    rows.close()
    assert len(drawn) <= auditing.WINDOW + 1


def test_a_bug_is_the_row_of_its_model(
    hub: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub["odd"] = ZeroDivisionError("division by zero")
    first, odd, last = auditing.audit(items("a", "odd", "b"), ASKED)
    assert isinstance(first, Estimate)
    assert isinstance(last, Estimate)
    assert isinstance(odd, Failure)
    assert (odd.code, odd.input) == ("internal_error", {"at": "1"})
    assert "ZeroDivisionError" in odd.message
    monkeypatch.setenv("HF_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        list(auditing.audit(items("odd"), ASKED))


def test_a_refused_model_is_asked_again(
    hub: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([RateLimitedError("wait"), RateLimitedError("wait")])
    hub["busy"] = lambda: next(refusals, None)
    times = []
    monkeypatch.setattr(auditing.Turnstile, "refused", lambda self, *, times: record(times))

    def record(number: int) -> bool:
        times.append(number)
        return True

    (row,) = auditing.audit(items("busy"), ASKED)
    assert isinstance(row, Estimate)
    assert times == [1, 2]


def test_an_estimate_does_not_wait(hub: dict[str, object]) -> None:
    hub["busy"] = RateLimitedError("wait", hint="log in")
    (row,) = auditing.run(items("busy"), ASKED)
    assert isinstance(row, Failure)
    assert row.code == "rate_limited"


@pytest.mark.parametrize("run", [auditing.run, auditing.audit])
def test_options_that_fit_no_model_are_refused_at_once(run: Callable[..., object]) -> None:
    with pytest.raises(UsageError):
        run(items("a"), Options(workload=Workload(), gpus=("nosuchcard",)))


def test_a_line_that_names_no_model_stays_in_its_place(hub: dict[str, object]) -> None:
    bad = Failure(model="?", code="invalid_list_line", message="no model", hint="")
    rows = list(auditing.audit([ListItem(model="a"), bad, ListItem(model="b")], ASKED))
    assert rows[1] is bad


def test_the_facts_are_a_folder_away(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (row,) = auditing.audit([ListItem(model=str(tmp_path))], ASKED)
    assert isinstance(row, Failure)


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("leave", ["close", "forget"])
def test_an_audit_can_be_left(hub: dict[str, object], rows: int, leave: str) -> None:
    asked: list[str] = []
    gate = threading.Event()

    def slowly(name: str) -> None:
        asked.append(name)
        if name >= "m05":
            gate.wait(120)

    names = [f"m{number:02}" for number in range(60)]
    hub |= {name: partial(slowly, name) for name in names}
    answers = auditing.audit(iter(items(*names)), ASKED)
    for _ in range(rows):
        next(answers)
    if leave == "close":
        answers.close()
    del answers
    gc.collect()
    gate.set()
    time.sleep(0.1)
    # Those that had begun may end; of the rest none begins.
    assert len(asked) <= 5 + auditing.MODELS_AT_ONCE
