"""The Hub: a model's facts over the network, pinned at one commit, or from what was kept of it.

Three steps, each waiting for the one before it: the listing tells commit, files and sizes; then the
headers and the small documents are read, all at a time; a kept model needs the first step alone.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from concurrent.futures import Future
from functools import lru_cache
from threading import Event
from typing import Any

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import DeviceCodeError, HfHubHTTPError, OIDCError
from huggingface_hub.utils import get_token_to_send, httpx
from msgspec.structs import replace

from hfmem._version import __version__
from hfmem.checkpoint.snapshot import Note, Snapshot
from hfmem.errors import GatedModelError, HubUnavailableError, UsageError
from hfmem.source import cache, listing, opening
from hfmem.source.crew import Crew
from hfmem.source.listing import is_commit
from hfmem.source.patience import Clock, Deadline, Patience
from hfmem.source.ref import ModelRef
from hfmem.source.retry import unreachable
from hfmem.source.routes import Route
from hfmem.source.wire import LANES, Quota, Wire
from hfmem.text import clean

_DOCUMENT_LANES = 4


def connect(
    *, token: str | None = None, patience: Patience | None = None, clock: Clock | None = None
) -> Wire:
    """What all questions to the Hub share: endpoint, token, limits; one of it serves many models.

    ``token`` None is the one that huggingface_hub finds. Its ``build_hf_headers`` is not used,
    because that asks the Hub for a list of coding agents first, for up to three seconds. Raises
    UsageError for an HF_ENDPOINT that is no URL and a token that no header can carry, and
    GatedModelError where a token is to be exchanged and that fails.
    """
    return _wire(_token(token), patience=patience or Patience(), clock=clock or Clock())


def _token(token: str | None) -> str | None:
    try:
        return get_token_to_send(token)
    except (OIDCError, DeviceCodeError) as error:
        raise GatedModelError(
            f"huggingface_hub could not get a token: {clean(str(error), limit=160)}",
            hint="Log in with `hf auth login`, or unset HF_OIDC_RESOURCE.",
        ) from None


@lru_cache(maxsize=4)
def _shared_wire(endpoint: str, sent: str | None) -> Wire:
    """One wire for all models of a process, so that its lanes and quotas are common to them."""
    del endpoint
    return _wire(sent, patience=Patience(), clock=Clock())


def quotas(token: str | None = None) -> Mapping[str, Quota]:
    """What the Hub last said of its quotas, by bucket; it is kept up to date."""
    return _shared_wire(constants.ENDPOINT, _token(token)).quotas


def _wire(sent: str | None, *, patience: Patience, clock: Clock) -> Wire:
    _check_endpoint(constants.ENDPOINT)
    versions = f"hf_hub/{huggingface_hub.__version__}; python/{platform.python_version()}"
    found = {"user-agent": f"hfmem/{__version__}; {versions}"}
    if sent:
        if not (sent.isascii() and sent.isprintable() and " " not in sent):
            raise UsageError(
                "The token holds characters that no token has.",
                hint="Copy it again from the settings of your account, or run `hf auth login`.",
            )
        found["authorization"] = f"Bearer {sent}"
    return Wire(endpoint=constants.ENDPOINT, headers=found, patience=patience, clock=clock)


def _check_endpoint(endpoint: str) -> None:
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(
            f"HF_ENDPOINT is {clean(endpoint, limit=120)!r}, which is no URL.",
            hint="Unset it for https://huggingface.co, or give the whole URL of a mirror.",
        )


def snapshot(
    ref: ModelRef,
    *,
    token: str | None = None,
    wire: Wire | None = None,
    route: Route = "at once",
) -> Snapshot:
    """What is known of a model of the Hub, at the cost of ``route`` (``routes.py``).

    Kept facts of a commit are used once the Hub has named that commit, and at once where the
    revision is a full commit of a public model. Raises SourceError, CheckpointError and
    ConfigError.
    """
    if is_commit(ref.revision):
        from hfmem.source import kept

        entry = kept.of_commit(ref, model=ref.name, commit=ref.revision)
        if entry is not None and not entry.restricted:
            return entry.snapshot
    wire = wire or _shared_wire(constants.ENDPOINT, _token(token))
    deadline = Deadline.after(wire.patience.total, clock=wire.clock)
    try:
        with Crew(LANES + _DOCUMENT_LANES) as crew:
            early = None
            # Of a model that is known only the commit is asked for.
            if route != "listed" and ref.pick.subfolder is None and not cache.knows(ref):
                early = opening.ask(wire, ref.name, ref.revision, crew=crew, deadline=deadline)
            if route == "unlisted" and early is not None:
                _await_contact(wire, early.config)
                from hfmem.source import unlisted

                spared = unlisted.find(wire, ref, early, crew=crew, deadline=deadline)
                if spared is not None:
                    return _with_notes(spared, ref)
            asked = crew.submit(
                lambda: listing.fetch(wire, ref.name, ref.revision, deadline=deadline)
            )
            _await_contact(wire, asked)
            # Imported while the Hub answers.
            from hfmem.source import facts

            listed = asked.result(deadline.margin())
            found = facts.find(
                wire,
                ref,
                listed,
                crew=crew,
                deadline=deadline,
                opening=early,
                direct=route == "listed",
            )
            return _with_notes(found, ref)
    except HfHubHTTPError as error:
        from hfmem.source import refusal

        raise refusal.translate(
            error,
            model=ref.name,
            revision=ref.revision,
            endpoint=wire.endpoint,
            has_token="authorization" in wire.headers,
        ) from None
    except TimeoutError:
        raise HubUnavailableError(
            f"The Hub did not tell all about {ref.name} in {wire.patience.total:.0f} s.",
            hint="Try again; what has been read is not kept.",
        ) from None


def _await_contact(wire: Wire, asked: Future[Any]) -> None:
    """Wait until a connection stands, or raise HubUnavailableError soon where none comes about.

    The look-up of a name can take a resolver's own 5 to 30 seconds and cannot be interrupted; it is
    left to a thread that nobody waits for.
    """
    first = Event()
    for future in (asked, wire.contact):
        future.add_done_callback(lambda _: first.set())
    if not first.wait(wire.patience.contact):
        raise unreachable(wire, f"no connection in {wire.patience.contact:.1f} s")


def _with_notes(snapshot: Snapshot, ref: ModelRef) -> Snapshot:
    """The snapshot with what depends on how the model was named."""
    notes = ref.notes
    if snapshot.model != ref.name:
        message = f"{ref.name} is {snapshot.model} on the Hub."
        notes += (Note(code="renamed", message=message),)
    return replace(snapshot, notes=(*notes, *snapshot.notes)) if notes else snapshot
