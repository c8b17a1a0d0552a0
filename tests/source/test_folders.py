"""Which files of a folder are a model's, and that a wrong folder is left at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hfmem.errors import InvalidValueError, NoWeightsError
from hfmem.source import folders


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


# Files that lie there → those that are taken.
@pytest.mark.parametrize(
    ("there", "taken"),
    [
        ("config.json model.safetensors README.md", "README.md config.json model.safetensors"),
        (
            "model_index.json unet/config.json unet/x.safetensors",
            "model_index.json unet/config.json unet/x.safetensors",
        ),
        ("README.md Q4/a.gguf", "Q4/a.gguf README.md"),
        # Folders without anything of a model, hidden ones, and what lies deeper than a model's.
        ("config.json assets/a.png src/x/y.py .git/model.safetensors", "config.json"),
        ("config.json notes/deep/model.safetensors", "config.json"),
        (
            "config.json a/config.json a/b/config.json a/b/c/config.json a/b/c/d/config.json",
            "a/b/c/config.json a/b/config.json a/config.json config.json",
        ),
    ],
)
def test_the_files_of_a_model(there: str, taken: str, tmp_path: Path) -> None:
    found = folders.files(make(tmp_path, *there.split()))
    assert " ".join(file.name for file in found.files) == taken


@pytest.mark.parametrize("there", ["", "README.md", "a/b/config.json", ".cache/config.json"])
def test_a_folder_that_is_no_models(there: str, tmp_path: Path) -> None:
    with pytest.raises(NoWeightsError, match="neither"):
        folders.files(make(tmp_path, *there.split()))


def test_a_wrong_folder_is_not_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        make(tmp_path, f"{number}/deep/deeper/file.txt")
    read: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(folders.os, "scandir", lambda path: read.append(path) or scandir(path))
    with pytest.raises(NoWeightsError):
        folders.files(tmp_path)
    assert len(read) == 31


def test_a_link_to_a_folder_is_not_followed(tmp_path: Path) -> None:
    other = make(tmp_path / "other", "model.safetensors")
    model = make(tmp_path / "model", "config.json")
    (model / "link").symlink_to(other)
    assert [file.name for file in folders.files(model).files] == ["config.json"]


def test_too_many_folders_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, "config.json", *(f"{number}/x.txt" for number in range(5)))
    monkeypatch.setattr(folders, "_FOLDERS_CAP", 4)
    with pytest.raises(InvalidValueError, match="more than 4 folders"):
        folders.files(tmp_path)
