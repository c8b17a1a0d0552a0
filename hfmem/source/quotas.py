"""What the Hub's answers say of its quotas, and of when to ask again."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Final

from huggingface_hub.utils import httpx, parse_ratelimit_headers

from hfmem.source.wire import Quota, Wire

_WINDOW_SLACK: Final = 4.0
_KEPT: Final = "/resolve-cache/"


def note(wire: Wire, response: httpx.Response) -> None:
    """Keep what an answer of the endpoint says is left of a quota."""
    try:
        seen = parse_ratelimit_headers(response.headers)
    except ValueError:
        # A number of more digits than Python converts.
        return
    if seen is None:
        return
    now = wire.clock.now()
    last = wire.quotas.get(seen.resource_type)
    # Seconds are whole, and an answer takes some: the same window's ends lie close together.
    same = last is not None and abs(last.ends - now - seen.reset_in_seconds) < _WINDOW_SLACK
    wire.quotas[seen.resource_type] = Quota(
        bucket=seen.resource_type,
        remaining=seen.remaining,
        resets_in=seen.reset_in_seconds,
        limit=seen.limit,
        seen=now,
        spent=1 + (last.spent if same and last is not None else 0),
        pays_for_files=_KEPT in response.request.url.path
        or (last is not None and last.pays_for_files),
    )


def announced_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds after which the Hub wants to be asked again.

    ``RateLimit: "api";r=0;t=55`` before ``Retry-After``, as huggingface_hub reads them.
    """
    try:
        quota = parse_ratelimit_headers(headers)
    except ValueError:
        return None
    if quota is not None and quota.remaining == 0:
        return float(quota.reset_in_seconds)
    after = headers.get("retry-after", "").strip()
    if after.isascii() and after.isdigit():
        return float(after[:9])
    try:
        until = parsedate_to_datetime(after)
        now = parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (ValueError, TypeError):
        return None
