"""A crew runs so many calls at a time, drops what has not started, and uses its threads again."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from hfmem.source.crew import Crew

PATIENCE = 5.0


def test_no_more_than_its_size_at_a_time() -> None:
    gate, inside = threading.Barrier(3), threading.Semaphore(0)

    def call() -> None:
        inside.release()
        gate.wait(PATIENCE)

    with Crew(2) as crew:
        futures = [crew.submit(call) for _ in range(4)]
        for _ in range(2):
            assert inside.acquire(timeout=PATIENCE)
        assert not inside.acquire(blocking=False)
        gate.wait(PATIENCE)
        for _ in range(2):
            assert inside.acquire(timeout=PATIENCE)
        gate.wait(PATIENCE)
        for future in futures:
            future.result(PATIENCE)


def test_what_has_not_started_is_dropped() -> None:
    began, go = threading.Event(), threading.Event()

    def call() -> bool:
        began.set()
        return go.wait(PATIENCE)

    with Crew(1) as crew:
        running = crew.submit(call)
        waiting = crew.submit(lambda: "never")
        assert began.wait(PATIENCE)
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE)
    go.set()
    assert running.result(PATIENCE)


def test_an_error_comes_out_where_it_is_asked_for() -> None:
    def call() -> None:
        raise ValueError("why")

    with Crew(1) as crew, pytest.raises(ValueError, match="why"):
        crew.submit(call).result(PATIENCE)


def test_threads_are_used_again() -> None:
    def of_one() -> int:
        with Crew(1) as crew:
            return crew.submit(threading.get_ident).result(PATIENCE)

    before = threading.active_count()
    for _ in range(50):
        of_one()
    # A thread may still be on its way back when the next call comes.
    assert threading.active_count() - before < 10
