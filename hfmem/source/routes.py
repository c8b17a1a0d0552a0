"""Which of the Hub's two quotas a model is asked of.

The Hub counts requests in windows of five minutes: ``api`` is all below /api/ (500 without an
account, 1,000 with one), ``resolvers`` the files (3,000 and 5,000; hub documentation, rate limits).
A redirect counts, what the CDN answers does not. Resolvers are paths with /resolve/ in them; where
the address behind a small file's redirect (/api/resolve-cache/, an endpoint of the Hub's OpenAPI
description) is counted is not documented: it is taken for ``resolvers`` until the headers of an
answer say ``api``. A model in one file can be had in three ways:

- ``at once``: its list, config.json and the start of model.safetensors side by side, in two round
  trips: 1 api, 3 resolvers. The fastest for one model.
- ``listed``: the list first, then config.json from where the Hub keeps it for that commit, which
  saves the redirect: 1 api, 2 resolvers.
- ``unlisted``: config.json and the start of model.safetensors alone, whose answers tell commit and
  sizes: 3 resolvers. The list follows where they leave a doubt (``unlisted.py``), so that a model
  in shards, in another format or under another name costs what it costs ``at once``.

An audit spends resolvers first, because only they are plentiful and only the list tells what a
model in shards is made of. When what is left of them is just what the api quota could use up with
``listed`` models, it goes over to these. Of whole windows without an account that makes
(3,000 - 2 * 500) / 3 + 500 = 1,166 models in one file. A run whose models the api quota covers is
``listed`` from the first to the last: the list also tells how large the repository is. Should small
files be counted as ``api``, that quota is the scarce one, and all but short runs are ``unlisted``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from hfmem.source.wire import Quota

Route = Literal["at once", "listed", "unlisted"]

API: Final = "api"
RESOLVERS: Final = "resolvers"
NEEDS: Final[Mapping[Route, Mapping[str, int]]] = {
    "at once": {API: 2, RESOLVERS: 3},
    "listed": {API: 2, RESOLVERS: 3},
    "unlisted": {API: 0, RESOLVERS: 3},
}
"""Requests of a small model at most: the second of ``api`` is the summary of a model in shards, the
third of ``listed`` the redirect where there is no address without one."""
_RESOLVERS_OF_LISTED: Final = 2


def preferred(quotas: Mapping[str, Quota], *, models: int | None) -> Route:
    """The route for the next of ``models`` that are left (None: nobody knows how many).

    Without an announced quota it is ``listed``, which tells most. With 3,000 and 500 left and ten
    thousand models it is ``unlisted``, with 1,000 and 500 ``listed``.
    """
    api, resolvers = quotas.get(API), quotas.get(RESOLVERS)
    if api is None:
        return "listed"
    if models is not None and models * _needs("listed", api) <= api.remaining:
        return "listed"
    if (
        api.pays_for_files
        or resolvers is None
        or resolvers.remaining > _RESOLVERS_OF_LISTED * api.remaining
    ):
        return "unlisted"
    return "listed"


def affordable(route: Route, quotas: Mapping[str, Quota], under_way: Mapping[Route, int]) -> bool:
    """Whether a model can be paid for beside those under way, which may not be counted yet."""
    for bucket in (API, RESOLVERS):
        quota = quotas.get(bucket)
        if quota is None:
            continue
        needs = _needs(route, quota)
        owed = sum(_needs(other, quota) * number for other, number in under_way.items())
        if needs and quota.remaining < needs + owed:
            return False
    return True


def _needs(route: Route, quota: Quota) -> int:
    """Requests of a quota that a small model makes at most."""
    return NEEDS[route][quota.bucket] + (quota.bucket == API and quota.pays_for_files)
