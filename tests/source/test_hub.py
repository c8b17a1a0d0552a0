"""A model's facts over the network: what is asked, what is believed, what is refused and how."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import (
    GatedModelError,
    HfmemError,
    HubUnavailableError,
    InvalidValueError,
    MalformedHeaderError,
    ModelNotFoundError,
    NoWeightsError,
    RevisionNotFoundError,
    UsageError,
)
from hfmem.source import hub
from hfmem.source.patience import Patience
from hfmem.source.ref import parse
from tests.loopback import (
    COMMIT,
    TOKEN,
    LoopbackHub,
    Reply,
    Repository,
    Request,
    Sparse,
    refuse,
    safetensors,
)

CONFIG = json.dumps({"model_type": "llama"}).encode()
# 4 x 8 bfloat16 are 64 bytes.
ONE = safetensors({"a.weight": ("BF16", [4, 8], 64)})
SHARDS = {
    f"model-0000{number}-of-00002.safetensors": safetensors(
        {f"layers.{number - 1}.weight": ("BF16", [4, 8], 64)}
    )
    for number in (1, 2)
}
INDEX = {"model.safetensors.index.json": b"{}"}
CHANGED = "f" * 40


def single(**changes: Any) -> Repository:
    """A model in one file."""
    return Repository(files={"config.json": CONFIG, "model.safetensors": ONE}, **changes)


def sharded() -> Repository:
    """A model in two files with an index."""
    return Repository(files={"config.json": CONFIG, **INDEX, **SHARDS})


def ask(model: str = "org/model", *, token: str | None = None) -> Snapshot:
    """The product, with a back-off that no test waits for."""
    return hub.snapshot(parse(model), wire=hub.connect(token=token, patience=IMPATIENT))


IMPATIENT = Patience(backoff=0.001, silence=0.2, hedge=0.5, total=20.0)


def test_a_model_in_one_file_is_known_after_two_round_trips(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = single()
    found = ask()
    assert (found.model, found.revision, found.source) == ("org/model", COMMIT, "hub")
    assert found.config == {"model_type": "llama"}
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == 64
    assert found.checkpoint.metadata == {"format": "pt"}
    assert sorted(loopback.paths()) == [
        "cdn /org/model/model.safetensors",
        "hub /api/models/org/model/revision/main",
        f"hub /api/resolve-cache/models/org/model/{COMMIT}/config.json",
        "hub /org/model/resolve/main/config.json",
        "hub /org/model/resolve/main/model.safetensors",
    ]


def test_shards_come_in_one_answer(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = sharded()
    found = ask()
    assert found.checkpoint is not None
    assert [(run.name, run.count) for run in found.checkpoint.tensors] == [
        ("layers.{0..1}.weight", 2)
    ]
    assert not any(path.startswith("cdn") for path in loopback.paths())


def test_shards_are_read_alone_on_another_branch(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = sharded()
    found = ask(f"org/model@{COMMIT}")
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == 128
    assert not any("safetensors-metadata" in path for path in loopback.paths())


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=404),
        Reply(status=500),
        Reply(status=429, headers={"Retry-After": "100"}),
        Reply(body=b"<html>"),
        Reply(body=b'{"headers": {}}'),
        Reply(body=json.dumps({"headers": {name: {} for name in SHARDS}}).encode()),
        Reply(body=b"{}", headers={"Content-Encoding": "br"}),
    ],
    ids=["missing", "broken", "limited", "html", "empty", "other sizes", "encoded"],
)
def test_shards_are_read_alone_where_the_summary_is_of_no_use(
    loopback: LoopbackHub, reply: Reply
) -> None:
    loopback.repositories["org/model"] = sharded()
    loopback.fault("safetensors-metadata", reply)
    found = ask()
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == 128


def test_a_summary_of_another_commit_is_not_believed(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = sharded()

    def moved(_: Request, honest: Reply) -> Reply:
        return Reply(body=honest.body, headers={**honest.headers, "X-Repo-Commit": CHANGED})

    loopback.fault("safetensors-metadata", moved)
    assert ask().checkpoint is not None
    assert sum(path.startswith("cdn") for path in loopback.paths()) == 2


def test_a_long_header_is_read_on_from_the_signed_address(loopback: LoopbackHub) -> None:
    long = safetensors({"a.weight": ("BF16", [4, 8], 64)}, pad=200_000)
    loopback.repositories["org/model"] = Repository(files={"model.safetensors": long})
    assert ask().checkpoint is not None
    assert loopback.paths().count("cdn /org/model/model.safetensors") == 2
    ranges = [request.headers["range"] for request in loopback.requests if request.host == "cdn"]
    assert ranges == ["bytes=0-131071", f"bytes=131072-{long.size - 65}"]


def test_an_early_answer_of_another_commit_is_asked_again(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = single()

    def moved(_: Request, honest: Reply) -> Reply:
        headers = {**honest.headers, "X-Repo-Commit": CHANGED}
        return Reply(status=honest.status, body=honest.body, headers=headers)

    loopback.fault("resolve/main", moved)
    assert ask().checkpoint is not None
    assert f"hub /org/model/resolve/{COMMIT}/model.safetensors" in loopback.paths()
    assert f"hub /org/model/resolve/{COMMIT}/config.json" in loopback.paths()


def test_the_tree_is_paged_on_the_endpoint_where_sizes_are_missing(loopback: LoopbackHub) -> None:
    files: dict[str, bytes | Sparse] = {f"a{number}.txt": b"x" for number in range(7)}
    loopback.repositories["org/model"] = Repository(files={**files, "model.safetensors": ONE})
    loopback.sizes = False
    assert len(ask().files) == 8
    assert sum("/tree/" in path for path in loopback.paths()) == 3


def test_a_rename_is_followed_and_said(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = single()
    loopback.repositories["org/old"] = Repository(renamed_to="org/model")
    found = ask("org/old")
    assert found.model == "org/model"
    assert [note.code for note in found.notes] == ["renamed"]


@pytest.mark.parametrize(
    ("model", "repository", "token", "error", "hint"),
    [
        ("org/model", single(gated=True), None, GatedModelError, "hf auth login"),
        ("org/model", single(private=True), None, ModelNotFoundError, "private"),
        ("org/nothing", single(), None, ModelNotFoundError, "Check the name"),
        ("org/model@v2", single(), None, RevisionNotFoundError, "org/model/tree/main"),
        ("org/model", single(disabled=True), None, ModelNotFoundError, "another model"),
        ("org/model", single(), "hf_expired", GatedModelError, "Check --token or HF_TOKEN, or log"),
    ],
    ids=["gated", "private", "missing", "revision", "disabled", "token"],
)
def test_refusals_are_told_apart(
    loopback: LoopbackHub,
    model: str,
    repository: Repository,
    token: str | None,
    error: type[HfmemError],
    hint: str,
) -> None:
    loopback.repositories["org/model"] = repository
    with pytest.raises(error) as caught:
        ask(model, token=token)
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_a_server_s_message_is_cleaned(loopback: LoopbackHub) -> None:
    loopback.fault("revision", refuse(403, message="no \x9b31m access"))
    with pytest.raises(GatedModelError) as caught:
        ask()
    assert "\x9b" not in caught.value.message
    assert "access" in caught.value.message


def test_the_token_stays_with_the_endpoint(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = single(gated=True)
    assert ask(token=TOKEN).checkpoint is not None
    sent = {(request.host, "authorization" in request.headers) for request in loopback.requests}
    assert sent == {("hub", True), ("cdn", False)}


@pytest.mark.parametrize("token", ["hf\nX-Other: 1", "hf token", "hf_ü"])
def test_a_token_that_no_header_carries_is_not_repeated(token: str) -> None:
    with pytest.raises(UsageError) as caught:
        hub.connect(token=token)
    assert token not in caught.value.message


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"README.md": b"x"}, NoWeightsError, "neither"),
        ({"model.gguf": b"GGUF"}, MalformedHeaderError, "ends within its header"),
        ({"pytorch_model.bin": b"x"}, NoWeightsError, "neither a zip archive"),
        ({"tf_model.h5": b"x"}, NoWeightsError, "are HDF5"),
        ({"config.json": b"[]", "model.safetensors": ONE}, InvalidValueError, "object"),
        ({"config.json": b'{"a": NaN}', "model.safetensors": ONE}, InvalidValueError, "NaN"),
        ({"config.json": b'{"a": 1, "a": 2}'}, InvalidValueError, "twice"),
        ({"config.json": b"[" * 5000}, InvalidValueError, "nested"),
        ({"config.json": b" " * 5_000_001}, InvalidValueError, "5,000,000"),
        ({"config.json": CONFIG, "quantize_config.json": b"{"}, InvalidValueError, "quantize"),
        ({"model.safetensors": Sparse(head=b"", size=0)}, MalformedHeaderError, "fewer"),
        (
            {"model.safetensors": Sparse(head=b"\xff" * 8, size=4096)},
            MalformedHeaderError,
            "model.safetensors",
        ),
    ],
)  # fmt: skip
def test_bad_files_are_one_error(
    loopback: LoopbackHub,
    files: dict[str, bytes | Sparse],
    error: type[HfmemError],
    words: str,
) -> None:
    loopback.repositories["org/model"] = Repository(files=files)
    with pytest.raises(error, match=words):
        ask()


def test_a_configuration_alone_is_enough(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = Repository(files={"config.json": CONFIG})
    assert ask().checkpoint is None


def test_weights_that_are_not_read_are_noted(loopback: LoopbackHub) -> None:
    files: dict[str, bytes | Sparse] = {"config.json": CONFIG, "pytorch_model.bin": b"x"}
    loopback.repositories["org/model"] = Repository(files=files)
    found = ask()
    assert found.checkpoint is None
    assert [note.code for note in found.notes] == ["unread_weights"]


def test_an_optional_document_that_cannot_be_had_is_an_error(loopback: LoopbackHub) -> None:
    files: dict[str, bytes | Sparse] = {**single().files, "quantize_config.json": b'{"bits": 4}'}
    loopback.repositories["org/model"] = Repository(files=files)
    loopback.fault("resolve-cache.*quantize_config", Reply(status=500))
    with pytest.raises(HubUnavailableError, match=r"quantize_config\.json"):
        ask()


def test_quotas_are_kept_by_bucket(loopback: LoopbackHub) -> None:
    loopback.repositories["org/model"] = single()
    loopback.headers = {
        "RateLimit": '"api";r=12;t=34',
        "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
    }
    wire = hub.connect(patience=IMPATIENT)
    hub.snapshot(parse("org/model"), wire=wire)
    quota = wire.quotas["api"]
    assert (quota.remaining, quota.resets_in, quota.limit) == (12, 34, 500)
    # The list, and two answers on the way to each of the two files.
    assert quota.spent == len([path for path in loopback.paths() if path.startswith("hub")])


@pytest.mark.parametrize("bucket", ["api", "resolvers"])
def test_where_small_files_are_counted_is_what_the_hub_says(
    loopback: LoopbackHub, bucket: str
) -> None:
    loopback.repositories["org/model"] = single()

    def told(_: object, honest: Reply) -> Reply:
        headers = {**honest.headers, "RateLimit": f'"{bucket}";r=12;t=34'}
        return Reply(status=honest.status, body=honest.body, headers=headers)

    loopback.fault("hub /api/resolve-cache/", told)
    wire = hub.connect(patience=IMPATIENT)
    hub.snapshot(parse("org/model"), wire=wire)
    assert wire.quotas[bucket].pays_for_files
