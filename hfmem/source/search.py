"""Models that the Hub lists, by huggingface_hub's own listing: of an author, a search, a tag, a
collection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import httpx
from msgspec import Struct

from hfmem.errors import HubUnavailableError, ModelNotFoundError, OfflineError, UsageError
from hfmem.source.ref import is_repo_id
from hfmem.text import clean

MAX_MODELS = 1_000_000


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


def models(query: Query, *, token: str | None = None) -> tuple[str, ...]:
    """The names of the models, in the Hub's order, each once.

    Raises ModelNotFoundError where there are none, OfflineError and HubUnavailableError.
    """
    api = HfApi(endpoint=constants.ENDPOINT, token=token)
    try:
        found = dict.fromkeys(islice(_names(api, query), query.limit or MAX_MODELS))
    except OfflineModeIsEnabled:
        raise OfflineError(
            "Offline mode is on, and the Hub's listing is not kept.", hint="Name a list of models."
        ) from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        if query.collection is not None and status in (401, 404):
            raise ModelNotFoundError(
                f"There is no collection {clean(query.collection, limit=120)}, or it is private.",
                hint="Copy the slug from the collection's address.",
            ) from None
        raise HubUnavailableError(
            f"The Hub answers {status} when asked for its list of models.",
            hint="Check the options, or try again later.",
        ) from None
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
