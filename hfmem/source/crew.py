"""Threads that wait on the network, and that nobody has to wait for."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")


class Crew:
    """Up to ``size`` calls at a time, on daemon threads that the next crew uses again.

    ``ThreadPoolExecutor`` joins its threads when the interpreter ends, so that a server which
    stalls holds up Ctrl-C and every error for as long as its timeout. These threads are left
    behind; at the end of the ``with`` block the calls that have not started are dropped.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._busy = 0
        self._lock = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._open: set[Future[Any]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.dismiss()

    def dismiss(self) -> None:
        """Drop the calls that have not started."""
        for future in tuple(self._open):
            future.cancel()

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Run ``call`` as soon as a thread is free; the future gets what it returns or raises."""
        future: Future[Result] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        with self._lock:
            self._calls.append(lambda: _settle(future, call))
            hire = self._busy < self._size
            self._busy += hire
        if hire:
            _lend(self._work)
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    self._busy -= 1
                    return
                call = self._calls.popleft()
            call()


# To start a thread is to wait until it has run, which among many that want to run is long.
_lent: SimpleQueue[Callable[[], None]] = SimpleQueue()
_idle = threading.Semaphore(0)


def _lend(work: Callable[[], None]) -> None:
    """Have a thread that is free do the work, or a new one."""
    _lent.put(work)
    if not _idle.acquire(blocking=False):
        threading.Thread(target=_serve, name="hfmem", daemon=True).start()


def _serve() -> None:
    while True:
        _lent.get()()
        _idle.release()


def _settle(future: Future[Result], call: Callable[[], Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        # Raised again in the thread that asks for the result.
        future.set_exception(error)
    else:
        future.set_result(result)
