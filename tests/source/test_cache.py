"""What is kept between runs: what it saves, when it may be used, and that damage does no harm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import GatedModelError
from hfmem.source import cache, hub
from hfmem.source.patience import Patience
from hfmem.source.ref import parse
from tests.loopback import COMMIT, TOKEN, LoopbackHub, Repository, safetensors

CONFIG = json.dumps({"model_type": "llama", "quantization_config": {"bits": 4}}).encode()
FILES = {
    "config.json": CONFIG,
    "quantize_config.json": b'{"bits": 4}',
    "model.safetensors": safetensors(
        {
            "layers.0.weight": ("BF16", [4, 8], 64),
            "layers.1.weight": ("BF16", [4, 8], 64),
            "odd": ("F3", [3], 10),
        }
    ),
}


def ask(model: str = "org/model", *, token: str | None = None) -> Snapshot:
    """The product, with a back-off that no test waits for."""
    patience = Patience(backoff=0.001, silence=0.2)
    return hub.snapshot(parse(model), wire=hub.connect(token=token, patience=patience))


@pytest.fixture
def model(loopback: LoopbackHub) -> LoopbackHub:
    """The loopback Hub with one model."""
    loopback.repositories["org/model"] = Repository(files=dict(FILES))
    return loopback


def kept_files() -> list[Path]:
    """All files of the cache."""
    return [path for path in Path(constants.HF_ASSETS_CACHE).rglob("*") if path.is_file()]


def test_a_kept_model_is_one_question_and_the_same_answer(model: LoopbackHub) -> None:
    cold = ask()
    model.requests.clear()
    warm = ask()
    assert model.paths() == ["hub /api/models/org/model/revision/main"]
    assert warm.source == "cache"
    assert warm.checkpoint == cold.checkpoint
    assert (warm.config, warm.documents, warm.files, warm.notes) == (
        cold.config,
        cold.documents,
        cold.files,
        cold.notes,
    )


def test_a_kept_commit_is_no_question(model: LoopbackHub) -> None:
    ask()
    model.requests.clear()
    assert ask(f"org/model@{COMMIT}").source == "cache"
    assert model.requests == []


def test_a_new_commit_is_fetched(model: LoopbackHub) -> None:
    ask()
    model.repositories["org/model"] = Repository(files={"config.json": b"{}"}, commit="f" * 40)
    found = ask()
    assert (found.source, found.revision, found.config) == ("hub", "f" * 40, {})


@pytest.mark.parametrize("name", ["org/model", f"org/model@{COMMIT}", "org/old"])
def test_without_a_network_the_last_known_commit_answers(model: LoopbackHub, name: str) -> None:
    model.repositories["org/old"] = Repository(renamed_to="org/model")
    ask(name)
    model.requests.clear()
    found = cache.load(parse(name))
    assert found is not None
    assert (found.model, found.revision) == ("org/model", COMMIT)
    assert model.requests == []


@pytest.mark.parametrize("name", ["org/other", "org/model@v2", f"org/model@{'f' * 40}"])
def test_what_was_never_asked_is_not_kept(model: LoopbackHub, name: str) -> None:
    del model
    ask()
    assert cache.load(parse(name)) is None


def test_two_endpoints_share_nothing(model: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    del model
    ask()
    monkeypatch.setattr(constants, "ENDPOINT", "https://other.example")
    assert cache.load(parse("org/model")) is None


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'{"model": 1}', b"\xff\xfe", b"[" * 9999],
    ids=["empty", "cut", "list", "null", "keys", "encoding", "deep"],
)
def test_a_damaged_file_is_not_there(model: LoopbackHub, damage: bytes) -> None:
    ask()
    for path in kept_files():
        path.write_bytes(damage)
    model.requests.clear()
    assert cache.load(parse("org/model")) is None
    assert ask().source == "hub"
    assert cache.load(parse("org/model")) is not None


@pytest.mark.parametrize("key", ["files", "checkpoint", "notes", "config", "documents", "commit"])
@pytest.mark.parametrize("value", [None, 1, [1], [[1]], "text"])
def test_a_key_of_another_type_is_no_error(model: LoopbackHub, key: str, value: object) -> None:
    del model
    ask()
    (path,) = [path for path in kept_files() if path.parent.name == "commits"]
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, key: value}))
    absent_is_valid = value is None and key in {"checkpoint", "config"}
    assert (cache.find("org/model", COMMIT) is not None) is absent_is_valid


@pytest.mark.parametrize(
    "tensor",
    [["a", "F32", [-1], 4], ["a", "F32", [1.0], 4], ["a", "F32", [1]], [1, "F32", [1], 4]],
)
def test_a_tensor_of_another_shape_is_not_there(model: LoopbackHub, tensor: list[object]) -> None:
    del model
    ask()
    (path,) = [path for path in kept_files() if path.parent.name == "commits"]
    content = json.loads(path.read_text())
    content["checkpoint"]["tensors"] = [tensor]
    path.write_text(json.dumps(content))
    assert cache.find("org/model", COMMIT) is None


def test_a_cache_that_cannot_be_written_is_no_error(
    model: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(blocked))
    assert ask().source == "hub"
    assert ask().source == "hub"
    assert len(model.requests) > 5


def test_a_kept_gated_model_is_the_hub_s_to_give(model: LoopbackHub) -> None:
    model.repositories["org/model"].gated = True
    ask(token=TOKEN)
    model.requests.clear()
    assert ask(token=TOKEN).source == "cache"
    assert len(model.requests) == 3
    with pytest.raises(GatedModelError):
        ask()
    with pytest.raises(GatedModelError):
        ask(f"org/model@{COMMIT}")


def test_downloaded_files_are_counted(model: LoopbackHub) -> None:
    del model
    folder = Path(constants.HF_HUB_CACHE) / "models--org--model"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_bytes(CONFIG)
    found = {file.name: file.cached_bytes for file in ask().files}
    assert found == {"config.json": len(CONFIG), "quantize_config.json": 0, "model.safetensors": 0}
    # The loopback Hub gives every file this blob name: content that another commit brought.
    (folder / "blobs").mkdir()
    (folder / "blobs" / ("b" * 40)).write_bytes(b'{"bits": 4}')
    found = {file.name: file.cached_bytes for file in ask().files}
    assert found["quantize_config.json"] == 11
