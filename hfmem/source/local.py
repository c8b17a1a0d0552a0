"""A model that lies on this machine: a folder, a config.json, or one weight file."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, assert_never

from msgspec import Struct, field
from msgspec.structs import replace

from hfmem.checkpoint import safetensors, strict_json
from hfmem.checkpoint.index import INDEX_CAP, shard_names
from hfmem.checkpoint.layout import (
    PROCESSOR_DOCUMENTS,
    SMALL_DOCUMENTS,
    WeightSet,
    weight_files,
)
from hfmem.checkpoint.loaders import Pick
from hfmem.checkpoint.regular import open_regular
from hfmem.checkpoint.snapshot import GGUF_DOCUMENT, Checkpoint, Note, RepoFile, Snapshot
from hfmem.checkpoint.weight_sets import Component
from hfmem.errors import (
    InvalidValueError,
    MalformedHeaderError,
    ModelNotFoundError,
    NoWeightsError,
)
from hfmem.source import recorded
from hfmem.source.containers import Contents, FileHeader, Wanted, contents, read_container
from hfmem.source.ref import ModelRef

_DOCUMENT_CAP = 16 * 2**20
_FILES_CAP = 20_000
_DEPTH_CAP = 3
_COMMIT = re.compile(r"[0-9a-f]{40}")


def snapshot(ref: ModelRef) -> Snapshot:
    """What a local path holds.

    Symbolic links to files are followed, as the Hub cache is made of them; links to folders are
    not, and FIFOs and devices are never opened. A folder or file without weights gives
    ``checkpoint=None``. Raises HfmemError.
    """
    if ref.path is None:
        raise AssertionError(f"{ref.name} is no local path")
    match ref.kind:
        case "folder":
            found = _folder(ref)
        case "config":
            found = _config(ref.name, ref.path)
        case "safetensors" | "torch":
            found = _single(ref.name, ref.path, ref.kind)
        case "gguf":
            found = _gguf(ref.name, ref.path)
        case "hub":
            raise AssertionError(f"{ref.name} is no local path")
        case _:
            assert_never(ref.kind)
    return replace(found, notes=(*ref.notes, *found.notes))


class _Listing(Struct, frozen=True, kw_only=True):
    files: tuple[RepoFile, ...]
    notes: tuple[Note, ...]


class _Walk(Struct):
    """A bounded walk; ``special`` counts what is neither a file nor a folder."""

    files: list[RepoFile] = field(default_factory=list)
    special: int = 0


def _folder(ref: ModelRef) -> Snapshot:
    name, folder = ref.name, _root(ref)
    listing = _list(folder)
    names = {file.name for file in listing.files}
    config = _document(folder, "config.json") if "config.json" in names else None
    documents = dict(_documents(folder, names))
    weights = _weights(folder, listing.files, config=config, documents=documents, pick=ref.pick)
    notes = listing.notes
    checkpoint: Checkpoint | None = None
    if weights is not None:
        notes += weights.notes
        found = _checkpoint(name, folder, weights, config=config)
        checkpoint = found.checkpoint
        notes += found.notes
        if found.keys is not None:
            documents[GGUF_DOCUMENT] = found.keys
    elif config is None:
        raise NoWeightsError(
            f"The folder {name!r:.120} holds neither config.json nor weights.",
            hint="Name the folder that `hf download` or save_pretrained() wrote.",
        )
    elif any(file.name.endswith(".index.json") for file in listing.files):
        message = "The index names weights that are not in the folder: all comes from config.json."
        notes += (Note(code="missing_weights", message=message),)
    return Snapshot(
        model=name,
        revision=_commit(folder),
        source="local",
        config=config,
        documents=documents,
        files=listing.files,
        checkpoint=checkpoint,
        notes=notes,
    )


def _root(ref: ModelRef) -> Path:
    """The folder that the model lies in. Raises ModelNotFoundError."""
    assert ref.path is not None
    if ref.pick.subfolder is None:
        return ref.path
    inner = ref.path / ref.pick.subfolder
    if not inner.is_dir():
        raise ModelNotFoundError(
            f"The folder {ref.name!r:.120} has no folder {ref.pick.subfolder!r:.80}.",
            hint="Check --subfolder.",
        )
    return inner


def _config(name: str, path: Path) -> Snapshot:
    raw = _read(path, cap=recorded.FILE_CAP)
    config = _mapping(raw, what=f"{name!r:.120}")
    if recorded.is_recorded(config):
        return recorded.read(path)
    return Snapshot(
        model=name,
        revision=None,
        source="local",
        config=config,
        documents={},
        files=(),
        checkpoint=None,
    )


def _single(name: str, path: Path, form: Literal["safetensors", "torch"]) -> Snapshot:
    file = RepoFile(name=path.name, bytes=path.stat().st_size)
    weights = WeightSet(components=(Component(name="", format=form, files=(file,)),))
    found = contents(weights, partial(_header, path.parent), model=name, has_config=False)
    notes = found.notes
    beside = path.with_name("config.json")
    config = _document(path.parent, "config.json") if beside.is_file() else None
    if config is not None:
        message = f"The configuration is that of {beside.name} beside {path.name}."
        notes += (Note(code="sibling_config", message=message),)
    return Snapshot(
        model=name,
        revision=None,
        source="local",
        config=config,
        documents={},
        files=(file,),
        checkpoint=found.checkpoint,
        notes=notes,
    )


def _gguf(name: str, path: Path) -> Snapshot:
    """One GGUF file, or all of a split that it is a part of; its header is its configuration."""
    listing = _list(path.parent, deep=False)
    files = listing.files
    weights = weight_files(files, quantization=path.name)
    assert weights is not None
    found = contents(weights, partial(_header, path.parent), model=name, has_config=False)
    return Snapshot(
        model=name,
        revision=None,
        source="local",
        config=None,
        documents={GGUF_DOCUMENT: found.keys or {}},
        files=weights.files,
        checkpoint=found.checkpoint,
        notes=found.notes,
    )


def _weights(
    folder: Path,
    files: tuple[RepoFile, ...],
    *,
    config: Mapping[str, object] | None,
    documents: Mapping[str, Mapping[str, object]],
    pick: Pick,
) -> WeightSet | None:
    """What a runtime loads; reads an index where the names leave a doubt."""
    index_names: dict[str, tuple[str, ...]] = {}
    while True:
        found = weight_files(
            files, config=config, documents=documents, index_names=index_names, pick=pick
        )
        if found is None or found.index is None:
            return found
        raw = _read(folder / found.index, cap=INDEX_CAP)
        index_names[found.index] = shard_names(raw, file=found.index)


def _checkpoint(
    name: str,
    folder: Path,
    weights: WeightSet,
    *,
    config: Mapping[str, object] | None,
) -> Contents:
    return contents(weights, partial(_header, folder), model=name, has_config=config is not None)


def _header(folder: Path, wanted: Wanted) -> FileHeader:
    path = folder / wanted.file.name
    if wanted.format == "safetensors":
        return safetensors.read_file(path)
    with open_regular(path) as stream:

        def piece(start: int, stop: int) -> bytes:
            stream.seek(start)
            raw = stream.read(stop - start)
            if len(raw) != stop - start:
                raise MalformedHeaderError(
                    f"{wanted.file.name!r:.120} ends at byte {start + len(raw):,} of {stop:,}.",
                    hint="The file is incomplete, or is being written.",
                )
            return raw

        return read_container(piece, wanted)


def _list(folder: Path, *, deep: bool = True) -> _Listing:
    walk = _Walk()
    _visit(folder, "", depth=0 if deep else _DEPTH_CAP, walk=walk)
    notes: tuple[Note, ...] = ()
    if walk.special:
        message = f"{walk.special} entries are neither files nor folders and are not read."
        notes = (Note(code="special_file", message=message),)
    return _Listing(files=tuple(sorted(walk.files, key=lambda file: file.name)), notes=notes)


def _visit(folder: Path, prefix: str, *, depth: int, walk: _Walk) -> None:
    for entry in _entries(folder):
        if len(walk.files) >= _FILES_CAP:
            raise InvalidValueError(
                f"The folder {str(folder)!r:.120} holds more than {_FILES_CAP:,} files.",
                hint="Name the folder of one model.",
            )
        try:
            mode = entry.stat()
        except OSError:
            walk.special += 1
            continue
        if stat.S_ISREG(mode.st_mode):
            walk.files.append(RepoFile(name=prefix + entry.name, bytes=mode.st_size))
        elif not stat.S_ISDIR(mode.st_mode):
            walk.special += 1
        elif depth < _DEPTH_CAP and not entry.is_symlink() and not entry.name.startswith("."):
            _visit(folder / entry.name, f"{prefix}{entry.name}/", depth=depth + 1, walk=walk)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as cause:
        raise InvalidValueError(
            f"The folder {str(folder)!r:.120} cannot be read: {cause.strerror}.",
            hint="Check its permissions.",
        ) from None


def _documents(folder: Path, names: set[str]) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name in (*SMALL_DOCUMENTS, *PROCESSOR_DOCUMENTS):
        if name in names:
            yield name, _document(folder, name)
    if "model_index.json" in names:
        for name in sorted(names):
            if name.count("/") == 1 and name.endswith("/config.json"):
                yield name, _document(folder, name)


def _document(folder: Path, name: str) -> Mapping[str, object]:
    return _mapping(_read(folder / name, cap=_DOCUMENT_CAP), what=name)


def _mapping(raw: bytes, *, what: str) -> Mapping[str, object]:
    value = strict_json.loads(raw, what=what, error=InvalidValueError)
    if not isinstance(value, dict):
        raise InvalidValueError(
            f"{what} is a JSON {type(value).__name__}, not an object.",
            hint="A configuration is an object: {…}.",
        )
    return value


def _read(path: Path, *, cap: int) -> bytes:
    with open_regular(path) as stream:
        raw = stream.read(cap + 1)
    if len(raw) > cap:
        raise InvalidValueError(
            f"{str(path)!r:.120} is longer than {cap:,} bytes.",
            hint="A configuration of a model is a few kilobytes long.",
        )
    return raw


def _commit(folder: Path) -> str | None:
    """The commit of a snapshot folder of the Hub cache: ``…/snapshots/<40 hexadecimal digits>``."""
    resolved = folder.resolve()
    is_snapshot = resolved.parent.name == "snapshots" and _COMMIT.fullmatch(resolved.name)
    return resolved.name if is_snapshot else None
