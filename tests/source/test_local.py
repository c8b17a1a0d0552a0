"""Folders and files on this machine, well-meant and hostile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hfmem.checkpoint.snapshot import RepoFile, Snapshot
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import (
    HfmemError,
    InvalidValueError,
    MalformedHeaderError,
    ModelNotFoundError,
    NoWeightsError,
)
from hfmem.source import local, recorded
from hfmem.source.ref import parse

CONFIG = {"model_type": "llama", "hidden_size": 4}


def snapshot(path: Path) -> Snapshot:
    return local.snapshot(parse(str(path)))


def weights(path: Path, *names: str, shape: tuple[int, ...] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(shape, np.float16) for name in names}, path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "model"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(CONFIG))
    return path


def test_a_folder(folder: Path) -> None:
    weights(folder / "model.safetensors", *(f"layers.{layer}.q" for layer in range(3)), "norm")
    (folder / "quantize_config.json").write_text('{"bits": 4}')
    (folder / "tokenizer.json").write_text("{}")
    found = snapshot(folder)
    assert (found.model, found.revision, found.source) == (str(folder), None, "local")
    assert found.config == CONFIG
    assert found.documents == {"quantize_config.json": {"bits": 4}}
    assert {file.name for file in found.files} == {
        "config.json",
        "model.safetensors",
        "quantize_config.json",
        "tokenizer.json",
    }
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("model.safetensors",)
    assert {run.name: run.count for run in found.checkpoint.tensors} == {
        "layers.{0..2}.q": 3,
        "norm": 1,
    }
    assert total_bytes(found.checkpoint.tensors) == 4 * 16 * 2
    assert found.notes == ()


def test_config_alone(folder: Path) -> None:
    for path in (folder, folder / "config.json"):
        found = snapshot(path)
        assert (found.config, found.checkpoint, found.notes) == (CONFIG, None, ())


def test_an_index_without_its_weights_is_said(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("{}")
    found = snapshot(folder)
    assert found.checkpoint is None
    assert [note.code for note in found.notes] == ["missing_weights"]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(NoWeightsError, match=r"neither config\.json nor weights"):
        snapshot(tmp_path)


def test_shards_and_a_repeated_tensor(folder: Path) -> None:
    weights(folder / "model-00001-of-00002.safetensors", "a", "b")
    weights(folder / "model-00002-of-00002.safetensors", "b", "c")
    found = snapshot(folder)
    assert found.checkpoint is not None
    assert total_bytes(found.checkpoint.tensors) == 3 * 32
    assert [note.code for note in found.notes] == ["repeated_tensors"]


def test_shards_that_contradict_each_other(folder: Path) -> None:
    weights(folder / "model-00001-of-00002.safetensors", "a")
    weights(folder / "model-00002-of-00002.safetensors", "a", shape=(2, 2))
    with pytest.raises(MalformedHeaderError, match="another shape"):
        snapshot(folder)


def test_an_index_where_the_names_leave_a_doubt(folder: Path) -> None:
    weights(folder / "first.safetensors", "a")
    weights(folder / "second.safetensors", "b")
    index = {"weight_map": {"a": "first.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    found = snapshot(folder)
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("first.safetensors",)


def test_a_pipeline_names_tensors_by_component(tmp_path: Path) -> None:
    weights(tmp_path / "unet" / "diffusion_pytorch_model.safetensors", "w")
    weights(tmp_path / "text_encoder" / "model.safetensors", "w")
    (tmp_path / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    index = {"unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "T"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    found = snapshot(tmp_path)
    assert found.checkpoint is not None
    assert {run.name for run in found.checkpoint.tensors} == {"unet/w", "text_encoder/w"}
    assert set(found.documents) == {"model_index.json", "unet/config.json"}
    assert found.config is None


def test_an_adapter_is_read_as_it_lies(tmp_path: Path) -> None:
    weights(tmp_path / "adapter_model.safetensors", "lora_A")
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    found = snapshot(tmp_path)
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("adapter_model.safetensors",)
    assert found.documents["adapter_config.json"]["base_model_name_or_path"] == "org/base"


def test_weights_of_another_format(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(bytes(10))
    found = snapshot(folder)
    assert found.checkpoint is None
    assert [note.code for note in found.notes] == ["unread_weights"]
    (folder / "config.json").unlink()
    with pytest.raises(NoWeightsError, match="torch"):
        snapshot(folder)


def test_one_safetensors_file(folder: Path) -> None:
    weights(folder / "x.safetensors", "a")
    found = snapshot(folder / "x.safetensors")
    assert found.checkpoint is not None
    assert found.checkpoint.files == ("x.safetensors",)
    assert found.config == CONFIG
    assert [note.code for note in found.notes] == ["sibling_config"]
    (folder / "config.json").unlink()
    assert snapshot(folder / "x.safetensors").config is None


def test_a_recorded_file(folder: Path) -> None:
    weights(folder / "model.safetensors", "a")
    kept = folder / "kept.json"
    kept.write_text(recorded.write(snapshot(folder), on="2026-11-20"))
    found = snapshot(kept)
    assert found.source == "recorded"
    assert found.checkpoint == snapshot(folder).checkpoint


def test_a_snapshot_folder_of_the_hub_cache(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / commit
    folder.mkdir(parents=True)
    weights(blobs / "b10b", "a")
    (blobs / "c0").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").symlink_to("../../blobs/b10b")
    (folder / "config.json").symlink_to("../../blobs/c0")
    found = snapshot(folder)
    assert found.revision == commit
    assert found.config == CONFIG
    assert found.checkpoint is not None
    size = (blobs / "b10b").stat().st_size
    assert RepoFile(name="model.safetensors", bytes=size) in found.files


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("make", [a_fifo, a_broken_link, a_link_to_a_device, a_link_to_itself])
def test_special_files_are_not_opened(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder / "model.safetensors")
    found = snapshot(folder)
    assert found.checkpoint is None
    assert [note.code for note in found.notes] == ["special_file"]


def test_links_to_folders_are_not_followed(folder: Path) -> None:
    (folder / "again").symlink_to(folder)
    weights(folder / "model.safetensors", "a")
    found = snapshot(folder)
    assert {file.name for file in found.files} == {"config.json", "model.safetensors"}


def test_a_fifo_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ModelNotFoundError, match="regular file"):
        snapshot(tmp_path / "config.json")


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"<html>", b'{"a": 1, "a": 2}', b'{"a": NaN}', b"\xef\xbb\xbf{}"]
)
def test_a_config_that_is_none(folder: Path, raw: bytes) -> None:
    (folder / "config.json").write_bytes(raw)
    for path in (folder, folder / "config.json"):
        with pytest.raises(InvalidValueError, match=r"config\.json"):
            snapshot(path)


def test_a_config_that_is_too_long(folder: Path) -> None:
    with (folder / "config.json").open("wb") as stream:
        stream.truncate(17 * 2**20)
    with pytest.raises(InvalidValueError, match="longer than"):
        snapshot(folder)


# What each hostile repository must give: the code of an error, or the bytes of its tensors. The
# configurations whose values are absurd are well-formed; judging them is the model's part.
HOSTILE: dict[str, str | int] = {
    "ansi-name": 32,
    "config-bom": "invalid_value",
    "config-empty": "invalid_value",
    "config-html": "invalid_value",
    "config-huge-layers": 988_065_536,
    "config-list": "invalid_value",
    "config-nan": "invalid_value",
    "config-strings": 988_065_536,
    "config-zero-heads": 988_065_536,
    "deep-json": "malformed_header",
    "dup-keys": "malformed_header",
    "empty-file": "malformed_header",
    "f4": 32,
    "float-shape": "malformed_header",
    "four-bytes": "malformed_header",
    "huge-shape": "malformed_header",
    "index-missing-shard": "no_weights",
    "index-traversal": 0,
    "index-wrong-total": 32,
    "json-list": "malformed_header",
    "json-null": "malformed_header",
    "lfs-pointer": "malformed_header",
    "missing-dtype": "malformed_header",
    "nan": "malformed_header",
    "negative-shape": "malformed_header",
    "not-json": "malformed_header",
    "offsets-past-end": "malformed_header",
    "only-metadata": 0,
    "overlap": "malformed_header",
    "scalar": 4,
    "shape-mismatch": "malformed_header",
    "unknown-dtype": 32,
    "zero-header": "malformed_header",
}


@pytest.fixture(scope="session")
def hostile(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The hostile repositories of the loopback hub, with the zeros of their data as holes."""
    root = tmp_path_factory.mktemp("repositories")
    command = [sys.executable, str(shared / "hub" / "make_repo.py"), "hostile", "--root", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    for path in list(root.rglob("*.hdr")):
        size, _, header = path.read_bytes().partition(b"\n")
        with path.with_suffix("").open("wb") as stream:
            stream.write(len(header).to_bytes(8, "little") + header)
            stream.truncate(8 + len(header) + int(size))
        path.unlink()
    for path in list(root.rglob("*.raw")):
        path.rename(path.with_suffix(""))
    return root / "hostile"


@pytest.mark.shared
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_repositories(hostile: Path, name: str) -> None:
    expected = HOSTILE[name]
    if isinstance(expected, int):
        checkpoint = snapshot(hostile / name).checkpoint
        assert (total_bytes(checkpoint.tensors) if checkpoint else 0) == expected
        return
    with pytest.raises(HfmemError) as caught:
        snapshot(hostile / name)
    assert caught.value.code == expected
    assert caught.value.message.isprintable()
    assert caught.value.hint


@pytest.mark.shared
def test_every_hostile_repository_is_tried(hostile: Path) -> None:
    assert {path.name for path in hostile.iterdir()} == HOSTILE.keys()
