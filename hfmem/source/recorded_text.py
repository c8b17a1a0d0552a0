"""The text of the recorded format: a line for each file and each tensor run, so that a diff reads
well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from hfmem.checkpoint.snapshot import Checkpoint, Snapshot
from hfmem.checkpoint.tensor import TensorRun
from hfmem.dtypes import BITS
from hfmem.source.brace_lists import escaped, folded_files

SCHEMA_VERSION = 1

_OF_THE_RECORD = frozenset({"recorded", "reconstructed"})
"""Notes that reading the record makes again."""


def text_of(snapshot: Snapshot, *, on: str | None, weight_files: tuple[str, ...]) -> str:
    """The document; ``weight_files`` are those that the listing alone tells."""
    return "{\n" + ",\n".join(_members(snapshot, on=on, weight_files=weight_files)) + "\n}\n"


def _members(snapshot: Snapshot, *, on: str | None, weight_files: tuple[str, ...]) -> Iterator[str]:
    why = [note.message for note in snapshot.notes if note.code == "reconstructed"]
    yield _member("schema_version", SCHEMA_VERSION)
    yield _member("model", snapshot.model)
    yield _member("revision", snapshot.revision)
    yield _member("recorded", on or datetime.now(tz=UTC).date().isoformat())
    yield _member("origin", "reconstructed" if snapshot.reconstructed else "hub")
    if snapshot.reconstructed and why:
        yield _member("origin_note", why[0])
    notes = [note for note in snapshot.notes if note.code not in _OF_THE_RECORD]
    if notes:
        yield _lines("notes", ({"code": note.code, "message": note.message} for note in notes))
    yield _block("config", snapshot.config)
    if snapshot.documents:
        yield _block("documents", snapshot.documents)
    if snapshot.files:
        folded = folded_files(snapshot.files)
        yield _lines("files", ({"name": name, "bytes": size} for name, size in folded))
    if snapshot.checkpoint is not None:
        yield from _checkpoint(snapshot.checkpoint, weight_files=weight_files)


def _checkpoint(checkpoint: Checkpoint, *, weight_files: tuple[str, ...]) -> Iterator[str]:
    if checkpoint.files != weight_files:
        yield _lines("weight_files", (escaped(name) for name in checkpoint.files))
    if checkpoint.metadata:
        yield _block("metadata", checkpoint.metadata)
    yield _lines("tensors", (_run(run) for run in checkpoint.tensors))


def _run(run: TensorRun) -> list[object]:
    size = [] if run.dtype in BITS else [run.bytes]
    return [run.name, run.dtype, list(run.shape), *size]


def _member(key: str, value: object) -> str:
    return f"{json.dumps(key)}: {json.dumps(value)}"


def _block(key: str, value: object) -> str:
    return f"{json.dumps(key)}: {json.dumps(value, indent=2, default=dict)}"


def _lines(key: str, items: Iterable[object]) -> str:
    lines = ",\n".join(f"  {json.dumps(item)}" for item in items)
    return f"{json.dumps(key)}: [\n{lines}\n]" if lines else f"{json.dumps(key)}: []"
