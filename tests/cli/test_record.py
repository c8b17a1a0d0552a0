"""``hfmem record``: files on disk, failures on standard error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hfmem import source
from hfmem.checkpoint.snapshot import Snapshot
from hfmem.errors import ModelNotFoundError
from hfmem.source import Access, recorded


def found(model: str, access: Access) -> Snapshot:
    if model == "gone":
        raise ModelNotFoundError("There is no repository.", hint="Check the name.")
    return Snapshot(
        model=model,
        revision=access.revision,
        source="hub",
        config={"model_type": "gpt2"},
        documents={},
        files=(),
        checkpoint=None,
    )


def test_record(
    hfmem: Callable[..., object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(source, "find", found)
    folder = tmp_path / "new" / "facts"
    outcome = hfmem("record", "org/a", "gone", "b", "-o", str(folder), "--revision", "main")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.splitlines() == [
        f"recorded org/a in {folder / 'org--a.json'}",
        "error: gone: There is no repository.",
        "hint: Check the name.",
        f"recorded b in {folder / 'b.json'}",
    ]
    assert recorded.read(folder / "org--a.json").config == {"model_type": "gpt2"}


def test_a_file_is_no_folder(hfmem: Callable[..., object], tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    outcome = hfmem("record", "a", "-o", str(path))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: The folder ")
