"""The files of a model's folder on this machine, found without reading the rest of the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct, field

from hfmem.checkpoint.snapshot import Note, RepoFile
from hfmem.checkpoint.weight_sets import weight_sets
from hfmem.errors import InvalidValueError, NoWeightsError

_FILES_CAP = 20_000
_FOLDERS_CAP = 2_000
_DEPTH_CAP = 3
_MODEL_FILES = frozenset({"config.json", "model_index.json", "params.json", "adapter_config.json"})


class Files(Struct, frozen=True, kw_only=True):
    """What a folder holds."""

    files: tuple[RepoFile, ...]
    notes: tuple[Note, ...]


class _Walk(Struct):
    """A bounded walk; ``special`` counts what is neither a file nor a folder."""

    device: int
    """The file system that it keeps to."""
    files: list[RepoFile] = field(default_factory=list)
    folders: int = 0
    special: int = 0


def files(folder: Path, *, deep: bool = True) -> Files:
    """The files of a model's folder: its own, and those of the folders in it that hold any of a
    model, as those of a pipeline's components do.

    A folder that is no model's is left at first sight, so that a wrong path does not read a disk.
    Symbolic links to folders and other file systems are not followed. Raises NoWeightsError and
    InvalidValueError.
    """
    walk = _Walk(device=folder.stat().st_dev)
    entries = _entries(folder)
    if deep and not _are_of_a_model(entries) and not any(_inner(walk, entries, depth=0)):
        raise no_model(folder)
    _visit(entries, "", depth=0 if deep else _DEPTH_CAP, walk=walk)
    notes: tuple[Note, ...] = ()
    if walk.special:
        message = f"{walk.special} entries are neither files nor folders and are not read."
        notes = (Note(code="special_file", message=message),)
    return Files(files=tuple(sorted(walk.files, key=lambda file: file.name)), notes=notes)


def _visit(entries: Sequence[os.DirEntry[str]], prefix: str, *, depth: int, walk: _Walk) -> None:
    for entry in entries:
        if len(walk.files) >= _FILES_CAP:
            raise InvalidValueError(
                f"The folder of {entry.path!r:.120} holds more than {_FILES_CAP:,} files.",
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
    for name, inner in _inner(walk, entries, depth=depth):
        _visit(inner, f"{prefix}{name}/", depth=depth + 1, walk=walk)


def _inner(
    walk: _Walk, entries: Sequence[os.DirEntry[str]], *, depth: int
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """The folders among entries that hold a file of a model, with what they hold."""
    for entry in entries if depth < _DEPTH_CAP else ():
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        walk.folders += 1
        if walk.folders > _FOLDERS_CAP:
            raise InvalidValueError(
                f"There are more than {_FOLDERS_CAP:,} folders up to {entry.path!r:.120}.",
                hint="Name the folder of one model.",
            )
        if entry.stat(follow_symlinks=False).st_dev == walk.device:
            inner = _entries(Path(entry.path))
            if _are_of_a_model(inner):
                yield entry.name, inner


def _are_of_a_model(entries: Iterable[os.DirEntry[str]]) -> bool:
    return any(
        entry.name in _MODEL_FILES or bool(weight_sets([RepoFile(name=entry.name, bytes=None)]))
        for entry in entries
    )


def no_model(folder: Path) -> NoWeightsError:
    """The error for a folder that is not a model's."""
    return NoWeightsError(
        f"The folder {str(folder)!r:.120} holds neither config.json nor weights.",
        hint="Name the folder that `hf download` or save_pretrained() wrote.",
    )


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as cause:
        raise InvalidValueError(
            f"The folder {str(folder)!r:.120} cannot be read: {cause.strerror}.",
            hint="Check its permissions.",
        ) from None
