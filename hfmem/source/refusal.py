"""huggingface_hub's errors in hfmem's words."""

from __future__ import annotations

from huggingface_hub import errors as hub_errors

from hfmem.errors import (
    GatedModelError,
    HfmemError,
    HubUnavailableError,
    ModelNotFoundError,
    RevisionNotFoundError,
)
from hfmem.text import clean

_INVALID_TOKEN = "Invalid credentials in Authorization header"


def translate(
    error: hub_errors.HfHubHTTPError,
    *,
    model: str,
    revision: str | None,
    endpoint: str,
    has_token: bool,
) -> HfmemError:
    """The HfmemError for what the Hub refuses."""
    status = error.response.status_code
    said = clean(error.response.headers.get("x-error-message", ""), limit=160)
    log_in = (
        "Check that the token in use may read it."
        if has_token
        else "If it is private, log in with `hf auth login` or pass --token."
    )
    match error:
        case hub_errors.GatedRepoError():
            return gated(model, endpoint=endpoint, has_token=has_token)
        case hub_errors.DisabledRepoError():
            return disabled(model)
        case hub_errors.RevisionNotFoundError():
            return RevisionNotFoundError(
                f"{model} has no revision {clean(revision or 'main', limit=80)!r}.",
                hint=f"Branches and tags are listed at {endpoint}/{model}/tree/main.",
            )
        case _ if said == _INVALID_TOKEN:
            return GatedModelError(
                "The Hub does not accept the token that was sent.",
                hint="Check --token or HF_TOKEN, or log in again with `hf auth login`.",
            )
        case hub_errors.RepositoryNotFoundError():
            return ModelNotFoundError(
                f"{model} is not on the Hub, or it is private.", hint=f"Check the name. {log_in}"
            )
        case _ if status == 403 and said:
            return GatedModelError(f"The Hub refuses access to {model}: {said}.", hint=log_in)
    # The Hub says why it refuses; a proxy or another server does not.
    return HubUnavailableError(
        f"{endpoint} answers {status} when asked for {model}{f': {said}' if said else ''}.",
        hint="Check HF_ENDPOINT and the proxy, or try again later.",
    )


def gated(model: str, *, endpoint: str, has_token: bool) -> GatedModelError:
    """The error for files that need an accepted licence."""
    accept = f"Accept the licence at {endpoint}/{model}"
    return GatedModelError(
        f"{model} is gated: its files need an accepted licence and a token.",
        hint=f"{accept} with the account of the token in use."
        if has_token
        else f"{accept}, then log in with `hf auth login`.",
    )


def disabled(model: str) -> ModelNotFoundError:
    """The error for a repository that the Hub has closed."""
    return ModelNotFoundError(f"{model} has been disabled by the Hub.", hint="Use another model.")
