"""What came instead of an answer, and whether, when and how often to ask again."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import httpx

from hfmem.errors import (
    CheckpointError,
    ConfigError,
    HfmemError,
    HubUnavailableError,
    RateLimitedError,
)
from hfmem.source.patience import Deadline
from hfmem.source.wire import Wire
from hfmem.text import clean

Result = TypeVar("Result")


class FaultError(Exception):
    """Something other than an answer came; ``retry`` decides what follows."""

    def __init__(
        self,
        came: str,
        *,
        tries: int = 100,
        wait: float | None = None,
        limited: bool = False,
        error: HfmemError | HfHubHTTPError | None = None,
    ) -> None:
        super().__init__(came)
        self.came = came
        self.tries = tries
        """After so many it is final."""
        self.wait = wait
        """Seconds, where the server says so."""
        self.limited = limited
        self.error = error
        """What is raised in the end, where it is known."""


def retry(
    wire: Wire,
    attempt: Callable[[], Result],
    *,
    what: str,
    deadline: Deadline,
    tries: int | None = None,
) -> Result:
    """Call ``attempt`` until it returns, nothing more can be expected of it, or the time is up.

    ``what`` names in words what is asked for. Raises HubUnavailableError, RateLimitedError,
    OfflineError, huggingface_hub's HfHubHTTPError where the endpoint itself refuses, and the
    HfmemError with which ``attempt`` refuses an answer twice: a damaged transfer is not repeated.
    """
    tries = tries or wire.patience.tries
    for number in range(1, tries + 1):
        try:
            return attempt()
        except (FaultError, CheckpointError, ConfigError) as error:
            fault = error if isinstance(error, FaultError) else FaultError("", tries=2, error=error)
        backoff = wire.patience.backoff * 2 ** (number - 1) * random.uniform(0.8, 1.2)
        wait = backoff if fault.wait is None else fault.wait
        if number >= min(tries, fault.tries) or wait >= deadline.left():
            raise _final(wire, fault, what=what, wait=wait, tries=number) from None
        wire.clock.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _final(
    wire: Wire, fault: FaultError, *, what: str, wait: float, tries: int
) -> HfmemError | HfHubHTTPError:
    """The one error that is told, with what was asked and what came."""
    if fault.error is not None:
        return fault.error
    host = clean(httpx.URL(wire.endpoint).host, limit=80)
    if fault.limited:
        return RateLimitedError(
            f"The quota of {host} is used up: asked for {what}, it says to wait {wait:,.0f} s.",
            hint="Wait, or log in with `hf auth login`: an account has a larger quota.",
        )
    if not wire.contact.done():
        return unreachable(wire, fault.came)
    times = "once" if tries == 1 else f"{tries} times"
    return HubUnavailableError(
        f"{host} did not give {what}: asked {times}, the last answer was {fault.came}.",
        hint="Try again later; `--offline` uses what is cached.",
    )


def unreachable(wire: Wire, came: str) -> HubUnavailableError:
    """The error for an endpoint that nothing connects to."""
    return HubUnavailableError(
        f"{clean(httpx.URL(wire.endpoint).host, limit=80)} cannot be reached: {came}.",
        hint="Check the network, the proxy and HF_ENDPOINT; `--offline` uses what is cached.",
    )
