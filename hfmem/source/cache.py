"""What the Hub has told before, kept in huggingface_hub's assets cache; it may be deleted any time.

One file a model and commit holds the folded facts, which never change, and one a model and
revision the commit that it named last, for work without a network:

    $HF_HOME/assets/hfmem/v1/{endpoint}/{org--name}/commits/{sha}.json
                                                   /refs/{revision}.json

A file that cannot be written is not written; one that cannot be read, or reads as anything
unexpected, is not there.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from huggingface_hub import constants
from msgspec import Struct

from hfmem.checkpoint import strict_json
from hfmem.checkpoint.snapshot import Checkpoint, Note, Snapshot
from hfmem.checkpoint.tensor import TensorRun, brace_count
from hfmem.errors import InvalidValueError
from hfmem.source.downloaded import repo_files
from hfmem.source.listing import ListedFile, Listing, is_commit
from hfmem.source.ref import ModelRef, is_repo_id

_VERSION = "v1"
_FILE_CAP = 64_000_000


class Entry(Struct, frozen=True, kw_only=True):
    """Facts that were kept."""

    snapshot: Snapshot
    restricted: bool
    """Gated or private when they were fetched: the Hub has to be asked before they are used."""


def load(ref: ModelRef, *, tag: str = "") -> Snapshot | None:
    """What is kept of a model, without asking the Hub; None where nothing is."""
    if is_commit(ref.revision):
        entry = find(ref.name, ref.revision, tag=tag)
        return entry.snapshot if entry else None
    match _read(_ref_path(ref.name, ref.revision)):
        case {"model": str(model), "commit": str(commit)} if is_repo_id(model):
            entry = find(model, commit, tag=tag) if is_commit(commit) else None
            return entry.snapshot if entry else None
    return None


def knows(ref: ModelRef) -> bool:
    """Whether a commit of the model is remembered, so that its facts are likely to be kept."""
    return _ref_path(ref.name, ref.revision).is_file()


def find(model: str, commit: str, *, tag: str = "") -> Entry | None:
    """What is kept of a model at a commit; ``tag`` is of what was asked for beyond the model."""
    content = _read(_commit_path(model, commit, tag))
    try:
        return _entry(content, model=model, commit=commit)
    except (KeyError, TypeError, ValueError):
        return None


def store(snapshot: Snapshot, listing: Listing, *, tag: str = "") -> None:
    """Keep a snapshot of the Hub, as far as the disk allows."""
    checkpoint = snapshot.checkpoint
    content = {
        "model": listing.model,
        "commit": listing.commit,
        "restricted": listing.restricted,
        "config": snapshot.config,
        "documents": dict(snapshot.documents),
        "files": [[file.name, file.bytes, file.object_id] for file in listing.files],
        "checkpoint": checkpoint
        and {
            "files": list(checkpoint.files),
            "tensors": [[run.name, run.dtype, run.shape, run.bytes] for run in checkpoint.tensors],
            "metadata": dict(checkpoint.metadata),
        },
        "notes": [[note.code, note.message] for note in snapshot.notes],
    }
    _write(_commit_path(listing.model, listing.commit, tag), content)


def remember(name: str, revision: str | None, listing: Listing) -> None:
    """Keep the commit that a revision of a model names now, under the name that was asked for."""
    path = _ref_path(name, revision)
    content = {"model": listing.model, "commit": listing.commit}
    if _read(path) != content:
        _write(path, content)


def _entry(content: object, *, model: str, commit: str) -> Entry | None:
    match content:
        case {
            "model": str(kept_model),
            "commit": str(kept_commit),
            "restricted": bool(restricted),
            "config": dict() | None as config,
            "documents": dict() as documents,
            "files": list() as files,
            "checkpoint": dict() | None as checkpoint,
            "notes": list() as notes,
        } if (kept_model, kept_commit) == (model, commit) and _are_objects(documents):
            pass
        case _:
            return None
    listed = [ListedFile(name=name, bytes=size, object_id=blob) for name, size, blob in files]
    snapshot = Snapshot(
        model=model,
        revision=commit,
        source="cache",
        config=config,
        documents=documents,
        files=repo_files(listed, model=model, commit=commit),
        checkpoint=None if checkpoint is None else _checkpoint(checkpoint),
        notes=tuple(Note(code=str(code), message=str(message)) for code, message in notes),
    )
    return Entry(snapshot=snapshot, restricted=restricted)


def _are_objects(documents: dict[str, object]) -> bool:
    return all(isinstance(document, dict) for document in documents.values())


def _checkpoint(content: dict[str, object]) -> Checkpoint | None:
    match content:
        case {
            "files": list() as files,
            "tensors": list() as tensors,
            "metadata": dict() as metadata,
        }:
            return Checkpoint(
                files=tuple(map(str, files)),
                tensors=tuple(_run(*tensor) for tensor in tensors),
                metadata={str(key): str(value) for key, value in metadata.items()},
            )
    raise ValueError("no checkpoint")


def _run(name: str, dtype: str, shape: Sequence[int], size: int) -> TensorRun:
    if not all(type(number) is int and number >= 0 for number in (*shape, size)):
        raise ValueError("no tensor")
    return TensorRun(
        name=name, dtype=dtype, shape=tuple(shape), bytes=size, count=brace_count(name)
    )


def _folder(model: str) -> Path:
    return _root(constants.HF_ASSETS_CACHE, constants.ENDPOINT) / model.replace("/", "--")


@lru_cache(maxsize=4)
def _root(assets: str, endpoint: str) -> Path:
    return Path(assets) / "hfmem" / _VERSION / quote(endpoint, safe="")


def _commit_path(model: str, commit: str, tag: str) -> Path:
    return _folder(model) / "commits" / f"{commit}{tag}.json"


def _ref_path(model: str, revision: str | None) -> Path:
    return _folder(model) / "refs" / f"{quote(revision or 'main', safe='')}.json"


def _read(path: Path) -> object:
    try:
        if path.stat().st_size > _FILE_CAP:
            return None
        raw = path.read_bytes()
        return strict_json.loads(raw, what=path.name, error=InvalidValueError, max_depth=80)
    except (OSError, InvalidValueError):
        return None


def _write(path: Path, content: object) -> None:
    """Whole or not at all: another process may read or write the same file."""
    # At once: ``json.dump`` encodes piece by piece, in Python.
    raw = json.dumps(content, separators=(",", ":")).encode()
    draft = path.with_name(f".{path.name[:80]}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        try:
            _put(draft, raw)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            _put(draft, raw)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _put(path: Path, raw: bytes) -> None:
    """A new file for this user alone, as ``tempfile`` makes it: facts of private models."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        while raw:
            raw = raw[os.write(handle, raw) :]
    finally:
        os.close(handle)
