"""Facts written down: what ``hfmem record`` writes, what ships with hfmem, what the tests read.

One JSON a model. A tensor run is one line ``[name, dtype, shape]`` in brace notation; its bytes
follow from dtype and shape, and are a fourth element where the dtype has no known size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from hfmem.checkpoint import strict_json
from hfmem.checkpoint.layout import weight_files
from hfmem.checkpoint.regular import open_regular
from hfmem.checkpoint.snapshot import Checkpoint, Note, RepoFile, Snapshot, SourceName
from hfmem.checkpoint.tensor import total_bytes
from hfmem.errors import InvalidValueError, MissingKeyError, NoWeightsError, UsageError
from hfmem.source import brace_lists
from hfmem.source.recorded_text import SCHEMA_VERSION, text_of
from hfmem.source.ref import is_repo_id

FILE_CAP = 64 * 2**20
"""Bytes of a recorded file; DeepSeek-V3's 91,991 tensors take 5 kB."""

_KEYS = frozenset(
    {
        "schema_version",
        "model",
        "revision",
        "recorded",
        "origin",
        "origin_note",
        "notes",
        "config",
        "documents",
        "files",
        "weight_files",
        "metadata",
        "tensors",
    }
)
_FACTS = ("config", "documents", "files", "tensors")
"""Of these a record has at least one, and something in it."""
_DATE = re.compile(r"\d{4}-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])", re.ASCII)
_SIZE_CAP = 2**63


def read(origin: Path | str) -> Snapshot:
    """The snapshot that a file, or a text, records.

    Raises InvalidValueError and MissingKeyError for anything that is not the recorded format, or
    records nothing, and ModelNotFoundError for a path that is no regular file.
    """
    if isinstance(origin, str):
        raw = origin.encode("utf-8", "surrogatepass")
        return _Reader("The recorded text").snapshot(raw, source="recorded")
    with open_regular(origin) as stream:
        raw = stream.read(FILE_CAP + 1)
    return _Reader(f"{str(origin)!r:.120}").snapshot(raw, source="recorded")


def write(snapshot: Snapshot, *, on: str | None = None) -> str:
    """The recorded format of a snapshot, one tensor run a line, the same for the same facts.

    ``on`` is the date to write, ``2026-11-20``; default today. ``read(write(s))`` holds the facts
    of ``s``, which must have any; only ``source``, what was cached of it, and the note on the date
    differ.
    """
    derived = _derived(snapshot.files, config=snapshot.config, documents=snapshot.documents)
    return text_of(snapshot, on=on, weight_files=derived)


def is_recorded(document: Mapping[str, object]) -> bool:
    """Whether a JSON object is of the recorded format, and not a config.json."""
    return document.keys() >= {"schema_version", "model", "tensors"}


def file_name(model: str) -> str:
    """What the file of a model is called: ``file_name("org/name") == "org--name.json"``."""
    return re.sub(r"[^\w.-]+", "-", model.replace("/", "--"), flags=re.ASCII).strip(".-") + ".json"


def find(model: str, directory: Path) -> Snapshot | None:
    """The facts of a Hub model in a folder of recorded files; None where it has none.

    Raises UsageError when there is no such folder, and what ``read`` raises.
    """
    if not directory.is_dir():
        raise UsageError(
            f"There is no folder {str(directory)!r:.120}.",
            hint="`hfmem record MODEL -o DIR` writes one.",
        )
    path = directory / file_name(model)
    if not is_repo_id(model) or not path.is_file():
        return None
    found = read(path)
    if found.model.casefold() != model.casefold():
        raise InvalidValueError(
            f"{str(path)!r:.120} records {found.model!r:.120}, another model than its name says.",
            hint="Rename the file, or record the model again.",
        )
    return found


def bundled_names() -> tuple[str, ...]:
    """The models whose facts ship with hfmem, as the Hub spells them."""
    return tuple(name for name, _ in _bundled().values())


def bundled(model: str) -> Snapshot | None:
    """The facts of a model that ship with hfmem; the name in any case. None where they do not."""
    known = _bundled().get(model.casefold())
    if known is None:
        return None
    name, file = known
    return _Reader(f"The bundled {name}").snapshot(file.read_bytes(), source="bundled")


@cache
def _bundled() -> Mapping[str, tuple[str, Traversable]]:
    folder = files("hfmem.source").joinpath("bundled")
    if not folder.is_dir():
        return {}
    found = sorted(
        (file.name.removesuffix(".json").replace("--", "/", 1), file)
        for file in folder.iterdir()
        if file.name.endswith(".json")
    )
    return {name.casefold(): (name, file) for name, file in found}


class _Reader:
    """Reads one document; ``what`` names it in errors."""

    def __init__(self, what: str) -> None:
        self._what = what

    def snapshot(self, raw: bytes, *, source: SourceName) -> Snapshot:
        if len(raw) > FILE_CAP:
            raise self._invalid(f"is longer than {FILE_CAP:,} bytes")
        value = strict_json.loads(raw, what=self._what, error=InvalidValueError, max_depth=66)
        document = self._object(value, "it")
        if unknown := document.keys() - _KEYS:
            raise self._invalid(f"has the unknown key {min(unknown)!r:.80}")
        for key in ("schema_version", "model"):
            if key not in document:
                raise MissingKeyError(f"{self._what} lacks {key!r}.", hint=_HINT)
        if document["schema_version"] is True or document["schema_version"] != SCHEMA_VERSION:
            raise self._invalid(f"has another schema_version than {SCHEMA_VERSION}")
        if not any(document.get(key) for key in _FACTS):
            raise MissingKeyError(
                f"{self._what} records nothing of the model: it lacks config, files and tensors.",
                hint=_HINT,
            )
        config = self._optional_object(document, "config")
        documents = self._documents(document)
        listing = self._files(document)
        return Snapshot(
            model=self._text(document, "model", cap=_PATH_CAP),
            revision=self._optional_text(document, "revision"),
            source=source,
            config=config,
            documents=documents,
            files=listing,
            checkpoint=self._checkpoint(document, listing, config=config, documents=documents),
            reconstructed=document.get("origin") == "reconstructed",
            notes=self._notes(document),
        )

    def _checkpoint(
        self,
        document: Mapping[str, object],
        listing: tuple[RepoFile, ...],
        *,
        config: Mapping[str, object] | None,
        documents: Mapping[str, Mapping[str, object]],
    ) -> Checkpoint | None:
        tensors = document.get("tensors")
        if tensors is None:
            return None
        try:
            found = brace_lists.tensor_runs(self._list(tensors, "tensors"))
            names = (
                brace_lists.file_names(self._list(document["weight_files"], "weight_files"))
                if "weight_files" in document
                else _derived(listing, config=config, documents=documents)
            )
        except brace_lists.BraceError as cause:
            raise self._invalid(str(cause)) from None
        if total_bytes(found) >= _SIZE_CAP:
            raise self._invalid("describes more bytes than a file system holds")
        metadata = self._optional_object(document, "metadata") or {}
        texts = {key: value for key, value in metadata.items() if isinstance(value, str)}
        if len(texts) != len(metadata):
            raise self._invalid("has metadata that are no text")
        return Checkpoint(files=names, tensors=found, metadata=texts)

    def _files(self, document: Mapping[str, object]) -> tuple[RepoFile, ...]:
        result: list[RepoFile] = []
        for item in self._list(document.get("files", []), "files"):
            entry = self._object(item, "an element of files")
            size = entry.get("bytes")
            if entry.keys() - {"name", "bytes"} or "name" not in entry:
                raise self._invalid("has an element of files with other keys than name and bytes")
            if size is not None and (type(size) is not int or not 0 <= size < _SIZE_CAP):
                raise self._invalid(f"has a file of {size!r:.40} bytes")
            try:
                names = brace_lists.file_names([entry["name"]])
            except brace_lists.BraceError as cause:
                raise self._invalid(str(cause)) from None
            result.extend(RepoFile(name=name, bytes=size) for name in names)
        if len({file.name for file in result}) != len(result):
            raise self._invalid("lists a file twice")
        return tuple(result)

    def _documents(self, document: Mapping[str, object]) -> Mapping[str, Mapping[str, object]]:
        found = self._optional_object(document, "documents") or {}
        return {
            name: self._object(value, f"documents: {name!r:.80}") for name, value in found.items()
        }

    def _notes(self, document: Mapping[str, object]) -> tuple[Note, ...]:
        notes: list[Note] = []
        for item in self._list(document.get("notes", []), "notes"):
            entry = self._object(item, "an element of notes")
            if entry.keys() != {"code", "message"}:
                raise self._invalid("has a note with other keys than code and message")
            code, message = (self._text(entry, key, cap=_TEXT_CAP) for key in ("code", "message"))
            notes.append(Note(code=code, message=message))
        origin = document.get("origin", "hub")
        if origin not in ("hub", "reconstructed"):
            raise self._invalid("has an origin that is neither hub nor reconstructed")
        why = self._optional_text(document, "origin_note")
        day = self._optional_text(document, "recorded")
        if day is not None and not _DATE.fullmatch(day):
            raise self._invalid(f"was recorded on {day!r:.40}, which is no date")
        if origin == "reconstructed":
            message = why or "The facts were put together from what is published, not read."
            notes.append(Note(code="reconstructed", message=message))
        elif day is not None:
            notes.append(Note(code="recorded", message=f"The facts were recorded on {day}."))
        return tuple(notes)

    def _object(self, value: object, name: str) -> Mapping[str, object]:
        if not isinstance(value, dict):
            raise self._invalid(f"has no object where {name} should be one")
        return value

    def _optional_object(
        self, document: Mapping[str, object], key: str
    ) -> Mapping[str, object] | None:
        value = document.get(key)
        return None if value is None else self._object(value, key)

    def _list(self, value: object, name: str) -> list[object]:
        if not isinstance(value, list):
            raise self._invalid(f"has no list where {name} should be one")
        return value

    def _text(self, document: Mapping[str, object], key: str, *, cap: int) -> str:
        value = document.get(key)
        if not isinstance(value, str) or not 0 < len(value) <= cap:
            raise self._invalid(f"has no text of up to {cap:,} characters as {key!r}")
        return value

    def _optional_text(self, document: Mapping[str, object], key: str) -> str | None:
        return None if document.get(key) is None else self._text(document, key, cap=_TEXT_CAP)

    def _invalid(self, why: str) -> InvalidValueError:
        return InvalidValueError(f"{self._what} {why}.", hint=_HINT)


_HINT = "`hfmem record` writes this format; the file was changed, or written by something else."
_PATH_CAP = 4096
_TEXT_CAP = 10_000


def _derived(
    listing: tuple[RepoFile, ...],
    *,
    config: Mapping[str, object] | None,
    documents: Mapping[str, Mapping[str, object]],
) -> tuple[str, ...]:
    """The files that a runtime loads of a listing, where the listing alone tells."""
    try:
        found = weight_files(listing, config=config, documents=documents)
    except NoWeightsError:
        return ()
    return tuple(file.name for file in found.files) if found and not found.index else ()
