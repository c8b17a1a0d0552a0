"""The rows of an audit on disk as they come: a kill at any moment loses none that is written.

A journal is JSONL. Its first line says what was asked of which list; every other line is a row as
``--format jsonl`` prints it, with its place in the list as ``row``. The last line may be torn.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

from hfmem.errors import UsageError
from hfmem.text import clean

Row = Mapping[str, object]

_NOWHERE = -1
_SYNC_SECONDS = 0.05
_HEAD_CAP = 2**28
RETRIED = frozenset({"hub_unavailable", "rate_limited", "offline", "internal_error"})
"""Codes of failures that another try may not meet; a resumed audit asks for these models again."""


class Journal:
    """Rows of one audit, written in any order and read in the order of the list."""

    def __init__(self, file: IO[bytes], *, rows: int, path: Path | None) -> None:
        self.path = path
        """None where nothing is to be resumed: the file has no name."""
        self._file = file
        self._places = array("q", [_NOWHERE]) * rows
        self._synced = 0.0

    @classmethod
    def unnamed(cls, *, rows: int) -> Self:
        """A journal that ends with the process."""
        return cls(tempfile.TemporaryFile(), rows=rows, path=None)

    @classmethod
    def begin(cls, path: Path, head: Row, *, rows: int) -> Self:
        """A new journal. Raises UsageError where one with rows lies already."""
        with _opened(path) as file:
            line = _read_line(file, 0)
            if line is not None and _kind(line) != head["type"]:
                raise UsageError(
                    f"{path} is in the way: it is no journal of an audit.",
                    hint="Remove or rename it.",
                )
            if line is not None and _read_line(file, len(line)) is not None:
                raise UsageError(
                    f"{path} holds rows of an audit that did not end.",
                    hint="Go on with --resume, or remove the file.",
                )
            return cls._new(file, path, head, rows=rows)

    @classmethod
    def resume(cls, path: Path, head: Row, *, rows: int) -> Self:
        """The journal of an audit that did not end; a new one where there is none.

        Raises UsageError where it is of another list or another question, or cannot be written.
        """
        with _opened(path) as file:
            line = _read_line(file, 0)
            if line is None:
                return cls._new(file, path, head, rows=rows)
            _compare(path, found=_object(line), asked=head)
            journal = cls(file, rows=rows, path=path)
            journal._find_rows(len(line))
            return journal

    @classmethod
    def _new(cls, file: IO[bytes], path: Path, head: Row, *, rows: int) -> Self:
        journal = cls(file, rows=rows, path=path)
        with journal._told():
            file.seek(0)
            file.truncate()
            file.write(json.dumps(head).encode() + b"\n")
            _sync(file)
            _sync_folder(path.parent)
        return journal

    def _find_rows(self, start: int) -> None:
        """Note where rows lie, and cut off what is torn."""
        place = start
        while (line := _read_line(self._file, place)) is not None:
            row = _object(line)
            number = None if row is None else row.get("row")
            if type(number) is not int or not 0 <= number < len(self._places):
                break
            self._places[number] = _NOWHERE if _code(row) in RETRIED else place
            place += len(line)
        self._file.seek(place)
        self._file.truncate()

    def add(self, number: int, line: str) -> None:
        """Keep a row, an object of JSON. Raises UsageError where it cannot be written.

        The system has it when this returns, so that no kill loses it; the disk has it by then too,
        or with the row after it where two come at once, which is all that a power cut can take.
        """
        with self._told():
            self._file.seek(0, os.SEEK_END)
            place = self._file.tell()
            self._file.write(f'{{"row": {number}, {line[1:]}\n'.encode())
            self._file.flush()
            now = time.monotonic()
            if self.path is not None and now - self._synced >= _SYNC_SECONDS:
                self._synced = now
                os.fsync(self._file.fileno())
        self._places[number] = place

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A disk that is full or gone is the user's to mend; what is written stays."""
        try:
            yield
        except OSError as error:
            where = "The folder of temporary files" if self.path is None else str(self.path)
            hint = "Make room, or set TMPDIR." if self.path is None else "Make room, then --resume."
            raise UsageError(f"{where} cannot be written: {error.strerror}.", hint=hint) from None

    def missing(self) -> Iterator[int]:
        """Numbers of the rows that are not there."""
        return (number for number, place in enumerate(self._places) if place == _NOWHERE)

    def __len__(self) -> int:
        return sum(place != _NOWHERE for place in self._places)

    def lines(self) -> Iterator[str]:
        """The rows that are there, as ``--format jsonl`` prints them, in the order of the list."""
        self._file.flush()
        for place in self._places:
            if place != _NOWHERE and (line := _read_line(self._file, place)) is not None:
                yield "{" + line[line.index(b",") + 2 : -1].decode()

    def rows(self) -> Iterator[Row]:
        """The rows that are there, in the order of the list."""
        return (json.loads(line) for line in self.lines())

    def remove(self) -> None:
        """Forget it all."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # What a full disk did not take is tried again here, and was told already.
        with suppress(OSError):
            self._file.close()


def listed_before(path: Path, query: Row) -> tuple[str, ...] | None:
    """The models that a listing of the Hub had when a journal began; None without one."""
    try:
        with path.open("rb") as file:
            line = _read_line(file, 0)
    except OSError:
        return None
    head = None if line is None else _object(line)
    match head:
        case {"list": found, "models": list() as models} if found == query:
            return tuple(map(str, models))
    return None


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, which stays open unless the block raises."""
    file = _locked(path)
    try:
        yield file
    except UsageError:
        with suppress(OSError):
            file.close()
        raise


def _locked(path: Path) -> IO[bytes]:
    """The file, for this process alone. A link is not followed: it may lead out of the folder."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", hint="Name another file: -o FILE"
        ) from None
    file = os.fdopen(handle, "r+b")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise UsageError(
                f"Another audit is writing {path}.", hint="Wait for it, or name another: -o FILE"
            ) from None
    return file


def _read_line(file: IO[bytes], place: int) -> bytes | None:
    """The whole line at a place; None at the end and where it is torn."""
    file.seek(place)
    line = file.readline(_HEAD_CAP)
    return line if line.endswith(b"\n") else None


def _object(line: bytes) -> dict[str, object] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _kind(line: bytes) -> object:
    found = _object(line)
    return None if found is None else found.get("type")


def _code(row: Row | None) -> object:
    return None if row is None else row.get("code")


def _compare(path: Path, *, found: Row | None, asked: Row) -> None:
    if found is None or found.get("type") != asked["type"]:
        raise UsageError(f"{path} is no journal of an audit.", hint="Remove it, or leave --resume.")
    for key, what in (("list", "list"), ("question", "question"), ("hfmem", "version of hfmem")):
        if found.get(key) != asked[key]:
            detail = "" if key == "list" else f": {_differences(found.get(key), asked[key])}"
            raise UsageError(
                f"{path} is of another {what}{detail}.",
                hint="Ask the same as then, or remove the file to begin again.",
            )


def _differences(then: object, now: object) -> str:
    """``ctx 8192 then, 4096 now`` of two questions."""
    if not (isinstance(then, dict) and isinstance(now, dict)):
        return f"{_shown(then)} then, {_shown(now)} now"
    return ", ".join(
        f"{name} {_shown(then.get(name))} then, {_shown(now.get(name))} now"
        for name in dict.fromkeys((*now, *then))
        if then.get(name) != now.get(name)
    )


def _shown(value: object) -> str:
    match value:
        case None | [] | {}:
            return "not given"
        case list():
            return clean(" ".join(map(str, value)), limit=100)
        case _:
            return clean(value if isinstance(value, str) else json.dumps(value), limit=100)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make a new name last; where a folder cannot be opened the system sees to it."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
