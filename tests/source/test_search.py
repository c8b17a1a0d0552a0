"""Models that the Hub lists, asked through huggingface_hub's own listing."""

from __future__ import annotations

import json
import re
from urllib.parse import parse_qs, urlsplit

import pytest
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.utils import httpx
from huggingface_hub.utils._http import default_client_factory

from hfmem.errors import (
    GatedModelError,
    HubUnavailableError,
    ModelNotFoundError,
    OfflineError,
    UsageError,
)
from hfmem.source.search import Query, models
from tests.loopback import TOKEN, LoopbackHub, Reply, Repository, refuse


def listing(*names: object) -> Reply:
    return Reply(body=json.dumps([{"id": name, "modelId": name} for name in names]).encode())


def test_what_is_asked(loopback: LoopbackHub) -> None:
    loopback.fault(r"/api/models\?", listing("org/b", "org/a", "org/b"))
    query = Query(author="org", search="text", filters=("gguf", "license:mit"), limit=10)
    assert models(query) == ("org/b", "org/a")
    # huggingface_hub may ask for its list of coding agents first, once a day and a cache.
    (listed,) = (one for one in loopback.requests if one.path.startswith("/api/models?"))
    asked = parse_qs(urlsplit(listed.path).query)
    assert asked["author"] == ["org"]
    assert asked["search"] == ["text"]
    assert asked["filter"] == ["gguf", "license:mit"]


def test_the_limit_holds_whatever_comes(loopback: LoopbackHub) -> None:
    loopback.fault(r"/api/models\?", listing(*(f"org/m{number}" for number in range(50))))
    assert models(Query(author="org", limit=2)) == ("org/m0", "org/m1")


def test_names_that_are_none_are_left_out(loopback: LoopbackHub) -> None:
    loopback.fault(r"/api/models\?", listing("../x", "org/a", "a\x1bb", "org/b/c", ""))
    assert models(Query(author="org")) == ("org/a",)


def test_a_collection(loopback: LoopbackHub) -> None:
    items = [
        {"_id": "1", "id": "org/a", "type": "model", "position": 0},
        {"_id": "2", "id": "org/data", "type": "dataset", "position": 1},
        {"_id": "3", "id": "org/b", "type": "model", "position": 2},
    ]
    collection = {
        **{"slug": "org/x-1", "title": "x", "owner": {}, "items": items, "position": 0},
        **{"lastUpdated": "2026-01-01T00:00:00.000Z", "private": False, "theme": "blue"},
        **{"upvotes": 0, "description": None},
    }
    loopback.fault("/api/collections/", Reply(body=json.dumps(collection).encode()))
    assert models(Query(collection="org/x-1")) == ("org/a", "org/b")


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (listing(), ModelNotFoundError),
        (refuse(400, message="no such filter"), HubUnavailableError),
        (Reply(body=b"<html>"), HubUnavailableError),
        (Reply(body=b"[1, 2]"), HubUnavailableError),
        (Reply(body=b'[{"no": "id"}]'), HubUnavailableError),
    ],
)
def test_what_is_no_listing(loopback: LoopbackHub, reply: Reply, error: type[Exception]) -> None:
    loopback.fault(r"/api/models\?", reply)
    with pytest.raises(error):
        models(Query(author="org"))


def test_refusals_before_anything_is_asked(
    loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="stands alone"):
        models(Query(collection="org/x-1", author="org"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(OfflineError):
        models(Query(author="org"))


def test_nothing_is_asked_offline(loopback: LoopbackHub) -> None:
    with pytest.raises(OfflineError):
        models(Query(author="org"), offline=True)
    assert loopback.requests == []


def test_another_host_does_not_get_the_token(loopback: LoopbackHub) -> None:
    more = {"Link": f'<{loopback.cdn}/org/x/page>; rel="next"'}
    loopback.fault(r"/api/models\?", Reply(body=listing("org/a").body, headers=more))
    loopback.repositories["org/x"] = Repository(files={"page": listing("org/b").body})
    assert models(Query(author="org"), token=TOKEN) == ("org/a", "org/b")
    sent = {
        one.host: one.headers.get("authorization")
        for one in loopback.requests
        if one.path.startswith(("/api/models?", "/org/x"))
    }
    assert sent == {"hub": f"Bearer {TOKEN}", "cdn": None}


def test_a_used_up_quota_is_announced_and_waited_out(
    loopback: LoopbackHub, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[str, float]] = []
    loopback.fault(r"/api/models\?", listing("org/a"))
    limit = {"RateLimit": '"api";r=0;t=0', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    loopback.faults.insert(0, (re.compile(r"/api/models\?"), lambda *_: refused(limit), [1]))
    found = models(Query(author="org"), announce=lambda *words: told.append(words))
    assert found == ("org/a",)
    assert told == [("api", 0.0)]
    assert capfd.readouterr().err == ""


def refused(headers: dict[str, str]) -> Reply:
    return Reply(status=429, body=b"{}", headers=headers)


def test_a_token_that_is_not_accepted(loopback: LoopbackHub) -> None:
    loopback.fault(r"/api/models\?", refuse(401, message="Invalid credentials"))
    with pytest.raises(GatedModelError, match="does not accept the token"):
        models(Query(author="org"), token="hf_other")


def test_nothing_connects(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(HubUnavailableError, match="cannot be reached"):
        models(Query(author="org"))
    assert capfd.readouterr().err == ""


def test_a_client_that_the_program_has_set_stays(loopback: LoopbackHub) -> None:
    loopback.fault(r"/api/models\?", listing("org/a"))
    made: list[httpx.Client] = []

    def factory() -> httpx.Client:
        made.append(httpx.Client(headers={"x-program": "its own"}))
        return made[-1]

    set_client_factory(factory)
    try:
        assert models(Query(author="org")) == ("org/a",)
        assert get_session() in made
    finally:
        set_client_factory(default_client_factory)
    (listed,) = (one for one in loopback.requests if one.path.startswith("/api/models?"))
    assert listed.headers["x-program"] == "its own"
