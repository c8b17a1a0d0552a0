"""Faults on the way: what is asked again, what is refused, and that waiting ends."""

from __future__ import annotations

import gzip
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub.utils import close_session
from msgspec.structs import replace

from hfmem.errors import (
    HfmemError,
    HubUnavailableError,
    OfflineError,
    RateLimitedError,
    UsageError,
)
from hfmem.source import hub
from hfmem.source.patience import Clock, Deadline, Patience
from hfmem.source.ref import parse
from hfmem.source.retry import FaultError, retry
from hfmem.source.transport import Answer, Question, exchange
from tests.loopback import LoopbackHub, Reply, Repository, Request, safetensors
from tests.source.conftest import StoppedClock

WEIGHTS = safetensors({"a.weight": ("BF16", [4, 8], 64)})
MODEL = {"config.json": b'{"model_type": "llama"}', "model.safetensors": WEIGHTS}
PLACES = {
    "listing": "hub /api/models/org/model/revision",
    "config": "hub /api/resolve-cache/models/org/model/.*/config",
    "weights on the hub": "hub /org/model/resolve/.*safetensors",
    "weights": "cdn /org/model",
}
PATIENCE = Patience(silence=0.05, contact=1.0, total=20.0)


def ask(stopped: StoppedClock, patience: Patience = PATIENCE) -> int:
    """The bytes of the model's tensors."""
    wire = hub.connect(patience=patience, clock=stopped.clock())
    found = hub.snapshot(parse("org/model"), wire=wire)
    assert found.config == {"model_type": "llama"}
    assert found.checkpoint is not None
    return sum(run.total_bytes for run in found.checkpoint.tensors)


def shifted(_: Request, honest: Reply) -> Reply:
    """Another range than the asked one."""
    headers = {"Content-Range": f"bytes 4-{WEIGHTS.size - 1}/{WEIGHTS.size}"}
    return replace(honest, headers=headers, body=honest.body[4:])


FAULTS = {
    **{str(status): Reply(status=status) for status in (400, 401, 403, 404, 408, 500, 502, 503)},
    "limited": Reply(status=429, headers={"Retry-After": "2"}),
    "html": Reply(body=b"<html>sign in</html>"),
    "empty": Reply(),
    "reset": Reply(body=b"{", length=1000, abort=True),
    "stall": Reply(body=b"{", length=1000),
    "too short": Reply(status=206, body=b"{"),
    "loop": lambda request, _: Reply(status=302, headers={"Location": request.path}),
    "nowhere": Reply(status=302, headers={"Location": "ftp://127.0.0.1/"}),
    "encoded": lambda _, honest: replace(honest, headers={"Content-Encoding": "br"}),
    "bad range": lambda _, honest: replace(honest, headers={"Content-Range": "bytes x"}),
    "shifted": shifted,
    "no answer": lambda *_: None,
}
HARMLESS = {("bad range", "listing"), ("bad range", "config"), ("bad range", "weights on the hub")}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_comes_once_is_survived(
    loopback: LoopbackHub, stopped: StoppedClock, place: str, fault: str
) -> None:
    loopback.repositories["org/model"] = Repository(files=MODEL)
    loopback.fault(PLACES[place], FAULTS[fault], times=1)
    assert ask(stopped) == 64


STAYING = [(place, fault) for place in PLACES for fault in FAULTS if (fault, place) not in HARMLESS]


@pytest.mark.parametrize(("place", "fault"), STAYING)
def test_a_fault_that_stays_is_one_error(
    loopback: LoopbackHub, stopped: StoppedClock, place: str, fault: str
) -> None:
    loopback.repositories["org/model"] = Repository(files=MODEL)
    loopback.fault(PLACES[place], FAULTS[fault])
    with pytest.raises(HfmemError) as caught:
        ask(stopped)
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert stopped.seconds < PATIENCE.total
    assert len(loopback.requests) < 30


def test_an_announced_wait_is_kept(loopback: LoopbackHub, stopped: StoppedClock) -> None:
    loopback.repositories["org/model"] = Repository(files=MODEL)
    headers = {"RateLimit": '"api";r=0;t=7', "Retry-After": "99"}
    loopback.fault("revision", Reply(status=429, headers=headers), times=1)
    assert ask(stopped) == 64
    assert 7.0 in stopped.waits


@pytest.mark.parametrize(
    "headers",
    [
        {"RateLimit": '"api";r=0;t=280'},
        {"Retry-After": "280"},
        {"Retry-After": "Fri, 20 Nov 2026 00:04:40 GMT", "Date": "Fri, 20 Nov 2026 00:00:00 GMT"},
    ],
    ids=["quota", "seconds", "date"],
)
def test_a_wait_that_is_too_long_ends_at_once(
    loopback: LoopbackHub, stopped: StoppedClock, headers: dict[str, str]
) -> None:
    loopback.fault("revision", Reply(status=429, headers=headers))
    with pytest.raises(RateLimitedError, match="280 s"):
        ask(stopped)
    assert stopped.waits == []


def test_an_api_answer_comes_from_the_endpoint(
    loopback: LoopbackHub, stopped: StoppedClock
) -> None:
    elsewhere = Reply(status=302, headers={"Location": f"{loopback.cdn}/api/models/org/model"})
    loopback.fault("revision", elsewhere)
    with pytest.raises(HubUnavailableError, match="another host"):
        ask(stopped)
    assert not any(
        request.host == "cdn" and "/api/" in request.path for request in loopback.requests
    )


def test_a_file_without_ranges_is_not_read(loopback: LoopbackHub, stopped: StoppedClock) -> None:
    """A gigabyte is announced; the client goes away before it has come."""
    large = replace(WEIGHTS, size=10**9)
    loopback.repositories["org/model"] = Repository(files={**MODEL, "model.safetensors": large})
    loopback.fault("cdn", Reply(body=b"x" * 100, length=10**9))
    with pytest.raises(HubUnavailableError, match="whole file"):
        ask(stopped)
    # Once before the list of files has come, and once after it.
    assert sum(path.startswith("cdn") for path in loopback.paths()) == 2
    assert stopped.waits == []


# RFC 9110, section 15.5: what a client error refuses it refuses again, unless the request changes;
# of the weights it changes by a new signature. A server error may pass.
@pytest.mark.parametrize(
    ("status", "tries"), [(401, 2), (403, 2), (404, 2), (410, 2), (500, 4), (503, 4), (520, 4)]
)
def test_a_refusal_of_the_weights_host_is_asked_about_once_more(
    loopback: LoopbackHub, stopped: StoppedClock, status: int, tries: int
) -> None:
    loopback.repositories["org/model"] = Repository(files=MODEL)
    loopback.fault("cdn /org/model", Reply(status=status))
    with pytest.raises(HubUnavailableError, match=f"asked {tries} times"):
        ask(stopped)
    # Once before the list of files has come.
    assert sum(path.startswith("cdn") for path in loopback.paths()) == 1 + tries


def test_nobody_there_is_told_without_a_second_try(
    loopback: LoopbackHub, stopped: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(HubUnavailableError, match="cannot be reached"):
        ask(stopped)
    assert stopped.waits == []
    assert loopback.requests == []


def test_a_name_that_is_looked_up_for_ever_is_given_up(
    loopback: LoopbackHub, stopped: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    del loopback
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://nowhere.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(0.3) or [])
    with pytest.raises(HubUnavailableError, match="no connection in"):
        ask(stopped, Patience(contact=0.02))


@pytest.mark.parametrize("endpoint", ["huggingface.co", "ftp://host", "http://", "http://[::1"])
def test_an_endpoint_that_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    with pytest.raises(UsageError, match="HF_ENDPOINT"):
        hub.connect(token="hf_x")


@pytest.fixture
def new_session() -> Iterator[None]:
    """huggingface_hub makes its session anew, in the test and after it."""
    close_session()
    yield
    close_session()


@pytest.mark.usefixtures("new_session")
@pytest.mark.parametrize(
    ("name", "value"), [("SSL_CERT_FILE", "/nowhere/bundle.pem"), ("ALL_PROXY", "nonsense://")]
)
def test_a_session_that_cannot_be_opened_is_told(
    loopback: LoopbackHub,
    stopped: StoppedClock,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(HubUnavailableError, match="session"):
        ask(stopped)
    assert loopback.requests == []


def test_offline_mode_asks_nothing(
    loopback: LoopbackHub, stopped: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError):
        ask(stopped)
    assert loopback.requests == []


def question(loopback: LoopbackHub, **changes: Any) -> Answer:
    """One question about /file, without a second try."""
    wire = hub.connect(patience=PATIENCE)
    asked = replace(Question(url=f"{loopback.endpoint}/file", cap=1000), **changes)
    return exchange(wire, asked, deadline=Deadline.after(5, clock=Clock()))


@pytest.mark.parametrize(
    ("body", "api", "came"),
    [
        (b"x" * 1001, False, "more than 1,000 bytes"),
        (gzip.compress(b"x" * 1_000_000), True, "more than 1,000 bytes"),
        (gzip.compress(b"x")[:-4], True, "ends early"),
        (b"no gzip at all", True, "cannot be read"),
        (gzip.compress(b"x"), False, "encoded as gzip"),
    ],
    ids=["long", "bomb", "cut", "not gzip", "unasked"],
)
def test_an_answer_stays_below_its_cap(
    loopback: LoopbackHub, body: bytes, api: bool, came: str
) -> None:
    encoding = {} if came.startswith("more") and not api else {"Content-Encoding": "gzip"}
    loopback.fault("/file", Reply(body=body, headers=encoding))
    with pytest.raises(FaultError, match=came):
        question(loopback, api=api)


@pytest.mark.parametrize(
    ("span", "size", "status", "found", "accepted"),
    [
        (range(10), 20, 206, "bytes 0-9/20", True),
        (range(10), 5, 206, "bytes 0-4/5", True),
        (range(10), None, 206, "bytes 0-9/20", True),
        (range(10), 5, 200, "", True),
        (range(10), 20, 200, "", False),
        (range(10), None, 200, "", False),
        (range(10), 20, 206, "bytes 0-9/*", False),
        (range(10), 20, 206, "bytes 0-9/21", False),
        (range(10), 20, 206, "bytes 1-10/20", False),
        (range(10), 20, 206, "", False),
        (None, 5, 206, "bytes 0-4/5", False),
    ],
)
def test_a_range_is_the_one_that_was_asked_for(
    loopback: LoopbackHub,
    span: range | None,
    size: int | None,
    status: int,
    found: str,
    accepted: bool,
) -> None:
    headers = {"Content-Range": found} if found else {}
    length = 5 if size == 5 else 10
    loopback.fault("/file", Reply(status=status, body=b"x" * length, headers=headers))
    if accepted:
        assert len(question(loopback, span=span, file_bytes=size).body) == length
        return
    with pytest.raises(FaultError):
        question(loopback, span=span, file_bytes=size)


def test_a_trickle_is_given_up(loopback: LoopbackHub) -> None:
    """The body comes byte by byte, by a clock that passes a second at every look."""
    loopback.fault("/file", Reply(body=b"x" * 900))
    seconds = iter(range(1000))
    wire = hub.connect(patience=PATIENCE, clock=Clock(now=lambda: float(next(seconds))))
    asked = Question(url=f"{loopback.endpoint}/file", cap=1000)
    with pytest.raises(FaultError, match="900 bytes in"):
        exchange(
            replace(wire, patience=replace(PATIENCE, grace=0.5)),
            asked,
            deadline=Deadline(clock=Clock(), at=time.monotonic() + 60),
        )


def test_tries_end_with_the_deadline(stopped: StoppedClock) -> None:
    wire = hub.connect(patience=Patience(tries=100, backoff=1.0), clock=stopped.clock())

    def attempt() -> None:
        raise FaultError("nothing")

    with pytest.raises(HubUnavailableError):
        retry(wire, attempt, what="it", deadline=Deadline.after(10, clock=stopped.clock()))
    assert 5 < stopped.seconds < 10
