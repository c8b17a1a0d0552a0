"""Facts that are fetched while the program that asks for them is still being imported.

Half of a short run is imports and the other half waits for the network; side by side they take one
half. Whoever wants the facts takes what was begun, or fetches them if nothing was.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hfmem.checkpoint.snapshot import Snapshot
    from hfmem.source.access import Access

_STANDBY = 0.5
_begun: dict[tuple[str, Access], Future[Snapshot]] = {}


def begin(model: str, access: Access) -> None:
    """Start to fetch a model's facts in a thread that nobody has to wait for."""
    future: Future[Snapshot] = Future()
    _begun[model, access] = future
    threading.Thread(target=_fetch, args=(model, access, future), daemon=True).start()


def stand_by() -> None:
    """Wait until the first question is on its way, half a second at most.

    Two threads that import take turns, so what the caller imports meanwhile would hold the question
    up by as long; what it imports from here on takes no time while the Hub answers.
    """
    from hfmem.source.wire import UNDER_WAY

    UNDER_WAY.wait(_STANDBY)


def find(model: str, access: Access) -> Snapshot:
    """As ``hfmem.source.find``, from what was begun where something was. Raises HfmemError."""
    future = _begun.pop((model, access), None)
    if future is not None:
        return future.result()
    from hfmem.source import access as sources

    return sources.find(model, access)


def _fetch(model: str, access: Access, future: Future[Snapshot]) -> None:
    from hfmem.source.wire import UNDER_WAY

    try:
        from hfmem.source import access as sources

        found = sources.find(model, access)
    except BaseException as error:
        # Raised again where the facts are wanted.
        future.set_exception(error)
    else:
        future.set_result(found)
    finally:
        UNDER_WAY.set()
