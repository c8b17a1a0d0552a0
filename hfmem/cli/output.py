"""Where text goes: standard output as it can show it, files as a whole or not at all."""

from __future__ import annotations

import codecs
import errno
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

from hfmem.errors import UsageError
from hfmem.report.screen import Screen, in_ascii

BROKEN_PIPE = 141
"""What a shell reports of a program that a closed pipe ended."""

_Item = TypeVar("_Item")


class PipeClosed(SystemExit):
    """The reader of standard output is gone: end without a word, as ``head`` expects it."""


def screen_of_stdout() -> Screen:
    """What standard output can show; NO_COLOR, FORCE_COLOR, TERM and COLUMNS as rich reads them."""
    from rich.console import Console

    stream = sys.stdout
    console = Console(file=stream)
    plain = console.no_color or console.color_system is None or console.legacy_windows
    terminal = stream is not None and stream.isatty()
    return Screen(
        width=max(40, console.width) if terminal else None,
        colour=console.is_terminal and not plain,
        unicode=_is_unicode(getattr(stream, "encoding", None)),
    )


def _is_unicode(encoding: str | None) -> bool:
    try:
        return codecs.lookup(encoding or "ascii").name.startswith("utf")
    except LookupError:
        return False


def _holds(encoding: str, text: str) -> bool:
    if _is_unicode(encoding) or text.isascii():
        return True
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def to_stdout(text: str) -> None:
    """Write and flush; of what the encoding lacks our own signs are spelled, the rest is ``?``.

    Raises UsageError when it cannot be written, and PipeClosed when nobody reads on.
    """
    stream = sys.stdout
    if stream is None:
        raise UsageError("Standard output is closed.", hint="Write to a file: -o FILE")
    encoding = stream.encoding or "utf-8"
    if not _holds(encoding, text):
        text = in_ascii(text)
    try:
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()
    except OSError as error:
        _drop(stream)
        # Windows reports a closed pipe as EINVAL.
        if error.errno in (errno.EPIPE, errno.ESHUTDOWN) or (
            os.name == "nt" and error.errno == errno.EINVAL
        ):
            raise PipeClosed(BROKEN_PIPE) from None
        raise unwritable(error) from None


def unwritable(error: OSError) -> UsageError:
    """What to say where standard output takes no more, and its buffer emptied."""
    if sys.stdout is not None:
        _drop(sys.stdout)
    return UsageError(
        f"Standard output cannot be written: {error.strerror}.", hint="Write to a file: -o FILE"
    )


def _drop(stream: TextIO) -> None:
    """Let what is still buffered go nowhere, or the interpreter complains about it at its end."""
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, stream.fileno())
    finally:
        os.close(sink)


def check_target(path: Path) -> None:
    """Refuse a target that cannot be written before any work is done. Raises UsageError."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder.", hint="Name a file: -o FILE")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.", hint="Create it, or name another.")


def to_file(path: Path, text: str) -> None:
    """Replace a file as a whole; devices and pipes are written to as they are.

    Raises UsageError.
    """
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8", newline="")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write, which takes the place of ``path`` when the block ends, or not at all.

    A device or a pipe is written to as it is. Raises UsageError.
    """
    try:
        if path.exists() and not path.is_file():
            yield path
            return
        # Of a link its target is replaced.
        final = path.resolve()
        draft = final.with_name(f".{final.name[:100]}.{os.getpid()}.part")
        draft.touch(exist_ok=False)
        try:
            yield draft
            if final.exists():
                shutil.copymode(final, draft)
            draft.replace(final)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}.", hint="Name another: -o FILE"
        ) from None


def progress(items: Iterable[_Item], *, expected: int, quiet: bool) -> Iterator[_Item]:
    """The items, counted on standard error while a person waits for several of them."""
    disabled = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in {
        *("1", "ON", "YES", "TRUE")
    }
    if quiet or disabled or expected < 2 or sys.stderr is None or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, description="models", total=expected, console=console, transient=True)
