"""Threads that wait on the network, and that nobody has to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

Result = TypeVar("Result")


class Crew:
    """Up to ``size`` daemon threads, started as the calls come.

    ``ThreadPoolExecutor`` joins its threads when the interpreter ends, so that a server which
    stalls holds up Ctrl-C and every error for as long as its timeout. These threads are left
    behind; at the end of the ``with`` block the calls that have not started are dropped.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._threads = 0
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
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
        """Drop the calls that have not started, and let the threads end."""
        for future in tuple(self._open):
            future.cancel()
        for _ in range(self._threads):
            self._calls.put(None)

    def submit(self, call: Callable[[], Result]) -> Future[Result]:
        """Run ``call`` as soon as a thread is free; the future gets what it returns or raises."""
        future: Future[Result] = Future()
        self._open.add(future)
        future.add_done_callback(self._open.discard)
        self._calls.put(lambda: _settle(future, call))
        if self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._work, name="hfmem", daemon=True).start()
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()


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
