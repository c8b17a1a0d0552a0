"""Models that the Hub lists, by huggingface_hub's own listing: of an author, a search, a tag, a
collection."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from huggingface_hub import HfApi, constants, set_client_factory
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import _http, httpx
from msgspec import Struct

from hfmem.errors import (
    GatedModelError,
    HubUnavailableError,
    ModelNotFoundError,
    OfflineError,
    RateLimitedError,
    UsageError,
)
from hfmem.source.quotas import announced_wait
from hfmem.source.ref import is_repo_id
from hfmem.source.turnstile import quietly
from hfmem.text import clean

MAX_MODELS = 1_000_000

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_LOG = "huggingface_hub.utils._http"
"""Says on standard error what it asks again for."""

Announce = Callable[[str, float], None]


class Query(Struct, frozen=True, kw_only=True):
    """What is looked for; all that is given holds at once."""

    author: str | None = None
    search: str | None = None
    filters: tuple[str, ...] = ()
    """Tags, libraries or tasks, as ``huggingface_hub`` takes them."""
    collection: str | None = None
    """Slug: ``org/title-0123456789abcdef01234567``."""
    limit: int | None = None

    def to_dict(self) -> dict[str, object]:
        """As a journal keeps it."""
        return {
            "author": self.author,
            "search": self.search,
            "filter": list(self.filters),
            "collection": self.collection,
            "limit": self.limit,
        }


def models(
    query: Query,
    *,
    token: str | None = None,
    offline: bool = False,
    announce: Announce = quietly,
) -> tuple[str, ...]:
    """The names of the models, in the Hub's order, each once.

    huggingface_hub asks again after a refusal, for as long as the Hub says; ``announce`` is told
    the quota and the seconds. Raises ModelNotFoundError where there are none, OfflineError,
    RateLimitedError, GatedModelError for a token that is not accepted, and HubUnavailableError.
    """
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    if offline:
        raise _offline()
    try:
        with _guarded(announce):
            found = dict.fromkeys(islice(_names(api, query), query.limit or MAX_MODELS))
    except OfflineModeIsEnabled:
        raise _offline() from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if query.collection is not None and status in (401, 404):
            raise ModelNotFoundError(
                f"There is no collection {clean(query.collection, limit=120)}, or it is private.",
                hint="Copy the slug from the collection's address.",
            ) from None
        raise _refused(status) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise HubUnavailableError(
            f"The Hub did not list its models: {clean(str(error), limit=160)}.",
            hint="Check the network, the proxy and HF_ENDPOINT.",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        # huggingface_hub 2.4 takes the shape of the answer for granted.
        raise HubUnavailableError(
            "The Hub's list of models cannot be read.", hint="Check HF_ENDPOINT."
        ) from None
    if not found:
        raise ModelNotFoundError(
            "The Hub lists no such model.", hint="Check --author, --search and --filter."
        )
    return tuple(found)


def _offline() -> OfflineError:
    return OfflineError(
        "Offline mode is on, and the Hub's listing is not kept.", hint="Name a list of models."
    )


@contextmanager
def _guarded(announce: Announce) -> Iterator[None]:
    """huggingface_hub with a client of ours: where nothing connects it gives up at once, a silent
    server does not hold it for ever, and a next page on another host does not get the token.

    A client that the calling program has set stays.
    """
    # Where huggingface_hub 2.4 keeps what is set; it tells it nowhere else.
    ours = _http._GLOBAL_CLIENT_FACTORY is _http.default_client_factory
    log = logging.getLogger(_LOG)
    level = log.level
    log.setLevel(logging.ERROR)
    if ours:
        set_client_factory(lambda: _client(announce))
    try:
        yield
    finally:
        if ours:
            set_client_factory(_http.default_client_factory)
        log.setLevel(level)


class _Client(httpx.Client):
    announce: Announce = staticmethod(quietly)
    announced_until = 0.0

    def request(self, *args: Any, **options: Any) -> httpx.Response:
        try:
            answer = super().request(*args, **{**options, "timeout": _TIMEOUT})
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise HubUnavailableError(
                f"The Hub cannot be reached: {clean(str(error), limit=160)}.",
                hint="Check the network, the proxy and HF_ENDPOINT, or name a list of models.",
            ) from None
        seconds = announced_wait(answer.headers) if answer.status_code == 429 else None
        until = time.monotonic() + (seconds or 0.0)
        # Once a wait: huggingface_hub may have more than one question at that moment.
        if seconds is not None and until > self.announced_until + 1.0:
            self.announced_until = until
            self.announce("api", seconds)
        return answer


def _client(announce: Announce) -> httpx.Client:
    home = httpx.URL(constants.ENDPOINT)
    hooks = _http.default_client_factory().event_hooks["request"]

    def to_nobody_else(request: httpx.Request) -> None:
        if (request.url.scheme, request.url.host, request.url.port) not in (
            (home.scheme, home.host, home.port),
            ("https", home.host, None),
        ):
            request.headers.pop("authorization", None)

    client = _Client(event_hooks={"request": [*hooks, to_nobody_else]}, follow_redirects=True)
    client.announce = announce
    return client


def _refused(status: int) -> HubUnavailableError | RateLimitedError | GatedModelError:
    asked = "when asked for its list of models"
    match status:
        case 401 | 403:
            return GatedModelError(
                f"The Hub answers {status} {asked}: it does not accept the token.",
                hint="Check --token or HF_TOKEN, or log in again with `hf auth login`.",
            )
        case 429:
            return RateLimitedError(
                f"The Hub answers {status} {asked}: its quota is used up.",
                hint="Wait, or log in with `hf auth login`: an account has a larger quota.",
            )
        case _:
            return HubUnavailableError(
                f"The Hub answers {status} {asked}.", hint="Check the options, or try again later."
            )


def _names(api: HfApi, query: Query) -> Iterator[str]:
    if query.collection is not None:
        if query.author or query.search or query.filters:
            raise UsageError(
                "--collection stands alone.", hint="Leave out --author, --search and --filter."
            )
        items = api.get_collection(query.collection).items
        names = (item.item_id for item in items if item.item_type == "model")
    else:
        listed = api.list_models(
            author=query.author,
            search=query.search,
            filter=list(query.filters) or None,
            limit=query.limit,
        )
        names = (model.id for model in listed)
    return (name for name in names if is_repo_id(str(name)))
