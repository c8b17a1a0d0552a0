"""One question to the Hub or its CDN: bounded in bytes and time, and asked again where that helps.

The connection is huggingface_hub's own session, so that its proxies, certificates and offline
switch hold. Its ``http_backoff`` is not used: on a spent quota it sleeps for up to five minutes.
Redirects are followed here, one by one, because a hop decides what may be read and who may see the
token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from threading import Event
from typing import Final

from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import (
    get_session,
    hf_raise_for_status,
    httpx,
)
from msgspec import Struct, field

from hfmem.errors import HubUnavailableError, OfflineError
from hfmem.source import quotas
from hfmem.source.body import read_body
from hfmem.source.patience import Deadline, Patience
from hfmem.source.retry import FaultError
from hfmem.source.wire import UNDER_WAY, Wire
from hfmem.text import clean

_HOPS: Final = 5
_ERROR_BODY_CAP: Final = 64_000
_REDIRECT_BODY_CAP: Final = 16_000
_TRIES_AFTER_REFUSAL: Final = 2
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)
_UNBOUND: Final = frozenset(
    {b"content-encoding", b"content-length", b"transfer-encoding", b"x-hf-warning"}
)
_LINKED: Final = ("x-linked-size", "x-linked-etag")


class Question(Struct, frozen=True, kw_only=True):
    """What is asked for, and what an answer may be."""

    url: str
    cap: int
    """Bytes that the answer may have."""
    span: range | None = None
    """The bytes of the file that are asked for; the answer is exactly these."""
    file_bytes: int | None = None
    """The file's size in the listing; an answer that disagrees is refused. None while there is no
    listing: the answer then tells it.
    """
    api: bool = False
    """Answered by the endpoint alone, compressed where it can be."""
    begun: Event | None = None
    """Set when an answer begins."""


class Answer(Struct, frozen=True, kw_only=True):
    """A complete answer of the asked length."""

    body: bytes
    headers: Mapping[str, str]
    url: str
    """Where it came from in the end."""
    commit: str | None
    """The commit that the endpoint says it is of."""
    paths: tuple[str, ...] = ()
    """Where the endpoint was asked, over its redirects."""
    linked: Mapping[str, str] = field(default_factory=dict)
    """What the endpoint says of a file that lies elsewhere: its headers ``x-linked-…``."""

    @property
    def file_bytes(self) -> int | None:
        """The size of the file that it is a part of, where it is one."""
        match = _CONTENT_RANGE.fullmatch(self.headers.get("content-range", ""))
        return int(match[3]) if match else None


def exchange(wire: Wire, question: Question, *, deadline: Deadline) -> Answer:
    """Ask once, over all redirects. Raises FaultError and OfflineError."""
    with wire.lanes, _faults(wire):
        client = _session()
        url = httpx.URL(question.url)
        request = client.build_request(
            "GET",
            url,
            headers=_request_headers(wire, question, url),
            timeout=_timeout(wire.patience, deadline),
            # Every step of every answer would call it.
            extensions=None if wire.contact.done() else {"trace": _watch(wire)},
        )
        commit: str | None = None
        paths: list[str] = []
        linked: dict[str, str] = {}
        for _ in range(_HOPS):
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                wire.touch()
                if _same_origin(response.request.url, _url(wire.endpoint)):
                    quotas.note(wire, response)
                    commit = response.headers.get("x-repo-commit", commit)
                    paths.append(response.request.url.path)
                    linked |= _linked(response.headers)
                if not response.has_redirect_location:
                    body = _receive(wire, question, response, deadline=deadline)
                    return Answer(
                        body=body,
                        headers=response.headers,
                        url=str(response.url),
                        commit=commit,
                        paths=tuple(paths),
                        linked=linked,
                    )
                request = _next_request(wire, question, response)
                # A body that has been read leaves the connection open for the next question.
                read_body(wire, response, cap=_REDIRECT_BODY_CAP, gzip=True, deadline=deadline)
            finally:
                response.close()
    raise FaultError(f"more than {_HOPS} redirects")


def _linked(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in _LINKED if name in headers}


@lru_cache(maxsize=16)
def _url(address: str) -> httpx.URL:
    """An address that is compared with every answer's: httpx2 takes long to read one."""
    return httpx.URL(address)


def _session() -> httpx.Client:
    """huggingface_hub's session, which is made at the first question."""
    try:
        return get_session()
    except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
        raise HubUnavailableError(
            f"huggingface_hub cannot open a session: {clean(str(error), limit=160)}.",
            hint="Check SSL_CERT_FILE, SSL_CERT_DIR and the proxy variables.",
        ) from None


def _request_headers(wire: Wire, question: Question, url: httpx.URL) -> dict[str, str]:
    encoding = "gzip" if question.api else "identity"
    headers = {"accept-encoding": encoding, "user-agent": wire.headers["user-agent"]}
    if _same_origin(url, _url(wire.endpoint)):
        headers |= wire.headers
    if question.span is not None:
        headers["range"] = f"bytes={question.span.start}-{question.span.stop - 1}"
    return headers


def _timeout(patience: Patience, deadline: Deadline) -> httpx.Timeout:
    left = max(deadline.left(), 0.001)
    return httpx.Timeout(
        connect=min(patience.connect, left),
        read=min(patience.silence, left),
        write=min(patience.silence, left),
        pool=left,
    )


def _watch(wire: Wire) -> Callable[[str, object], None]:
    def trace(event: str, _: object) -> None:
        if event == "connection.connect_tcp.started":
            UNDER_WAY.set()
        elif event == "http11.send_request_headers.complete":
            wire.touch()

    return trace


@contextmanager
def _faults(wire: Wire) -> Iterator[None]:
    """Whatever the session raises, as a fault."""
    try:
        yield
    except OfflineModeIsEnabled:
        raise OfflineError(
            "Offline mode is on, and the facts are not in the cache.",
            hint="Unset HF_HUB_OFFLINE, or run once with a network.",
        ) from None
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        # Nobody is there: a second try that follows at once finds nobody either.
        came = f"no connection ({clean(str(error), limit=120) or 'timed out'})"
        raise FaultError(came, tries=100 if wire.contact.done() else 1) from None
    except httpx.TimeoutException:
        raise FaultError("nothing in time") from None
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        reason = clean(str(error), limit=120) or type(error).__name__
        raise FaultError(f"a broken answer ({reason})") from None


def _next_request(wire: Wire, question: Question, response: httpx.Response) -> httpx.Request:
    """The request that a redirect asks for; httpx2 takes the token out where the origin changes."""
    request = response.next_request
    if request is None or request.url.scheme not in ("http", "https"):
        raise FaultError("a redirect to nowhere")
    here, there = response.request.url, request.url
    if here.scheme == "https" and there.scheme != "https":
        raise FaultError("a redirect that gives up encryption")
    if not _same_origin(there, _url(wire.endpoint)):
        upgraded = here.host == there.host and there.scheme == "https"
        if question.api and not upgraded:
            raise FaultError(f"a redirect to another host ({clean(there.host, limit=80)})")
        if not upgraded:
            request.headers.pop("authorization", None)
    return request


def _same_origin(left: httpx.URL, right: httpx.URL) -> bool:
    """Scheme, host and port; ``URL.port`` is None for a scheme's own."""
    return (left.scheme, left.host, left.port) == (right.scheme, right.host, right.port)


def _receive(
    wire: Wire, question: Question, response: httpx.Response, *, deadline: Deadline
) -> bytes:
    status = response.status_code
    if status not in (200, 206):
        raise _refused(wire, response, deadline=deadline)
    expected = _expected_bytes(question, response)
    if question.begun is not None:
        question.begun.set()
    body = read_body(
        wire,
        response,
        cap=question.cap if expected is None else expected,
        gzip=question.api,
        deadline=deadline,
    )
    if expected is not None and len(body) != expected:
        raise FaultError(f"{len(body):,} bytes instead of {expected:,}")
    return body


def _expected_bytes(question: Question, response: httpx.Response) -> int | None:
    """The length of the answer, where it is known before it is read."""
    span, size = question.span, question.file_bytes
    if span is None:
        if response.status_code != 200:
            raise FaultError("a part of the whole that was asked for")
        if size is not None and size > question.cap:
            raise FaultError(f"{size:,} bytes, where at most {question.cap:,} are read")
        return size
    if response.status_code == 200:
        # Ranges are ignored: only a file that was asked for whole is taken this way.
        if size is not None and span.start == 0 and size <= span.stop:
            return size
        raise _deaf(response)
    found = response.headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    total = size if size is not None or match is None else int(match[3])
    stop = span.stop if total is None else min(span.stop, total)
    asked = f"bytes {span.start}-{stop - 1}/{total}"
    if match is None or found != asked:
        raise FaultError(f"{clean(found, limit=60) or 'no range'} instead of {asked}")
    return stop - span.start


def _deaf(response: httpx.Response) -> FaultError:
    """A server that does not know ranges answers every try with gigabytes: there is no second."""
    host = clean(response.request.url.host, limit=80)
    came = "the whole file instead of the asked range"
    return FaultError(
        came,
        tries=1,
        error=HubUnavailableError(
            f"{host} gave {came}, of which nothing is read.",
            hint="A mirror or a proxy between does not know ranges: set HF_ENDPOINT or the proxy "
            "variables to another, or name a folder that holds the model.",
        ),
    )


def _refused(wire: Wire, response: httpx.Response, *, deadline: Deadline) -> FaultError:
    """What an error status means: who refuses, whether for good, and how long to wait."""
    status = response.status_code
    came = f"the status {status}"
    if status == 429:
        wait = quotas.announced_wait(response.headers)
        return FaultError(came, wait=wait, limited=True)
    if status in (408, 500, 502, 503, 504):
        return FaultError(came, wait=quotas.announced_wait(response.headers))
    if not _same_origin(response.request.url, _url(wire.endpoint)):
        came += f" from {clean(response.request.url.host, limit=80)}"
        # A signed address may have run out: one more try signs a new one.
        return FaultError(came, tries=_TRIES_AFTER_REFUSAL if 400 <= status < 500 else 100)
    refusal = _refusal(wire, response, deadline=deadline)
    if refusal is None:
        return FaultError(came)
    reasoned = {"x-error-code", "x-error-message"} & response.headers.keys()
    return FaultError(came, tries=1 if reasoned else _TRIES_AFTER_REFUSAL, error=refusal)


def _refusal(wire: Wire, response: httpx.Response, *, deadline: Deadline) -> HfHubHTTPError | None:
    """huggingface_hub's error for an answer, without letting it read the body, which has no bounds.

    Its warnings are left out: they would be printed as they come.
    """
    body = read_body(wire, response, cap=_ERROR_BODY_CAP, gzip=True, deadline=deadline)
    # As bytes: a value beyond ASCII can be received, but not written as text.
    headers = [
        (name, value) for name, value in response.headers.raw if name.lower() not in _UNBOUND
    ]
    bounded = httpx.Response(
        response.status_code, headers=headers, content=body, request=response.request
    )
    try:
        hf_raise_for_status(bounded)
    except HfHubHTTPError as error:
        return error
    except (ValueError, AttributeError, TypeError):
        # huggingface_hub 2.4.0 expects a JSON object in the body of an error.
        return HfHubHTTPError(f"status {response.status_code}", response=bounded)
    return None
