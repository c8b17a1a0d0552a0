"""A model that lies on this machine: a folder, a config.json, or one weight file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, assert_never

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
)
from hfmem.source import folders, recorded
from hfmem.source.containers import Contents, FileHeader, Wanted, contents, read_container
from hfmem.source.ref import ModelRef

_DOCUMENT_CAP = 16 * 2**20
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


def _folder(ref: ModelRef) -> Snapshot:
    name, folder = ref.name, _root(ref)
    listing = folders.files(folder)
    names = {file.name for file in listing.files}
    config = _document(folder, "config.json") if "config.json" in names else None
    documents = dict(_documents(folder, names))
    told: tuple[Note, ...] = ()
    if config is None and "params.json" in documents:
        from hfmem.checkpoint.native_params import native_config

        config, told = native_config(documents)
    weights = _weights(folder, listing.files, config=config, documents=documents, pick=ref.pick)
    notes = (*told, *listing.notes)
    checkpoint: Checkpoint | None = None
    if weights is not None:
        notes += weights.notes
        found = _checkpoint(name, folder, weights, config=config)
        checkpoint = found.checkpoint
        notes += found.notes
        if found.keys is not None:
            documents[GGUF_DOCUMENT] = found.keys
    elif config is None:
        raise folders.no_model(folder)
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
    listing = folders.files(path.parent, deep=False)
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
